//! Promise: a request may be given up at every point while it is asked in pieces, and nothing is lost: no slot, no place, nobody's
//! turn; what was under way ages as it always does, and the next request is served. (T45)

mod common;
mod crm;

use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use common::{FOREVER, Fate, Hand, Piece, PieceBody, SECOND, Server, fresh_hubspot, get, ms};
use crm::{Crm, Outcome, SEARCH, Store, call, post, unlimited};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_quota::hubspot::{self, SearchPages};
use tower_quota::plan::Zone;
use tower_quota::request::Lane;
use tower_quota::stack::{Stack, StackLayer};
use tower_quota::{PayloadTrimLayer, Quota, QuotaError, TokenLimitLayer};

/// The body comes a while after its head, in two frames.
fn slow(text: Bytes) -> PieceBody {
    let (first, second) = (text.slice(..text.len() / 2), text.slice(text.len() / 2..));
    PieceBody::new([
        Piece::Wait(ms(30)),
        Piece::Data(first),
        Piece::Wait(ms(30)),
        Piece::Data(second),
    ])
}

/// A server that bears 25 records at a time of [`page`], and is quick to give up.
fn crm() -> Crm {
    let crm = Crm::with_body(Store::of(400), slow);
    crm.set_budget(25 * 3);
    crm.set_times(ms(60), ms(40));
    crm
}

fn page() -> Value {
    json!({"limit": 200, "properties": ["p1", "p2"]})
}

fn fresh() -> Quota {
    fresh_hubspot(Zone::UTC).build()
}

fn stack(quota: &Quota) -> StackLayer {
    hubspot::stack(quota).max_wait(FOREVER)
}

fn search() -> http::Request<http_body_util::Full<Bytes>> {
    post(SEARCH, &page())
}

/// How many searches, or other calls, can go now. Sends them.
async fn free_now(quota: &Quota, searches: bool) -> usize {
    let server = Server::fine();
    let layer = TokenLimitLayer::new(quota).max_wait(Duration::ZERO);
    let api = layer.layer(server.clone());
    for _ in 0..1_000 {
        let mut call = if searches { search() } else { get("t") };
        call.extensions_mut().insert(Lane::Interactive);
        if let Err(error) = api.clone().oneshot(call).await {
            assert!(error.is::<QuotaError>(), "{error}");
            return server.count();
        }
    }
    panic!("no limit");
}

/// Nobody waits, nobody has a place; when all windows are over the whole quota can be used.
async fn nothing_is_lost(quota: &Quota, stack: &StackLayer, context: &str) {
    let concurrency = stack.concurrency(&search());
    assert_eq!(
        (concurrency.in_flight, concurrency.waiting),
        (0, 0),
        "{context}"
    );
    assert_eq!(quota.waiting(), 0, "{context}");
    sleep(60 * SECOND).await;
    for limit in [hubspot::SEARCH, hubspot::BURST] {
        let usage = quota.usage(limit, &search()).unwrap();
        assert_eq!((usage.used, usage.waiting), (0, 0), "{context}: {limit}");
    }
    assert_eq!(free_now(quota, true).await, 5, "{context}");
    assert_eq!(free_now(quota, false).await, 190, "{context}");
}

/// The next one is served, from the size that the one before had found or from the start.
async fn the_next_is_served(api: &Stack<Crm>, context: &str) {
    let next = timeout(600 * SECOND, call(api, search())).await;
    let got = next.unwrap_or_else(|_| panic!("{context}: the next one waits for ever"));
    assert_eq!(
        got.unwrap().ids(),
        (1..=200).collect::<Vec<_>>(),
        "{context}"
    );
}

/// Every point of a call: the whole and each piece on its way, waiting for its slot, and its body being read. Returns how many were
/// in flight and waiting at most when the caller went.
async fn at_every_point(is_learnt: bool) -> (u32, usize) {
    let (mut in_flight, mut waiting) = (0, 0);
    for polls in 1..1_000 {
        let (quota, crm) = (fresh(), crm());
        let stack = stack(&quota);
        let api = stack.layer(crm.clone());
        if is_learnt {
            the_next_is_served(&api, "the first").await;
            sleep(60 * SECOND).await;
        }
        let mut hand = Hand::new(call(&api, search()));
        let mut is_done = false;
        for _ in 0..polls {
            if let Poll::Ready(got) = hand.poll() {
                assert_eq!(got.unwrap().status, 200);
                is_done = true;
                break;
            }
            sleep(ms(10)).await;
        }
        in_flight = in_flight.max(stack.concurrency(&search()).in_flight);
        waiting = waiting.max(quota.waiting());
        hand.cancel();
        let context = format!("{polls} polls");
        assert_eq!(quota.waiting(), 0, "{context}");
        if polls % 8 == 0 {
            the_next_is_served(&api, &context).await;
        }
        nothing_is_lost(&quota, &stack, &context).await;
        if is_done {
            assert!(polls > 100, "{polls} points are not much");
            return (in_flight, waiting);
        }
    }
    panic!("it never came through");
}

#[tokio::test(start_paused = true)]
async fn while_the_size_is_found() {
    let (in_flight, waiting) = at_every_point(false).await;
    assert!(in_flight >= 1 && waiting > 1, "{in_flight}, {waiting}");
}

#[tokio::test(start_paused = true)]
async fn while_several_pieces_are_under_way() {
    let (in_flight, waiting) = at_every_point(true).await;
    assert!(in_flight >= 2 && waiting > 1, "{in_flight}, {waiting}");
}

/// The answer of the server is dropped with the call, so that its connection is free for somebody else.
#[tokio::test(start_paused = true)]
async fn while_the_body_of_a_piece_is_read() {
    let fate = Fate::default();
    let shown = fate.clone();
    let server = Server::reading(move |nth, _| match nth {
        0 => common::at_once(504, &[], "timeout"),
        _ => {
            let body = PieceBody::new([Piece::Data("{\"total\":".into()), Piece::Hang]);
            let body = body.fate(&shown);
            Box::pin(async { Ok(common::response(200, &[("content-type", crm::JSON)], body)) })
        }
    });
    let quota = fresh();
    let stack = stack(&quota);
    let api = stack.layer(server.clone());
    let mut hand = Hand::new(api.oneshot(search()));
    while server.count() < 2 {
        assert!(hand.poll().is_pending());
        sleep(ms(10)).await;
    }
    assert!(hand.poll().is_pending());
    assert!(!fate.is_dropped());
    hand.cancel();
    assert!(fate.is_dropped());
    nothing_is_lost(&quota, &stack, "reading").await;
}

/// A timeout outside of all layers is no different from any other caller who goes.
#[tokio::test(start_paused = true)]
async fn a_timeout_outside() {
    for patience in [50, 150, 400, 900, 1_300, 1_700] {
        let (quota, crm) = (fresh(), crm());
        let stack = stack(&quota);
        let api = stack.layer(crm.clone());
        let given_up = timeout(ms(patience), call(&api, search())).await;
        assert!(given_up.is_err(), "it was quicker than {patience} ms");
        the_next_is_served(&api, &format!("{patience} ms")).await;
        nothing_is_lost(&quota, &stack, &format!("{patience} ms")).await;
    }
}

/// Many callers with one account; some go.
#[tokio::test(start_paused = true)]
async fn many_at_random() {
    let (quota, crm) = (fresh(), crm());
    let stack = stack(&quota);
    let api = stack.layer(crm.clone());
    let mut rng = fastrand::Rng::with_seed(7);
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let (api, start) = (api.clone(), ms(rng.u64(0..60_000)));
            let patience = if rng.bool() {
                ms(rng.u64(0..30_000))
            } else {
                FOREVER
            };
            tokio::spawn(async move {
                sleep(start).await;
                match timeout(patience, call(&api, search())).await {
                    Ok(got) => got.unwrap().ids() == (1..=200).collect::<Vec<_>>(),
                    Err(_) => patience < FOREVER,
                }
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap(), "a page is not whole");
    }
    let refused = |asked: &&crm::Asked| asked.outcome == Outcome::Answered(429);
    assert_eq!(crm.asked().iter().filter(refused).count(), 0);
    nothing_is_lost(&quota, &stack, "at random").await;
}

/// A probe for a larger size that is given up leaves the size as it was, and somebody else may probe: after another run, because
/// it may have been given up for the time it takes.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_is_made_by_another_later() {
    let crm = Crm::new(Store::of(400));
    crm.set_budget(25 * 3);
    let api = ServiceBuilder::new()
        .layer(PayloadTrimLayer::new(SearchPages::default()))
        .layer(tower_quota::RetryAfterLayer::new(&unlimited()))
        .service(crm.clone());
    let mut probes = 0;
    let mut given_up = Vec::new();
    for nth in 0..110 {
        let seen = crm.asked().len();
        let mut hand = Hand::new(call(&api, search()));
        while hand.poll().is_pending() {
            let sizes = &crm.sizes()[seen..];
            if seen > 0 && sizes.iter().any(|size| *size > 25) && probes < 3 {
                probes += 1;
                given_up.push(nth);
                break;
            }
            sleep(ms(50)).await;
        }
        hand.cancel();
    }
    assert_eq!(probes, 3, "whoever calls after a run probes");
    let runs = given_up.windows(2).map(|pair| pair[1] - pair[0]);
    // 256 pieces of 25 are 32 pages.
    assert!(
        runs.clone().all(|run| (32..=34).contains(&run)),
        "{given_up:?}"
    );
    let answered: Vec<_> = crm.asked().iter().map(|asked| asked.size).collect();
    assert_eq!(answered.last(), Some(&25));
}
