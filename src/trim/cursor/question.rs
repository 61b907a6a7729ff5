use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::uri::PathAndQuery;
use serde_json::value::RawValue;

use super::api::{Api, Next};
use super::document::{Unfit, is_nothing};
use super::query::{self, Said};
use super::stitch::{Page, Stitched};
use crate::json::{Object, list};
use crate::percent::parameters;
use crate::request::RequestHead;
use crate::trim::policy::{Finished, Piece, Question, Shape, Taken};

/// The names in a shape are so many at most: it is a field of events.
const MOST_NAMES: usize = 16;

/// A page that was asked for, and the smaller pages that came so far.
pub(super) struct PageQuestion {
    api: Arc<Api>,
    shape: Shape,
    path: String,
    query: String,
    size: usize,
    /// As the caller wrote it.
    own_size: Option<String>,
    /// Where the next piece begins, as it is written in a query: first the caller's own cursor, then each piece's.
    cursor: Option<String>,
    answered: usize,
    stitched: Stitched,
}

impl PageQuestion {
    pub(super) fn new(api: &Arc<Api>, head: &RequestHead<'_>) -> Option<Self> {
        let path = head.uri.path();
        let route = api.routes.iter().find(|route| route.matches(path))?;
        let query = head.uri.query().unwrap_or("");
        // A part of a page is another part for each size.
        if head.headers.contains_key(http::header::RANGE) {
            return None;
        }
        let paged_otherwise = |name: &String| !matches!(query::value(query, name), Said::Nothing);
        if api.not_with.iter().any(paged_otherwise) {
            return None;
        }
        let own_size = match query::value(query, &api.size_parameter) {
            Said::Nothing => None,
            Said::Once(size) => Some(size.to_owned()),
            Said::Twice => return None,
        };
        let size = match &own_size {
            Some(size) if size.bytes().all(|byte| byte.is_ascii_digit()) => {
                usize::try_from(size.parse::<u32>().ok()?).ok()?
            }
            Some(_) => return None,
            None => api.default_size?,
        };
        // Above the most the server refuses, or gives fewer than were asked for; one record cannot be halved.
        if size < 2 || api.most.is_some_and(|most| size > most) {
            return None;
        }
        let cursor = match query::value(query, &api.cursor_parameter) {
            Said::Nothing => None,
            Said::Once(cursor) => Some(cursor.to_owned()),
            Said::Twice => return None,
        };
        let question = Self {
            shape: Shape::new(route.to_string(), detail(api, query)),
            api: api.clone(),
            path: path.to_owned(),
            query: query.to_owned(),
            size,
            own_size,
            cursor,
            answered: 0,
            stitched: Stitched::default(),
        };
        question.target(size, None).is_some().then_some(question)
    }

    /// `None` when it cannot be sent, because of its length or of a character in the cursor.
    fn target(&self, size: usize, cursor: Option<&str>) -> Option<PathAndQuery> {
        let mut query = query::with(&self.query, &self.api.size_parameter, &size.to_string());
        if let Some(cursor) = cursor {
            query = query::with(&query, &self.api.cursor_parameter, cursor);
        }
        PathAndQuery::try_from(format!("{}?{query}", self.path)).ok()
    }

    fn read(&mut self, span: &Range<usize>, answer: &Response<Bytes>) -> Result<Taken, Unfit> {
        if span.start != self.answered || span.end > self.size {
            return Err("a page that was not asked for".into());
        }
        // Some answer so where there is nothing at all.
        if self.answered == 0 && answer.body().is_empty() {
            return Ok(Taken::Foreign);
        }
        let text = std::str::from_utf8(answer.body()).ok();
        let document = text.and_then(Object::parse).ok_or("it is no JSON object")?;
        let says = |value: Option<&RawValue>| value.is_some_and(|value| !is_nothing(value));
        let has_errors = says(document.get("errors")?) || says(document.get("error")?);
        let records = match document.find(&self.api.records)? {
            Some(value) if value.get() == "null" => Some(Vec::new()),
            Some(value) => list(value),
            None => None,
        };
        let records = match (records, has_errors) {
            (None, true) => return Ok(Taken::Foreign),
            (None, false) => return Err("there is no list of records in it".into()),
            (Some(_), true) => return Err("there are errors beside the records".into()),
            (Some(records), false) => records,
        };
        if records.len() > span.len() {
            return Err("it has more records than were asked for".into());
        }
        let next = self.api.next(&document, &records)?;
        let page = Page { document, records };
        let fresh = self
            .stitched
            .add(&self.api, &page, answer.status(), answer.body())?;
        self.answered += fresh;
        match next {
            // A page that brings nothing could be followed by many such. The whole ends here, and its cursor goes on.
            Next::Cursor(_) | Next::Unknown if fresh == 0 => Ok(Taken::End),
            Next::None => Ok(Taken::End),
            Next::Unknown => Err("it does not say where the next page begins".into()),
            Next::Cursor(next) if self.cursor.as_ref() == Some(&next) => {
                Err("its next page is itself".into())
            }
            Next::Cursor(next) if self.target(self.size, Some(&next)).is_none() => {
                Err("its cursor cannot be sent".into())
            }
            Next::Cursor(next) => {
                self.cursor = Some(next);
                Ok(Taken::UpTo(self.answered))
            }
        }
    }
}

impl Question for PageQuestion {
    fn shape(&self) -> Shape {
        self.shape.clone()
    }

    fn size(&self) -> usize {
        self.size
    }

    fn piece(&self, span: Range<usize>) -> Option<Piece> {
        if span.start != self.answered {
            return None;
        }
        let target = self.target(span.len(), self.cursor.as_deref())?;
        Some(Piece::new().target(target))
    }

    fn take(&mut self, span: Range<usize>, answer: &Response<Bytes>) -> Taken {
        if !answer.status().is_success() {
            return Taken::Foreign;
        }
        match self.read(&span, answer) {
            Ok(taken) => taken,
            Err(why) => Taken::Unfit(why),
        }
    }

    fn finish(self: Box<Self>) -> Finished {
        let own_size = self.own_size.as_deref();
        match self.stitched.finish(&self.api, self.size, own_size) {
            Ok(whole) => Finished::Answer(whole),
            Err(why) => Finished::Unfit(why),
        }
    }
}

/// The names of the other parameters, and roughly how many things each lists: what is included and which fields are asked for
/// decide how heavy a page is.
fn detail(api: &Api, query: &str) -> String {
    let others = parameters(query).filter(|(name, _)| {
        let ours = [&api.size_parameter, &api.cursor_parameter];
        !name.is_empty() && !ours.into_iter().any(|ours| query::is_named(name, ours))
    });
    let mut names: Vec<Cow<'_, str>> = others
        .map(|(name, value)| match value.matches(',').count() + 1 {
            1 => name.into(),
            many => format!("{name} x{}", many.next_power_of_two()).into(),
        })
        .collect();
    names.sort_unstable();
    names.truncate(MOST_NAMES);
    names.join(", ")
}
