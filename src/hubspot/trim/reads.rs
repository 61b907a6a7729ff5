//! A batch read of the caller's, its inputs asked for some at a time.

use std::ops::Range;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::answer::{Answer, Joined};
use super::errors::NotFound;
use super::hints::many_properties;
use super::inputs::{Input, Inputs, fewer, shape};
use crate::hubspot::calls::{MOST_INPUTS, MOST_WITH_HISTORY};
use crate::hubspot::json::utf8;
use crate::hubspot::routes::Many;
use crate::json::{Object, list};
use crate::request::RequestHead;
use crate::trim::{Finished, Piece, Question, Shape, Taken, Whole};

const MOST_ASSOCIATIONS: usize = 1_000;

/// The question whose units are the inputs that differ in their ids.
pub(super) struct Reads {
    inputs: Inputs,
    properties: usize,
    so_far: SoFar,
}

/// The answer in the making.
#[derive(Default)]
struct SoFar {
    joined: Joined,
    status: Option<StatusCode>,
    /// The first that is not `COMPLETE`.
    state: Option<Bytes>,
    times: [Option<Bytes>; 3],
}

/// When a batch was asked for, begun and completed. Of several the earliest, the earliest, and the latest counts.
const TIMES: [&str; 3] = ["requestedAt", "startedAt", "completedAt"];
const COMPLETED: usize = 2;

impl Reads {
    /// `None` for what the server would refuse, which it shall say itself.
    pub(super) fn understand(head: &RequestHead<'_>, body: &Bytes, many: Many) -> Option<Self> {
        let object = Object::parse(std::str::from_utf8(body).ok()?)?;
        let length = |name: &str| match object.value(name).ok()? {
            None => Some(0),
            Some(names) => Some(list(names)?.len()),
        };
        let (properties, history) = (length("properties")?, length("propertiesWithHistory")?);
        let list = object.list("inputs")?;
        let most = match many {
            Many::Associations => MOST_ASSOCIATIONS,
            _ if history > 0 => MOST_WITH_HISTORY,
            _ => MOST_INPUTS,
        };
        if list.is_empty() || list.len() > most {
            return None;
        }
        let inputs = Input::all(&list, body)?;
        let mut members = object.members(body);
        members.remove("inputs");
        let properties = properties + history;
        let shape = shape(head.uri.path(), properties, history > 0);
        let most = inputs.len();
        Some(Self {
            inputs: Inputs::new(members, inputs, most, shape),
            properties,
            so_far: SoFar::default(),
        })
    }
}

impl Question for Reads {
    fn shape(&self) -> Shape {
        self.inputs.shape()
    }

    fn size(&self) -> usize {
        self.inputs.len()
    }

    fn most(&self) -> usize {
        self.inputs.most()
    }

    fn piece(&self, span: Range<usize>) -> Option<Piece> {
        Some(self.inputs.piece(span))
    }

    fn take(&mut self, span: Range<usize>, answer: &Response<Bytes>) -> Taken {
        self.inputs.take(span, answer)
    }

    fn finish(mut self: Box<Self>) -> Finished {
        let settled = self.inputs.settle();
        for (_, answer) in settled.answers {
            self.so_far.add(answer);
        }
        if self.so_far.status.is_none() {
            // Nothing was found at all, and the server's word for that is 404.
            let all = settled.not_found.into_iter();
            let all: Vec<_> = all.map(|(_, not_found)| not_found).collect();
            return Finished::Answer(Whole {
                status: StatusCode::NOT_FOUND,
                body: NotFound::join(&all),
                dropped: Vec::new(),
            });
        }
        let (mut open, mut most) = (Vec::new(), None);
        for (asked, not_found) in settled.not_found {
            let (gone, rest) = not_found.split(asked);
            self.so_far.add_missing(&gone, &not_found);
            most = most.max(fewer(&rest));
            open.extend(rest);
        }
        match most {
            Some(most) => {
                self.inputs.ask(open, most);
                Finished::Ask(self)
            }
            None => Finished::Answer(self.so_far.whole()),
        }
    }

    fn hints(&self) -> Vec<String> {
        many_properties(self.properties).into_iter().collect()
    }
}

impl SoFar {
    fn add(&mut self, answer: Answer) {
        if self.status != Some(StatusCode::MULTI_STATUS) {
            self.status = Some(answer.status);
        }
        let state = answer.members.get("status");
        if let Some(state) = state.filter(|state| **state != "\"COMPLETE\"") {
            self.state.get_or_insert(state.clone());
        }
        for (nth, (name, time)) in TIMES.iter().zip(&mut self.times).enumerate() {
            let Some(other) = answer.members.get(name) else {
                continue;
            };
            let is_later = time.as_ref().is_some_and(|time| is_before(time, other));
            if time.is_none() || is_later == (nth == COMPLETED) {
                *time = Some(other.clone());
            }
        }
        self.joined.add(answer);
    }

    /// A batch of which nothing is there, among others of which something is, is what an error of theirs says.
    fn add_missing(&mut self, gone: &[Input], not_found: &NotFound) {
        let ids: Vec<_> = gone.iter().flat_map(Input::sent).collect();
        if !ids.is_empty() {
            self.status = Some(StatusCode::MULTI_STATUS);
            let error = not_found.as_error(&ids);
            self.joined.errors.extend(&[error], Some(1));
        }
    }

    fn whole(mut self) -> Whole {
        let mut members = self.joined.members();
        members.set("results", self.joined.results());
        if let Some(state) = self.state {
            members.set("status", state);
        }
        for (name, time) in TIMES.into_iter().zip(self.times) {
            if let Some(time) = time {
                members.set(name, time);
            }
        }
        Whole {
            status: self.status.unwrap_or_default(),
            body: members.write().into(),
            dropped: Vec::new(),
        }
    }
}

/// Whether one time, as HubSpot writes it, is before another; the fraction of a second may be missing.
fn is_before(one: &Bytes, other: &Bytes) -> bool {
    let digits = |time: &Bytes| {
        let text = utf8(time).trim_matches('"');
        text.strip_suffix('Z').unwrap_or(text).to_owned()
    };
    digits(one) < digits(other)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn several_batches_begin_and_end_as_one() {
        let read = Request::post("/crm/v3/objects/contacts/batch/read").body(());
        let head = RequestHead::from(read.as_ref().unwrap());
        let body = Bytes::from_static(br#"{"inputs":[{"id":1},{"id":"A"},{"id":"a"},{"id":2}]}"#);
        let mut reads = Box::new(Reads::understand(&head, &body, Many::Objects).unwrap());
        assert_eq!(reads.size(), 3);
        for (nth, (status, begun, done)) in [
            ("COMPLETE", "10:00:01.5Z", "10:00:02Z"),
            ("CANCELED", "10:00:01Z", "10:00:02.1Z"),
            ("COMPLETE", "10:00:01.7Z", "10:00:01.9Z"),
        ]
        .into_iter()
        .enumerate()
        {
            let answer = format!(
                r#"{{"status":"{status}","results":[{{"id":{nth}}}],"startedAt":"{begun}","completedAt":"{done}"}}"#
            );
            reads.take(nth..nth + 1, &Response::new(answer.into()));
        }
        let Finished::Answer(whole) = reads.finish() else {
            panic!("there is nothing more to ask");
        };
        let expected = r#"{"status":"CANCELED","results":[{"id":0},{"id":1},{"id":2}],"startedAt":"10:00:01Z","completedAt":"10:00:02.1Z"}"#;
        assert_eq!(
            (whole.status, &whole.body[..]),
            (StatusCode::OK, expected.as_bytes())
        );
    }
}
