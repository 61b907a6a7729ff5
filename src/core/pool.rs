//! A daily pool: a count that starts again at midnight of a zone.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Now, Tick};
use crate::plan::Zone;

/// The requests of one key under one daily limit.
#[derive(Debug)]
pub(super) struct Pool {
    /// Counted today, those in flight included.
    used: u32,
    in_flight: u32,
    /// Over, but the server may count them after the reset.
    late: u32,
    /// When the count starts again.
    reset: SystemTime,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            used: 0,
            in_flight: 0,
            late: 0,
            reset: UNIX_EPOCH,
        }
    }
}

impl Pool {
    /// Starts a new day when it has come. What is in flight across midnight counts for the new day, too, because the server may
    /// count it there.
    pub(super) fn expire(&mut self, now: Now, zone: &Zone) {
        if now.wall >= self.reset {
            let late = std::mem::take(&mut self.late);
            let is_the_day_after = late > 0 && now.wall < zone.next_reset(self.reset);
            self.used = self.in_flight + if is_the_day_after { late } else { 0 };
            self.reset = zone.next_reset(now.wall);
        }
    }

    /// The day has another midnight from now on; what is known of it stays.
    pub(super) fn change_zone(&mut self, now: Now, zone: &Zone) {
        if now.wall < self.reset {
            self.reset = zone.next_reset(now.wall);
        }
    }

    pub(super) fn used(&self) -> u32 {
        self.used
    }

    pub(super) fn free(&self, quota: u32, zone: &Zone) -> u32 {
        if zone.is_unknown() {
            u32::MAX
        } else {
            quota.saturating_sub(self.used)
        }
    }

    pub(super) fn take(&mut self) {
        self.used = self.used.saturating_add(1);
        self.in_flight = self.in_flight.saturating_add(1);
    }

    pub(super) fn refund(&mut self) {
        self.used = self.used.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A request is over; the server counted it at `latest` at the latest.
    pub(super) fn settle(&mut self, latest: SystemTime) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.late += u32::from(latest >= self.reset);
    }

    pub(super) fn is_blank(&self) -> bool {
        self.used == 0
    }

    pub(super) fn reset_tick(&self, now: Now) -> Tick {
        now.tick_of(self.reset)
    }
}
