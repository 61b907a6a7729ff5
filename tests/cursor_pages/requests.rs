//! What is split, what is asked for, and how all that is set up.

use bytes::Bytes;
use http::{Method, Request};
use tower_quota::request::RequestHead;
use tower_quota::trim::{CursorPages, CursorPagesBuilder, NextCursor, TrimPolicy};

use crate::ask::{ask, json_api, stripe};

#[test]
fn all_other_parameters_stay_as_they_are_written() {
    let page =
        |cursor| format!(r#"{{"data":[1,2],"links":{{"next":"/x?page[cursor]={cursor}"}}}}"#);
    let first = page("b%2f+c&ignored=1");
    let target = "/things?a=%41&&page%5bsize%5D=4&page[cursor]=own%20&b&filter[x]=1,2";
    let got = ask(json_api(), target, &[&first, r#"{"data":[3,4]}"#]);
    let asked = [
        target,
        "/things?a=%41&&page%5bsize%5D=2&page[cursor]=own%20&b&filter[x]=1,2",
        "/things?a=%41&&page%5bsize%5D=2&page[cursor]=b%2f+c&b&filter[x]=1,2",
    ];
    assert_eq!(got.asked, asked);
}

#[test]
fn what_the_caller_did_not_say_is_added() {
    let first = r#"{"data":[1,2],"links":{"next":{"href":"?page%5Bcursor%5D=b#f","meta":{}}}}"#;
    let got = ask(
        json_api(),
        "/lists/7/things/",
        &[first, r#"{"data":[3,4]}"#],
    );
    let asked = [
        "/lists/7/things/",
        "/lists/7/things/?page%5Bsize%5D=2",
        "/lists/7/things/?page%5Bsize%5D=2&page%5Bcursor%5D=b",
    ];
    assert_eq!(got.asked, asked);
}

#[test]
fn a_cursor_in_a_member_is_encoded() {
    let field = || json_api().next_cursor(NextCursor::field("meta.next"));
    let page = |next: &str| format!(r#"{{"data":[1,2],"meta":{{"next":{next}}}}}"#);
    let second = |next| {
        let got = ask(field(), "/things", &[&page(next), r#"{"data":[3]}"#]);
        got.asked[2].rsplit_once('=').unwrap().1.to_owned()
    };
    assert_eq!(second(r#""a+/= é&""#), "a%2B%2F%3D%20%C3%A9%26");
    assert_eq!(second(r#""\u0061\n""#), "a%0A");
    assert_eq!(second("1200"), "1200");
}

#[test]
fn no_next_cursor_is_the_end_however_it_is_written() {
    for next in ["null", "\"\"", "false"] {
        let page = format!(r#"{{"data":[1],"links":{{"next":{next}}}}}"#);
        let got = ask(json_api(), "/things", &[&page]);
        assert_eq!(got.body, page);
    }
    for page in [
        r#"{"data":[1],"links":{}}"#,
        r#"{"data":[1],"links":null}"#,
        r#"{"data":[]}"#,
        r#"{"data":null}"#,
    ] {
        assert_eq!(ask(json_api(), "/things", &[page]).body, page);
    }
    for page in [
        r#"{"data":[{"id":1}],"has_more":false}"#,
        r#"{"data":[{"id":1}]}"#,
    ] {
        assert_eq!(ask(stripe(), "/things", &[page]).body, page);
    }
}

#[test]
fn what_is_paged_otherwise_or_not_well_said_is_not_split() {
    let is_split = |pages: CursorPagesBuilder, target: &str| {
        let request = Request::get(format!("https://api.example.com{target}"));
        let request = request.body(()).unwrap();
        let head = RequestHead::from(&request);
        let pages = pages.build().unwrap();
        pages.concerns(&head) && pages.question(&head, &Bytes::new()).is_some()
    };
    for query in [
        "",
        "?",
        "?page[size]=2",
        "?page%5Bsize%5D=0100",
        "?page[cursor]=",
        "?page[sizes]=x",
        "?Page[number]=3",
        "?limit=1",
    ] {
        assert!(is_split(json_api(), &format!("/things{query}")), "{query}");
    }
    for query in [
        "?page[number]=3",
        "?page%5Bnumber%5D=3&page[size]=10",
        "?page[number]",
        "?page=2",
        "?offset=20",
        "?page[before]=x",
        "?page[size]=1",
        "?page[size]=0",
        "?page[size]=101",
        "?page[size]=",
        "?page[size]",
        "?page[size]=+5",
        "?page[size]=-5",
        "?page[size]=5.0",
        "?page[size]=99999999999999999999",
        "?page[size]=5&page%5Bsize%5D=6",
        "?page[cursor]=a&page[cursor]=b",
    ] {
        assert!(!is_split(json_api(), &format!("/things{query}")), "{query}");
    }
    for path in [
        "/",
        "/thing",
        "/things/7",
        "/v1/things",
        "/lists//things",
        "/lists/7/8/things",
        "/Things",
    ] {
        assert!(!is_split(json_api(), path), "{path}");
    }
    assert!(is_split(json_api(), "/%74hings"));
    assert!(!is_split(stripe(), "/things?ending_before=x"));
    assert!(!is_split(json_api().not_with(["nr"]), "/things?nr=3"));
    assert!(is_split(json_api().not_with(["nr"]), "/things?page=3"));
    // What pages is no other way to page.
    assert!(is_split(
        json_api().cursor_parameter("page"),
        "/things?page=abc"
    ));
    // Without a size known, only what says its own.
    let unknown = || CursorPages::builder(["/things"]);
    assert!(!is_split(unknown(), "/things"));
    assert!(is_split(unknown(), "/things?page[size]=5000"));

    let pages = json_api().build().unwrap();
    for method in [Method::POST, Method::HEAD, Method::DELETE] {
        let request = Request::builder()
            .method(method)
            .uri("/things")
            .body(())
            .unwrap();
        assert!(!pages.concerns(&RequestHead::from(&request)));
    }
    let ranged = Request::get("/things")
        .header("range", "bytes=0-9")
        .body(())
        .unwrap();
    assert!(
        pages
            .question(&RequestHead::from(&ranged), &Bytes::new())
            .is_none()
    );
}

#[test]
fn the_shape_of_a_request_tells_names_only() {
    let pages = json_api().build().unwrap();
    let shape = |target: &str| {
        let request = Request::get(target).body(()).unwrap();
        let question = pages.question(&RequestHead::from(&request), &Bytes::new());
        question.unwrap().shape()
    };
    let one = shape("/lists/1/things?page[size]=50&include=a,b,c&filter=secret&page[cursor]=x");
    let other = shape("/lists/2/things?filter=other&include=b,c,d,e");
    assert_eq!(one, other);
    assert_eq!(
        (&*one.route, &*one.detail),
        ("/lists/{id}/things", "filter, include x4")
    );
    assert_ne!(one, shape("/lists/2/things?filter=other&include=b"));
    assert_ne!(one, shape("/things?filter=other&include=b,c,d,e"));
}

#[test]
fn a_description_that_makes_no_sense_is_refused() {
    let field = |builder: CursorPagesBuilder| builder.build().unwrap_err().field().to_owned();
    let none: [&str; 0] = [];
    assert_eq!(field(CursorPages::builder(none)), "paths");
    for path in [
        "", "things", "/", "/a//b", "/a/", "/a/{}", "/{", "/a/{b", "/a?b", "/a{b}c",
    ] {
        assert_eq!(field(CursorPages::builder([path])), "path", "{path}");
    }
    for (default, most) in [(0, 10), (11, 10), (0, 0)] {
        assert_eq!(
            field(json_api().size_parameter("n", default, most)),
            "size parameter"
        );
    }
    assert_eq!(field(json_api().size_parameter("", 1, 10)), "names");
    assert_eq!(field(json_api().cursor_parameter("")), "names");
    assert_eq!(field(json_api().id("")), "names");
    assert_eq!(field(json_api().not_with([""])), "names");
    assert_eq!(
        field(json_api().cursor_parameter("page[size]")),
        "cursor parameter"
    );
    assert_eq!(field(json_api().not_with(["page[cursor]"])), "not with");
    for path in ["", ".", "a.", ".a", "a..b"] {
        assert_eq!(field(json_api().records(path)), "records", "{path}");
        assert_eq!(field(json_api().included([path])), "included", "{path}");
        assert_eq!(
            field(json_api().next_cursor(NextCursor::field(path))),
            "next cursor"
        );
    }
    for builder in [
        json_api().records("links"),
        json_api().records("links.next.x"),
        json_api().included(["data"]),
        json_api().included(["a", "a"]),
        json_api().start_of_page(["links"]),
        json_api()
            .start_of_page(["meta"])
            .next_cursor(NextCursor::field("meta.next")),
        json_api().next_cursor(NextCursor::link("links.self")),
        json_api().size_member("meta").count_member("meta.count"),
    ] {
        assert_eq!(field(builder), "members");
    }
    // Names that merely begin alike are apart.
    assert!(
        json_api()
            .records("links_of_data")
            .included(["dat", "data2"])
            .build()
            .is_ok()
    );
}
