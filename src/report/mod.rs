//! How quota stands at one moment: [`Report`], made by [`Quota::report`](crate::Quota::report).
//!
//! # What and when
//!
//! For a status page, a log line every minute, or a look at a program that is slower than it should be: which limit is near its end,
//! when a daily pool runs dry, which tokens and routes use it up, and how many of today's responses were errors. It is plain
//! data: shown with `{}` it is a table of at most 80 columns; with feature `json` it can be written as JSON and read again.
//!
//! It tells of the tokens, accounts and routes that are used most, as many of each as are asked for, so it costs the same
//! whether there are ten tokens or a million.
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::plan::{Limit, Plan};
//! use tower_quota::Quota;
//!
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::new(plan);
//! let report = quota.report();
//! println!("{report}");
//! assert_eq!(report.limits[0].quota, 600);
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```
//!
//! What is counted, is counted by [`ObserveLayer`](crate::ObserveLayer): without one, the counts stay at zero.

pub mod projection;
mod table;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::core::Fingerprint;
use crate::event::{Level, Route};
use crate::plan::Scope;

/// How quota stands; see the [module docs](self).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Report {
    /// When it was made, by the clock of the quota; written as seconds since 1970.
    #[cfg_attr(feature = "json", serde(with = "crate::serial::since_1970"))]
    pub at: SystemTime,
    /// The name of the plan.
    pub api: String,
    /// Whether requests are held up where they must be; `false` in shadow mode.
    pub enforced: bool,
    /// How many requests wait for a slot or for the end of a pause.
    pub waiting: u64,
    /// When the day began for which is counted: at midnight of the zone of the first daily pool of the plan, or of UTC.
    #[cfg_attr(feature = "json", serde(with = "crate::serial::since_1970"))]
    pub day_began: SystemTime,
    /// Requests since then.
    pub today: Counts,
    /// Requests of the day before, as far as the program ran.
    pub yesterday: Counts,
    /// How near the share of error responses is to what the vendor bears.
    pub errors: ErrorShare,
    /// The limits of the plan, in its order, each with the keys that use it most.
    pub limits: Vec<LimitReport>,
    /// The daily pools that are used most, the emptiest first.
    pub daily: Vec<DailyReport>,
    /// The tokens with most requests today.
    pub tokens: Vec<TokenReport>,
    /// The tokens with most refusals today.
    pub refused_tokens: Vec<TokenReport>,
    /// The routes with most requests today.
    pub routes: Vec<RouteReport>,
    /// How many requests of the tokens with most requests are in flight, and how many may be.
    pub concurrency: Vec<ConcurrencyReport>,
    /// Requests of today, every five minutes; those in which nothing happened are left out.
    pub history: Vec<Interval>,
}

/// What became of requests. Each attempt counts, repetitions, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Counts {
    /// Requests that were sent.
    pub requests: u64,
    /// Responses with a status from 400 on, and what was rate limited whatever its status. Vendors count all of these.
    pub errors: u64,
    /// Those that were rate limited among them: 429s, or what the API says instead.
    pub rate_limited: u64,
    /// Requests to which no response came; whether the vendor counts them is not known.
    pub lost: u64,
    /// Requests that failed without being sent, because they might not wait for quota any longer.
    pub denied: u64,
    /// In shadow mode: requests that would have been held up.
    pub would_wait: u64,
}

impl Counts {
    /// The share of errors among the requests, from 0 to 1; 0 without any.
    pub fn error_share(&self) -> f64 {
        share(self.errors, self.requests)
    }

    /// The share of those that were rate limited among the requests, from 0 to 1; 0 without any.
    pub fn rate_limited_share(&self) -> f64 {
        share(self.rate_limited, self.requests)
    }
}

pub(crate) fn share(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        _ => part as f64 / whole as f64,
    }
}

/// The share of error responses among today's requests, and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ErrorShare {
    /// What it has reached.
    pub level: Level,
    /// The share, from 0 to 1.
    pub share: f64,
    /// From which share on it is a [`Level::Warn`].
    pub warn: f64,
    /// From which share on it is a [`Level::Breach`].
    pub breach: f64,
    /// With fewer requests than these nothing is raised.
    pub least_requests: u64,
}

/// One limit of the plan.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LimitReport {
    /// Its name.
    pub limit: String,
    /// Who shares it.
    pub scope: Scope,
    /// Requests per window or day: as planned, or as set since.
    pub quota: u32,
    /// The length of the window; `None` for a daily pool.
    #[cfg_attr(
        feature = "json",
        serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "crate::serial::maybe_seconds"
        )
    )]
    pub window: Option<Duration>,
    /// The keys that were used most today, the one with the least headroom first.
    pub keys: Vec<KeyReport>,
}

/// One key under one limit.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct KeyReport {
    /// The token or account, whichever the limit is for; `None` for a limit that all share.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub key: Option<Fingerprint>,
    /// Requests per window or day: less than the limit's where the server says so.
    pub quota: u32,
    /// Requests in flight or still counted.
    pub used: u32,
    /// Requests of others that are reckoned with.
    pub foreign: u32,
    /// Requests that wait for this limit.
    pub waiting: u32,
    /// What is left for us: `quota - used - foreign`.
    pub headroom: u32,
    /// How long nobody sends, if paused.
    #[cfg_attr(
        feature = "json",
        serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "crate::serial::maybe_seconds"
        )
    )]
    pub paused: Option<Duration>,
}

/// One daily pool.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DailyReport {
    /// The limit's name.
    pub limit: String,
    /// The token or account; `None` for a pool that all share.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub key: Option<Fingerprint>,
    /// Requests per day.
    pub quota: u32,
    /// Requests of today, ours.
    pub used: u32,
    /// Requests of today, of others, as far as the server has told.
    pub foreign: u32,
    /// Requests that are left.
    pub left: u32,
    /// When it is filled again.
    #[cfg_attr(feature = "json", serde(with = "crate::serial::since_1970"))]
    pub resets: SystemTime,
    /// How fast it will be used in the next hour, in requests per hour; see [`projection`].
    pub per_hour: f64,
    /// When it will be used up; `None` where that is not before it is filled again.
    #[cfg_attr(
        feature = "json",
        serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "crate::serial::maybe_since_1970"
        )
    )]
    pub runs_out: Option<SystemTime>,
}

/// One token. Where more than 1,024 tokens were used today, the counts of those used least may be those of several.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TokenReport {
    /// Whose.
    pub token: Fingerprint,
    /// Requests today, at most.
    pub requests: u64,
    /// Of `requests`, so many may be other tokens'; 0 unless there are very many tokens.
    pub uncertain: u64,
    /// Error responses among them.
    pub errors: u64,
    /// Those that were rate limited among them.
    pub rate_limited: u64,
}

/// One route.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RouteReport {
    /// The route; `other` for those beyond the first 256.
    pub route: Route,
    /// Requests today.
    pub requests: u64,
    /// Error responses among them.
    pub errors: u64,
    /// Those that were rate limited among them.
    pub rate_limited: u64,
}

/// The concurrency of one token.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ConcurrencyReport {
    /// Whose.
    pub token: Fingerprint,
    /// So many may be in flight.
    pub limit: u32,
    /// So many are.
    pub in_flight: u32,
    /// So many wait.
    pub waiting: u32,
    /// Why the limit has changed last, in one word.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub last_change: Option<Cow<'static, str>>,
}

/// The length of an [`Interval`]: five minutes.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5 * 60);

/// What became of the requests of five minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Interval {
    /// When they began.
    #[cfg_attr(feature = "json", serde(with = "crate::serial::since_1970"))]
    pub began: SystemTime,
    /// Requests that were sent.
    pub requests: u32,
    /// Error responses among them.
    pub errors: u32,
    /// Those that were rate limited among them.
    pub rate_limited: u32,
    /// Those among the requests that use up a daily pool.
    pub daily: u32,
}
