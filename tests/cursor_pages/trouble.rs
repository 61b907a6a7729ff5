//! Answers that are no page, and whatever else a server may send.

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::ask::{ask, json_api, refused, stripe, try_asking};

#[test]
fn what_makes_no_whole_page_is_an_error() {
    let first = r#"{"data":[1,2],"links":{"next":"?page[cursor]=b"}}"#;
    let table = [
        (r#"{"data":[1,2,3]}"#, "more records than were asked for"),
        (
            r#"{"data":[1],"links":{"next":"?page[cursor]=b"}}"#,
            "its next page is itself",
        ),
        (
            r#"{"data":[1],"links":{"next":"/things?page=3"}}"#,
            "its next link has no cursor",
        ),
        (
            r#"{"data":[1],"links":{"next":"/things?page[cursor]="}}"#,
            "its next link has no cursor",
        ),
        (
            r#"{"data":[1],"links":{"next":"?page[cursor]=x&page[cursor]=y"}}"#,
            "its next link has no cursor",
        ),
        (
            r#"{"data":[1],"links":{"next":"/things"}}"#,
            "its next link has no cursor",
        ),
        (
            r#"{"data":[1],"links":{"next":7}}"#,
            "its next link is no URL",
        ),
        (
            r#"{"data":[1],"links":{"next":{"url":"/things"}}}"#,
            "its next link is no URL",
        ),
        (
            r#"{"data":[1],"links":{"next":"?page[cursor]=a b"}}"#,
            "its cursor cannot be sent",
        ),
        (
            r#"{"data":[1],"errors":[{"status":"500"}]}"#,
            "errors beside the records",
        ),
        (r#"{"results":[1]}"#, "no list of records"),
        (r#"{"data":{"0":1}}"#, "no list of records"),
        (r#"{"data":[1],"data":[2]}"#, "a member twice"),
        (r#"{"data":[1],"included":{}}"#, "no list"),
        (r#"{"data":[1]"#, "no JSON object"),
        (r#"{"data":[1]} x"#, "no JSON object"),
        ("[1]", "no JSON object"),
        ("<html>", "no JSON object"),
        ("", "no JSON object"),
    ];
    for (second, why) in table {
        let error = refused(json_api(), "/things", &[first, second]);
        assert!(error.contains(why), "{second}: {error}");
    }
    let more = |record: &str, more: &str| format!(r#"{{"data":[{record}],"has_more":{more}}}"#);
    for record in ["{}", "1", r#"{"id":{}}"#, r#"{"id":""}"#] {
        let error = refused(stripe(), "/things", &[&more(record, "true")]);
        assert!(
            error.contains("where the next page begins"),
            "{record}: {error}"
        );
    }
    let error = refused(stripe(), "/things", &[&more(r#"{"id":1}"#, "1")]);
    assert!(error.contains("neither true nor false"), "{error}");
}

#[test]
fn what_is_no_page_goes_to_the_caller_as_it_is() {
    let first = (200, r#"{"data":[1,2],"links":{"next":"?page[cursor]=b"}}"#);
    let table = [
        (400, r#"{"errors":[]}"#),
        (404, ""),
        (304, ""),
        (200, r#"{"errors":[{"status":"500"}],"links":{}}"#),
        (200, r#"{"error":{"message":"no"}}"#),
    ];
    for answer in table {
        let got = try_asking(json_api(), "/things", &[first, answer]).unwrap();
        assert_eq!((got.status, got.body.as_str()), answer);
    }
    let got = try_asking(json_api(), "/things", &[(204, "")]).unwrap();
    assert_eq!((got.status, got.body.as_str()), (204, ""));
}

#[test]
fn deep_nesting_is_read_without_a_deep_stack() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let first = format!(
        r#"{{"data":[{deep},{{"id":{deep}}}],"links":{{"next":"?page[cursor]=b"}},"x":{deep}}}"#
    );
    let got = ask(json_api(), "/things", &[&first, r#"{"data":[1]}"#]);
    assert!(got.body.starts_with(r#"{"data":[[[["#));
}

#[test]
fn a_small_text_does_not_fill_the_memory() {
    let many = |element: &str| format!("{element}{}", format!(",{element}").repeat(2_000_000));
    let lists = format!(r#"{{"data":[{}]}}"#, many("0"));
    let error = refused(json_api(), "/things", &[&lists]);
    assert!(error.contains("no list of records"), "{error}");
    let objects = format!(r#"{{"data":[1],{}}}"#, many(r#""":0"#));
    let error = refused(json_api(), "/things", &[&objects]);
    assert!(error.contains("no JSON object"), "{error}");

    let included = many("0").split_at(150_000).0.to_owned();
    let page = |at| {
        let next = format!(r#""links":{{"next":"?page[cursor]={at}"}}"#);
        format!(r#"{{"data":[{at}],"included":[{included}0],{next}}}"#)
    };
    let error = refused(json_api(), "/things", &[&page(1), &page(2), &page(3)]);
    assert!(error.contains("too much is included"), "{error}");
}

/// What is read of a page: its values may be such that nobody can hold them.
#[derive(Deserialize)]
struct Page {
    data: Option<Vec<IgnoredAny>>,
}

/// A page, or nearly one.
fn page() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "null",
        "true",
        "1",
        "-1e999",
        "\"\"",
        "\"?page[cursor]=b\"",
        "\"\\ud800\"",
        "\"\\u0000é\"",
        "[]",
        "[1,2]",
        "{}",
        "{\"id\":1}",
        "[{\"id\":1},{\"id\":2}]",
        "[{\"id\":1,\"id\":1}]",
        "{\"href\":\"?page[size]=2#\"}",
        "{\"next\":\"?page[cursor]=c\"}",
        "{\"next\":{\"href\":\"x?&page%5Bcursor%5D=%\"}}",
        "{\"self\":\"?page[size\"}",
    ]);
    let name = prop::sample::select(vec![
        "data",
        "links",
        "included",
        "errors",
        "meta",
        "has_more",
        "d\\u0061ta",
        "x",
    ]);
    let members = prop::collection::vec((name, value), 0..6).prop_map(|members| {
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(","))
    });
    (
        members,
        prop::option::of((any::<prop::sample::Index>(), any::<char>())),
    )
        .prop_map(|(page, broken)| match broken {
            Some((at, instead)) => {
                let at = at.index(page.len());
                let cut = |(place, char)| if place == at { instead } else { char };
                page.char_indices().map(cut).collect()
            }
            None => page,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Nothing a server sends makes it panic, and what the caller gets for a page is a page.
    #[test]
    fn whatever_a_server_sends_is_a_page_or_an_error(first in page(), second in page(), rest in page(), by_id in any::<bool>()) {
        let pages = if by_id { stripe() } else { json_api() };
        let answers = [first, second, rest];
        let answers: Vec<(u16, &str)> = answers.iter().map(|body| (200, body.as_str())).collect();
        let asked = [&answers[..], &[(404, ""); 4]].concat();
        if let Ok(got) = try_asking(pages, "/things", &asked) {
            if got.trimmed.is_some() {
                let page: Page = serde_json::from_str(&got.body).unwrap();
                prop_assert!(page.data.is_none_or(|records| records.len() <= 4));
            }
        }
    }
}
