//! A search in pages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::answer::{Answer, Joined};
use super::by_ids::ByIds;
use super::json::{Object, count, utf8};
use super::search::{Search, Way};
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
        let after = self.search.after;
        let total = answer.members.get("total").and_then(number);
        let total = total.map(|total| total.saturating_sub(after));
        let upto = match next(&answer) {
            Next::Nothing => {
                let is_full = answer.records.len() == span.len();
                let is_last = self.search.is_last(span.end);
                if is_full && !is_last && total.is_some_and(|total| total > span.end) {
                    return unfit("a page is the last one and not all that was found is there");
                }
                None
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
    if paging.get("next").is_none() {
        return Next::Nothing;
    }
    let after = paging
        .object("next")
        .and_then(|next| count(next.get("after")?));
    let after = after.and_then(|after| usize::try_from(after).ok());
    after.map_or(Next::Unclear, Next::After)
}

/// A whole number of the answer's.
fn number(value: &Bytes) -> Option<usize> {
    let value = serde_json::from_str(utf8(value)).ok()?;
    usize::try_from(count(value)?).ok()
}
