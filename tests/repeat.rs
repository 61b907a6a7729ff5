//! Promise: what may be repeated is repeated, at most five times in all, each time with the same bytes and for a slot of its
//! own; what may not is not; and when there is no further attempt the caller sees the server's own last answer. An outage is
//! not answered with a storm. (T23, T24, T37, T53, T60; table 3.4 of the HubSpot facts)

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{
    DAILY_BODY, FOREVER, Fate, HOUR, Piece, PieceBody, SEARCH_BODY, SECOND, Server, TestError,
    after, at_once, burst, fresh_hubspot, get, lock, lost, ms, patient, request, response,
};
use http::{HeaderMap, Method, Request};
use http_body::SizeHint;
use http_body_util::{BodyExt, Full};
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt};
use tower_quota::backoff::Attempts;
use tower_quota::hubspot;
use tower_quota::plan::{Plan, Zone};
use tower_quota::request::Idempotent;
use tower_quota::sim::{Class, Fault, Latency, Script, Sim};
use tower_quota::{Quota, QuotaError, RetryAfterLayer, TokenLimitLayer};

const TEN_SECONDS: Duration = Duration::from_secs(10);

const READS: [(Method, &str); 6] = [
    (Method::GET, "/crm/v3/objects/contacts/1"),
    (Method::HEAD, "/anything"),
    (Method::POST, "/crm/v3/objects/contacts/search"),
    (Method::POST, "/crm/objects/2026-03/deals/search"),
    (Method::POST, "/crm/v3/objects/contacts/batch/read"),
    (Method::POST, "/crm/v3/lists/search"),
];
const WRITES: [(Method, &str); 6] = [
    (Method::PATCH, "/crm/v3/objects/contacts/1"),
    (
        Method::PUT,
        "/crm/v4/objects/contacts/1/associations/default/companies/2",
    ),
    (Method::DELETE, "/crm/v3/objects/contacts/1"),
    (Method::POST, "/crm/v3/objects/contacts/batch/update"),
    (Method::POST, "/crm/v3/objects/contacts/batch/upsert"),
    (Method::POST, "/crm/v3/objects/contacts/batch/archive"),
];
const CREATES: [(Method, &str); 5] = [
    (Method::POST, "/crm/v3/objects/contacts"),
    (Method::POST, "/crm/v3/objects/contacts/batch/create"),
    (Method::POST, "/crm/v3/objects/contacts/merge"),
    (
        Method::POST,
        "/crm/v4/associations/contacts/companies/batch/create",
    ),
    (Method::POST, "/unknown/v1/thing"),
];

/// Nothing else happened than that the request was wrong, or right.
const ANSWERED: [u16; 19] = [
    200, 201, 204, 207, 301, 400, 401, 403, 404, 405, 409, 410, 414, 422, 451, 522, 525, 526, 530,
];
const REFUSED: [u16; 3] = [423, 429, 477];
const FAILED: [u16; 7] = [500, 502, 503, 504, 521, 523, 524];

fn hubspot_quota() -> Quota {
    fresh_hubspot(Zone::UTC).build()
}

fn without_limits() -> Quota {
    Quota::new(Plan::builder("none").build().unwrap())
}

/// How often a request is sent when the server always answers with `status`; checks what the caller gets.
async fn attempts(status: u16, method: &Method, path: &str, idempotent: bool) -> usize {
    let context = format!("{status} {method} {path} {idempotent}");
    let server = Server::new(move |nth, _| {
        let attempt = nth.to_string();
        let headers = [("x-attempt", attempt.as_str()), ("retry-after", "1")];
        // Without Retry-After a 477 waits for five minutes, which only takes longer.
        let headers = if status == 477 {
            &headers[..]
        } else {
            &headers[..1]
        };
        at_once(status, headers, &format!("answer {nth}"))
    });
    let quota = hubspot_quota();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).max_wait(FOREVER))
        .layer(patient(&quota))
        .service(server.clone());
    let mut request = request(method.clone(), path, "t");
    *request.body_mut() = Full::from("the body");
    if idempotent {
        request.extensions_mut().insert(Idempotent);
    }
    let answer = api.oneshot(request).await.unwrap();
    let sent = server.count();
    let last = sent - 1;
    assert_eq!(answer.status(), status, "{context}");
    assert_eq!(
        answer.headers()["x-attempt"],
        *last.to_string(),
        "{context}"
    );
    let told = answer
        .extensions()
        .get::<Attempts>()
        .map(|attempts| attempts.0);
    assert_eq!(told, (sent > 1).then_some(sent as u32), "{context}");
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, format!("answer {last}"), "{context}");
    let log = server.log();
    assert!(
        log.iter()
            .all(|seen| seen.body.as_deref() == Some(b"the body")),
        "{context}"
    );
    sent
}

#[tokio::test(start_paused = true)]
async fn the_table_of_status_effect_and_route() {
    let all = [&READS[..], &WRITES, &CREATES].concat();
    for (nth, (method, path)) in all.iter().enumerate() {
        for idempotent in [false, true] {
            for status in ANSWERED {
                let sent = attempts(status, method, path, idempotent).await;
                assert_eq!(sent, 1, "{status} {method} {path} {idempotent}");
            }
            for status in REFUSED {
                let sent = attempts(status, method, path, idempotent).await;
                assert_eq!(sent, 5, "{status} {method} {path} {idempotent}");
            }
            for status in FAILED {
                let harmless = nth < READS.len() + WRITES.len() || idempotent;
                let sent = attempts(status, method, path, idempotent).await;
                assert_eq!(
                    sent,
                    if harmless { 5 } else { 1 },
                    "{status} {method} {path} {idempotent}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_daily_refusal_is_never_repeated() {
    for (method, path) in [&READS[..], &WRITES, &CREATES].concat() {
        let server = Server::new(|_, _| at_once(429, &[], DAILY_BODY));
        let quota = hubspot_quota();
        let api = ServiceBuilder::new()
            .layer(hubspot::stack(&quota).max_wait(FOREVER))
            .service(server.clone());
        let mut request = request(method, path, "t");
        request.extensions_mut().insert(Idempotent);
        assert_eq!(api.oneshot(request).await.unwrap().status(), 429);
        assert_eq!((server.count(), server.elapsed()), (1, Duration::ZERO));
    }
}

/// At a real window: every attempt is counted, none is refused.
#[tokio::test(start_paused = true)]
async fn every_repetition_pays_for_its_slot() {
    let sim = Sim::builder()
        .burst(5, SECOND)
        .no_daily()
        .latency(Latency::uniform(ms(5), ms(150)))
        .service_time(Latency::uniform(ms(5), ms(150)))
        .fault(0.2, Fault::status(http::StatusCode::SERVICE_UNAVAILABLE))
        .fault(0.1, Fault::status(http::StatusCode::BAD_GATEWAY))
        .fault(0.1, Fault::drop_after_counting())
        .fault(0.1, Fault::drop_before_counting())
        .record(true)
        .seed(11)
        .build()
        .unwrap();
    let quota = Quota::new(burst(5, SECOND));
    let layer = RetryAfterLayer::new(&quota)
        .backoff(ms(1), ms(2))
        .unwrap()
        .budget(10_000, 1.0)
        .unwrap();
    let api = ServiceBuilder::new()
        .layer(layer)
        .layer(patient(&quota))
        .service(sim.service());
    let tasks: Vec<_> = (0..300)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    let mut repeated = 0;
    for task in tasks {
        if let Ok(answer) = task.await.unwrap() {
            repeated += u32::from(answer.extensions().get::<Attempts>().is_some());
        }
    }
    assert!(repeated > 80, "{repeated}");
    let stats = sim.stats();
    assert!(stats.counted() > 400, "{}", stats.counted());
    assert_eq!(stats.refused(), 0);
    assert!(sim.max_in_window(Class::General, SECOND) <= 5);
}

/// The attempt of a repetition waits in line like everybody else.
#[tokio::test(start_paused = true)]
async fn a_repetition_waits_for_its_slot() {
    let server = Server::new(|nth, _| at_once(if nth == 2 { 200 } else { 503 }, &[], ""));
    let quota = Quota::new(burst(1, TEN_SECONDS));
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(patient(&quota))
        .service(server.clone());
    assert_eq!(api.oneshot(get("t")).await.unwrap().status(), 200);
    assert_eq!(server.times(), [0, 10_001, 20_002]);
}

#[tokio::test(start_paused = true)]
async fn when_the_quota_denies_the_repetition_the_caller_gets_the_last_answer() {
    // Denied inside, by the limit.
    let server = Server::new(|nth, _| at_once(503, &[("x-nth", &nth.to_string())], "out of order"));
    let quota = Quota::new(burst(2, TEN_SECONDS));
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(TokenLimitLayer::new(&quota).max_wait(SECOND))
        .service(server.clone());
    let answer = api.oneshot(get("t")).await.unwrap();
    assert_eq!((answer.status().as_u16(), server.count()), (503, 2));
    assert_eq!(answer.headers()["x-nth"], "1");
    assert_eq!(answer.extensions().get(), Some(&Attempts(2)));
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "out of order"
    );

    // Denied at the gate: while it backs off, somebody else is refused for an hour.
    let server = Server::new(|nth, _| match nth {
        0 => at_once(503, &[], "out of order"),
        _ => at_once(429, &[("retry-after", "3600")], ""),
    });
    let quota = without_limits();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .service(server.clone());
    let first = tokio::spawn(api.clone().oneshot(get("t")));
    sleep(ms(100)).await;
    assert_eq!(api.clone().oneshot(get("t")).await.unwrap().status(), 429);
    let answer = first.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "out of order"
    );
    assert_eq!(server.count(), 2);

    // There was no answer: the error of the quota, and behind it why the last attempt failed.
    let server = Server::new(|_, _| lost());
    let quota = Quota::new(burst(1, TEN_SECONDS));
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(TokenLimitLayer::new(&quota).max_wait(SECOND))
        .service(server.clone());
    let error = api.oneshot(get("t")).await.unwrap_err();
    let error = error.downcast_ref::<QuotaError>().unwrap();
    assert_eq!(error.limit(), "burst");
    let source = std::error::Error::source(error).unwrap();
    assert_eq!(
        source.downcast_ref(),
        Some(&TestError("the connection is lost"))
    );
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "123".parse().unwrap());
    trailers
}

/// A body of known size that comes in pieces.
fn in_pieces() -> PieceBody {
    let pieces = [
        Piece::Data("one ".into()),
        Piece::Wait(ms(20)),
        Piece::Data(Bytes::new()),
        Piece::Data("two ".into()),
        Piece::Data("three".into()),
        Piece::Wait(ms(20)),
        Piece::Trailers(trailers()),
    ];
    PieceBody::new(pieces).hint(SizeHint::with_exact(13))
}

fn put<B>(body: B) -> Request<B> {
    Request::put("http://x/a")
        .header("authorization", "Bearer t")
        .body(body)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_attempt_sends_the_same_bytes_and_trailers() {
    for body in [
        in_pieces(),
        PieceBody::whole("one two three"),
        PieceBody::whole(""),
    ] {
        let (text, with_trailers) = match http_body::Body::is_end_stream(&body) {
            true => ("", false),
            false => ("one two three", !body.tells_end),
        };
        let server = Server::new(|nth, _| match nth {
            1 => lost(),
            _ => at_once(503, &[], ""),
        });
        let quota = without_limits();
        let api = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota))
            .service(server.clone());
        assert_eq!(api.oneshot(put(body)).await.unwrap().status(), 503);
        let log = server.log();
        assert_eq!(log.len(), 5);
        for seen in log {
            assert_eq!(seen.body.as_deref(), Some(text.as_bytes()));
            assert_eq!(seen.trailers, with_trailers.then(trailers));
            assert_eq!(seen.header("authorization"), "Bearer t");
            assert_eq!((seen.method, seen.path.as_str()), (Method::PUT, "/a"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_held_is_sent_once_and_as_it_is() {
    let held = PieceBody::whole(vec![7; 100]);
    let too_large = PieceBody::whole(vec![7; 101]);
    let unknown = in_pieces().hint(SizeHint::new());
    let mut hint = SizeHint::new();
    hint.set_upper(101);
    let perhaps_too_large = in_pieces().hint(hint);
    for (body, size, sent) in [
        (held, 100, 5),
        (too_large, 101, 1),
        (unknown, 13, 1),
        (perhaps_too_large, 13, 1),
    ] {
        let server = Server::new(|_, _| at_once(503, &[], "down"));
        let quota = without_limits();
        let api = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota).max_body(100))
            .service(server.clone());
        let answer = api.oneshot(put(body)).await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            "down"
        );
        let log = server.log();
        assert_eq!(log.len(), sent);
        assert_eq!(log[0].body.as_ref().map(Bytes::len), Some(size));
        assert_eq!(log[0].trailers, (size == 13).then(trailers));
    }
    // A lost streaming request keeps its own error.
    let server = Server::new(|_, _| lost());
    let quota = without_limits();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .service(server.clone());
    let error = api
        .oneshot(put(in_pieces().hint(SizeHint::new())))
        .await
        .unwrap_err();
    assert!(error.is::<TestError>());
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_or_lies_is_not_sent() {
    let server = Server::fine();
    let quota = without_limits();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).max_body(100))
        .service(server.clone());
    let fails =
        PieceBody::new([Piece::Data("abc".into()), Piece::Fail]).hint(SizeHint::with_exact(50));
    let error = api.clone().oneshot(put(fails)).await.unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&TestError("the body broke")));
    let mut hint = SizeHint::new();
    hint.set_upper(50);
    let lies = PieceBody::new([Piece::Data(vec![0; 101].into())]).hint(hint);
    assert!(api.oneshot(put(lies)).await.is_err());
    assert_eq!(server.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn lost_connections() {
    for ((method, path), idempotent, sent) in READS
        .iter()
        .chain(&WRITES)
        .map(|route| (route, false, 5))
        .chain(CREATES.iter().map(|route| (route, false, 1)))
        .chain(CREATES.iter().map(|route| (route, true, 5)))
    {
        let server = Server::new(|_, _| lost());
        let quota = hubspot_quota();
        let api = ServiceBuilder::new()
            .layer(hubspot::stack(&quota))
            .service(server.clone());
        let mut request = request(method.clone(), path, "t");
        if idempotent {
            request.extensions_mut().insert(Idempotent);
        }
        let error = api.oneshot(request).await.unwrap_err();
        assert_eq!(
            error.downcast_ref(),
            Some(&TestError("the connection is lost")),
            "{path}"
        );
        assert_eq!(server.count(), sent, "{method} {path} {idempotent}");
    }
}

/// 500 ms, then twice as long each time, each lengthened by up to a half; never shorter.
#[tokio::test(start_paused = true)]
async fn waits_grow_and_jitter_only_lengthens() {
    let mut firsts = Vec::new();
    for _ in 0..20 {
        let server = Server::new(|nth, _| {
            if nth % 2 == 0 {
                lost()
            } else {
                at_once(502, &[], "")
            }
        });
        let quota = without_limits();
        let api = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota))
            .service(server.clone());
        assert!(api.oneshot(get("t")).await.is_err());
        let times = server.times();
        assert_eq!(times.len(), 5);
        for (pair, base) in times.windows(2).zip([500, 1_000, 2_000, 4_000]) {
            let wait = pair[1] - pair[0];
            assert!(
                (base..=base * 3 / 2 + 1).contains(&wait),
                "{wait} for {base}"
            );
        }
        firsts.push(times[1]);
    }
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() > 8, "{firsts:?}");
    // The longest wait is a cap.
    let server = Server::new(|_, _| at_once(502, &[], ""));
    let quota = without_limits();
    let layer = RetryAfterLayer::new(&quota)
        .backoff(ms(100), ms(200))
        .unwrap()
        .max_attempts(8)
        .unwrap();
    ServiceBuilder::new()
        .layer(layer)
        .service(server.clone())
        .oneshot(get("t"))
        .await
        .unwrap();
    assert_eq!(server.count(), 8);
    assert!(
        server.elapsed() <= ms(150 + 6 * 300 + 8),
        "{:?}",
        server.elapsed()
    );
    // "At once" is no wait to be believed: five attempts in one instant would be a storm.
    for status in [429, 503] {
        let server = Server::new(move |_, _| at_once(status, &[("retry-after", "0")], ""));
        let quota = without_limits();
        let api = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota))
            .service(server.clone());
        api.oneshot(get("t")).await.unwrap();
        assert_eq!(server.count(), 5);
        assert!(server.elapsed() >= ms(7_500), "{:?}", server.times());
    }
    // What the server asks for is never undercut.
    let server = Server::new(|nth, _| {
        at_once(
            if nth == 0 { 503 } else { 200 },
            &[("retry-after", "9")],
            "",
        )
    });
    let quota = without_limits();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .service(server.clone());
    api.oneshot(get("t")).await.unwrap();
    assert!(
        (9_000..=13_502).contains(&server.times()[1]),
        "{:?}",
        server.times()
    );
}

/// Sends one read with one status after the other and says how often it was sent.
async fn sent_by<S>(api: &S, server: &Server, request: Request<Full<Bytes>>) -> usize
where
    S: tower::Service<Request<Full<Bytes>>, Future: Send> + Clone,
{
    let before = server.count();
    drop(api.clone().oneshot(request).await);
    server.count() - before
}

/// The status is in the path.
fn as_the_path_says() -> Server {
    Server::new(|_, seen| {
        at_once(
            seen.path.trim_start_matches('/').parse().unwrap(),
            &[],
            "text",
        )
    })
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_exact() {
    let server = as_the_path_says();
    let quota = without_limits();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).budget(6, 0.0).unwrap())
        .service(server.clone());
    let failing = || request(Method::GET, "/503", "t");
    assert_eq!(sent_by(&api, &server, failing()).await, 5);
    assert_eq!(sent_by(&api, &server, failing()).await, 3);
    for _ in 0..50 {
        assert_eq!(
            sent_by(&api.clone(), &server, failing()).await,
            1,
            "the budget is spent, for all clones"
        );
    }
    // Over a long run: 0.3 earned by each answer, so 30 repetitions for 100 answers.
    let quota = without_limits();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).budget(4, 0.3).unwrap())
        .service(server.clone());
    assert_eq!(sent_by(&api, &server, failing()).await, 5);
    let mut repeated = 0;
    for _ in 0..1_000 {
        assert_eq!(
            sent_by(&api, &server, request(Method::GET, "/200", "t")).await,
            1
        );
        repeated += sent_by(&api, &server, failing()).await - 1;
    }
    assert_eq!(repeated, 300);
}

/// Lost connections cost the same.
#[tokio::test(start_paused = true)]
async fn the_budget_is_spent_by_lost_connections() {
    let server = Server::new(|_, _| lost());
    let quota = without_limits();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).budget(6, 0.0).unwrap())
        .service(server.clone());
    assert_eq!(sent_by(&api, &server, get("t")).await, 5);
    assert_eq!(sent_by(&api, &server, get("t")).await, 3);
    assert_eq!(sent_by(&api, &server, get("t")).await, 1);
}

/// Only an answer earns. A failure that is given back is none: not that of a create, not that of a streaming body, not the
/// last one of five; and neither is a refusal.
#[tokio::test(start_paused = true)]
async fn failures_do_not_refill_the_budget() {
    for standard in [true, false] {
        let server = as_the_path_says();
        let quota = if standard {
            without_limits()
        } else {
            hubspot_quota()
        };
        let api = ServiceBuilder::new()
            .layer(
                RetryAfterLayer::new(&quota)
                    .budget(4, 1.0)
                    .unwrap()
                    .max_wait(FOREVER),
            )
            .service(server.clone());
        assert_eq!(
            sent_by(&api, &server, request(Method::GET, "/503", "t")).await,
            5
        );
        for status in ["/500", "/502", "/503", "/504", "/524"] {
            assert_eq!(
                sent_by(&api, &server, request(Method::POST, status, "t")).await,
                1
            );
            let streaming = Request::put(format!("http://x{status}"))
                .body(PieceBody::new([Piece::Data("abc".into())]));
            drop(api.clone().oneshot(streaming.unwrap()).await);
        }
        sent_by(&api, &server, request(Method::GET, "/429", "u")).await;
        assert_eq!(
            sent_by(&api, &server, request(Method::GET, "/503", "t")).await,
            1,
            "standard: {standard}"
        );
        // A 404 is an answer.
        assert_eq!(
            sent_by(&api, &server, request(Method::GET, "/404", "t")).await,
            1
        );
        assert_eq!(
            sent_by(&api, &server, request(Method::GET, "/503", "t")).await,
            2,
            "standard: {standard}"
        );
    }
}

/// "Repetitions after a refusal cost nothing."
#[tokio::test(start_paused = true)]
async fn refusals_do_not_cost_the_budget() {
    let server = as_the_path_says();
    let quota = hubspot_quota();
    let api = ServiceBuilder::new()
        .layer(
            RetryAfterLayer::new(&quota)
                .budget(0, 0.0)
                .unwrap()
                .max_wait(FOREVER),
        )
        .service(server.clone());
    for status in ["/429", "/423", "/477"] {
        for method in [Method::GET, Method::POST] {
            assert_eq!(
                sent_by(&api, &server, request(method.clone(), status, "t")).await,
                5,
                "{method} {status}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn max_attempts_of_one_sends_once() {
    for status in [429, 423, 477, 500, 503] {
        let server = Server::new(move |_, _| at_once(status, &[], ""));
        let quota = hubspot_quota();
        let api = ServiceBuilder::new()
            .layer(RetryAfterLayer::new(&quota).max_attempts(1).unwrap())
            .service(server.clone());
        let answer = api.oneshot(get("t")).await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(answer.extensions().get::<Attempts>().is_none());
        assert_eq!((server.count(), server.elapsed()), (1, Duration::ZERO));
    }
    let server = Server::new(move |_, _| lost());
    let quota = without_limits();
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota).max_attempts(1).unwrap())
        .service(server.clone());
    assert!(api.oneshot(get("t")).await.unwrap_err().is::<TestError>());
    assert_eq!(server.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_caller_learns_how_often_it_was_sent() {
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[], SEARCH_BODY),
        1 => lost(),
        2 => after(ms(10), at_once(503, &[], "")),
        _ => at_once(200, &[], ""),
    });
    let quota = hubspot_quota();
    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota))
        .service(server.clone());
    let answer = api.clone().oneshot(common::search("t")).await.unwrap();
    assert_eq!(answer.extensions().get(), Some(&Attempts(4)));
    let answer = api.oneshot(get("t")).await.unwrap();
    assert_eq!(answer.extensions().get::<Attempts>(), None);
}

/// Before the next attempt the failed response has been read to its end, or given up with its connection.
#[tokio::test(start_paused = true)]
async fn failed_responses_free_their_connections() {
    let trickle =
        || (0..50).flat_map(|_| [Piece::Wait(ms(10)), Piece::Data(vec![b'x'; 100].into())]);
    let cases: [(&str, Vec<Piece>, bool); 6] = [
        ("empty", vec![], true),
        ("short", vec![Piece::Data("{}".into())], true),
        (
            "trailers",
            vec![Piece::Data("{}".into()), Piece::Trailers(trailers())],
            true,
        ),
        ("half a second", trickle().collect(), true),
        ("hangs", vec![Piece::Data("{".into()), Piece::Hang], false),
        (
            "10 MB",
            (0..160)
                .map(|_| Piece::Data(vec![b'x'; 65_536].into()))
                .collect(),
            false,
        ),
    ];
    for stacked in [true, false] {
        for (name, pieces, reusable) in cases.clone() {
            let fate = Fate::default();
            let seen_at_second = Arc::new(Mutex::new(None));
            let server = Server::new({
                let (fate, seen) = (fate.clone(), seen_at_second.clone());
                move |nth, _| {
                    if nth > 0 {
                        *lock(&seen) = Some((fate.is_read(), fate.is_dropped()));
                        return at_once(200, &[], "");
                    }
                    let body = PieceBody::new(pieces.clone()).fate(&fate);
                    Box::pin(async move { Ok(response(503, &[], body)) })
                }
            });
            let quota = without_limits();
            let layer = RetryAfterLayer::new(&quota)
                .backoff(TEN_SECONDS, TEN_SECONDS)
                .unwrap();
            let answer = if stacked {
                let api = ServiceBuilder::new()
                    .layer(layer)
                    .layer(patient(&quota))
                    .service(server.clone());
                tokio::spawn(
                    async move { api.oneshot(get("t")).await.map(|answer| answer.status()) },
                )
            } else {
                let api = ServiceBuilder::new().layer(layer).service(server.clone());
                tokio::spawn(
                    async move { api.oneshot(get("t")).await.map(|answer| answer.status()) },
                )
            };
            // Already while it waits.
            sleep(ms(1_500)).await;
            assert_eq!(server.count(), 1);
            assert_eq!(fate.is_read(), reusable, "{name}");
            assert!(reusable || fate.is_dropped(), "{name}");
            assert_eq!(answer.await.unwrap().unwrap(), 200);
            let (is_read, is_dropped) = lock(&seen_at_second).unwrap();
            assert!(is_read || is_dropped, "{name}");
        }
    }
}

/// A large or broken last answer reaches the caller as it is.
#[tokio::test(start_paused = true)]
async fn the_last_answer_is_whole_even_if_it_is_large() {
    let server = Server::new(|nth, _| {
        let text = vec![b'a' + nth as u8; 1 << 20];
        Box::pin(async move { Ok(response(500, &[], PieceBody::whole(text))) })
    });
    let quota = hubspot_quota();
    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota))
        .service(server.clone());
    let answer = api.oneshot(get("t")).await.unwrap();
    assert_eq!(answer.extensions().get(), Some(&Attempts(5)));
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        vec![b'e'; 1 << 20]
    );
}

/// The simulator acts on what it was sent: a create that failed after the work is not done twice.
#[tokio::test(start_paused = true)]
async fn a_create_is_not_done_twice() {
    let sim = Sim::builder().build().unwrap();
    sim.script(Script::new(
        Fault::status(http::StatusCode::GATEWAY_TIMEOUT).after_work(),
    ));
    sim.script(Script::new(Fault::drop_after_work()));
    let quota = hubspot_quota();
    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota))
        .service(sim.service());
    let create = |email: &str| {
        let mut request = request(Method::POST, "/crm/v3/objects/contacts", "t");
        *request.body_mut() = Full::from(format!(r#"{{"properties":{{"email":"{email}"}}}}"#));
        request
    };
    let answer = api.clone().oneshot(create("a@example.com")).await.unwrap();
    assert_eq!(answer.status(), 504);
    assert!(api.clone().oneshot(create("b@example.com")).await.is_err());
    assert_eq!(sim.stats().arrived(), 2);
    // A refused one is.
    sim.script(Script::new(Fault::status(http::StatusCode::LOCKED)));
    let answer = api.oneshot(create("c@example.com")).await.unwrap();
    assert_eq!((answer.status().as_u16(), sim.stats().arrived()), (201, 4));
    sleep(HOUR).await;
}
