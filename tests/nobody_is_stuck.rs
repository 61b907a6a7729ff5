//! Promise: whatever the server answers and whoever gives up, in the whole stack nobody waits for ever or beyond his deadline,
//! and every slot and place comes back.

mod common;

use std::time::Duration;

use common::{BURST_BODY, FOREVER, HOUR, SEARCH_BODY, SECOND, Server, after, at_once, get, lost};
use common::{ms, search};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::request::{Deadline, Lane};
use tower_quota::{Quota, QuotaError};

/// A server that answers a part of the requests with every kind of trouble.
fn server(seed: u64, trouble: f64) -> Server {
    Server::new(move |nth, _| {
        let mut rng = fastrand::Rng::with_seed(seed * 100_003 + nth as u64);
        let wait = ms(rng.u64(0..2_000));
        if rng.f64() >= trouble {
            return after(wait, at_once(200, &[], ""));
        }
        let answer = match rng.u8(0..6) {
            0 => at_once(429, &[("retry-after", "1")], SEARCH_BODY),
            1 => at_once(429, &[], BURST_BODY),
            2 => at_once(503, &[("retry-after", "2")], ""),
            3 => lost(),
            4 => at_once(429, &[("retry-after", "3")], ""),
            _ => at_once(504, &[], ""),
        };
        after(wait, answer)
    })
}

async fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    fastrand::seed(seed);
    let quota = Quota::new(hubspot::api(Tier::FreeStarter, Zone::UNKNOWN));
    let max_wait = if rng.bool() { FOREVER } else { 15 * SECOND };
    let stack = hubspot::stack(&quota)
        .max_wait(max_wait)
        .max_concurrency(rng.u32(1..50));
    let trouble = 0.5 * rng.f64();
    let api = stack.layer(server(seed, trouble));
    let mut calls = JoinSet::new();
    for _ in 0..rng.usize(1..300) {
        let mut call = match rng.f64() < 0.3 {
            true => search("t"),
            false => get("t"),
        };
        if rng.bool() {
            call.extensions_mut().insert(Lane::Interactive);
        }
        let mut at_times = |share: f64| (rng.f64() < share).then(|| ms(rng.u64(0..20_000)));
        let (deadline, give_up) = (at_times(0.3), at_times(0.4));
        let start = ms(rng.u64(0..20_000));
        let api = api.clone();
        calls.spawn(async move {
            sleep(start).await;
            let clock = Clock::system();
            if let Some(deadline) = deadline {
                call.extensions_mut().insert(Deadline::within(deadline));
            }
            let answer = timeout(give_up.unwrap_or(FOREVER), api.oneshot(call)).await;
            if let (Some(deadline), Ok(Err(error))) = (deadline, answer) {
                let late = clock.elapsed() > deadline + ms(2);
                assert!(!(late && error.is::<QuotaError>()), "{seed}: {error}");
            }
        });
    }
    let all = async {
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
    };
    let done = timeout(Duration::from_secs(4_000), all).await;
    assert!(done.is_ok(), "{seed}: somebody waits for ever");
    let concurrency = stack.concurrency(&get("t"));
    assert_eq!((concurrency.in_flight, concurrency.waiting), (0, 0));
    assert_eq!(quota.waiting(), 0, "{seed}");
    sleep(HOUR).await;
    for limit in [hubspot::BURST, hubspot::SEARCH] {
        let usage = quota.usage(limit, &get("t")).unwrap();
        assert_eq!((usage.used, usage.waiting), (0, 0), "{seed}: {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_stuck_and_nothing_is_lost() {
    for seed in 0..60 {
        run(seed).await;
    }
}
