//! When a daily pool will be used up, if the day goes on as it does.
//!
//! # What and when
//!
//! [`Burn`] counts the requests of one pool by quarters of an hour, today and the day before, and makes a [`Projection`] of them
//! whenever it is asked. [`Quota::report`](crate::Quota::report) does so for the pools that are used most; a program that has
//! the counts from elsewhere, from a log say, can do it itself.
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//! use tower_quota::report::projection::Burn;
//!
//! let midnight = UNIX_EPOCH + Duration::from_secs(20_000 * 86_400);
//! let hour = Duration::from_secs(3_600);
//! let mut usage = Burn::new(midnight, midnight + 24 * hour);
//! for minute in 0..12 * 60 {
//!     usage.note(midnight + minute * hour / 60, 100);
//! }
//! let noon = midnight + 12 * hour;
//! let projection = usage.project(noon, 72_000, 100_000, midnight + 24 * hour);
//! assert_eq!(projection.per_hour.round(), 6_000.0);
//! let after = projection.runs_out.unwrap().duration_since(noon).unwrap();
//! assert_eq!(after.as_secs() / 60, 280);
//! ```
//!
//! # How
//!
//! Two models are tried. One says that the rest of the day is like the hours before: traffic is as dense at any time. The other says
//! that it is like the rest of the day before, as much denser or thinner as today has been so far.
//!
//! In each, the level is that of the time since it has changed last. Whether it has, is told by Pettitt's test on half hours, which
//! looks at ranks only and is not misled by a single burst (A. N. Pettitt, "A non-parametric approach to the change-point
//! problem", Applied Statistics 28 (1979), 126-135); it is repeated on what is newer than the change. The further ahead, the more
//! the level goes back to the mean of the day, half of the way in twelve hours.
//!
//! The forecast is the mean of both, weighted by how well each would have foretold the last hours: inversely to the mean square of
//! its error (J. M. Bates and C. W. J. Granger, "The combination of forecasts", Operational Research Quarterly 20 (1969),
//! 451-468), of which the newer ones count more.
//!
//! # How well
//!
//! `cargo bench --bench projection` tells, for simulated days of many kinds. Where nothing is known of the day before, a program
//! that is busy by day is taken to be as busy by night, so that its pool seems to run out in the evening.
//! The constants were chosen on other seeds than those that the bench shows.

mod model;

use std::time::{Duration, SystemTime};

use self::model::{Seen, forecast};

/// In which requests are counted.
const QUARTER: Duration = Duration::from_secs(15 * 60);
/// The longest day has 25 hours.
const QUARTERS: usize = 100;
/// Of most days.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_DAY: Duration = Duration::from_secs(25 * 60 * 60);
/// A reset moves by so much when clocks are changed.
const CLOCK_CHANGE: Duration = Duration::from_secs(60 * 60);

/// Requests by the quarter of an hour.
type Counts = [u32; QUARTERS];

/// The requests of one daily pool, by the quarter of an hour: see the [module docs](self). It takes less than 1 KiB.
#[derive(Clone, Debug)]
pub struct Burn {
    today: Day,
    yesterday: Day,
    /// When the day began.
    began: SystemTime,
    /// When the next one begins, as far as is known.
    resets: SystemTime,
    /// Used today before it was counted.
    before: u32,
    /// Used today and counted.
    counted: u32,
    /// Up to where what others use is accounted for, in seconds of today.
    told: u32,
    /// The quarter that was noted last, and its end: most requests are of the same one as those before.
    quarter: u8,
    quarter_ends: SystemTime,
}

/// One day.
#[derive(Clone, Debug)]
struct Day {
    counts: Counts,
    /// When counting began, in seconds since the day did; `None` for a day of which nothing is known.
    from: Option<u32>,
}

impl Day {
    const UNKNOWN: Self = Self {
        counts: [0; QUARTERS],
        from: None,
    };
}

/// How fast a daily pool will be used, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Projection {
    /// Requests in the next hour, or per hour until the reset if that is sooner.
    pub per_hour: f64,
    /// When the pool will be used up; `None` if that is not before the reset.
    pub runs_out: Option<SystemTime>,
}

impl Burn {
    /// Nothing is known of what was used before `now`. The pool is filled again at `resets`, which is at most 25 h later.
    pub fn new(now: SystemTime, resets: SystemTime) -> Self {
        let began = resets.checked_sub(DAY).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut today = Day::UNKNOWN;
        today.from = Some(seconds(began, now).min(LONGEST_DAY.as_secs() as u32));
        Self {
            today,
            yesterday: Day::UNKNOWN,
            began: began.min(now),
            resets,
            before: 0,
            counted: 0,
            told: 0,
            quarter: 0,
            quarter_ends: SystemTime::UNIX_EPOCH,
        }
    }

    /// So many requests are sent now.
    pub fn note(&mut self, now: SystemTime, requests: u32) {
        if now >= self.quarter_ends {
            self.next_quarter(now);
        }
        self.add(usize::from(self.quarter), requests);
    }

    #[cold]
    fn next_quarter(&mut self, now: SystemTime) {
        if now >= self.resets {
            self.roll_over(now);
        }
        let quarter = self.quarter(now);
        let ends = later(self.began, (quarter as u32 + 1) * QUARTER);
        // The last one of a day may be shorter.
        self.quarter_ends = ends.min(self.resets);
        self.quarter = quarter as u8;
    }

    /// When the pool will be used up. Of its `quota`, `used` requests have been used today by whomever, and it is filled again at
    /// `resets`.
    ///
    /// What was not [noted](Self::note) is others' use since this was asked last; or, if counting has begun less than a quarter of an
    /// hour ago, use before that.
    pub fn project(
        &mut self,
        now: SystemTime,
        used: u32,
        quota: u32,
        resets: SystemTime,
    ) -> Projection {
        self.hear(now, used, resets);
        self.foretell(now, used, quota, resets)
    }

    /// What is used in all, and when the pool is filled again.
    pub(crate) fn hear(&mut self, now: SystemTime, used: u32, resets: SystemTime) {
        self.set_reset(now, resets);
        self.account_for(now, used);
    }

    /// What follows from it, which takes some time.
    pub(crate) fn foretell(
        &self,
        now: SystemTime,
        used: u32,
        quota: u32,
        resets: SystemTime,
    ) -> Projection {
        let quarters = |moment| {
            let quarters = f64::from(seconds(self.began, moment)) / QUARTER.as_secs_f64();
            quarters.min(QUARTERS as f64)
        };
        let (until, end) = (quarters(now), quarters(resets));
        let seen = Seen {
            counts: &self.today.counts,
            from: self.today.from.unwrap_or(0),
            until,
            before: f64::from(self.before),
        };
        let yesterday = self
            .yesterday
            .from
            .map(|from| (&self.yesterday.counts, from));
        let rates = forecast(&seen, yesterday);

        let hour = end.min(until + 4.0);
        let per_hour = match hour > until {
            true => 4.0 * rates.between(until, hour) / (hour - until),
            false => 0.0,
        };
        let left = f64::from(quota.saturating_sub(used));
        let runs_out = rates.when(until, end, left);
        let after = runs_out.map(|at| QUARTER.mul_f64((at - until).max(0.0)));
        Projection {
            per_hour,
            runs_out: after.and_then(|after| now.checked_add(after)),
        }
    }

    fn quarter(&self, now: SystemTime) -> usize {
        let quarter = seconds(self.began, now) / QUARTER.as_secs() as u32;
        (quarter as usize).min(QUARTERS - 1)
    }

    fn add(&mut self, quarter: usize, requests: u32) {
        let count = &mut self.today.counts[quarter];
        *count = count.saturating_add(requests);
        self.counted = self.counted.saturating_add(requests);
    }

    /// A new day has begun, and maybe more than one. What the next one's reset is, is told later.
    #[cold]
    fn roll_over(&mut self, now: SystemTime) {
        let late = now.duration_since(self.resets).unwrap_or_default();
        let days = u32::try_from(late.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX);
        let nothing = Day {
            from: Some(0),
            ..Day::UNKNOWN
        };
        let ended = std::mem::replace(&mut self.today, nothing.clone());
        self.yesterday = match days {
            0 => ended,
            // Of which it is known that there was nothing.
            _ => nothing,
        };
        self.began = later(self.resets, days * DAY);
        self.resets = later(self.began, DAY);
        (self.before, self.counted, self.told) = (0, 0, 0);
        self.quarter_ends = self.began;
    }

    fn set_reset(&mut self, now: SystemTime, resets: SystemTime) {
        if now >= self.resets {
            self.roll_over(now);
        }
        let moved = resets.duration_since(self.resets);
        let moved = moved.unwrap_or_else(|error| error.duration());
        if moved > CLOCK_CHANGE {
            // What was counted is not of the days that are meant now.
            *self = Self::new(now, resets);
        }
        self.resets = resets;
        self.quarter_ends = self.quarter_ends.min(resets);
    }

    /// Finds a place for what was used and not noted: evenly, since this was done last.
    fn account_for(&mut self, now: SystemTime, used: u32) {
        let known = self.before.saturating_add(self.counted);
        let mut missing = used.saturating_sub(known);
        self.before = self.before.saturating_sub(known.saturating_sub(used));
        let quarter = QUARTER.as_secs() as u32;
        let now = seconds(self.began, now).min(QUARTERS as u32 * quarter);
        let from = self.today.from.unwrap_or(0);
        let since = self.told.max(from).min(now);
        self.told = now;
        if from > 0 && now < from + quarter {
            self.before = self.before.saturating_add(missing);
            return;
        }
        let mut at = since;
        while missing > 0 {
            let next = ((at / quarter + 1) * quarter).min(now);
            let share = match now.checked_sub(at) {
                Some(rest @ 1..) => {
                    (u64::from(missing) * u64::from(next - at) / u64::from(rest)) as u32
                }
                _ => missing,
            };
            self.add(((at / quarter) as usize).min(QUARTERS - 1), share);
            missing -= share;
            at = next;
        }
    }
}

/// Where time ends, it stays.
fn later(moment: SystemTime, by: Duration) -> SystemTime {
    moment.checked_add(by).unwrap_or(moment)
}

fn seconds(since: SystemTime, moment: SystemTime) -> u32 {
    let since = moment.duration_since(since).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
