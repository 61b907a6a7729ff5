//! The day for which is counted is that of the zone of the plan's first daily pool.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_quota::Quota;
use tower_quota::clock::Clock;
use tower_quota::plan::{Limit, Plan, Zone};

use crate::common::{HOUR, SECOND, Server, burst, get};
use crate::{DAY, ask, at_noon, figures, noon, observed};

fn pool(zone: Zone) -> Plan {
    let plan = Plan::builder("day").limit(Limit::daily("day", 1_000_000, zone));
    plan.build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_day_before_is_known_for_one_day() {
    let quota = at_noon(pool(Zone::UTC)).build();
    let server =
        Server::new(|nth, _| crate::common::at_once(if nth == 1 { 500 } else { 200 }, &[], ""));
    let api = observed(&quota, &server);
    for _ in 0..3 {
        ask(&api, get("a")).await.unwrap();
    }
    assert_eq!(figures(quota.report().today), [3, 1, 0, 0]);
    assert_eq!(figures(quota.report().yesterday), [0; 4]);
    tokio::time::advance(12 * HOUR - SECOND).await;
    assert_eq!(figures(quota.report().today), [3, 1, 0, 0]);
    tokio::time::advance(SECOND).await;
    let report = quota.report();
    assert_eq!(report.day_began, noon() + 12 * HOUR);
    assert_eq!(figures(report.today), [0; 4]);
    assert_eq!(figures(report.yesterday), [3, 1, 0, 0]);
    assert!(report.tokens.is_empty() && report.routes.is_empty() && report.history.is_empty());
    ask(&api, get("a")).await.unwrap();
    assert_eq!(figures(quota.report().today), [1, 0, 0, 0]);
    tokio::time::advance(DAY).await;
    assert_eq!(figures(quota.report().yesterday), [1, 0, 0, 0]);
    // Of the day after nothing is left two days later.
    ask(&api, get("a")).await.unwrap();
    tokio::time::advance(2 * DAY).await;
    let report = quota.report();
    assert_eq!(figures(report.today), [0; 4]);
    assert_eq!(figures(report.yesterday), [0; 4]);
}

/// What is under way at midnight counts for the day on which it ends.
#[tokio::test(start_paused = true)]
async fn a_request_counts_when_it_is_over() {
    let quota = at_noon(pool(Zone::UTC)).build();
    let server = Server::new(|_, _| {
        let answer = crate::common::at_once(200, &[], "");
        crate::common::after(20 * SECOND, answer)
    });
    let api = observed(&quota, &server);
    tokio::time::advance(12 * HOUR - 10 * SECOND).await;
    ask(&api, get("a")).await.unwrap();
    assert_eq!(figures(quota.report().today), [1, 0, 0, 0]);
    assert_eq!(figures(quota.report().yesterday), [0; 4]);
}

fn seconds(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn days_of_23_and_25_hours_begin_at_midnight() {
    // 2026-03-29 and 2026-10-25 in Berlin.
    let days = [(1_774_738_800, 23), (1_792_879_200, 25)];
    for (midnight, hours) in days {
        let midnight = seconds(midnight);
        // Made at any time of the day before, or of the day.
        for made in 0..=(24 + hours) {
            let clock = Clock::starting_at(midnight - DAY + made * HOUR);
            let berlin = Zone::named("Europe/Berlin").unwrap();
            let quota = Quota::builder(pool(berlin)).clock(clock).build();
            let api = observed(&quota, &Server::fine());
            for hour in made..=(24 + hours) {
                let now = midnight - DAY + hour * HOUR;
                ask(&api, get("a")).await.unwrap();
                let report = quota.report();
                assert_eq!(report.at, now);
                let began = match hour {
                    0..24 => midnight - DAY,
                    hour if hour < 24 + hours => midnight,
                    _ => midnight + hours * HOUR,
                };
                assert_eq!(report.day_began, began, "{hour} h, made at {made}");
                let since = (now.duration_since(began).unwrap().as_secs() / 3600) as u32;
                let expected = (hour - made + 1).min(since + 1);
                assert_eq!(
                    report.today.requests,
                    u64::from(expected),
                    "{hour} h, made at {made}"
                );
                tokio::time::advance(HOUR).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_daily_pool_and_in_an_unknown_zone_it_is_the_day_of_utc() {
    for plan in [burst(10, SECOND), pool(Zone::UNKNOWN)] {
        let quota = at_noon(plan).build();
        assert_eq!(quota.report().day_began, noon() - 12 * HOUR);
        tokio::time::advance(13 * HOUR).await;
        assert_eq!(quota.report().day_began, noon() + 12 * HOUR);
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_far_from_utc_has_its_own_midnight() {
    let zone = Zone::fixed(13 * 3600).unwrap();
    let quota = at_noon(pool(zone)).build();
    // One in the morning there.
    assert_eq!(quota.report().day_began, noon() - HOUR);
}

/// A clock that shows 1970, or the time before, is no reason to fail.
#[tokio::test(start_paused = true)]
async fn at_the_beginning_of_time_it_counts_all_the_same() {
    for start in [UNIX_EPOCH, UNIX_EPOCH - 3 * DAY, UNIX_EPOCH + SECOND] {
        let clock = Clock::starting_at(start);
        let quota = Quota::builder(pool(Zone::UTC)).clock(clock).build();
        let api = observed(&quota, &Server::fine());
        ask(&api, get("a")).await.unwrap();
        assert_eq!(quota.report().today.requests, 1);
        assert!(quota.report().day_began <= start);
    }
}
