//! What a search finds: filters, words, and the order of values.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::contacts::Contact;

/// What `query` looks at.
const SEARCHED: &[&str] = &[
    "email",
    "firstname",
    "lastname",
    "phone",
    "mobilephone",
    "company",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    pub(super) property_name: String,
    pub(super) operator: Operator,
    value: Option<Text>,
    high_value: Option<Text>,
    values: Option<Vec<Text>>,
}

/// How a filter of a search compares; named in bodies as here, in capitals with underscores.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Operator {
    /// Less than the value.
    Lt,
    /// At most the value.
    Lte,
    /// More than the value.
    Gt,
    /// At least the value.
    Gte,
    /// The value.
    Eq,
    /// Anything but the value, or none at all.
    Neq,
    /// From the value to the high value, both included.
    Between,
    /// One of the values.
    In,
    /// None of the values, or none at all.
    NotIn,
    /// Any value.
    HasProperty,
    /// No value.
    NotHasProperty,
    /// A word of the value; `*` stands for anything.
    ContainsToken,
    /// No such word, or no value.
    NotContainsToken,
}

/// A value that comes as text or as a number.
pub(super) struct Text(pub(super) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) => Text(text),
            other => Text(other.to_string()),
        })
    }
}

impl Filter {
    /// Whether all is there that the operator needs.
    pub(super) fn is_complete(&self) -> bool {
        match self.operator {
            Operator::HasProperty | Operator::NotHasProperty => true,
            Operator::In | Operator::NotIn => self.values.is_some(),
            Operator::Between => self.value.is_some() && self.high_value.is_some(),
            _ => self.value.is_some(),
        }
    }

    pub(super) fn holds(&self, contact: &Contact) -> bool {
        let actual = contact.value(&self.property_name);
        let wanted = self.value.as_ref().map_or("", |Text(text)| text);
        let is = |test: fn(Ordering) -> bool| {
            actual
                .as_ref()
                .is_some_and(|actual| test(compare(actual, wanted)))
        };
        // A list wants lower-case values, and never finds others.
        let listed = || {
            let lower = actual.as_ref().map(|actual| actual.to_lowercase());
            let mut values = self.values.iter().flatten();
            lower.is_some_and(|lower| values.any(|Text(value)| *value == lower))
        };
        let token = || {
            actual
                .as_ref()
                .is_some_and(|actual| has_token(actual, wanted))
        };
        match self.operator {
            Operator::Lt => is(Ordering::is_lt),
            Operator::Lte => is(Ordering::is_le),
            Operator::Gt => is(Ordering::is_gt),
            Operator::Gte => is(Ordering::is_ge),
            Operator::Eq => is(Ordering::is_eq),
            Operator::Neq => !is(Ordering::is_eq),
            Operator::Between => {
                let high = self.high_value.as_ref().map_or("", |Text(text)| text);
                is(Ordering::is_ge)
                    && actual
                        .as_ref()
                        .is_some_and(|actual| compare(actual, high).is_le())
            }
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::HasProperty => actual.is_some(),
            Operator::NotHasProperty => actual.is_none(),
            Operator::ContainsToken => token(),
            Operator::NotContainsToken => !token(),
        }
    }
}

/// What a value is compared by: numbers by value, times by time (text and milliseconds may meet), everything else without regard
/// to case. Numbers come before text, so that there is one order of all values.
pub(super) enum Rank {
    Number(f64),
    Text(String),
}

impl Rank {
    pub(super) fn of(value: &str) -> Self {
        as_number(value).map_or_else(|| Self::Text(value.to_lowercase()), Self::Number)
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
        }
    }
}

fn compare(a: &str, b: &str) -> Ordering {
    Rank::of(a).compare(&Rank::of(b))
}

fn as_number(text: &str) -> Option<f64> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.or_else(|| {
        // Cheap to tell: a time begins with a year.
        let dated = text.len() >= 16 && text.as_bytes()[4] == b'-';
        let time: jiff::Timestamp = dated.then(|| text.parse().ok()).flatten()?;
        Some(time.as_millisecond() as f64)
    })
}

fn has_token(actual: &str, wanted: &str) -> bool {
    let (actual, wanted) = (actual.to_lowercase(), wanted.to_lowercase());
    let tokens = actual.split(|c: char| !c.is_alphanumeric());
    glob(&wanted, &actual)
        || tokens
            .filter(|token| !token.is_empty())
            .any(|token| glob(&wanted, token))
}

/// Whether `text` fits a pattern in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

/// Whether a word of `query` occurs, in any of the properties that it looks at.
pub(super) fn mentions(contact: &Contact, word: &str) -> bool {
    let values = SEARCHED.iter().filter_map(|name| contact.value(name));
    values
        .map(Cow::into_owned)
        .any(|value| value.to_lowercase().contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_compare_by_what_they_are() {
        assert!(compare("9", "10").is_lt());
        assert!(compare("Berlin", "aachen").is_gt());
        assert!(compare("2026-01-01T00:00:00.000Z", "1767225600000").is_eq());
        assert!(compare("2026-01-01T00:00:00.001Z", "1767225600000").is_gt());
        // If numbers met text as text, 9 < 10 < 1a < 9 would be a circle.
        for (less, more) in [("9", "10"), ("10", "1a"), ("9", "1a")] {
            assert!(compare(less, more).is_lt(), "{less} {more}");
        }
    }

    #[test]
    fn tokens_and_stars() {
        assert!(has_token("Jane.Doe@Example.com", "example"));
        assert!(has_token("Jane.Doe@Example.com", "*@example.com"));
        assert!(has_token("Jane.Doe@Example.com", "exa*"));
        assert!(!has_token("Jane.Doe@Example.com", "xample"));
        assert!(glob("a*b*c", "aXbYc"));
        assert!(!glob("a*b*c", "aXcYb"));
        assert!(glob("*", ""));
    }
}
