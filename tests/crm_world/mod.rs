//! A small world of contacts and a server that shows it, in all the ways in which HubSpot was seen to answer. It bears only so much
//! at once, and takes a different time for every request.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tower::{ServiceBuilder, ServiceExt};
use tower_quota::body::HeldBody;
use tower_quota::hubspot::SearchPages;
use tower_quota::{BoxError, PayloadTrimLayer};

pub(crate) const SEARCH: &str = "/crm/v3/objects/contacts/search";
pub(crate) const READ: &str = "/crm/v3/objects/contacts/batch/read";
pub(crate) const ASSOCIATIONS: &str = "/crm/v4/associations/contacts/companies/batch/read";

/// How much the server bears at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bears {
    /// Records with properties in a search.
    pub(crate) pages: usize,
    /// Records without, in a search.
    pub(crate) ids: usize,
    /// Different inputs.
    pub(crate) inputs: usize,
}

/// What the server says of inputs that are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// An error names them in a 207.
    Named,
    /// The same, but 404 when all are missing.
    AllMissing404,
    /// 404 when one is missing, and none is named.
    OneMissing404,
    /// 404 that is not about records.
    NoSuchPlace,
}

/// What becomes of an answer on its way.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Cut(usize),
    Text(&'static str),
    /// Lists in lists, as the member of this name.
    Deep(&'static str),
    Member(&'static str, Value),
    Without(&'static str),
    /// The member of this name once more, as an empty list.
    Twice(&'static str),
    Record(Value),
    Status(u16),
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    /// Contacts have ids from 1.
    pub(crate) count: u64,
    pub(crate) bears: Bears,
    /// With more properties than these a search is too much in any case.
    pub(crate) most_properties: usize,
    /// Whether pages have fewer records than they could.
    pub(crate) shortens: bool,
    /// Found by searches, and not there when they are read.
    pub(crate) gone: BTreeSet<u64>,
    /// The same, and shown as the record 1,000 above when they are read alone, else left out.
    pub(crate) merged: BTreeSet<u64>,
    /// The same, and never shown nor mentioned.
    pub(crate) hidden: BTreeSet<u64>,
    pub(crate) silence: Silence,
    /// After so many requests there is one more contact, before all others.
    pub(crate) grows_after: Option<usize>,
    /// What becomes of which answer.
    pub(crate) damage: Option<(usize, Damage)>,
}

impl World {
    pub(crate) fn of(count: u64) -> Self {
        Self {
            seed: 0,
            count,
            bears: Bears::default(),
            most_properties: usize::MAX,
            shortens: false,
            gone: BTreeSet::new(),
            merged: BTreeSet::new(),
            hidden: BTreeSet::new(),
            silence: Silence::Named,
            grows_after: None,
            damage: None,
        }
    }

    /// The answer when nothing is too much, nor damaged.
    pub(crate) fn whole(&self, path: &str, body: &Value) -> (u16, Value) {
        match path {
            SEARCH => (200, self.search(body, &mut None, 0)),
            READ => self.read(body),
            _ => (200, self.associations(body)),
        }
    }

    fn is_too_much(&self, path: &str, body: &Value) -> bool {
        if path != SEARCH {
            return different(body) > self.bears.inputs;
        }
        let properties = body["properties"].as_array().map_or(0, Vec::len);
        if properties > self.most_properties {
            return true;
        }
        let bears = match body["properties"] == json!(["hs_object_id"]) {
            true => self.bears.ids,
            false if properties > 0 && self.most_properties < usize::MAX => 5,
            false => self.bears.pages,
        };
        number(&body["limit"]).unwrap_or(10) > bears
    }

    fn search(&self, body: &Value, rng: &mut Option<fastrand::Rng>, nth: usize) -> Value {
        let more = u64::from(self.grows_after.is_some_and(|after| nth >= after));
        let ids: Vec<u64> = (1 - more..=self.count).collect();
        let (after, limit) = (
            number(&body["after"]).unwrap_or(0),
            number(&body["limit"]).unwrap_or(10),
        );
        let left = ids.get(after..).unwrap_or_default();
        let mut shown = left.len().min(limit);
        if let Some(rng) = rng.as_mut().filter(|_| shown > 1 && self.shortens) {
            shown = rng.usize(1..=shown);
        }
        let records = left[..shown]
            .iter()
            .map(|id| record(*id, &body["properties"]));
        let mut answer = json!({"total": ids.len(), "results": records.collect::<Vec<_>>()});
        if shown < left.len() {
            let after = (after + shown).to_string();
            answer["paging"] = json!({"next": {"after": after, "link": format!("?after={after}")}});
        }
        answer
    }

    fn read(&self, body: &Value) -> (u16, Value) {
        let inputs = inputs(body);
        let alone = inputs.len() == 1;
        let (mut results, mut missing, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for id in inputs {
            if self.gone.contains(&id) || id > self.count {
                missing.push(id.to_string());
            } else if self.merged.contains(&id) {
                results.extend(alone.then(|| record(id + 1_000, &body["properties"])));
            } else if !self.hidden.contains(&id) && seen.insert(id) {
                results.push(record(id, &body["properties"]));
            }
        }
        // No order is promised.
        results.sort_by_key(|record| (id(record) * 7_919) % 1_009);
        let error = json!({
            "status": "error",
            "category": "OBJECT_NOT_FOUND",
            "message": "Could not get some CONTACT objects, they may be deleted or not exist.",
            "context": {"ids": missing},
        });
        let unnamed =
            json!({"status": "error", "category": "OBJECT_NOT_FOUND", "correlationId": "c"});
        match self.silence {
            Silence::NoSuchPlace => return (404, json!({"status": "error", "message": "no path"})),
            Silence::OneMissing404 if !missing.is_empty() => return (404, unnamed),
            Silence::AllMissing404 if results.is_empty() && !missing.is_empty() => {
                return (404, error);
            }
            _ => {}
        }
        let mut answer = json!({
            "status": "COMPLETE",
            "results": results,
            "startedAt": "2026-03-01T00:00:00Z",
            "completedAt": "2026-03-01T00:00:00.100Z",
        });
        if missing.is_empty() {
            return (200, answer);
        }
        answer["numErrors"] = json!(1);
        answer["errors"] = json!([error]);
        (207, answer)
    }

    fn associations(&self, body: &Value) -> Value {
        let known = inputs(body)
            .into_iter()
            .filter(|id| *id <= self.count && id % 3 > 0);
        let to = |id: u64| json!({"from": {"id": id.to_string()}, "to": [{"toObjectId": id * 2}]});
        json!({"status": "COMPLETE", "results": known.map(to).collect::<Vec<_>>()})
    }

    fn answer(&self, nth: usize, path: &str, body: &str, rng: &mut fastrand::Rng) -> (u16, String) {
        let Ok(body) = serde_json::from_str(body) else {
            return (504, "<html>".to_owned());
        };
        if self.is_too_much(path, &body) {
            return (504, "<html>".to_owned());
        }
        let (status, answer) = match path {
            // The caller's own request is answered as it always is.
            SEARCH => (
                200,
                self.search(&body, &mut (nth > 0).then(|| rng.fork()), nth),
            ),
            _ => self.whole(path, &body),
        };
        match &self.damage {
            Some((at, damage)) if *at == nth => damage.done_to(status, answer),
            _ => (status, answer.to_string()),
        }
    }
}

impl Damage {
    fn done_to(&self, status: u16, mut answer: Value) -> (u16, String) {
        match self {
            Self::Cut(length) => {
                let mut text = answer.to_string();
                text.truncate(text.len() * length / 100);
                return (status, text);
            }
            Self::Text(text) => return (status, (*text).to_owned()),
            Self::Deep(name) => {
                let lists = "[".repeat(50_000) + &"]".repeat(50_000);
                return (status, format!(r#"{{"{name}":{lists}}}"#));
            }
            Self::Twice(name) => {
                let text = answer.to_string();
                let text = text.strip_suffix('}').unwrap_or(&text);
                return (status, format!(r#"{text},"{name}":[]}}"#));
            }
            Self::Status(status) => return (*status, json!({"status": "error"}).to_string()),
            Self::Member(name, value) => answer[name] = value.clone(),
            Self::Without(name) => {
                answer.as_object_mut().unwrap().remove(*name);
            }
            Self::Record(record) => {
                if let Some(first) = answer["results"].get_mut(0) {
                    *first = record.clone();
                }
            }
        }
        (status, answer.to_string())
    }
}

/// Damage that can be noticed: an answer that is made another good answer cannot be told from one.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let next = |after: Value| json!({"next": {"after": after}});
    let texts = vec![
        "",
        "null",
        "{}",
        r#"{"results":null}"#,
        r#"{"status":"error"}"#,
        r#"{"results":[],"status":"error"}"#,
        "\u{0}",
    ];
    let pagings = vec![
        json!(7),
        json!({"next": 7}),
        json!({"next": {}}),
        next(json!("0")),
        next(json!("-5")),
        next(json!(1e300)),
        next(json!("99999999999999999999999")),
        next(json!("35.5")),
        next(json!("last")),
        next(json!([])),
    ];
    prop_oneof![
        (0..100_usize).prop_map(Damage::Cut),
        prop::sample::select(texts).prop_map(Damage::Text),
        prop::sample::select(vec!["results", "paging", "a"]).prop_map(Damage::Deep),
        prop::sample::select(vec![json!(7), json!({}), json!({"id": null}), json!([])])
            .prop_map(Damage::Record),
        prop::sample::select(pagings).prop_map(|paging| Damage::Member("paging", paging)),
        prop::sample::select(vec![json!({}), json!("a"), json!(1), json!(null)])
            .prop_map(|results| Damage::Member("results", results)),
        prop::sample::select(vec![
            json!({}),
            json!("a"),
            json!(-1),
            json!(1e300),
            json!(0)
        ])
        .prop_map(|total| Damage::Member("total", total)),
        prop::sample::select(vec!["results", "paging", "total"]).prop_map(Damage::Without),
        prop::sample::select(vec!["results", "paging", "total"]).prop_map(Damage::Twice),
        prop::sample::select(vec![400, 403, 404, 500]).prop_map(Damage::Status),
    ]
}

fn number(value: &Value) -> Option<usize> {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| usize::try_from(value.as_u64()?).ok())
}

pub(crate) fn id(record: &Value) -> u64 {
    number(&record["id"]).unwrap_or(0) as u64
}

fn inputs(body: &Value) -> Vec<u64> {
    let inputs = body["inputs"].as_array().into_iter().flatten();
    inputs.map(id).collect()
}

fn different(body: &Value) -> usize {
    inputs(body).into_iter().collect::<BTreeSet<_>>().len()
}

fn record(id: u64, properties: &Value) -> Value {
    let mut shown = Map::from_iter([("hs_object_id".to_owned(), json!(id.to_string()))]);
    for name in properties.as_array().into_iter().flatten() {
        let name = name.as_str().unwrap_or_default();
        // Some are not set, and some the server does not know.
        let value = match (id + name.len() as u64) % 4 {
            0 => Value::Null,
            _ => json!(format!("{name} \u{e9}\"\\ {id}")),
        };
        let is_id = name == "hs_object_id";
        if !is_id && !name.ends_with('5') {
            shown.insert(name.to_owned(), value);
        }
    }
    json!({"id": id.to_string(), "properties": shown, "updatedAt": "2026-03-01", "archived": false})
}

/// The order of a batch read is not promised, nor are times.
pub(crate) fn sorted(mut answer: Value) -> Value {
    let sort = |list: &mut Value| {
        if let Some(list) = list.as_array_mut() {
            list.sort_by_key(Value::to_string);
        }
    };
    sort(&mut answer["results"]);
    sort(&mut answer["context"]["ids"]);
    for error in answer["errors"].as_array_mut().into_iter().flatten() {
        sort(&mut error["context"]["ids"]);
    }
    answer
}

/// What the caller got.
#[derive(Debug)]
pub(crate) enum Got {
    Answer {
        head: Box<response::Parts>,
        body: Bytes,
    },
    Failed(BoxError),
}

impl Got {
    #[track_caller]
    pub(crate) fn answer(&self) -> (u16, Value) {
        match self {
            Self::Answer { head, body } => {
                let body = serde_json::from_slice(body).unwrap_or_default();
                (head.status.as_u16(), body)
            }
            Self::Failed(error) => panic!("{error}"),
        }
    }
}

/// Asks through the layer.
pub(crate) fn run(
    world: &World,
    policy: SearchPages,
    parallel: usize,
    path: &str,
    body: &Value,
) -> Got {
    ask(world, policy, parallel, path, &body.to_string()).1
}

/// The same, with the bodies that the server saw.
pub(crate) fn ask(
    world: &World,
    policy: SearchPages,
    parallel: usize,
    path: &str,
    body: &str,
) -> (Vec<String>, Got) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(world.seed)));
    let (log, world) = (seen.clone(), world.clone());
    let server = tower::service_fn(move |request: Request<HeldBody<Full<Bytes>>>| {
        let (log, rng, world) = (log.clone(), rng.clone(), world.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let (wait, (status, answer)) = {
                let (mut log, mut rng) = (log.lock().unwrap(), rng.lock().unwrap());
                log.push(body.clone());
                let answer = world.answer(log.len() - 1, head.uri.path(), &body, &mut rng);
                (rng.u64(0..50), answer)
            };
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let answer = Response::builder()
                .status(status)
                .body(Full::new(Bytes::from(answer)));
            Ok::<_, BoxError>(answer.unwrap())
        }
    });
    let layer = PayloadTrimLayer::new(policy).parallel(parallel).unwrap();
    let api = ServiceBuilder::new().layer(layer).service(server);
    let request = Request::post(format!("https://api.hubapi.com{path}"));
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    let got = runtime.block_on(async {
        match api.oneshot(request).await {
            Err(error) => Got::Failed(error),
            Ok(response) => {
                let (head, body) = response.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                Got::Answer {
                    head: Box::new(head),
                    body,
                }
            }
        }
    });
    let seen = seen.lock().unwrap().clone();
    (seen, got)
}
