//! Promise: a search that has as many characters as the server takes is never answered with the refusal of a piece, which says more
//! than the whole did: where it begins. It comes in other words, by its ids, or as the failure of the whole.

mod common;
mod crm;

use crm::store::LONGEST_SEARCH;
use crm::{Crm, SEARCH, Store, call, cost, post_text};
use serde_json::json;
use tower::Layer;
use tower_quota::PayloadTrimLayer;
use tower_quota::hubspot::SearchPages;

/// What a search says, of so many properties and so many characters, compact or with spaces.
fn search(properties: usize, is_airy: bool, length: usize) -> String {
    let names: Vec<_> = (0..properties).map(|name| format!("p{name}")).collect();
    let filters = json!([{"propertyName": "hs_object_id", "operator": "GT", "value": "0"}]);
    let mut body = json!({"limit": 200, "properties": names, "filters": filters, "note": ""});
    let mut text = String::new();
    for _ in 0..2 {
        text = match is_airy {
            true => format!("{body:#}"),
            false => body.to_string(),
        };
        body["note"] = json!("ü".repeat(length - text.chars().count()));
    }
    assert_eq!(text.chars().count(), length);
    text
}

/// How many searches of lengths up to the longest are answered, and how many end with the failure of the whole.
async fn answered(properties: usize, is_airy: bool) -> (usize, usize) {
    let crm = Crm::new(Store::of(300));
    let layer = PayloadTrimLayer::new(SearchPages::default()).max_shapes(0);
    let api = layer.layer(crm.clone());
    let (mut answered, mut failed) = (0, 0);
    for length in LONGEST_SEARCH - 39..=LONGEST_SEARCH {
        let text = search(properties, is_airy, length);
        let body = serde_json::from_str(&text).unwrap();
        crm.set_budget(cost(SEARCH, &body) / 8);
        let got = call(&api, post_text("t", SEARCH, text.clone()))
            .await
            .unwrap();
        if got.status == 504 {
            failed += 1;
            continue;
        }
        let (status, expected) = crm.oracle(SEARCH, &text);
        assert_eq!((got.status, got.json()), (status, expected));
        answered += 1;
    }
    println!("{properties} properties, spaces {is_airy}: {answered} answered, {failed} failed");
    (answered, failed)
}

#[tokio::test(start_paused = true)]
async fn spaces_make_room() {
    assert_eq!(answered(0, true).await, (40, 0));
}

/// The list of properties makes room in the search for ids, and batch reads may be of any length.
#[tokio::test(start_paused = true)]
async fn ids_make_room() {
    assert_eq!(answered(20, false).await, (40, 0));
}

/// There is room for `,"after":"10000"` or there is none.
#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_the_caller_gets_the_failure() {
    assert_eq!(answered(0, false).await, (40 - 16, 16));
}
