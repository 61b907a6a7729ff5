//! What happens to quota: [`QuotaEvent`]s, for people and for programs.
//!
//! # What and when
//!
//! Everything that somebody who runs an integration should know of is one kind of event ([`EventKind`]): a refusal and the
//! recovery from it, a pause and its end, a daily pool that is used up, a limit that is not what the plan says, a change of the
//! concurrency, a request that was trimmed, calls that were batched, an outage of the shared store, a share of errors that comes near
//! to what the vendor bears.
//!
//! Each is told twice:
//!
//! * as a `tracing` event with the target `tower_quota::` and the kind's [name](EventKind::as_str), for logs. Its fields are those of the kind;
//!   `token` and `account` are the first eight digits of a fingerprint, durations are `seconds`, or what the kind calls them. Names of
//!   targets and fields are stable: they change only with the major version.
//! * as a value, in the stream that [`Quota::events`](crate::Quota::events) gives. It is bounded and never holds a request up: a reader that is too slow
//!   [misses](EventKind::Missed) the oldest.
//!
//! Neither contains a token, an address or an id of a record: tokens and accounts are [fingerprints](crate::core::Fingerprint), and paths are
//! [routes](Route) in which only the API's own names are left.
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::event::EventKind;
//! use tower_quota::plan::{Limit, Plan};
//! use tower_quota::Quota;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_quota::ConfigError> {
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::new(plan);
//! let mut events = quota.events();
//! # drop(quota);
//! while let Some(event) = events.next().await {
//!     match event.kind {
//!         EventKind::DailyExhausted { limit, lasts } => println!("`{limit}` is used up for {lasts:?}"),
//!         kind => println!("{}", kind.as_str()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod kind;
mod route;
mod stream;
mod trace;

use std::time::SystemTime;

pub use self::kind::{Ending, EventKind, Level};
pub use self::route::Route;
#[cfg(feature = "record")]
pub(crate) use self::stream::EVENTS_WITH_REQUESTS;
pub use self::stream::Events;
pub(crate) use self::stream::Hub;
use crate::core::{Fingerprint, Keys};

/// Something that has happened to quota.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct QuotaEvent {
    /// When, by the clock of the quota; written as seconds since 1970.
    #[cfg_attr(feature = "json", serde(with = "crate::serial::since_1970"))]
    pub at: SystemTime,
    /// Whose token it concerns, if a single one.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub token: Option<Fingerprint>,
    /// Whose account it concerns, if a single one.
    #[cfg_attr(
        feature = "json",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub account: Option<Fingerprint>,
    /// What has happened.
    #[cfg_attr(feature = "json", serde(flatten))]
    pub kind: EventKind,
}

impl QuotaEvent {
    /// An event that concerns the token and account of `whose`.
    pub(crate) fn new(at: SystemTime, whose: Whose, kind: EventKind) -> Self {
        Self {
            at,
            token: whose.token,
            account: whose.account,
            kind,
        }
    }
}

/// Whom an event concerns.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whose {
    pub(crate) token: Option<Fingerprint>,
    pub(crate) account: Option<Fingerprint>,
}

impl Whose {
    /// Everybody.
    pub(crate) const ALL: Self = Self {
        token: None,
        account: None,
    };

    pub(crate) fn token(token: Fingerprint) -> Self {
        Self {
            token: Some(token),
            account: None,
        }
    }

    pub(crate) fn account(account: Fingerprint) -> Self {
        Self {
            token: None,
            account: Some(account),
        }
    }
}

impl From<Keys> for Whose {
    fn from(keys: Keys) -> Self {
        Self {
            token: Some(keys.token),
            account: Some(keys.account),
        }
    }
}
