//! Calls that share a batch, and what an answer means for each.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tower_quota::batch::{BatchPolicy, Input, Operation, Part, Single, Split};
use tower_quota::hubspot::Batches;
use tower_quota::request::RequestHead;

/// Where the correlation id of an answer is.
pub(crate) const CORRELATION_ID: &str = "x-hubspot-correlation-id";

/// Whether the policy wants to see such a request.
pub(crate) fn concerns(method: &str, path: &str) -> bool {
    let request = request(method, path, &[]);
    Batches::default().concerns(&RequestHead::from(&request))
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let uri = format!("https://api.hubapi.com{path}");
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// The call as the policy understands it.
pub(crate) fn single(method: &str, path: &str, body: &str) -> Option<Single> {
    single_with(method, path, body, &[])
}

pub(crate) fn single_with(
    method: &str,
    path: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> Option<Single> {
    let request = request(method, path, headers);
    let body = Bytes::copy_from_slice(body.as_bytes());
    Batches::default().single(&RequestHead::from(&request), &body)
}

/// Calls that share a batch.
pub(crate) struct Bundle {
    singles: Vec<Single>,
    inputs: Vec<Input>,
}

/// What one caller gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Got {
    Answer(u16, Value),
    Alone,
    Unknown,
}

impl Bundle {
    /// Each call is a method, a path and a body; they must have the same key.
    pub(crate) fn new<C: AsRef<str>>(calls: &[(&str, C, C)]) -> Self {
        let understand = |(method, path, body): &(&str, C, C)| {
            let (path, body) = (path.as_ref(), body.as_ref());
            single(method, path, body).unwrap_or_else(|| panic!("{method} {path} {body}"))
        };
        let singles: Vec<_> = calls.iter().map(understand).collect();
        let keys = singles.iter().map(|single| single.operation().key());
        let keys: std::collections::HashSet<_> = keys.collect();
        assert_eq!(keys.len(), 1, "{keys:?}");
        let inputs = singles
            .iter()
            .map(|single| single.input().clone())
            .collect();
        Self { singles, inputs }
    }

    /// Reads at paths that end with these.
    pub(crate) fn reads(ends: &[&str]) -> Self {
        let path = |end: &&str| {
            (
                "GET",
                format!("/crm/v3/objects/contacts/{end}"),
                String::new(),
            )
        };
        Self::new(&ends.iter().map(path).collect::<Vec<_>>())
    }

    /// Updates at paths that end with these.
    pub(crate) fn updates(calls: &[(&str, Value)]) -> Self {
        let call = |(end, properties): &(&str, Value)| {
            let body = json!({ "properties": properties }).to_string();
            ("PATCH", format!("/crm/v3/objects/contacts/{end}"), body)
        };
        Self::new(&calls.iter().map(call).collect::<Vec<_>>())
    }

    pub(crate) fn creates(all: &[Value]) -> Self {
        let call = |properties: &Value| {
            let body = json!({ "properties": properties }).to_string();
            ("POST", "/crm/v3/objects/contacts".to_owned(), body)
        };
        Self::new(&all.iter().map(call).collect::<Vec<_>>())
    }

    pub(crate) fn operation(&self) -> &dyn Operation {
        self.singles[0].operation()
    }

    pub(crate) fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Where the batch call goes, and what it says.
    pub(crate) fn joined(&self) -> (String, Value) {
        let joined = self.operation().join(&self.inputs).unwrap();
        let body = serde_json::from_slice(joined.body()).unwrap();
        (joined.target().to_string(), body)
    }

    pub(crate) fn split(&self, status: u16, body: impl Into<Bytes>) -> Split {
        let answer = Response::builder()
            .status(StatusCode::from_u16(status).unwrap())
            .header(CORRELATION_ID, "c1")
            .body(body.into())
            .unwrap();
        self.operation().split(&self.inputs, &answer)
    }

    /// What each caller gets of a batch that is answered so.
    pub(crate) fn got(&self, status: u16, body: &Value) -> Vec<Got> {
        self.got_text(status, body.to_string())
    }

    pub(crate) fn got_text(&self, status: u16, body: impl Into<Bytes>) -> Vec<Got> {
        match self.split(status, body) {
            Split::Each(parts) => parts.into_iter().map(Got::from).collect(),
            split => panic!("{split:?}"),
        }
    }

    /// Whom the batch is refused for.
    pub(crate) fn suspects(&self, status: u16, body: &str) -> Vec<usize> {
        match self.split(status, body.to_owned()) {
            Split::Refused { suspects } => suspects,
            split => panic!("{split:?}"),
        }
    }
}

impl From<Part> for Got {
    fn from(part: Part) -> Self {
        match part {
            Part::Answer(status, body) if body.is_empty() => {
                Self::Answer(status.as_u16(), Value::Null)
            }
            Part::Answer(status, body) => {
                Self::Answer(status.as_u16(), serde_json::from_slice(&body).unwrap())
            }
            Part::Alone => Self::Alone,
            Part::Unknown(_) => Self::Unknown,
        }
    }
}

/// The answer to a batch that has these results.
pub(crate) fn complete(results: impl Into<Vec<Value>>) -> Value {
    let results = results.into();
    json!({"status": "COMPLETE", "results": results, "startedAt": "2024-04-24T19:21:09.694Z", "completedAt": "2024-04-24T19:21:09.747Z"})
}

/// The same with these errors.
pub(crate) fn mixed(results: impl Into<Vec<Value>>, errors: impl Into<Vec<Value>>) -> Value {
    let errors = errors.into();
    let mut answer = complete(results);
    answer["numErrors"] = errors.len().into();
    answer["errors"] = errors.into();
    answer
}

/// A record as HubSpot shows it.
pub(crate) fn record(id: u64, properties: Value) -> Value {
    let time = "2024-08-15T17:09:13.648Z";
    json!({"id": id.to_string(), "properties": properties, "createdAt": time, "updatedAt": time, "archived": false})
}

/// What a single call says of a record that is not there.
pub(crate) fn not_found() -> Got {
    let body = json!({"status": "error", "message": "resource not found", "correlationId": "c1", "category": "OBJECT_NOT_FOUND"});
    Got::Answer(404, body)
}

/// An error of a 207 that says these ids are missing.
pub(crate) fn missing(ids: &[&str]) -> Value {
    json!({"status": "error", "category": "OBJECT_NOT_FOUND", "message": "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.", "context": {"ids": ids}})
}
