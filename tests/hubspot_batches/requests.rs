//! Which calls share a batch, and what it says.

use serde_json::json;
use tower_quota::batch::Twice;
use tower_quota::request::Effect;

use crate::bundle::{Bundle, concerns, single, single_with};

const CONTACTS: &str = "/crm/v3/objects/contacts";

/// The body of a create that says no more than it must.
const ANN: &str = r#"{"properties":{"firstname":"Ann"}}"#;

fn key(method: &str, path: &str, body: &str) -> String {
    let single = single(method, path, body);
    let single = single.unwrap_or_else(|| panic!("{method} {path} {body}"));
    single.operation().key().into_owned()
}

#[test]
fn calls_for_single_records_are_of_concern_and_others_are_not() {
    for path in [
        "/crm/v3/objects/contacts/1",
        "/crm/v4/objects/0-1/1?properties=email",
        "/crm/objects/2026-03/p1_car/1",
        "/crm/2026-09-beta/objects/contacts/a%40b.org?idProperty=email",
    ] {
        assert!(concerns("GET", path) && concerns("PATCH", path) && concerns("DELETE", path));
        assert!(!concerns("POST", path) && !concerns("PUT", path) && !concerns("HEAD", path));
    }
    for path in ["/crm/v3/objects/contacts", "/crm/objects/v3/contacts/"] {
        assert!(concerns("POST", path), "{path}");
        assert!(
            !concerns("GET", path) && !concerns("DELETE", path),
            "{path}"
        );
    }
    for path in [
        "/crm/v3/objects/contacts/search",
        "/crm/v3/objects/contacts/batch/read",
        "/crm/v3/objects/contacts/batch",
        "/crm/v3/objects/contacts/merge",
        "/crm/v3/objects/contacts/gdpr-delete",
        "/crm/v3/objects/contacts/1/associations/companies",
        "/crm/v3/lists/7",
        "/crm/v3/properties/contacts/email",
        "/contacts/v1/contact/1",
        "/",
    ] {
        for method in ["GET", "POST", "PATCH", "DELETE"] {
            assert!(!concerns(method, path), "{method} {path}");
        }
    }
}

#[test]
fn reads_become_a_batch_read() {
    let reads = Bundle::reads(&["1", "2", "3"]);
    let target = "/crm/v3/objects/contacts/batch/read";
    let body = json!({"inputs": [{"id": "1"}, {"id": "2"}, {"id": "3"}]});
    assert_eq!(reads.joined(), (target.to_owned(), body));
    let operation = reads.operation();
    assert_eq!(operation.most(), 100);
    assert_eq!(operation.effect(), Effect::Read);
    assert_eq!(operation.twice(), Twice::Join);

    let all = "?properties=email,%20x&propertiesWithHistory=a&properties=city&propertiesWithHistory=b+c&archived=true";
    assert!(
        single("GET", &format!("{CONTACTS}/1{all}"), "").is_none(),
        "a space"
    );
    let all = all.replace("%20", "");
    let reads = Bundle::new(&[("GET", &*format!("{CONTACTS}/7{all}"), "")]);
    let target = "/crm/v3/objects/contacts/batch/read?archived=true";
    let body = json!({"properties": ["email", "x", "city"], "propertiesWithHistory": ["a", "b c"], "inputs": [{"id": "7"}]});
    assert_eq!(reads.joined(), (target.to_owned(), body));
    assert_eq!(reads.operation().most(), 50);
}

#[test]
fn a_read_by_a_property_asks_for_it() {
    for (query, expected) in [
        (
            "idProperty=email",
            json!({"idProperty": "email", "inputs": [{"id": "A@b.org"}]}),
        ),
        (
            "idProperty=email&properties=city,email",
            json!({"idProperty": "email", "properties": ["city", "email"], "inputs": [{"id": "A@b.org"}]}),
        ),
        (
            "properties=city&idProperty=ext_id",
            json!({"idProperty": "ext_id", "properties": ["city", "ext_id"], "inputs": [{"id": "A@b.org"}]}),
        ),
    ] {
        let path = format!("/crm/objects/2026-03/0-1/A%40b.org?{query}");
        let reads = Bundle::new(&[("GET", &*path, "")]);
        let target = "/crm/objects/2026-03/0-1/batch/read".to_owned();
        assert_eq!(reads.joined(), (target, expected), "{query}");
    }
}

#[test]
fn writes_become_batch_writes_with_a_trace_id_each() {
    let updates = Bundle::updates(&[("1", json!({"a": "x"})), ("2", json!({"b": null}))]);
    let body = json!({"inputs": [
        {"id": "1", "properties": {"a": "x"}, "objectWriteTraceId": "0"},
        {"id": "2", "properties": {"b": null}, "objectWriteTraceId": "1"},
    ]});
    assert_eq!(updates.joined(), (format!("{CONTACTS}/batch/update"), body));
    assert_eq!(updates.operation().effect(), Effect::IdempotentWrite);
    assert_eq!(updates.operation().twice(), Twice::InOrder);

    let updates = Bundle::updates(&[("a%40b.org?idProperty=email", json!({"a": 1.50}))]);
    let body = json!({"inputs": [{"id": "a@b.org", "idProperty": "email", "properties": {"a": 1.5}, "objectWriteTraceId": "0"}]});
    assert_eq!(updates.joined().1, body);
    let updates = Bundle::updates(&[("7?idProperty=hs_object_id", json!({"a": true}))]);
    let body =
        json!({"inputs": [{"id": "7", "properties": {"a": true}, "objectWriteTraceId": "0"}]});
    assert_eq!(updates.joined().1, body);

    let creates = Bundle::creates(&[json!({"email": "a@b.org"}), json!({"email": "c@d.org"})]);
    let body = json!({"inputs": [
        {"properties": {"email": "a@b.org"}, "objectWriteTraceId": "0"},
        {"properties": {"email": "c@d.org"}, "objectWriteTraceId": "1"},
    ]});
    assert_eq!(creates.joined(), (format!("{CONTACTS}/batch/create"), body));
    assert_eq!(creates.operation().effect(), Effect::Create);
    assert!(creates.inputs().iter().all(|input| input.name().is_none()));

    let archives = Bundle::new(&[
        ("DELETE", "/crm/v3/objects/contacts/1", ""),
        ("DELETE", "/crm/v3/objects/contacts/2/", ""),
    ]);
    let body = json!({"inputs": [{"id": "1"}, {"id": "2"}]});
    assert_eq!(
        archives.joined(),
        (format!("{CONTACTS}/batch/archive"), body)
    );
    assert_eq!(archives.operation().effect(), Effect::IdempotentWrite);
    assert_eq!(archives.operation().twice(), Twice::Join);
}

#[test]
fn values_are_sent_as_they_were_written() {
    let written =
        r#" { "properties" : {"a" : "\u00e9\/", "b":1e400 ,"c":-0.0} , "associations" : [ ] } "#;
    let creates = Bundle::new(&[("POST", CONTACTS, written)]);
    let joined = creates.operation().join(creates.inputs()).unwrap();
    let body = std::str::from_utf8(joined.body()).unwrap();
    let expected = r#"{"inputs":[{ "properties" : {"a" : "\u00e9\/", "b":1e400 ,"c":-0.0} , "associations" : [ ] ,"objectWriteTraceId":"0"}]}"#;
    assert_eq!(body, expected);
    let updates = Bundle::new(&[(
        "PATCH",
        "/crm/v3/objects/contacts/a%22%5C%0Ab?idProperty=name",
        r#"{"properties":{"a":"\u00e9"}}"#,
    )]);
    let joined = updates.operation().join(updates.inputs()).unwrap();
    let body = std::str::from_utf8(joined.body()).unwrap();
    let expected = r#"{"inputs":[{"id":"a\"\\\nb","idProperty":"name","properties":{"a":"\u00e9"},"objectWriteTraceId":"0"}]}"#;
    assert_eq!(body, expected);
}

#[test]
fn what_differs_keeps_apart() {
    let all = [
        ("GET", "/crm/v3/objects/contacts/1", ""),
        ("GET", "/crm/objects/v3/contacts/1", ""),
        ("GET", "/crm/v4/objects/contacts/1", ""),
        ("GET", "/crm/v3/objects/CONTACTS/1", ""),
        ("GET", "/crm/v3/objects/companies/1", ""),
        ("GET", "/crm/v3/objects/contacts/1?archived=true", ""),
        ("GET", "/crm/v3/objects/contacts/1?properties=a", ""),
        ("GET", "/crm/v3/objects/contacts/1?properties=a,b", ""),
        ("GET", "/crm/v3/objects/contacts/1?properties=b,a", ""),
        ("GET", "/crm/v3/objects/contacts/1?properties=a%22,%22b", ""),
        (
            "GET",
            "/crm/v3/objects/contacts/1?propertiesWithHistory=a",
            "",
        ),
        (
            "GET",
            "/crm/v3/objects/contacts/1?propertiesWithHistory=a&properties=a",
            "",
        ),
        ("GET", "/crm/v3/objects/contacts/1?idProperty=email", ""),
        (
            "GET",
            "/crm/v3/objects/contacts/1?idProperty=email&properties=a",
            "",
        ),
        (
            "GET",
            "/crm/v3/objects/contacts/1?idProperty=email&properties=a,email",
            "",
        ),
        (
            "GET",
            "/crm/v3/objects/contacts/1?idProperty=name&properties=a,name",
            "",
        ),
        ("PATCH", "/crm/v3/objects/contacts/1", ANN),
        ("PATCH", "/crm/v3/objects/contacts/1?idProperty=email", ANN),
        ("PATCH", "/crm/v3/objects/contacts/1?idProperty=name", ANN),
        ("POST", "/crm/v3/objects/contacts", ANN),
        (
            "POST",
            "/crm/v3/objects/contacts",
            r#"{"properties":{"a":"b"},"associations":[]}"#,
        ),
        ("DELETE", "/crm/v3/objects/contacts/1", ""),
    ];
    let mut keys: Vec<_> = all
        .iter()
        .map(|(method, path, body)| key(method, path, body))
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all.len(), "{keys:#?}");
}

#[test]
fn what_does_not_differ_shares_a_batch() {
    for (one, other) in [
        ("1", "2"),
        ("1", "1/"),
        ("1", "1?"),
        ("1", "1?archived=false"),
        ("1", "1?idProperty=hs_object_id"),
        ("1?properties=a,b", "2?properties=a&properties=b"),
        ("1?properties=a,b", "2?archived=false&properties=a%2Cb"),
        (
            "1?properties=a&propertiesWithHistory=b",
            "2?propertiesWithHistory=b&properties=%61",
        ),
        ("a?idProperty=email", "b?idProperty=email"),
    ] {
        let path = |end: &str| format!("{CONTACTS}/{end}");
        assert_eq!(
            key("GET", &path(one), ""),
            key("GET", &path(other), ""),
            "{one} {other}"
        );
    }
}

#[test]
fn a_record_is_named_so_that_the_same_one_is_known() {
    let name = |path: &str| {
        let single = single("GET", &format!("{CONTACTS}/{path}"), "").unwrap();
        single.input().name().map(str::to_owned)
    };
    assert_eq!(name("12"), name("12/?archived=false"));
    let email = name("A%40B.org?idProperty=email");
    assert_eq!(email, name("a@b.ORG?idProperty=email"));
    assert_ne!(email, name("b@b.org?idProperty=email"));
    let code = |value: &str| name(&format!("{value}?idProperty=code&properties=code"));
    assert_ne!(code("A"), code("a"));
}

#[test]
fn what_no_batch_can_say_is_left_alone() {
    for path in [
        "/crm/v3/objects/contacts/1?associations=companies",
        "/crm/v3/objects/contacts/1?properties=a&limit=5",
        "/crm/v3/objects/contacts/1?archived=maybe",
        "/crm/v3/objects/contacts/1?archived=true&archived=false",
        "/crm/v3/objects/contacts/1?idProperty=email&idProperty=email",
        "/crm/v3/objects/contacts/1?idProperty=",
        "/crm/v3/objects/contacts/1?idProperty=Email",
        "/crm/v3/objects/contacts/1?properties=",
        "/crm/v3/objects/contacts/1?properties=a,,b",
        "/crm/v3/objects/contacts/1?properties=%zz",
        "/crm/v3/objects/contacts/1?properties=%ff",
        "/crm/v3/objects/contacts/1?=a",
        "/crm/v3/objects/contacts/1?&",
        "/crm/v3/objects/contacts/%31%",
        "/crm/v3/objects/contacts/splits",
        "/crm/v3/objects/contacts/1.5",
        "/crm/v3/objects/contacts/-1",
        "/crm/v3/objects/contacts/007",
        "/crm/v3/objects/contacts/123456789012345678901",
        "/crm/v3/objects/contacts/..?idProperty=email",
        "/crm/v3/objects/contacts/%2E?idProperty=email",
        "/crm/v3/objects/contacts/%20?idProperty=email",
        "/crm/v3/objects/contacts/%20a@b.org?idProperty=email",
        "/crm/v3/objects/contacts/a@b.org%09?idProperty=email",
        "/crm/v3/objects/contacts/a?idProperty=code",
        "/crm/v3/objects/companies/a?idProperty=email",
        "/crm/v3/objects/contacts/a?idProperty=code&properties=a&propertiesWithHistory=code",
    ] {
        assert!(single("GET", path, "").is_none(), "{path}");
    }
    assert!(single("GET", "/crm/v3/objects/contacts/1", "{}").is_none());
    assert!(single("DELETE", "/crm/v3/objects/contacts/1", "{}").is_none());
    assert!(single("DELETE", "/crm/v3/objects/contacts/1?idProperty=email", "").is_none());
    for query in ["?archived=true", "?properties=a", "?idProperty=email&x=1"] {
        let path = format!("/crm/v3/objects/contacts/1{query}");
        assert!(single("PATCH", &path, ANN).is_none(), "{query}");
    }
    assert!(single("POST", "/crm/v3/objects/contacts?idProperty=email", ANN).is_none());
}

#[test]
fn a_body_that_could_lose_something_is_left_alone() {
    let writes = [("POST", CONTACTS), ("PATCH", "/crm/v3/objects/contacts/1")];
    for body in [
        "",
        "[]",
        "{}",
        "{",
        "\u{feff}{\"properties\":{\"a\":\"b\"}}",
        r#"{"properties":{}}"#,
        r#"{"properties":null}"#,
        r#"{"properties":[]}"#,
        r#"{"properties":{"a":[]}}"#,
        r#"{"properties":{"a":{}}}"#,
        r#"{"properties":{"a":"\ud800"}}"#,
        r#"{"properties":{"a":"b","a":"b"}}"#,
        r#"{"properties":{"a":"b","\u0061":"c"}}"#,
        r#"{"properties":{"a":"b"},"properties":{"a":"b"}}"#,
        r#"{"properties":{"a":"b"},"id":"1"}"#,
        r#"{"properties":{"a":"b"},"objectWriteTraceId":"mine"}"#,
        r#"{"properties":{"a":"b"},"associations":[],"associations":[]}"#,
        r#"{"properties":{"a":"b"},"associations":{}}"#,
        r#"{"properties":{"a":"b"}} {}"#,
    ] {
        for (method, path) in writes {
            assert!(single(method, path, body).is_none(), "{method} {body}");
        }
    }
    let associated = r#"{"properties":{"a":"b"},"associations":[]}"#;
    assert!(single("PATCH", writes[1].1, associated).is_none());
    for (headers, expected) in [
        (&[("content-type", "application/json; charset=utf-8")], true),
        (&[("content-type", "text/plain")], false),
        (
            &[("content-type", "multipart/form-data; boundary=x")],
            false,
        ),
        (&[("content-encoding", "gzip")], false),
    ] {
        for (method, path) in writes {
            let is_understood = single_with(method, path, ANN, headers).is_some();
            assert_eq!(is_understood, expected, "{headers:?}");
        }
    }
}

#[test]
fn a_label_has_no_ids_and_an_end() {
    let label = |method: &str, path: &str, body: &str| {
        let single = single(method, path, body).unwrap();
        single.operation().label().into_owned()
    };
    let secret = "1234567?properties=secret";
    let at = |end: &str| format!("{CONTACTS}/{end}");
    assert_eq!(
        label("GET", &at(secret), ""),
        "POST /crm/v3/objects/contacts/batch/read"
    );
    let all = [
        label("GET", &at("1"), ""),
        label("GET", &at("1?archived=true"), ""),
        label("GET", &at("1?propertiesWithHistory=a"), ""),
        label("PATCH", &at("1"), ANN),
        label("DELETE", &at("1"), ""),
        label("POST", CONTACTS, ANN),
    ];
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len(), "{all:?}");
    let long = format!("/crm/v3/objects/{}/1", "long".repeat(1_000));
    assert!(label("GET", &long, "").len() < 100);
}

#[test]
fn creates_that_no_answer_could_tell_apart_are_not_joined() {
    let create = |properties: &str, with: &str| {
        let body = format!(r#"{{"properties":{properties},"associations":{with}}}"#);
        ("POST", CONTACTS.to_owned(), body)
    };
    let (one, other) = (r#"[{"to":{"id":"1"}}]"#, r#"[{"to":{"id":"2"}}]"#);
    let joins = |creates: &[(&str, String, String)]| {
        let creates = Bundle::new(creates);
        creates.operation().join(creates.inputs()).is_some()
    };
    let call = r#"{"hs_note_body":"call"}"#;
    assert!(joins(&[create(call, one), create(call, one)]));
    assert!(joins(&[
        create(call, one),
        create(r#"{"hs_note_body":"mail"}"#, other)
    ]));
    assert!(!joins(&[create(call, one), create(call, other)]));
    let same = r#"{ "hs_note_body" : "c\u0061ll", "x" : null }"#;
    assert!(!joins(&[create(call, one), create(same, other)]));
}
