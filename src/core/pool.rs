//! A daily pool: a count that starts again at midnight of a zone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Now, Tick};
use crate::plan::{Lane, Zone};

/// No day is longer.
const LONGEST_DAY: Duration = Duration::from_secs(25 * 60 * 60);

/// The requests of one key under one daily limit.
#[derive(Debug)]
pub(super) struct Pool {
    /// Counted today, those in flight included.
    used: u32,
    /// Those of `Interactive` among them; of those that are in flight across a reset nobody remembers it.
    interactive: u32,
    in_flight: u32,
    /// Over, but the server may count them after the reset.
    late: u32,
    /// When the count starts again.
    reset: SystemTime,
    /// Boxed, because most pools never have it.
    doubt: Option<Box<Doubt>>,
}

/// It is unknown whether the pool has been filled again.
#[derive(Debug)]
struct Doubt {
    since: Tick,
    /// Requests that are out to learn it.
    asking: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            used: 0,
            interactive: 0,
            in_flight: 0,
            late: 0,
            reset: UNIX_EPOCH,
            doubt: None,
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
            self.interactive = 0;
            self.reset = zone.next_reset(now.wall);
        } else if self.reset > now.wall + LONGEST_DAY {
            // The wall clock was far ahead when the day began, and has been set right since.
            self.reset = zone.next_reset(now.wall);
        }
        if self
            .doubt
            .as_ref()
            .is_some_and(|doubt| now.tick.since(doubt.since) > LONGEST_DAY)
        {
            self.doubt = None;
        }
    }

    /// The server says that the pool is empty. Where nobody knows when it is filled again, the next request is sent alone.
    pub(super) fn pause(&mut self, now: Tick, zone: &Zone) {
        if zone.is_unknown() {
            self.doubt = Some(Box::new(Doubt {
                since: now,
                asking: 0,
            }));
        }
    }

    /// Whether a request is out to learn if the pool has been filled again.
    pub(super) fn is_asking(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.asking > 0)
    }

    /// The day has another midnight from now on; what is known of it stays.
    pub(super) fn change_zone(&mut self, now: Now, zone: &Zone) {
        if now.wall < self.reset {
            self.reset = zone.next_reset(now.wall);
        }
        if !zone.is_unknown() {
            self.doubt = None;
        }
    }

    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Requests that somebody of this lane may make, if so many are kept for `Interactive`.
    pub(super) fn free(&self, quota: u32, reserve: u32, zone: &Zone, lane: Lane) -> u32 {
        match &self.doubt {
            _ if !zone.is_unknown() => {
                let free = quota.saturating_sub(self.used);
                let others = self.used.saturating_sub(self.interactive);
                match lane {
                    Lane::Interactive => free,
                    Lane::Bulk => free.min(quota.saturating_sub(reserve).saturating_sub(others)),
                }
            }
            Some(doubt) => 1_u32.saturating_sub(doubt.asking),
            None => u32::MAX,
        }
    }

    pub(super) fn take(&mut self, lane: Lane) {
        self.used = self.used.saturating_add(1);
        self.interactive += u32::from(lane == Lane::Interactive);
        self.in_flight = self.in_flight.saturating_add(1);
        if let Some(doubt) = &mut self.doubt {
            doubt.asking += 1;
        }
    }

    /// A request that was granted at `granted` was not sent.
    pub(super) fn refund(&mut self, granted: Tick, lane: Lane) {
        self.used = self.used.saturating_sub(1);
        let interactive = u32::from(lane == Lane::Interactive);
        self.interactive = self.interactive.saturating_sub(interactive);
        self.over(granted, false);
    }

    /// A request that was sent at `sent` is over; the server counted it at `latest` at the latest. Gives whether its answer ends
    /// the doubt.
    pub(super) fn settle(&mut self, sent: Tick, latest: SystemTime, answered: bool) -> bool {
        self.late += u32::from(latest >= self.reset);
        self.over(sent, answered)
    }

    fn over(&mut self, began: Tick, answered: bool) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        // What was sent before the doubt began tells nothing about it.
        let Some(doubt) = self.doubt.as_mut().filter(|doubt| began > doubt.since) else {
            return false;
        };
        doubt.asking = doubt.asking.saturating_sub(1);
        if answered {
            self.doubt = None;
        }
        answered
    }

    pub(super) fn is_blank(&self) -> bool {
        self.used == 0 && self.doubt.is_none()
    }

    pub(super) fn reset_tick(&self, now: Now) -> Tick {
        now.tick_of(self.reset)
    }
}
