//! Wherever the layer stands, what goes through it stays as it is; and what it counts there is what its docs say.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt};
use tower_quota::signal::Signals;
use tower_quota::{ObserveLayer, Quota, RetryAfterLayer};

use crate::common::{
    Piece, PieceBody, SECOND, Server, TestError, at_once, burst, get, ms, patient, response,
};
use crate::{ask, figures, observed};

/// A request body that neither is `Clone` nor `Send`, and which the layer has no reason to look at.
struct Opaque(Rc<Cell<u32>>);

#[tokio::test(start_paused = true)]
async fn request_and_response_go_through_as_they_are() {
    let quota = Quota::new(burst(1, SECOND));
    let seen = Rc::new(Cell::new(0));
    let service = tower::service_fn(move |request: Request<Opaque>| async move {
        assert_eq!(request.uri(), "https://x/a?b=c");
        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.extensions().get::<u8>(), Some(&7));
        request.body().0.set(request.body().0.get() + 1);
        let mut answer = Response::new(request.into_body());
        answer.extensions_mut().insert(9_u8);
        Ok::<_, std::convert::Infallible>(answer)
    });
    let api = ObserveLayer::new(&quota).layer(service);
    for nth in 1..=3 {
        let call = Request::get("https://x/a?b=c")
            .header("x-own", "1")
            .extension(7_u8)
            .body(Opaque(seen.clone()))
            .unwrap();
        let answer = api.clone().oneshot(call).await.unwrap();
        assert!(answer.headers().is_empty());
        assert_eq!(answer.extensions().get::<u8>(), Some(&9));
        assert!(answer.extensions().get::<Signals>().is_some());
        assert_eq!(answer.into_body().0.get(), nth);
    }
    assert_eq!(quota.report().today.requests, 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_comes_as_it_comes_and_breaks_as_it_breaks() {
    let quota = Quota::new(burst(1, SECOND));
    let server = Server::new(|_, _| {
        let pieces = [
            Piece::Data(Bytes::from_static(b"half")),
            Piece::Wait(5 * SECOND),
            Piece::Fail,
        ];
        let answer = response(429, &[], PieceBody::new(pieces));
        Box::pin(async { Ok(answer) })
    });
    let answer = observed(&quota, &server).oneshot(get("a")).await.unwrap();
    assert_eq!(
        server.elapsed(),
        ms(0),
        "the head does not wait for the body"
    );
    let error: TestError = answer.into_body().collect().await.unwrap_err();
    assert_eq!(error, TestError("the body broke"));
}

/// Neither the service nor its future nor its error need be `Send`; where they are, those of the layer are, too.
#[tokio::test(start_paused = true)]
async fn it_asks_nothing_of_the_service_inside() {
    let quota = Quota::new(burst(1, SECOND));
    let shared = Rc::new(Cell::new(0));
    let counter = shared.clone();
    let local = tower::service_fn(move |_: Request<()>| {
        let counter = counter.clone();
        async move {
            counter.set(counter.get() + 1);
            Err::<Response<()>, _>(counter.clone())
        }
    });
    let api = ObserveLayer::new(&quota).layer(local);
    let error = api.oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error.get(), 1);
    assert_eq!(figures(quota.report().today), [1, 0, 0, 1]);
}

fn flaky() -> Server {
    Server::new(|nth, _| at_once(if nth < 2 { 503 } else { 200 }, &[], ""))
}

#[tokio::test(start_paused = true)]
async fn outside_of_repetitions_it_counts_what_the_caller_gets() {
    let quota = Quota::new(burst(100, SECOND));
    let server = flaky();
    let api = ServiceBuilder::new()
        .layer(ObserveLayer::new(&quota))
        .layer(RetryAfterLayer::new(&quota))
        .layer(patient(&quota))
        .service(server.clone());
    assert_eq!(ask(&api, get("a")).await.unwrap(), 200);
    assert_eq!(server.count(), 3);
    assert_eq!(figures(quota.report().today), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn between_the_layers_it_counts_attempts() {
    let quota = Quota::new(burst(100, SECOND));
    let api = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(&quota))
        .layer(ObserveLayer::new(&quota))
        .layer(patient(&quota))
        .service(flaky());
    assert_eq!(ask(&api, get("a")).await.unwrap(), 200);
    assert_eq!(figures(quota.report().today), [3, 2, 0, 0]);
}

/// As its docs say.
#[tokio::test(start_paused = true)]
async fn twice_it_counts_twice_unless_each_has_a_quota_of_its_own() {
    let (quota, other) = (
        Quota::new(burst(100, SECOND)),
        Quota::new(burst(100, SECOND)),
    );
    let api = ServiceBuilder::new()
        .layer(ObserveLayer::new(&quota))
        .layer(ObserveLayer::new(&other))
        .layer(ObserveLayer::new(&quota))
        .service(Server::new(|_, _| at_once(429, &[], "")));
    ask(&api, get("a")).await.unwrap();
    assert_eq!(figures(quota.report().today), [2, 2, 2, 0]);
    assert_eq!(figures(other.report().today), [1, 1, 1, 0]);
}

/// What an error of the stack is for a caller, it is for a layer outside: nothing was sent, and no answer came.
#[tokio::test(start_paused = true)]
async fn outside_of_limits_a_request_that_was_not_sent_is_lost() {
    let quota = Quota::new(burst(1, 100 * SECOND));
    let limit = tower_quota::TokenLimitLayer::new(&quota).max_wait(SECOND);
    let api = ServiceBuilder::new()
        .layer(ObserveLayer::new(&quota))
        .layer(limit)
        .service(Server::fine());
    ask(&api, get("a")).await.unwrap();
    let error: BoxError = ask(&api, get("a")).await.unwrap_err();
    assert!(error.is::<tower_quota::QuotaError>());
    let today = quota.report().today;
    assert_eq!((figures(today), today.denied), ([2, 0, 0, 1], 1));
}
