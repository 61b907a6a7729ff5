//! A HubSpot search or batch read that is asked in pieces has the answer that it would have had as a whole, or none.

#[path = "../common/mod.rs"]
mod common;
#[path = "../crm/mod.rs"]
mod crm;
mod damage;

use bytes::Bytes;
use crm::store::{AllMissing, Unread};
use crm::{ASSOCIATIONS, BATCH_READ, Crm, Fault, Got, SEARCH, Store, Way, call, post, unordered};
use http_body_util::Full;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::{BoxError, Layer, ServiceExt};
use tower_quota::PayloadTrimLayer;
use tower_quota::hubspot::SearchPages;
use tower_quota::request::RequestHead;
use tower_quota::trim::{DROPPED_HEADER, Dropped, TrimError, TrimPolicy};

/// How much the server bears at once.
#[derive(Clone, Copy, Debug)]
struct Bears {
    /// Records with properties in a search.
    pages: usize,
    /// Records without, in a search.
    ids: usize,
    /// Different inputs.
    inputs: usize,
}

/// So many records, of which some have values that need to be written with care.
fn store(count: u64) -> Store {
    let mut store = Store::of(count);
    for (id, values) in &mut store.records {
        for name in (0..16).filter(|name| (id + name) % 4 > 0) {
            values.insert(
                format!("p{name}"),
                json!(format!("p{name} \u{e9}\"\\ {id}")),
            );
        }
    }
    store
}

/// A server with these records, whose answers come in any order.
fn server(store: Store, bears: Bears, seed: u64) -> Crm {
    let crm = Crm::new(store);
    crm.set_too_much(move |asked| {
        let most = match asked.way {
            Way::Pages => bears.pages,
            Way::Ids => bears.ids,
            Way::Inputs => bears.inputs,
        };
        asked.size > most
    });
    crm.set_jitter(seed);
    crm
}

/// A batch of which something is missing is answered with 404, and what is missing is not named.
fn one_missing_hides_all(crm: &Crm) {
    crm.set_edge(|_, asked, status, answer| {
        if asked.way != Way::Inputs || status == 200 {
            return (status, answer);
        }
        let error =
            json!({"status": "error", "category": "OBJECT_NOT_FOUND", "correlationId": "c"});
        (404, error.to_string().into_bytes())
    });
}

/// Asks through the layer.
async fn ask(crm: &Crm, parallel: usize, path: &str, body: &Value) -> Result<Got, BoxError> {
    let layer = PayloadTrimLayer::new(SearchPages::default()).parallel(parallel);
    call(&layer.unwrap().layer(crm.clone()), post(path, body)).await
}

/// The same in a time of its own.
fn run(crm: &Crm, parallel: usize, path: &str, body: &Value) -> Result<Got, BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(ask(crm, parallel, path, body))
}

fn answer(got: Result<Got, BoxError>) -> (u16, Value) {
    let got = got.unwrap();
    (got.status, got.json())
}

/// What a batch read does not say of inputs that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    None,
    /// It is 404 where all are missing.
    AllMissing,
    /// It is 404 where one is missing, and none is named.
    OneMissing,
}

fn properties() -> impl Strategy<Value = Vec<String>> {
    let names = |most| btree_set(0..80_u8, 0..most);
    let names = prop_oneof![3 => names(12), 1 => names(70)];
    let name = |name: u8| match name % 10 {
        5 => format!("unknown{name}"),
        _ => format!("p{name}"),
    };
    names.prop_map(move |names| names.into_iter().map(name).collect())
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
        let (store, bears) = (store(count), Bears { pages, ids, inputs });
        let body = search(limit, after, &properties, as_text);
        let expected = store.answer(SEARCH, &body.to_string());
        let crm = server(store, bears, seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        crm.set_hook(move |nth, asked, store| {
            // The caller's own request is answered as it always is.
            let shortens = shortens && nth > 0;
            store.most_shown = shortens.then(|| rng.usize(1..=asked.size.max(1)));
            None
        });
        prop_assert_eq!(answer(run(&crm, parallel, SEARCH, &body)), expected);
    }

    #[test]
    fn records_that_are_gone_by_the_time_they_are_read_are_left_out(
        count in 1..200_u64,
        (gone, merged) in (btree_set(1..200_u64, 0..20), btree_set(1..200_u64, 0..6)),
        silence in prop_oneof![Just(Silence::None), Just(Silence::AllMissing), Just(Silence::OneMissing)],
        inputs in 1..120_usize,
        (seed, parallel) in (any::<u64>(), 1..=6_usize),
    ) {
        // Where nothing at all can be read, it cannot be told why.
        let is_left = (1..=count).any(|id| !gone.contains(&id) && !merged.contains(&id));
        prop_assume!(is_left);
        let mut store = store(count);
        if silence == Silence::AllMissing {
            store.all_missing = AllMissing::NotFound;
        }
        store.unread.extend(merged.into_iter().map(|id| (id, Unread::Merged)));
        store.unread.extend(gone.into_iter().map(|id| (id, Unread::Gone)));
        let body = search(200, 0, &["p1".to_owned(), "p7".to_owned()], false);
        let (_, mut expected) = store.answer(SEARCH, &body.to_string());
        let is_there = |record: &Value| {
            let id = crm::store::number(&record["id"]).unwrap();
            !store.unread.contains_key(&(id as u64))
        };
        expected["results"].as_array_mut().unwrap().retain(is_there);
        let crm = server(store, Bears { pages: 0, ids: 40, inputs }, seed);
        if silence == Silence::OneMissing {
            one_missing_hides_all(&crm);
        }
        prop_assert_eq!(answer(run(&crm, parallel, SEARCH, &body)), (200, expected));
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
        let mut store = store(count);
        store.records.retain(|id, _| !gone.contains(id));
        if all_missing {
            store.all_missing = AllMissing::NotFound;
        }
        let input = |(id, as_text): &(u64, bool)| match as_text {
            true => json!({"id": id.to_string(), "more": 1}),
            false => json!({"id": id}),
        };
        let list: Vec<_> = ids.iter().map(input).collect();
        let body = json!({"properties": ["p1"], "idProperty": null, "inputs": list});
        let (status, expected) = store.answer(BATCH_READ, &body.to_string());
        let crm = server(store, bears(0, 0, inputs), seed);
        let (got_status, answer) = answer(run(&crm, parallel, BATCH_READ, &body));
        prop_assert_eq!((got_status, unordered(answer)), (status, unordered(expected)));
    }

    #[test]
    fn associations_in_pieces_are_the_associations(
        ids in btree_set(1..2_000_u64, 1..300),
        inputs in 1..200_usize,
        (seed, parallel) in (any::<u64>(), 1..=6_usize),
    ) {
        let mut store = store(0);
        let with_some = (1..900_u64).filter(|id| id % 3 > 0);
        store.associated = with_some.map(|id| (id, vec![2 * id])).collect();
        let list: Vec<_> = ids.iter().map(|id| json!({"id": id.to_string(), "after": "7"})).collect();
        let body = json!({"inputs": list});
        let (status, expected) = store.answer(ASSOCIATIONS, &body.to_string());
        let crm = server(store, bears(0, 0, inputs), seed);
        let (got_status, answer) = answer(run(&crm, parallel, ASSOCIATIONS, &body));
        prop_assert_eq!((got_status, unordered(answer)), (status, unordered(expected)));
    }

    /// Whatever becomes of one of the answers: the caller gets all records, or an error, or that answer where it is one that nobody
    /// takes for a page.
    #[test]
    fn a_part_is_never_the_whole(
        nth in 1..12_usize,
        damage in damage::damage(),
        ids_first in any::<bool>(),
        (seed, parallel) in (any::<u64>(), 1..=4_usize),
    ) {
        let store = store(180);
        let body = search(150, 10, &["p1".to_owned()], false);
        let (_, expected) = store.answer(SEARCH, &body.to_string());
        let crm = server(store, bears(if ids_first { 0 } else { 25 }, 40, 30), seed);
        crm.set_edge(move |at, _, status, answer| match at == nth {
            true => damage.done_to(status, answer),
            false => (status, answer),
        });
        match run(&crm, parallel, SEARCH, &body) {
            Err(error) => prop_assert!(error.is::<TrimError>(), "{error}"),
            Ok(got) => {
                let (status, answer) = (got.status, got.json());
                let is_whole = status == 200 && answer["results"] == expected["results"];
                let is_error = status != 200 || answer["status"] == "error";
                prop_assert!(is_whole || is_error && answer.get("results").is_none(), "{answer}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_neither_read_nor_gone_is_an_error() {
    let mut store = store(20);
    store.unread.insert(7, Unread::Hidden);
    let crm = server(store, bears(0, 200, 100), 0);
    let body = search(20, 0, &["p1".to_owned()], false);
    let error = ask(&crm, 4, SEARCH, &body).await.unwrap_err();
    assert!(error.to_string().contains("neither"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_place_where_nothing_can_be_read_is_no_empty_page() {
    let no_such_place = |crm: &Crm| {
        crm.set_edge(|_, asked, status, answer| match asked.way {
            Way::Inputs => (404, br#"{"status":"error","message":"no path"}"#.to_vec()),
            _ => (status, answer),
        });
    };
    let crm = server(store(20), bears(0, 200, 100), 0);
    no_such_place(&crm);
    let body = search(20, 0, &["p1".to_owned()], false);
    let error = ask(&crm, 4, SEARCH, &body).await.unwrap_err();
    assert!(error.is::<TrimError>(), "{error}");
    // The caller's own batch read gets the answer.
    let crm = server(store(20), bears(0, 0, 5), 0);
    no_such_place(&crm);
    let got = ask(&crm, 4, BATCH_READ, &json!({"inputs": inputs(20)})).await;
    assert_eq!(got.unwrap().status, 404);
    assert!(crm.asked().len() > 1);
}

#[tokio::test(start_paused = true)]
async fn one_missing_input_does_not_hide_the_others() {
    let mut store = store(100);
    store.records.retain(|id, _| ![3, 77].contains(id));
    let crm = server(store, bears(0, 0, 40), 0);
    one_missing_hides_all(&crm);
    // As a whole it would have been 404; in pieces it is not known that it would, and nothing is lost.
    let got = ask(&crm, 4, BATCH_READ, &json!({"inputs": inputs(100)})).await;
    let (status, answer) = answer(got);
    assert_eq!(status, 207);
    assert_eq!(answer["results"].as_array().unwrap().len(), 98);
    assert_eq!(answer["errors"][0]["context"]["ids"], json!(["3", "77"]));
    assert_eq!(answer["numErrors"], 1);
}

#[tokio::test(start_paused = true)]
async fn properties_are_left_out_only_when_that_is_allowed() {
    let crm = Crm::new(store(30));
    // Several properties are too much in any case, and so are many records with one.
    crm.set_too_much(|asked| asked.way != Way::Pages || asked.cost > 10);
    let body = search(
        20,
        0,
        &(1..=10).map(|name| format!("p{name}")).collect::<Vec<_>>(),
        false,
    );
    assert_eq!(ask(&crm, 4, SEARCH, &body).await.unwrap().status, 504);
    let policy = SearchPages::default().keep_properties(["p2", "p99"]);
    let api = PayloadTrimLayer::new(policy).layer(crm.clone());
    let response = api.clone().oneshot(post(SEARCH, &body)).await.unwrap();
    let names: Vec<_> = [1, 3, 4, 5, 6, 7, 8, 9, 10]
        .map(|name| format!("p{name}"))
        .into();
    assert_eq!(response.headers()[DROPPED_HEADER], names.join(","));
    assert_eq!(response.extensions().get::<Dropped>().unwrap().0, names);
    let got = call(&api, post(SEARCH, &body)).await;
    let mut kept = body.clone();
    kept["properties"] = json!(["p2"]);
    assert_eq!(answer(got), store(30).answer(SEARCH, &kept.to_string()));
}

fn bears(pages: usize, ids: usize, inputs: usize) -> Bears {
    Bears { pages, ids, inputs }
}

/// One for each record.
fn inputs(count: u64) -> Vec<Value> {
    (1..=count).map(|id| json!({"id": id})).collect()
}

/// Checks that the body is sent once, and as it is, although that is too much.
async fn check_sent_as_it_is(path: &str, body: &str) {
    let crm = Crm::new(store(10));
    crm.set_hook(|_, _, _| Some(Fault::Status(504)));
    let api = PayloadTrimLayer::new(SearchPages::default()).layer(crm.clone());
    let request =
        post(path, &Value::Null).map(|_| Full::new(Bytes::copy_from_slice(body.as_bytes())));
    assert_eq!(call(&api, request).await.unwrap().status, 504);
    let asked: Vec<_> = crm.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(asked, [body]);
}

#[tokio::test(start_paused = true)]
async fn what_hubspot_would_refuse_is_sent_as_it_is() {
    for (path, body) in [
        (SEARCH, r#"{"limit":201}"#.to_owned()),
        (SEARCH, r#"{"limit":200,"after":"9900"}"#.to_owned()),
        (SEARCH, r#"{"limit":"#.to_owned()),
        (SEARCH, "[1]".to_owned()),
        (SEARCH, String::new()),
        (BATCH_READ, json!({"inputs": inputs(101)}).to_string()),
        (
            BATCH_READ,
            json!({"inputs": inputs(51), "propertiesWithHistory": ["a"]}).to_string(),
        ),
        (BATCH_READ, json!({"inputs": []}).to_string()),
        (BATCH_READ, json!({"inputs": ["1"]}).to_string()),
        (BATCH_READ, json!({"inputs": [{"id": null}]}).to_string()),
        (ASSOCIATIONS, json!({"inputs": inputs(1_001)}).to_string()),
    ] {
        check_sent_as_it_is(path, &body).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_twice_is_sent_as_it_is() {
    for (path, body) in [
        (SEARCH, r#"{"limit":100,"limit":50}"#),
        (SEARCH, r#"{"after":"1","after":"2"}"#),
        (SEARCH, r#"{"properties":["p1"],"propert\u0069es":[]}"#),
        (BATCH_READ, r#"{"inputs":[],"inputs":[{"id":1},{"id":2}]}"#),
        (BATCH_READ, r#"{"inputs":[{"id":1,"id":2},{"id":3}]}"#),
        (
            BATCH_READ,
            r#"{"inputs":[{"id":1},{"id":2}],"properties":[],"properties":["p1"]}"#,
        ),
    ] {
        check_sent_as_it_is(path, body).await;
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
