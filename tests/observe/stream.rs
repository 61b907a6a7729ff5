//! The stream of events is bounded, holds nobody up, and tells what it has left out.

use tokio::time::sleep;
use tower::{Layer, Service};
use tower_quota::event::{EventKind, Events, QuotaEvent};
use tower_quota::stack::StackLayer;
use tower_quota::{ObserveLayer, Quota};

use crate::common::{Hand, SECOND, Server, at_once, burst, get, names, so_far};
use crate::{ask, at_noon, observed};

fn refusing() -> Server {
    Server::new(|_, _| at_once(429, &[], ""))
}

fn missed(events: &[QuotaEvent]) -> u64 {
    let missed = events.iter().map(|event| match event.kind {
        EventKind::Missed { events } => events,
        _ => 0,
    });
    missed.sum()
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_falls_behind_is_told_how_much_it_has_missed() {
    let quota = Quota::new(burst(100_000, SECOND));
    // Few enough errors of the day are told otherwise.
    let (mut idle, mut with_requests) = (quota.events(), quota.events_with_requests());
    let api = observed(&quota, &refusing());
    let sent = 40_000;
    for _ in 0..sent {
        ask(&api, get("a")).await.unwrap();
    }
    let seen = so_far(&mut idle);
    assert_eq!(seen[0].kind.as_str(), "missed");
    assert_eq!(seen.len(), 1 + 1_024);
    // Besides the refusals, that 5 % are reached.
    assert_eq!(missed(&seen) + 1_024, sent + 1);
    let seen = so_far(&mut with_requests);
    assert_eq!(seen.len(), 1 + 16_384);
    assert_eq!(missed(&seen) + 16_384, 2 * sent + 1);
    assert_eq!(quota.report().today.requests, sent);
    // From then on it is told all again.
    ask(&api, get("a")).await.unwrap();
    assert_eq!(names(&so_far(&mut idle)), ["rate_limited"]);
    assert_eq!(
        names(&so_far(&mut with_requests)),
        ["request", "rate_limited"]
    );
}

#[tokio::test(start_paused = true)]
async fn two_readers_get_the_same_and_each_only_from_then_on() {
    let quota = Quota::new(burst(100, SECOND));
    let api = observed(&quota, &refusing());
    let mut first = quota.events();
    ask(&api, get("a")).await.unwrap();
    let mut second = quota.clone().events();
    let dropped = quota.events();
    ask(&api, get("b")).await.unwrap();
    drop(dropped);
    ask(&api, get("c")).await.unwrap();
    let (first, second) = (so_far(&mut first), so_far(&mut second));
    assert_eq!((first.len(), second.len()), (3, 2));
    assert_eq!(first[1..], second);
}

#[tokio::test(start_paused = true)]
async fn single_requests_are_told_only_to_those_who_ask() {
    let quota = Quota::new(burst(100, SECOND));
    let api = observed(&quota, &Server::fine());
    let (mut plain, mut with_requests) = (quota.events(), quota.events_with_requests());
    ask(&api, get("a")).await.unwrap();
    assert!(so_far(&mut plain).is_empty());
    assert_eq!(names(&so_far(&mut with_requests)), ["request"]);
}

/// `None` and nothing else says that it has ended.
async fn ends(events: &mut Events) -> bool {
    let next = tokio::time::timeout(SECOND, async { while events.next().await.is_some() {} });
    next.await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_last_handle_and_layer() {
    let quota = Quota::new(burst(100, SECOND));
    let (mut events, mut with_requests) = (quota.events(), quota.events_with_requests());
    let other = quota.clone();
    drop(quota);
    assert!(!ends(&mut events).await, "a handle is left");
    let layer = StackLayer::new(&other);
    drop(other);
    assert!(!ends(&mut events).await, "a layer is left");
    let mut api = layer.layer(Server::new(|_, _| crate::common::never()));
    drop(layer);
    assert!(!ends(&mut events).await, "a service is left");
    let mut call = Hand::new(api.call(get("a")));
    assert!(call.poll().is_pending());
    drop(api);
    assert!(!ends(&mut events).await, "a request is left");
    drop(call);
    // What was told before is there still.
    assert_eq!(names(&[with_requests.next().await.unwrap()]), ["request"]);
    assert!(ends(&mut events).await && ends(&mut with_requests).await);
    assert_eq!(events.try_next(), None);
}

/// With the time of each.
#[tokio::test(start_paused = true)]
async fn they_come_in_the_order_in_which_they_happened() {
    let quota = at_noon(burst(3, SECOND)).build();
    let mut events = quota.events_with_requests();
    let server = Server::new(|nth, _| at_once(if nth % 7 == 3 { 429 } else { 200 }, &[], ""));
    let api = StackLayer::new(&quota).layer(server);
    for _ in 0..50 {
        ask(&api, get("a")).await.unwrap();
    }
    let seen = so_far(&mut events);
    assert!(seen.len() > 60);
    assert!(seen.is_sorted_by_key(|event| event.at));
    // Each refusal after its request, before its pause, and that before the next request.
    let order = names(&seen).into_iter();
    let order: Vec<_> = order
        .filter(|name| ["request", "rate_limited", "paused"].contains(name))
        .collect();
    let refusals = (0..order.len()).filter(|nth| order[*nth] == "rate_limited");
    for nth in refusals {
        assert_eq!(
            order[nth - 1..=nth + 1],
            ["request", "rate_limited", "paused"]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_gives_up_waiting_loses_nothing() {
    let quota = Quota::new(burst(100, SECOND));
    let mut events = quota.events();
    let api = observed(&quota, &refusing());
    let mut waits = Hand::new(events.next());
    assert!(waits.poll().is_pending());
    ask(&api, get("a")).await.unwrap();
    assert!(waits.is_woken());
    drop(waits);
    assert_eq!(names(&so_far(&mut events)), ["rate_limited"]);
}

/// One that sleeps on a thread of its own holds nobody up.
#[test]
fn a_thread_can_wait_for_them() {
    let quota = Quota::new(burst(100, SECOND));
    let mut events = quota.events();
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while let Some(event) = events.blocking_next() {
            seen.push(event.kind.as_str());
        }
        seen
    });
    let api = observed(&quota, &refusing());
    assert!(Hand::new(ask(&api, get("a"))).poll().is_ready());
    drop((api, quota));
    assert_eq!(reader.join().unwrap(), ["rate_limited"]);
}

/// A layer made from a plan has a quota of its own, which ends with it.
#[tokio::test(start_paused = true)]
async fn a_layer_may_have_a_quota_of_its_own() {
    let api = ObserveLayer::from(burst(100, SECOND)).layer(refusing());
    let mut events = api.quota().events();
    ask(&api, get("a")).await.unwrap();
    drop(api);
    sleep(SECOND).await;
    assert!(events.next().await.is_some());
    assert!(events.next().await.is_none());
}
