//! The answer to a search or a batch call, as far as it says what is there and what is wrong.

use serde_json::value::RawValue;

use crate::json::Object;

/// What decides whether an answer is whole, and what comes after it: none of it may be there twice.
const DECISIVE: [&str; 6] = [
    "status",
    "results",
    "errors",
    "numErrors",
    "total",
    "paging",
];

/// An answer that has results.
#[derive(Debug)]
pub(super) struct Answered<'a> {
    pub(super) object: Object<'a>,
    pub(super) results: Vec<&'a RawValue>,
    pub(super) errors: Vec<&'a RawValue>,
}

/// Why an answer has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is an error, and nobody can take it for results.
    Error,
    /// It makes no sense.
    Unfit(&'static str),
}

impl<'a> Answered<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Unread> {
        let unfit = |why| Err(Unread::Unfit(why));
        let text = std::str::from_utf8(body);
        let Some(object) = text.ok().and_then(Object::parse) else {
            return unfit("an answer is no JSON object");
        };
        if DECISIVE.iter().any(|name| object.get(name).is_err()) {
            return unfit("an answer has a member twice");
        }
        let has = |name| object.value(name).is_ok_and(|value| value.is_some());
        let is_error = object.text("status").as_deref() == Some("error");
        match (has("results"), is_error) {
            (false, true) => return Err(Unread::Error),
            (true, true) => return unfit("an answer is an error and has results"),
            (false, false) => return unfit("an answer has no results"),
            (true, false) => {}
        }
        let Some(results) = object.list("results") else {
            return unfit("the results of an answer are no list");
        };
        let errors = match (has("errors"), object.list("errors")) {
            (false, _) => Vec::new(),
            (true, Some(errors)) => errors,
            (true, None) => return unfit("the errors of an answer are no list"),
        };
        Ok(Self {
            object,
            results,
            errors,
        })
    }
}
