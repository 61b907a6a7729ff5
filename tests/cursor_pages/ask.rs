//! A server that answers as it is told, behind the layer.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_quota::trim::{CursorPages, CursorPagesBuilder, NextCursor, TrimError, Trimmed};
use tower_quota::{BoxError, PayloadTrimLayer};

pub(crate) fn json_api() -> CursorPagesBuilder {
    CursorPages::builder(["/things", "/lists/{id}/things"]).size_parameter("page[size]", 4, 100)
}

pub(crate) fn stripe() -> CursorPagesBuilder {
    CursorPages::builder(["/things"])
        .size_parameter("limit", 4, 100)
        .cursor_parameter("starting_after")
        .next_cursor(NextCursor::last_id("has_more"))
}

/// What the caller got, and what the server was asked.
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) asked: Vec<String>,
    pub(crate) trimmed: Option<Trimmed>,
}

/// Asks a server that finds the first request too heavy, and answers the others one after the other like this.
pub(crate) fn try_asking(
    pages: CursorPagesBuilder,
    target: &str,
    answers: &[(u16, &str)],
) -> Result<Got, BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut answers: Vec<(u16, Bytes)> = answers
        .iter()
        .map(|(status, body)| (*status, Bytes::copy_from_slice(body.as_bytes())))
        .collect();
    answers.insert(0, (504, Bytes::from_static(b"<html>")));
    let client = {
        let log = log.clone();
        tower::service_fn(move |request: Request<_>| {
            let target = request.uri().path_and_query().unwrap().to_string();
            let mut log = log.lock().unwrap();
            log.push(target);
            let (status, body) = answers
                .get(log.len() - 1)
                .cloned()
                .expect("so many requests");
            let response = Response::builder().status(status).body(Full::new(body));
            std::future::ready(Ok::<_, Infallible>(response.unwrap()))
        })
    };
    let layer = PayloadTrimLayer::new(pages.build().unwrap());
    let request = Request::get(format!("https://api.example.com{target}"));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = runtime.block_on(async {
        let (parts, body) = layer.layer(client).oneshot(request).await?.into_parts();
        Ok::<_, BoxError>((parts, body.collect().await?.to_bytes()))
    });
    let asked = log.lock().unwrap().clone();
    response.map(|(parts, body)| Got {
        status: parts.status.as_u16(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        asked,
        trimmed: parts.extensions.get().copied(),
    })
}

#[track_caller]
pub(crate) fn ask(pages: CursorPagesBuilder, target: &str, answers: &[&str]) -> Got {
    let answers: Vec<_> = answers.iter().map(|body| (200, *body)).collect();
    let got = try_asking(pages, target, &answers).unwrap();
    assert_eq!(got.status, 200);
    assert!(got.trimmed.is_some());
    // Each answer was asked for.
    assert_eq!(got.asked.len(), answers.len() + 1);
    got
}

/// Why the caller gets an error.
#[track_caller]
pub(crate) fn refused(pages: CursorPagesBuilder, target: &str, answers: &[&str]) -> String {
    let answers: Vec<_> = answers.iter().map(|body| (200, *body)).collect();
    let error = match try_asking(pages, target, &answers) {
        Ok(got) => panic!("the caller got {} {}", got.status, got.body),
        Err(error) => error,
    };
    error.downcast_ref::<TrimError>().unwrap().to_string()
}
