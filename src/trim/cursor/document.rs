//! A JSON answer: what is where in it, and the same with some of it said anew. Texts are borrowed and stay as they are written.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::ConfigError;

/// Lists and objects with more members are not read: two bytes of text would take a hundred in memory.
pub(super) const MOST_MEMBERS: usize = 100_000;

/// Why an answer cannot be used. Never says what is in it.
pub(super) type Unfit = Cow<'static, str>;

/// Where a member is: the names on the way, through objects only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub(super) fn parse(field: &'static str, text: &str) -> Result<Self, ConfigError> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if names.iter().any(String::is_empty) {
            let problem = format!("must be names with dots between them, is {text:?}");
            return Err(ConfigError::new(field, problem));
        }
        Ok(Self(names))
    }

    /// Whether one of them is where the other is, or inside it.
    pub(super) fn overlaps(&self, other: &Path) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// An object, one level deep.
#[derive(Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// `None` when the text is no object, or a very large one. Deep nesting needs no deep stack: the parser skips values without recursion.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<&'a RawValue>, Unfit> {
        let mut found = self.0.iter().filter(|(member, _)| member == name);
        match (found.next(), found.next()) {
            // Readers do not agree on which of them counts.
            (Some(_), Some(_)) => Err("an object in it has a member twice".into()),
            (first, _) => Ok(first.map(|(_, value)| *value)),
        }
    }

    pub(super) fn find(&self, path: &Path) -> Result<Option<&'a RawValue>, Unfit> {
        let mut names = path.0.iter();
        let mut found = match names.next() {
            Some(name) => self.get(name)?,
            None => None,
        };
        for name in names {
            found = match found.and_then(|value| Object::parse(value.get())) {
                Some(object) => object.get(name)?,
                None => return Ok(None),
            };
        }
        Ok(found)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if members.len() == MOST_MEMBERS {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push((name.0, value));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A string, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct List<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == MOST_MEMBERS {
                        return Err(A::Error::custom("too many elements"));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(Elements)
    }
}

/// The elements of a list; `None` when it is none, or a very long one.
pub(super) fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str::<List<'_>>(value.get())
        .ok()
        .map(|list| list.0)
}

/// The text of a string; `None` when it is none.
pub(super) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get())
        .ok()
        .map(|text| text.0)
}

pub(super) fn is_number(value: &RawValue) -> bool {
    value
        .get()
        .starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Whether a member says no more than if it were not there.
pub(super) fn is_nothing(value: &RawValue) -> bool {
    matches!(value.get(), "null" | "false" | "\"\"" | "[]" | "{}")
}

/// What becomes of a member: it has this value, or is not there.
pub(super) type Edit = (Path, Option<String>);

impl Object<'_> {
    /// The object with these edits, none of which overlaps another. What is not on the way to one of them stays as it is written.
    pub(super) fn edited(&self, edits: &[Edit]) -> String {
        let edits: Vec<Step<'_>> = edits
            .iter()
            .map(|(path, value)| (path.0.as_slice(), value.as_deref()))
            .collect();
        let mut out = String::new();
        self.write(&mut out, &edits);
        out
    }

    /// Recursion is as deep as the paths are long.
    fn write(&self, out: &mut String, edits: &[Step<'_>]) {
        out.push('{');
        let start = out.len();
        for (name, value) in &self.0 {
            let here = below(edits, name);
            write_member(out, start, name, Some(value), &here);
        }
        for (nth, (path, _)) in edits.iter().enumerate() {
            let Some(name) = path.first() else { continue };
            let is_new = self.0.iter().all(|(member, _)| member != name);
            let is_first = below(&edits[..nth], name).is_empty();
            if is_new && is_first {
                write_member(out, start, name, None, &below(edits, name));
            }
        }
        out.push('}');
    }
}

/// The rest of the way to an edit.
type Step<'a> = (&'a [String], Option<&'a str>);

/// The edits that concern the member `name`, from there on.
fn below<'a>(edits: &[Step<'a>], name: &str) -> Vec<Step<'a>> {
    let step = |(path, value): &Step<'a>| {
        let (first, rest) = path.split_first()?;
        (first == name).then_some((rest, *value))
    };
    edits.iter().filter_map(step).collect()
}

fn write_member(
    out: &mut String,
    start: usize,
    name: &str,
    value: Option<&RawValue>,
    edits: &[Step<'_>],
) {
    let object = value.and_then(|value| Object::parse(value.get()));
    let sets = edits.iter().any(|(_, value)| value.is_some());
    // To take something out of what is no object changes nothing.
    let (text, object) = match (edits, object) {
        ([([], edit)], _) => (*edit, None),
        ([], _) => (value.map(RawValue::get), None),
        (_, Some(object)) => (None, Some(object)),
        (_, None) if sets => (None, Some(Object::default())),
        (_, None) => (value.map(RawValue::get), None),
    };
    if text.is_none() && object.is_none() {
        return;
    }
    if out.len() > start {
        out.push(',');
    }
    out.push_str(&quoted(name));
    out.push(':');
    match object {
        Some(object) => object.write(out, edits),
        None => out.push_str(text.unwrap_or("null")),
    }
}

/// The text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
