//! Requests and answers that come in the way of the layer.

use http::Method;
use tokio::time::timeout;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_quota::plan::Plan;
use tower_quota::{PayloadTrimLayer, Quota, RetryAfterLayer};

use crate::common::{self, SECOND, Server};
use crate::numbers::{Numbers, ask, fine, heavy, numbers, server, span, text};

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

/// What is compressed could not be put together; nor is a length right that was said of another body.
#[tokio::test(start_paused = true)]
async fn a_get_without_a_length_gets_none() {
    let server = server(25);
    let layer = PayloadTrimLayer::new(Numbers::default());
    let mut whole = common::request(Method::GET, "/numbers/0-50", "a");
    whole
        .headers_mut()
        .insert("accept-encoding", "br".parse().unwrap());
    layer.layer(server.clone()).oneshot(whole).await.unwrap();
    for (nth, seen) in server.log().iter().enumerate() {
        assert_eq!(seen.header("accept-encoding").is_empty(), nth > 0);
        assert_eq!(seen.header("content-length"), "");
    }
}
