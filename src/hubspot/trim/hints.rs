//! What a search filters by, as far as it makes it slow. Names only: values are personal data.

use serde_json::value::RawValue;

use crate::hubspot::calls::clip;
use crate::json::{Object, text};

/// The operators HubSpot documents. Those before [`SLOW`] are found in an index.
const OPERATORS: [&str; 13] = [
    "EQ",
    "IN",
    "LT",
    "LTE",
    "GT",
    "GTE",
    "BETWEEN",
    "NEQ",
    "NOT_IN",
    "HAS_PROPERTY",
    "NOT_HAS_PROPERTY",
    "CONTAINS_TOKEN",
    "NOT_CONTAINS_TOKEN",
];
const SLOW: usize = 7;
/// The API allows 18 filters.
const MOST_FILTERS: usize = 18;
const MANY_GROUPS: usize = 3;
const MANY_PROPERTIES: usize = 100;
/// Names of the caller's are cut off here, in bytes.
const LONGEST_NAME: usize = 64;

/// What matters of the filters of a search.
#[derive(Debug, Default)]
pub(super) struct Filters {
    groups: usize,
    has_query: bool,
    /// One bit for each of [`OPERATORS`].
    used: u16,
    slow: Vec<Slow>,
}

#[derive(Debug)]
struct Slow {
    property: String,
    operator: usize,
    begins_with_star: bool,
}

impl Filters {
    /// Understands as much as it can: the rest is for the server to refuse.
    pub(super) fn of(search: &Object<'_>) -> Self {
        let query = search.value("query").ok().flatten();
        let mut filters = Self {
            has_query: query.is_some_and(|query| query.get() != "\"\""),
            ..Self::default()
        };
        let groups = search.list("filterGroups").unwrap_or_default();
        filters.groups = groups.len();
        for group in groups {
            let group = Object::parse(group.get());
            filters.add(group.and_then(|group| group.list("filters")));
        }
        if let Some(alone) = search.list("filters") {
            filters.groups += usize::from(!alone.is_empty());
            filters.add(Some(alone));
        }
        filters
    }

    fn add(&mut self, filters: Option<Vec<&RawValue>>) {
        for filter in filters.unwrap_or_default() {
            let Some(filter) = Object::parse(filter.get()) else {
                continue;
            };
            let operator = filter.text("operator");
            let known = operator.and_then(|name| OPERATORS.iter().position(|known| *known == name));
            let Some(operator) = known else {
                continue;
            };
            self.used |= 1 << operator;
            if operator < SLOW || self.slow.len() == MOST_FILTERS {
                continue;
            }
            let values = filter.list("values").unwrap_or_default().into_iter();
            let mut values = values.chain(filter.get("value").ok().flatten());
            let starred = |value| text(value).is_some_and(|value| value.starts_with('*'));
            self.slow.push(Slow {
                property: clip(
                    &filter.text("propertyName").unwrap_or_default(),
                    LONGEST_NAME,
                ),
                operator,
                begins_with_star: values.any(starred),
            });
        }
    }

    /// What makes searches alike in how heavy they are, apart from how many records they ask for.
    pub(super) fn shape(&self, way: &str, properties: usize) -> String {
        let mut shape = format!("{way}, {}", up_to(properties));
        if self.groups > 0 {
            // A search has five groups at most, and what is no search is not remembered for long.
            shape.push_str(&format!(", {} groups", self.groups.min(9)));
        }
        for (nth, operator) in OPERATORS.iter().enumerate() {
            if self.used & (1 << nth) != 0 {
                shape.push(' ');
                shape.push_str(operator);
            }
        }
        if self.has_query {
            shape.push_str(", query");
        }
        shape
    }

    /// What makes the search slow.
    pub(super) fn hints(&self, properties: usize) -> Vec<String> {
        let mut hints: Vec<_> = self.slow.iter().map(Slow::hint).collect();
        hints.dedup();
        if self.groups >= MANY_GROUPS {
            hints.push(format!(
                "{} filter groups: each is a search of its own",
                self.groups
            ));
        }
        hints.extend(many_properties(properties));
        hints
    }
}

impl Slow {
    fn hint(&self) -> String {
        let (operator, property) = (OPERATORS[self.operator], &self.property);
        let why = match operator {
            "CONTAINS_TOKEN" | "NOT_CONTAINS_TOKEN" if self.begins_with_star => {
                "a value that begins with `*` is compared with every word"
            }
            "CONTAINS_TOKEN" | "NOT_CONTAINS_TOKEN" => "words are looked for inside of values",
            "HAS_PROPERTY" | "NOT_HAS_PROPERTY" => "as many records fit as have or lack a value",
            _ => "all records fit but a few",
        };
        format!("{operator} on `{property}`: {why}")
    }
}

/// How many properties there are, roughly, as part of a shape.
pub(super) fn up_to(properties: usize) -> String {
    match properties {
        0 => "usual properties".to_owned(),
        some => format!("up to {} properties", some.next_power_of_two()),
    }
}

/// A hint where so many properties are asked for that they alone are heavy.
pub(super) fn many_properties(properties: usize) -> Option<String> {
    let many = properties >= MANY_PROPERTIES;
    many.then(|| format!("{properties} properties of each record"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(body: &str) -> Filters {
        Filters::of(&Object::parse(body).unwrap())
    }

    #[test]
    fn what_makes_a_search_slow_is_named_without_values() {
        let filters = filters(
            r#"{"query":"secret","filterGroups":[
                {"filters":[{"propertyName":"email","operator":"CONTAINS_TOKEN","value":"*@secret"},
                            {"propertyName":"age","operator":"GT","value":"17"}]},
                {"filters":[{"propertyName":"phone","operator":"HAS_PROPERTY"}]},
                {"filters":[{"propertyName":"city","operator":"NOT_IN","values":["secret"]}]}]}"#,
        );
        let hints = filters.hints(240);
        let all = hints.join("\n");
        for told in [
            "CONTAINS_TOKEN on `email`",
            "begins with `*`",
            "HAS_PROPERTY on `phone`",
            "NOT_IN on `city`",
            "3 filter groups",
            "240 properties",
        ] {
            assert!(all.contains(told), "{told}: {all}");
        }
        assert!(!all.contains("secret") && !all.contains("age"), "{all}");
        let shape = filters.shape("pages", 240);
        let expected =
            "pages, up to 256 properties, 3 groups GT NOT_IN HAS_PROPERTY CONTAINS_TOKEN, query";
        assert_eq!(shape, expected);
    }

    #[test]
    fn a_quick_search_has_no_hints() {
        let body = r#"{"filters":[{"propertyName":"email","operator":"EQ","value":"a@b.c"}]}"#;
        assert!(filters(body).hints(5).is_empty());
        assert_eq!(filters("{}").shape("pages", 0), "pages, usual properties");
    }

    #[test]
    fn there_are_not_more_hints_than_filters_are_allowed() {
        let filter = |nth| format!(r#"{{"operator":"NEQ","propertyName":"p{nth}"}}"#);
        let many: Vec<_> = (0..1_000).map(filter).collect();
        let body = format!(r#"{{"filters":[{}]}}"#, many.join(","));
        assert_eq!(filters(&body).hints(0).len(), MOST_FILTERS);
    }

    #[test]
    fn what_is_no_filter_is_no_hint_and_names_are_cut() {
        let long = "ü".repeat(100);
        let body = format!(
            r#"{{"query":"","filters":7,"filterGroups":[1,{{}},{{"filters":[1,{{}},{{"operator":1}},{{"operator":"HAS_PROPERTY","propertyName":"{long}"}}]}}]}}"#
        );
        let hints = filters(&body).hints(0);
        assert_eq!(hints.len(), 2, "{hints:?}");
        assert!(
            hints[0].contains(&format!("`{}`", "ü".repeat(32))),
            "{hints:?}"
        );
        assert!(
            filters(r#"{"filterGroups":{"filters":[]}}"#)
                .hints(0)
                .is_empty()
        );
    }
}
