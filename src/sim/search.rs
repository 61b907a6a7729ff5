//! Search: filters, order, pages, and the end at ten thousand.

use std::borrow::Cow;
use std::cmp::Ordering;

use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::answer::{Problem, Reply};
use super::calls::parse;
use super::contacts::{Contact, Contacts, Properties, View};

/// No query shows more than this.
const CAP: usize = 10_000;
const MOST_GROUPS: usize = 5;
const MOST_FILTERS_IN_GROUP: usize = 6;
const MOST_FILTERS: usize = 18;

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
struct Body {
    query: Option<String>,
    #[serde(default)]
    filter_groups: Vec<Group>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    sorts: Vec<Sort>,
    #[serde(default)]
    properties: Vec<String>,
    limit: Option<Text>,
    after: Option<Text>,
}

#[derive(Deserialize)]
struct Group {
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    property_name: String,
    operator: Operator,
    value: Option<Text>,
    high_value: Option<Text>,
    values: Option<Vec<Text>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Operator {
    Lt,
    Lte,
    Gt,
    Gte,
    Eq,
    Neq,
    Between,
    In,
    NotIn,
    HasProperty,
    NotHasProperty,
    ContainsToken,
    NotContainsToken,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Sort {
    /// `name` or `-name`.
    Short(String),
    #[serde(rename_all = "camelCase")]
    Long {
        property_name: String,
        direction: Option<String>,
    },
}

/// A value that comes as text or as a number.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) => Text(text),
            other => Text(other.to_string()),
        })
    }
}

pub(super) fn search(
    contacts: &Contacts,
    known: &Properties,
    body: &[u8],
) -> Result<Reply, Problem> {
    let body: Body = parse(body)?;
    let limit = number_or(body.limit.as_ref(), 10, "limit")?;
    if !(1..=200).contains(&limit) {
        return Err(Problem::invalid("limit must be between 1 and 200"));
    }
    let offset = number_or(body.after.as_ref(), 0, "after")?;
    if offset.saturating_add(limit) > CAP {
        return Err(Problem::invalid(format!(
            "A search cannot go beyond {CAP} results; after + limit is {}",
            offset.saturating_add(limit)
        )));
    }
    let mut groups: Vec<&[Filter]> = body
        .filter_groups
        .iter()
        .map(|group| &*group.filters)
        .collect();
    if !body.filters.is_empty() {
        groups.push(&body.filters);
    }
    check(&groups, known)?;
    let sort = order(&body.sorts, known)?;
    let words: Vec<String> = body
        .query
        .iter()
        .flat_map(|query| query.split_whitespace())
        .map(str::to_lowercase)
        .collect();
    let mut found: Vec<&Contact> = contacts
        .all()
        .filter(|contact| {
            (groups.is_empty()
                || groups
                    .iter()
                    .any(|group| group.iter().all(|filter| filter.holds(contact))))
                && words.iter().all(|word| mentions(contact, word))
        })
        .collect();
    if let Some((name, descending)) = sort {
        found = sorted(found, name, descending);
    }
    let view = View {
        properties: body.properties,
        ..View::default()
    };
    let page = found.iter().skip(offset).take(limit);
    let results: Vec<Value> = page.map(|contact| view.show(contact, known)).collect();
    let mut answer = json!({ "total": found.len(), "results": results });
    if offset + limit < found.len() {
        answer["paging"] = json!({ "next": { "after": (offset + limit).to_string() } });
    }
    Ok(Reply::json(StatusCode::OK, &answer))
}

fn number_or(text: Option<&Text>, default: usize, name: &str) -> Result<usize, Problem> {
    match text {
        None => Ok(default),
        // Clients send null and the empty string for "from the start".
        Some(Text(text)) if text.is_empty() || text == "null" => Ok(default),
        Some(Text(text)) => text
            .parse()
            .map_err(|_| Problem::invalid(format!("{name} must be an integer, is {text}"))),
    }
}

fn check(groups: &[&[Filter]], known: &Properties) -> Result<(), Problem> {
    let all: usize = groups.iter().map(|group| group.len()).sum();
    let widest = groups.iter().map(|group| group.len()).max().unwrap_or(0);
    if groups.len() > MOST_GROUPS || widest > MOST_FILTERS_IN_GROUP || all > MOST_FILTERS {
        return Err(Problem::invalid(format!(
            "A search has at most {MOST_GROUPS} filter groups of {MOST_FILTERS_IN_GROUP} filters, and {MOST_FILTERS} filters in all"
        )));
    }
    for filter in groups.iter().copied().flatten() {
        if !known.contains(&filter.property_name) {
            let name = &filter.property_name;
            return Err(Problem::invalid(format!("There is no property \"{name}\"")));
        }
        let complete = match filter.operator {
            Operator::HasProperty | Operator::NotHasProperty => true,
            Operator::In | Operator::NotIn => filter.values.is_some(),
            Operator::Between => filter.value.is_some() && filter.high_value.is_some(),
            _ => filter.value.is_some(),
        };
        if !complete {
            let (name, operator) = (&filter.property_name, filter.operator);
            return Err(Problem::invalid(format!(
                "The {operator:?} filter on {name} has no value"
            )));
        }
    }
    Ok(())
}

fn order<'a>(sorts: &'a [Sort], known: &Properties) -> Result<Option<(&'a str, bool)>, Problem> {
    let sort = match sorts {
        [] => return Ok(None),
        [sort] => sort,
        _ => return Err(Problem::invalid("Only one sort is allowed")),
    };
    let (name, descending) = match sort {
        Sort::Short(text) => match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text.as_str(), false),
        },
        Sort::Long {
            property_name,
            direction,
        } => match direction.as_deref() {
            None | Some("ASCENDING") => (property_name.as_str(), false),
            Some("DESCENDING") => (property_name.as_str(), true),
            Some(other) => {
                return Err(Problem::invalid(format!(
                    "There is no sort direction {other}"
                )));
            }
        },
    };
    if !known.contains(name) {
        return Err(Problem::invalid(format!("There is no property \"{name}\"")));
    }
    Ok(Some((name, descending)))
}

impl Filter {
    fn holds(&self, contact: &Contact) -> bool {
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

/// In the order of one property. Equals stay in the order of their ids; records without the value come last, whatever the direction.
fn sorted<'a>(found: Vec<&'a Contact>, name: &str, descending: bool) -> Vec<&'a Contact> {
    let ranked = found.into_iter().map(|contact| {
        let rank = contact.value(name).map(|value| Rank::of(&value));
        (rank, contact)
    });
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by(|(a, _), (b, _)| match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) if descending => b.compare(a),
        (Some(a), Some(b)) => a.compare(b),
    });
    ranked.into_iter().map(|(_, contact)| contact).collect()
}

/// What a value is compared by: numbers by value, times by time (text and milliseconds may meet), everything else without regard
/// to case. Numbers come before text, so that there is one order of all values.
enum Rank {
    Number(f64),
    Text(String),
}

impl Rank {
    fn of(value: &str) -> Self {
        as_number(value).map_or_else(|| Self::Text(value.to_lowercase()), Self::Number)
    }

    fn compare(&self, other: &Self) -> Ordering {
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

fn mentions(contact: &Contact, word: &str) -> bool {
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
