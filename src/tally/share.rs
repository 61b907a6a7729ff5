//! The share of error responses, and whether somebody must know.

use crate::event::Level;
use crate::report::{Counts, ErrorShare};

/// From which share of errors on somebody must know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    pub(crate) warn: f64,
    pub(crate) breach: f64,
    pub(crate) least_requests: u64,
}

impl Default for Thresholds {
    /// HubSpot's 5 % of a day's requests ("Requests resulting in an error response shouldn't exceed 5% of your total daily requests",
    /// needed for marketplace certification), and early enough before it. A hundred requests are enough for five errors to be no
    /// accident.
    fn default() -> Self {
        Self {
            warn: 0.03,
            breach: 0.05,
            least_requests: 100,
        }
    }
}

/// What has been reached is left below this share of the threshold, so that one request more does not raise it anew.
const CLEARED: f64 = 0.9;

impl Thresholds {
    /// The level that follows `level`.
    pub(crate) fn next(&self, level: Level, counts: &Counts) -> Level {
        if counts.requests < self.least_requests {
            return Level::Fine;
        }
        let share = counts.error_share();
        let holds = |reached: Level, threshold: f64| match level >= reached {
            true => share >= threshold * CLEARED,
            false => share >= threshold,
        };
        if holds(Level::Breach, self.breach) {
            Level::Breach
        } else if holds(Level::Warn, self.warn) {
            Level::Warn
        } else {
            Level::Fine
        }
    }

    pub(crate) fn report(&self, level: Level, counts: &Counts) -> ErrorShare {
        ErrorShare {
            level,
            share: counts.error_share(),
            warn: self.warn,
            breach: self.breach,
            least_requests: self.least_requests,
        }
    }
}
