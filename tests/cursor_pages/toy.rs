//! Three toy APIs that are paged by a cursor: one that speaks JSON:API, one like Stripe's, and one with records and cursor in
//! members of their own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use proptest::sample::Index;
use serde_json::{Value, json};
use tower_quota::trim::{CursorPages, NextCursor};

pub(crate) const DEFAULT_SIZE: usize = 10;

/// How a toy API speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    JsonApi,
    Stripe,
    Nested,
}

pub(crate) use Dialect::{JsonApi, Nested, Stripe};

impl Dialect {
    pub(crate) fn pages(self) -> CursorPages {
        let builder = CursorPages::builder(["/v1/{account}/things"]);
        match self {
            JsonApi => builder
                .size_parameter("page[size]", DEFAULT_SIZE, 100)
                .size_member("meta.page.size")
                .count_member("meta.page.count"),
            Stripe => builder
                .size_parameter("limit", DEFAULT_SIZE, 100)
                .cursor_parameter("starting_after")
                .next_cursor(NextCursor::last_id("has_more")),
            Nested => builder
                .size_parameter("n", DEFAULT_SIZE, 100)
                .cursor_parameter("page")
                .records("result.items")
                .id("key")
                .next_cursor(NextCursor::field("paging.next")),
        }
        .build()
        .unwrap()
    }

    pub(crate) fn size_parameter(self) -> &'static str {
        match self {
            JsonApi => "page[size]",
            Stripe => "limit",
            Nested => "n",
        }
    }

    pub(crate) fn cursor_parameter(self) -> &'static str {
        match self {
            JsonApi => "page[cursor]",
            Stripe => "starting_after",
            Nested => "page",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Thing {
    pub(crate) kind: u8,
    /// Another thing that goes with it, by its place.
    pub(crate) friend: Option<Index>,
    pub(crate) is_red: bool,
}

/// What goes wrong at a server; nothing at the oracle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    /// Pages of more records are too heavy.
    pub(crate) most: Option<usize>,
    /// The nth request is too heavy if it asks for more than one record.
    pub(crate) accidents: HashSet<usize>,
    /// A page that begins at a place has so many records less, though never none.
    pub(crate) short: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Toy {
    pub(crate) dialect: Dialect,
    pub(crate) things: Vec<Thing>,
    /// Absent rather than `null` where there is no next page.
    pub(crate) omits: bool,
    pub(crate) trouble: Trouble,
    pub(crate) log: Arc<Mutex<Vec<usize>>>,
}

impl Toy {
    pub(crate) fn respond(&self, target: &str) -> (u16, String) {
        let (_, query) = target.split_once('?').unwrap_or((target, ""));
        let parameters: Vec<(String, String)> = query
            .split('&')
            .filter(|parameter| !parameter.is_empty())
            .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect();
        let value = |name: &str| {
            let found = parameters.iter().find(|(parameter, _)| parameter == name);
            found.map(|(_, value)| value.as_str())
        };
        let size = value(self.dialect.size_parameter());
        let size: usize = size.map_or(DEFAULT_SIZE, |size| size.parse().unwrap());
        let nth = {
            let mut log = self.log.lock().unwrap();
            log.push(size);
            log.len() - 1
        };
        let accident = self.trouble.accidents.contains(&nth) && size > 1;
        if accident || self.trouble.most.is_some_and(|most| size > most) {
            return (504, "<html>".to_owned());
        }
        let cursor = value(self.dialect.cursor_parameter());
        let from = cursor.map_or(0, |cursor| self.place_after(cursor));
        let wanted: Vec<usize> = (0..self.things.len())
            .filter(|at| value("filter") != Some("red,only") || self.things[*at].is_red)
            .collect();
        let rest: Vec<usize> = wanted.into_iter().filter(|at| *at >= from).collect();
        let mut count = size.min(rest.len());
        if let Some(less) = self.trouble.short.get(from) {
            count = count.saturating_sub(*less).max(1).min(rest.len());
        }
        let (page, rest) = rest.split_at(count);
        let body = match self.dialect {
            JsonApi => {
                let include = value("include").is_some();
                self.json_api(query, page, rest.first().copied(), size, cursor, include)
            }
            Stripe => json!({
                "object": "list",
                "url": "/v1/things",
                "has_more": !rest.is_empty(),
                "data": page.iter().map(|at| self.thing(*at)).collect::<Vec<_>>(),
            }),
            Nested => {
                let mut body = json!({
                    "result": {"took": "none", "items": page.iter().map(|at| self.thing(*at)).collect::<Vec<_>>()},
                    "paging": {},
                });
                if let Some(next) = rest.first() {
                    body["paging"]["next"] = cursor_at(*next).into();
                } else if !self.omits {
                    body["paging"]["next"] = "".into();
                }
                body
            }
        };
        (200, body.to_string())
    }

    fn place_after(&self, cursor: &str) -> usize {
        if self.dialect == Stripe {
            return (0..self.things.len())
                .find(|at| id_at(*at) == cursor)
                .unwrap()
                + 1;
        }
        (0..=self.things.len())
            .find(|at| cursor_at(*at) == cursor)
            .unwrap()
    }

    fn thing(&self, at: usize) -> Value {
        let thing = &self.things[at];
        match self.dialect {
            JsonApi => json!({
                "type": format!("kind{}", thing.kind),
                // Ids are unique only within a type.
                "id": (at / 2).to_string(),
                "attributes": {"place": at},
            }),
            Stripe => json!({"id": id_at(at), "object": "thing", "name": "é\" \\ \u{1}"}),
            Nested => json!({"key": at, "id": 1, "red": thing.is_red}),
        }
    }

    fn json_api(
        &self,
        query: &str,
        page: &[usize],
        next: Option<usize>,
        size: usize,
        cursor: Option<&str>,
        include: bool,
    ) -> Value {
        let base = "https://api.example.com/v1/a/things";
        let mut links = json!({"self": format!("{base}?{query}"), "first": {"href": format!("{base}?{}", pointing(query, None))}});
        match next {
            Some(next) => {
                links["next"] =
                    format!("{base}?{}#x", pointing(query, Some(&cursor_at(next)))).into();
            }
            None if self.omits => {}
            None => links["next"] = Value::Null,
        }
        if let Some(cursor) = cursor {
            let before = format!("before {cursor}");
            links["prev"] = format!("{base}?{}", pointing(query, Some(&before))).into();
        }
        let mut body = json!({
            "data": page.iter().map(|at| self.thing(*at)).collect::<Vec<_>>(),
            "links": links,
            "meta": {"total": self.things.len(), "page": {"size": size, "count": page.len()}},
        });
        if include {
            let mut seen: HashSet<usize> = page.iter().copied().collect();
            let friends = page.iter().filter_map(|at| self.things[*at].friend);
            let friends = friends.map(|friend| friend.index(self.things.len()));
            let friends: Vec<Value> = friends
                .filter(|friend| seen.insert(*friend))
                .map(|friend| self.thing(friend))
                .collect();
            if !friends.is_empty() || !self.omits {
                body["included"] = friends.into();
            }
        }
        body
    }
}

/// The query with another cursor: all other parameters as they came, as most servers write links.
pub(crate) fn pointing(query: &str, cursor: Option<&str>) -> String {
    let others = query.split('&').filter(|parameter| {
        let name = parameter.split('=').next().unwrap_or("");
        decoded(name) != "page[cursor]" && !parameter.is_empty()
    });
    let mut parameters: Vec<String> = others.map(str::to_owned).collect();
    if let Some(cursor) = cursor {
        parameters.push(format!("page%5Bcursor%5D={}", encoded(cursor)));
    }
    parameters.join("&")
}

pub(crate) fn id_at(at: usize) -> String {
    format!("th_{:05x}", at * 7919 % 65_521)
}

/// A cursor that tells nobody where it is, with characters that must be encoded.
pub(crate) fn cursor_at(at: usize) -> String {
    format!("+{:x}/é&={{}}", (at * 40_503) ^ 0x5a5a)
}

pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let hex = std::str::from_utf8(&rest[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
