//! In shadow mode every request goes at once and once, every response is the server's own, and what would have waited is told.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt};
use tower_quota::event::{EventKind, QuotaEvent};
use tower_quota::plan::{Limit, Plan, Scope, Zone};
use tower_quota::stack::StackLayer;
use tower_quota::{BatchLayer, ObserveLayer, PayloadTrimLayer, hubspot};

use crate::common::{
    FOREVER, Hand, PieceBody, SECOND, Server, Valve, after, at_once, burst, get, ms, names,
    patient, request, response, search, so_far,
};
use crate::{Call, ask, at_noon, named};

/// How many would have waited, by limit.
fn would_wait(events: &[QuotaEvent]) -> BTreeMap<String, u64> {
    let mut by_limit = BTreeMap::new();
    for event in events {
        if let EventKind::WouldWait { limit, .. } = &event.kind {
            *by_limit.entry(limit.to_string()).or_default() += 1;
        }
    }
    by_limit
}

fn slow() -> Server {
    Server::new(|_, _| after(SECOND, at_once(200, &[], "fine")))
}

/// All of them are with the server now, and are answered as soon as it does.
async fn all_at_once<S, B>(api: &S, server: &Server, calls: impl Iterator<Item = Call>)
where
    S: Service<Call, Response = Response<B>, Error = BoxError, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Error: Into<BoxError>, Data: Send> + Send + 'static,
{
    let (began, before) = (server.elapsed(), server.count());
    let mut tasks = JoinSet::new();
    let mut count = 0;
    for call in calls {
        let api = api.clone();
        tasks.spawn(async move { ask(&api, call).await.unwrap() });
        count += 1;
    }
    sleep(ms(1)).await;
    assert_eq!(server.count() - before, count, "all are with the server");
    tasks.join_all().await;
    assert_eq!(server.elapsed() - began, SECOND);
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_in_the_whole_stack() {
    let quota = at_noon(burst(5, 10 * SECOND)).enforce(false).build();
    let mut events = quota.events();
    let server = slow();
    let api = StackLayer::new(&quota).layer(server.clone());
    all_at_once(&api, &server, (0..100).map(|_| get("a"))).await;
    // Five find slots, and four of them a place; each of the others is told once.
    let seen = so_far(&mut events);
    let told = would_wait(&seen);
    assert_eq!(told.values().sum::<u64>(), 96, "{told:?}");
    assert_eq!(told["burst"], 95, "{told:?}");
    let report = quota.report();
    assert_eq!((report.today.would_wait, report.enforced), (96, false));
    assert_eq!((report.today.denied, report.today.requests), (0, 100));
    // Each slot that was taken ages, and no other.
    assert_eq!(quota.usage("burst", &get("a")).unwrap().used, 5);
    sleep(11 * SECOND).await;
    assert_eq!(quota.usage("burst", &get("a")).unwrap().used, 0);
}

#[tokio::test(start_paused = true)]
async fn searches_and_a_used_up_day_do_not_wait_either() {
    let quota = at_noon(hubspot::api(hubspot::Tier::Professional, Zone::UTC)).build();
    quota.set_enforce(false);
    let mut events = quota.events();
    let server = slow();
    let api = hubspot::stack(&quota).layer(server.clone());
    quota.set_quota(hubspot::DAILY, 20).unwrap();
    quota.set_pace(hubspot::DAILY, true).unwrap();
    all_at_once(&api, &server, (0..30).map(|_| search("a"))).await;
    all_at_once(&api, &server, (0..30).map(|_| get("a"))).await;
    let seen = so_far(&mut events);
    let told = would_wait(&seen).values().sum::<u64>();
    assert!((40..60).contains(&told), "{told}");
    assert_eq!(quota.report().today.would_wait, told);
}

/// Each request counts once, whatever holds it up, and wherever.
#[tokio::test(start_paused = true)]
async fn a_pause_is_told_and_holds_nobody_up() {
    for call in [get("a"), search("a")] {
        let again = || {
            let mut again = call.clone().map(|_| Full::<Bytes>::default());
            again.extensions_mut().clear();
            again
        };
        let quota = at_noon(hubspot::api(hubspot::Tier::Professional, Zone::UTC)).build();
        quota.set_enforce(false);
        let mut events = quota.events();
        let server = Server::new(|nth, _| match nth {
            0 => at_once(429, &[("retry-after", "30")], ""),
            _ => at_once(200, &[], ""),
        });
        let api = hubspot::stack(&quota).layer(server.clone());
        assert_eq!(ask(&api, again()).await.unwrap(), 429);
        let paused = named(&so_far(&mut events), "paused");
        let [EventKind::Paused { limit, .. }] = &paused[..] else {
            panic!("{paused:?}")
        };
        for nth in 1..4 {
            assert_eq!(ask(&api, again()).await.unwrap(), 200);
            let told = would_wait(&so_far(&mut events));
            assert_eq!(told, [(limit.to_string(), 1)].into(), "{nth}");
            assert_eq!(quota.report().today.would_wait, nth);
        }
        assert_eq!(server.elapsed(), ms(0));
    }
}

/// What came back, of any server's answer.
async fn told<B>(answer: Result<Response<B>, BoxError>) -> (u16, HeaderMap, Bytes)
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let (head, body) = answer.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, body)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_and_answers_are_the_servers_own() {
    for status in [200, 400, 404, 423, 429, 477, 500, 502, 503, 504, 524] {
        let answer = move || {
            let head = [("retry-after", "7"), ("x-own", "1")];
            response(status, &head, PieceBody::whole("the server's own"))
        };
        let server = Server::new(move |_, _| Box::pin(async move { Ok(answer()) }));
        let quota = at_noon(hubspot::api(hubspot::Tier::Professional, Zone::UTC)).build();
        quota.set_enforce(false);
        let stack = hubspot::stack(&quota)
            .trim(hubspot::SearchPages::default())
            .batch(hubspot::Batches::default());
        let api = stack.layer(server.clone());
        let plain = told(Ok(answer())).await;
        let heavy = search("a").map(|_| Full::from(r#"{"limit":200,"query":"x"}"#));
        let read = request(Method::GET, "/crm/v3/objects/contacts/1", "a");
        for (nth, call) in [get("a"), heavy, read].into_iter().enumerate() {
            assert_eq!(
                told(api.clone().oneshot(call).await).await,
                plain,
                "{status}"
            );
            assert_eq!(server.count(), nth + 1, "{status}");
        }
        assert_eq!(server.elapsed(), ms(0), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn neither_trimming_nor_gathering_holds_anything_up() {
    let quota = at_noon(hubspot::api(hubspot::Tier::Professional, Zone::UTC)).build();
    quota.set_enforce(false);
    let server = slow();
    let reads = || {
        let path = |nth| format!("/crm/v3/objects/contacts/{nth}");
        (0..50).map(move |nth| request(Method::GET, &path(nth), "a"))
    };
    let batch = BatchLayer::new(hubspot::Batches::default()).quota(&quota);
    all_at_once(&batch.layer(server.clone()), &server, reads()).await;
    assert!(server.log().iter().all(|seen| seen.method == Method::GET));
    let trim = PayloadTrimLayer::new(hubspot::SearchPages::default()).quota(&quota);
    all_at_once(&trim.layer(server.clone()), &server, reads()).await;
    // Switched on, they do their work.
    quota.set_enforce(true);
    let server = Server::new(|nth, _| at_once(if nth == 0 { 504 } else { 400 }, &[], ""));
    let heavy = search("a").map(|_| Full::<Bytes>::from(r#"{"limit":200,"query":"x"}"#));
    trim.layer(server.clone()).oneshot(heavy).await.unwrap();
    assert!(server.count() > 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_when_it_is_switched_off_goes_at_once() {
    let quota = at_noon(burst(1, 100 * SECOND)).build();
    let server = slow();
    let limited = patient(&quota).layer(server.clone());
    let api = StackLayer::new(&quota)
        .max_wait(FOREVER)
        .layer(server.clone());
    let mut calls = JoinSet::new();
    for nth in 0..20 {
        let (limited, api) = (limited.clone(), api.clone());
        calls.spawn(async move {
            match nth % 2 {
                0 => ask(&limited, get("a")).await.unwrap(),
                _ => ask(&api, get("a")).await.unwrap(),
            }
        });
    }
    sleep(5 * SECOND).await;
    assert_eq!((server.count(), quota.waiting()), (1, 19));
    let mut events = quota.events();
    quota.set_enforce(false);
    sleep(ms(1)).await;
    assert_eq!((server.count(), quota.waiting()), (20, 0));
    let told = would_wait(&so_far(&mut events));
    assert_eq!(told.values().sum::<u64>(), 19, "{told:?}");
    calls.join_all().await;
    // It was told of those who had to wait already, too: they did.
    assert_eq!(quota.report().today.would_wait, 19);
}

/// Granted in shadow mode, held by a pause that begins after it: it waits as any other does.
#[tokio::test(start_paused = true)]
async fn what_is_switched_on_in_between_is_no_reason_to_fail() {
    let quota = at_noon(burst(10, SECOND)).enforce(false).build();
    let server = Server::fine();
    let valve = Valve::shut(server.clone());
    let api = patient(&quota).layer(valve.clone());
    let held = tokio::spawn(async move { ask(&api, get("a")).await });
    sleep(ms(10)).await;
    quota.set_enforce(true);
    let refused = Server::new(|_, _| at_once(429, &[("retry-after", "3")], ""));
    ask(&patient(&quota).layer(refused), get("a"))
        .await
        .unwrap();
    valve.set_open(true);
    assert_eq!(held.await.unwrap().unwrap(), 200);
    assert!(server.elapsed() >= 3 * SECOND);
}

/// Requests that come, go and are given up while it is switched on and off: afterwards there are as many slots as ever.
#[tokio::test(start_paused = true)]
async fn switching_in_mid_flight_loses_no_slot_and_leaks_none() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::builder("two")
            .limit(Limit::rolling("burst", 5, 2 * SECOND))
            .limit(Limit::rolling("app", 7, SECOND).scope(Scope::App));
        let quota = at_noon(plan.build().unwrap()).build();
        let server = Server::new(|nth, _| match nth % 11 {
            3 => after(ms(300), at_once(429, &[("retry-after", "1")], "")),
            7 => after(ms(50), at_once(503, &[], "")),
            _ => after(ms(nth as u64 * 37 % 900), at_once(200, &[], "")),
        });
        let mut api = StackLayer::new(&quota)
            .max_wait(FOREVER)
            .layer(server.clone());
        let mut under_way = Vec::new();
        for _ in 0..300 {
            match rng.u8(..6) {
                0 => quota.set_enforce(rng.bool()),
                1 | 2 => under_way.push(Hand::new(api.call(get(rng.choice(["a", "b"]).unwrap())))),
                3 => tokio::time::advance(ms(rng.u64(..400))).await,
                4 if !under_way.is_empty() && rng.u8(..4) == 0 => {
                    drop(under_way.swap_remove(rng.usize(..under_way.len())));
                }
                _ => under_way.retain_mut(|call| call.poll().is_pending()),
            }
        }
        drop(under_way);
        assert_eq!(quota.waiting(), 0, "seed {seed}");
        // What was given up may arrive a little later than all else; a pause may last, too.
        sleep(100 * SECOND).await;
        quota.set_enforce(true);
        for token in ["a", "b"] {
            for limit in ["burst", "app"] {
                let usage = quota.usage(limit, &get(token)).unwrap();
                assert_eq!((usage.used, usage.waiting), (0, 0), "seed {seed}");
            }
        }
        assert_eq!(
            quota
                .report()
                .concurrency
                .iter()
                .map(|it| it.in_flight)
                .sum::<u32>(),
            0
        );
        let fine = Server::new(|_, _| after(ms(1), at_once(200, &[], "")));
        let strict = patient(&quota).layer(fine.clone());
        let mut calls = JoinSet::new();
        for _ in 0..30 {
            calls.spawn(strict.clone().oneshot(get("a")));
        }
        sleep(SECOND).await;
        assert_eq!(fine.count(), 5, "seed {seed}");
        calls.shutdown().await;
    }
}

/// What is known of it in a log: nothing that was held up, and every refusal.
#[tokio::test(start_paused = true)]
async fn refusals_and_pauses_are_told_as_ever() {
    let quota = at_noon(burst(10, SECOND)).enforce(false).build();
    let mut events = quota.events();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[("retry-after", "3")], ""),
        _ => at_once(200, &[], ""),
    });
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .layer(ObserveLayer::new(&quota))
        .service(server);
    ask(&api, get("a")).await.unwrap();
    sleep(SECOND).await;
    ask(&api, get("a")).await.unwrap();
    sleep(10 * SECOND).await;
    ask(&api, get("a")).await.unwrap();
    let expected = [
        "rate_limited",
        "paused",
        "would_wait",
        "recovered",
        "resumed",
    ];
    let seen = so_far(&mut events);
    let told = names(&seen)
        .into_iter()
        .filter(|name| *name != "credit_halved");
    assert_eq!(told.collect::<Vec<_>>(), expected);
}
