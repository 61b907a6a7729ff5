//! The requests of a day, as a whole and every five minutes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Over;
use crate::plan::Zone;
use crate::report::{Counts, INTERVAL, Interval};

const LONGEST_DAY: Duration = Duration::from_secs(25 * 60 * 60);
/// A clock that is set back by more than this was ahead; by less, it is an hour of the same day again.
const AHEAD: Duration = Duration::from_secs(60 * 60);

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
        let ended = self.ends;
        if wall < ended && wall + LONGEST_DAY + AHEAD >= ended {
            return false;
        }
        self.began = began(wall, zone);
        self.ends = zone.next_reset(wall);
        if wall < ended {
            // The clock was a day ahead: what was counted for that day was sent today.
            self.intervals.clear();
            return false;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// So many hours after the midnight of some day.
    fn at(hours: u64) -> SystemTime {
        UNIX_EPOCH + 20_454 * 24 * HOUR + Duration::from_secs(hours * 3600)
    }

    fn begun(hours: u64) -> Day {
        let mut day = Day::default();
        assert!(day.advance(at(hours), &Zone::UTC));
        day.today.requests = 7;
        day.interval(at(hours)).requests = 7;
        day
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_does_not_begin_the_day_again() {
        let mut day = begun(24);
        for hours in [24, 23, 24, 47] {
            assert!(!day.advance(at(hours), &Zone::UTC), "{hours}");
            assert_eq!((day.began, day.today.requests), (at(24), 7));
        }
        assert_eq!(day.interval(at(23)).requests, 7);
        assert!(day.advance(at(48), &Zone::UTC));
        assert_eq!((day.yesterday.requests, day.today.requests), (7, 0));
    }

    #[test]
    fn a_clock_that_was_days_ahead_does_not_hold_up_the_next_day() {
        for ahead in [1, 2, 400] {
            let mut day = begun(12 + 24 * ahead);
            // Set right at noon: what was counted was sent today.
            assert!(!day.advance(at(12), &Zone::UTC));
            assert_eq!((day.began, day.today.requests), (at(0), 7));
            assert_eq!(day.interval(at(12)).requests, 0);
            assert_eq!(day.interval(at(12)).began, at(12));
            assert!(day.advance(at(24), &Zone::UTC));
            assert_eq!((day.began, day.yesterday.requests), (at(24), 7));
        }
    }

    #[test]
    fn there_are_never_more_intervals_than_a_day_has() {
        let mut day = begun(0);
        for minute in 0..(3 * 24 * 60) {
            let wall = at(0) + Duration::from_secs(minute * 60);
            // Back and forth.
            for wall in [wall, wall - 30 * HOUR / 60, wall + HOUR] {
                day.advance(wall, &Zone::UTC);
                day.interval(wall).requests += 1;
            }
            assert!(day.intervals.len() <= 300);
        }
    }
}
