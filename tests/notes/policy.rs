//! What the layer must know of the notes.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use tower_quota::batch::{BatchPolicy, Input, Joined, Operation, Part, Single, Split, Twice};
use tower_quota::request::{Effect, RequestHead};

use super::server::missing;

/// The batch calls of the notes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoteBatches {
    /// How many lines a batch may have, as far as is known.
    pub(crate) most: usize,
}

impl Default for NoteBatches {
    fn default() -> Self {
        Self { most: 100 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Fetch,
    Store,
    Add,
    Remove,
}

struct Lines {
    verb: Verb,
    query: Option<String>,
    most: usize,
}

impl BatchPolicy for NoteBatches {
    fn concerns(&self, request: &RequestHead<'_>) -> bool {
        verb(request).is_some()
    }

    fn single(&self, request: &RequestHead<'_>, body: &Bytes) -> Option<Single> {
        let verb = verb(request)?;
        let key = request.uri.path().strip_prefix("/notes/");
        let text = std::str::from_utf8(body).ok()?;
        if text.contains('\n') {
            return None;
        }
        let input = match (verb, key) {
            (Verb::Fetch | Verb::Remove, Some(key)) if text.is_empty() => key.to_owned(),
            (Verb::Store, Some(key)) => format!("{key}={text}"),
            (Verb::Add, None) => text.to_owned(),
            _ => return None,
        };
        let input = Input::new(input);
        let operation = Lines {
            verb,
            query: request.uri.query().map(str::to_owned),
            most: self.most,
        };
        let input = match key {
            Some(key) => input.record(key),
            None => input,
        };
        Some(Single::new(operation, input))
    }
}

fn verb(request: &RequestHead<'_>) -> Option<Verb> {
    let path = request.uri.path();
    let key = path.strip_prefix("/notes/").unwrap_or_default();
    let has_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match *request.method {
        Method::GET if has_key => Some(Verb::Fetch),
        Method::PUT if has_key => Some(Verb::Store),
        Method::POST if path == "/notes" => Some(Verb::Add),
        Method::DELETE if has_key => Some(Verb::Remove),
        _ => None,
    }
}

impl Lines {
    fn target(&self) -> String {
        let path = match self.verb {
            Verb::Fetch => "/notes:fetch",
            Verb::Store => "/notes:store",
            Verb::Add => "/notes:add",
            Verb::Remove => "/notes:remove",
        };
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }

    /// What the server calls an input.
    fn name(&self, nth: usize, input: &Input) -> String {
        match input.name() {
            Some(key) => key.to_owned(),
            None => nth.to_string(),
        }
    }

    /// What the answer says of each input, by its name; `None` when it makes no sense.
    fn parts(&self, answer: &str) -> Option<HashMap<String, Part>> {
        let part = |line: &str| {
            if let Some((name, rest)) = line.split_once('=') {
                let (status, body) = match self.verb {
                    Verb::Add => (StatusCode::CREATED, rest),
                    _ => (StatusCode::OK, line),
                };
                let part = Part::Answer(status, Bytes::copy_from_slice(body.as_bytes()));
                return Some((name.to_owned(), part));
            }
            let name = line.strip_suffix('!')?;
            Some((name.to_owned(), none(name)))
        };
        answer.lines().map(part).collect()
    }
}

fn none(key: &str) -> Part {
    Part::Answer(StatusCode::NOT_FOUND, missing(key).1.into())
}

impl Operation for Lines {
    fn key(&self) -> Cow<'_, str> {
        self.target().into()
    }

    fn label(&self) -> Cow<'static, str> {
        self.target().into()
    }

    fn most(&self) -> usize {
        self.most
    }

    fn effect(&self) -> Effect {
        match self.verb {
            Verb::Fetch => Effect::Read,
            Verb::Store | Verb::Remove => Effect::IdempotentWrite,
            Verb::Add => Effect::Create,
        }
    }

    fn twice(&self) -> Twice {
        match self.verb {
            Verb::Fetch => Twice::Join,
            _ => Twice::InOrder,
        }
    }

    fn join(&self, inputs: &[Input]) -> Option<Joined> {
        let lines = inputs.iter().enumerate().map(|(nth, input)| {
            let data = String::from_utf8_lossy(input.data());
            match self.verb {
                Verb::Add => format!("{}={data}\n", self.name(nth, input)),
                _ => format!("{data}\n"),
            }
        });
        let joined = Joined::post(self.target().parse().ok()?, lines.collect::<String>());
        Some(joined.content_type(HeaderValue::from_static("text/plain")))
    }

    fn split(&self, inputs: &[Input], answer: &Response<Bytes>) -> Split {
        let text = String::from_utf8_lossy(answer.body());
        let is_text = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_none_or(|kind| kind == "text/plain");
        match answer.status().as_u16() {
            204 if self.verb == Verb::Remove => {
                Split::Each(vec![
                    Part::Answer(StatusCode::NO_CONTENT, Bytes::new());
                    inputs.len()
                ])
            }
            200 | 201 if is_text => {
                let Some(mut parts) = self.parts(&text) else {
                    return Split::Unfit("a line has no name".into());
                };
                let part = |(nth, input)| {
                    let name = self.name(nth, input);
                    match (parts.remove(&name), self.verb) {
                        (Some(part), _) => part,
                        (None, Verb::Fetch) => none(&name),
                        (None, Verb::Add) => Part::Unknown("the answer leaves it out".into()),
                        (None, _) => Part::Alone,
                    }
                };
                Split::Each(inputs.iter().enumerate().map(part).collect())
            }
            200..=299 => Split::Unfit("it is no text".into()),
            405 => Split::Unsupported,
            413 => Split::TooMany(
                text.strip_prefix("at most ")
                    .and_then(|most| most.parse().ok()),
            ),
            422 => {
                let names: Vec<&str> = text.lines().skip(1).collect();
                let is_suspect = |nth: &usize| names.contains(&&*self.name(*nth, &inputs[*nth]));
                Split::Refused {
                    suspects: (0..inputs.len()).filter(is_suspect).collect(),
                }
            }
            _ => Split::Whole,
        }
    }
}
