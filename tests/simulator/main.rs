//! The simulator's promises, tried against the facts about the API.

mod batches;
mod contacts;
mod cost;
mod day;
mod door;
mod limits;
mod others;
mod socket;
mod store;
mod time;
mod trouble;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::Value;
use tower::ServiceExt;
use tower_quota::sim::{BatchDialect, Fault, Latency, Others, Sim, SimBody, SimBuilder, Windows};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const LIST: &str = "/crm/v3/objects/contacts";
pub(crate) const SEARCH: &str = "/crm/v3/objects/contacts/search";
pub(crate) const ASSOCIATIONS: &str = "/crm/v4/associations/contacts/companies/batch/read";

pub(crate) fn request(method: Method, path: &str, token: &str) -> Request<SimBody> {
    let body = match path {
        SEARCH => "{}",
        ASSOCIATIONS => r#"{"inputs":[]}"#,
        _ => "",
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .body(SimBody::from(body))
        .unwrap()
}

pub(crate) async fn send(sim: &Sim, path: &str) -> Response<SimBody> {
    send_as(sim, path, "pat-1").await
}

pub(crate) async fn send_as(sim: &Sim, path: &str, token: &str) -> Response<SimBody> {
    let get = path == LIST || path.starts_with("/account-info") || path.starts_with("/sim");
    let method = if get { Method::GET } else { Method::POST };
    sim.service()
        .oneshot(request(method, path, token))
        .await
        .unwrap()
}

/// Sends a body as `pat-1`, and returns status and body; null for an empty body.
pub(crate) async fn call(sim: &Sim, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", "Bearer pat-1")
        .body(SimBody::from(body))
        .unwrap();
    let response = sim.service().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().into_bytes();
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).unwrap()
    };
    (status, body)
}

pub(crate) fn json(response: &Response<SimBody>) -> Value {
    serde_json::from_slice(response.body().bytes()).unwrap()
}

pub(crate) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    let value = headers.get(format!("x-hubspot-ratelimit-{name}"))?;
    Some(value.to_str().unwrap().parse().unwrap())
}

pub(crate) fn small() -> SimBuilder {
    Sim::builder()
        .burst(5, 10 * SECOND)
        .search(2, SECOND)
        .record(true)
}

pub(crate) fn at(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

#[test]
fn nonsense_is_an_error_that_names_the_field() {
    let table = [
        (small().burst(0, SECOND), "burst: quota"),
        (small().search(1, Duration::ZERO), "search: window"),
        (
            small()
                .associations(1, 1_500 * MS)
                .windows(Windows::WALL_SECONDS),
            "associations: window",
        ),
        (
            small().windows(Windows::OneSecondBuckets {
                phase: Some(SECOND),
            }),
            "windows: phase",
        ),
        (small().daily(0), "daily"),
        (small().zone("Mars/Olympus"), "zone"),
        (small().zone_offset(15 * 3_600), "zone"),
        (small().limit_increase(3), "limit_increase"),
        (small().uplink(Latency::uniform(2 * MS, MS)), "uplink"),
        (
            small().service_time(Latency::NONE.tail(2.0, MS)),
            "service_time",
        ),
        (small().fault(f64::NAN, Fault::hang()), "fault: probability"),
        (
            small().fault(0.6, Fault::hang()).fault(0.6, Fault::hang()),
            "fault: probability",
        ),
        (
            small().concurrency(0, StatusCode::SERVICE_UNAVAILABLE),
            "concurrency: most",
        ),
        (
            small().concurrency(1, StatusCode::OK),
            "concurrency: status",
        ),
        (small().others(Others::burst(0.0)), "others: rate"),
        (
            small().others(Others::search(1.0).in_bursts_of(0)),
            "others: in_bursts_of",
        ),
        (
            small().batches(BatchDialect::new().most(0)),
            "batches: most",
        ),
        (
            small().batches(BatchDialect::new().absent(StatusCode::OK)),
            "batches: absent",
        ),
    ];
    for (builder, field) in table {
        let error = builder.build().unwrap_err();
        assert_eq!(error.field(), field);
    }
}
