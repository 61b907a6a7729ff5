use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::ConfigError;

const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;
/// No place on earth is further from UTC than this (UTC+14, UTC-12).
const WIDEST_OFFSET: i64 = 14 * HOUR;

/// The time zone whose midnight fills a daily pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    /// Seconds east of UTC.
    Fixed(i64),
    #[cfg(feature = "zones")]
    Named(jiff::tz::TimeZone),
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone(Kind::Fixed(0));

    /// Nobody has said which zone counts.
    ///
    /// Own requests are then not counted against the pool, because it is unknown when the count would start again; a refusal
    /// still pauses the pool until the next full hour, when one request may ask again. Midnight of nearly every zone is a
    /// full hour in UTC, so at most 24 requests a day are refused.
    ///
    /// That ends when somebody tells the reset: [`Quota::set_next_reset`](crate::Quota::set_next_reset).
    pub const UNKNOWN: Zone = Zone(Kind::Unknown);

    /// A fixed distance from UTC in seconds, positive to the east, without daylight saving.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the distance is more than 14 hours.
    pub fn fixed(seconds_east: i32) -> Result<Zone, ConfigError> {
        let seconds = i64::from(seconds_east);
        if seconds.abs() > WIDEST_OFFSET {
            let problem = format!("must be within 14 hours of UTC, is {seconds} s");
            return Err(ConfigError::new("zone".to_owned(), problem));
        }
        Ok(Zone(Kind::Fixed(seconds)))
    }

    /// A zone of the IANA database, for example `Europe/Berlin`; days of 23 and 25 hours are respected.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the database does not know the name.
    #[cfg(feature = "zones")]
    pub fn named(name: &str) -> Result<Zone, ConfigError> {
        jiff::tz::TimeZone::get(name)
            .map(|zone| Zone(Kind::Named(zone)))
            .map_err(|error| ConfigError::new("zone".to_owned(), error.to_string()))
    }

    /// Whether this is [`Zone::UNKNOWN`].
    pub fn is_unknown(&self) -> bool {
        self.0 == Kind::Unknown
    }

    /// The first instant after `wall` at which a new day begins (for [`Zone::UNKNOWN`]: a new hour).
    pub fn next_reset(&self, wall: SystemTime) -> SystemTime {
        let now = match wall.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_secs() as i64,
            Err(before) => -(before.duration().as_secs_f64().ceil() as i64),
        };
        let next = match &self.0 {
            Kind::Unknown => (now.div_euclid(HOUR) + 1) * HOUR,
            Kind::Fixed(east) => ((now + east).div_euclid(DAY) + 1) * DAY - east,
            #[cfg(feature = "zones")]
            Kind::Named(zone) => named_reset(zone, now).unwrap_or((now.div_euclid(DAY) + 1) * DAY),
        };
        let seconds = Duration::from_secs(next.unsigned_abs());
        if next >= 0 {
            UNIX_EPOCH + seconds
        } else {
            UNIX_EPOCH - seconds
        }
    }
}

/// `None` only at the end of jiff's calendar, in the year 9999.
#[cfg(feature = "zones")]
fn named_reset(zone: &jiff::tz::TimeZone, now: i64) -> Option<i64> {
    let here = jiff::Timestamp::from_second(now)
        .ok()?
        .to_zoned(zone.clone());
    // Where midnight is skipped by daylight saving, the day begins at the first instant after the gap.
    Some(
        here.tomorrow()
            .ok()?
            .start_of_day()
            .ok()?
            .timestamp()
            .as_second(),
    )
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unknown => f.write_str("unknown zone"),
            Kind::Fixed(0) => f.write_str("UTC"),
            Kind::Fixed(east) => {
                let minutes = east.abs() / 60;
                write!(
                    f,
                    "UTC{}{:02}:{:02}",
                    if *east < 0 { '-' } else { '+' },
                    minutes / 60,
                    minutes % 60
                )
            }
            #[cfg(feature = "zones")]
            Kind::Named(zone) => f.write_str(zone.iana_name().unwrap_or("a zone without a name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn fixed_zones_reset_at_their_own_midnight() {
        assert_eq!(Zone::UTC.next_reset(at(0)), at(86_400));
        assert_eq!(Zone::UTC.next_reset(at(86_399)), at(86_400));
        assert_eq!(Zone::UTC.next_reset(at(86_400)), at(172_800));
        let eastern = Zone::fixed(-4 * 3600).unwrap();
        assert_eq!(eastern.next_reset(at(86_400)), at(86_400 + 4 * 3600));
        assert!(Zone::fixed(15 * 3600).is_err());
        assert_eq!(eastern.to_string(), "UTC-04:00");
    }

    #[test]
    fn an_unknown_zone_asks_again_at_the_full_hour() {
        assert_eq!(Zone::UNKNOWN.next_reset(at(3_599)), at(3_600));
        assert_eq!(Zone::UNKNOWN.next_reset(at(3_600)), at(7_200));
    }

    #[cfg(feature = "zones")]
    #[test]
    fn named_zones_have_days_of_23_and_25_hours() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        // 2026-03-29 begins at 23:00Z of the 28th and has 23 hours; 2026-10-25 begins at 22:00Z and has 25.
        let spring = at(1_774_738_800);
        assert_eq!(
            berlin.next_reset(spring),
            spring + Duration::from_secs(23 * 3600)
        );
        let autumn = at(1_792_879_200);
        assert_eq!(
            berlin.next_reset(autumn),
            autumn + Duration::from_secs(25 * 3600)
        );
        assert!(
            Zone::named("Mars/Olympus")
                .unwrap_err()
                .to_string()
                .contains("zone")
        );
    }
}
