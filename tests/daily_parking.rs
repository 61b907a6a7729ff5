//! Promise: whoever finds a daily pool exhausted fails at once and is told when it is filled again, or, if he parks, waits for
//! that until his own deadline, and then for as long as those before him need.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{DAILY_BODY, HOUR, SECOND, Server, after, at_once, get, most_in_window};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::core::DenialReason;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Limit, Plan, Zone};
use tower_quota::quota::DailyExhausted;
use tower_quota::request::Deadline;
use tower_quota::stack::StackLayer;
use tower_quota::{Quota, QuotaError, TokenLimitLayer};

/// 2026-03-28T00:00:00Z.
const START: Duration = Duration::from_secs(1_774_656_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn midnight() -> SystemTime {
    UNIX_EPOCH + START
}

fn quota(daily: u32, burst: u32, then: DailyExhausted, wall: SystemTime) -> Quota {
    let plan = Plan::builder("test")
        .limit(Limit::daily("day", daily, Zone::UTC))
        .limit(Limit::rolling("burst", burst, 10 * SECOND));
    Quota::builder(plan.build().unwrap())
        .clock(Clock::starting_at(wall))
        .daily_exhausted(then)
        .build()
}

#[tokio::test(start_paused = true)]
async fn who_fails_is_told_at_once_when_the_pool_is_filled_again() {
    let quota = quota(1, 100, DailyExhausted::Fail, midnight());
    let (server, layer) = (Server::fine(), TokenLimitLayer::new(&quota));
    let api = layer.layer(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    let error = api.clone().oneshot(get("t")).await.unwrap_err();
    let error = error.downcast_ref::<QuotaError>().unwrap();
    assert_eq!(
        (error.limit(), error.reason()),
        ("day", DenialReason::TooLong)
    );
    assert_eq!(error.retry_at(), midnight() + DAY);
    assert_eq!(server.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_for_the_reset_is_no_failure() {
    let quota = quota(1, 100, DailyExhausted::Fail, midnight() + DAY - 30 * SECOND);
    let (server, layer) = (Server::fine(), TokenLimitLayer::new(&quota));
    let api = layer.layer(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(server.times(), [0, 30_000]);
}

/// They need 100 s for the burst after the reset, more than `max_wait`.
#[tokio::test(start_paused = true)]
async fn a_herd_that_has_parked_resumes_in_order_and_nobody_is_thrown_out() {
    for hours in [0, 23] {
        let start = midnight() + hours * HOUR;
        let quota = quota(2_000, 100, DailyExhausted::Park, start);
        let server = Server::fine();
        let layer = TokenLimitLayer::new(&quota).max_wait(10 * SECOND);
        let api = layer.layer(server.clone());
        // The pool is used up in 200 s.
        for _ in 0..2_000 {
            let patient = TokenLimitLayer::new(&quota).max_wait(HOUR);
            patient
                .layer(server.clone())
                .oneshot(get("t"))
                .await
                .unwrap();
        }
        let mut herd = JoinSet::new();
        for nth in 0..1_000 {
            let api = api.clone();
            let request = common::request(http::Method::GET, &format!("/{nth}"), "t");
            herd.spawn(async move { api.oneshot(request).await.map(drop) });
            tokio::task::yield_now().await;
        }
        while let Some(done) = herd.join_next().await {
            done.unwrap().unwrap();
        }
        let log = server.log();
        let late: Vec<_> = log[2_000..].iter().map(|seen| seen.at).collect();
        assert_eq!(late[0], DAY - hours * HOUR, "nobody goes before the reset");
        assert!(most_in_window(&late, 10 * SECOND) <= 100);
        assert!(*late.last().unwrap() < DAY - hours * HOUR + 101 * SECOND);
        let order: Vec<_> = log[2_000..].iter().map(|seen| &seen.path[1..]).collect();
        let expected: Vec<_> = (0..1_000).map(|nth| nth.to_string()).collect();
        assert_eq!(order, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn who_parks_waits_no_longer_than_until_his_own_deadline() {
    let quota = quota(1, 100, DailyExhausted::Park, midnight());
    let server = Server::fine();
    let api = TokenLimitLayer::new(&quota).layer(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    for (hours, goes) in [(5, false), (25, true)] {
        let mut request = get("t");
        let deadline = Deadline::within(hours * HOUR);
        request.extensions_mut().insert(deadline);
        let answer = api.clone().oneshot(request).await;
        assert_eq!(answer.is_ok(), goes, "{hours} h");
        if !goes {
            assert_eq!(server.elapsed(), Duration::ZERO, "that is known at once");
        }
    }
    assert_eq!(server.elapsed(), DAY);
}

/// Other waits stay as short as they were.
#[tokio::test(start_paused = true)]
async fn parking_is_for_the_pool_only() {
    let quota = quota(1_000, 1, DailyExhausted::Park, midnight());
    let server = Server::fine();
    let api = TokenLimitLayer::new(&quota)
        .max_wait(5 * SECOND)
        .layer(server.clone());
    api.clone().oneshot(get("t")).await.unwrap();
    let error = api.clone().oneshot(get("t")).await.unwrap_err();
    let error = error.downcast_ref::<QuotaError>().unwrap();
    assert_eq!(error.limit(), "burst");
}

/// The refusal pauses the pool; whoever comes in the meantime waits at the outer layer, and must not be thrown out further inside.
#[tokio::test(start_paused = true)]
async fn a_herd_that_meets_a_refusal_parks_through_the_whole_stack() {
    let clock = Clock::starting_at(midnight() + 20 * HOUR);
    let quota = Quota::builder(hubspot::api(Tier::FreeStarter, Zone::UTC))
        .clock(clock)
        .daily_exhausted(DailyExhausted::Park)
        .build();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[], DAILY_BODY),
        _ => at_once(200, &[], ""),
    });
    let stack = StackLayer::new(&quota).max_wait(20 * SECOND);
    let api = stack.layer(server.clone());
    let mut herd = JoinSet::new();
    let first = api.clone();
    herd.spawn(async move { first.oneshot(get("t")).await.map(|answer| answer.status()) });
    tokio::time::sleep(SECOND).await;
    for _ in 0..999 {
        let api = api.clone();
        herd.spawn(async move { api.oneshot(get("t")).await.map(|answer| answer.status()) });
    }
    while let Some(done) = herd.join_next().await {
        assert_eq!(done.unwrap().unwrap(), 200);
    }
    let times: Vec<_> = server.log().iter().map(|seen| seen.at).collect();
    assert_eq!(times.len(), 1_001);
    assert!(times[1] >= 4 * HOUR, "{:?}", times[1]);
    assert!(most_in_window(&times, 10 * SECOND) <= 100);
}

/// One at a time goes, and each takes 5 s: the last has his turn long after `max_wait`.
#[tokio::test(start_paused = true)]
async fn a_herd_that_has_parked_may_also_wait_for_its_turn_further_inside() {
    let quota = quota(10, 100, DailyExhausted::Park, midnight());
    for _ in 0..10 {
        let api = TokenLimitLayer::new(&quota).layer(Server::fine());
        api.oneshot(get("t")).await.unwrap();
    }
    let server = Server::new(|_, _| after(5 * SECOND, at_once(200, &[], "")));
    let stack = StackLayer::new(&quota).max_wait(10 * SECOND);
    let api = stack.max_concurrency(1).layer(server.clone());
    let mut herd = JoinSet::new();
    for _ in 0..10 {
        herd.spawn(api.clone().oneshot(get("t")));
    }
    while let Some(done) = herd.join_next().await {
        done.unwrap().unwrap();
    }
    let times: Vec<_> = server.log().iter().map(|seen| seen.at).collect();
    assert!(
        times[0] >= DAY && times[9] >= DAY + 45 * SECOND,
        "{times:?}"
    );
}
