//! Which lines are shown.

use std::str::FromStr;

use tower_quota::event::QuotaEvent;
use tower_quota::record::Entry;

/// One `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The beginning of a name.
    Name(String),
    /// A field, and what it must be.
    Field(Field, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Token,
    Route,
    Class,
    Limit,
    Status,
}

const FIELDS: [(&str, Field); 5] = [
    ("token", Field::Token),
    ("route", Field::Route),
    ("class", Field::Class),
    ("limit", Field::Limit),
    ("status", Field::Status),
];

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, value)) = text.split_once('=') else {
            let is_known = Entry::names().any(|name| name.starts_with(text));
            return match is_known && !text.is_empty() {
                true => Ok(Self::Name(text.to_owned())),
                false => {
                    let names = Vec::from_iter(Entry::names()).join(", ");
                    Err(format!("no event begins so; there are {names}"))
                }
            };
        };
        let field = FIELDS.iter().find(|(known, _)| *known == name);
        let Some((_, field)) = field else {
            let names = FIELDS.map(|(name, _)| name).join(", ");
            return Err(format!("there is no filter `{name}`; there are {names}"));
        };
        let is_possible = match field {
            Field::Token => value.bytes().all(|digit| digit.is_ascii_hexdigit()),
            Field::Status => is_status(value),
            Field::Route | Field::Class | Field::Limit => true,
        };
        match is_possible && !value.is_empty() {
            true => Ok(Self::Field(*field, value.to_ascii_lowercase())),
            false => Err(match field {
                Field::Token => "a token is given by its first hexadecimal digits".to_owned(),
                Field::Status => "a status is a number such as 429, or 4xx or 5xx".to_owned(),
                _ => format!("`{name}=` needs a value"),
            }),
        }
    }
}

fn is_status(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit();
    match text.as_bytes() {
        [first, b'x', b'x'] => is_digit(*first),
        digits => digits.len() == 3 && digits.iter().copied().all(is_digit),
    }
}

/// All conditions.
#[derive(Debug)]
pub(super) struct Filter {
    names: Vec<String>,
    fields: Vec<(Field, Vec<String>)>,
}

impl Filter {
    pub(super) fn new(conditions: &[Condition]) -> Self {
        let name = |condition: &Condition| match condition {
            Condition::Name(name) => Some(name.clone()),
            Condition::Field(..) => None,
        };
        let of = |field: Field| {
            let value = |condition: &Condition| match condition {
                Condition::Field(of, value) if *of == field => Some(value.clone()),
                _ => None,
            };
            (field, conditions.iter().filter_map(value).collect())
        };
        let fields = FIELDS.map(|(_, field)| of(field)).into_iter();
        Self {
            names: conditions.iter().filter_map(name).collect(),
            fields: fields
                .filter(|(_, values): &(_, Vec<_>)| !values.is_empty())
                .collect(),
        }
    }

    /// Whether for each kind of condition one is fulfilled.
    pub(super) fn matches(&self, entry: &Entry) -> bool {
        let has_name = |prefix: &String| entry.name().starts_with(prefix.as_str());
        if !self.names.is_empty() && !self.names.iter().any(has_name) {
            return false;
        }
        let mut fields = self.fields.iter();
        match entry {
            Entry::Event(event) => fields.all(|(field, values)| {
                let actual = value(event, *field);
                actual.is_some_and(|actual| values.iter().any(|value| is(*field, &actual, value)))
            }),
            _ => self.fields.is_empty(),
        }
    }
}

/// What the event says, in small letters.
fn value(event: &QuotaEvent, field: Field) -> Option<String> {
    if field == Field::Token {
        return Some(event.token?.to_hex());
    }
    let name = match field {
        Field::Route => "route",
        Field::Class => "class",
        Field::Limit => "limit",
        Field::Status | Field::Token => "status",
    };
    let kind = serde_json::to_value(&event.kind).ok()?;
    match kind.get(name)? {
        serde_json::Value::String(text) => Some(text.to_ascii_lowercase()),
        other => Some(other.to_string()),
    }
}

fn is(field: Field, actual: &str, wanted: &str) -> bool {
    match field {
        Field::Token => actual.starts_with(wanted),
        Field::Route => actual.contains(wanted),
        Field::Class | Field::Limit => actual == wanted,
        Field::Status => match wanted.strip_suffix("xx") {
            Some(first) => actual.starts_with(first),
            None => actual == wanted,
        },
    }
}
