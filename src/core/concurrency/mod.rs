//! How many requests of a token may be in flight: a pure state machine.
//!
//! [`Crowds`] knows, for every token, who is in flight, who waits, and the limit that the server seems to bear. Like the
//! [`Ledger`](super::Ledger) it is told the time and knows no clock, no runtime and no HTTP.
//! [`AdaptiveConcurrencyLayer`](crate::AdaptiveConcurrencyLayer) drives it and says in its module docs how the limit moves.
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::core::concurrency::{Bounds, Crowds, Evidence, Settings, Turn};
//! use tower_quota::core::{Keys, Tick};
//! use tower_quota::plan::Lane;
//!
//! let mut crowds = Crowds::new(Settings { bounds: Bounds::new(2, 1, 64), ..Settings::default() });
//! let (token, now) = (Keys::SHARED.token, Tick::ZERO);
//! let mut enter = || crowds.enter(now, token, Lane::Bulk, None, Tick::NEVER);
//! let (Turn::Granted(first), Turn::Granted(_)) = (enter(), enter()) else {
//!     unreachable!("the limit is two");
//! };
//! assert!(matches!(enter(), Turn::Waiting { .. }));
//!
//! // The server is overloaded: the limit is halved.
//! crowds.over(now.after(Duration::from_millis(80)), first, &Evidence::Overloaded);
//! assert_eq!(crowds.concurrency(now, token).limit, 1);
//! ```

mod control;
mod crowd;
mod crowds;

use std::time::Duration;

pub use self::crowds::{Crowds, Turn, WaiterId};
use crate::core::queue::Rank;
use crate::core::tick::Tick;

/// How many may wait per token when nobody says otherwise.
const MAX_WAITING: u32 = 65_536;

/// What a [`Crowds`] is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the limit begins, and between what it stays.
    pub bounds: Bounds,
    /// Which headroom counts.
    pub headroom: Headroom,
    /// How many requests of one token may wait; 65,536 at first. With 0 nobody waits.
    pub max_waiting: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bounds: Bounds::new(4, 1, 64),
            headroom: Headroom::default(),
            max_waiting: MAX_WAITING,
        }
    }
}

/// Where the limit of a token begins, and between what it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    start: u32,
    min: u32,
    max: u32,
}

impl Bounds {
    /// Bounds that make sense, whatever is given: zero counts as one, `max` wins over `min`, and both over `start`.
    pub fn new(start: u32, min: u32, max: u32) -> Self {
        let max = max.max(1);
        let min = min.clamp(1, max);
        let start = start.clamp(min, max);
        Self { start, min, max }
    }

    /// The limit of a token about which nothing is known.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The limit is never lower.
    pub fn min(&self) -> u32 {
        self.min
    }

    /// The limit is never higher.
    pub fn max(&self) -> u32 {
        self.max
    }
}

/// Which headroom moves the limit: how much of the API's quota is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Headroom {
    /// Only what others use counts. What our own ledger explains is governed by it already: a sync that uses all of its quota
    /// always has little left, and is healthy.
    #[default]
    Unexplained,
    /// What the response says is left, whoever used it: halve below 20 %, double after two windows above 70 %. It throttles a
    /// client that uses its quota.
    Literal,
}

/// How much of a limit is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Left {
    /// From 0 (nothing) to 1 (all).
    pub share: f64,
    /// The window over which the limit counts.
    pub window: Duration,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// The server answered.
    Answered {
        /// How long it says it worked.
        service_time: Option<Duration>,
        /// The headroom that counts, if known.
        left: Option<Left>,
    },
    /// It refused, gave up, or did not answer in time.
    Overloaded,
    /// Nothing that tells of load: the caller gave up, or the server failed for another reason.
    Nothing,
}

/// Why the limit has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The server was overloaded: halved.
    Overload,
    /// Less than 20 % of a limit is left: halved.
    LowHeadroom,
    /// More than 70 % has been left for two windows: doubled. Only with [`Headroom::Literal`].
    HighHeadroom,
    /// Nothing bad has come yet: doubled.
    SlowStart,
    /// Back to a level that has held before.
    Recovery,
    /// A step to a level that has not been seen to hold, at the end of which there may be an overload.
    Probe,
}

impl Reason {
    /// The same in one word, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Overload => "overload",
            Reason::LowHeadroom => "low_headroom",
            Reason::HighHeadroom => "high_headroom",
            Reason::SlowStart => "slow_start",
            Reason::Recovery => "recovery",
            Reason::Probe => "probe",
        }
    }
}

/// A change of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The limit before.
    pub from: u32,
    /// The limit after.
    pub to: u32,
    /// Why.
    pub reason: Reason,
    /// How long ago.
    pub ago: Duration,
}

/// How many requests of one token are in flight, and how many may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Concurrency {
    /// So many may be in flight.
    pub limit: u32,
    /// So many are: more than the limit for a while after it has shrunk.
    pub in_flight: u32,
    /// So many wait.
    pub waiting: u32,
    /// The last change of the limit, if there was any.
    pub last_change: Option<Change>,
}

/// Who may be in flight: given to [`Crowds::over`] when the request is. Dropping it loses the place for ever, which is why the
/// layer wraps it.
#[derive(Debug)]
#[must_use]
pub struct Place {
    crowd: u32,
    rank: Rank,
    /// How many were in flight with it when it was granted.
    level: u32,
    /// The round in which it was granted.
    round: u64,
    granted: Tick,
}

impl Place {
    /// Its age, to stand in line again where it stood.
    pub fn age(&self) -> Age {
        Age(self.rank)
    }

    /// When it was granted.
    pub fn granted(&self) -> Tick {
        self.granted
    }
}

/// How long somebody has stood in line, compared with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(Rank);
