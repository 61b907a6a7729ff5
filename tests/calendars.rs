//! Promise: calendars never skip or repeat a day. Every instant belongs to exactly one day, and a day has 23 to 25 hours, whatever the
//! zone does to its clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use tower_quota::plan::Zone;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// Summer time of an hour, of half an hour, none; offsets of three quarters; a date that was left out; midnights that were left out
/// or came twice.
const ZONES: [&str; 10] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Cairo",
    "Asia/Beirut",
    "UTC",
];

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn seconds(wall: SystemTime) -> u64 {
    wall.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The date that a calendar on the wall shows there.
fn date(zone: &TimeZone, seconds: u64) -> jiff::civil::Date {
    let instant = Timestamp::from_second(seconds as i64).unwrap();
    instant.to_zoned(zone.clone()).date()
}

/// Between two resets the date is the same, and at each it is another one.
fn check(name: &str, from: u64, days: usize) -> Result<(), TestCaseError> {
    let (zone, calendar) = (Zone::named(name).unwrap(), TimeZone::get(name).unwrap());
    let mut reset = seconds(zone.next_reset(at(from)));
    prop_assert!(reset > from && reset - from <= 25 * HOUR);
    for _ in 0..days {
        let next = seconds(zone.next_reset(at(reset)));
        let length = next - reset;
        prop_assert!(
            (23 * HOUR..=25 * HOUR).contains(&length),
            "{name}: a day of {length} s after {reset}"
        );
        let today = date(&calendar, reset);
        prop_assert_eq!(date(&calendar, next - 1), today, "{} at {}", name, next - 1);
        let yesterday = date(&calendar, reset - 1);
        prop_assert!(today > yesterday, "{name}: {yesterday} before {today}");
        let is_left_out = name == "Pacific/Apia" && today == jiff::civil::date(2011, 12, 31);
        let expected = if is_left_out { 2.days() } else { 1.day() };
        prop_assert_eq!(today, yesterday + expected, "{}", name);
        reset = next;
    }
    Ok(())
}

/// The days that are special: a change of the clocks, the missing date.
#[test]
fn the_days_on_which_clocks_are_changed_belong_to_one_calendar() {
    for name in ZONES {
        // Every day from 1995 to 2037.
        check(name, 788_918_400, 43 * 365).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The reset does not depend on when within the day one asks.
    #[test]
    fn every_instant_belongs_to_exactly_one_day(
        zone in 0..ZONES.len(),
        instant in 788_918_400..2_145_000_000_u64,
        nanos in 0..1_000_000_000_u32,
        within in 0.0..1.0_f64,
    ) {
        let name = ZONES[zone];
        check(name, instant, 3)?;
        let zone = Zone::named(name).unwrap();
        let reset = zone.next_reset(at(instant) + Duration::from_nanos(nanos.into()));
        prop_assert_eq!(reset, zone.next_reset(at(instant)));
        let between = (seconds(reset) - instant) as f64 * within;
        prop_assert_eq!(zone.next_reset(at(instant + between as u64)), reset);
        prop_assert!(zone.next_reset(reset) > reset);
    }

    /// Without a database, too.
    #[test]
    fn days_of_fixed_zones_are_all_alike(east in -14 * 3_600..=14 * 3_600_i32, instant in DAY..4_000_000_000_u64) {
        let zone = Zone::fixed(east).unwrap();
        let reset = seconds(zone.next_reset(at(instant)));
        prop_assert!(reset > instant && reset - instant <= DAY);
        prop_assert_eq!((reset as i64 + i64::from(east)).rem_euclid(DAY as i64), 0);
        prop_assert_eq!(seconds(zone.next_reset(at(reset))), reset + DAY);
    }
}
