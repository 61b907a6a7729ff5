//! Promise: no more requests of a token are under way than the server bears. The limit falls when the response says so, once per
//! round trip, and comes back; it does not rise unused; who gives up leaves no trace; who waits is served in order, and not for
//! ever. (T17, T36, T37, T54, T61)

mod common;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{
    FOREVER, HOUR, Hand, Piece, PieceBody, SECOND, Server, after, at_once, burst, get, lock, lost,
    ms, never, patient, response,
};
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::time::sleep;
use tower::timeout::TimeoutLayer;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::concurrency::{AdaptiveConcurrency, Headroom, Reason, Release};
use tower_quota::core::DenialReason;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Lane, Plan, Zone};
use tower_quota::request::{Deadline, TooHeavy};
use tower_quota::{AdaptiveConcurrencyLayer, Quota, QuotaError, TokenLimitLayer};

fn unlimited() -> Quota {
    Quota::new(Plan::builder("test").build().unwrap())
}

fn adaptive() -> AdaptiveConcurrencyLayer {
    AdaptiveConcurrencyLayer::new(&unlimited()).max_wait(FOREVER)
}

/// Answers after 100 ms with a status that may be changed meanwhile.
fn slow_server(status: u16) -> (Server, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let server = Server::new({
        let status = status.clone();
        move |_, _| {
            let status = status.clone();
            Box::pin(async move {
                sleep(ms(100)).await;
                at_once(status.load(Ordering::SeqCst), &[], "").await
            })
        }
    });
    (server, status)
}

type Api = AdaptiveConcurrency<Server>;

/// So many calls at once, all to their ends.
async fn calls(api: &Api, count: usize) {
    let calls: Vec<_> = (0..count)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    for call in calls {
        let _ = call.await.unwrap();
    }
}

fn limit(api: &Api) -> u32 {
    api.concurrency(&get("t")).limit
}

fn in_flight(api: &Api) -> u32 {
    api.concurrency(&get("t")).in_flight
}

#[tokio::test(start_paused = true)]
async fn four_at_first_for_each_token_whoever_asks() {
    let layer = adaptive();
    let server = Server::new(|_, _| never());
    let mut held = Vec::new();
    for nth in 0..10 {
        // Every one through another service of another clone.
        let api = layer.clone().layer(server.clone());
        let mut call = Hand::new(api.oneshot(get("t")));
        assert!(call.poll().is_pending());
        held.push(call);
        assert_eq!(server.count(), 4.min(nth + 1));
    }
    let mut other = Hand::new(layer.layer(server.clone()).oneshot(get("u")));
    assert!(other.poll().is_pending());
    assert_eq!(server.count(), 5);
    let of_t = layer.concurrency(&get("t"));
    assert_eq!((of_t.limit, of_t.in_flight, of_t.waiting), (4, 4, 6));
    assert_eq!(of_t.last_change, None);
    assert_eq!(layer.concurrency(&get("u")).in_flight, 1);
}

/// Its weight is its own: to send fewer of the others would not make it lighter.
#[tokio::test(start_paused = true)]
async fn what_is_answered_by_asking_for_less_is_no_overload() {
    let marked = || {
        let mut request = get("t");
        request.extensions_mut().insert(TooHeavy::GATEWAY_TIMEOUT);
        request
    };
    for (status, after) in [(504, 4), (524, 4), (502, 4), (503, 2), (429, 2)] {
        let (server, _) = slow_server(status);
        let api = adaptive().layer(server);
        api.clone().oneshot(marked()).await.unwrap();
        assert_eq!(limit(&api), after, "{status}");
    }
    let slow = ServiceBuilder::new()
        .layer(adaptive())
        .layer(TimeoutLayer::new(SECOND))
        .service(Server::new(|_, _| never()));
    assert!(slow.clone().oneshot(marked()).await.is_err());
    assert_eq!(slow.concurrency(&get("t")).limit, 4);
    let gone = adaptive().layer(Server::new(|_, _| lost()));
    assert!(gone.clone().oneshot(marked()).await.is_err());
    assert_eq!(limit(&gone), 2);
}

/// A 429 is an `Ok`. What it says counts all the same, and a fault of another kind does not.
#[tokio::test(start_paused = true)]
async fn the_response_is_classified() {
    let overloads = [408, 429, 503, 504, 524, 529];
    let others = [200, 201, 304, 400, 401, 404, 409, 425, 500, 501, 502, 525];
    for status in overloads {
        let (server, _) = slow_server(status);
        let api = adaptive().layer(server);
        calls(&api, 4).await;
        assert_eq!(limit(&api), 2, "{status}");
        let change = api.concurrency(&get("t")).last_change.unwrap();
        assert_eq!((change.from, change.to), (4, 2));
        assert_eq!(change.reason, Reason::Overload);
    }
    for status in others {
        let (server, _) = slow_server(status);
        let api = adaptive().layer(server);
        calls(&api, 2).await;
        assert_eq!(limit(&api), 4, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_or_a_lost_connection_is_overload() {
    let api = adaptive().layer(Server::new(|_, _| lost()));
    calls(&api, 1).await;
    assert_eq!(limit(&api), 2);

    let layer = adaptive();
    let api = ServiceBuilder::new()
        .layer(&layer)
        .layer(TimeoutLayer::new(SECOND))
        .service(Server::new(|_, _| never()));
    assert!(api.oneshot(get("t")).await.is_err());
    assert_eq!(layer.concurrency(&get("t")).limit, 2);
}

/// An error of our own means that the request was never sent.
#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_further_inside_is_no_overload() {
    let quota = Quota::new(burst(1, HOUR));
    let layer = AdaptiveConcurrencyLayer::new(&quota);
    let api = ServiceBuilder::new()
        .layer(&layer)
        .layer(TokenLimitLayer::new(&quota).max_wait(SECOND))
        .service(Server::fine());
    api.clone().oneshot(get("t")).await.unwrap();
    let error = api.oneshot(get("t")).await.unwrap_err();
    assert!(error.is::<QuotaError>());
    assert_eq!(layer.concurrency(&get("t")).limit, 4);
}

/// All that was sent before the decrease tells of the same overload.
#[tokio::test(start_paused = true)]
async fn one_decrease_per_round_trip() {
    let (server, status) = slow_server(503);
    let api = adaptive().start(32).layer(server);
    calls(&api, 32).await;
    assert_eq!(limit(&api), 16);
    calls(&api, 16).await;
    assert_eq!(limit(&api), 8);
    status.store(200, Ordering::SeqCst);
    calls(&api, 7).await;
    assert_eq!(limit(&api), 8);
}

#[tokio::test(start_paused = true)]
async fn no_growth_while_the_limit_is_not_reached() {
    let (server, _) = slow_server(200);
    let api = adaptive().layer(server);
    for _ in 0..500 {
        calls(&api, 3).await;
    }
    assert_eq!(limit(&api), 4);
    for _ in 0..10 {
        calls(&api, 100).await;
    }
    assert_eq!(limit(&api), 64, "and no further than it may");
}

/// Where nobody is refused, a limit of 4 is soon none: also where each answer takes long.
#[tokio::test(start_paused = true)]
async fn it_starts_fast_where_answers_are_slow() {
    let server = Server::new(|_, _| after(10 * SECOND, at_once(200, &[], "")));
    let api = adaptive().layer(server.clone());
    let calls: Vec<_> = (0..64)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    sleep(SECOND).await;
    assert_eq!(server.count(), 64);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_works_and_comes_back() {
    let (server, status) = slow_server(429);
    let api = adaptive().layer(server);
    for _ in 0..5 {
        calls(&api, 4).await;
    }
    assert_eq!(limit(&api), 1);
    status.store(200, Ordering::SeqCst);
    let since = Clock::system();
    while limit(&api) < 32 {
        calls(&api, 64).await;
        assert!(since.elapsed() < 120 * SECOND, "stuck at {}", limit(&api));
    }
}

#[tokio::test(start_paused = true)]
async fn more_in_flight_than_a_limit_that_shrank_is_allowed() {
    let server = Server::new(|nth, _| match nth {
        0 => after(ms(10), at_once(503, &[], "")),
        nth => after(ms(100 * nth as u64), at_once(200, &[], "")),
    });
    let api = adaptive().start(8).layer(server.clone());
    let calls: Vec<_> = (0..10)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    sleep(ms(20)).await;
    let state = api.concurrency(&get("t"));
    assert_eq!((state.limit, state.in_flight, state.waiting), (4, 7, 2));
    assert_eq!(server.count(), 8);
    // Three more have to end until four are in flight; the next one makes room.
    sleep(ms(300)).await;
    assert_eq!((in_flight(&api), server.count()), (4, 8));
    sleep(ms(100)).await;
    assert_eq!((in_flight(&api), server.count()), (4, 9));
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// At any point: nothing is lost, nothing is learnt, and the next one goes.
#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_no_trace() {
    let api = adaptive().max(2).layer(Server::new(|_, _| never()));
    let mut held: Vec<_> = (0..6)
        .map(|_| Hand::new(api.clone().oneshot(get("t"))))
        .collect();
    for call in &mut held {
        assert!(call.poll().is_pending());
    }
    // In line; under way; granted and not yet looked.
    held[2].cancel();
    held[0].cancel();
    assert!(held[3].is_woken() && !held[4].is_woken());
    held[3].cancel();
    assert!(held[4].is_woken());
    assert!(held[4].poll().is_pending());
    assert_eq!(in_flight(&api), 2);
    held.clear();
    let state = api.concurrency(&get("t"));
    assert_eq!((state.limit, state.in_flight, state.waiting), (2, 0, 0));
    assert_eq!(state.last_change, None);

    let panics = adaptive().layer(Server::new(|_, _| Box::pin(async { panic!("inside") })));
    let call = tokio::spawn(panics.clone().oneshot(get("t")));
    assert!(call.await.unwrap_err().is_panic());
    assert_eq!(in_flight(&panics), 0);
}

fn in_lane(lane: Lane, name: &str) -> Request<Full<Bytes>> {
    let mut request = get("t");
    request.headers_mut().insert("name", name.parse().unwrap());
    request.extensions_mut().insert(lane);
    request
}

#[tokio::test(start_paused = true)]
async fn interactive_goes_first_and_bulk_does_not_starve() {
    let (server, _) = slow_server(200);
    let api = adaptive().max(1).layer(server.clone());
    let mut calls = vec![tokio::spawn(
        api.clone().oneshot(in_lane(Lane::Bulk, "first")),
    )];
    tokio::task::yield_now().await;
    for (lane, count) in [(Lane::Bulk, 2), (Lane::Interactive, 17)] {
        for nth in 0..count {
            let request = in_lane(lane, &format!("{lane} {nth}"));
            calls.push(tokio::spawn(api.clone().oneshot(request)));
            tokio::task::yield_now().await;
        }
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let log = server.log();
    let order: Vec<&str> = log.iter().map(|seen| seen.header("name")).collect();
    let mut expected = vec!["first".to_owned()];
    expected.extend((0..8).map(|nth| format!("interactive {nth}")));
    expected.push("bulk 0".to_owned());
    expected.extend((8..16).map(|nth| format!("interactive {nth}")));
    expected.push("bulk 1".to_owned());
    expected.push("interactive 16".to_owned());
    assert_eq!(order, expected);
}

#[tokio::test(start_paused = true)]
async fn the_wait_has_an_end() {
    let layer = AdaptiveConcurrencyLayer::new(&unlimited()).start(1);
    let api = layer
        .max_wait(5 * SECOND)
        .layer(Server::new(|_, _| never()));
    let mut first = Hand::new(api.clone().oneshot(get("t")));
    assert!(first.poll().is_pending());
    // Nobody is refused, so that the limit rises. Fill it.
    let mut held = Vec::new();
    for _ in 0..20 {
        sleep(ms(200)).await;
        for _ in 0..64 {
            let mut call = Hand::new(api.clone().oneshot(get("t")));
            if call.poll().is_pending() && api.concurrency(&get("t")).waiting == 0 {
                held.push(call);
            }
        }
    }
    assert_eq!(in_flight(&api), 64);
    let began = Clock::system();
    let error = api.clone().oneshot(get("t")).await.unwrap_err();
    let error = error.downcast_ref::<QuotaError>().unwrap();
    assert_eq!(
        (error.limit(), error.reason()),
        ("concurrency", DenialReason::TimedOut)
    );
    assert!(!error.is_paused());
    // When somebody will have done is not known.
    let text = error.to_string();
    assert!(
        text.ends_with("is used up: this request has waited as long as it may"),
        "{text}"
    );
    assert_eq!(began.elapsed(), 5 * SECOND);

    let mut hurried = get("t");
    hurried.extensions_mut().insert(Deadline::within(SECOND));
    let error = api.clone().oneshot(hurried).await.unwrap_err();
    assert!(error.is::<QuotaError>());
    assert_eq!(began.elapsed(), 6 * SECOND);
    assert_eq!(api.concurrency(&get("t")).waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn the_line_has_an_end() {
    let layer = adaptive().max(1).max_waiting(2);
    let api = layer.layer(Server::new(|_, _| never()));
    let mut held: Vec<_> = (0..3)
        .map(|_| Hand::new(api.clone().oneshot(get("t"))))
        .collect();
    for call in &mut held {
        assert!(call.poll().is_pending());
    }
    let error = api.clone().oneshot(get("t")).await.unwrap_err();
    let error = error.downcast_ref::<QuotaError>().unwrap();
    assert_eq!(error.reason(), DenialReason::QueueFull);
    // Another token has a line of its own.
    assert!(Hand::new(api.clone().oneshot(get("u"))).poll().is_pending());

    let at_once = AdaptiveConcurrencyLayer::new(&unlimited())
        .max(1)
        .max_wait(Duration::ZERO);
    let api = at_once.layer(Server::new(|_, _| never()));
    let mut first = Hand::new(api.clone().oneshot(get("t")));
    assert!(first.poll().is_pending());
    assert!(api.oneshot(get("t")).await.unwrap_err().is::<QuotaError>());
}

/// Those who wait for their turn have passed the outer layers before the pause began. They do not go into it, keep their order, and
/// one 429 halves once.
#[tokio::test(start_paused = true)]
async fn nobody_goes_into_a_pause() {
    let server = Server::new(|nth, _| match nth {
        1 => after(ms(100), at_once(429, &[("retry-after", "7")], "")),
        _ => after(ms(200), at_once(200, &[], "")),
    });
    let quota = Quota::new(burst(100, SECOND));
    let layer = AdaptiveConcurrencyLayer::new(&quota).start(2).max(2);
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .layer(&layer)
        .service(server.clone());
    let mut calls = Vec::new();
    for nth in 0..6 {
        let request = in_lane(Lane::Bulk, &nth.to_string());
        calls.push(tokio::spawn(api.clone().oneshot(request)));
        tokio::task::yield_now().await;
    }
    sleep(6 * SECOND).await;
    assert_eq!(server.count(), 2);
    assert_eq!(layer.concurrency(&get("t")).in_flight, 0);
    assert_eq!(layer.concurrency(&get("t")).limit, 1);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let log = server.log();
    let order: Vec<&str> = log.iter().map(|seen| seen.header("name")).collect();
    assert_eq!(order, ["0", "1", "2", "3", "4", "5"]);
    assert!(log[2].at >= 7 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn waiting_reserves_nothing_inside() {
    let server = Server::new(|_, _| after(SECOND, at_once(200, &[], "")));
    let inside = tower::limit::ConcurrencyLimit::new(server, 2);
    let api = adaptive().max(1).layer(inside.clone());
    let mut held: Vec<_> = (0..3)
        .map(|_| Hand::new(api.clone().oneshot(get("t"))))
        .collect();
    for call in &mut held {
        assert!(call.poll().is_pending());
    }
    let began = Clock::system();
    inside.oneshot(get("x")).await.unwrap();
    assert_eq!(began.elapsed(), SECOND);
}

/// A body that takes its time counts or not, as one chooses.
#[tokio::test(start_paused = true)]
async fn released_at_the_head_or_at_the_end_of_the_body() {
    let server = Server::new(|_, _| {
        let pieces = [
            Piece::Data("a".into()),
            Piece::Wait(SECOND),
            Piece::Data("b".into()),
        ];
        let response = response(200, &[], PieceBody::new(pieces));
        Box::pin(async { Ok(response) })
    });
    let head = adaptive().layer(server.clone());
    let answer = head.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(in_flight(&head), 0);
    drop(answer);

    let whole = adaptive().release(Release::Body).layer(server);
    let read = whole.clone().oneshot(get("t")).await.unwrap();
    let dropped = whole.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(in_flight(&whole), 2);
    drop(dropped);
    assert_eq!(in_flight(&whole), 1);
    assert_eq!(read.into_body().collect().await.unwrap().to_bytes(), "ab");
    assert_eq!(in_flight(&whole), 0);

    let empty = adaptive().release(Release::Body).layer(Server::fine());
    let answer = empty.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(in_flight(&empty), 0, "there is nothing to read");
    drop(answer);

    let broken = Server::new(|_, _| {
        let response = response(200, &[], PieceBody::new([Piece::Fail]));
        Box::pin(async { Ok(response) })
    });
    let broken = adaptive().release(Release::Body).layer(broken);
    let answer = broken.clone().oneshot(get("t")).await.unwrap();
    assert_eq!(in_flight(&broken), 1);
    assert!(answer.into_body().collect().await.is_err());
    assert_eq!(in_flight(&broken), 0);
}

/// What the headers say is left, whoever used it: the plain rule.
#[tokio::test(start_paused = true)]
async fn literal_headroom_halves_below_20_and_doubles_above_70() {
    let remaining = Arc::new(Mutex::new("180"));
    let server = Server::new({
        let remaining = remaining.clone();
        move |_, _| {
            let headers = [
                ("x-hubspot-ratelimit-max", "190"),
                ("x-hubspot-ratelimit-remaining", *lock(&remaining)),
                ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
            ];
            after(ms(100), at_once(200, &headers, ""))
        }
    });
    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    let literal = AdaptiveConcurrencyLayer::new(&quota).headroom(Headroom::Literal);
    let unexplained = AdaptiveConcurrencyLayer::new(&quota);
    let (literal, unexplained) = (literal.layer(server.clone()), unexplained.layer(server));
    for _ in 0..190 {
        calls(&literal, 4).await;
    }
    assert_eq!(limit(&literal), 4, "not before two windows are over");
    for _ in 0..20 {
        calls(&literal, 4).await;
    }
    assert_eq!(limit(&literal), 8);
    let change = literal.concurrency(&get("t")).last_change.unwrap();
    assert_eq!(change.reason, Reason::HighHeadroom);
    *lock(&remaining) = "100";
    sleep(60 * SECOND).await;
    calls(&literal, 8).await;
    assert_eq!(limit(&literal), 8, "in between it stays");
    *lock(&remaining) = "30";
    calls(&literal, 8).await;
    calls(&literal, 8).await;
    assert_eq!(limit(&literal), 4, "once per window");
    let change = literal.concurrency(&get("t")).last_change.unwrap();
    assert_eq!(change.reason, Reason::LowHeadroom);
    calls(&unexplained, 4).await;
    assert!(limit(&unexplained) >= 4, "that is our own doing");
}

#[tokio::test(start_paused = true)]
async fn idle_tokens_are_forgotten_but_not_what_was_learnt_of_late() {
    let layer = adaptive();
    let statuses = Server::new(|_, seen| match seen.token() {
        "bad" => at_once(503, &[], ""),
        _ => at_once(200, &[], ""),
    });
    let api = layer.layer(statuses);
    let good = async |count: usize| {
        for nth in 0..count {
            api.clone().oneshot(get(&nth.to_string())).await.unwrap();
        }
    };
    api.clone().oneshot(get("bad")).await.unwrap();
    good(10_000).await;
    assert_eq!(layer.remembered(), 10_001);
    sleep(540 * SECOND).await;
    good(10_000).await;
    sleep(59 * SECOND).await;
    good(10).await;
    assert_eq!(layer.concurrency(&get("bad")).limit, 2);
    sleep(61 * SECOND).await;
    for _ in 0..1_000 {
        good(10).await;
    }
    assert_eq!(layer.remembered(), 10);
    assert_eq!(layer.concurrency(&get("bad")).limit, 4);
}

#[tokio::test(start_paused = true)]
async fn bounds_that_make_no_sense_are_brought_into_order() {
    let limit = |layer: AdaptiveConcurrencyLayer| layer.concurrency(&get("t")).limit;
    assert_eq!(limit(adaptive().start(0)), 1);
    assert_eq!(limit(adaptive().start(100)), 64);
    assert_eq!(limit(adaptive().start(100).max(200)), 100);
    assert_eq!(limit(adaptive().min(8)), 8);
    assert_eq!(limit(adaptive().max(2)), 2);
    assert_eq!(limit(adaptive().max(0)), 1);
    assert_eq!(limit(adaptive().min(50).max(10)), 10);
}
