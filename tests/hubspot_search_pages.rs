//! A HubSpot search or batch read that is asked in pieces has the answer that it would have had as a whole, or none.

#[path = "crm_world/mod.rs"]
mod world;

use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower_quota::hubspot::SearchPages;
use tower_quota::request::RequestHead;
use tower_quota::trim::{DROPPED_HEADER, Dropped, TrimError, TrimPolicy};
use world::{ASSOCIATIONS, Bears, Got, READ, SEARCH, Silence, World, ask, run, sorted};

fn properties() -> impl Strategy<Value = Vec<String>> {
    let names = |most| btree_set(0..80_u8, 0..most);
    let names = prop_oneof![3 => names(12), 1 => names(70)];
    names.prop_map(|names| names.into_iter().map(|name| format!("p{name}")).collect())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A search, in one of the spellings that mean the same.
fn search(limit: usize, after: usize, properties: &[String], as_text: bool) -> Value {
    let number = |number: usize| match as_text {
        true => json!(number.to_string()),
        false => json!(number),
    };
    let mut body = json!({
        "limit": number(limit),
        "after": number(after),
        "sorts": ["-createdate"],
        "unheard_of": {"deep": [1, null, "\u{1f980}"]},
    });
    if !properties.is_empty() {
        body["properties"] = json!(properties);
    }
    body
}

proptest! {
    #![proptest_config(config(250))]

    #[test]
    fn a_search_in_pieces_is_the_search(
        count in 0..300_u64,
        (limit, after) in (1..=200_usize, prop_oneof![Just(0), 0..320_usize]),
        properties in properties(),
        bears in (0..60_usize, 1..60_usize, 1..60_usize),
        shortens in any::<bool>(),
        as_text in any::<bool>(),
        (seed, parallel) in (any::<u64>(), 1..=6_usize),
    ) {
        let (pages, ids, inputs) = bears;
        let pages = if properties.is_empty() { pages.max(1) } else { pages };
        let world = World { seed, shortens, bears: Bears { pages, ids, inputs }, ..World::of(count) };
        let body = search(limit, after, &properties, as_text);
        let expected = world.whole(SEARCH, &body);
        let got = run(&world, SearchPages::default(), parallel, SEARCH, &body);
        prop_assert_eq!(got.answer(), expected);
    }

    #[test]
    fn records_that_are_gone_by_the_time_they_are_read_are_left_out(
        count in 1..200_u64,
        (gone, merged) in (btree_set(1..200_u64, 0..20), btree_set(1..200_u64, 0..6)),
        silence in prop_oneof![Just(Silence::Named), Just(Silence::AllMissing404), Just(Silence::OneMissing404)],
        inputs in 1..120_usize,
        (seed, parallel) in (any::<u64>(), 1..=6_usize),
    ) {
        // Where nothing at all can be read, it cannot be told why.
        let is_left = (1..=count).any(|id| !gone.contains(&id) && !merged.contains(&id));
        prop_assume!(is_left);
        let bears = Bears { pages: 0, ids: 40, inputs };
        let world = World { seed, bears, gone, merged, silence, ..World::of(count) };
        let body = search(200, 0, &["p1".to_owned(), "p7".to_owned()], false);
        let (_, mut expected) = world.whole(SEARCH, &body);
        let is_there = |record: &Value| {
            let id = world::id(record);
            !world.gone.contains(&id) && !world.merged.contains(&id)
        };
        expected["results"].as_array_mut().unwrap().retain(is_there);
        let got = run(&world, SearchPages::default(), parallel, SEARCH, &body);
        prop_assert_eq!(got.answer(), (200, expected));
    }

    #[test]
    fn a_batch_read_in_pieces_is_the_batch_read(
        count in 0..150_u64,
        ids in vec((1..160_u64, any::<bool>()), 1..=100),
        gone in btree_set(1..160_u64, 0..30),
        all_missing in any::<bool>(),
        inputs in 1..60_usize,
        (seed, parallel) in (any::<u64>(), 1..=6_usize),
    ) {
        let silence = if all_missing { Silence::AllMissing404 } else { Silence::Named };
        let bears = Bears { inputs, ..Bears::default() };
        let world = World { seed, bears, gone, silence, ..World::of(count) };
        let input = |(id, as_text): &(u64, bool)| match as_text {
            true => json!({"id": id.to_string(), "more": 1}),
            false => json!({"id": id}),
        };
        let list: Vec<_> = ids.iter().map(input).collect();
        let body = json!({"properties": ["p1"], "idProperty": null, "inputs": list});
        let (status, expected) = world.whole(READ, &body);
        let got = run(&world, SearchPages::default(), parallel, READ, &body);
        let (got_status, answer) = got.answer();
        prop_assert_eq!((got_status, sorted(answer)), (status, sorted(expected)));
    }

    #[test]
    fn associations_in_pieces_are_the_associations(
        ids in btree_set(1..2_000_u64, 1..300),
        inputs in 1..200_usize,
        (seed, parallel) in (any::<u64>(), 1..=6_usize),
    ) {
        let bears = Bears { inputs, ..Bears::default() };
        let world = World { seed, bears, ..World::of(900) };
        let list: Vec<_> = ids.iter().map(|id| json!({"id": id.to_string(), "after": "7"})).collect();
        let body = json!({"inputs": list});
        let (status, expected) = world.whole(ASSOCIATIONS, &body);
        let got = run(&world, SearchPages::default(), parallel, ASSOCIATIONS, &body);
        let (got_status, answer) = got.answer();
        prop_assert_eq!((got_status, sorted(answer)), (status, sorted(expected)));
    }

    /// Whatever becomes of one of the answers: the caller gets all records, or an error, or that answer where it is one that nobody
    /// takes for a page.
    #[test]
    fn a_part_is_never_the_whole(
        nth in 1..12_usize,
        damage in world::damage(),
        ids_first in any::<bool>(),
        (seed, parallel) in (any::<u64>(), 1..=4_usize),
    ) {
        let bears = Bears { pages: if ids_first { 0 } else { 25 }, ids: 40, inputs: 30 };
        let world = World { seed, bears, damage: Some((nth, damage)), ..World::of(180) };
        let body = search(150, 10, &["p1".to_owned()], false);
        let (_, expected) = world.whole(SEARCH, &body);
        match run(&world, SearchPages::default(), parallel, SEARCH, &body) {
            Got::Failed(error) => prop_assert!(error.is::<TrimError>(), "{error}"),
            got => {
                let (status, answer) = got.answer();
                let is_whole = status == 200 && answer["results"] == expected["results"];
                let is_error = status != 200 || answer["status"] == "error";
                prop_assert!(is_whole || is_error && answer.get("results").is_none(), "{answer}");
            }
        }
    }
}

/// What is asked after the answer that the caller's own request had.
fn bears(pages: usize, ids: usize, inputs: usize) -> Bears {
    Bears { pages, ids, inputs }
}

#[test]
fn a_record_that_is_neither_read_nor_gone_is_an_error() {
    let world = World {
        bears: bears(0, 200, 100),
        hidden: BTreeSet::from([7]),
        ..World::of(20)
    };
    let body = search(20, 0, &["p1".to_owned()], false);
    let got = run(&world, SearchPages::default(), 4, SEARCH, &body);
    let Got::Failed(error) = got else {
        panic!("{got:?}")
    };
    assert!(error.to_string().contains("neither"), "{error}");
}

#[test]
fn a_place_where_nothing_can_be_read_is_no_empty_page() {
    let world = World {
        bears: bears(0, 200, 100),
        gone: (1..=20).collect(),
        silence: Silence::NoSuchPlace,
        ..World::of(20)
    };
    let body = search(20, 0, &["p1".to_owned()], false);
    let got = run(&world, SearchPages::default(), 4, SEARCH, &body);
    let Got::Failed(error) = got else {
        panic!("{got:?}")
    };
    assert!(error.is::<TrimError>(), "{error}");
    // The caller's own batch read gets the answer.
    let body = json!({"inputs": (1..=20).map(|id| json!({"id": id})).collect::<Vec<_>>()});
    let world = World {
        bears: bears(0, 0, 5),
        ..world
    };
    let (status, _) = run(&world, SearchPages::default(), 4, READ, &body).answer();
    assert_eq!(status, 404);
}

#[test]
fn one_missing_input_does_not_hide_the_others() {
    let world = World {
        bears: bears(0, 0, 40),
        gone: BTreeSet::from([3, 77]),
        silence: Silence::OneMissing404,
        ..World::of(100)
    };
    let body = json!({"inputs": (1..=100).map(|id| json!({"id": id})).collect::<Vec<_>>()});
    // As a whole it would have been 404; in pieces it is not known that it would, and nothing is lost.
    let (status, answer) = run(&world, SearchPages::default(), 4, READ, &body).answer();
    assert_eq!(status, 207);
    assert_eq!(answer["results"].as_array().unwrap().len(), 98);
    assert_eq!(answer["errors"][0]["context"]["ids"], json!(["3", "77"]));
    assert_eq!(answer["numErrors"], 1);
}

#[test]
fn properties_are_left_out_only_when_that_is_allowed() {
    let world = World {
        bears: bears(0, 0, 0),
        most_properties: 1,
        ..World::of(30)
    };
    let body = search(
        20,
        0,
        &["p1".to_owned(), "p2".to_owned(), "p3".to_owned()],
        false,
    );
    let (status, _) = run(&world, SearchPages::default(), 4, SEARCH, &body).answer();
    assert_eq!(status, 504);
    let policy = SearchPages::default().keep_properties(["p2", "p9"]);
    let got = run(&world, policy, 4, SEARCH, &body);
    let Got::Answer { head, .. } = &got else {
        panic!("{got:?}")
    };
    assert_eq!(head.headers[DROPPED_HEADER], "p1,p3");
    let dropped = head.extensions.get::<Dropped>().unwrap();
    assert_eq!(dropped.0, ["p1", "p3"]);
    let mut kept = body.clone();
    kept["properties"] = json!(["p2"]);
    assert_eq!(got.answer(), world.whole(SEARCH, &kept));
}

#[test]
fn a_record_that_moves_to_a_later_page_comes_once() {
    let world = World {
        bears: bears(25, 200, 100),
        // From the second page on there is one more before all others.
        grows_after: Some(3),
        ..World::of(100)
    };
    let body = search(100, 0, &[], false);
    let (status, answer) = run(&world, SearchPages::default(), 1, SEARCH, &body).answer();
    let ids: Vec<_> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(world::id)
        .collect();
    let different: BTreeSet<_> = ids.iter().collect();
    assert_eq!((status, different.len()), (200, ids.len()));
    // The caller's next page goes on where this one ends.
    assert_eq!(ids.last(), Some(&99));
    assert_eq!(
        (&answer["total"], &answer["paging"]["next"]["after"]),
        (&json!(101), &json!("100"))
    );
}

#[test]
fn what_hubspot_would_refuse_is_sent_as_it_is() {
    let list = |count: u64| (1..=count).map(|id| json!({"id": id})).collect::<Vec<_>>();
    for (path, body) in [
        (SEARCH, r#"{"limit":201}"#.to_owned()),
        (SEARCH, r#"{"limit":200,"after":"9900"}"#.to_owned()),
        (SEARCH, r#"{"limit":"#.to_owned()),
        (SEARCH, "[1]".to_owned()),
        (SEARCH, String::new()),
        (READ, json!({"inputs": list(101)}).to_string()),
        (
            READ,
            json!({"inputs": list(51), "propertiesWithHistory": ["a"]}).to_string(),
        ),
        (READ, json!({"inputs": []}).to_string()),
        (READ, json!({"inputs": ["1"]}).to_string()),
        (READ, json!({"inputs": [{"id": null}]}).to_string()),
        (ASSOCIATIONS, json!({"inputs": list(1_001)}).to_string()),
    ] {
        let world = World::of(10);
        let (asked, _) = ask(&world, SearchPages::default(), 4, path, &body);
        assert_eq!(asked, [body]);
    }
}

#[test]
fn what_is_said_twice_is_sent_as_it_is() {
    for (path, body) in [
        (SEARCH, r#"{"limit":100,"limit":50}"#),
        (SEARCH, r#"{"after":"1","after":"2"}"#),
        (SEARCH, r#"{"properties":["p1"],"propert\u0069es":[]}"#),
        (READ, r#"{"inputs":[],"inputs":[{"id":1},{"id":2}]}"#),
        (READ, r#"{"inputs":[{"id":1,"id":2},{"id":3}]}"#),
        (
            READ,
            r#"{"inputs":[{"id":1},{"id":2}],"properties":[],"properties":["p1"]}"#,
        ),
    ] {
        let (asked, got) = ask(&World::of(10), SearchPages::default(), 4, path, body);
        assert_eq!(asked, [body]);
        assert_eq!(got.answer().0, 504);
    }
}

#[test]
fn hints_name_properties_and_no_values() {
    let request = http::Request::post(SEARCH).body(()).unwrap();
    let filters = json!([
        {"propertyName": "email", "operator": "CONTAINS_TOKEN", "value": "*secret"},
        {"propertyName": "phone", "operator": "HAS_PROPERTY"},
    ]);
    let body = json!({"filterGroups": [{"filters": filters}]}).to_string();
    let question = SearchPages::default().question(&RequestHead::from(&request), &body.into());
    let hints = question.unwrap().hints();
    assert_eq!(hints.len(), 2);
    assert!(hints[0].contains("CONTAINS_TOKEN on `email`"), "{hints:?}");
    assert!(hints[1].contains("HAS_PROPERTY on `phone`"), "{hints:?}");
    assert!(!hints.concat().contains("secret"));
}
