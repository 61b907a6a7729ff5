//! The one place where time is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Beyond this nobody waits.
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

#[derive(Clone, Debug)]
enum Wall {
    System(Arc<Midnights>),
    From(SystemTime),
    /// What the clock of a shared store showed when the monotonic clock began, in nanoseconds since 1970.
    #[cfg(feature = "redis")]
    Store(Arc<AtomicU64>),
}

/// The time so many nanoseconds after 1970, and `elapsed` later.
fn wall_after(origin: &AtomicU64, elapsed: Duration) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(origin.load(Ordering::Acquire)) + elapsed
}

/// The machine's wall clock for those who only want to know the day: read once a second.
#[derive(Debug, Default)]
struct Midnights {
    /// When it was read last, in milliseconds on the monotonic clock, plus one; zero if never.
    read: AtomicU64,
    /// What it showed when the monotonic clock began, in nanoseconds since 1970.
    origin: AtomicU64,
}

impl Midnights {
    const LONGEST: u64 = 1_000;

    /// What the wall clock shows when the monotonic clock shows `elapsed`.
    fn wall(&self, elapsed: Duration, read: impl Fn() -> SystemTime) -> SystemTime {
        let millis = elapsed.as_millis() as u64;
        let last = self.read.load(Ordering::Acquire);
        if last == 0 || millis >= last.saturating_add(Self::LONGEST) {
            let wall = read();
            let origin = wall
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .saturating_sub(elapsed);
            let nanos = u64::try_from(origin.as_nanos()).unwrap_or(u64::MAX);
            self.origin.store(nanos, Ordering::Release);
            self.read.store(millis.saturating_add(1), Ordering::Release);
            return wall;
        }
        wall_after(&self.origin, elapsed)
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the seam")]
impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self {
            origin: Instant::now(),
            wall: Wall::System(Arc::default()),
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
        match &self.wall {
            Wall::System(_) => SystemTime::now(),
            Wall::From(start) => *start + self.elapsed(),
            #[cfg(feature = "redis")]
            Wall::Store(origin) => wall_after(origin, self.elapsed()),
        }
    }

    /// The same monotonic clock beside the wall clock of a shared store, which showed `wall` at that instant.
    #[cfg(feature = "redis")]
    pub(crate) fn beside_store(self, wall: SystemTime, at: Instant) -> Self {
        let clock = Self {
            origin: self.origin,
            wall: Wall::Store(Arc::default()),
        };
        clock.set_store(wall, at);
        clock
    }

    /// The wall clock of the shared store showed `wall` at that instant. Nothing to a clock without one.
    #[cfg(feature = "redis")]
    pub(crate) fn set_store(&self, wall: SystemTime, at: Instant) {
        if let Wall::Store(origin) = &self.wall {
            let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
            // One of them is zero: the clock may have been made before that instant or after it.
            let late = self.origin.saturating_duration_since(at);
            let early = at.saturating_duration_since(self.origin);
            let nanos = (since_1970 + late).saturating_sub(early).as_nanos();
            origin.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
        }
    }

    /// The present time for the ledger. Where no daily pool needs the wall clock, it is not read and shows 1970; where one does,
    /// a step of the wall clock is seen within a second.
    pub(crate) fn now(&self, with_wall: bool) -> Now {
        let elapsed = self.elapsed();
        Now {
            tick: Tick::from(elapsed),
            wall: match &self.wall {
                _ if !with_wall => UNIX_EPOCH,
                Wall::System(midnights) => midnights.wall(elapsed, SystemTime::now),
                Wall::From(start) => *start + elapsed,
                #[cfg(feature = "redis")]
                Wall::Store(origin) => wall_after(origin, elapsed),
            },
        }
    }

    /// When `instant` is on this clock.
    pub(crate) fn tick_of(&self, instant: Instant) -> Tick {
        Tick::from(instant.saturating_duration_since(self.origin))
    }

    /// The instant at which [`elapsed`](Self::elapsed) will be `elapsed`; about a year from now when it cannot be represented.
    pub(crate) fn instant(&self, elapsed: Duration) -> Instant {
        self.origin
            .checked_add(elapsed)
            .unwrap_or_else(|| Instant::now() + YEAR)
    }

    /// The present instant.
    pub(crate) fn instant_now() -> Instant {
        Instant::now()
    }

    /// The instant `after` from now; about a year from now when that is later.
    pub(crate) fn instant_after(after: Duration) -> Instant {
        Instant::now() + after.min(YEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_the_wall_clock_is_seen_within_a_second() {
        let second = Duration::from_secs(1);
        let midnights = Midnights::default();
        let shows = |hours: u32| move || UNIX_EPOCH + hours * 3600 * second;
        assert_eq!(midnights.wall(second, shows(5)), shows(5)());
        assert_eq!(midnights.wall(2 * second, shows(9)), shows(5)() + second);
        assert_eq!(
            midnights.wall(2 * second + second / 100, shows(9)),
            shows(9)()
        );
        assert_eq!(midnights.wall(4 * second, shows(2)), shows(2)());
        let before_1970 = || UNIX_EPOCH - Duration::from_secs(1);
        assert!(midnights.wall(6 * second, before_1970) < UNIX_EPOCH);
        assert_eq!(
            midnights.wall(6 * second, shows(1)),
            UNIX_EPOCH + 6 * second
        );
    }

    #[cfg(feature = "redis")]
    #[tokio::test(start_paused = true)]
    async fn beside_a_store_the_wall_clock_is_the_stores_whenever_either_was_made() {
        let second = Duration::from_secs(1);
        let store = UNIX_EPOCH + 1_000_000 * second;
        let skewed = || Clock::starting_at(UNIX_EPOCH + 5_000_000 * second);
        let early = skewed();
        tokio::time::advance(3 * second).await;
        let at = Clock::instant_now();
        let early = early.beside_store(store, at);
        tokio::time::advance(4 * second).await;
        let late = skewed().beside_store(store, at);
        for clock in [&early, &late] {
            assert_eq!(clock.wall(), store + 4 * second);
            assert_eq!(clock.now(true).wall, store + 4 * second);
        }
        assert_eq!(
            (early.elapsed(), late.elapsed()),
            (7 * second, Duration::ZERO)
        );
        // The store's clock was set forward since.
        early.set_store(store + 60 * second, Clock::instant_now());
        assert_eq!(early.wall(), store + 60 * second);
    }
}
