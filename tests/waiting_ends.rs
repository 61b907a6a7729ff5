//! Promise: waiting has an end. A wait that is known to be longer than allowed fails at once, says which limit it is and when
//! the request could go at the earliest; one that turns out longer ends at its deadline; lines have a bound. (T6, T9, T22, T44)

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{
    DAILY_BODY, HOUR, SECOND, Server, after, at_once, burst, fresh_hubspot, get, ms, never,
    patient, request, search,
};
use http::Method;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::core::DenialReason;
use tower_quota::hubspot;
use tower_quota::plan::{Limit, Plan, Scope, Zone};
use tower_quota::request::Deadline;
use tower_quota::{BoxError, Quota, QuotaError, RetryAfterLayer, TokenLimitLayer};

fn quota_error(error: BoxError) -> QuotaError {
    *error.downcast().unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(start_paused = true)]
async fn a_wait_known_to_be_too_long_fails_at_once() {
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let quota = Quota::builder(burst(2, 10 * SECOND))
        .clock(Clock::starting_at(start))
        .build();
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(TokenLimitLayer::new(&quota).max_wait(5 * SECOND))
        .service(server.clone());
    for _ in 0..2 {
        api.clone().oneshot(get("t")).await.unwrap();
        sleep(SECOND).await;
    }
    let before = server.elapsed();
    let error = quota_error(api.clone().oneshot(get("t")).await.unwrap_err());
    assert_eq!(server.elapsed(), before);
    assert_eq!(
        (error.limit(), error.reason(), error.is_paused()),
        ("burst", DenialReason::TooLong, false)
    );
    let wait = error.retry_after();
    assert!(wait >= 8 * SECOND && wait < 8 * SECOND + ms(1), "{wait:?}");
    let at: SystemTime = error.retry_at();
    assert_eq!(at, start + before + wait);
    let text = error.to_string();
    assert!(
        text.contains("`burst`") && text.contains("used up") && text.contains("8.0 s"),
        "{text}"
    );
    assert_eq!(quota.waiting(), 0);
    // It is true: not a moment before, and not a moment later.
    sleep(wait - ms(1)).await;
    let still = ServiceBuilder::new()
        .layer(TokenLimitLayer::new(&quota).max_wait(Duration::ZERO))
        .service(server.clone());
    assert!(still.clone().oneshot(get("t")).await.is_err());
    sleep(ms(2)).await;
    still.oneshot(get("t")).await.unwrap();
}

/// Those before me in line count.
#[tokio::test(start_paused = true)]
async fn the_place_in_line_counts() {
    let quota = Quota::new(burst(2, SECOND));
    let server = Server::fine();
    let all = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    let tasks: Vec<_> = (0..9)
        .map(|_| tokio::spawn(all.clone().oneshot(get("t"))))
        .collect();
    tokio::task::yield_now().await;
    // Two went, seven wait: the next one goes in the fourth window from now, or the fifth.
    let brief = |wait| {
        ServiceBuilder::new()
            .layer(TokenLimitLayer::new(&quota).max_wait(wait))
            .service(server.clone())
    };
    let error = quota_error(brief(3 * SECOND).oneshot(get("t")).await.unwrap_err());
    assert!(
        error.retry_after() > 3 * SECOND && error.retry_after() < 4 * SECOND + ms(5),
        "{error}"
    );
    assert_eq!(server.elapsed(), Duration::ZERO);
    brief(4 * SECOND + ms(10)).oneshot(get("t")).await.unwrap();
    assert_eq!(server.elapsed(), 4 * SECOND + ms(4));
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

/// Whatever a denied request was told, an equal one that waits is never sent before it, unless somebody before it leaves the
/// line: by giving up, or because another limit holds only him.
#[tokio::test(start_paused = true)]
async fn retry_after_is_a_lower_bound() {
    for (seed, scope) in (0..40).zip([Scope::App, Scope::Token].into_iter().cycle()) {
        let mut state: u64 = seed;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let latency: Vec<u64> = (0..400).map(|_| random(900)).collect();
        let server = Server::new(move |nth, _| match nth % 23 {
            7 => after(ms(latency[nth % 400]), common::lost()),
            11 if scope == Scope::Token => after(
                ms(latency[nth % 400]),
                at_once(429, &[("retry-after", "0.4")], ""),
            ),
            _ => after(
                ms(latency[nth % 400]),
                at_once(200, &[("x-envoy-upstream-service-time", "30")], ""),
            ),
        });
        let plan = Plan::builder("two")
            .limit(Limit::rolling("short", 3, SECOND))
            .limit(Limit::rolling("long", 10, 6 * SECOND).scope(scope));
        let quota = Quota::new(plan.build().unwrap());
        let patient = ServiceBuilder::new()
            .layer(patient(&quota))
            .service(server.clone());
        let hasty = ServiceBuilder::new()
            .layer(TokenLimitLayer::new(&quota).max_wait(ms(100)))
            .service(server.clone());
        let mut tasks = Vec::new();
        let mut denied = 0;
        for nth in 0..60_usize {
            sleep(ms(random(400))).await;
            let token = if scope == Scope::App || nth % 2 == 0 {
                "a"
            } else {
                "b"
            };
            // The hasty one asks first, so the patient one has the place in line that it was told about.
            let earliest = match hasty.clone().oneshot(get(token)).await {
                Err(error) if error.is::<QuotaError>() => {
                    denied += 1;
                    server.elapsed() + quota_error(error).retry_after()
                }
                _ => Duration::ZERO,
            };
            let mut request = get(token);
            request.headers_mut().insert("x-nth", nth.into());
            tasks.push((
                nth,
                earliest,
                tokio::spawn(patient.clone().oneshot(request)),
            ));
            tokio::task::yield_now().await;
        }
        assert!(denied > 10, "{denied}");
        for (nth, earliest, task) in tasks {
            drop(task.await.unwrap());
            let log = server.log();
            let sent = log
                .iter()
                .find(|seen| seen.header("x-nth") == nth.to_string())
                .unwrap()
                .at;
            assert!(
                sent >= earliest,
                "seed {seed}, {nth}: {sent:?} before {earliest:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_own_deadline_of_a_request_shortens_its_wait() {
    let quota = Quota::new(burst(1, 10 * SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(TokenLimitLayer::new(&quota).max_wait(20 * SECOND))
        .service(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    let within = |wait| {
        let mut request = get("t");
        request.extensions_mut().insert(Deadline::within(wait));
        request
    };
    let error = quota_error(api.clone().oneshot(within(9 * SECOND)).await.unwrap_err());
    assert_eq!(
        (error.limit(), error.reason()),
        ("burst", DenialReason::TooLong)
    );
    assert_eq!(server.elapsed(), Duration::ZERO);
    let first = tokio::spawn(api.clone().oneshot(within(11 * SECOND)));
    tokio::task::yield_now().await;
    // A distant deadline does not lengthen max_wait.
    let error = quota_error(api.clone().oneshot(within(HOUR)).await.unwrap_err());
    assert!(error.retry_after() > 20 * SECOND);
    first.await.unwrap().unwrap();
    // One that can go at once goes, however close its deadline is.
    sleep(11 * SECOND).await;
    api.oneshot(within(ms(1))).await.unwrap();
    assert_eq!(
        Deadline::within(Duration::MAX),
        Deadline::within(Duration::MAX)
    );
}

/// Repeating ends at the deadline, too, with the server's answer.
#[tokio::test(start_paused = true)]
async fn repeating_ends_at_the_deadline() {
    let server = Server::new(|_, _| after(ms(100), at_once(503, &[], "")));
    let quota = Quota::new(burst(100, SECOND));
    let api = ServiceBuilder::new()
        .layer(
            RetryAfterLayer::new(&quota)
                .backoff(SECOND, SECOND)
                .unwrap(),
        )
        .layer(TokenLimitLayer::new(&quota))
        .service(server.clone());
    let mut request = get("t");
    request
        .extensions_mut()
        .insert(Deadline::within(2 * SECOND));
    let answer = api.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(server.count(), 2);
    assert!(
        server.elapsed() < 2 * SECOND,
        "it knew that a third attempt would come too late"
    );
    assert!(server.log().iter().all(|seen| seen.at <= 2 * SECOND));
}

/// Nobody knows when an answer comes that does not come.
#[tokio::test(start_paused = true)]
async fn a_wait_that_turns_out_longer_ends_at_the_deadline() {
    let quota = Quota::new(burst(1, SECOND));
    let server = Server::new(|_, _| never());
    let api = ServiceBuilder::new()
        .layer(TokenLimitLayer::new(&quota).max_wait(7 * SECOND))
        .service(server.clone());
    let hanging = tokio::spawn(api.clone().oneshot(get("t")));
    tokio::task::yield_now().await;
    let waiting: Vec<_> = (0..5)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    tokio::task::yield_now().await;
    let mut own = get("t");
    own.extensions_mut().insert(Deadline::within(3 * SECOND));
    let error = quota_error(api.clone().oneshot(own).await.unwrap_err());
    assert_eq!(
        (error.limit(), error.reason()),
        ("burst", DenialReason::TooLong),
        "five are before it"
    );
    sleep(ms(6_999)).await;
    assert_eq!(quota.waiting(), 5);
    for task in waiting {
        let error = quota_error(task.await.unwrap().unwrap_err());
        assert_eq!(
            (error.limit(), error.reason()),
            ("burst", DenialReason::TimedOut)
        );
    }
    assert!(
        server.elapsed() <= 7 * SECOND + ms(1),
        "{:?}",
        server.elapsed()
    );
    assert_eq!((quota.waiting(), server.count()), (0, 1));
    hanging.abort();
}

#[tokio::test(start_paused = true)]
async fn a_line_has_a_bound() {
    for most in [0, 1, 7] {
        let quota = Quota::builder(burst(2, SECOND)).max_waiting(most).build();
        let server = Server::fine();
        let api = ServiceBuilder::new()
            .layer(patient(&quota))
            .service(server.clone());
        let tasks: Vec<_> = (0..20)
            .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
            .collect();
        tokio::task::yield_now().await;
        // Other tokens have lines of their own.
        api.clone().oneshot(get("u")).await.unwrap();
        let mut denied = 0;
        for task in tasks {
            if let Err(error) = task.await.unwrap() {
                let error = quota_error(error);
                assert_eq!(
                    (error.limit(), error.reason()),
                    ("burst", DenialReason::QueueFull)
                );
                assert!(error.retry_after() >= SECOND);
                denied += 1;
            }
        }
        assert_eq!(denied, 18 - most);
        sleep(SECOND + ms(1)).await;
        api.oneshot(get("t"))
            .await
            .unwrap_or_else(|_| panic!("there is room again"));
    }
}

#[tokio::test(start_paused = true)]
async fn max_wait_of_zero_sends_what_can_go() {
    let quota = Quota::new(burst(3, SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(tower_quota::stack::StackLayer::new(&quota).max_wait(Duration::ZERO))
        .service(server.clone());
    for round in 0..3 {
        for nth in 0..5 {
            assert_eq!(
                api.clone().oneshot(get("t")).await.is_ok(),
                nth < 3,
                "{round}"
            );
        }
        sleep(SECOND + ms(1)).await;
    }
    assert_eq!(server.count(), 9);
}

/// In line or at the gate: who may not wait as long as the pause that begins, learns it in that instant.
#[tokio::test(start_paused = true)]
async fn those_in_line_fail_at_once_when_a_long_pause_begins() {
    for (status, body, limit) in [
        (503, "", "token"),
        (477, "", "account"),
        // A refusal that names no limit, but means hours.
        (429, "", "daily"),
        (429, DAILY_BODY, "daily"),
    ] {
        let server = Server::new(move |_, seen| match seen.header("x-refuse") {
            "" => after(10 * SECOND, at_once(200, &[], "")),
            _ => after(ms(1_500), at_once(status, &[("retry-after", "7200")], body)),
        });
        let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let quota = fresh_hubspot(Zone::UTC)
            .clock(Clock::starting_at(start))
            .build();
        quota.set_quota("burst", 2).unwrap();
        let api = ServiceBuilder::new()
            .layer(hubspot::stack(&quota))
            .service(server.clone());
        let alone = ServiceBuilder::new()
            .layer(TokenLimitLayer::new(&quota))
            .service(server.clone());
        let mut refused = get("t");
        refused.headers_mut().insert("x-refuse", 1.into());
        let refused = tokio::spawn(api.clone().oneshot(refused));
        let running = tokio::spawn(api.clone().oneshot(get("t")));
        tokio::task::yield_now().await;
        let mut waiting = Vec::new();
        for _ in 0..4 {
            waiting.push(tokio::spawn({
                let api = api.clone();
                async move { api.oneshot(get("t")).await.map(drop) }
            }));
            waiting.push(tokio::spawn({
                let api = alone.clone();
                async move { api.oneshot(get("t")).await.map(drop) }
            }));
        }
        sleep(SECOND).await;
        assert_eq!(quota.waiting(), 8);
        assert_eq!(refused.await.unwrap().unwrap().status(), status);
        let at = server.elapsed();
        for task in waiting {
            let error = quota_error(task.await.unwrap().unwrap_err());
            assert_eq!((error.limit(), error.is_paused()), (limit, true));
            assert!(error.retry_after() >= 7_000 * SECOND, "{error}");
        }
        assert_eq!(server.elapsed(), at);
        assert_eq!(
            running.await.unwrap().unwrap().status(),
            200,
            "what is on its way goes on"
        );
    }
}

/// A prolonged pause, seen from the line of the limiting layer and from the gate of the repeating one.
#[tokio::test(start_paused = true)]
async fn a_prolonged_pause_ends_the_wait_of_those_it_is_too_long_for() {
    let server = Server::new(|_, seen| match seen.path.as_str() {
        "/short" => after(ms(100), at_once(429, &[("retry-after", "30")], "")),
        "/long" => after(5 * SECOND, at_once(429, &[("retry-after", "600")], "")),
        _ => at_once(200, &[], ""),
    });
    let quota = Quota::new(burst(10, SECOND));
    let repeating = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(patient(&quota))
        .service(server.clone());
    let limiting = ServiceBuilder::new()
        .layer(TokenLimitLayer::new(&quota))
        .service(server.clone());
    let long = tokio::spawn(limiting.clone().oneshot(request(Method::GET, "/long", "t")));
    let short = tokio::spawn(
        limiting
            .clone()
            .oneshot(request(Method::GET, "/short", "t")),
    );
    assert_eq!(short.await.unwrap().unwrap().status(), 429);
    let at_gate = tokio::spawn(repeating.clone().oneshot(get("t")));
    let in_line = tokio::spawn(limiting.clone().oneshot(get("t")));
    sleep(SECOND).await;
    assert_eq!(quota.waiting(), 2);
    assert_eq!(long.await.unwrap().unwrap().status(), 429);
    for error in [
        at_gate.await.unwrap().map(drop),
        in_line.await.unwrap().map(drop),
    ] {
        let error = quota_error(error.unwrap_err());
        assert_eq!((error.limit(), error.is_paused()), ("token", true));
        assert!(error.retry_after() >= 599 * SECOND);
    }
    assert_eq!(server.elapsed(), 5 * SECOND);
}

/// Who waits at the gate for a pause of the token, learns at once of an empty day.
#[tokio::test(start_paused = true)]
async fn an_empty_day_ends_the_wait_for_a_shorter_pause() {
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let quota = fresh_hubspot(Zone::UTC)
        .clock(Clock::starting_at(start))
        .build();
    let server = Server::new(|_, seen| match seen.path.as_str() {
        "/short" => at_once(429, &[("retry-after", "40")], "error code: 1015"),
        "/daily" => after(5 * SECOND, at_once(429, &[], DAILY_BODY)),
        _ => at_once(200, &[], ""),
    });
    let limiting = ServiceBuilder::new()
        .layer(TokenLimitLayer::new(&quota))
        .service(server.clone());
    let repeating = ServiceBuilder::new()
        .layer(hubspot::stack(&quota))
        .service(server.clone());
    let daily = tokio::spawn(
        limiting
            .clone()
            .oneshot(request(Method::GET, "/daily", "t")),
    );
    tokio::task::yield_now().await;
    limiting
        .clone()
        .oneshot(request(Method::GET, "/short", "t"))
        .await
        .unwrap();
    let in_line = tokio::spawn(limiting.clone().oneshot(search("t")));
    let at_gate = tokio::spawn(repeating.clone().oneshot(search("t")));
    assert_eq!(daily.await.unwrap().unwrap().status(), 429);
    let error = quota_error(in_line.await.unwrap().map(drop).unwrap_err());
    assert_eq!((error.limit(), server.elapsed()), ("daily", 5 * SECOND));
    let error = quota_error(at_gate.await.unwrap().map(drop).unwrap_err());
    assert_eq!((error.limit(), server.elapsed()), ("daily", 5 * SECOND));
}

/// Extreme settings are just settings.
#[tokio::test(start_paused = true)]
async fn a_wait_without_end_is_allowed() {
    let quota = Quota::new(burst(1, 366 * 24 * HOUR));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).max_wait(Duration::MAX))
        .layer(TokenLimitLayer::new(&quota).max_wait(Duration::MAX))
        .service(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    let waiting = tokio::spawn(api.clone().oneshot(get("t")));
    sleep(365 * 24 * HOUR).await;
    assert_eq!(server.count(), 1);
    waiting.await.unwrap().unwrap();
    assert!(server.elapsed() <= 366 * 24 * HOUR + SECOND);
}
