//! It is foretold when a daily pool will be used up.

#[path = "common/days.rs"]
mod days;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use days::{KINDS, NOON, Run};
use tower_quota::report::projection::Burn;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn midnight() -> SystemTime {
    UNIX_EPOCH + 20_000 * DAY
}

/// So many requests every minute of the hours from one to another.
fn send(usage: &mut Burn, from: u32, to: u32, requests: u32) {
    for minute in 60 * from..60 * to {
        usage.note(midnight() + minute * MINUTE, requests);
    }
}

/// Minutes after midnight; `None` if it is not foretold.
fn end(
    usage: &mut Burn,
    now: SystemTime,
    used: u32,
    quota: u32,
    resets: SystemTime,
) -> Option<u64> {
    let end = usage.project(now, used, quota, resets).runs_out?;
    Some((end.duration_since(midnight()).unwrap().as_secs() + 30) / 60)
}

/// The bench of the same name has more of them, and shows each kind.
#[test]
fn at_noon_nine_of_ten_ends_are_foretold_within_a_tenth() {
    let (mut near, mut all) = (0, 0);
    for kind in &KINDS {
        for seed in 10_001..=10_080 {
            let run = Run::new(kind, seed);
            let Some(end) = run.runs_out() else {
                continue;
            };
            let foretold = run.foretold(kind, NOON);
            near += u32::from(foretold.is_some_and(|at| (at - end).abs() <= 0.1 * end));
            all += 1;
        }
    }
    assert!(all > 400, "{all}");
    assert!(10 * near >= 9 * all, "{near} of {all}");
}

#[test]
fn of_days_that_do_not_run_dry_with_a_day_before_few_are_said_to() {
    let (mut false_alarms, mut all) = (0, 0);
    for kind in KINDS
        .iter()
        .filter(|kind| kind.name.ends_with("day before"))
    {
        for seed in 10_001..=10_080 {
            let run = Run::new(kind, seed);
            if run.runs_out().is_none() {
                false_alarms += u32::from(run.foretold(kind, NOON).is_some());
                all += 1;
            }
        }
    }
    assert!(all > 100, "{all}");
    assert!(5 * false_alarms < all, "{false_alarms} of {all}");
}

#[test]
fn even_traffic_is_foretold_to_the_minute_at_any_hour() {
    for hour in 2..23 {
        let mut usage = Burn::new(midnight(), midnight() + DAY);
        send(&mut usage, 0, hour, 10);
        let (now, used) = (midnight() + hour * HOUR, 600 * hour);
        let quota = used + 300;
        let expected = u64::from(60 * hour + 30);
        let end = end(&mut usage, now, used, quota, midnight() + DAY);
        assert_eq!(end, Some(expected), "{hour}");
        let projection = usage.project(now, used, u32::MAX, midnight() + DAY);
        assert_eq!(
            (projection.per_hour.round(), projection.runs_out),
            (600.0, None)
        );
    }
}

#[test]
fn a_pool_that_is_empty_has_run_out_and_one_that_nobody_uses_does_not() {
    let now = midnight() + HOUR;
    let mut usage = Burn::new(midnight(), midnight() + DAY);
    assert_eq!(end(&mut usage, now, 0, 10, midnight() + DAY), None);
    assert_eq!(usage.project(now, 0, 10, midnight() + DAY).per_hour, 0.0);
    assert_eq!(end(&mut usage, now, 10, 10, midnight() + DAY), Some(60));
    assert_eq!(end(&mut usage, now, 12, 10, midnight() + DAY), Some(60));
    assert_eq!(end(&mut usage, now, 0, 0, midnight() + DAY), Some(60));
}

#[test]
fn what_others_use_is_foretold_like_our_own() {
    let mut usage = Burn::new(midnight(), midnight() + DAY);
    for hour in 0..12 {
        send(&mut usage, hour, hour + 1, 10);
        // They use four times as much.
        let now = midnight() + (hour + 1) * HOUR;
        usage.project(now, (hour + 1) * 3_000, 50_000, midnight() + DAY);
    }
    let end = end(
        &mut usage,
        midnight() + 12 * HOUR,
        36_000,
        51_000,
        midnight() + DAY,
    );
    assert_eq!(end, Some(17 * 60));
}

#[test]
fn a_process_that_starts_at_nine_knows_what_was_used_before() {
    let mut usage = Burn::new(midnight() + 9 * HOUR, midnight() + DAY);
    usage.project(midnight() + 9 * HOUR, 5_400, 10_000, midnight() + DAY);
    send(&mut usage, 9, 10, 10);
    let end = end(
        &mut usage,
        midnight() + 10 * HOUR,
        6_000,
        9_000,
        midnight() + DAY,
    );
    assert_eq!(end, Some(15 * 60));
}

#[test]
fn without_such_knowledge_the_rate_is_that_since_it_started() {
    let mut usage = Burn::new(midnight() + 9 * HOUR, midnight() + DAY);
    send(&mut usage, 9, 12, 10);
    let end = end(
        &mut usage,
        midnight() + 12 * HOUR,
        1_800,
        3_600,
        midnight() + DAY,
    );
    assert_eq!(end, Some(15 * 60));
}

#[test]
fn a_burst_in_the_first_minutes_is_not_taken_for_the_whole_day() {
    let mut usage = Burn::new(midnight() + 9 * HOUR, midnight() + DAY);
    usage.note(midnight() + 9 * HOUR + MINUTE, 1_000);
    let now = midnight() + 9 * HOUR + 2 * MINUTE;
    assert_eq!(end(&mut usage, now, 1_000, 20_000, midnight() + DAY), None);
}

#[test]
fn after_midnight_the_day_before_tells_until_the_new_one_does() {
    let mut usage = Burn::new(midnight() - DAY, midnight());
    for minute in 0..24 * 60 {
        // From 08:00 to 18:00.
        let is_day = (8 * 60..18 * 60).contains(&minute);
        usage.note(
            midnight() - DAY + minute * MINUTE,
            if is_day { 100 } else { 0 },
        );
    }
    let now = midnight() + 10 * MINUTE;
    let projection = usage.project(now, 0, 30_000, midnight() + DAY);
    let end = projection
        .runs_out
        .unwrap()
        .duration_since(midnight())
        .unwrap();
    assert!((12 * HOUR..15 * HOUR).contains(&end), "{end:?}");
    assert_eq!(
        usage.project(now, 0, 70_000, midnight() + DAY).runs_out,
        None
    );
}

#[test]
fn each_day_is_counted_for_itself_however_long_nobody_asks() {
    let mut usage = Burn::new(midnight(), midnight() + DAY);
    send(&mut usage, 0, 24, 10);
    let week = 7 * DAY;
    let now = midnight() + week + 12 * HOUR;
    let resets = midnight() + week + DAY;
    assert_eq!(usage.project(now, 0, 10, resets).runs_out, None);
    for minute in 0..6 * 60 {
        usage.note(now + minute * MINUTE, 10);
    }
    let now = now + 6 * HOUR;
    let projection = usage.project(now, 3_600, 3_900, resets);
    let after = projection.runs_out.unwrap().duration_since(now).unwrap();
    assert!(after < 2 * HOUR, "{after:?}");
}

#[test]
fn a_day_of_23_or_of_25_hours_ends_when_it_ends() {
    for hours in [23, 25] {
        let resets = midnight() + hours * HOUR;
        let mut usage = Burn::new(midnight() - DAY, midnight());
        usage.note(midnight() - DAY, 1);
        send(&mut usage, 0, 20, 10);
        let now = midnight() + 20 * HOUR;
        let left = 600 * (hours - 20);
        let at = end(&mut usage, now, 12_000, 12_000 + left - 60, resets);
        assert_eq!(at, Some(u64::from(hours * 60 - 6)), "{hours}");
        assert_eq!(
            end(&mut usage, now, 12_000, 12_000 + left + 60, resets),
            None
        );
        // The next one begins there.
        for minute in 0..60 {
            usage.note(resets + minute * MINUTE, 20);
        }
        let now = resets + HOUR;
        let next = usage.project(now, 1_200, 1_000_000, resets + DAY);
        assert!(next.per_hour > 300.0, "{next:?}");
    }
}

#[test]
fn clocks_and_figures_that_make_no_sense_do_no_harm() {
    let long_ago = UNIX_EPOCH - 400 * DAY;
    let far = UNIX_EPOCH + 100_000_000 * DAY;
    let moments = [
        long_ago,
        UNIX_EPOCH,
        midnight() - MINUTE,
        midnight() + 6 * HOUR,
        far,
    ];
    for began in moments {
        for resets in moments {
            let mut usage = Burn::new(began, resets);
            for now in moments {
                usage.note(now, u32::MAX);
                for reset in moments {
                    for (used, quota) in
                        [(0, 0), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)]
                    {
                        let projection = usage.project(now, used, quota, reset);
                        assert!(projection.per_hour.is_finite(), "{projection:?}");
                        assert!(projection.runs_out.is_none_or(|at| at >= now));
                    }
                }
            }
        }
    }
}

#[test]
fn a_pool_takes_less_than_a_kibibyte() {
    assert!(size_of::<Burn>() <= 1_024, "{}", size_of::<Burn>());
}
