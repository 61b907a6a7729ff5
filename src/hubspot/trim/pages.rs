//! A search in pages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::answer::{Answer, Joined};
use super::by_ids::ByIds;
use super::search::{Search, Way};
use crate::hubspot::json::{count, utf8};
use crate::json::Object;
use crate::trim::{Finished, Piece, Question, Shape, Taken, Whole};

/// The question whose units are the records of the caller's page.
pub(super) struct Pages {
    search: Arc<Search>,
    way: Way,
    parts: BTreeMap<usize, Part>,
    /// How many records there are from where the caller begins, as the latest answer has it.
    total: Option<usize>,
}

/// The answer to one piece.
struct Part {
    upto: usize,
    /// Nothing comes after it.
    ends: bool,
    answer: Answer,
}

impl Pages {
    pub(super) fn new(search: Arc<Search>, way: Way) -> Self {
        Self {
            search,
            way,
            parts: BTreeMap::new(),
            total: None,
        }
    }

    /// The parts as one, and how the last of them ends; `None` when one is missing.
    ///
    /// Behind the end there may be parts that were asked for at the same time, before the index changed. They count as far as none
    /// is missing between, so that nothing is left out of what a next page would not show.
    fn join(&mut self) -> Option<(Joined, Last)> {
        let (mut joined, mut last) = (Joined::default(), Last::default());
        let (mut upto, mut ended) = (0, false);
        while let Some(part) = self.parts.remove(&upto) {
            upto = part.upto;
            ended |= part.ends;
            last = Last {
                total: part.answer.members.get("total").cloned(),
                paging: part.answer.members.get("paging").cloned(),
            };
            joined.add(part.answer);
        }
        (ended || upto == self.search.limit).then_some((joined, last))
    }
}

/// What the last part says of the whole.
#[derive(Default)]
struct Last {
    total: Option<Bytes>,
    paging: Option<Bytes>,
}

impl Question for Pages {
    fn shape(&self) -> Shape {
        self.search.shape(self.way)
    }

    fn size(&self) -> usize {
        self.search.limit
    }

    fn floor(&self) -> usize {
        self.search.floor(self.way)
    }

    fn expected(&self) -> usize {
        // Where an answer says that there is more, there is, whatever its total says.
        let more = self.parts.last_key_value();
        let more = more.map_or(1, |(_, part)| part.upto + usize::from(!part.ends));
        let total = self.total.unwrap_or(self.search.limit);
        total.max(more).min(self.search.limit)
    }

    fn piece(&self, span: Range<usize>) -> Option<Piece> {
        Some(Piece::new().body(self.search.page(self.way, span)))
    }

    fn take(&mut self, span: Range<usize>, answer: &Response<Bytes>) -> Taken {
        let answer = match Answer::read(answer) {
            Ok(answer) => answer,
            Err(taken) => return taken,
        };
        let unfit = |why: &'static str| Taken::Unfit(why.into());
        if answer.records.len() > span.len() {
            return unfit("a page has more records than it was asked for");
        }
        if answer.records.iter().any(|record| record.id.is_none()) {
            return unfit("a record that was found has no id");
        }
        let after = self.search.after;
        let total = answer.members.get("total").and_then(number);
        let total = total.map(|total| total.saturating_sub(after));
        let upto = match next(&answer) {
            Next::Nothing => {
                let is_full = answer.records.len() == span.len();
                let is_last = self.search.is_last(span.end);
                let has_more = !is_last && total.is_some_and(|total| total > span.end);
                if is_full && has_more {
                    return unfit("a page is the last one and not all that was found is there");
                }
                // A page that has lost records is short, and no end. Where there is nothing any more, the next one is empty.
                (has_more && !answer.records.is_empty()).then_some(span.end)
            }
            Next::After(next) => {
                let upto = next.checked_sub(after);
                let Some(upto) = upto.filter(|upto| (span.start + 1..=span.end).contains(upto))
                else {
                    return unfit("a page does not end where the next one begins");
                };
                Some(upto)
            }
            Next::Unclear => return unfit("where the page after a page begins is unclear"),
        };
        self.total = total;
        let part = Part {
            upto: upto.unwrap_or(span.end),
            ends: upto.is_none(),
            answer,
        };
        self.parts.insert(span.start, part);
        upto.map_or(Taken::End, Taken::UpTo)
    }

    fn finish(mut self: Box<Self>) -> Finished {
        let Some((mut joined, last)) = self.join() else {
            return Finished::Unfit("a page is missing".into());
        };
        let mut members = joined.members();
        for (name, value) in [("total", last.total), ("paging", last.paging)] {
            match value {
                Some(value) => members.set(name, value),
                None => members.remove(name),
            }
        }
        if self.way == Way::Ids {
            return ByIds::begin(self.search, members, joined.records);
        }
        members.set("results", joined.results());
        Finished::Answer(Whole {
            status: StatusCode::OK,
            body: members.write().into(),
            dropped: self.search.dropped(self.way),
        })
    }

    fn instead(&self) -> Option<Box<dyn Question>> {
        let way = self.search.instead(self.way)?;
        Some(Box::new(Pages::new(self.search.clone(), way)))
    }

    fn is_lossy(&self) -> bool {
        self.way == Way::Kept
    }

    fn hints(&self) -> Vec<String> {
        self.search.hints()
    }
}

/// Where the next page begins, counted from the beginning of the search.
enum Next {
    Nothing,
    After(usize),
    Unclear,
}

fn next(answer: &Answer) -> Next {
    let Some(paging) = answer
        .members
        .get("paging")
        .filter(|paging| **paging != "null")
    else {
        return Next::Nothing;
    };
    let Some(paging) = Object::parse(utf8(paging)) else {
        return Next::Unclear;
    };
    let next = match paging.value("next") {
        Ok(Some(next)) => Object::parse(next.get()),
        Ok(None) => return Next::Nothing,
        Err(_) => return Next::Unclear,
    };
    let after = next.and_then(|next| count(next.get("after").ok()??));
    let after = after.and_then(|after| usize::try_from(after).ok());
    after.map_or(Next::Unclear, Next::After)
}

/// A whole number of the answer's.
fn number(value: &Bytes) -> Option<usize> {
    let value = serde_json::from_str(utf8(value)).ok()?;
    usize::try_from(count(value)?).ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::hubspot::SearchPages;
    use crate::request::RequestHead;
    use crate::trim::TrimPolicy;

    /// A search for 20 records from the 100th on.
    fn question() -> Box<dyn Question> {
        from(100)
    }

    fn from(after: usize) -> Box<dyn Question> {
        let search = Request::post("/crm/v3/objects/contacts/search").body(());
        let head = RequestHead::from(search.as_ref().unwrap());
        let body = format!(r#"{{"limit":20,"after":{after}}}"#);
        SearchPages::default()
            .question(&head, &body.into())
            .unwrap()
    }

    fn page(records: usize, total: usize, next: Option<&str>) -> Response<Bytes> {
        let results: Vec<_> = (0..records).map(|id| format!(r#"{{"id":{id}}}"#)).collect();
        let next = next.map(|next| format!(r#","paging":{{"next":{{"after":{next}}}}}"#));
        let (results, next) = (results.join(","), next.unwrap_or_default());
        let body = format!(r#"{{"total":{total},"results":[{results}]{next}}}"#);
        Response::new(body.into())
    }

    #[test]
    fn the_next_page_says_how_far_a_page_goes() {
        for (next, expected) in [
            (Some("\"110\""), Some(Taken::UpTo(10))),
            (Some("110"), Some(Taken::UpTo(10))),
            (Some("\"106\""), Some(Taken::UpTo(6))),
            (Some("\"105\""), None),
            (Some("\"111\""), None),
            (Some("\"10\""), None),
            (Some("\"x\""), None),
            (Some("null"), None),
            (Some("18446744073709551615"), None),
            (None, Some(Taken::End)),
        ] {
            let taken = question().take(5..10, &page(5, 110, next));
            match expected {
                Some(expected) => assert_eq!(taken, expected, "{next:?}"),
                None => assert!(matches!(taken, Taken::Unfit(_)), "{next:?}: {taken:?}"),
            }
        }
    }

    #[test]
    fn what_comes_next_is_unclear_where_it_is_said_twice() {
        for paging in [
            r#"{"next":{"after":"110"},"next":null}"#,
            r#"{"next":{"after":"110","after":"105"}}"#,
        ] {
            let body = format!(r#"{{"total":200,"results":[{{"id":1}}],"paging":{paging}}}"#);
            let taken = question().take(5..10, &Response::new(body.into()));
            assert!(matches!(taken, Taken::Unfit(_)), "{paging}: {taken:?}");
        }
    }

    #[test]
    fn a_page_that_cannot_be_is_none() {
        let is_unfit = |answer| matches!(question().take(0..5, &answer), Taken::Unfit(_));
        assert!(
            is_unfit(page(6, 200, Some("105"))),
            "more than it was asked for"
        );
        assert!(
            is_unfit(page(5, 106, None)),
            "the last, and one is not there"
        );
        assert!(!is_unfit(page(5, 105, None)));
    }

    #[test]
    fn a_short_page_is_the_last_one_only_where_nothing_is_left() {
        let take = |answer| question().take(0..5, &answer);
        assert_eq!(take(page(4, 106, None)), Taken::UpTo(5), "one is left");
        assert_eq!(take(page(0, 106, None)), Taken::End, "nothing is there");
        assert_eq!(take(page(4, 105, None)), Taken::End);
        let mut question = question();
        question.take(0..5, &page(4, 106, None));
        assert_eq!(question.expected(), 6);
        assert_eq!(question.take(5..10, &page(0, 106, None)), Taken::End);
        assert_eq!(question.expected(), 10);
    }

    #[test]
    fn the_last_page_that_is_shown_ends_although_more_was_found() {
        let mut last = from(9_980);
        let next = last.take(0..10, &page(10, 25_000, Some("9990")));
        assert_eq!(next, Taken::UpTo(10));
        assert_eq!(last.take(10..20, &page(10, 25_000, None)), Taken::End);
        assert!(matches!(last.finish(), Finished::Answer(_)));
    }

    #[test]
    fn as_many_are_expected_as_there_are() {
        let mut question = question();
        assert_eq!(question.expected(), 20);
        question.take(0..5, &page(5, 112, Some("105")));
        assert_eq!(question.expected(), 12);
        // The total is wrong, for there is a next page.
        question.take(5..10, &page(5, 0, Some("110")));
        assert_eq!(question.expected(), 11);
        question.take(10..15, &page(0, 0, None));
        assert_eq!(question.expected(), 15);
    }

    #[test]
    fn a_page_is_not_whole_while_one_is_missing() {
        let mut one_missing = question();
        one_missing.take(0..5, &page(5, 200, Some("105")));
        one_missing.take(10..20, &page(10, 200, Some("120")));
        assert!(matches!(one_missing.finish(), Finished::Unfit(_)));
    }

    #[test]
    fn what_was_found_behind_the_end_stays_where_nothing_is_missing_between() {
        let ids = |question: Box<dyn Question>| match question.finish() {
            Finished::Answer(whole) => String::from_utf8(whole.body.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        };
        let record = |id: &str| Response::new(format!(r#"{{"results":[{{"id":{id}}}]}}"#).into());
        let mut connected = question();
        connected.take(5..10, &record("2"));
        connected.take(0..5, &record("1"));
        assert_eq!(ids(connected), r#"{"results":[{"id":1},{"id":2}]}"#);
        // Of these the first one of the next page is known.
        let mut longer = question();
        longer.take(0..5, &record("1"));
        longer.take(5..10, &page(5, 120, Some("110")));
        let longer = ids(longer);
        assert!(longer.contains(r#""after":110"#), "{longer}");
        let mut apart = question();
        apart.take(10..15, &record("3"));
        apart.take(0..5, &record("1"));
        assert_eq!(ids(apart), r#"{"results":[{"id":1}]}"#);
    }
}
