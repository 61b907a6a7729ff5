//! The simulator's promises about limits and time, tried against the facts about the API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use tower::{Service, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::sim::{
    Class, Fault, Latency, Others, Script, ServiceHeader, Sim, SimBody, SimBuilder, SimError,
    SimTier, Windows,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LIST: &str = "/crm/v3/objects/contacts";
const SEARCH: &str = "/crm/v3/objects/contacts/search";
const ASSOCIATIONS: &str = "/crm/v4/associations/contacts/companies/batch/read";

fn request(method: Method, path: &str, token: &str) -> Request<SimBody> {
    let body = if path == SEARCH { "{}" } else { "" };
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(SimBody::from(body))
        .unwrap()
}

async fn send(sim: &Sim, path: &str) -> Response<SimBody> {
    send_as(sim, path, "pat-1").await
}

async fn send_as(sim: &Sim, path: &str, token: &str) -> Response<SimBody> {
    let get = path == LIST || path.starts_with("/account-info") || path.starts_with("/sim");
    let method = if get { Method::GET } else { Method::POST };
    sim.service()
        .oneshot(request(method, path, token))
        .await
        .unwrap()
}

fn json(response: &Response<SimBody>) -> Value {
    serde_json::from_slice(response.body().bytes()).unwrap()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let value = headers.get(format!("x-hubspot-ratelimit-{name}"))?;
    Some(value.to_str().unwrap().parse().unwrap())
}

fn small() -> SimBuilder {
    Sim::builder()
        .burst(5, 10 * SECOND)
        .search(2, SECOND)
        .record(true)
}

fn at(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

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
        let usage = send(&sim, "/account-info/v3/api-usage/daily/private-apps").await;
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
    let usage = send(&sim, "/account-info/v3/api-usage/daily/private-apps").await;
    assert_eq!(
        json(&usage)["results"][0]["resetsAt"],
        "2020-04-10T04:00:00.000Z"
    );
    assert_eq!(usage.headers()["date"], "Thu, 09 Apr 2020 12:00:00 GMT");
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_on_arrival_and_take_their_time() {
    let sim = small()
        .uplink(Latency::constant(30 * MS))
        .service_time(Latency::constant(200 * MS))
        .downlink(Latency::constant(50 * MS))
        .build()
        .unwrap();
    let future = sim.service().call(request(Method::GET, LIST, "pat-1"));
    // Polled late, sent at once.
    sleep(100 * MS).await;
    let response = future.await.unwrap();
    assert_eq!(sim.elapsed(), 280 * MS);
    assert_eq!(sim.log()[0].at, 30 * MS);
    assert_eq!(response.headers()["x-envoy-upstream-service-time"], "200");
}

#[tokio::test(start_paused = true)]
async fn the_service_time_is_never_exaggerated() {
    for header in [
        ServiceHeader::Envoy,
        ServiceHeader::ServerTiming,
        ServiceHeader::Runtime,
    ] {
        let sim = Sim::builder()
            .service_time(Latency::uniform(MS, 20 * MS))
            .service_header(Some(header))
            .build()
            .unwrap();
        for _ in 0..50 {
            let before = sim.elapsed();
            let response = send(&sim, LIST).await;
            let told = match header {
                ServiceHeader::Envoy => {
                    let text = response.headers()["x-envoy-upstream-service-time"]
                        .to_str()
                        .unwrap();
                    Duration::from_millis(text.parse().unwrap())
                }
                ServiceHeader::ServerTiming => {
                    let text = response.headers()["server-timing"].to_str().unwrap();
                    let text = text.strip_prefix("app;dur=").unwrap();
                    Duration::from_secs_f64(text.parse::<f64>().unwrap() / 1_000.0)
                }
                _ => {
                    let text = response.headers()["x-runtime"].to_str().unwrap();
                    Duration::from_secs_f64(text.parse().unwrap())
                }
            };
            assert!(told <= sim.elapsed() - before + Duration::from_nanos(1) && told > 0 * MS);
        }
    }
    let sim = Sim::builder().service_header(None).build().unwrap();
    assert!(
        !send(&sim, LIST)
            .await
            .headers()
            .contains_key("x-envoy-upstream-service-time")
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_does_not_call_the_request_back() {
    let sim = small().uplink(Latency::constant(30 * MS)).build().unwrap();
    let body = r#"{"properties":{"email":"a@b.org"}}"#;
    let mut create = request(Method::POST, LIST, "pat-1");
    *create.body_mut() = SimBody::from(body);
    drop(sim.service().call(create));
    assert_eq!(sim.stats().counted(), 0);
    sleep(40 * MS).await;
    assert_eq!(sim.stats().counted(), 1);
    assert_eq!(sim.log()[0].at, 30 * MS);
    let list = send(&sim, LIST).await;
    assert_eq!(json(&list)["results"][0]["properties"]["email"], "a@b.org");
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_give_equal_runs() {
    let run = |seed| async move {
        let sim = small()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(200 * MS, 600 * MS))
            .others(Others::burst(0.2))
            .fault(0.1, Fault::status(StatusCode::BAD_GATEWAY))
            .seed(seed)
            .build()
            .unwrap();
        let calls = (0..50).map(|_| sim.service().call(request(Method::GET, LIST, "pat-1")));
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        (sim.log(), sim.stats().statuses)
    };
    assert_eq!(run(3).await, run(3).await);
    assert_ne!(run(3).await, run(4).await);
}

#[tokio::test(start_paused = true)]
async fn faults_by_script() {
    let sim = small().burst(100, 10 * SECOND).build().unwrap();
    let locked = Fault::status(StatusCode::LOCKED);
    sim.script(
        Script::new(locked)
            .times(2)
            .path("/search")
            .method(Method::POST),
    );
    let moving = Fault::status(StatusCode::from_u16(477).unwrap()).retry_after(86_400);
    sim.script(Script::new(moving));
    sim.script(Script::new(
        Fault::status(StatusCode::BAD_GATEWAY).delay(SECOND),
    ));
    let timeout = Fault::status(StatusCode::from_u16(524).unwrap());
    sim.script(Script::new(timeout));
    assert_eq!(send(&sim, SEARCH).await.status(), StatusCode::LOCKED);
    let moved = send(&sim, LIST).await;
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()["retry-after"]),
        (477, &"86400".parse().unwrap())
    );
    let before = sim.elapsed();
    let gateway = send(&sim, LIST).await;
    assert_eq!(sim.elapsed() - before, SECOND);
    assert_eq!(gateway.headers()["content-type"], "text/html");
    assert_eq!(number(gateway.headers(), "max"), None);
    let timeout = send(&sim, LIST).await;
    let page = String::from_utf8(timeout.body().bytes().to_vec()).unwrap();
    assert!(page.starts_with("<html>\n<head><title>524 Origin Time-out</title></head>"));
    assert_eq!(send(&sim, SEARCH).await.status(), StatusCode::LOCKED);
    assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
    // All of them were counted, and the error of the server itself carries quota headers.
    assert_eq!(sim.stats().counted(), 6);
    sim.script(Script::new(Fault::status(
        StatusCode::INTERNAL_SERVER_ERROR,
    )));
    assert_eq!(
        number(send(&sim, LIST).await.headers(), "remaining"),
        Some(95)
    );
}

#[tokio::test(start_paused = true)]
async fn connections_are_lost_before_and_after_counting() {
    let sim = small().burst(100, 10 * SECOND).build().unwrap();
    let lost = |fault| {
        sim.script(Script::new(fault));
        let mut create = request(Method::POST, LIST, "pat-1");
        *create.body_mut() = SimBody::from(r#"{"properties":{"firstname":"A"}}"#);
        sim.service().oneshot(create)
    };
    let contacts = || async {
        json(&send(&sim, LIST).await)["results"]
            .as_array()
            .unwrap()
            .len()
    };
    let error = lost(Fault::drop_before_counting()).await.unwrap_err();
    assert!(matches!(error, SimError::ConnectionDropped));
    assert_eq!((sim.stats().counted(), contacts().await), (0, 0));
    lost(Fault::drop_after_counting()).await.unwrap_err();
    assert_eq!((sim.stats().counted(), contacts().await), (2, 0));
    lost(Fault::drop_after_work()).await.unwrap_err();
    assert_eq!((sim.stats().counted(), contacts().await), (4, 1));
    assert_eq!(sim.stats().dropped, 3);
    let hung = tokio::time::timeout(3_600 * SECOND, lost(Fault::hang())).await;
    assert!(hung.is_err());
    assert_eq!(sim.stats().hung, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_use_up_a_script_and_a_scripted_one_is_not_counted() {
    let sim = small().burst(1, 10 * SECOND).daily(100).build().unwrap();
    sim.script(Script::new(
        Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after(3),
    ));
    let refused = send(&sim, LIST).await;
    assert_eq!(refused.headers()["retry-after"], "3");
    assert_eq!(json(&refused)["policyName"], "TEN_SECONDLY_ROLLING");
    assert_eq!(number(refused.headers(), "daily-remaining"), Some(99));
    assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
    sim.script(Script::new(Fault::status(StatusCode::SERVICE_UNAVAILABLE)));
    assert_eq!(
        send(&sim, LIST).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    sleep(10 * SECOND).await;
    assert_eq!(
        send(&sim, LIST).await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test(start_paused = true)]
async fn faults_by_chance() {
    let sim = Sim::builder()
        .no_burst()
        .fault(0.2, Fault::status(StatusCode::SERVICE_UNAVAILABLE))
        .fault(0.1, Fault::drop_after_work())
        .build()
        .unwrap();
    for _ in 0..10_000 {
        let _ = sim
            .service()
            .oneshot(request(Method::GET, LIST, "pat-1"))
            .await;
    }
    let stats = sim.stats();
    assert!((1_850..2_150).contains(&stats.statuses[&503]), "{stats:?}");
    assert!((900..1_100).contains(&stats.dropped), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn others_spend_the_same_quota() {
    let sim = small()
        .burst(100, 10 * SECOND)
        .others(Others::burst(5.0))
        .others(Others::search(1.0).account(4711))
        .build()
        .unwrap();
    let first = send(&sim, LIST).await;
    // At 5 a second about 50 are in the window from the start.
    let remaining = number(first.headers(), "remaining").unwrap();
    sleep(1_000 * SECOND).await;
    let stats = sim.stats();
    assert!((4_700..5_300).contains(&stats.others_counted), "{stats:?}");
    let later = number(send(&sim, LIST).await.headers(), "remaining").unwrap();
    assert!((20..80).contains(&later), "{later}");
    assert_eq!(
        remaining, 99,
        "the first token is seen at time zero, before anybody else"
    );
    assert_eq!(
        sim.log()
            .iter()
            .filter(|entry| entry.token.is_some())
            .count(),
        2
    );
    // By hand, under the same limits; other accounts are not concerned.
    let sim = small().build().unwrap();
    assert_eq!(sim.spend("pat-1", 3), 3);
    assert_eq!(sim.spend("pat-1", 3), 2);
    assert_eq!(
        send(&sim, LIST).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(sim.spend_search("pat-1", 9), 2);
    assert_eq!(
        send(&sim, SEARCH).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(sim.stats().others_refused, 8);
}

#[test]
fn nonsense_is_an_error_that_names_the_field() {
    let table = [
        (small().burst(0, SECOND), "burst: quota"),
        (small().search(1, 0 * MS), "search: window"),
        (
            small()
                .associations(1, 1_500 * MS)
                .windows(Windows::WALL_SECONDS),
            "associations: window",
        ),
        (
            small().windows(Windows::OneSecondBuckets {
                phase: Some(SECOND),
            }),
            "windows: phase",
        ),
        (small().daily(0), "daily"),
        (small().zone("Mars/Olympus"), "zone"),
        (small().zone_offset(15 * 3_600), "zone"),
        (small().limit_increase(3), "limit_increase"),
        (small().uplink(Latency::uniform(2 * MS, MS)), "uplink"),
        (
            small().service_time(Latency::NONE.tail(2.0, MS)),
            "service_time",
        ),
        (small().fault(f64::NAN, Fault::hang()), "fault: probability"),
        (
            small().fault(0.6, Fault::hang()).fault(0.6, Fault::hang()),
            "fault: probability",
        ),
        (small().others(Others::burst(0.0)), "others: rate"),
    ];
    for (builder, field) in table {
        let error = builder.build().unwrap_err();
        assert_eq!(error.field(), field);
    }
}

/// One request over a plain stream; `None` if the connection is closed without an answer.
async fn over_socket(stream: &mut tokio::net::TcpStream, path: &str) -> Option<String> {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer pat-1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
    }
}

#[tokio::test]
async fn the_same_over_a_socket() {
    let sim = small().burst(2, 10 * SECOND).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = sim.serve(listener).unwrap();
    assert_eq!(server.url(), format!("http://{}", server.address()));
    let mut stream = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(over_socket(&mut stream, LIST).await.unwrap());
    }
    assert!(answers[0].starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(answers[1].contains("x-hubspot-ratelimit-remaining: 0\r\n"));
    assert!(answers[2].starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
    assert!(answers[2].contains("TEN_SECONDLY_ROLLING"));
    let stats = over_socket(&mut stream, "/sim/stats").await.unwrap();
    assert!(
        stats.contains(r#""general":{"arrived":3,"counted":2,"refused_window":1"#),
        "{stats}"
    );
    sim.script(Script::new(Fault::drop_before_counting()));
    assert_eq!(over_socket(&mut stream, LIST).await, None);
    let address = server.address();
    server.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
