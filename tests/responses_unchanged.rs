//! Promise: whatever the layers read of a response to understand it, the caller gets the response as the server sent it:
//! status, version, headers, extensions, every frame of the body, its trailers and its error; `size_hint` and
//! `is_end_stream` never lie; and `Signals` tell what it said about quota. (T13, T14, T16, T53)

mod common;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use common::frames::{Got, frames};
use common::{
    BURST_BODY, DAILY_BODY, Piece, PieceBody, SEARCH_BODY, SECOND, Server, TestError, at_once,
    burst, get, ms, patient, response, search,
};
use http::{HeaderMap, Response, Version};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_quota::hubspot::{self, HubspotSignals, Tier};
use tower_quota::plan::Zone;
use tower_quota::signal::{Observed, Outcome, Refusal, Signals};
use tower_quota::stack::StackLayer;
use tower_quota::{Api, Quota, RetryAfterLayer};

/// An extension of the inner service's.
#[derive(Clone, Debug, PartialEq)]
struct Peer(&'static str);

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers
}

type Named = (&'static str, fn() -> PieceBody);

/// Bodies of every kind, made anew each time.
fn bodies() -> Vec<Named> {
    const HTML: &str =
        "<html>\n<head><title>524 Origin Time-out</title></head>\n<body bgcolor=\"white\">";
    vec![
        ("empty", || PieceBody::whole("")),
        ("empty, does not know it", || PieceBody::new([])),
        ("empty frames", || {
            PieceBody::new(vec![Piece::Data(Bytes::new()); 5])
        }),
        ("JSON", || PieceBody::whole(BURST_BODY)),
        ("JSON in pieces", || {
            let pieces = SEARCH_BODY
                .as_bytes()
                .chunks(7)
                .map(|piece| Piece::Data(Bytes::from_static(piece)));
            PieceBody::new(pieces).hint(SizeHint::with_exact(0))
        }),
        ("HTML", || PieceBody::whole(HTML)),
        ("not UTF-8", || PieceBody::whole(vec![0xff, 0x00, 0xfe])),
        ("64 KiB", || PieceBody::whole(vec![b'x'; 65_536])),
        ("64 KiB less one, in two", || {
            PieceBody::new([
                Piece::Data(vec![b'x'; 65_535].into()),
                Piece::Data("y".into()),
            ])
        }),
        ("10 MB", || PieceBody::whole(vec![b'x'; 10_000_000])),
        ("10 MB in pieces", || {
            PieceBody::new((0..1_000).map(|nth| Piece::Data(vec![nth as u8; 10_000].into())))
        }),
        ("trailers", || {
            PieceBody::new([Piece::Data("abc".into()), Piece::Trailers(trailers())])
        }),
        ("trailers only", || {
            PieceBody::new([Piece::Trailers(trailers())])
        }),
        ("trailers after a pause", || {
            PieceBody::new([
                Piece::Data("abc".into()),
                Piece::Wait(3 * SECOND),
                Piece::Trailers(trailers()),
            ])
        }),
        ("fails at once", || PieceBody::new([Piece::Fail])),
        ("fails in the middle", || {
            PieceBody::new([Piece::Data("{\"sta".into()), Piece::Fail])
        }),
        ("fails after a while", || {
            PieceBody::new([
                Piece::Data("{".into()),
                Piece::Wait(5 * SECOND),
                Piece::Fail,
            ])
        }),
        ("fails beyond what is read", || {
            PieceBody::new([Piece::Data(vec![b' '; 100_000].into()), Piece::Fail])
        }),
        ("slow", || {
            PieceBody::new(
                (0..20).flat_map(|_| [Piece::Wait(ms(170)), Piece::Data("slow ".into())]),
            )
        }),
        ("hangs", || {
            PieceBody::new([Piece::Data("{".into()), Piece::Hang])
        }),
        ("hangs at once", || PieceBody::new([Piece::Hang])),
    ]
}

fn quotas() -> Vec<(&'static str, Quota)> {
    vec![
        ("standard", Quota::new(burst(1_000, SECOND))),
        (
            "HubSpot",
            Quota::new(Api::new(burst(1_000, SECOND)).signals(HubspotSignals)),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_status_with_every_body_through_every_stack() {
    for status in [
        200, 204, 207, 301, 400, 404, 423, 429, 477, 500, 502, 503, 504, 524, 530,
    ] {
        for (name, body) in bodies() {
            let expected = frames(body(), name).await;
            for (signals, quota) in quotas() {
                for stack in ["limit", "retry", "both"] {
                    let context = format!("{status}, body {name}, {signals}, {stack}");
                    let server = Server::new(move |_, _| {
                        let mut response = response(
                            status,
                            &[("x-a", "1"), ("retry-after", "7200"), ("x-a", "2")],
                            body(),
                        );
                        *response.version_mut() = Version::HTTP_2;
                        response.extensions_mut().insert(Peer("10.0.0.1"));
                        Box::pin(async { Ok(response) })
                    });
                    let retry = RetryAfterLayer::new(&quota)
                        .max_attempts(if status == 423 { 1 } else { 5 })
                        .unwrap();
                    let limit = patient(&quota);
                    quota.resume(&get("t"));
                    let began = server.elapsed();
                    let got = match stack {
                        "limit" => {
                            let answer = ServiceBuilder::new()
                                .layer(limit)
                                .service(server.clone())
                                .oneshot(get("t"))
                                .await;
                            check(answer.unwrap(), status, began, &server, &context).await
                        }
                        "retry" => {
                            let answer = ServiceBuilder::new()
                                .layer(retry)
                                .service(server.clone())
                                .oneshot(get("t"))
                                .await;
                            check(answer.unwrap(), status, began, &server, &context).await
                        }
                        _ => {
                            let api = ServiceBuilder::new()
                                .layer(retry)
                                .layer(limit)
                                .service(server.clone());
                            check(
                                api.oneshot(get("t")).await.unwrap(),
                                status,
                                began,
                                &server,
                                &context,
                            )
                            .await
                        }
                    };
                    assert_eq!(server.count(), 1, "{context}");
                    assert_eq!(got, expected, "{context}");
                }
            }
        }
    }
}

async fn check<B>(
    answer: Response<B>,
    status: u16,
    began: Duration,
    server: &Server,
    context: &str,
) -> Vec<Got>
where
    B: Body<Data = Bytes, Error = TestError> + Unpin,
{
    // A body that hangs keeps its caller waiting for a second in each layer that reads it.
    let waited = server.elapsed() - began;
    assert!(waited <= 2 * SECOND + ms(5), "{context}: {waited:?}");
    let (parts, body) = answer.into_parts();
    assert_eq!(parts.status, status, "{context}");
    assert_eq!(parts.version, Version::HTTP_2, "{context}");
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [("x-a", "1"), ("x-a", "2"), ("retry-after", "7200")],
        "{context}"
    );
    assert_eq!(parts.extensions.get(), Some(&Peer("10.0.0.1")), "{context}");
    assert!(parts.extensions.get::<Signals>().is_some(), "{context}");
    frames(body, context).await
}

/// A body that nobody needs to look at is not even touched: no frame is read before the caller asks.
#[tokio::test(start_paused = true)]
async fn what_says_all_in_its_head_is_not_read() {
    let server = Server::new(|_, _| {
        let body = PieceBody::new([Piece::Hang]).hint(SizeHint::with_exact(5_000_000));
        Box::pin(async { Ok(response(200, &[], body)) })
    });
    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota))
        .service(server.clone());
    let answer = api.oneshot(get("t")).await.unwrap();
    assert_eq!(server.elapsed(), Duration::ZERO);
    assert!(!answer.body().is_end_stream());
}

async fn signals(status: u16, headers: &[(&str, &str)], body: &str, is_search: bool) -> Signals {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let body = body.to_owned();
    let server = Server::new(move |_, _| {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        at_once(status, &headers, &body)
    });
    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    let retry = RetryAfterLayer::new(&quota).max_attempts(1).unwrap();
    let request = || if is_search { search("t") } else { get("t") };
    let both = ServiceBuilder::new()
        .layer(retry.clone())
        .layer(patient(&quota))
        .service(server.clone());
    let both = both.oneshot(request()).await.unwrap();
    let both = both.extensions().get::<Signals>().unwrap().clone();
    // Each layer alone says the same.
    let other = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    let limit = ServiceBuilder::new()
        .layer(patient(&other))
        .service(server.clone());
    let limit = limit.oneshot(request()).await.unwrap();
    assert_eq!(limit.extensions().get(), Some(&both));
    let other = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    let retry = RetryAfterLayer::new(&other).max_attempts(1).unwrap();
    let retry = ServiceBuilder::new()
        .layer(retry)
        .service(server.clone())
        .oneshot(request())
        .await
        .unwrap();
    assert_eq!(retry.extensions().get(), Some(&both));
    both
}

fn of_limit(name: &'static str) -> Outcome {
    Outcome::Refused(Refusal::Limit(name.into()))
}

#[tokio::test(start_paused = true)]
async fn signals_say_what_the_response_said() {
    const QUOTA: [(&str, &str); 6] = [
        ("x-hubspot-ratelimit-daily", "625000"),
        ("x-hubspot-ratelimit-daily-remaining", "624999"),
        ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
        ("x-hubspot-ratelimit-max", "190"),
        ("x-hubspot-ratelimit-remaining", "188"),
        ("x-envoy-upstream-service-time", "60"),
    ];
    let got = signals(200, &QUOTA, "{}", false).await;
    assert_eq!((&got.outcome, got.retry_after), (&Outcome::Answered, None));
    assert_eq!(got.service_time, Some(ms(60)));
    let mut of_burst = Observed::new(hubspot::BURST);
    of_burst.quota = Some(190);
    of_burst.remaining = Some(188);
    of_burst.window = Some(10 * SECOND);
    let mut of_day = Observed::new(hubspot::DAILY);
    of_day.quota = Some(625_000);
    of_day.remaining = Some(624_999);
    assert_eq!(got.observed, [of_burst, of_day]);

    let silent = signals(200, &[], "{}", false).await;
    assert_eq!(
        silent,
        Signals::new(Outcome::Answered),
        "what is missing is unknown, not zero"
    );
    assert_eq!(
        signals(404, &[], "", false).await.outcome,
        Outcome::Answered
    );
    assert_eq!(
        signals(429, &[], BURST_BODY, false).await.outcome,
        of_limit(hubspot::BURST)
    );
    assert_eq!(
        signals(429, &[], SEARCH_BODY, true).await.outcome,
        of_limit(hubspot::SEARCH)
    );
    assert_eq!(
        signals(500, &[], SEARCH_BODY, true).await.outcome,
        of_limit(hubspot::SEARCH)
    );
    let daily = signals(429, &[("retry-after", "3")], DAILY_BODY, false).await;
    assert_eq!(
        (daily.outcome, daily.retry_after),
        (of_limit(hubspot::DAILY), None)
    );
    let edge = signals(429, &[("retry-after", "2.5")], "error code: 1015", false).await;
    assert_eq!(
        (edge.outcome, edge.retry_after),
        (Outcome::Refused(Refusal::Token), Some(ms(2_500)))
    );
    assert_eq!(
        signals(503, &[], "<html>", false).await.outcome,
        Outcome::Failed
    );
    assert_eq!(
        signals(423, &[], "", false).await.outcome,
        Outcome::Refused(Refusal::Request)
    );
    assert_eq!(
        signals(477, &[], "", false).await.outcome,
        Outcome::Refused(Refusal::Account)
    );
    // The answer of a cache is no evidence of anything but its status.
    let cached = signals(
        429,
        &[("age", "5"), ("retry-after", "9"), QUOTA[1]],
        DAILY_BODY,
        false,
    )
    .await;
    assert_eq!((cached.retry_after, cached.observed.len()), (None, 0));
}

/// Always ready, and never with anything in it.
struct Nothings;

impl Body for Nothings {
    type Data = Bytes;
    type Error = TestError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TestError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
    }
}

/// A server must not keep us reading for ever: neither the bytes nor the time that are allowed are used up by this.
#[tokio::test(start_paused = true)]
async fn a_refusal_with_endless_empty_frames_is_given_back() {
    let refuse = |_| async {
        let response = Response::builder()
            .status(429)
            .header("retry-after", "7200");
        Ok::<_, TestError>(response.body(Nothings).unwrap())
    };
    for (name, quota) in quotas() {
        let stack = StackLayer::new(&quota);
        let answer = stack.layer(tower::service_fn(refuse)).oneshot(get("t"));
        assert_eq!(answer.await.unwrap().status(), 429, "{name}");
    }
}
