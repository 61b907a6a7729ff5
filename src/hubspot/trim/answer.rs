//! The answers to pieces, and what they make together.

use std::collections::HashSet;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::errors::Errors;
use crate::hubspot::answer::{Answered, Unread};
use crate::hubspot::json::{Members, array, count, id, slice};
use crate::json::Object;
use crate::trim::Taken;

/// One answer, of which nothing is lost.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) members: Members,
    pub(super) records: Vec<Record>,
    pub(super) errors: Vec<Bytes>,
    /// How many errors the answer says it has.
    pub(super) counted: Option<u64>,
}

/// A record as the server wrote it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Associations have none.
    pub(super) id: Option<String>,
    pub(super) raw: Bytes,
}

impl Answer {
    /// What cannot be read is handed on only when nobody can take it for the records that were asked for.
    pub(super) fn read(answer: &Response<Bytes>) -> Result<Self, Taken> {
        if !answer.status().is_success() {
            return Err(Taken::Foreign);
        }
        let body = answer.body();
        let read = Answered::read(body).map_err(|unread| match unread {
            Unread::Error => Taken::Foreign,
            Unread::Unfit(why) => Taken::Unfit(why.into()),
        })?;
        let records = read.results.iter().map(|raw| Record::new(raw, body));
        let Some(records) = records.collect() else {
            return Err(Taken::Unfit("a result is no object, or has two ids".into()));
        };
        let counted = read.object.value("numErrors").ok().flatten();
        Ok(Self {
            status: answer.status(),
            members: read.object.members(body),
            records,
            errors: read.errors.iter().map(|error| slice(body, error)).collect(),
            counted: counted.and_then(count),
        })
    }
}

impl Record {
    fn new(raw: &RawValue, body: &Bytes) -> Option<Self> {
        let object = Object::parse(raw.get())?;
        Some(Self {
            id: object.value("id").ok()?.and_then(id),
            raw: slice(body, raw),
        })
    }
}

/// Several answers as one.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// Those of the first answer.
    members: Option<Members>,
    pub(super) records: Vec<Record>,
    seen: HashSet<String>,
    pub(super) errors: Errors,
}

impl Joined {
    /// Adds an answer. A record that an earlier answer had is left out: the index changes while it is asked. Two alike in one answer
    /// are both kept, because the server would have sent both.
    pub(super) fn add(&mut self, answer: Answer) {
        let first = self.records.len();
        let is_new = |record: &Record| !record.id.as_ref().is_some_and(|id| self.seen.contains(id));
        self.records
            .extend(answer.records.into_iter().filter(is_new));
        let ids = self.records[first..].iter().map(|record| record.id.clone());
        self.seen.extend(ids.flatten());
        self.errors.extend(&answer.errors, answer.counted);
        self.members.get_or_insert(answer.members);
    }

    /// The members of the first answer, with all errors, for the results to be set.
    pub(super) fn members(&mut self) -> Members {
        let mut members = self.members.take().unwrap_or_default();
        self.errors.write(&mut members);
        members
    }

    /// The records as a list.
    pub(super) fn results(&self) -> Vec<u8> {
        array(self.records.iter().map(|record| &record.raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &'static str) -> Result<Answer, Taken> {
        let mut answer = Response::new(Bytes::from_static(body.as_bytes()));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        Answer::read(&answer)
    }

    #[test]
    fn only_an_error_is_handed_on_as_it_is() {
        for (status, body) in [
            (200, r#"{"status":"error","message":"no"}"#),
            (400, "{}"),
            (503, "<html>"),
            (302, r#"{"results":[]}"#),
        ] {
            assert_eq!(read(status, body).unwrap_err(), Taken::Foreign, "{body}");
        }
    }

    #[test]
    fn half_an_answer_is_none() {
        for body in [
            "",
            "{}",
            "[]",
            "<html>",
            "{\"results\":[",
            "{\"results\":[]}}",
            "{\"results\":{}}",
            "{\"results\":null}",
            "{\"results\":[7]}",
            "{\"results\":[],\"errors\":1}",
            "{\"results\":[{}],\"status\":\"error\"}",
            "{\"results\":[{}],\"results\":[]}",
            "{\"results\":[{}],\"p\\u0061ging\":{\"next\":{\"after\":\"1\"}},\"paging\":null}",
            "{\"results\":[{\"id\":1,\"id\":2}]}",
            "\u{feff}{\"results\":[]}",
        ] {
            let unfit = read(200, body).unwrap_err();
            assert!(matches!(unfit, Taken::Unfit(_)), "{body}: {unfit:?}");
        }
    }

    #[test]
    fn records_of_an_earlier_answer_are_left_out() {
        let mut joined = Joined::default();
        let first = r#"{"more":[ ],"results":[{"id":1},{"id":"2","a":1e400},{"id":"2"},{}]}"#;
        joined.add(read(200, first).unwrap());
        joined.add(read(200, r#"{"results":[{"id":"1","new":1},{"id":"3"},{}]}"#).unwrap());
        let results = r#"[{"id":1},{"id":"2","a":1e400},{"id":"2"},{},{"id":"3"},{}]"#;
        assert_eq!(joined.results(), results.as_bytes());
        let mut members = joined.members();
        members.set("results", "0");
        assert_eq!(members.write(), br#"{"more":[ ],"results":0}"#);
    }
}
