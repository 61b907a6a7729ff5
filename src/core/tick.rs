use std::time::{Duration, SystemTime};

/// A point on the monotonic clock: nanoseconds since an origin that the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The origin.
    pub const ZERO: Tick = Tick(0);
    /// Later than every time that can come.
    pub const NEVER: Tick = Tick(u64::MAX);

    /// The time since the origin.
    pub fn since_origin(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The time from `earlier` to this point; zero if `earlier` is later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point moved into the future, at most to [`Tick::NEVER`].
    #[must_use]
    pub fn after(self, by: Duration) -> Tick {
        Tick(self.0.saturating_add(nanos(by)))
    }

    /// This point moved into the past, at most to the origin.
    #[must_use]
    pub fn before(self, by: Duration) -> Tick {
        Tick(self.0.saturating_sub(nanos(by)))
    }

    /// The next multiple of `grain`.
    pub(super) fn round_up(self, grain: Duration) -> Tick {
        match nanos(grain) {
            0 | 1 => self,
            grain => Tick(self.0.checked_next_multiple_of(grain).unwrap_or(u64::MAX)),
        }
    }

    /// The first point after this one.
    pub(super) fn next(self) -> Tick {
        Tick(self.0.saturating_add(1))
    }
}

impl From<Duration> for Tick {
    fn from(since_origin: Duration) -> Self {
        Tick(nanos(since_origin))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time at which something happens to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// On the monotonic clock; every window uses this one.
    pub tick: Tick,
    /// On the wall clock; only daily pools use this one.
    pub wall: SystemTime,
}

impl Now {
    /// When the wall clock will show `wall`, seen from now.
    pub(super) fn tick_of(&self, wall: SystemTime) -> Tick {
        self.tick
            .after(wall.duration_since(self.wall).unwrap_or_default())
    }
}
