//! A CRM with searches and batch reads like HubSpot's, as plain as can be: what a server without limits would answer, and the same
//! server when much at once is too much for it.

#![allow(dead_code, reason = "every test uses its own part")]

pub(crate) mod store;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tower_quota::hubspot::{HubspotRoutes, HubspotSignals};
use tower_quota::plan::Plan;
use tower_quota::{Api, BoxError, Quota};

use crate::common::{
    Answer, PieceBody, SECOND, Seen, Server, after, at_once, lock, ms, never, request, response,
};
pub(crate) use store::Store;

pub(crate) const SEARCH: &str = "/crm/v3/objects/contacts/search";
pub(crate) const BATCH_READ: &str = "/crm/v3/objects/contacts/batch/read";
pub(crate) const ASSOCIATIONS: &str = "/crm/v4/associations/contacts/companies/batch/read";

/// By what a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A search for records with their properties.
    Pages,
    /// A search for ids alone.
    Ids,
    /// A batch read.
    Inputs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(u16),
    /// It costs more than the budget.
    Heavy,
    /// It failed because the test said so.
    Fault(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Status(u16),
    /// No answer ever comes.
    Hang,
}

/// One request as the server understood it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) way: Way,
    /// Records of a page, or different inputs.
    pub(crate) size: usize,
    pub(crate) after: usize,
    /// See [`cost`].
    pub(crate) cost: u64,
    pub(crate) token: String,
    pub(crate) body: Bytes,
    pub(crate) outcome: Outcome,
}

impl Asked {
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Answered(_))
    }
}

type TooMuch = dyn Fn(&Asked) -> bool + Send;
type Hook = dyn FnMut(usize, &Asked, &mut Store) -> Option<Fault> + Send;
type Edge = dyn FnMut(usize, &Asked, u16, Vec<u8>) -> (u16, Vec<u8>) + Send;

struct State {
    store: Store,
    too_much: Box<TooMuch>,
    /// How long the server works on what is too much for it, and on all else.
    times: (Duration, Duration),
    jitter: Option<fastrand::Rng>,
    hook: Box<Hook>,
    edge: Box<Edge>,
    asked: Vec<Asked>,
    in_flight: usize,
    most_in_flight: usize,
}

/// A handle to the server. It is a service, too.
#[derive(Clone)]
pub(crate) struct Crm {
    pub(crate) server: Server,
    state: Arc<Mutex<State>>,
}

impl Crm {
    /// Nothing is too much at first.
    pub(crate) fn new(store: Store) -> Self {
        Self::with_body(store, PieceBody::whole)
    }

    /// With answers whose bodies are made so.
    pub(crate) fn with_body(store: Store, body: fn(Bytes) -> PieceBody) -> Self {
        let state = Arc::new(Mutex::new(State {
            store,
            too_much: Box::new(|_| false),
            times: (30 * SECOND, ms(100)),
            jitter: None,
            hook: Box::new(|_, _, _| None),
            edge: Box::new(|_, _, status, body| (status, body)),
            asked: Vec::new(),
            in_flight: 0,
            most_in_flight: 0,
        }));
        let shared = state.clone();
        let server = Server::reading(move |nth, seen| answer(&shared, nth, seen, body));
        Self { server, state }
    }

    /// What costs more is answered with 504, after a long time. See [`cost`].
    pub(crate) fn set_budget(&self, budget: u64) {
        self.set_too_much(move |asked| asked.cost > budget);
    }

    /// The same, as the test decides.
    pub(crate) fn set_too_much(&self, too_much: impl Fn(&Asked) -> bool + Send + 'static) {
        lock(&self.state).too_much = Box::new(too_much);
    }

    /// How long the server works on what is too much for it, 30 s at first, and on all else, 100 ms.
    pub(crate) fn set_times(&self, heavy: Duration, light: Duration) {
        lock(&self.state).times = (heavy, light);
    }

    /// Answers take up to 50 ms longer, each another time, so that they come in any order.
    pub(crate) fn set_jitter(&self, seed: u64) {
        lock(&self.state).jitter = Some(fastrand::Rng::with_seed(seed));
    }

    /// Called with every request and its number, before it is answered: it may change what there is, or let the request fail.
    pub(crate) fn set_hook(
        &self,
        hook: impl FnMut(usize, &Asked, &mut Store) -> Option<Fault> + Send + 'static,
    ) {
        lock(&self.state).hook = Box::new(hook);
    }

    /// Called with every answer that is no failure, and its request and number: it says what comes of it.
    pub(crate) fn set_edge(
        &self,
        edge: impl FnMut(usize, &Asked, u16, Vec<u8>) -> (u16, Vec<u8>) + Send + 'static,
    ) {
        lock(&self.state).edge = Box::new(edge);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// The sizes that were asked for, in order.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        lock(&self.state)
            .asked
            .iter()
            .map(|asked| asked.size)
            .collect()
    }

    /// Forgets what was asked.
    pub(crate) fn clear(&self) {
        lock(&self.state).asked.clear();
    }

    /// How many requests were too much.
    pub(crate) fn heavy(&self) -> usize {
        let state = lock(&self.state);
        let heavy = |asked: &&Asked| asked.outcome == Outcome::Heavy;
        state.asked.iter().filter(heavy).count()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        lock(&self.state).most_in_flight
    }

    /// What a server without limits answers.
    pub(crate) fn oracle(&self, path: &str, body: &str) -> (u16, Value) {
        lock(&self.state).store.answer(path, body)
    }
}

/// Gone from among those in flight, whoever lets go.
struct InFlight(Arc<Mutex<State>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        lock(&self.0).in_flight -= 1;
    }
}

fn answer(
    shared: &Arc<Mutex<State>>,
    nth: usize,
    seen: &Seen,
    body: fn(Bytes) -> PieceBody,
) -> Answer {
    let sent = seen.body.clone().unwrap_or_default();
    let state = &mut *lock(shared);
    let mut asked = understand(seen, &sent);
    let is_heavy = (state.too_much)(&asked);
    let fault = (state.hook)(nth, &asked, &mut state.store);
    let (status, answer) = state
        .store
        .answer(&seen.path, &String::from_utf8_lossy(&sent));
    asked.outcome = match fault {
        Some(fault) => Outcome::Fault(fault),
        // A refusal is no work.
        None if is_heavy && status != 400 => Outcome::Heavy,
        None => Outcome::Answered(status),
    };
    let (long, short) = state.times;
    let (wait, answer) = match asked.outcome {
        Outcome::Heavy => (long, trouble(504, nth)),
        Outcome::Fault(Fault::Status(status)) => (long, trouble(status, nth)),
        Outcome::Fault(Fault::Hang) => (long, never()),
        Outcome::Answered(status) => {
            let answer = answer.to_string().into_bytes();
            let (status, answer) = (state.edge)(nth, &asked, status, answer);
            let length = answer.len().to_string();
            let headers = [("content-type", JSON), ("content-length", &length)];
            let answer = response(status, &headers, body(answer.into()));
            let answer: Answer = Box::pin(async { Ok(answer) });
            let longer = state.jitter.as_mut().map_or(0, |rng| rng.u64(0..50));
            (short + ms(longer), answer)
        }
    };
    state.asked.push(asked);
    state.in_flight += 1;
    state.most_in_flight = state.most_in_flight.max(state.in_flight);
    let in_flight = InFlight(shared.clone());
    after(
        wait,
        Box::pin(async move {
            let answer = answer.await;
            drop(in_flight);
            answer
        }),
    )
}

pub(crate) const JSON: &str = "application/json;charset=utf-8";

/// A page of the edge's own, another one each time.
fn trouble(status: u16, nth: usize) -> Answer {
    at_once(status, &[("content-type", "text/html")], &trouble_body(nth))
}

pub(crate) fn trouble_body(nth: usize) -> String {
    format!("<html><body>upstream request timeout #{nth}</body></html>")
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

fn understand(seen: &Seen, sent: &Bytes) -> Asked {
    let body = parsed(sent);
    let is_search = seen.is_search();
    let way = match is_search {
        true if body["properties"] == json!(["hs_object_id"]) => Way::Ids,
        true => Way::Pages,
        false => Way::Inputs,
    };
    Asked {
        way,
        size: units(is_search, &body),
        after: store::number(&body["after"]).unwrap_or(0),
        cost: cost(&seen.path, &body),
        token: seen.token().to_owned(),
        body: sent.clone(),
        outcome: Outcome::Heavy,
    }
}

fn units(is_search: bool, body: &Value) -> usize {
    if is_search {
        return store::number(&body["limit"]).unwrap_or(10);
    }
    let ids = store::inputs(body).into_iter().map(|id| id.to_lowercase());
    ids.collect::<std::collections::BTreeSet<_>>().len()
}

/// Records, or different inputs, times one more than properties, times what the filters make of it.
pub(crate) fn cost(path: &str, body: &Value) -> u64 {
    let length = |name: &str| body[name].as_array().map_or(0, Vec::len);
    let properties = length("properties") + length("propertiesWithHistory");
    let filters = body.to_string();
    let tokens = filters.matches("CONTAINS_TOKEN").count();
    (units(path.ends_with("/search"), body) * (1 + properties) * (1 + tokens)) as u64
}

/// A call of the token `t`.
pub(crate) fn post(path: &str, body: &Value) -> Request<Full<Bytes>> {
    post_as("t", path, body)
}

pub(crate) fn post_as(token: &str, path: &str, body: &Value) -> Request<Full<Bytes>> {
    post_text(token, path, body.to_string())
}

pub(crate) fn post_text(token: &str, path: &str, body: String) -> Request<Full<Bytes>> {
    let mut call = request(Method::POST, path, token).map(|_| Full::from(body));
    let json = http::HeaderValue::from_static("application/json");
    call.headers_mut().insert("content-type", json);
    call
}

/// What a caller got, the body read to its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The ids of the records, in their order.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let answer = self.json();
        let results = answer["results"].as_array().cloned().unwrap_or_default();
        let id = |result: &Value| store::number(&result["id"]).unwrap_or(0) as u64;
        results.iter().map(id).collect()
    }

    /// The `after` of the next page.
    pub(crate) fn next(&self) -> Option<String> {
        let answer = self.json();
        answer["paging"]["next"]["after"]
            .as_str()
            .map(str::to_owned)
    }
}

/// Calls and reads the whole answer.
pub(crate) async fn call<S, Q, B>(api: &S, request: Request<Q>) -> Result<Got, BoxError>
where
    S: Service<Request<Q>, Response = Response<B>, Error: Into<BoxError>> + Clone,
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let response = api.clone().oneshot(request).await.map_err(Into::into)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(Into::into)?.to_bytes();
    if let Some(length) = head.headers.get("content-length") {
        assert_eq!(length, &body.len().to_string(), "the length of the answer");
    }
    Ok(Got {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

/// HubSpot's routes and signals, and no limit.
pub(crate) fn unlimited() -> Quota {
    let plan = Plan::builder("unlimited").build();
    let api = Api::new(plan.expect("a plan may be empty"));
    Quota::new(api.routes(HubspotRoutes).signals(HubspotSignals))
}

impl<B> Service<Request<B>> for Crm
where
    Server: Service<Request<B>>,
{
    type Response = <Server as Service<Request<B>>>::Response;
    type Error = <Server as Service<Request<B>>>::Error;
    type Future = <Server as Service<Request<B>>>::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.server.call(request)
    }
}

/// Removes what two right answers may differ in: the order of a batch read, and that of the ids which are missing.
pub(crate) fn unordered(mut answer: Value) -> Value {
    let sorted = |list: &mut Value| {
        if let Some(list) = list.as_array_mut() {
            list.sort_by_key(Value::to_string);
        }
    };
    if let Some(missing) = answer.pointer_mut("/context/ids") {
        sorted(missing);
    }
    if answer.get("startedAt").is_none() {
        return answer;
    }
    sorted(&mut answer["results"]);
    if let Some(errors) = answer.get_mut("errors").and_then(Value::as_array_mut) {
        for error in &mut *errors {
            sorted(&mut error["context"]["ids"]);
        }
        errors.sort_by_key(Value::to_string);
    }
    answer
}
