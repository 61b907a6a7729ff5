//! A JSON answer: what is where in it, and the same with some of it said anew.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use crate::error::ConfigError;
use crate::json::{Doubled, Object, quoted};

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

impl From<Doubled> for Unfit {
    fn from(_: Doubled) -> Self {
        "an object in it has a member twice".into()
    }
}

/// Whether a member says no more than if it were not there.
pub(super) fn is_nothing(value: &RawValue) -> bool {
    matches!(value.get(), "null" | "false" | "\"\"" | "[]" | "{}")
}

/// What becomes of a member: it has this value, or is not there.
pub(super) type Edit = (Path, Option<String>);

impl<'a> Object<'a> {
    /// What is at the end of the path, as it is written.
    pub(super) fn find(&self, path: &Path) -> Result<Option<&'a RawValue>, Doubled> {
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
        for (name, value) in self.iter() {
            let here = below(edits, name);
            write_member(out, start, name, Some(value), &here);
        }
        for (nth, (path, _)) in edits.iter().enumerate() {
            let Some(name) = path.first() else { continue };
            let is_first = below(&edits[..nth], name).is_empty();
            if is_first && !self.has(name) {
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
