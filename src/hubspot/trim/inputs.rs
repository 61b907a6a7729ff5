//! Inputs of a batch read, asked for some at a time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::answer::Answer;
use super::errors::NotFound;
use super::hints::up_to;
use crate::hubspot::calls::label;
use crate::hubspot::json::{Members, array, id, slice, utf8};
use crate::json::{Object, quoted};
use crate::trim::{Piece, Shape, Taken};

/// What is asked for by one id. Inputs that are alike in it stay together, so that the server sees them as it would have.
#[derive(Clone, Debug)]
pub(super) struct Input {
    id: String,
    /// As the caller wrote them; more than one only where he named an id twice.
    raw: Vec<Bytes>,
}

impl Input {
    pub(super) fn new(id: &str) -> Self {
        let raw = format!("{{\"id\":{}}}", quoted(id));
        Self {
            id: id.to_owned(),
            raw: vec![raw.into()],
        }
    }

    /// The inputs of `list`, each id once. `None` where one has no id, or two.
    pub(super) fn all(list: &[&RawValue], body: &Bytes) -> Option<Vec<Self>> {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut inputs: Vec<Self> = Vec::new();
        for input in list {
            let object = Object::parse(input.get())?;
            let id = id(object.get("id").ok()??)?;
            let place = *places.entry(id.clone()).or_insert(inputs.len());
            let raw = slice(body, input);
            match inputs.get_mut(place) {
                Some(input) => input.raw.push(raw),
                None => inputs.push(Self { id, raw: vec![raw] }),
            }
        }
        Some(inputs)
    }

    /// To be compared, as all ids.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The ids as they were sent, in JSON, always as strings.
    pub(super) fn sent(&self) -> impl Iterator<Item = Bytes> {
        self.raw.iter().filter_map(|raw| {
            let object = Object::parse(utf8(raw))?;
            let value = object.get("id").ok()??;
            let is_text = value.get().starts_with('"');
            Some(match is_text {
                true => slice(raw, value),
                false => quoted(value.get()).into(),
            })
        })
    }
}

/// What makes batch reads at a path alike in how heavy they are, apart from how many inputs they have.
pub(super) fn shape(path: &str, properties: usize, has_history: bool) -> Shape {
    let history = if has_history { ", history" } else { "" };
    let detail = format!("inputs, {}{history}", up_to(properties));
    Shape::new(label(path), detail)
}

/// Inputs and the answers to some of them so far. Its units are the inputs that differ in their ids.
#[derive(Debug)]
pub(super) struct Inputs {
    shape: Shape,
    target: Option<PathAndQuery>,
    /// The body without the inputs.
    members: Members,
    inputs: Vec<Input>,
    most: usize,
    parts: BTreeMap<usize, (usize, Part)>,
}

#[derive(Debug)]
enum Part {
    Answer(Answer),
    NotFound(NotFound),
}

/// What became of all inputs, in their order.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) answers: Vec<(Vec<Input>, Answer)>,
    pub(super) not_found: Vec<(Vec<Input>, NotFound)>,
}

impl Inputs {
    /// Asked for at the caller's path, at most `most` at a time.
    pub(super) fn new(members: Members, inputs: Vec<Input>, most: usize, shape: Shape) -> Self {
        Self {
            shape,
            target: None,
            members,
            inputs,
            most,
            parts: BTreeMap::new(),
        }
    }

    /// Asked for at another path.
    pub(super) fn at(mut self, target: PathAndQuery) -> Self {
        self.target = Some(target);
        self
    }

    /// Asks for these next.
    pub(super) fn ask(&mut self, inputs: Vec<Input>, most: usize) {
        (self.inputs, self.most) = (inputs, most);
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape.clone()
    }

    pub(super) fn len(&self) -> usize {
        self.inputs.len()
    }

    pub(super) fn most(&self) -> usize {
        self.most.min(self.inputs.len())
    }

    pub(super) fn piece(&self, span: Range<usize>) -> Piece {
        let inputs = self.inputs.get(span).unwrap_or_default();
        let mut members = self.members.clone();
        members.set("inputs", array(inputs.iter().flat_map(|input| &input.raw)));
        let piece = Piece::new().body(members.write());
        match &self.target {
            Some(target) => piece.target(target.clone()),
            None => piece,
        }
    }

    /// A 404 is one way to say that nothing of a batch is there.
    pub(super) fn take(&mut self, span: Range<usize>, answer: &Response<Bytes>) -> Taken {
        let part = match answer.status() {
            StatusCode::NOT_FOUND => Part::NotFound(NotFound(answer.body().clone())),
            _ => match Answer::read(answer) {
                Ok(answer) => Part::Answer(answer),
                Err(taken) => return taken,
            },
        };
        self.parts.insert(span.start, (span.end, part));
        Taken::UpTo(span.end)
    }

    /// Takes the answers out, with the inputs that they answer.
    pub(super) fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        let mut inputs = std::mem::take(&mut self.inputs).into_iter();
        for (start, (end, part)) in std::mem::take(&mut self.parts) {
            let asked = inputs.by_ref().take(end - start).collect();
            match part {
                Part::Answer(answer) => settled.answers.push((asked, answer)),
                Part::NotFound(not_found) => settled.not_found.push((asked, not_found)),
            }
        }
        settled
    }
}

/// How many are asked for at a time when `open` were answered with a 404 that does not tell which of them are missing: a tenth, so
/// that no more than three further questions lead to single ones. `None` when none are open.
pub(super) fn fewer(open: &[Input]) -> Option<usize> {
    (!open.is_empty()).then(|| open.len().div_ceil(10))
}
