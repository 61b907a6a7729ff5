//! The errors of several batches as those of one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::inputs::Input;
use crate::hubspot::json::{Members, array, id, slice, utf8};
use crate::json::{Object, quoted};

/// What HubSpot says of records that are not there, and the category it says it with.
const NOT_FOUND: &str = "OBJECT_NOT_FOUND";
const NOT_FOUND_MESSAGE: &str =
    "Could not get some objects, they may be deleted or not exist. Check that ids are valid.";

/// Errors that differ in the ids they name, and in nothing else, are one: HubSpot's error objects cover many ids.
#[derive(Debug, Default)]
pub(super) struct Errors {
    entries: Vec<Entry>,
    /// Where the first entry is that says this.
    places: HashMap<Arc<Says>, usize>,
    /// What the answers say of how many there are, all together. `None` when none said it.
    counted: Option<u64>,
    /// Whether that is how many objects there are in each; `None` before the first.
    counts_objects: Option<bool>,
}

#[derive(Debug)]
struct Entry {
    /// As it was written; made anew when ids of others came.
    raw: Bytes,
    merged: bool,
    /// What it says besides the ids.
    says: Option<Arc<Says>>,
    ids: Vec<Bytes>,
}

/// An error object that names ids, without them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Says {
    members: Members,
    context: Members,
}

impl Errors {
    /// Adds the errors of one answer, and how many it says it has.
    pub(super) fn extend(&mut self, errors: &[Bytes], counted: Option<u64>) {
        if !errors.is_empty() || counted.is_some() {
            let so_far = self.counts_objects.unwrap_or(true);
            self.counts_objects = Some(so_far && counted == Some(errors.len() as u64));
        }
        if let Some(counted) = counted {
            self.counted = Some(self.counted.unwrap_or(0).saturating_add(counted));
        }
        for error in errors {
            self.push(error);
        }
    }

    fn push(&mut self, error: &Bytes) {
        let (says, ids) = match Says::parse(error) {
            Some((says, ids)) => (Some(Arc::new(says)), ids),
            None => (None, Vec::new()),
        };
        let known = says.as_ref().and_then(|says| self.places.get(says));
        if let Some(entry) = known.and_then(|place| self.entries.get_mut(*place)) {
            entry.ids.extend(ids);
            entry.merged = true;
            return;
        }
        if let Some(says) = &says {
            self.places.insert(says.clone(), self.entries.len());
        }
        self.entries.push(Entry {
            raw: error.clone(),
            merged: false,
            says,
            ids,
        });
    }

    /// Sets `errors` and `numErrors`, as far as there are any.
    pub(super) fn write(&self, members: &mut Members) {
        if !self.entries.is_empty() {
            members.set("errors", array(self.entries.iter().map(Entry::write)));
        }
        let counted = match self.counts_objects {
            Some(true) => Some(self.entries.len() as u64),
            _ => self.counted,
        };
        if let Some(counted) = counted {
            members.set("numErrors", counted.to_string());
        }
    }
}

impl Entry {
    fn write(&self) -> Bytes {
        match &self.says {
            Some(says) if self.merged => says.write(&self.ids).into(),
            _ => self.raw.clone(),
        }
    }
}

impl Says {
    /// `None` when the error names no ids.
    fn parse(error: &Bytes) -> Option<(Self, Vec<Bytes>)> {
        let object = Object::parse(utf8(error))?;
        let inner = object.object("context")?;
        let ids = inner.list("ids")?;
        let ids = ids.iter().map(|id| slice(error, id)).collect();
        let (mut members, mut context) = (object.members(error), inner.members(error));
        members.remove("context");
        context.remove("ids");
        Some((Self { members, context }, ids))
    }

    fn write(&self, ids: &[Bytes]) -> Vec<u8> {
        let (mut members, mut context) = (self.members.clone(), self.context.clone());
        context.set("ids", array(ids));
        members.set("context", context.write());
        members.write()
    }
}

/// A batch that was answered with 404: nothing of it was found.
#[derive(Clone, Debug)]
pub(super) struct NotFound(pub(super) Bytes);

impl NotFound {
    /// Whether it says that records are missing, and not, say, that there is no such path.
    pub(super) fn is_of_records(&self) -> bool {
        is_not_found(&self.0)
    }

    /// The ids it names, to be compared.
    pub(super) fn ids(&self) -> Vec<String> {
        named(&self.0)
    }

    /// Those of the inputs of the batch that are missing, and those of which it tells nothing. It tells of all when there is only one,
    /// and of those it names; else one that is missing may have hidden the others.
    pub(super) fn split(&self, asked: Vec<Input>) -> (Vec<Input>, Vec<Input>) {
        if asked.len() == 1 {
            return (asked, Vec::new());
        }
        let named: HashSet<_> = self.ids().into_iter().collect();
        asked
            .into_iter()
            .partition(|input| named.contains(input.id()))
    }

    /// The answer to all of a batch when all its pieces were answered like this: the first one, with the ids that any of them names.
    pub(super) fn join(all: &[Self]) -> Bytes {
        let Some(Self(first)) = all.first() else {
            return Bytes::new();
        };
        let mut says = all.iter().map(|not_found| Says::parse(&not_found.0));
        let Some((first_says, mut ids)) = says.next().flatten() else {
            return first.clone();
        };
        for (_, more) in says.flatten() {
            ids.extend(more);
        }
        first_says.write(&ids).into()
    }

    /// The same as one of the errors of a batch of which something was found, with these `ids`, written in JSON.
    pub(super) fn as_error(&self, ids: &[Bytes]) -> Bytes {
        let object = Object::parse(utf8(&self.0));
        let mut says = object.as_ref().map_or_else(made_up, |object| Says {
            members: object.members(&self.0),
            context: object
                .object("context")
                .map(|context| context.members(&self.0))
                .unwrap_or_default(),
        });
        // What names one response names none of the errors in another.
        for name in ["correlationId", "requestId"] {
            says.members.remove(name);
        }
        says.write(ids).into()
    }
}

fn made_up() -> Says {
    let mut members = Members::default();
    for (name, value) in [
        ("status", "error"),
        ("category", NOT_FOUND),
        ("message", NOT_FOUND_MESSAGE),
    ] {
        members.set(name, quoted(value));
    }
    let context = Members::default();
    Says { members, context }
}

/// Whether an error says that records are not there, as opposed to that they could not be read.
pub(super) fn is_not_found(error: &Bytes) -> bool {
    let category = Object::parse(utf8(error)).and_then(|error| error.text("category"));
    category.is_some_and(|category| category == NOT_FOUND)
}

/// The ids that an error names, to be compared.
pub(super) fn named(error: &Bytes) -> Vec<String> {
    let ids = Object::parse(utf8(error)).and_then(|error| error.object("context")?.list("ids"));
    ids.unwrap_or_default().into_iter().filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(answers: &[(&[&'static str], Option<u64>)]) -> String {
        let mut errors = Errors::default();
        for (texts, counted) in answers {
            let texts: Vec<_> = texts
                .iter()
                .map(|text| Bytes::from_static(text.as_bytes()))
                .collect();
            errors.extend(&texts, *counted);
        }
        let mut members = Members::default();
        errors.write(&mut members);
        String::from_utf8(members.write()).unwrap()
    }

    #[test]
    fn errors_that_differ_in_ids_alone_are_one() {
        let one = r#"{"category":"X","context":{"ids":["1"],"of":[ ]}}"#;
        let other = r#"{"category":"X","context":{"ids":[2,"3"],"of":[ ]}}"#;
        let merged =
            r#"{"errors":[{"category":"X","context":{"of":[ ],"ids":["1",2,"3"]}}],"numErrors":1}"#;
        assert_eq!(joined(&[(&[one], Some(1)), (&[other], Some(1))]), merged);
    }

    #[test]
    fn errors_that_say_something_else_stay_apart() {
        let texts: &[&str] = &[
            r#"{"category":"X","context":{"ids":["1"]}}"#,
            r#"{"category":"Y","context":{"ids":["1"]}}"#,
            r#"{"category":"X","context":{"ids":["1"],"more":1}}"#,
            r#"{"category":"X"}"#,
            r#"{"category":"X"}"#,
            "7",
        ];
        let all = format!(r#"{{"errors":[{}],"numErrors":6}}"#, texts.join(","));
        let mut errors = Errors::default();
        for text in texts {
            errors.extend(&[Bytes::from_static(text.as_bytes())], Some(1));
        }
        let mut members = Members::default();
        errors.write(&mut members);
        assert_eq!(members.write(), all.as_bytes());
    }

    #[test]
    fn errors_are_counted_as_the_server_counts_them() {
        let two = r#"{"context":{"ids":["1","2"]}}"#;
        let ids = |counted| joined(&[(&[two], counted), (&[], None), (&[two], counted)]);
        assert!(ids(Some(1)).ends_with(r#""numErrors":1}"#));
        assert!(ids(Some(2)).ends_with(r#""numErrors":4}"#));
        assert!(!ids(None).contains("numErrors"));
        assert_eq!(joined(&[(&[], None)]), "{}");
        assert_eq!(joined(&[(&[], Some(0))]), r#"{"numErrors":0}"#);
    }

    #[test]
    fn a_404_says_what_it_said() {
        let body = r#"{"status":"error","category":"OBJECT_NOT_FOUND","correlationId":"c","context":{"ids":["1"],"of":1}}"#;
        let not_found = NotFound(Bytes::from_static(body.as_bytes()));
        assert!(not_found.is_of_records());
        assert_eq!(not_found.ids(), ["1"]);
        let ids = [Bytes::from_static(b"\"1\"")];
        let error =
            r#"{"status":"error","category":"OBJECT_NOT_FOUND","context":{"ids":["1"],"of":1}}"#;
        assert_eq!(not_found.as_error(&ids), error);
        let html = NotFound(Bytes::from_static(b"<html>"));
        assert!(!html.is_of_records() && html.ids().is_empty());
        assert!(named(&html.as_error(&ids)) == ["1"]);
    }
}
