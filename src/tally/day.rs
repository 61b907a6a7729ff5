//! The requests of a day, as a whole and every five minutes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Over;
use crate::plan::Zone;
use crate::report::{Counts, INTERVAL, Interval};

const LONGEST_DAY: Duration = Duration::from_secs(25 * 60 * 60);

/// What was counted today and the day before.
#[derive(Debug)]
pub(super) struct Day {
    began: SystemTime,
    ends: SystemTime,
    pub(super) today: Counts,
    pub(super) yesterday: Counts,
    /// Those of today in which something happened, the oldest first: at most 300, of which the longest day has as many.
    intervals: Vec<Interval>,
}

impl Default for Day {
    /// A day that is over.
    fn default() -> Self {
        Self {
            began: UNIX_EPOCH,
            ends: UNIX_EPOCH,
            today: Counts::default(),
            yesterday: Counts::default(),
            intervals: Vec::new(),
        }
    }
}

impl Day {
    /// Gives whether a new day has begun.
    pub(super) fn advance(&mut self, wall: SystemTime, zone: &Zone) -> bool {
        // Where the clock was set back a little the day goes on; where it was a day ahead, the day was none.
        let goes_on = wall < self.ends && wall + LONGEST_DAY >= self.began;
        if goes_on {
            return false;
        }
        let ended = self.ends;
        self.began = began(wall, zone);
        self.ends = zone.next_reset(wall);
        let is_the_next = self.began == ended;
        let before = std::mem::take(&mut self.today);
        self.yesterday = match is_the_next {
            true => before,
            false => Counts::default(),
        };
        self.intervals.clear();
        true
    }

    pub(super) fn count(&mut self, wall: SystemTime, over: &Over) {
        let (error, rate_limited) = (over.is_error(), over.is_rate_limited());
        self.today.requests += 1;
        self.today.errors += u64::from(error);
        self.today.rate_limited += u64::from(rate_limited);
        self.today.lost += u64::from(over.status.is_none());
        let interval = self.interval(wall);
        interval.requests = interval.requests.saturating_add(1);
        interval.errors = interval.errors.saturating_add(error.into());
        interval.rate_limited = interval.rate_limited.saturating_add(rate_limited.into());
        interval.daily = interval.daily.saturating_add(over.pool.is_some().into());
    }

    /// The one of `wall`. What comes late counts for the latest.
    fn interval(&mut self, wall: SystemTime) -> &mut Interval {
        let is_new = match self.intervals.last() {
            Some(last) => wall >= last.began + INTERVAL,
            None => true,
        };
        if is_new {
            let since = wall.duration_since(self.began).unwrap_or_default();
            let nth = since.as_secs() / INTERVAL.as_secs();
            let after = Duration::from_secs(nth * INTERVAL.as_secs());
            self.intervals.push(Interval {
                began: self.began + after,
                requests: 0,
                errors: 0,
                rate_limited: 0,
                daily: 0,
            });
        }
        let last = self.intervals.len() - 1;
        &mut self.intervals[last]
    }

    pub(super) fn began(&self) -> SystemTime {
        self.began
    }

    pub(super) fn ends(&self) -> SystemTime {
        self.ends
    }

    pub(super) fn history(&self) -> Vec<Interval> {
        self.intervals.clone()
    }
}

/// The last midnight before `wall`.
fn began(wall: SystemTime, zone: &Zone) -> SystemTime {
    let before = wall.checked_sub(LONGEST_DAY).unwrap_or(UNIX_EPOCH);
    let mut midnight = zone.next_reset(before);
    loop {
        let next = zone.next_reset(midnight);
        if next > wall || next <= midnight {
            return midnight.min(wall);
        }
        midnight = next;
    }
}
