//! Promise: what is sent and what comes back is counted and told as it is: each attempt once, each refusal, pause and threshold once, with
//! its end; whoever reads the events never holds anything up; and in shadow mode nothing does. (T40)

#[path = "../common/mod.rs"]
mod common;

mod counts;
mod days;
mod kinds;
mod pauses;
mod places;
mod refusals;
mod reports;
mod routes;
mod shadow;
mod stream;
mod thresholds;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::{PieceBody, Server, TestError};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::event::{EventKind, QuotaEvent};
use tower_quota::observe::Observe;
use tower_quota::quota::QuotaBuilder;
use tower_quota::report::Counts;
use tower_quota::{Api, BoxError, ObserveLayer, Quota};

type Call = Request<Full<Bytes>>;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Noon in UTC, of a day without anything special.
fn noon() -> SystemTime {
    UNIX_EPOCH + 20_454 * DAY + DAY / 2
}

/// A quota at [`noon`], of which the process before this one has used nothing.
fn at_noon(api: impl Into<Api>) -> QuotaBuilder {
    use tower_quota::plan::{Assumed, ColdStart};
    let empty = ColdStart::Assume(Assumed::Empty);
    let clock = Clock::starting_at(noon());
    Quota::builder(api).clock(clock).cold_start(empty)
}

/// The layer alone around a server.
fn observed(quota: &Quota, server: &Server) -> Observe<Server> {
    ObserveLayer::new(quota).layer(server.clone())
}

/// The status of the answer, whose body is read.
async fn ask<S, B>(api: &S, call: Call) -> Result<u16, BoxError>
where
    S: Service<Call, Response = Response<B>, Error: Into<BoxError>> + Clone,
    B: http_body::Body<Error: Into<BoxError>>,
{
    let answer = api.clone().oneshot(call).await.map_err(Into::into)?;
    let status = answer.status().as_u16();
    answer.into_body().collect().await.map_err(Into::into)?;
    Ok(status)
}

/// Of one kind.
fn named(events: &[QuotaEvent], name: &str) -> Vec<EventKind> {
    let kinds = events.iter().map(|event| event.kind.clone());
    kinds.filter(|kind| kind.as_str() == name).collect()
}

/// Requests, errors, those rate limited, and those that were lost.
fn figures(counts: Counts) -> [u64; 4] {
    [
        counts.requests,
        counts.errors,
        counts.rate_limited,
        counts.lost,
    ]
}

type Reply = Result<Response<PieceBody>, TestError>;
