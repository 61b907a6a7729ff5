//! The simulator's own time.

use std::time::{Duration, SystemTime};

use crate::clock::Clock;

/// Time since the simulator was built, and how it maps to the clocks.
#[derive(Debug)]
pub(super) struct Timeline {
    clock: Clock,
    start: Duration,
    /// The wall clock at time zero. It is read once; a machine whose clock is set later does not disturb the windows.
    origin: SystemTime,
}

impl Timeline {
    pub(super) fn new(clock: Clock) -> Self {
        let start = clock.elapsed();
        let origin = clock.wall();
        Self {
            clock,
            start,
            origin,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.start)
    }

    pub(super) fn origin(&self) -> SystemTime {
        self.origin
    }

    pub(super) async fn sleep_until(&self, time: Duration) {
        // A sleep of no length would still cost a turn of the timer.
        if time > self.now() {
            tokio::time::sleep_until(self.clock.instant(self.start + time)).await;
        }
    }
}
