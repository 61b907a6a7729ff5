//! Search: what is accepted, order, pages, and the end at ten thousand.

use std::cmp::Ordering;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Problem, Reply};
use super::calls::parse;
use super::contacts::{Contact, Contacts, Properties, View};
use super::cost::Load;
use super::filter::{Filter, Rank, Text, mentions};

/// No query shows more than this.
const CAP: usize = 10_000;
const MOST_GROUPS: usize = 5;
const MOST_FILTERS_IN_GROUP: usize = 6;
const MOST_FILTERS: usize = 18;

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

/// A search that the server accepts.
struct Search {
    words: Vec<String>,
    groups: Vec<Vec<Filter>>,
    /// The property, and whether downwards.
    sort: Option<(String, bool)>,
    properties: Vec<String>,
    limit: usize,
    offset: usize,
}

impl Search {
    fn parse(body: &[u8], known: &Properties) -> Result<Self, Problem> {
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
        let groups = body.filter_groups.into_iter().map(|group| group.filters);
        let loose = Some(body.filters).filter(|filters| !filters.is_empty());
        let groups: Vec<Vec<Filter>> = groups.chain(loose).collect();
        check(&groups, known)?;
        let words = body.query.iter().flat_map(|query| query.split_whitespace());
        Ok(Self {
            words: words.map(str::to_lowercase).collect(),
            groups,
            sort: order(body.sorts, known)?,
            properties: body.properties,
            limit,
            offset,
        })
    }

    fn finds(&self, contact: &Contact) -> bool {
        let holds = |group: &Vec<Filter>| group.iter().all(|filter| filter.holds(contact));
        (self.groups.is_empty() || self.groups.iter().any(holds))
            && self.words.iter().all(|word| mentions(contact, word))
    }
}

/// What a search costs, if the server accepts it.
pub(super) fn load(known: &Properties, body: &[u8]) -> Result<Load, Problem> {
    let search = Search::parse(body, known)?;
    let filters = search.groups.iter().flatten();
    Ok(Load {
        units: search.limit,
        properties: search.properties.len(),
        operators: filters.map(|filter| filter.operator).collect(),
        query: !search.words.is_empty(),
    })
}

pub(super) fn search(
    contacts: &Contacts,
    known: &Properties,
    body: &[u8],
) -> Result<Reply, Problem> {
    let search = Search::parse(body, known)?;
    let mut found: Vec<&Contact> = contacts
        .all()
        .filter(|contact| search.finds(contact))
        .collect();
    if let Some((name, descending)) = &search.sort {
        found = sorted(found, name, *descending);
    }
    let view = View {
        properties: search.properties,
        ..View::default()
    };
    let page = found.iter().skip(search.offset).take(search.limit);
    let results: Vec<Value> = page.map(|contact| view.show(contact, known)).collect();
    let mut answer = json!({ "total": found.len(), "results": results });
    let end = search.offset + search.limit;
    if end < found.len() {
        answer["paging"] = json!({ "next": { "after": end.to_string() } });
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

fn check(groups: &[Vec<Filter>], known: &Properties) -> Result<(), Problem> {
    let all: usize = groups.iter().map(Vec::len).sum();
    let widest = groups.iter().map(Vec::len).max().unwrap_or(0);
    if groups.len() > MOST_GROUPS || widest > MOST_FILTERS_IN_GROUP || all > MOST_FILTERS {
        return Err(Problem::invalid(format!(
            "A search has at most {MOST_GROUPS} filter groups of {MOST_FILTERS_IN_GROUP} filters, and {MOST_FILTERS} filters in all"
        )));
    }
    for filter in groups.iter().flatten() {
        if !known.contains(&filter.property_name) {
            let name = &filter.property_name;
            return Err(Problem::invalid(format!("There is no property \"{name}\"")));
        }
        if !filter.is_complete() {
            let (name, operator) = (&filter.property_name, filter.operator);
            return Err(Problem::invalid(format!(
                "The {operator:?} filter on {name} has no value"
            )));
        }
    }
    Ok(())
}

fn order(sorts: Vec<Sort>, known: &Properties) -> Result<Option<(String, bool)>, Problem> {
    let mut sorts = sorts.into_iter();
    let (name, descending) = match (sorts.next(), sorts.next()) {
        (None, _) => return Ok(None),
        (Some(_), Some(_)) => return Err(Problem::invalid("Only one sort is allowed")),
        (Some(Sort::Short(text)), None) => match text.strip_prefix('-') {
            Some(name) => (name.to_owned(), true),
            None => (text, false),
        },
        (
            Some(Sort::Long {
                property_name,
                direction,
            }),
            None,
        ) => match direction.as_deref() {
            None | Some("ASCENDING") => (property_name, false),
            Some("DESCENDING") => (property_name, true),
            Some(other) => {
                return Err(Problem::invalid(format!(
                    "There is no sort direction {other}"
                )));
            }
        },
    };
    if !known.contains(&name) {
        return Err(Problem::invalid(format!("There is no property \"{name}\"")));
    }
    Ok(Some((name, descending)))
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
