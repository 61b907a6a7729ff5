//! Requests and answers that come in the way of the layer.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::SizeHint;
use tokio::time::timeout;
use tower::limit::ConcurrencyLimit;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_quota::plan::Plan;
use tower_quota::request::{Deadline, TooHeavy};
use tower_quota::trim::{Piece, Trimmed, Whole};
use tower_quota::{BoxError, PayloadTrimLayer, Quota, RetryAfterLayer};

use crate::common::{self, PieceBody, SECOND, Server, at_once, lock, response};
use crate::numbers::{Numbers, ask, asked, fine, heavy, numbers, server, span, spans, text};

/// One request has another way, and it is remembered that nothing else works for its shape; a smaller one of the same shape has none.
#[tokio::test(start_paused = true)]
async fn who_has_no_other_way_is_asked_in_smaller_pieces_whatever_others_do() {
    let server = Server::new(|_, seen| match span(seen).len() {
        6.. if seen.path.starts_with("/numbers/") => heavy(),
        _ => fine(seen),
    });
    let policy = Numbers {
        floor: 10,
        instead: Some("/light/"),
        instead_above: 50,
        ..Numbers::default()
    };
    let layer = PayloadTrimLayer::new(policy);
    asked(&server, &layer, 0..100).await;
    assert!(server.log().last().unwrap().path.starts_with("/light/"));
    // Its floor is ten, and it has to be gone below, for want of another way.
    let other = Server::new(|_, seen| match span(seen).len() {
        16.. => heavy(),
        _ => fine(seen),
    });
    asked(&other, &layer, 0..50).await;
    assert_eq!(spans(&other)[..3], [0..50, 0..25, 0..13]);
}

/// A body that runs into the timeout of the client is no more than a server that does.
#[tokio::test(start_paused = true)]
async fn a_timeout_while_an_answer_is_read_is_a_timeout() {
    for error in ["operation timed out", "the connection is lost"] {
        let server = Server::new(move |_, seen| match span(seen).len() {
            51.. => heavy(),
            26.. => {
                let body = common::PieceBody::new([common::Piece::FailWith(error)]);
                let response = response(200, &[], body);
                Box::pin(async { Ok(response) })
            }
            _ => fine(seen),
        });
        let layer = PayloadTrimLayer::new(Numbers::default());
        let answer = layer.layer(server).oneshot(ask(0..100)).await;
        match error {
            "operation timed out" => assert_eq!(text(answer.unwrap()).await.1, numbers(0..100)),
            _ => assert_eq!(answer.unwrap_err().to_string(), error),
        }
    }
}

/// Callers with less patience than the server: a probe that they give up is one lost request in a long run, not each.
#[tokio::test(start_paused = true)]
async fn a_probe_that_takes_too_long_does_not_stop_those_who_come_after() {
    let server = server(25);
    let layer = PayloadTrimLayer::new(Numbers::default());
    asked(&server, &layer, 0..100).await;
    let api = ServiceBuilder::new()
        .layer(TimeoutLayer::new(20 * SECOND))
        .layer(layer)
        .service(server.clone());
    let mut lost = 0;
    for _ in 0..400 {
        lost += usize::from(api.clone().oneshot(ask(0..100)).await.is_err());
    }
    // In 1,600 pieces.
    assert!((1..=6).contains(&lost), "{lost} of 400 were lost");
}

/// How long the layer waits before it asks for more has to do with the size at hand, not with what was before.
#[tokio::test(start_paused = true)]
async fn each_size_has_a_run_of_its_own_before_more_is_asked_for() {
    let most = Arc::new(Mutex::new(25));
    let largest = Arc::new(Mutex::new(0));
    let (limit, seen) = (most.clone(), largest.clone());
    let server = Server::new(move |_, request| {
        let length = span(request).len();
        let mut seen = lock(&seen);
        *seen = length.max(*seen);
        match length <= *lock(&limit) {
            true => fine(request),
            false => heavy(),
        }
    });
    let layer = PayloadTrimLayer::new(Numbers::default());
    let until_more = async |size: usize| {
        for pieces in 0..5_000 {
            *lock(&largest) = 0;
            asked(&server, &layer, 0..2 * size).await;
            if *lock(&largest) > size {
                return 2 * pieces;
            }
        }
        panic!("never again");
    };
    asked(&server, &layer, 0..50).await;
    // Probes that fail come ever later.
    for run in [256, 512, 1024, 2048] {
        let pieces = until_more(25).await;
        assert!((run - 2..=run + 2).contains(&pieces), "{pieces}, not {run}");
    }
    // A bad hour, after which the old size is as good as it was.
    *lock(&most) = 7;
    asked(&server, &layer, 0..50).await;
    *lock(&most) = 25;
    let pieces = until_more(7).await;
    assert!((250..=258).contains(&pieces), "{pieces}");
}

/// Neither shows what people look for.
#[test]
fn pieces_and_answers_are_not_shown() {
    let piece = Piece::new()
        .body(r#"{"query":"ada@example.com"}"#)
        .target("/contacts?email=ada@example.com".parse().unwrap());
    let whole = Whole {
        status: StatusCode::OK,
        body: Bytes::from_static(b"ada@example.com"),
        dropped: Vec::new(),
    };
    for shown in [format!("{piece:?}"), format!("{whole:?}")] {
        assert!(!shown.contains("ada"), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_for_nothing_goes_as_it_is() {
    for status in [200, 504] {
        let server = Server::new(move |_, _| at_once(status, &[], "nothing"));
        let layer = PayloadTrimLayer::new(Numbers::default());
        let response = layer
            .layer(server.clone())
            .oneshot(ask(7..7))
            .await
            .unwrap();
        assert!(response.extensions().get::<Trimmed>().is_none());
        assert_eq!(response.status(), status);
        assert_eq!(text(response).await.1, "nothing");
        assert_eq!(server.count(), 1);
    }
}

/// The inner one cannot make a single number smaller; the outer one can, by another way.
#[tokio::test(start_paused = true)]
async fn one_layer_around_another() {
    let server = Server::new(|_, seen| match seen.path.starts_with("/light/") {
        true => fine(seen),
        false => heavy(),
    });
    let outer = Numbers {
        floor: 10,
        instead: Some("/light/"),
        ..Numbers::default()
    };
    let quota = Quota::new(Plan::builder("none").build().unwrap());
    let api = ServiceBuilder::new()
        .layer(PayloadTrimLayer::new(outer))
        .layer(PayloadTrimLayer::new(Numbers::default()))
        .layer(RetryAfterLayer::new(&quota))
        .service(server.clone());
    let response = api.oneshot(ask(0..20)).await.unwrap();
    assert_eq!(text(response).await.1, numbers(0..20));
    // 20, 10, 5, 3, 2, 1 by the inner one, 10 to 1 again, and never one of them twice.
    assert_eq!(server.count(), 6 + 5 + 1);
}

/// It costs more, and the answer is the same.
#[tokio::test(start_paused = true)]
async fn inside_of_the_layer_that_repeats() {
    let quota = Quota::new(Plan::builder("none").build().unwrap());
    let server = Server::new(|nth, seen| match (nth, span(seen).len()) {
        // The first time not even one goes through.
        (..8, _) => heavy(),
        (_, 26..) => heavy(),
        _ => fine(seen),
    });
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(PayloadTrimLayer::new(Numbers::default()))
        .service(server.clone());
    let call = timeout(10_000 * SECOND, api.oneshot(ask(0..100)));
    let response = call.await.unwrap().unwrap();
    assert_eq!(text(response).await.1, numbers(0..100));
}

/// What is compressed could not be put together; nor is a length or a digest right that was said of another body.
#[tokio::test(start_paused = true)]
async fn heads_say_nothing_of_other_bodies() {
    let of_the_bytes = [
        ("etag", "\"1\""),
        ("content-md5", "Q2hlY2s="),
        ("last-modified", "Sat, 01 Jan 2022 00:00:00 GMT"),
    ];
    let server = Server::new(move |_, seen| match span(seen).len() {
        26.. => heavy(),
        _ => at_once(200, &of_the_bytes, &numbers(span(seen))),
    });
    for (body, length) in [("", false), ("", true), ("123456", false), ("123456", true)] {
        let policy = Numbers {
            body,
            ..Numbers::default()
        };
        let mut whole = ask(0..50);
        let headers = whole.headers_mut();
        headers.insert("accept-encoding", "br".parse().unwrap());
        headers.insert("content-md5", "Q2hlY2s=".parse().unwrap());
        if length {
            headers.insert("content-length", 0.into());
        }
        let before = server.count();
        let layer = PayloadTrimLayer::new(policy);
        let response = layer.layer(server.clone()).oneshot(whole).await.unwrap();
        for (name, _) in of_the_bytes {
            assert!(!response.headers().contains_key(name), "{name}");
        }
        for (nth, seen) in server.log()[before..].iter().enumerate() {
            let is_piece = nth > 0;
            let is_other = is_piece && !body.is_empty();
            assert_eq!(seen.header("accept-encoding").is_empty(), is_piece);
            assert_eq!(seen.header("content-md5").is_empty(), is_other);
            let expected = match (length, is_other) {
                (false, _) => "",
                (true, false) => "0",
                (true, true) => "6",
            };
            assert_eq!(seen.header("content-length"), expected);
            assert_eq!(
                seen.body.as_deref(),
                Some(if is_piece { body } else { "" }.as_bytes())
            );
        }
    }
}

/// What runs into the client's timeout is made smaller at once, and not repeated before.
#[tokio::test(start_paused = true)]
async fn timeouts_are_not_repeated_inside() {
    let quota = Quota::new(Plan::builder("none").build().unwrap());
    let server = Server::new(|_, seen| match span(seen).len() {
        26.. => common::never(),
        _ => fine(seen),
    });
    let api = ServiceBuilder::new()
        .layer(PayloadTrimLayer::new(Numbers::default()))
        .layer(RetryAfterLayer::new(&quota))
        .layer(TimeoutLayer::new(10 * SECOND))
        .service(server.clone());
    let response = api.oneshot(ask(0..100)).await.unwrap();
    assert_eq!(text(response).await.1, numbers(0..100));
    assert_eq!(server.count(), 2 + 4);
}

/// Nobody waits for pieces of a way that is given up, and the server need not go on with them.
#[tokio::test(start_paused = true)]
async fn with_the_first_way_its_pieces_are_given_up() {
    let open = Arc::new(());
    let (guard, at_the_switch) = (open.clone(), Arc::new(Mutex::new(Vec::new())));
    let seen_open = at_the_switch.clone();
    let server = Server::new(move |_, seen| {
        let span = span(seen);
        if seen.path.starts_with("/light/") {
            lock(&seen_open).push(Arc::strong_count(&guard));
            return fine(seen);
        }
        let answer = match (span.start, span.len()) {
            (_, 11..) | (10, _) => heavy(),
            (0, _) => fine(seen),
            _ => common::never(),
        };
        let guard = guard.clone();
        Box::pin(async move {
            let answer = answer.await;
            drop(guard);
            answer
        })
    });
    let policy = Numbers {
        floor: 10,
        instead: Some("/light/"),
        ..Numbers::default()
    };
    asked(&server, &PayloadTrimLayer::new(policy), 0..80).await;
    // That of the test and that of the server itself.
    assert_eq!(*lock(&at_the_switch), [2]);
    assert_eq!(Arc::strong_count(&open), 2);
}

/// While the body of a request comes in, others use the place that was ready for it.
#[tokio::test(start_paused = true)]
async fn nothing_is_reserved_while_a_body_is_read() {
    let inside = ConcurrencyLimit::new(Server::fine(), 1);
    let mut api = PayloadTrimLayer::new(Numbers::default()).layer(inside.clone());
    let slow = [
        common::Piece::Wait(60 * SECOND),
        common::Piece::Data("x".into()),
    ];
    let body = PieceBody::new(slow).hint(SizeHint::with_exact(1));
    let slow = ServiceExt::<Request<PieceBody>>::ready(&mut api)
        .await
        .unwrap();
    let slow = tokio::spawn(slow.call(ask(0..50).map(|_| body)));
    tokio::task::yield_now().await;
    let quick = timeout(SECOND, inside.oneshot(common::get("a"))).await;
    assert!(quick.is_ok(), "the place is kept");
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
}
#[test]
fn timeouts_are_known_however_they_are_wrapped() {
    use std::io::{Error, ErrorKind};
    let is_timeout = |error: BoxError| TooHeavy::GATEWAY_TIMEOUT.is_error(&error);
    let timed_out = || Error::new(ErrorKind::TimedOut, "it took long");
    assert!(is_timeout(timed_out().into()));
    assert!(is_timeout("deadline exceeded: timeout".into()));
    assert!(is_timeout(tower::timeout::error::Elapsed::new().into()));
    let inside = Error::other(tower::timeout::error::Elapsed::new());
    assert!(is_timeout(inside.into()));
    assert!(is_timeout(Error::other(timed_out()).into()));
    assert!(!is_timeout(Error::other("broken").into()));
    assert!(!is_timeout(Error::from(ErrorKind::ConnectionReset).into()));
    assert!(!is_timeout("the connection is lost".into()));
}

/// The size is found by several callers together, if none of them waits long enough to find it alone.
#[tokio::test(start_paused = true)]
async fn who_waits_too_short_a_time_leaves_to_the_next_one_how_far_he_came() {
    for has_deadline in [false, true] {
        for instead in [None, Some("/light/")] {
            let bears = if instead.is_some() { 0 } else { 25 };
            let server = Server::new(move |_, seen| {
                match span(seen).len() <= bears || seen.path.starts_with("/light/") {
                    true => fine(seen),
                    false => heavy(),
                }
            });
            let policy = Numbers {
                floor: if instead.is_some() { 10 } else { 1 },
                instead,
                ..Numbers::default()
            };
            let layer = PayloadTrimLayer::new(policy);
            let mut failed = 0;
            loop {
                let (mut request, api) = (ask(0..200), layer.layer(server.clone()));
                let patience = if has_deadline { 1000 } else { 70 };
                if has_deadline {
                    request
                        .extensions_mut()
                        .insert(Deadline::within(50 * SECOND));
                }
                match timeout(patience * SECOND, api.oneshot(request)).await {
                    Ok(response) if response.as_ref().unwrap().status() == 200 => break,
                    _ => failed += 1,
                }
                assert!(failed < 10, "it never ends; deadline: {has_deadline}");
            }
            assert!((1..=3).contains(&failed), "{failed} failed");
            // From now on it is known what works.
            let before = server.count();
            asked(&server, &layer, 0..200).await;
            let pieces = if instead.is_some() { 1 } else { 8 };
            assert_eq!(server.count() - before, pieces);
        }
    }
}

/// During an outage callers give up, too. What they left is no more than a beginning.
#[tokio::test(start_paused = true)]
async fn what_callers_left_in_an_outage_is_made_good() {
    let is_well = Arc::new(Mutex::new(false));
    let health = is_well.clone();
    let server = Server::new(move |_, seen| match *lock(&health) {
        true => fine(seen),
        false => heavy(),
    });
    let layer = PayloadTrimLayer::new(Numbers::default());
    for _ in 0..3 {
        let call = layer.layer(server.clone()).oneshot(ask(0..200));
        assert!(timeout(70 * SECOND, call).await.is_err());
    }
    *lock(&is_well) = true;
    let mut pieces = 0;
    loop {
        let before = server.count();
        asked(&server, &layer, 0..200).await;
        match server.count() - before {
            1 => break,
            sent => pieces += sent,
        }
    }
    println!("whole again after {pieces} pieces");
    assert!(pieces < 1_000, "{pieces}");
    // Whoever waits until nothing is left to try has seen an outage.
    let layer = PayloadTrimLayer::new(Numbers::default());
    *lock(&is_well) = false;
    let failed = layer.layer(server.clone()).oneshot(ask(0..200)).await;
    assert_eq!(failed.unwrap().status(), 504);
    assert_eq!(layer.remembered(), 0);
}
