use std::borrow::Cow;
use std::time::Duration;

use super::Route;
use crate::plan::Lane;

/// What has happened. Each kind has the name that [`as_str`](Self::as_str) gives, in logs as in [targets](super).
///
/// Durations are in seconds where an event is written as JSON or traced.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "json",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "event", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum EventKind {
    /// One attempt of a request is over. Only [`Quota::events_with_requests`](crate::Quota::events_with_requests) tells of it.
    Request {
        /// Which of the server's limiters governs it.
        class: Cow<'static, str>,
        /// Its method and path, without ids.
        route: Route,
        /// Who goes first.
        lane: Lane,
        /// How often it has been sent, this time included.
        attempt: u32,
        /// How long the layers of this crate have held it up before they sent it this time.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        waited: Duration,
        /// From the send to the head of the response, or to the end without one.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        took: Duration,
        /// How it ended.
        ending: Ending,
        /// The status of the response, if one came.
        #[cfg_attr(
            feature = "json",
            serde(default, skip_serializing_if = "Option::is_none")
        )]
        status: Option<u16>,
        /// The limit that refused it, if it was refused and is known.
        #[cfg_attr(
            feature = "json",
            serde(default, skip_serializing_if = "Option::is_none")
        )]
        limit: Option<Cow<'static, str>>,
        /// How long to wait, if the response says so.
        #[cfg_attr(
            feature = "json",
            serde(
                default,
                skip_serializing_if = "Option::is_none",
                with = "crate::serial::maybe_seconds"
            )
        )]
        retry_after: Option<Duration>,
        /// How long the server says it worked.
        #[cfg_attr(
            feature = "json",
            serde(
                default,
                skip_serializing_if = "Option::is_none",
                with = "crate::serial::maybe_seconds"
            )
        )]
        service_time: Option<Duration>,
        /// What the response says is left of the daily pool, in requests.
        #[cfg_attr(
            feature = "json",
            serde(default, skip_serializing_if = "Option::is_none")
        )]
        daily_remaining: Option<u64>,
    },
    /// A limit has refused a request: a 429, or what the API says instead.
    RateLimited {
        /// The limit, or `token` or `account` if the response names none of the plan.
        limit: Cow<'static, str>,
        /// Which of the server's limiters governs the request.
        class: Cow<'static, str>,
        /// Its method and path, without ids.
        route: Route,
        /// The status of the response.
        status: u16,
        /// How often the request has been sent, this time included.
        attempt: u32,
        /// How long to wait, if the response says so.
        #[cfg_attr(
            feature = "json",
            serde(
                default,
                skip_serializing_if = "Option::is_none",
                with = "crate::serial::maybe_seconds"
            )
        )]
        retry_after: Option<Duration>,
        /// What the response says is left of the daily pool, in requests.
        #[cfg_attr(
            feature = "json",
            serde(default, skip_serializing_if = "Option::is_none")
        )]
        daily_remaining: Option<u64>,
    },
    /// The first request of a token and class that is answered after it was rate limited.
    Recovered {
        /// Which of the server's limiters governs the request.
        class: Cow<'static, str>,
        /// Its method and path, without ids.
        route: Route,
        /// How often the request has been sent, this time included.
        attempt: u32,
        /// How many requests of the token and class have been refused since the first one.
        refusals: u64,
        /// From the first refusal to the answer.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        recovered_after: Duration,
    },
    /// Nobody sends under a limit, or with a token or account, until later.
    Paused {
        /// The limit, or `token` or `account`.
        limit: Cow<'static, str>,
        /// Which of the server's limiters governs the request that was refused.
        class: Cow<'static, str>,
        /// The status of the response to it.
        status: u16,
        /// How long.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        lasts: Duration,
    },
    /// The first request has been sent after a pause.
    Resumed {
        /// The limit, or `token` or `account`.
        limit: Cow<'static, str>,
        /// How long ago the pause began.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        after: Duration,
    },
    /// A daily pool is used up, or the server says so.
    DailyExhausted {
        /// The limit.
        limit: Cow<'static, str>,
        /// How long nothing is sent.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        lasts: Duration,
    },
    /// The first request after that has been granted, or, if none comes, the pool is forgotten.
    DailyResumed {
        /// The limit.
        limit: Cow<'static, str>,
        /// How long ago it was exhausted.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        after: Duration,
    },
    /// The server says that a limit allows another number of requests than planned.
    LimitLearned {
        /// The limit.
        limit: Cow<'static, str>,
        /// Requests per window or day, as planned.
        planned: u32,
        /// Requests per window or day, as the server says.
        learned: u32,
    },
    /// Others have begun to use a limit, or have ceased.
    ForeignUse {
        /// The limit.
        limit: Cow<'static, str>,
        /// Their requests in the window or day as far as is known; `None` when they have ceased.
        requests: Option<u32>,
    },
    /// A refusal that nothing explains: less of the service time is credited from now on.
    CreditHalved {
        /// The limit.
        limit: Cow<'static, str>,
        /// The share that is still credited, in per cent.
        percent: u32,
    },
    /// More or fewer requests of a token may be in flight.
    ConcurrencyChanged {
        /// The limit before.
        from: u32,
        /// The limit after.
        to: u32,
        /// Why, in one word.
        reason: Cow<'static, str>,
    },
    /// A request has failed and is sent again.
    Repeated {
        /// Which of the server's limiters governs it.
        class: Cow<'static, str>,
        /// The status of the response; `None` when none came.
        #[cfg_attr(
            feature = "json",
            serde(default, skip_serializing_if = "Option::is_none")
        )]
        status: Option<u16>,
        /// How often it has been sent so far.
        attempt: u32,
        /// How long it backs off before, pauses not included.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        wait: Duration,
    },
    /// A request may not wait for quota any longer, and has failed without being sent.
    Denied {
        /// The limit, or `token`, `account` or `concurrency`.
        limit: Cow<'static, str>,
        /// Which of the server's limiters governs it.
        class: Cow<'static, str>,
        /// Why, in one word.
        reason: Cow<'static, str>,
        /// When quota returns, from now on, as far as is known.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        retry_after: Duration,
    },
    /// In shadow mode: a request that would have been held up. It was sent at once.
    WouldWait {
        /// The limit, or `token`, `account` or `concurrency`.
        limit: Cow<'static, str>,
        /// Which of the server's limiters governs it.
        class: Cow<'static, str>,
    },
    /// The share of error responses among the requests of today has reached a threshold, or has left it.
    ErrorShare {
        /// What it has reached.
        level: Level,
        /// Requests today.
        requests: u64,
        /// Responses among them with a status from 400 on.
        errors: u64,
        /// Those that were rate limited among them.
        rate_limited: u64,
    },
    /// A request was too heavy for the server, and is asked for in smaller pieces.
    TooHeavy {
        /// Its shape's route.
        route: Cow<'static, str>,
        /// The status of the response; `None` after a timeout.
        #[cfg_attr(
            feature = "json",
            serde(default, skip_serializing_if = "Option::is_none")
        )]
        status: Option<u16>,
        /// How many records were asked for.
        asked: u64,
        /// Whether smaller pieces are asked for now.
        goes_on: bool,
        /// Since the caller asked.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        took: Duration,
    },
    /// What may make a request heavy.
    HeavyHint {
        /// Its shape's route.
        route: Cow<'static, str>,
        /// A sentence for people.
        hint: Cow<'static, str>,
    },
    /// A caller has got the whole answer to a request that was too heavy.
    Trimmed {
        /// Its shape's route.
        route: Cow<'static, str>,
        /// Its shape, as far as it is not in the route.
        shape: Cow<'static, str>,
        /// How many records were asked for.
        asked: u64,
        /// How many records at a time worked.
        worked: u64,
        /// In which way they were asked for.
        way: Cow<'static, str>,
        /// Requests that were made instead of the one.
        pieces: u32,
        /// Requests among them that were too heavy.
        too_heavy: u32,
        /// Properties that were left out, where that is allowed.
        dropped: u64,
        /// Since the caller asked.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        took: Duration,
    },
    /// Trimming was of no use, and the caller gets what the server said last.
    TrimFailed {
        /// Its shape's route.
        route: Cow<'static, str>,
        /// Its shape, as far as it is not in the route.
        shape: Cow<'static, str>,
        /// How many records were asked for.
        asked: u64,
        /// How many records at a time were tried last.
        tried: u64,
        /// In which way they were asked for.
        way: Cow<'static, str>,
        /// Requests that were made instead of the one.
        pieces: u32,
        /// Requests among them that were too heavy.
        too_heavy: u32,
        /// The status of the last response, if one came.
        #[cfg_attr(
            feature = "json",
            serde(default, skip_serializing_if = "Option::is_none")
        )]
        status: Option<u16>,
        /// Since the caller asked.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        took: Duration,
    },
    /// Calls for single records have left together.
    Batched {
        /// What they do.
        route: Cow<'static, str>,
        /// How many calls.
        calls: u64,
        /// How many requests were sent for them.
        requests: u32,
        /// How many of these were refused as a whole.
        refused: u32,
        /// From the first call to the last answer.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        took: Duration,
    },
    /// The server takes fewer records in a batch than was thought.
    BatchLimit {
        /// What the calls do.
        route: Cow<'static, str>,
        /// Records per batch.
        most: u64,
    },
    /// Calls to the shared store have failed.
    StoreFailed {
        /// How many, since this was told last.
        failures: u64,
        /// What the last one met.
        error: Cow<'static, str>,
    },
    /// The shared store is gone.
    StoreGone {
        /// What is done without it.
        policy: Cow<'static, str>,
        /// What the last call met.
        error: Cow<'static, str>,
    },
    /// The shared store is back.
    StoreBack {
        /// How long it was gone.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        after: Duration,
    },
    /// Another process has begun a pause that holds here, too.
    PauseShared {
        /// The limit, or `token` or `account`.
        limit: Cow<'static, str>,
        /// How long it still lasts.
        #[cfg_attr(feature = "json", serde(with = "crate::serial::seconds"))]
        lasts: Duration,
    },
    /// Whoever reads the events was too slow, and has missed some.
    Missed {
        /// How many.
        events: u64,
    },
}

/// How an attempt of a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "json",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Ending {
    /// The answer stands: success, or an error that a repetition would not mend.
    Answered,
    /// A limit has refused it.
    Refused,
    /// The server refused it for another reason (a locked record, say), and repeating it may help.
    Turned,
    /// The server failed.
    Failed,
    /// No response came: the connection was lost, or the time was over.
    Lost,
    /// The caller gave it up.
    Dropped,
}

/// How near the share of error responses is to what a vendor bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "json",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Level {
    /// Below both thresholds, or too few requests to tell.
    #[default]
    Fine,
    /// The lower threshold is reached; 3 % if not set.
    Warn,
    /// The upper threshold is reached; 5 % if not set.
    Breach,
}

impl Level {
    /// The same in one word, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Fine => "fine",
            Level::Warn => "warn",
            Level::Breach => "breach",
        }
    }
}

impl EventKind {
    /// The names of all kinds.
    #[cfg(feature = "record")]
    pub(crate) const NAMES: [&'static str; 26] = [
        "request",
        "rate_limited",
        "recovered",
        "paused",
        "resumed",
        "daily_exhausted",
        "daily_resumed",
        "limit_learned",
        "foreign_use",
        "credit_halved",
        "concurrency_changed",
        "repeated",
        "denied",
        "would_wait",
        "error_share",
        "too_heavy",
        "heavy_hint",
        "trimmed",
        "trim_failed",
        "batched",
        "batch_limit",
        "store_failed",
        "store_gone",
        "store_back",
        "pause_shared",
        "missed",
    ];

    /// Its name: the last part of the target of its `tracing` event, and `event` in a log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request",
            Self::RateLimited { .. } => "rate_limited",
            Self::Recovered { .. } => "recovered",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::DailyExhausted { .. } => "daily_exhausted",
            Self::DailyResumed { .. } => "daily_resumed",
            Self::LimitLearned { .. } => "limit_learned",
            Self::ForeignUse { .. } => "foreign_use",
            Self::CreditHalved { .. } => "credit_halved",
            Self::ConcurrencyChanged { .. } => "concurrency_changed",
            Self::Repeated { .. } => "repeated",
            Self::Denied { .. } => "denied",
            Self::WouldWait { .. } => "would_wait",
            Self::ErrorShare { .. } => "error_share",
            Self::TooHeavy { .. } => "too_heavy",
            Self::HeavyHint { .. } => "heavy_hint",
            Self::Trimmed { .. } => "trimmed",
            Self::TrimFailed { .. } => "trim_failed",
            Self::Batched { .. } => "batched",
            Self::BatchLimit { .. } => "batch_limit",
            Self::StoreFailed { .. } => "store_failed",
            Self::StoreGone { .. } => "store_gone",
            Self::StoreBack { .. } => "store_back",
            Self::PauseShared { .. } => "pause_shared",
            Self::Missed { .. } => "missed",
        }
    }
}

#[cfg(all(test, feature = "record"))]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_its_name() {
        let unknown = serde_json::from_str::<EventKind>(r#"{"event":"?"}"#);
        let message = unknown.unwrap_err().to_string();
        // Every second piece stands between backticks, and the first is the unknown name.
        let known = message.split('`').skip(1).step_by(2).skip(1);
        assert_eq!(known.collect::<Vec<_>>(), EventKind::NAMES);
    }
}
