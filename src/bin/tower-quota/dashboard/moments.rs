//! Moments and lengths of time for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Seconds since 1970; 0 before.
pub(super) fn seconds(moment: SystemTime) -> f64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs_f64()
}

/// So long from now on, as in `2 h 10 min` or `4.2 s`.
pub(super) fn length(length: Duration) -> String {
    let seconds = length.as_secs_f64();
    let whole = seconds.round() as u64;
    match whole {
        _ if seconds < 0.0995 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds < 9.95 => format!("{} s", format!("{seconds:.1}").trim_end_matches(".0")),
        0..60 => format!("{whole} s"),
        60..3_600 => pair(whole / 60, "min", whole % 60, "s"),
        3_600..86_400 => {
            let minutes = (whole + 30) / 60;
            pair(minutes / 60, "h", minutes % 60, "min")
        }
        _ => {
            let hours = (whole + 1_800) / 3_600;
            pair(hours / 24, "d", hours % 24, "h")
        }
    }
}

fn pair(large: u64, larges: &str, small: u64, smalls: &str) -> String {
    match small {
        0 => format!("{large} {larges}"),
        _ => format!("{large} {larges} {small} {smalls}"),
    }
}

/// The zone in which moments are shown.
#[derive(Clone, Debug)]
pub(super) struct Times(TimeZone);

impl Times {
    /// # Errors
    ///
    /// When there is no zone of this name.
    pub(super) fn new(zone: &str) -> Result<Self, jiff::Error> {
        TimeZone::get(zone).map(Self)
    }

    /// What the zone is called.
    pub(super) fn zone(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// As in `14:03`.
    pub(super) fn minute(&self, moment: SystemTime) -> String {
        self.shown("%H:%M", moment)
    }

    /// As in `14:03:59`.
    pub(super) fn second(&self, moment: SystemTime) -> String {
        self.shown("%H:%M:%S", moment)
    }

    /// As in `22 Nov 2026, 14:03:59`.
    pub(super) fn full(&self, moment: SystemTime) -> String {
        self.shown("%-d %b %Y, %H:%M:%S", moment)
    }

    /// As in `22 Nov, 14:03`.
    pub(super) fn day(&self, moment: SystemTime) -> String {
        self.shown("%-d %b, %H:%M", moment)
    }

    /// As programs read it.
    pub(super) fn stamp(&self, moment: SystemTime) -> String {
        self.shown("%Y-%m-%dT%H:%M:%S%:z", moment)
    }

    /// How many seconds after midnight.
    pub(super) fn since_midnight(&self, moment: SystemTime) -> f64 {
        let zoned = Timestamp::try_from(moment).map(|at| at.to_zoned(self.0.clone()));
        let time = zoned.map(|zoned| zoned.time()).unwrap_or_default();
        f64::from(time.hour()) * 3_600.0
            + f64::from(time.minute()) * 60.0
            + f64::from(time.second())
    }

    /// A moment of the year 10,000 or later is nothing that can be shown.
    fn shown(&self, format: &str, moment: SystemTime) -> String {
        let at = Timestamp::try_from(moment).map(|at| at.to_zoned(self.0.clone()));
        at.map_or_else(|_| "?".to_owned(), |at| at.strftime(format).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short_and_true() {
        let shown = |seconds| length(Duration::from_secs_f64(seconds));
        assert_eq!(shown(0.0), "0 ms");
        assert_eq!(shown(0.25), "0.2 s");
        assert_eq!(shown(1.0), "1 s");
        assert_eq!(shown(9.96), "10 s");
        assert_eq!(shown(60.0), "1 min");
        assert_eq!(shown(75.0), "1 min 15 s");
        assert_eq!(shown(7_800.0), "2 h 10 min");
        assert_eq!(shown(90_000.0), "1 d 1 h");
    }

    #[test]
    fn moments_are_shown_in_the_zone() {
        let moment = UNIX_EPOCH + Duration::from_secs(1_763_806_831);
        let berlin = Times::new("Europe/Berlin").expect("a zone");
        assert_eq!(berlin.second(moment), "11:20:31");
        assert_eq!(berlin.stamp(moment), "2025-11-22T11:20:31+01:00");
        assert_eq!(berlin.since_midnight(moment), 40_831.0);
        assert!(Times::new("Mars/Olympus").is_err());
        let never = UNIX_EPOCH + Duration::from_secs(u64::MAX / 4);
        assert_eq!(berlin.minute(never), "?");
    }
}
