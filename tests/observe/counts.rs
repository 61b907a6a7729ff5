//! What was sent is counted: each attempt, each error, each end without an answer, for the app, the token and the route.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use fastrand::Rng;
use http::Method;
use tower::{Layer, Service, ServiceExt};
use tower_quota::event::{Ending, EventKind};
use tower_quota::stack::StackLayer;
use tower_quota::{ObserveLayer, Quota, hubspot};

use crate::common::{
    Hand, SECOND, Server, after, at_once, burst, fresh_hubspot, get, lost, ms, never, request,
    so_far,
};
use crate::{Call, Reply, ask, at_noon, figures, named, observed};
use tower_quota::plan::Zone;

#[tokio::test(start_paused = true)]
async fn each_attempt_counts_repetitions_too() {
    let quota = at_noon(burst(100, SECOND)).build();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[("retry-after", "2")], ""),
        1 => at_once(503, &[], ""),
        _ => at_once(200, &[], ""),
    });
    let api = StackLayer::new(&quota).layer(server.clone());
    assert_eq!(ask(&api, get("a")).await.unwrap(), 200);
    assert_eq!(server.count(), 3);
    let report = quota.report();
    assert_eq!(figures(report.today), [3, 2, 1, 0]);
    assert_eq!(report.errors.share, 2.0 / 3.0);
    assert_eq!(report.tokens[0].requests, 3);
    assert_eq!(report.routes[0].requests, 3);
}

#[tokio::test(start_paused = true)]
async fn every_status_from_400_on_is_an_error() {
    let statuses = [
        100, 200, 204, 301, 304, 399, 400, 404, 409, 423, 429, 477, 499, 500, 503, 599, 600, 999,
    ];
    let quota = fresh_hubspot(Zone::UTC).build();
    let server = Server::new(move |nth, _| at_once(statuses[nth], &[], ""));
    let api = observed(&quota, &server);
    for status in statuses {
        assert_eq!(ask(&api, get("a")).await.unwrap(), status);
    }
    let errors = statuses.iter().filter(|status| **status >= 400).count();
    let expected = [statuses.len() as u64, errors as u64, 1, 0];
    assert_eq!(figures(quota.report().today), expected);
}

/// Panics in `call`, or when polled.
#[derive(Clone)]
struct Panics {
    in_call: bool,
}

struct PanicsLater;

impl Future for PanicsLater {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Reply> {
        panic!("the client has a bug")
    }
}

impl Service<Call> for Panics {
    type Response = http::Response<crate::common::PieceBody>;
    type Error = crate::common::TestError;
    type Future = PanicsLater;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Call) -> PanicsLater {
        assert!(!self.in_call, "the client has a bug");
        PanicsLater
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_client_panics_over_counts_as_given_up() {
    for in_call in [false, true] {
        let quota = Quota::new(burst(100, SECOND));
        let mut events = quota.events_with_requests();
        let api = ObserveLayer::new(&quota).layer(Panics { in_call });
        for _ in 0..3 {
            let call =
                AssertUnwindSafe(|| Hand::new(api.clone().oneshot(get("a"))).poll().is_ready());
            assert!(std::panic::catch_unwind(call).is_err());
        }
        assert_eq!(
            figures(quota.report().today),
            [3, 0, 0, 3],
            "in call: {in_call}"
        );
        let seen = so_far(&mut events);
        assert_eq!(seen.len(), 3);
        for event in seen {
            let EventKind::Request { ending, status, .. } = event.kind else {
                panic!("{event:?}")
            };
            assert_eq!((ending, status), (Ending::Dropped, None));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_it_is_lost_and_no_error() {
    let quota = Quota::new(burst(100, SECOND));
    let mut events = quota.events_with_requests();
    let server = Server::new(|nth, _| match nth {
        0 => after(2 * SECOND, lost()),
        _ => never(),
    });
    let api = observed(&quota, &server);
    ask(&api, get("a")).await.unwrap_err();
    // Dropped after the first poll, before it, and not even by whom it was made.
    let waits = tokio::time::timeout(3 * SECOND, ask(&api, get("a")));
    waits.await.unwrap_err();
    drop(api.clone().call(get("a")));
    // What never came to be called was not sent.
    drop(api.clone().oneshot(get("a")));
    assert_eq!(figures(quota.report().today), [3, 0, 0, 3]);
    let ended = so_far(&mut events)
        .into_iter()
        .map(|event| match event.kind {
            EventKind::Request {
                ending,
                status: None,
                took,
                ..
            } => (ending, took),
            kind => panic!("{kind:?}"),
        });
    let expected = [
        (Ending::Lost, 2 * SECOND),
        (Ending::Dropped, 3 * SECOND),
        (Ending::Dropped, ms(0)),
    ];
    assert_eq!(ended.collect::<Vec<_>>(), expected);
}

/// What somebody who writes everything down would have counted.
#[derive(Default)]
struct Oracle {
    all: [u64; 4],
    tokens: BTreeMap<&'static str, [u64; 4]>,
    routes: BTreeMap<String, [u64; 4]>,
}

impl Oracle {
    fn count(&mut self, token: &'static str, route: &str, status: Option<u16>) {
        let tokens = self.tokens.entry(token).or_default();
        let routes = self.routes.entry(route.to_owned()).or_default();
        for counts in [&mut self.all, tokens, routes] {
            counts[0] += 1;
            counts[1] += u64::from(status.is_some_and(|status| status >= 400));
            counts[2] += u64::from(status == Some(429));
            counts[3] += u64::from(status.is_none());
        }
    }
}

/// Requests that are polled, answered, lost and given up in any order.
#[tokio::test(start_paused = true)]
async fn the_counts_are_those_of_an_oracle_in_any_order() {
    const TOKENS: [&str; 4] = ["a", "b", "c", "d"];
    const STATUSES: [u16; 6] = [200, 201, 404, 429, 500, 503];
    for seed in 0..30 {
        let mut rng = Rng::with_seed(seed);
        let quota = fresh_hubspot(Zone::UTC).build();
        let mut events = quota.events_with_requests();
        let server = Server::new(|_, seen| {
            let wait = ms(seen.header("wait").parse().unwrap());
            match seen.header("status").parse().unwrap() {
                0 => after(wait, lost()),
                status => after(wait, at_once(status, &[], "")),
            }
        });
        let api = observed(&quota, &server);
        let mut oracle = Oracle::default();
        let mut under_way = Vec::new();
        for _ in 0..200 {
            if rng.bool() {
                let some = rng.usize(1..5);
                let token = TOKENS[rng.usize(..some)];
                let object = rng.choice(["contacts", "deals"]).unwrap();
                let path = format!("/crm/v3/objects/{object}/{}", rng.u32(..));
                let method = rng.choice([Method::GET, Method::PATCH]).unwrap();
                let route = format!("{method} /crm/v3/objects/{object}/{{}}");
                let mut call = request(method, &path, token);
                let status = match rng.u8(..8) {
                    0 => 0,
                    _ => STATUSES[rng.usize(..STATUSES.len())],
                };
                call.headers_mut().insert("status", status.into());
                call.headers_mut().insert("wait", rng.u32(0..300).into());
                under_way.push((token, route, status, Hand::new(api.clone().call(call))));
            }
            if rng.u8(..3) == 0 {
                tokio::time::advance(ms(rng.u64(..100))).await;
            }
            if under_way.is_empty() {
                continue;
            }
            let nth = rng.usize(..under_way.len());
            if rng.u8(..10) == 0 {
                let (token, route, _, call) = under_way.swap_remove(nth);
                drop(call);
                oracle.count(token, &route, None);
            } else if under_way[nth].3.poll().is_ready() {
                let (token, route, status, _) = under_way.swap_remove(nth);
                oracle.count(token, &route, (status > 0).then_some(status));
            }
        }
        for (token, route, ..) in under_way.drain(..) {
            oracle.count(token, &route, None);
        }
        let report = quota.report();
        assert_eq!(figures(report.today), oracle.all, "seed {seed}");
        for route in &report.routes {
            let [requests, errors, limited, _] = oracle.routes[route.route.as_str()];
            let counted = [route.requests, route.errors, route.rate_limited];
            assert_eq!(counted, [requests, errors, limited], "seed {seed}");
        }
        assert_eq!(report.routes.len(), oracle.routes.len());
        let mut counted: Vec<_> = report
            .tokens
            .iter()
            .map(|it| [it.requests, it.errors, it.rate_limited])
            .collect();
        assert!(counted.is_sorted_by(|one, next| one[0] >= next[0]));
        let mut expected: Vec<_> = oracle
            .tokens
            .values()
            .map(|it| [it[0], it[1], it[2]])
            .collect();
        counted.sort_unstable();
        expected.sort_unstable();
        assert_eq!(counted, expected, "seed {seed}");
        assert!(report.tokens.iter().all(|token| token.uncertain == 0));
        // Those that were refused, and nobody else.
        let refused = report.refused_tokens.iter().map(|it| it.rate_limited);
        let refused: Vec<_> = refused.collect();
        let mut expected: Vec<_> = oracle.tokens.values().map(|it| it[2]).collect();
        expected.retain(|refused| *refused > 0);
        expected.sort_unstable_by(|one, other| other.cmp(one));
        assert_eq!(refused, expected);
        for token in &report.refused_tokens {
            assert!(report.tokens.contains(token), "{token:?}");
        }
        // One event for each.
        let told = named(&so_far(&mut events), "request");
        assert_eq!(told.len() as u64, oracle.all[0]);
        // Of five minutes each: all of them together are the day.
        let of_intervals = report.history.iter().map(|it| it.requests).sum::<u32>();
        assert_eq!(u64::from(of_intervals), oracle.all[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_interval_tells_what_used_up_the_daily_pool() {
    let quota = at_noon(hubspot::api(hubspot::Tier::Professional, Zone::UTC)).build();
    let api = observed(&quota, &Server::fine());
    for _ in 0..3 {
        ask(&api, get("a")).await.unwrap();
    }
    tokio::time::advance(301 * SECOND).await;
    let exempt = || request(Method::POST, "/events/v3/send", "a");
    ask(&api, exempt()).await.unwrap();
    ask(&api, get("a")).await.unwrap();
    let history = quota.report().history;
    let figures: Vec<_> = history
        .iter()
        .map(|it| {
            (
                it.began.duration_since(crate::noon()).unwrap(),
                it.requests,
                it.daily,
            )
        })
        .collect();
    assert_eq!(figures, [(ms(0), 3, 3), (300 * SECOND, 2, 1)]);
}
