//! What the layer promises to whoever writes a policy, and to the callers of any policy: shown with a toy API of numbers.

#[path = "../common/mod.rs"]
mod common;

mod accidents;
mod model;
mod numbers;
mod other_ways;
mod trouble;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{SECOND, Server, after, at_once, lock, lost, ms, request, response};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use numbers::{HEAVY_BODY, Numbers, ask, asked, fine, heavy, numbers, server, span, spans, text};
use tower::{Layer, ServiceExt};
use tower_quota::plan::{Plan, RouteClass};
use tower_quota::request::{AccountId, Deadline, TooHeavy};
use tower_quota::trim::{TrimError, Trimmed};
use tower_quota::{BoxError, PayloadTrimLayer, Quota, RetryAfterLayer};

#[tokio::test(start_paused = true)]
async fn the_whole_comes_from_pieces_that_the_server_bears() {
    let server = server(25);
    let layer = PayloadTrimLayer::new(Numbers::default());
    let response = layer
        .layer(server.clone())
        .oneshot(ask(0..200))
        .await
        .unwrap();
    let trimmed = *response.extensions().get::<Trimmed>().unwrap();
    assert_eq!((trimmed.asked, trimmed.size), (200, 25));
    assert_eq!((trimmed.pieces, trimmed.too_heavy), (10, 3));
    let length = response.headers()["content-length"]
        .to_str()
        .unwrap()
        .to_owned();
    let (status, body) = text(response).await;
    assert_eq!((status, &body), (StatusCode::OK, &numbers(0..200)));
    assert_eq!(length, body.len().to_string());
    assert_eq!(spans(&server)[..4], [0..200, 0..100, 0..50, 0..25]);
    assert_eq!(server.count(), 3 + 8);
}

#[tokio::test(start_paused = true)]
async fn what_has_worked_is_tried_first_and_by_each_account_for_itself() {
    let server = server(25);
    let layer = PayloadTrimLayer::new(Numbers::default());
    asked(&server, &layer, 0..200).await;
    let before = server.count();
    asked(&server, &layer.clone(), 0..200).await;
    assert_eq!(server.count() - before, 8);
    assert_eq!(layer.remembered(), 1);

    let mut other = ask(0..200);
    other.extensions_mut().insert(AccountId::from("another"));
    let before = server.count();
    layer.layer(server.clone()).oneshot(other).await.unwrap();
    assert_eq!(server.count() - before, 3 + 8);
    assert_eq!(layer.remembered(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_is_too_heavy_in_the_meantime_learns_from_the_others() {
    let server = server(25);
    let layer = PayloadTrimLayer::new(Numbers::default());
    let late = async {
        // When the first one has learnt that 25 work, the second one still waits for the failure of its whole.
        tokio::time::sleep(75 * SECOND).await;
        let before = server.count();
        asked(&server, &layer, 0..200).await;
        server.count() - before
    };
    let early = asked(&server, &layer, 0..200);
    // The first is through after 90 s; the second has failed once, and goes on with what the first has learnt.
    let ((), sent) = tokio::join!(early, late);
    assert_eq!(sent, 1 + 8 + 8);
}

#[tokio::test(start_paused = true)]
async fn the_first_piece_of_a_new_size_goes_alone_and_then_as_many_as_may() {
    let open = Arc::new(Mutex::new((0, Vec::new())));
    let counts = open.clone();
    let server = Server::new(move |_, seen| {
        let answer = match span(seen).len() <= 25 {
            true => after(SECOND, fine(seen)),
            false => heavy(),
        };
        let counts = counts.clone();
        Box::pin(async move {
            {
                let mut counts = lock(&counts);
                counts.0 += 1;
                let now = counts.0;
                counts.1.push(now);
            }
            let answer = answer.await;
            lock(&counts).0 -= 1;
            answer
        })
    });
    let layer = PayloadTrimLayer::new(Numbers::default())
        .parallel(3)
        .unwrap();
    asked(&server, &layer, 0..200).await;
    let most = lock(&open).1.clone();
    assert_eq!(most[..4], [1, 1, 1, 1]);
    assert_eq!(most[4..].iter().max(), Some(&3));
    assert!(
        PayloadTrimLayer::new(Numbers::default())
            .parallel(0)
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_beyond_what_there_is() {
    let there = 60;
    let server = Server::new(move |_, seen| {
        let span = span(seen);
        match span.len() <= 25 {
            true => at_once(
                200,
                &[],
                &numbers(span.start.min(there)..span.end.min(there)),
            ),
            false => heavy(),
        }
    });
    let policy = Numbers {
        total: Some(there),
        ..Numbers::default()
    };
    let layer = PayloadTrimLayer::new(policy).layer(server.clone());
    let response = layer.oneshot(ask(0..200)).await.unwrap();
    assert_eq!(text(response).await.1, numbers(0..60));
    assert_eq!(spans(&server)[3..], [0..25, 25..50, 50..75]);
}

#[tokio::test(start_paused = true)]
async fn pieces_that_need_the_one_before_are_asked_one_after_the_other() {
    let server = server(25);
    let policy = Numbers {
        in_order: true,
        ..Numbers::default()
    };
    let layer = PayloadTrimLayer::new(policy);
    asked(&server, &layer, 0..200).await;
    asked(&server, &layer, 0..200).await;
    let starts: Vec<usize> = spans(&server)[3..].iter().map(|span| span.start).collect();
    let once: Vec<usize> = (0..8).map(|nth| 25 * nth).collect();
    assert_eq!(starts, [&once[..], &once[..]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_answers_less_than_it_was_asked_is_not_the_last() {
    let server = Server::new(|_, seen| {
        let span = span(seen);
        match span.len() {
            // Never more than seven at a time.
            ..=25 => at_once(200, &[], &numbers(span.start..span.end.min(span.start + 7))),
            _ => heavy(),
        }
    });
    for in_order in [false, true] {
        let policy = Numbers {
            in_order,
            ..Numbers::default()
        };
        asked(&server, &PayloadTrimLayer::new(policy), 0..100).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_failure_of_a_size_that_works_is_an_accident() {
    let server = Server::new(|nth, seen| match (span(seen).len(), nth) {
        (26.., _) => heavy(),
        // One of the eight pieces, once.
        (25, 6) => heavy(),
        _ => fine(seen),
    });
    let layer = PayloadTrimLayer::new(Numbers::default());
    asked(&server, &layer, 0..200).await;
    let halves = spans(&server).into_iter().filter(|span| span.len() < 25);
    assert_eq!(halves.map(|span| span.len()).collect::<Vec<_>>(), [13, 12]);
    let before = server.count();
    asked(&server, &layer, 0..200).await;
    assert_eq!(server.count() - before, 8);
}

#[tokio::test(start_paused = true)]
async fn a_size_that_ceases_to_work_is_given_up() {
    let most = Arc::new(Mutex::new(25));
    let limit = most.clone();
    let server = Server::new(move |_, seen| match span(seen).len() <= *lock(&limit) {
        true => fine(seen),
        false => heavy(),
    });
    let layer = PayloadTrimLayer::new(Numbers::default())
        .parallel(1)
        .unwrap();
    asked(&server, &layer, 0..200).await;
    *lock(&most) = 5;
    asked(&server, &layer, 0..200).await;
    let before = server.count();
    asked(&server, &layer, 0..200).await;
    assert_eq!(server.count() - before, 50);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_cannot_be_helped_is_handed_on_as_it_came() {
    let server = Server::new(|_, seen| match span(seen) {
        Range { start: 0, end: 1.. } if span(seen).len() > 1 => heavy(),
        Range { start: 3, .. } => Box::pin(async {
            let body = common::PieceBody::whole(HEAVY_BODY);
            Ok(response(504, &[("x-edge", "seven")], body))
        }),
        _ => match span(seen).len() {
            1 => fine(seen),
            _ => heavy(),
        },
    });
    let layer = PayloadTrimLayer::new(Numbers::default());
    let response = layer.layer(server).oneshot(ask(0..8)).await.unwrap();
    assert_eq!(response.headers()["x-edge"], "seven");
    assert!(response.extensions().get::<Trimmed>().is_none());
    let answer = (StatusCode::GATEWAY_TIMEOUT, HEAVY_BODY.to_owned());
    assert_eq!(text(response).await, answer);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_part_is_handed_on_and_what_does_not_fit_is_an_error() {
    let bad = |status: u16, body: &str| {
        let body = body.to_owned();
        Server::new(move |_, seen| match (span(seen).len(), span(seen).start) {
            (26.., _) => heavy(),
            (_, 50) => at_once(status, &[("x-of", "the piece")], &body),
            _ => fine(seen),
        })
    };
    let layer = PayloadTrimLayer::new(Numbers::default());
    let refused = layer
        .layer(bad(403, "no"))
        .oneshot(ask(0..100))
        .await
        .unwrap();
    assert_eq!(refused.headers()["x-of"], "the piece");
    assert_eq!(
        text(refused).await,
        (StatusCode::FORBIDDEN, "no".to_owned())
    );

    let error = layer.layer(bad(200, "nonsense")).oneshot(ask(0..100)).await;
    let error = error.unwrap_err().downcast::<TrimError>().unwrap();
    assert_eq!(error.route(), "GET /numbers");
    assert!(error.to_string().contains("it is nonsense"), "{error}");

    // More than it was asked.
    let error = layer
        .layer(bad(200, &"1 ".repeat(40)))
        .oneshot(ask(0..100))
        .await;
    assert!(error.unwrap_err().is::<TrimError>());
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_asks_nothing_is_an_error_and_no_endless_wait() {
    let policy = Numbers {
        mute: true,
        ..Numbers::default()
    };
    let layer = PayloadTrimLayer::new(policy).layer(server(25));
    let error = layer.oneshot(ask(0..100)).await.unwrap_err();
    assert!(error.is::<TrimError>());
}

#[tokio::test(start_paused = true)]
async fn lost_connections_are_the_callers_and_timeouts_are_not() {
    let layer = PayloadTrimLayer::new(Numbers::default());
    let losing = Server::new(|_, seen| match span(seen).len() {
        26.. => heavy(),
        _ => lost(),
    });
    let error = layer.layer(losing).oneshot(ask(0..100)).await.unwrap_err();
    assert_eq!(error.to_string(), "the connection is lost");

    let layer = PayloadTrimLayer::new(Numbers::default());
    let slow = Server::new(|_, seen| match span(seen).len() {
        26.. => common::never(),
        _ => fine(seen),
    });
    let client = tower::ServiceBuilder::new()
        .layer(layer)
        .layer(tower::timeout::TimeoutLayer::new(10 * SECOND))
        .service(slow.clone());
    let response = client.oneshot(ask(0..100)).await.unwrap();
    assert_eq!(text(response).await.1, numbers(0..100));
    assert_eq!(slow.elapsed(), 20 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_end_is_asked_for_in_smaller_pieces() {
    let server = Server::new(|_, seen| match span(seen).len() {
        51.. => heavy(),
        26.. => {
            let body = common::PieceBody::new([common::Piece::Hang]);
            let response = response(200, &[], body);
            Box::pin(async { Ok(response) })
        }
        _ => fine(seen),
    });
    asked(&server, &PayloadTrimLayer::new(Numbers::default()), 0..100).await;
    assert_eq!(server.elapsed(), 130 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn answers_are_kept_only_up_to_a_bound() {
    let layer = PayloadTrimLayer::new(Numbers::default()).max_answer(200);
    let error = layer
        .layer(server(25))
        .oneshot(ask(0..100))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("max_answer"), "{error}");
    let layer = PayloadTrimLayer::new(Numbers::default()).max_answer(200);
    let whole = layer.layer(server(100)).oneshot(ask(0..100)).await.unwrap();
    assert_eq!(text(whole).await.1, numbers(0..100));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_asking() {
    let mut late = ask(0..100);
    late.extensions_mut().insert(Deadline::within(40 * SECOND));
    let server = server(25);
    let layer = PayloadTrimLayer::new(Numbers::default()).layer(server.clone());
    let response = layer.oneshot(late).await.unwrap();
    assert_eq!(response.status(), 504);
    assert_eq!(spans(&server), [0..100, 0..50]);
}

#[tokio::test(start_paused = true)]
async fn repetition_is_left_to_the_layer_that_can_help() {
    let quota = Quota::new(Plan::builder("none").build().unwrap());
    let server = server(25);
    let client = tower::ServiceBuilder::new()
        .layer(PayloadTrimLayer::new(Numbers::default()))
        .layer(RetryAfterLayer::new(&quota))
        .service(server.clone());
    let response = client.oneshot(ask(0..100)).await.unwrap();
    assert_eq!(text(response).await.1, numbers(0..100));
    assert_eq!(server.count(), 2 + 4);

    // A single number that is too heavy cannot be made smaller; then it is repeated like anything else.
    let stubborn = Server::new(|nth, seen| match (span(seen).len(), nth) {
        (1, 1..=2) => heavy(),
        (1, _) => fine(seen),
        _ => heavy(),
    });
    let client = tower::ServiceBuilder::new()
        .layer(PayloadTrimLayer::new(Numbers::default()))
        .layer(RetryAfterLayer::new(&quota))
        .service(stubborn.clone());
    let response = client.oneshot(ask(0..2)).await.unwrap();
    assert_eq!(text(response).await.1, numbers(0..2));
    assert_eq!(spans(&stubborn), [0..2, 0..1, 0..1, 0..1, 1..2]);
}

#[tokio::test(start_paused = true)]
async fn pieces_are_the_callers_request_in_all_else() {
    #[derive(Clone, Debug, PartialEq)]
    struct Mine(u32);
    type Seen = (Option<Mine>, Option<RouteClass>, bool, http::HeaderMap);
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let log = seen.clone();
    let server = server(25);
    let client = tower::service_fn(
        move |request: Request<tower_quota::body::HeldBody<Full<Bytes>>>| {
            let extensions = request.extensions();
            lock(&log).push((
                extensions.get().cloned(),
                extensions.get().copied(),
                extensions.get::<TooHeavy>().is_some(),
                request.headers().clone(),
            ));
            server.clone().oneshot(request)
        },
    );
    let mut asked = ask(0..50);
    asked.extensions_mut().insert(Mine(7));
    asked.extensions_mut().insert(RouteClass::Search);
    asked
        .headers_mut()
        .insert("accept-encoding", "gzip".parse().unwrap());
    asked.headers_mut().insert("x-mine", "yes".parse().unwrap());
    let layer = PayloadTrimLayer::new(Numbers::default());
    layer.layer(client).oneshot(asked).await.unwrap();
    let seen = lock(&seen);
    assert_eq!(seen.len(), 3);
    for (nth, (mine, class, can_shrink, headers)) in seen.iter().enumerate() {
        assert_eq!(mine, &Some(Mine(7)));
        assert_eq!(headers["x-mine"], "yes");
        assert_eq!(headers["authorization"], "Bearer a");
        assert_eq!(headers.contains_key("accept-encoding"), nth == 0);
        // The class was said of the path that the caller asked for.
        assert_eq!(class.is_some(), nth == 0);
        assert!(can_shrink);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_stops_and_what_is_no_concern_passes() {
    let server = server(25);
    let layer = PayloadTrimLayer::new(Numbers::default()).layer(server.clone());
    let cut = tokio::time::timeout(45 * SECOND, layer.clone().oneshot(ask(0..100))).await;
    assert!(cut.is_err());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(server.count(), 2);

    let other = Server::new(|_, _| after(ms(1), at_once(504, &[], "as it is")));
    let layer = PayloadTrimLayer::new(Numbers::default()).layer(other.clone());
    let request = request(Method::GET, "/letters/0-100", "a");
    let answer: Result<_, BoxError> = layer.oneshot(request).await;
    assert_eq!(text(answer.unwrap()).await.1, "as it is");
    assert_eq!(other.count(), 1);
}
