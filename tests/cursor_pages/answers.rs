//! What the caller gets for the pieces, to the letter.

use tower_quota::trim::NextCursor;

use crate::ask::{ask, json_api, stripe};

#[test]
fn records_are_put_together_byte_for_byte() {
    let first = r#"{"data": [ {"id":1, "x":1.0e0} , {"id":2,"x":"\u00e9 ]"}],"links":{"next":"?page[cursor]=b"}, "a":1}"#;
    let second = r#"{"b":{"x" : 1},"data":[{"id":3,"x":[ ]},{"id":4,"x":12345678901234567890123}],"links":{"next":"?page[cursor]=c"},"c":null}"#;
    let got = ask(json_api(), "/things?page[size]=4", &[first, second]);
    let whole = r#"{"b":{"x" : 1},"data":[{"id":1, "x":1.0e0},{"id":2,"x":"\u00e9 ]"},{"id":3,"x":[ ]},{"id":4,"x":12345678901234567890123}],"links":{"next":"?page[cursor]=c"},"c":null}"#;
    assert_eq!(got.body, whole);
}

#[test]
fn links_are_those_of_the_whole_page() {
    let first = r#"{"data":[1,2],"links":{
        "self":"/things?page[cursor]=a&page[size]=2",
        "first":{"href":"/things?page[size]=2#top","meta":{"x":1}},
        "prev":"/things?page[cursor]=z&page%5Bsize%5D=2&x=1",
        "next":"/things?page[cursor]=b&page[size]=2"}}"#;
    let second = r#"{"data":[3,4],"links":{
        "self":"/things?page[cursor]=b&page[size]=2",
        "prev":"/things?page[cursor]=y&page[size]=2",
        "last":"/things?page[size]=2",
        "about":"/about?page[size]=2",
        "next":"/things?page[cursor]=c&page[size]=2"}}"#;
    let links = |target| {
        let got = ask(json_api(), target, &[first, second]);
        let body: serde_json::Value = serde_json::from_str(&got.body).unwrap();
        body["links"].clone()
    };
    let with_size = serde_json::json!({
        "self": "/things?page[cursor]=a&page[size]=04",
        "first": {"href": "/things?page[size]=04#top", "meta": {"x": 1}},
        "prev": "/things?page[cursor]=z&page%5Bsize%5D=04&x=1",
        "about": "/about?page[size]=2",
        "next": "/things?page[cursor]=c&page[size]=04",
    });
    assert_eq!(links("/things?page[cursor]=a&page[size]=04"), with_size);
    let without_size = serde_json::json!({
        "self": "/things?page[cursor]=a",
        "first": {"href": "/things#top", "meta": {"x": 1}},
        "prev": "/things?page[cursor]=z&x=1",
        "about": "/about?page[size]=2",
        "next": "/things?page[cursor]=c",
    });
    assert_eq!(links("/things?page[cursor]=a"), without_size);
}

#[test]
fn links_that_only_the_first_page_has_are_kept() {
    let first = r#"{"data":[1,2],"links":{"self":"/me","prev":"/p","next":"?page[cursor]=b"}}"#;
    for second in [
        r#"{"data":[3]}"#,
        r#"{"data":[3],"links":null}"#,
        r#"{"data":[3],"links":{}}"#,
    ] {
        let got = ask(json_api(), "/things", &[first, second]);
        let whole = r#"{"data":[1,2,3],"links":{"self":"/me","prev":"/p"}}"#;
        assert_eq!(got.body, whole);
    }
}

#[test]
fn figures_of_the_page_are_those_of_the_whole() {
    let page = |at, next| {
        format!(
            r#"{{"data":[{at}],"links":{{"next":{next}}},"meta":{{"page":{{"size":2,"count":1}},"total":9}}}}"#
        )
    };
    let first = page(1, r#""?page[cursor]=b""#);
    let pages = json_api()
        .size_member("meta.page.size")
        .count_member("meta.page.count");
    let got = ask(pages, "/things", &[&first, &page(2, "null")]);
    let whole =
        r#"{"data":[1,2],"links":{"next":null},"meta":{"page":{"size":4,"count":2},"total":9}}"#;
    assert_eq!(got.body, whole);
}

#[test]
fn what_is_included_is_put_together_once() {
    let first = r#"{"data":[{"type":"a","id":"1"},{"type":"a","id":"2"}],"links":{"next":"?page[cursor]=b"},
        "included":[{"type":"b","id":"1"},{"type":"a","id":"3"},{"no":"id"}]}"#;
    let second = r#"{"data":[{"type":"a","id":"3"}],"included":[{"type":"b","id":"1"},{"type":"b","id":"2"},{"no":"id"}]}"#;
    let got = ask(json_api(), "/things", &[first, second]);
    let whole = r#"{"data":[{"type":"a","id":"1"},{"type":"a","id":"2"},{"type":"a","id":"3"}],"included":[{"type":"b","id":"1"},{"no":"id"},{"type":"b","id":"2"},{"no":"id"}]}"#;
    assert_eq!(got.body, whole);
    // Also when the last page includes nothing.
    let got = ask(json_api(), "/things", &[first, r#"{"data":[]}"#]);
    assert!(
        got.body
            .ends_with(r#""included":[{"type":"b","id":"1"},{"type":"a","id":"3"},{"no":"id"}]}"#),
        "{}",
        got.body
    );
}

#[test]
fn lists_loaded_beside_the_records_have_ids_of_their_own() {
    let pages = json_api()
        .records("tickets")
        .included(["users", "groups"])
        .next_cursor(NextCursor::link("next"));
    let first = r#"{"tickets":[{"id":1},{"id":2}],"users":[{"id":1},{"id":2}],"groups":[{"id":1}],"next":"?page[cursor]=b"}"#;
    let second = r#"{"tickets":[{"id":3}],"users":[{"id":2},{"id":3}],"groups":[],"next":null}"#;
    let got = ask(pages, "/things", &[first, second]);
    let whole = r#"{"tickets":[{"id":1},{"id":2},{"id":3}],"users":[{"id":1},{"id":2},{"id":3}],"groups":[{"id":1}],"next":null}"#;
    assert_eq!(got.body, whole);
}

#[test]
fn a_short_piece_is_not_the_end() {
    let page =
        |at, cursor| format!(r#"{{"data":[{at}],"links":{{"next":"?page[cursor]={cursor}"}}}}"#);
    let answers = [page(1, "b"), page(2, "c"), page(3, "d"), page(4, "e")];
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let got = ask(json_api(), "/things?page[size]=4", &answers);
    assert_eq!(
        got.body,
        r#"{"data":[1,2,3,4],"links":{"next":"?page[cursor]=e"}}"#
    );
    let sizes: Vec<&str> = got
        .asked
        .iter()
        .map(|asked| &asked["/things?page[size]=".len()..])
        .collect();
    // What is missing of a piece is asked for together with what follows.
    let expected = [
        "4",
        "2",
        "2&page%5Bcursor%5D=b",
        "2&page%5Bcursor%5D=c",
        "1&page%5Bcursor%5D=d",
    ];
    assert_eq!(sizes, expected);
}

#[test]
fn a_record_that_moved_to_a_later_page_is_given_once() {
    let first = r#"{"data":[{"id":1},{"id":2}],"has_more":true}"#;
    let second = r#"{"data":[{"id":2},{"id":3}],"has_more":true}"#;
    let third = r#"{"data":[{"id":4}],"has_more":true}"#;
    let got = ask(stripe(), "/things", &[first, second, third]);
    assert_eq!(
        got.body,
        r#"{"data":[{"id":1},{"id":2},{"id":3},{"id":4}],"has_more":true}"#
    );
    assert_eq!(got.asked[2], "/things?limit=2&starting_after=2");
    assert_eq!(got.asked[3], "/things?limit=1&starting_after=3");
}

#[test]
fn records_are_not_taken_for_one_another() {
    let first = r#"{"data":[{"type":"a","id":"1"},{"type":"a","id":"1"}],"links":{"next":"?page[cursor]=b"}}"#;
    let second = r#"{"data":[{"type":"b","id":"1"},{"type":"a","id":1}]}"#;
    let whole = r#"{"data":[{"type":"a","id":"1"},{"type":"a","id":"1"},{"type":"b","id":"1"},{"type":"a","id":1}]}"#;
    assert_eq!(ask(json_api(), "/things", &[first, second]).body, whole);
    // Records that cannot be told apart are all kept.
    for record in [
        "{}",
        r#"{"id":null}"#,
        r#"{"id":{}}"#,
        r#"{"id":""}"#,
        "1",
        "[]",
        r#"{"id":1,"id":1}"#,
    ] {
        let first =
            format!(r#"{{"data":[{record},{record}],"links":{{"next":"?page[cursor]=b"}}}}"#);
        let second = format!(r#"{{"data":[{record}]}}"#);
        let whole = format!(r#"{{"data":[{record},{record},{record}]}}"#);
        assert_eq!(ask(json_api(), "/things", &[&first, &second]).body, whole);
    }
}

#[test]
fn pieces_that_bring_nothing_end_the_page_and_not_the_paging() {
    let first = r#"{"data":[{"id":1}],"links":{"next":"?page[cursor]=b&page[size]=2"}}"#;
    let target = "/things?page[size]=4";
    for second in [
        r#"{"data":[],"links":{"next":"?page[cursor]=c&page[size]=2"}}"#,
        r#"{"data":[{"id":1}],"links":{"next":"?page[cursor]=c&page[size]=2"}}"#,
    ] {
        let got = ask(json_api(), target, &[first, second]);
        assert_eq!(
            got.body,
            r#"{"data":[{"id":1}],"links":{"next":"?page[cursor]=c&page[size]=4"}}"#
        );
    }
    let got = ask(stripe(), "/things", &[r#"{"data":[],"has_more":true}"#]);
    assert_eq!(got.body, r#"{"data":[],"has_more":true}"#);
}
