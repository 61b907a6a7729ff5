//! By what records are told apart: in requests, in results, and in errors.

use std::borrow::Cow;
use std::collections::HashMap;

use super::call::Call;
use crate::batch::Input;
use crate::hubspot::json::as_text;
use crate::json::{Object, list};

/// The property of contacts whose case does not matter, and the one with their further e-mails.
pub(super) const EMAIL: &str = "email";
const MORE_EMAILS: &str = "hs_additional_emails";
/// The property that every record has.
pub(super) const ID: &str = "hs_object_id";
/// The ids of those that were merged into a record.
const MERGED_IDS: &str = "hs_merged_object_ids";

/// What correlates an input with its error, and by the specification with its result.
pub(super) const TRACE: &str = "objectWriteTraceId";

/// What the records of a batch are named by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    Id,
    /// Of contacts.
    Email,
    /// Another unique property; their values are case-sensitive.
    Property(String),
}

impl By {
    pub(super) fn property(&self) -> Option<&str> {
        match self {
            Self::Id => None,
            Self::Email => Some(EMAIL),
            Self::Property(name) => Some(name),
        }
    }

    /// Two values mean the same record when this is the same.
    pub(super) fn name<'a>(&self, value: Cow<'a, str>) -> Cow<'a, str> {
        match self {
            Self::Email => email(value),
            Self::Id | Self::Property(_) => value,
        }
    }

    /// Which record a result is.
    pub(super) fn of_result<'a>(&self, result: &Object<'a>) -> Option<Cow<'a, str>> {
        let value = match self.property() {
            None => result.value("id"),
            Some(name) => result.object("properties")?.value(name),
        };
        Some(self.name(as_text(value.ok()??)?))
    }

    /// The property, if there is one, that lists by what else a record is found, with semicolons between.
    pub(super) fn others(&self) -> Option<&'static str> {
        match self {
            Self::Id => Some(MERGED_IDS),
            Self::Email => Some(MORE_EMAILS),
            Self::Property(_) => None,
        }
    }
}

/// An e-mail of a contact as HubSpot writes it.
pub(super) fn email(value: Cow<'_, str>) -> Cow<'_, str> {
    let is_plain = value.trim().len() == value.len() && !value.chars().any(char::is_uppercase);
    match is_plain {
        true => value,
        false => value.trim().to_lowercase().into(),
    }
}

/// Where the inputs of a batch are.
#[derive(Debug)]
pub(super) struct Places<'a> {
    by: &'a By,
    by_name: HashMap<&'a str, usize>,
    /// How many inputs have a trace id: all or none.
    traced: usize,
}

impl<'a> Places<'a> {
    pub(super) fn new(call: &'a Call, inputs: &'a [Input]) -> Self {
        let names = inputs.iter().enumerate();
        let names = names.filter_map(|(place, input)| Some((input.name()?, place)));
        Self {
            by: &call.by,
            by_name: names.collect(),
            traced: if call.is_traced() { inputs.len() } else { 0 },
        }
    }

    /// The input that has this trace id.
    pub(super) fn traced(&self, trace: &str) -> Option<usize> {
        let place = trace.parse().ok().filter(|place| *place < self.traced)?;
        (trace_id(place) == trace).then_some(place)
    }

    /// The inputs that an error is about, each once: those of the trace ids that it names, else of the ids.
    pub(super) fn named(&self, error: &Object<'_>) -> Vec<usize> {
        let Some(context) = error.object("context") else {
            return Vec::new();
        };
        let all = |name| {
            let values = context.get(name).ok().flatten();
            values.map(|values| list(values).unwrap_or_else(|| vec![values]))
        };
        let traces = all(TRACE).unwrap_or_default().into_iter();
        let traces = traces.filter_map(|trace| self.traced(&as_text(trace)?));
        let mut places: Vec<usize> = traces.collect();
        if places.is_empty() {
            let ids = all("ids").unwrap_or_default();
            places.extend(ids.into_iter().filter_map(|id| self.of(as_text(id)?)));
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The input whose record has this id, or this value of the property that it was asked for by.
    pub(super) fn of(&self, value: Cow<'_, str>) -> Option<usize> {
        self.by_name.get(&*self.by.name(value)).copied()
    }
}

/// The trace id of the input at this place: one batch knows nothing of another.
pub(super) fn trace_id(place: usize) -> String {
    place.to_string()
}
