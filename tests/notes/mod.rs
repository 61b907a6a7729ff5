//! A toy API of notes, and what its callers and its batch calls look like. It speaks no JSON, so that a batch layer which serves it
//! is tied to no vendor.
//!
//! | call for one note | batch call | a line of it | a line of the answer |
//! |---|---|---|---|
//! | `GET /notes/{key}` | `POST /notes:fetch` | `key` | `key=text`; `key!` or nothing where there is none |
//! | `PUT /notes/{key}` | `POST /notes:store` | `key=text` | `key=text`; `key!` where there is none |
//! | `POST /notes` | `POST /notes:add` | `tag=text` | `tag=key=text` |
//! | `DELETE /notes/{key}` | `POST /notes:remove` | `key` | none |
//!
//! A query stays as it is. The lines of an answer come in any order. A text that begins with `bad` is refused, in a batch with all
//! others; the same line twice is refused, too.

#![allow(dead_code, reason = "every test uses its own part")]

pub(crate) mod policy;
pub(crate) mod server;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::task::JoinHandle;
use tower::{BoxError, Service, ServiceExt};
use tower_quota::BatchLayer;

use crate::common::request;
use policy::NoteBatches;

/// The layer for this API, as it is at first.
pub(crate) fn batches() -> BatchLayer {
    BatchLayer::new(NoteBatches::default())
}

pub(crate) type Call = Request<Full<Bytes>>;

pub(crate) fn fetch(key: impl AsRef<str>) -> Call {
    request(Method::GET, &format!("/notes/{}", key.as_ref()), "t")
}

/// Fetches the notes `{name}0`, `{name}1` and so on.
pub(crate) fn fetches(name: &str, count: usize) -> Vec<Call> {
    (0..count)
        .map(|nth| fetch(format!("{name}{nth}")))
        .collect()
}

pub(crate) fn store(key: &str, text: &str) -> Call {
    let request = request(Method::PUT, &format!("/notes/{key}"), "t");
    with_text(request, text)
}

pub(crate) fn add(text: &str) -> Call {
    with_text(request(Method::POST, "/notes", "t"), text)
}

pub(crate) fn remove(key: &str) -> Call {
    request(Method::DELETE, &format!("/notes/{key}"), "t")
}

fn with_text(mut call: Call, text: &str) -> Call {
    let headers = call.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/plain"));
    headers.insert("content-length", text.len().into());
    call.map(|_| Full::from(text.to_owned()))
}

/// The same with a header.
pub(crate) fn with(mut call: Call, name: &'static str, value: &'static str) -> Call {
    let headers = call.headers_mut();
    headers.insert(name, HeaderValue::from_static(value));
    call
}

/// The same with an extension.
pub(crate) fn saying<T: Clone + Send + Sync + 'static>(mut call: Call, extension: T) -> Call {
    call.extensions_mut().insert(extension);
    call
}

/// What a caller got.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) extensions: Extensions,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    }

    pub(crate) fn told(&self) -> (u16, &str) {
        (self.status, &self.body)
    }
}

pub(crate) type Outcome = Result<Got, BoxError>;

/// One call, until its body is read.
pub(crate) async fn call<S, B>(api: S, call: Call) -> Outcome
where
    S: Service<Call, Response = http::Response<B>, Error = BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = api.oneshot(call).await?.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    Ok(Got {
        status: head.status.as_u16(),
        headers: head.headers,
        extensions: head.extensions,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// One call in a task of its own.
pub(crate) fn spawn<S, B>(api: &S, request: Call) -> JoinHandle<Outcome>
where
    S: Service<Call, Response = http::Response<B>, Error = BoxError, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    tokio::spawn(call(api.clone(), request))
}

/// Calls that come at one instant, each from a task of its own; their outcomes in order.
pub(crate) async fn all<S, B>(api: &S, calls: impl IntoIterator<Item = Call>) -> Vec<Outcome>
where
    S: Service<Call, Response = http::Response<B>, Error = BoxError, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let tasks: Vec<_> = calls.into_iter().map(|call| spawn(api, call)).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.expect("no caller panics"));
    }
    outcomes
}

/// What callers got who were all answered.
pub(crate) fn told(outcomes: &[Outcome]) -> Vec<(u16, &str)> {
    let told = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap().told());
    told.collect()
}
