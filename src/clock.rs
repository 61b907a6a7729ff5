//! The one place where time is read.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::core::{Now, Tick};

/// Where a [`Quota`](crate::Quota) reads the time.
///
/// Windows use the monotonic clock of tokio, so that `tokio::time::pause` works in tests; the wall clock is read only for
/// daily pools and for what is shown to people.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
    wall: Wall,
}

#[derive(Clone, Debug)]
enum Wall {
    System,
    From(SystemTime),
}

#[allow(clippy::disallowed_methods, reason = "this is the seam")]
impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self {
            origin: Instant::now(),
            wall: Wall::System,
        }
    }

    /// A wall clock that shows `wall` now and then runs with tokio's monotonic clock: for tests in paused time, and for
    /// simulations of a certain day.
    pub fn starting_at(wall: SystemTime) -> Self {
        Self {
            origin: Instant::now(),
            wall: Wall::From(wall),
        }
    }

    /// The time since the clock was made, on the monotonic clock.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The wall clock.
    pub fn wall(&self) -> SystemTime {
        match self.wall {
            Wall::System => SystemTime::now(),
            Wall::From(start) => start + self.elapsed(),
        }
    }

    /// The present time for the ledger. Where no daily pool needs the wall clock, it is not read and shows 1970.
    pub(crate) fn now(&self, with_wall: bool) -> Now {
        Now {
            tick: Tick::from(self.elapsed()),
            wall: match with_wall {
                true => self.wall(),
                false => SystemTime::UNIX_EPOCH,
            },
        }
    }

    /// When `instant` is on this clock.
    pub(crate) fn tick_of(&self, instant: Instant) -> Tick {
        Tick::from(instant.saturating_duration_since(self.origin))
    }

    /// The instant at which [`elapsed`](Self::elapsed) will be `elapsed`; about a year from now when it cannot be represented.
    pub(crate) fn instant(&self, elapsed: Duration) -> Instant {
        const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);
        self.origin
            .checked_add(elapsed)
            .unwrap_or_else(|| Instant::now() + YEAR)
    }

    /// The instant `after` from now.
    pub(crate) fn instant_after(after: Duration) -> Instant {
        Instant::now() + after
    }
}
