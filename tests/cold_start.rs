//! Promise: a process that starts in mid-window is not refused for what the one before it has used.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{FOREVER, SECOND, Server, after, at_once, burst, get, ms};
use http::{Method, Request};
use http_body_util::Empty;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_quota::hubspot::{self, HubspotSignals, Tier};
use tower_quota::plan::{Assumed, ColdStart, Limit, Plan, Zone};
use tower_quota::sim::{Class, ClassStats, Latency, ServiceHeader, Sim};
use tower_quota::stack::StackLayer;
use tower_quota::{Api, Quota};

const WINDOW: Duration = Duration::from_secs(10);
const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

fn simulator(seed: u64, headers: bool) -> Sim {
    Sim::builder()
        .burst(190, WINDOW)
        .search(5, SECOND)
        .no_daily()
        .latency(Latency::WAN)
        .service_time(Latency::uniform(ms(200), ms(600)))
        .service_header(Some(ServiceHeader::Envoy))
        .quota_headers(headers)
        .seed(seed)
        .build()
        .unwrap()
}

fn request(class: Class) -> Request<Empty<Bytes>> {
    let (method, path) = match class {
        Class::Search => (Method::POST, "http://sim/crm/v3/objects/contacts/search"),
        _ => (Method::GET, "http://sim/crm/v3/owners"),
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", "Bearer t");
    request.body(Empty::new()).unwrap()
}

/// A process that makes as many requests as may go, until it is dropped. Each of its 400 workers makes one per `pace`.
fn process(quota: &Quota, sim: &Sim, class: Class, pace: Duration) -> JoinSet<()> {
    let api = StackLayer::new(quota)
        .max_wait(FOREVER)
        .layer(sim.service());
    let mut workers = JoinSet::new();
    for nth in 0..400 {
        let api = api.clone();
        workers.spawn(async move {
            sleep(pace * nth / 400).await;
            loop {
                api.clone().oneshot(request(class)).await.unwrap();
                sleep(pace).await;
            }
        });
    }
    workers
}

fn of(sim: &Sim, class: Class) -> ClassStats {
    let stats = sim.stats();
    match class {
        Class::Search => stats.search,
        _ => stats.general,
    }
}

fn reads_figures() -> Quota {
    Quota::new(hubspot::api(Tier::Professional, Zone::UNKNOWN))
}

/// As before, but the service in between strips the quota headers, and the program knows.
fn reads_no_figures() -> Quota {
    let plan = Plan::builder("stripped").limit(Limit::rolling("burst", 190, WINDOW));
    Quota::builder(plan.build().unwrap())
        .cold_start(ColdStart::Probe)
        .build()
}

/// A process uses all it can, is dropped in mid-flight, and the next one starts at once. Gives how many the second one was
/// refused, and how much of the quota it used in its first two windows.
///
/// Every other seed the first process uses its quota evenly, otherwise in one burst per window.
async fn restart(seed: u64, class: Class, headers: bool, make: fn() -> Quota) -> (u64, u64) {
    fastrand::seed(seed);
    let sim = simulator(seed, headers);
    let first = process(&make(), &sim, class, 2 * WINDOW * (seed % 2) as u32);
    sleep(35 * SECOND + ms(300 * seed)).await;
    drop(first);
    let before = of(&sim, class);
    assert_eq!(before.refused_window, 0, "{before:?}");
    let second = process(&make(), &sim, class, Duration::ZERO);
    sleep(2 * WINDOW).await;
    let after = of(&sim, class);
    drop(second);
    let figures = (
        after.refused_window - before.refused_window,
        after.counted - before.counted,
    );
    println!("seed {seed}, {class:?}, headers {headers}: {figures:?} refused and used");
    figures
}

#[tokio::test(start_paused = true)]
async fn with_headers_a_restart_is_not_refused() {
    for seed in SEEDS {
        let (refused, used) = restart(seed, Class::General, true, reads_figures).await;
        // The one that asks may come when all is used; nobody else does.
        assert!(refused <= 1, "{refused}");
        // Nobody knows when the first one used it, so the first window may pass with nothing but questions.
        assert!(used >= 150, "{used}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_headers_a_restart_is_not_refused() {
    for seed in SEEDS {
        let (refused, used) = restart(seed, Class::General, false, reads_no_figures).await;
        assert_eq!(refused, 0);
        assert!(used >= 150, "{used}");
    }
}

/// Searches never bring figures.
#[tokio::test(start_paused = true)]
async fn searches_are_not_refused_after_a_restart() {
    for seed in SEEDS {
        let (refused, used) = restart(seed, Class::Search, true, reads_figures).await;
        assert_eq!(refused, 0);
        assert!(used >= 50, "{used}");
    }
}

/// One request asks; when its answer says that the window is empty, all the others go at once.
#[tokio::test(start_paused = true)]
async fn one_request_asks_for_all() {
    let server = Server::new(|_, _| {
        let told = [
            ("x-hubspot-ratelimit-max", "190"),
            ("x-hubspot-ratelimit-remaining", "189"),
        ];
        after(ms(100), at_once(200, &told, ""))
    });
    let quota = reads_figures();
    let api = StackLayer::new(&quota)
        .max_concurrency(256)
        .layer(server.clone());
    let calls: JoinSet<_> = (0..4).map(|_| api.clone().oneshot(get("t"))).collect();
    calls.join_all().await;
    assert_eq!(server.times(), [0, 100, 100, 100]);
}

/// As long as no answer brings figures, they go one after the other, but for one window and a second at most.
#[tokio::test(start_paused = true)]
async fn without_an_answer_the_first_window_is_slow_and_no_more() {
    let server = Server::new(|_, _| after(SECOND, at_once(200, &[], "")));
    let api = Api::new(burst(20, WINDOW)).signals(HubspotSignals);
    let quota = Quota::new(api);
    let api = common::patient(&quota).layer(server.clone());
    let calls: JoinSet<_> = (0..14).map(|_| api.clone().oneshot(get("t"))).collect();
    calls.join_all().await;
    let mut expected: Vec<u128> = (0..11).map(|second| 1_000 * second).collect();
    expected.extend([11_000; 3]);
    assert_eq!(server.times(), expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_assumed_is_not_asked() {
    for (cold_start, expected) in [
        (Some(ColdStart::Assume(Assumed::Empty)), 0),
        (Some(ColdStart::Assume(Assumed::Full)), 11_000),
        // Of a bare plan nobody can tell whether it is used.
        (None, 0),
    ] {
        let server = Server::new(|_, _| after(ms(100), at_once(200, &[], "")));
        let quota = Quota::builder(burst(3, WINDOW));
        let quota = match cold_start {
            Some(cold_start) => quota.cold_start(cold_start).build(),
            None => quota.build(),
        };
        let api = common::patient(&quota).layer(server.clone());
        let calls: JoinSet<_> = (0..3).map(|_| api.clone().oneshot(get("t"))).collect();
        calls.join_all().await;
        assert_eq!(server.times(), [expected; 3], "{cold_start:?}");
    }
}

/// A window of an hour that is never reported is not waited for.
#[tokio::test(start_paused = true)]
async fn nobody_waits_an_hour_at_the_start() {
    for (window, expected) in [(10, 11_000), (11, 0), (3_600, 0)] {
        let server = Server::new(|_, _| at_once(200, &[], ""));
        let quota = Quota::builder(burst(3, window * SECOND))
            .cold_start(ColdStart::Probe)
            .build();
        let api = common::patient(&quota).layer(server.clone());
        api.oneshot(get("t")).await.unwrap();
        assert_eq!(server.times(), [expected], "{window}");
    }
}

/// A token that is first used later than that finds a window in which nothing of the process before can be.
#[tokio::test(start_paused = true)]
async fn keys_that_come_later_need_not_ask() {
    let server = Server::new(|_, _| after(ms(100), at_once(200, &[], "")));
    let quota = reads_figures();
    let api = common::patient(&quota).layer(server.clone());
    sleep(11 * SECOND).await;
    let calls: JoinSet<_> = (0..9).map(|_| api.clone().oneshot(get("t"))).collect();
    calls.join_all().await;
    assert_eq!(server.times(), [11_000; 9]);
}
