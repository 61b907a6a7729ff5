//! Which requests are refused, and what headers and bodies say about it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Response, StatusCode};
use tokio::time::sleep;
use tower_quota::clock::Clock;
use tower_quota::sim::{Class, Sim, SimBody, SimTier, Windows};

use crate::{ASSOCIATIONS, LIST, MS, SEARCH, SECOND, json, number, send, send_as, small};

/// Sends at random moments and holds every verdict against a count over all that was admitted before.
async fn against_brute_force(
    windows: Windows,
    quota: u64,
    window: Duration,
    counts: impl Fn(SystemTime, SystemTime) -> bool,
) {
    let start = UNIX_EPOCH + Duration::from_millis(1_790_000_000_370);
    let sim = Sim::builder()
        .burst(quota, window)
        .windows(windows)
        .clock(Clock::starting_at(start))
        .build()
        .unwrap();
    let mut rng = fastrand::Rng::with_seed(42);
    let mut admitted: Vec<SystemTime> = Vec::new();
    let mut refused = 0;
    for _ in 0..5_000 {
        // Some gaps are zero, and many land on the very edge of a window.
        sleep(MS * [0, 1, 7, 50, 250, 1_000][rng.usize(..6)]).await;
        let now = start + sim.elapsed();
        let earlier = admitted.iter().filter(|&&then| counts(then, now)).count() as u64;
        let expected = if earlier < quota {
            StatusCode::OK
        } else {
            StatusCode::TOO_MANY_REQUESTS
        };
        let response = send(&sim, LIST).await;
        assert_eq!(response.status(), expected, "at {:?}", sim.elapsed());
        if expected == StatusCode::OK {
            admitted.push(now);
            assert_eq!(
                number(response.headers(), "remaining"),
                Some(quota - earlier - 1)
            );
        } else {
            refused += 1;
            assert_eq!(number(response.headers(), "remaining"), Some(0));
        }
    }
    assert!(
        admitted.len() > 500 && refused > 500,
        "{} {refused}",
        admitted.len()
    );
}

#[tokio::test(start_paused = true)]
async fn true_rolling_windows_agree_with_brute_force() {
    for (quota, seconds) in [(17, 10), (2, 1)] {
        let window = seconds * SECOND;
        against_brute_force(Windows::TrueRolling, quota, window, |then, now| {
            then + window > now
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_second_buckets_agree_with_brute_force() {
    for (quota, seconds, phase) in [(17, 10, 0), (17, 10, 640), (2, 1, 0)] {
        let phase = MS * phase;
        let bucket =
            move |time: SystemTime| (time - phase).duration_since(UNIX_EPOCH).unwrap().as_secs();
        let windows = Windows::OneSecondBuckets { phase: Some(phase) };
        against_brute_force(windows, quota, SECOND * seconds, |then, now| {
            bucket(then) + u64::from(seconds) > bucket(now)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_costs_daily_quota_and_no_burst() {
    let sim = small().daily(100).build().unwrap();
    for sent in 1..=8 {
        let response = send(&sim, LIST).await;
        assert_eq!(
            response.status().as_u16(),
            if sent <= 5 { 200 } else { 429 }
        );
        assert_eq!(
            number(response.headers(), "daily-remaining"),
            Some(100 - sent)
        );
    }
    // Had the refusals been counted in the window, it would be shut now.
    sleep(10 * SECOND).await;
    assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
    let stats = sim.stats();
    assert_eq!((stats.general.arrived, stats.general.counted), (9, 6));
    assert_eq!(
        (stats.general.refused_window, stats.general.refused_daily),
        (3, 0)
    );
    assert_eq!((stats.statuses[&200], stats.statuses[&429]), (6, 3));
    assert_eq!(stats.last_admitted, Some(10 * SECOND));
    assert_eq!(sim.max_in_window(Class::General, 10 * SECOND), 5);
}

#[tokio::test(start_paused = true)]
async fn a_search_costs_daily_quota_and_no_burst() {
    let sim = small().build().unwrap();
    let remaining = |response: &Response<SimBody>| number(response.headers(), "remaining");
    let before = send(&sim, LIST).await;
    let search = send(&sim, SEARCH).await;
    let after = send(&sim, LIST).await;
    assert_eq!(remaining(&before), Some(4));
    assert_eq!(remaining(&search), None);
    assert_eq!(remaining(&after), Some(3));
    assert_eq!(
        number(after.headers(), "daily-remaining"),
        Some(625_000 - 3)
    );
}

#[tokio::test(start_paused = true)]
async fn errors_use_up_both_budgets() {
    let sim = small().build().unwrap();
    let bad = send(&sim, "/crm/v3/objects/contacts/batch/read").await;
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    let missing = send(&sim, "/crm/v3/no-such-thing").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(json(&missing)["status"], "error");
    assert_eq!(number(missing.headers(), "remaining"), Some(3));
    assert_eq!(
        number(missing.headers(), "daily-remaining"),
        Some(625_000 - 2)
    );
}

#[tokio::test(start_paused = true)]
async fn headers_are_those_of_the_limiters_that_applied() {
    let general = [
        "interval-milliseconds",
        "max",
        "remaining",
        "secondly",
        "secondly-remaining",
    ];
    let daily = ["daily", "daily-remaining"];
    for (tier, has_daily) in [(SimTier::Starter, true), (SimTier::PublicOAuth, false)] {
        let sim = Sim::builder().tier(tier).search(1, SECOND).build().unwrap();
        // Twice each: the second search is a 429.
        for (path, has_general) in [
            (LIST, true),
            (SEARCH, false),
            (SEARCH, false),
            (ASSOCIATIONS, false),
        ] {
            let response = send(&sim, path).await;
            let headers = response.headers();
            for name in general {
                assert_eq!(
                    number(headers, name).is_some(),
                    has_general,
                    "{tier:?} {path} {name}"
                );
            }
            for name in daily {
                assert_eq!(
                    number(headers, name).is_some(),
                    has_daily,
                    "{tier:?} {path} {name}"
                );
            }
            assert!(headers.contains_key("x-hubspot-correlation-id"));
            assert!(headers.contains_key("date"));
            assert!(!headers.contains_key("retry-after"));
        }
        assert_eq!(sim.stats().statuses[&429], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_figures_of_the_tiers() {
    let table = [
        (SimTier::Starter, 0, 100, Some(250_000)),
        (SimTier::Professional, 0, 190, Some(625_000)),
        (SimTier::Professional, 1, 250, Some(1_625_000)),
        (SimTier::Enterprise, 0, 190, Some(1_000_000)),
        (SimTier::Enterprise, 2, 250, Some(3_000_000)),
        (SimTier::PublicOAuth, 1, 110, None),
    ];
    for (tier, packs, max, daily) in table {
        let sim = Sim::builder()
            .tier(tier)
            .limit_increase(packs)
            .build()
            .unwrap();
        let response = send(&sim, LIST).await;
        let headers = response.headers();
        assert_eq!(number(headers, "max"), Some(max), "{tier:?}");
        assert_eq!(number(headers, "remaining"), Some(max - 1));
        assert_eq!(number(headers, "interval-milliseconds"), Some(10_000));
        assert_eq!(number(headers, "secondly"), Some(max / 10));
        assert_eq!(number(headers, "secondly-remaining"), Some((max - 1) / 10));
        assert_eq!(number(headers, "daily"), daily);
    }
}

#[tokio::test(start_paused = true)]
async fn the_two_dialects_of_a_refusal() {
    let sim = small()
        .burst(1, 10 * SECOND)
        .search(1, SECOND)
        .daily(5)
        .build()
        .unwrap();
    send(&sim, LIST).await;
    let burst = send(&sim, LIST).await;
    send(&sim, SEARCH).await;
    let search = send(&sim, SEARCH).await;
    send(&sim, ASSOCIATIONS).await;
    let daily = send(&sim, ASSOCIATIONS).await;
    for response in [&burst, &search, &daily] {
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let id = response.headers()["x-hubspot-correlation-id"]
            .to_str()
            .unwrap();
        assert_eq!(json(response)["correlationId"], id);
        assert_eq!(json(response)["status"], "error");
    }
    let burst = json(&burst);
    assert_eq!(burst["policyName"], "TEN_SECONDLY_ROLLING");
    assert_eq!(burst["errorType"], "RATE_LIMIT");
    assert_eq!(
        burst["message"],
        "You have reached your ten_secondly_rolling limit."
    );
    assert!(
        burst["groupName"]
            .as_str()
            .unwrap()
            .ends_with(":1512050:6251500")
    );
    let search = json(&search);
    assert_eq!(search["message"], "You have reached your secondly limit.");
    assert_eq!(search["category"], "RATE_LIMITS");
    assert!(search.get("policyName").is_none() && search.get("errorType").is_none());
    let daily = json(&daily);
    assert_eq!(daily["policyName"], "DAILY");
    assert_eq!(daily["message"], "You have reached your daily limit.");
    assert_eq!(sim.stats().associations.refused_daily, 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_sent_when_wanted() {
    let sim = small()
        .burst(1, 10 * SECOND)
        .retry_after(10)
        .build()
        .unwrap();
    assert!(!send(&sim, LIST).await.headers().contains_key("retry-after"));
    assert_eq!(send(&sim, LIST).await.headers()["retry-after"], "10");
}

#[tokio::test(start_paused = true)]
async fn burst_per_application_search_and_day_per_account() {
    let sim = small()
        .daily(100)
        .account("other", 4711)
        .app("old", 7)
        .app("refreshed", 7)
        .build()
        .unwrap();
    for token in ["a", "b", "other"] {
        assert_eq!(
            number(send_as(&sim, LIST, token).await.headers(), "remaining"),
            Some(4)
        );
    }
    // One application, whatever its token.
    send_as(&sim, LIST, "old").await;
    assert_eq!(
        number(
            send_as(&sim, LIST, "refreshed").await.headers(),
            "remaining"
        ),
        Some(3)
    );
    // Two searches a second for all of the account together, and another two in the other account.
    let mut statuses = Vec::new();
    for token in ["a", "b", "old", "other", "other", "other"] {
        statuses.push(send_as(&sim, SEARCH, token).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 200, 200, 429]);
    assert_eq!(
        number(send_as(&sim, LIST, "c").await.headers(), "daily-remaining"),
        Some(92)
    );
    assert_eq!(
        number(
            send_as(&sim, LIST, "other").await.headers(),
            "daily-remaining"
        ),
        Some(95)
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_tokens_are_refused_and_counted_nowhere() {
    let sim = small().token("good").build().unwrap();
    for token in ["bad", ""] {
        let response = send_as(&sim, LIST, token).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(json(&response)["category"], "INVALID_AUTHENTICATION");
        assert_eq!(number(response.headers(), "max"), None);
    }
    assert_eq!(
        number(send_as(&sim, LIST, "good").await.headers(), "remaining"),
        Some(4)
    );
    assert_eq!(sim.stats().unauthorized, 2);
}
