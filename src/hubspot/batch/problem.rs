//! An error of a batch call as the single call would have worded it.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::value::RawValue;

use super::call::Call;
use super::names::{Places, TRACE};
use crate::batch::Part;
use crate::hubspot::json::{Members, array};
use crate::hubspot::routes::Deed;
use crate::json::{Object, list, quoted};

const NOT_FOUND: &str = "OBJECT_NOT_FOUND";
/// What a single call says of a record that is not there, and any call of a path.
const NOT_FOUND_MESSAGE: &str = "resource not found";
const NO_SUCH_TYPE: &str = "Unable to infer object type";
const INVALID: &str = "VALIDATION_ERROR";
const INTERNAL: &str = "INTERNAL_ERROR";

const CORRELATION_ID: &str = "x-hubspot-correlation-id";

/// An error of HubSpot's: an answer, or one of the errors of a 207.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    object: Object<'a>,
    category: Cow<'a, str>,
    message: Cow<'a, str>,
}

impl<'a> Problem<'a> {
    /// What is no object says nothing; nor does what is said twice.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let object = Object::parse(text)?;
        Some(Self {
            category: object.text("category").unwrap_or_default(),
            message: object.text("message").unwrap_or_default(),
            object,
        })
    }

    /// The inputs that it names, each once.
    pub(super) fn named(&self, places: &Places<'_>) -> Vec<usize> {
        let mut named = places.named(&self.object);
        if named.is_empty() {
            let inner = self.object.list("errors").unwrap_or_default();
            let inner = inner.iter().filter_map(|error| Object::parse(error.get()));
            named.extend(inner.flat_map(|error| places.named(&error)));
        }
        if named.is_empty() {
            named.extend(
                self.duplicates()
                    .filter_map(|id| places.of(id.trim().into())),
            );
        }
        named.sort_unstable();
        named.dedup();
        named
    }

    /// The ids of "Duplicate IDs found in batch input: [1, 2]."
    fn duplicates(&self) -> impl Iterator<Item = &str> {
        let is_it = self.message.starts_with("Duplicate");
        let (_, ids) = self.message.split_once('[').unwrap_or_default();
        let (ids, _) = ids.split_once(']').unwrap_or_default();
        is_it.then(|| ids.split(',')).into_iter().flatten()
    }

    /// How many inputs there may be, when it is about that: "The maximum number of inputs supported in a batch is 100."
    pub(super) fn most_inputs(&self) -> Option<Option<usize>> {
        let message = self.message.to_ascii_lowercase();
        let (_, rest) = message.split_once("maximum number of inputs")?;
        let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
        let end = digits.find(|c: char| !c.is_ascii_digit() && c != ',');
        let digits = digits[..end.unwrap_or(digits.len())].replace(',', "");
        Some(digits.parse().ok())
    }

    /// Whether it says that records are not there, and not, say, that there is no such path.
    pub(super) fn is_of_missing_records(&self, places: &Places<'_>) -> bool {
        let is_other = self.message == NOT_FOUND_MESSAGE || self.message.starts_with(NO_SUCH_TYPE);
        self.category == NOT_FOUND && !is_other || !places.named(&self.object).is_empty()
    }

    /// The answer to the caller whose input it is about, which was not done.
    pub(super) fn part(&self, call: &Call, answer: &Response<Bytes>) -> Part {
        let status = match &*self.category {
            INVALID => StatusCode::BAD_REQUEST,
            "CONFLICT" => StatusCode::CONFLICT,
            "MISSING_SCOPES" => StatusCode::FORBIDDEN,
            NOT_FOUND => return self.not_found(call, answer),
            // As after any 5xx it is not known what of a create was done.
            INTERNAL if call.deed == Deed::Create => StatusCode::INTERNAL_SERVER_ERROR,
            _ => return Part::Alone,
        };
        match self.object.get("message") {
            Ok(Some(message)) => Part::Answer(status, self.body(message, answer)),
            _ => Part::Alone,
        }
    }

    fn not_found(&self, call: &Call, answer: &Response<Bytes>) -> Part {
        let is_sure = match call.deed {
            // A batch read may not see what is archived.
            Deed::Read => !call.options.archived,
            // A single update knows ids of records that were merged into others, a batch update does not.
            Deed::Update => call.by.property().is_some(),
            // What is missing is something else, of which a single call says more.
            Deed::Create | Deed::Archive => false,
        };
        if !is_sure {
            return Part::Alone;
        }
        let mut members = head(quoted(NOT_FOUND_MESSAGE).into(), answer);
        members.push("category", quoted(NOT_FOUND));
        Part::Answer(StatusCode::NOT_FOUND, members.write().into())
    }

    fn body(&self, message: &RawValue, answer: &Response<Bytes>) -> Bytes {
        let own = |value: &RawValue| Bytes::copy_from_slice(value.get().as_bytes());
        let mut members = head(own(message), answer);
        let mut context = Members::default();
        let named_only_here = |name: &str| [TRACE, "ids", "existingId"].contains(&name);
        if let Some(inner) = self.object.object("context") {
            for (name, value) in inner.iter().filter(|(name, _)| !named_only_here(name)) {
                context.set(name, own(value));
            }
        }
        if !context.is_empty() {
            members.push("context", context.write());
        }
        let has_some = |name| self.object.list(name).is_some_and(|list| !list.is_empty());
        match self.object.get("errors") {
            Ok(Some(errors)) if has_some("errors") => members.push("errors", own(errors)),
            _ => {
                if let Some(details) = self.details() {
                    members.push("errors", details);
                }
            }
        }
        if let Ok(Some(links)) = self.object.get("links") {
            let has_links =
                Object::parse(links.get()).is_some_and(|links| links.iter().count() > 0);
            if has_links {
                members.push("links", own(links));
            }
        }
        members.push("category", quoted(&self.category));
        if let Some(more) = self.object.text("subCategory") {
            members.push("subCategory", quoted(&more));
        }
        members.write().into()
    }

    /// What a single call says of each wrong property beside the message, which carries a list of them in JSON: "Property values
    /// were not valid: [{…}]".
    fn details(&self) -> Option<Vec<u8>> {
        if self.category != INVALID || !self.message.starts_with("Property values were not valid") {
            return None;
        }
        let all = &self.message[self.message.find('[')?..];
        let all: &RawValue = serde_json::from_str(all).ok()?;
        let detail = |one: &&RawValue| {
            let one = Object::parse(one.get())?;
            let mut detail = Members::default();
            detail.push("message", quoted(&one.text("message")?));
            detail.push("code", quoted(&one.text("error")?));
            let name = quoted(&one.text("name")?);
            detail.push("context", format!("{{\"propertyName\":[{name}]}}"));
            Some(detail.write())
        };
        let details: Option<Vec<_>> = list(all)?.iter().map(detail).collect();
        details
            .filter(|details| !details.is_empty())
            .map(|details| array(&details))
    }
}

/// What every error begins with.
fn head(message: Bytes, answer: &Response<Bytes>) -> Members {
    let mut members = Members::default();
    members.push("status", "\"error\"");
    members.push("message", message);
    let id = answer.headers().get(CORRELATION_ID);
    if let Some(id) = id.and_then(|id| id.to_str().ok()) {
        members.push("correlationId", quoted(id));
    }
    members
}
