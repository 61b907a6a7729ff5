//! Ids first, properties after: the records of a search that asked for ids alone get their properties by batch reads.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::answer::Record;
use super::errors::{is_not_found, named};
use super::inputs::{Input, Inputs, fewer, shape};
use super::pages::Pages;
use super::search::{Search, Way};
use crate::hubspot::calls::MOST_INPUTS;
use crate::hubspot::json::{Members, array, slice, utf8};
use crate::json::Object;
use crate::trim::{Finished, Piece, Question, Shape, Taken, Whole};

/// The question whose units are the ids that a search has found.
pub(super) struct ByIds {
    wanted: Wanted,
    inputs: Inputs,
}

/// The answer in the making.
struct Wanted {
    search: Arc<Search>,
    /// All of it but the results.
    members: Members,
    /// As the search showed them, in its order.
    found: Vec<Record>,
    /// As the batch reads showed them, by id.
    read: HashMap<String, Bytes>,
    /// Those that are not there any more.
    gone: HashSet<String>,
    /// What no answer mentioned has been asked for a second time, one by one.
    singly: bool,
}

impl ByIds {
    /// Goes on after the search for ids; `members` is its answer without the results. All that was found has ids.
    pub(super) fn begin(search: Arc<Search>, members: Members, found: Vec<Record>) -> Finished {
        let wanted = Wanted {
            search,
            members,
            found,
            read: HashMap::new(),
            gone: HashSet::new(),
            singly: false,
        };
        wanted.go_on(MOST_INPUTS)
    }
}

impl Question for ByIds {
    fn shape(&self) -> Shape {
        // Apart from the caller's own batch reads, for which there is no other way to ask.
        let shape = self.inputs.shape();
        let detail = format!("{}, of a search", shape.detail);
        Shape::new(shape.route, detail)
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

    fn finish(self: Box<Self>) -> Finished {
        let Self {
            mut wanted,
            mut inputs,
        } = *self;
        let settled = inputs.settle();
        for (asked, answer) in settled.answers {
            let missing = answer.errors.iter().filter(|error| is_not_found(error));
            wanted.gone.extend(missing.flat_map(named));
            let is_asked = |id: &String| asked.iter().any(|input| input.id() == id);
            let is_other = |record: &Record| record.id.as_ref().is_some_and(|id| !is_asked(id));
            if wanted.singly && !answer.records.is_empty() && answer.records.iter().all(is_other) {
                // It was merged into that other record, under whose id it is read now. A search shows it no more, either.
                wanted
                    .gone
                    .extend(asked.iter().map(|input| input.id().to_owned()));
                continue;
            }
            for record in answer.records {
                if let Some(id) = record.id {
                    wanted.read.entry(id).or_insert(record.raw);
                }
            }
        }
        let mut most = None;
        for (asked, not_found) in settled.not_found {
            let named = not_found.ids();
            // It may be that nothing at all can be read there.
            if named.is_empty() && !not_found.is_of_records() && wanted.read.is_empty() {
                return Finished::Unfit(
                    "records that were found cannot be read by their ids".into(),
                );
            }
            let (gone, open) = not_found.split(asked);
            wanted
                .gone
                .extend(gone.iter().map(|input| input.id().to_owned()));
            most = most.max(fewer(&open));
        }
        match most {
            Some(most) => wanted.go_on(most),
            None => wanted.go_on_singly(),
        }
    }

    fn instead(&self) -> Option<Box<dyn Question>> {
        let search = &self.wanted.search;
        let way = search.instead(Way::Ids)?;
        Some(Box::new(Pages::new(search.clone(), way)))
    }

    fn hints(&self) -> Vec<String> {
        self.wanted.search.hints()
    }
}

impl Wanted {
    /// The ids that are neither read nor gone, each once.
    fn open(&self) -> Vec<Input> {
        let mut seen = HashSet::new();
        let ids = self.found.iter().filter_map(|record| record.id.as_deref());
        let open = ids.filter(|id| !self.read.contains_key(*id) && !self.gone.contains(*id));
        open.filter(|id| seen.insert(*id)).map(Input::new).collect()
    }

    /// Asks for what is open, so many ids at a time.
    fn go_on(self, most: usize) -> Finished {
        let open = self.open();
        if open.is_empty() {
            return self.answer();
        }
        let Some(target) = self.search.read.clone() else {
            return Finished::Unfit("there is no place to read records by their ids".into());
        };
        let search = &self.search;
        let shape = shape(target.path(), search.properties.len(), false);
        let inputs = Inputs::new(search.reading(), open, most, shape).at(target);
        Finished::Ask(Box::new(ByIds {
            wanted: self,
            inputs,
        }))
    }

    /// A record that no answer mentions may have been merged into another one: "read it singly".
    fn go_on_singly(mut self) -> Finished {
        if std::mem::replace(&mut self.singly, true) && !self.open().is_empty() {
            return Finished::Unfit(
                "a record that was found can neither be read nor is it gone".into(),
            );
        }
        self.go_on(1)
    }

    /// The answer to the search. What is gone is left out, as a search leaves it out a moment later.
    fn answer(mut self) -> Finished {
        let names = self
            .search
            .properties
            .iter()
            .map(|name| name.to_lowercase());
        let names: HashSet<_> = names.collect();
        let mut results = Vec::new();
        for record in &self.found {
            let read = record.id.as_ref().and_then(|id| self.read.get(id));
            if let Some(read) = read {
                match with_properties(&record.raw, read, &names) {
                    Some(whole) => results.push(whole),
                    None => {
                        return Finished::Unfit(
                            "the properties of a record are not there or unclear".into(),
                        );
                    }
                }
            }
        }
        self.members.set("results", array(&results));
        Finished::Answer(Whole {
            status: StatusCode::OK,
            body: self.members.write().into(),
            dropped: Vec::new(),
        })
    }
}

/// The record as the search found it, with the properties of these names (in lower case) as they were read. A search shows some
/// properties of its own beside those that are asked for; they stay.
fn with_properties(found: &Bytes, read: &Bytes, names: &HashSet<String>) -> Option<Vec<u8>> {
    let record = Object::parse(utf8(found))?;
    let read_properties = Object::parse(utf8(read))?.object("properties")?;
    let asked = |name: &str| names.contains(&name.to_lowercase());
    let mut properties = Members::default();
    if let Some(own) = record.value("properties").ok()? {
        let own = Object::parse(own.get())?;
        let keep = |name: &str| !asked(name) || !read_properties.has(name);
        for (name, value) in own.iter().filter(|(name, _)| keep(name)) {
            properties.push(name, slice(found, value));
        }
    }
    for (name, value) in read_properties.iter().filter(|(name, _)| asked(name)) {
        properties.push(name, slice(read, value));
    }
    let mut members = record.members(found);
    members.set("properties", properties.write());
    Some(members.write())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::hubspot::SearchPages;
    use crate::request::RequestHead;
    use crate::trim::TrimPolicy;

    fn answer(body: &'static str) -> Response<Bytes> {
        Response::new(Bytes::from_static(body.as_bytes()))
    }

    /// What is asked after a search for the property `a` that found the ids 1 and 2.
    fn question() -> Box<dyn Question> {
        let search = Request::post("/crm/v3/objects/contacts/search").body(());
        let head = RequestHead::from(search.as_ref().unwrap());
        let body = Bytes::from_static(br#"{"properties":["a"]}"#);
        let pages = SearchPages::default().question(&head, &body).unwrap();
        let mut ids = pages.instead().unwrap();
        let found =
            r#"{"total":2,"results":[{"id":"1","properties":{"own":1,"a":"old"}},{"id":"2"}]}"#;
        assert_eq!(ids.take(0..10, &answer(found)), Taken::End);
        asked(ids.finish())
    }

    #[track_caller]
    fn asked(finished: Finished) -> Box<dyn Question> {
        match finished {
            Finished::Ask(question) => question,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn body(finished: Finished) -> String {
        match finished {
            Finished::Answer(whole) => String::from_utf8(whole.body.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn properties_are_put_to_the_record_of_their_id() {
        let mut question = question();
        let read = r#"{"results":[{"id":2,"properties":{"A":"x","b":0}},{"id":1,"properties":{"a":1e400,"own":2}}]}"#;
        question.take(0..2, &answer(read));
        let expected = r#"{"total":2,"results":[{"id":"1","properties":{"own":1,"a":1e400}},{"id":"2","properties":{"A":"x"}}]}"#;
        assert_eq!(body(question.finish()), expected);
    }

    #[test]
    fn what_is_not_read_stays_as_it_was_found() {
        let mut question = question();
        let read = r#"{"results":[{"id":1,"properties":{}},{"id":2,"properties":{"a":null}}]}"#;
        question.take(0..2, &answer(read));
        let expected = r#"{"total":2,"results":[{"id":"1","properties":{"own":1,"a":"old"}},{"id":"2","properties":{"a":null}}]}"#;
        assert_eq!(body(question.finish()), expected);
    }

    #[test]
    fn what_another_record_is_shown_for_is_asked_for_alone_before_it_is_gone() {
        let mut both = question();
        both.take(0..2, &answer(r#"{"results":[{"id":9,"properties":{}}]}"#));
        let mut singly = asked(both.finish());
        assert_eq!((singly.size(), singly.most()), (2, 1));
        singly.take(
            0..1,
            &answer(r#"{"results":[{"id":1,"properties":{"a":0}}]}"#),
        );
        singly.take(1..2, &answer(r#"{"results":[{"id":9,"properties":{}}]}"#));
        let expected = r#"{"total":2,"results":[{"id":"1","properties":{"own":1,"a":0}}]}"#;
        assert_eq!(body(singly.finish()), expected);
    }

    #[test]
    fn an_error_that_is_not_about_a_missing_record_makes_none_missing() {
        let mut both = question();
        let read = r#"{"results":[],"errors":[{"category":"INTERNAL_ERROR","context":{"ids":["1","2"]}}]}"#;
        both.take(0..2, &answer(read));
        let mut singly = asked(both.finish());
        singly.take(0..1, &answer(read));
        singly.take(1..2, &answer(read));
        assert!(matches!(singly.finish(), Finished::Unfit(_)));
    }

    #[test]
    fn a_record_without_properties_is_not_read_nor_one_that_has_them_twice() {
        for properties in ["", r#","properties":{},"properties":{"a":1}"#] {
            let mut question = question();
            let read = r#"{"results":[{"id":1,"properties":{}},{"id":2"#;
            let read = format!("{read}{properties}}}]}}");
            question.take(0..2, &Response::new(read.into()));
            assert!(matches!(question.finish(), Finished::Unfit(_)));
        }
    }

    #[test]
    fn what_a_search_showed_is_not_guessed() {
        let read = Bytes::from_static(br#"{"id":1,"properties":{"a":1}}"#);
        let with = |found: &str| {
            let found = Bytes::copy_from_slice(found.as_bytes());
            with_properties(&found, &read, &HashSet::from(["a".to_owned()]))
        };
        for found in [
            r#"{"id":1,"properties":{"own":1},"properties":{}}"#,
            r#"{"id":1,"properties":[]}"#,
            &format!(
                r#"{{"properties":{{{}"b":0}}}}"#,
                r#""b":0,"#.repeat(100_000)
            ),
        ] {
            assert_eq!(with(found), None);
        }
        let none = with(r#"{"id":1,"properties":null}"#).unwrap();
        assert_eq!(none, br#"{"id":1,"properties":{"a":1}}"#);
    }
}
