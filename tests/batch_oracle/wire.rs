//! Everything that is sent to the simulator, and what came of it.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::{BoxError, Service, ServiceExt};
use tower_quota::sim::{SimBody, SimError, SimService};

use crate::common::lock;

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Requests that are no batch calls of contacts.
    pub(crate) singles: usize,
    pub(crate) batches: usize,
    /// Inputs of batch calls.
    pub(crate) inputs: usize,
    /// Batch calls of which nobody got an answer of his own: they were refused, lost, or found nothing.
    pub(crate) fruitless: usize,
    pub(crate) by_status: HashMap<u16, usize>,
    /// How often a rank that one write alone has was written, as far as answers say so.
    pub(crate) written: HashMap<String, usize>,
}

impl Counts {
    pub(crate) fn requests(&self) -> usize {
        self.singles + self.batches
    }
}

/// The way to a simulator.
#[derive(Clone)]
pub(crate) struct Wire {
    sim: SimService,
    counts: Arc<Mutex<Counts>>,
}

impl Wire {
    pub(crate) fn new(sim: SimService) -> Self {
        Self {
            sim,
            counts: Arc::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }
}

struct Asked {
    is_batch: bool,
    /// What is archived, and nothing else.
    archived: bool,
    inputs: usize,
    /// Those that are to be written.
    ranks: HashSet<String>,
}

impl Asked {
    fn of(uri: &Uri, body: &[u8]) -> Self {
        let path = uri.path();
        let is_batch = path.contains("/objects/") && path.contains("/batch/");
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let inputs = items(&body, "inputs", is_batch);
        Self {
            is_batch,
            archived: uri
                .query()
                .is_some_and(|query| query.contains("archived=true")),
            inputs: inputs.len(),
            ranks: ranks(inputs).map(str::to_owned).collect(),
        }
    }
}

/// The list, or the body as the only item.
fn items<'a>(body: &'a Value, list: &str, is_batch: bool) -> &'a [Value] {
    match body[list].as_array() {
        Some(items) if is_batch => items,
        _ => std::slice::from_ref(body),
    }
}

fn ranks(items: &[Value]) -> impl Iterator<Item = &str> {
    items
        .iter()
        .filter_map(|item| item["properties"]["rank"].as_str())
}

impl Counts {
    fn asks(&mut self, asked: &Asked) {
        match asked.is_batch {
            true => {
                self.batches += 1;
                self.inputs += asked.inputs;
            }
            false => self.singles += 1,
        }
    }

    fn gets(&mut self, asked: &Asked, answer: &Result<Response<SimBody>, SimError>) {
        let Ok(answer) = answer else {
            self.fruitless += usize::from(asked.is_batch);
            return;
        };
        let status = answer.status();
        *self.by_status.entry(status.as_u16()).or_default() += 1;
        let body: Value = serde_json::from_slice(answer.body().bytes()).unwrap_or_default();
        let results = items(&body, "results", asked.is_batch);
        // What is shown although it is not archived is nobody's answer.
        let is_none = |item: &Value| item.is_null() || asked.archived && item["archived"] != true;
        let found_nothing = results.iter().all(is_none) && status != StatusCode::NO_CONTENT;
        if asked.is_batch && (!status.is_success() || found_nothing) {
            self.fruitless += 1;
        }
        if status.is_success() {
            for rank in ranks(results).filter(|rank| asked.ranks.contains(*rank)) {
                *self.written.entry(rank.to_owned()).or_default() += 1;
            }
        }
    }
}

impl<B> Service<Request<B>> for Wire
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<SimBody>;
    type Error = SimError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<SimBody>, SimError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SimError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let wire = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await;
            let body = body.map_err(|error| SimError::Body(error.into()))?;
            let body = body.to_bytes();
            let asked = Asked::of(&head.uri, &body);
            lock(&wire.counts).asks(&asked);
            let request = Request::from_parts(head, SimBody::from(body));
            let answer = wire.sim.clone().oneshot(request).await;
            lock(&wire.counts).gets(&asked, &answer);
            answer
        })
    }
}
