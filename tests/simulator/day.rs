//! The daily pool: when it is filled, and what the account is told about it.

use std::time::Duration;

use http::StatusCode;
use tokio::time::sleep;
use tower_quota::clock::Clock;
use tower_quota::sim::Sim;

use crate::{LIST, SECOND, at, json, number, send, send_as, small};

const USAGE: &str = "/account-info/v3/api-usage/daily/private-apps";

/// The day of a fixed zone, and days of 23 and 25 hours: how long the pool stays empty.
#[tokio::test(start_paused = true)]
async fn the_daily_pool_fills_at_midnight_of_the_account() {
    let table = [
        // Berlin leaves winter time on 2026-03-29 and summer time on 2026-10-25.
        ("Europe/Berlin", "2026-03-28T23:00:00Z", 23),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", 25),
        ("Europe/Berlin", "2026-06-01T22:00:00Z", 24),
        // New York: 2026-03-08 and 2026-11-01.
        ("America/New_York", "2026-03-08T05:00:00Z", 23),
        ("America/New_York", "2026-11-01T04:00:00Z", 25),
        // In Cairo the clocks go from 00:00 to 01:00, so the day begins at one; in Havana they go from 01:00 back to 00:00, so
        // that there are two midnights, and the first one counts.
        ("Africa/Cairo", "2026-04-22T22:00:00Z", 24),
        ("Africa/Cairo", "2026-04-23T22:00:00Z", 23),
        ("America/Havana", "2026-11-01T04:00:00Z", 25),
    ];
    for (zone, midnight, hours) in table {
        let start = at(midnight);
        let sim = small()
            .daily(2)
            .zone(zone)
            .clock(Clock::starting_at(start))
            .build()
            .unwrap();
        assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
        let usage = send(&sim, USAGE).await;
        let usage = &json(&usage)["results"][0];
        assert_eq!(
            (&usage["usageLimit"], &usage["currentUsage"]),
            (&2.into(), &2.into())
        );
        let reset = start + hours * 3_600 * SECOND;
        assert_eq!(
            at(usage["resetsAt"].as_str().unwrap()),
            reset,
            "{zone} {midnight}"
        );
        sleep(hours * 3_600 * SECOND - SECOND).await;
        let refused = send(&sim, LIST).await;
        assert_eq!(json(&refused)["policyName"], "DAILY", "{zone} {midnight}");
        assert_eq!(number(refused.headers(), "daily-remaining"), Some(0));
        sleep(SECOND).await;
        assert_eq!(
            send(&sim, LIST).await.status(),
            StatusCode::OK,
            "{zone} {midnight}"
        );
    }
    let start = at("2020-04-09T12:00:00Z");
    let sim = small()
        .zone_offset(-4 * 3_600)
        .clock(Clock::starting_at(start))
        .build()
        .unwrap();
    let details = json(&send(&sim, "/account-info/v3/details").await);
    assert_eq!(details["utcOffset"], "-04:00");
    assert_eq!(details["utcOffsetMilliseconds"], -14_400_000);
    let usage = send(&sim, USAGE).await;
    assert_eq!(
        json(&usage)["results"][0]["resetsAt"],
        "2020-04-10T04:00:00.000Z"
    );
    assert_eq!(usage.headers()["date"], "Thu, 09 Apr 2020 12:00:00 GMT");
}

async fn usage(sim: &Sim) -> (u64, u64, String) {
    let usage = json(&send(sim, USAGE).await);
    let usage = &usage["results"][0];
    let figure = |name: &str| usage[name].as_u64().unwrap();
    let resets = usage["resetsAt"].as_str().unwrap().to_owned();
    (figure("currentUsage"), figure("usageLimit"), resets)
}

#[tokio::test(start_paused = true)]
async fn the_account_is_told_the_truth_right_after_a_reset_and_after_a_change() {
    // One minute before midnight in Berlin, in summer.
    let sim = Sim::builder()
        .daily(10)
        .account("other", 4711)
        .zone("Europe/Berlin")
        .clock(Clock::starting_at(at("2026-07-01T21:59:00Z")))
        .build()
        .unwrap();
    sim.spend("pat-1", 6);
    let tonight = "2026-07-01T22:00:00.000Z".to_owned();
    assert_eq!(usage(&sim).await, (7, 10, tonight.clone()));
    // Asking costs a request like any other.
    assert_eq!(usage(&sim).await, (8, 10, tonight.clone()));
    sim.set_daily(20);
    assert_eq!(usage(&sim).await, (9, 20, tonight.clone()));
    // Fewer than are used already: nothing is left, and nothing is owed.
    sim.set_daily(5);
    let refused = send(&sim, USAGE).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(json(&refused)["policyName"], "DAILY");
    assert_eq!(number(refused.headers(), "daily"), Some(5));
    assert_eq!(number(refused.headers(), "daily-remaining"), Some(0));
    // An account that was not known before.
    let other = send_as(&sim, LIST, "other").await;
    assert_eq!(number(other.headers(), "daily-remaining"), Some(4));
    sleep(Duration::from_secs(60)).await;
    let tomorrow = "2026-07-02T22:00:00.000Z".to_owned();
    assert_eq!(usage(&sim).await, (1, 5, tomorrow));
}
