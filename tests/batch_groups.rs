//! Promise: only calls that one batch call can stand for share one: those of one server, token, account and lane, with the same
//! headers, about which the policy says the same. What only describes a single message keeps nobody apart.

mod common;
mod notes;

use std::collections::BTreeSet;

use common::{burst, request};
use http::{HeaderMap, HeaderName, Method, Request, Uri};
use notes::server::{Notes, lines};
use notes::{Call, all, batches, fetch, fetches, saying, told, with};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_quota::request::{AccountId, Idempotent, Lane, Token, TokenSource};
use tower_quota::{BatchLayer, Quota};

/// What is asked for the notes 0, 1 and 2 in one way and for 3, 4 and 5 in another, all at one instant.
async fn asked(layer: &BatchLayer, one: fn(Call) -> Call, other: fn(Call) -> Call) -> Notes {
    let notes = Notes::of("a", 6);
    let api = layer.layer(notes.service());
    let mut calls = fetches("a", 6);
    let others = calls.split_off(3);
    // Alternately, so that none is next to its like.
    let ones = calls.into_iter().map(one);
    let calls = ones.zip(others.into_iter().map(other));
    let got = all(&api, calls.flat_map(|(one, other)| [one, other])).await;
    for nth in 0..6 {
        let body = &told(&got)[nth];
        let key = nth / 2 + 3 * (nth % 2);
        assert_eq!(*body, (200, &*format!("a{key}=text")));
    }
    notes
}

async fn are_apart(what: &str, layer: &BatchLayer, one: fn(Call) -> Call, other: fn(Call) -> Call) {
    let log = asked(layer, one, other).await.log();
    let asked: BTreeSet<BTreeSet<String>> = log
        .iter()
        .map(|seen| lines(seen).into_iter().collect())
        .collect();
    let keys = |of: [&str; 3]| of.map(str::to_owned).into_iter().collect();
    let expected = BTreeSet::from([keys(["a0", "a1", "a2"]), keys(["a3", "a4", "a5"])]);
    assert_eq!(asked, expected, "{what}");
    assert_eq!(log.len(), 2, "{what}");
}

async fn are_together(what: &str, layer: &BatchLayer, one: fn(Call) -> Call) {
    let notes = asked(layer, one, |call| call).await;
    assert_eq!(notes.sizes(), [6], "{what}");
}

fn at(call: Call, server: &'static str) -> Call {
    let (mut head, body) = call.into_parts();
    head.uri = format!("{server}{}", head.uri.path()).parse().unwrap();
    Request::from_parts(head, body)
}

fn asking(call: Call, query: &str) -> Call {
    let (mut head, body) = call.into_parts();
    head.uri = format!("{}{query}", head.uri).parse().unwrap();
    Request::from_parts(head, body)
}

#[tokio::test(start_paused = true)]
async fn what_differs_in_more_than_the_record_is_apart() {
    let quota = Quota::new(burst(1_000, common::SECOND));
    for layer in [batches(), batches().quota(&quota)] {
        let layer = &layer;
        let plain = |call| call;
        are_apart("token", layer, plain, |call| {
            with(call, "authorization", "Bearer u")
        })
        .await;
        are_apart("account", layer, plain, |call| {
            saying(call, AccountId::from("7"))
        })
        .await;
        let (one, other): (fn(_) -> _, fn(_) -> _) = (
            |call| saying(call, AccountId::from("8")),
            |call| saying(call, AccountId::from("7")),
        );
        are_apart("two accounts", layer, one, other).await;
        are_apart("lane", layer, plain, |call| saying(call, Lane::Interactive)).await;
        are_apart("policy", layer, plain, |call| asking(call, "?in=fr")).await;
        are_apart("server", layer, plain, |call| {
            at(call, "https://api.example.org")
        })
        .await;
        are_apart("port", layer, plain, |call| {
            at(call, "https://api.example.com:81")
        })
        .await;
        are_apart("scheme", layer, plain, |call| {
            at(call, "http://api.example.com")
        })
        .await;
        are_apart("header", layer, plain, |call| with(call, "x-version", "2")).await;
        let (one, other): (fn(_) -> _, fn(_) -> _) = (
            |call| with(call, "x-version", "1"),
            |call| with(call, "x-version", "2"),
        );
        are_apart("two headers", layer, one, other).await;
        are_apart("language", layer, plain, |call| {
            with(call, "accept-language", "fr")
        })
        .await;
        are_apart("vouched for", layer, plain, |call| saying(call, Idempotent)).await;
        are_apart("cookie", layer, plain, |call| with(call, "cookie", "a=1")).await;
    }
}

/// The account is that of the token where a quota finds tokens elsewhere.
#[tokio::test(start_paused = true)]
async fn tokens_are_told_apart_as_the_quota_does() {
    let quota = Quota::builder(burst(1_000, common::SECOND)).token_source(TokenSource::extension());
    let layer = batches().quota(&quota.build());
    let (one, other): (fn(_) -> _, fn(_) -> _) = (
        |call| saying(call, Token::from("one")),
        |call| saying(call, Token::from("other")),
    );
    are_apart("extension", &layer, one, other).await;
    // In a place that keeps nobody apart by itself.
    let quota = Quota::builder(burst(1_000, common::SECOND))
        .token_source(TokenSource::header(HeaderName::from_static("x-request-id")));
    let layer = batches().quota(&quota.build());
    let (one, other): (fn(_) -> _, fn(_) -> _) = (
        |call| with(call, "x-request-id", "one"),
        |call| with(call, "x-request-id", "other"),
    );
    are_apart("odd header", &layer, one, other).await;
}

#[tokio::test(start_paused = true)]
async fn what_describes_one_message_keeps_nobody_apart() {
    let layer = &batches();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(trace.len(), 55);
    are_together("trace", layer, |call| {
        with(
            call,
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
    })
    .await;
    are_together("state", layer, |call| with(call, "tracestate", "a=1")).await;
    are_together("baggage", layer, |call| with(call, "baggage", "a=1")).await;
    are_together("length", layer, |call| with(call, "content-length", "0")).await;
    are_together("agent", layer, |call| with(call, "user-agent", "a/1")).await;
    are_together("encoding", layer, |call| {
        with(call, "accept-encoding", "gzip")
    })
    .await;
}

/// Operations have groups of their own.
#[tokio::test(start_paused = true)]
async fn each_operation_has_its_own_batch() {
    let notes = Notes::of("a", 8);
    let api = batches().layer(notes.service());
    let calls = [
        fetch("a0"),
        notes::store("a1", "x"),
        notes::add("y"),
        notes::remove("a2"),
        fetch("a3"),
        notes::store("a4", "x"),
        notes::add("y"),
        notes::remove("a5"),
    ];
    let got = all(&api, calls).await;
    let statuses: Vec<_> = told(&got).iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 201, 204, 200, 200, 201, 204]);
    let mut paths: Vec<_> = notes.log().into_iter().map(|seen| seen.path).collect();
    paths.sort();
    let expected = [
        "/notes:add",
        "/notes:fetch",
        "/notes:remove",
        "/notes:store",
    ];
    assert_eq!(paths, expected);
}

/// The batch goes to the server of its members, with their headers, and with those of its own body.
#[tokio::test(start_paused = true)]
async fn a_batch_call_is_one_of_its_calls_with_another_target_and_body() {
    let notes = Notes::of("a", 2);
    let server = notes.service();
    let heads = std::sync::Arc::new(std::sync::Mutex::new(Vec::<(Uri, HeaderMap)>::new()));
    let seen = heads.clone();
    let client = service_fn(move |request: Request<_>| {
        common::lock(&seen).push((request.uri().clone(), request.headers().clone()));
        server.clone().call(request)
    });
    let api = batches().layer(client);
    let call = |key: &str| {
        let put = request(Method::PUT, &format!("/notes/{key}?in=fr"), "t");
        let put = with(put, "content-type", "text/markdown");
        let put = with(put, "content-length", "4");
        let put = with(put, "etag", "17");
        let put = with(put, "accept-encoding", "zstd");
        at_port(with(put, "x-version", "3")).map(|_| "text".to_owned().into())
    };
    all(&api, [call("a0"), call("a1")]).await;
    let heads = std::mem::take(&mut *common::lock(&heads));
    assert_eq!(heads.len(), 1);
    let (uri, headers) = &heads[0];
    assert_eq!(uri, "https://api.example.com:8443/notes:store?in=fr");
    assert_eq!(headers["authorization"], "Bearer t");
    assert_eq!(headers["x-version"], "3");
    assert_eq!(headers["content-type"], "text/plain");
    // The layer reads the answer, and what the callers can decode is of no use to it.
    assert!(!headers.contains_key("accept-encoding"));
    let log = notes.log();
    let length = log[0].body.as_ref().unwrap().len().to_string();
    assert_eq!(headers["content-length"], &*length);
    assert_eq!((log[0].method.as_str(), lines(&log[0]).len()), ("POST", 2));
}

fn at_port(call: Call) -> Call {
    let path = call.uri().path_and_query().unwrap().clone();
    let (mut head, body) = call.into_parts();
    head.uri = format!("https://api.example.com:8443{path}")
        .parse()
        .unwrap();
    Request::from_parts(head, body)
}

/// Clones of a service and services of one layer with the same client: whoever calls by them may share.
#[tokio::test(start_paused = true)]
async fn clones_of_a_service_share_batches() {
    let notes = Notes::of("a", 10);
    let api = batches().layer(notes.service());
    let calls: Vec<_> = fetches("a", 10)
        .into_iter()
        .map(|call| tokio::spawn(api.clone().oneshot(call)))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(notes.sizes(), [10]);
}
