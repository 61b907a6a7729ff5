//! What can become of an answer on its way.

use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(crate) enum Damage {
    /// So many percent of it come.
    Cut(usize),
    Text(&'static str),
    /// Lists in lists, as the member of this name.
    Deep(&'static str),
    Member(&'static str, Value),
    Without(&'static str),
    /// The member of this name once more, as an empty list.
    Twice(&'static str),
    Record(Value),
    Status(u16),
}

impl Damage {
    pub(crate) fn done_to(&self, status: u16, answer: Vec<u8>) -> (u16, Vec<u8>) {
        let mut parsed: Value = serde_json::from_slice(&answer).unwrap();
        match self {
            Self::Cut(percent) => return (status, answer[..answer.len() * percent / 100].to_vec()),
            Self::Text(text) => return (status, text.as_bytes().to_vec()),
            Self::Deep(name) => {
                let lists = "[".repeat(50_000) + &"]".repeat(50_000);
                return (status, format!(r#"{{"{name}":{lists}}}"#).into_bytes());
            }
            Self::Twice(name) => {
                let more = format!(r#","{name}":[]}}"#);
                let object = answer.strip_suffix(b"}").unwrap();
                return (status, [object, more.as_bytes()].concat());
            }
            Self::Status(status) => {
                return (*status, json!({"status": "error"}).to_string().into_bytes());
            }
            Self::Member(name, value) => parsed[name] = value.clone(),
            Self::Without(name) => {
                parsed.as_object_mut().unwrap().remove(*name);
            }
            Self::Record(record) => {
                if let Some(first) = parsed["results"].get_mut(0) {
                    *first = record.clone();
                }
            }
        }
        (status, parsed.to_string().into_bytes())
    }
}

const MEMBERS: [&str; 3] = ["results", "paging", "total"];

/// Damage that can be noticed: an answer that is made another good answer cannot be told from one.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    let next = |after: Value| json!({"next": {"after": after}});
    let texts = vec![
        "",
        "null",
        "{}",
        r#"{"results":null}"#,
        r#"{"status":"error"}"#,
        r#"{"results":[],"status":"error"}"#,
        "\u{0}",
    ];
    let pagings = vec![
        json!(7),
        json!({"next": 7}),
        json!({"next": {}}),
        next(json!("0")),
        next(json!("-5")),
        next(json!(1e300)),
        next(json!("99999999999999999999999")),
        next(json!("35.5")),
        next(json!("last")),
        next(json!([])),
    ];
    let records = vec![json!(7), json!({}), json!({"id": null}), json!([])];
    let results = vec![json!({}), json!("a"), json!(1), json!(null)];
    let totals = vec![json!({}), json!("a"), json!(-1), json!(1e300), json!(0)];
    let one_of = |member, values| {
        prop::sample::select::<Value>(values).prop_map(move |value| Damage::Member(member, value))
    };
    prop_oneof![
        (0..100_usize).prop_map(Damage::Cut),
        prop::sample::select(texts).prop_map(Damage::Text),
        prop::sample::select(vec!["results", "paging", "a"]).prop_map(Damage::Deep),
        prop::sample::select(records).prop_map(Damage::Record),
        one_of("paging", pagings),
        one_of("results", results),
        one_of("total", totals),
        prop::sample::select(&MEMBERS[..]).prop_map(Damage::Without),
        prop::sample::select(&MEMBERS[..]).prop_map(Damage::Twice),
        prop::sample::select(vec![400, 403, 404, 500]).prop_map(Damage::Status),
    ]
}
