//! Promise: the stack is set up as its docs say, and its layers work together: each response is read once, what was reserved
//! before stands, as many requests go at a time as a window allows, and others who use the quota leave less headroom.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{FOREVER, SECOND, Server, after, at_once, burst, fresh_hubspot, get, ms, search};
use http::Request;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_quota::concurrency::Reason;
use tower_quota::hubspot;
use tower_quota::plan::{Reserve, RouteClass, Zone};
use tower_quota::signal::{ResponseHead, SignalReader, Signals, StandardSignals};
use tower_quota::stack::StackLayer;
use tower_quota::{Api, Quota};

fn quota() -> Quota {
    fresh_hubspot(Zone::UNKNOWN).build()
}

/// How many of ten bulk searches may go at once.
async fn at_once_in_bulk(stack: &StackLayer) -> usize {
    let server = Server::fine();
    let api = stack.clone().max_wait(Duration::ZERO).layer(server.clone());
    for _ in 0..10 {
        let _ = api.clone().oneshot(search("t")).await;
    }
    server.count()
}

#[tokio::test(start_paused = true)]
async fn one_search_is_reserved_unless_somebody_has_said_otherwise() {
    assert_eq!(at_once_in_bulk(&hubspot::stack(&quota())).await, 4);
    let none = hubspot::stack(&quota()).search_reserve(0);
    assert_eq!(at_once_in_bulk(&none).await, 5);
    // What was said before the stack was made stands, also when it is made twice.
    let quota = quota();
    let two = Reserve::Slots(2);
    quota.set_reserve(hubspot::SEARCH, two).unwrap();
    let _ = hubspot::stack(&quota);
    assert_eq!(at_once_in_bulk(&hubspot::stack(&quota)).await, 3);
}

/// How many of 300 requests are with the server before the first is answered.
async fn under_way(stack: StackLayer) -> usize {
    let server = Server::new(|_, _| after(60 * SECOND, at_once(200, &[], "")));
    let api = stack.max_wait(FOREVER).layer(server.clone());
    let mut calls = JoinSet::new();
    for _ in 0..300 {
        calls.spawn(api.clone().oneshot(get("t")));
    }
    sleep(30 * SECOND).await;
    server.count()
}

#[tokio::test(start_paused = true)]
async fn as_many_go_at_a_time_as_the_widest_window_allows() {
    assert_eq!(under_way(hubspot::stack(&quota())).await, 190);
    let fewer = hubspot::stack(&quota()).max_concurrency(64);
    assert_eq!(under_way(fewer).await, 64);
    // From 64 to 256, whatever the window.
    for (window, most) in [(300, 256), (1, 1)] {
        let quota = Quota::new(burst(window, FOREVER / 10));
        assert_eq!(under_way(StackLayer::new(&quota)).await, most);
    }
}

struct Counting(Arc<AtomicUsize>);

impl SignalReader for Counting {
    fn read(&self, response: &ResponseHead<'_>, class: RouteClass, body: &[u8]) -> Signals {
        self.0.fetch_add(1, Ordering::Relaxed);
        StandardSignals.read(response, class, body)
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_once() {
    let reads = Arc::new(AtomicUsize::new(0));
    let api = Api::new(burst(10, SECOND)).signals(Counting(reads.clone()));
    let api = StackLayer::new(&Quota::new(api)).layer(Server::fine());
    let answer = api.oneshot(get("t")).await.unwrap();
    assert!(answer.extensions().get::<Signals>().is_some());
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}

/// What others leave of the quota is headroom; what we use ourselves is not missing from it.
#[tokio::test(start_paused = true)]
async fn others_who_use_most_of_the_quota_halve_the_concurrency() {
    for (left, halved) in [("20", true), ("185", false)] {
        let told = [
            ("x-hubspot-ratelimit-max", "190"),
            ("x-hubspot-ratelimit-remaining", left),
            ("x-envoy-upstream-service-time", "90"),
        ];
        let server = Server::new(move |_, _| after(ms(100), at_once(200, &told, "")));
        let stack = hubspot::stack(&quota()).max_wait(FOREVER);
        let api = stack.layer(server);
        for _ in 0..30 {
            api.clone().oneshot(get("t")).await.unwrap();
            sleep(SECOND).await;
        }
        let request: Request<_> = get("t");
        let change = stack.concurrency(&request).last_change;
        let is_halved = change.is_some_and(|change| change.reason == Reason::LowHeadroom);
        assert_eq!(is_halved, halved, "{left} left: {change:?}");
    }
}
