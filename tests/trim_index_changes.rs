//! Promise: when records come and go between two pieces, no record is twice in an answer, and none that stays where it is gets lost.
//! What such a change can do is what it can do to any paging: a record that moves across the edge of two pieces in the meantime can
//! be missed, as it can be across the edge of two pages.

mod common;
mod crm;

use std::collections::BTreeSet;

use crm::{Crm, SEARCH, Store, Way, call, post};
use serde_json::{Value, json};
use tower::Layer;
use tower_quota::PayloadTrimLayer;
use tower_quota::hubspot::SearchPages;

/// Five records more than two pages have, with ids from 1,001.
fn store() -> Store {
    let all = Store::of(1_405);
    Store {
        records: all
            .records
            .into_iter()
            .filter(|(id, _)| *id > 1_000)
            .collect(),
        ..Store::default()
    }
}

/// A server that bears 25 records at a time of [`page`].
fn crm() -> Crm {
    let crm = Crm::new(store());
    crm.set_budget(25 * 2);
    crm
}

fn page() -> Value {
    json!({"limit": 200, "properties": ["p1"]})
}

fn all_differ(ids: &[u64]) -> bool {
    ids.iter().collect::<BTreeSet<_>>().len() == ids.len()
}

/// Calls once, with one piece at a time so that the test knows what is between which.
async fn first_page(crm: &Crm) -> crm::Got {
    let layer = PayloadTrimLayer::new(SearchPages::default()).parallel(1);
    let got = call(&layer.unwrap().layer(crm.clone()), post(SEARCH, &page())).await;
    got.unwrap()
}

/// All behind it moves back by one, so that the first of a piece was the last of the piece before.
#[tokio::test(start_paused = true)]
async fn a_record_that_comes_makes_none_come_twice() {
    let crm = crm();
    let mut new = 1_000;
    crm.set_hook(move |_, asked, store| {
        if asked.after > 0 {
            store.records.insert(new, Default::default());
            new -= 1;
        }
        None
    });
    let got = first_page(&crm).await;
    assert_eq!(got.status, 200);
    // Seven came, one between each two pieces: their places in the later pieces are doubles, and the page is shorter.
    assert_eq!(got.ids(), (1_001..=1_193).collect::<Vec<_>>());
    assert_eq!(got.json()["total"], 412, "what the last piece said");
    assert_eq!(got.next().as_deref(), Some("200"));
}

/// All behind it moves up by one, and the first of the next piece is in the piece before, which is read already.
#[tokio::test(start_paused = true)]
async fn a_record_that_goes_hides_one_at_most() {
    let crm = crm();
    let mut gone = 1_001;
    crm.set_hook(move |_, asked, store| {
        if asked.after > 0 {
            store.records.remove(&gone);
            gone += 1;
        }
        None
    });
    let got = first_page(&crm).await;
    let ids = got.ids();
    assert_eq!(ids.len(), 200);
    assert!(all_differ(&ids));
    let all: BTreeSet<u64> = (1_001..=1_207).collect();
    let missed = all.difference(&ids.into_iter().collect()).count();
    assert_eq!(missed, 7, "one for each that went");
    assert_eq!(got.json()["total"], 398);
    assert_eq!(got.next().as_deref(), Some("200"));
}

/// The rest is archived while it is read: the answer ends where the records end.
#[tokio::test(start_paused = true)]
async fn all_that_follows_goes() {
    let crm = crm();
    crm.set_hook(|_, asked, store| {
        if asked.after >= 50 {
            store.records.retain(|id, _| *id <= 1_060);
        }
        None
    });
    let got = first_page(&crm).await;
    assert_eq!(got.ids(), (1_001..=1_060).collect::<Vec<_>>());
    assert_eq!((got.json()["total"].clone(), got.next()), (json!(60), None));
}

/// There is nothing any more where the next piece begins.
#[tokio::test(start_paused = true)]
async fn nothing_is_left() {
    let crm = crm();
    crm.set_hook(|_, asked, store| {
        if asked.after >= 50 {
            store.records.clear();
        }
        None
    });
    let got = first_page(&crm).await;
    assert_eq!(got.ids(), (1_001..=1_050).collect::<Vec<_>>());
    assert_eq!((got.json()["total"].clone(), got.next()), (json!(0), None));
}

/// The ids were found, and their properties are asked for: who was archived in the meantime is left out, as a search would have
/// left him out.
#[tokio::test(start_paused = true)]
async fn a_record_that_goes_between_its_id_and_its_properties() {
    let crm = Crm::new(store());
    // Ten records with three properties are too much; their ids, and one by one, are not.
    crm.set_budget(30);
    crm.set_hook(|_, asked, store| {
        if asked.way == Way::Inputs {
            store.records.remove(&1_002);
            store.records.remove(&1_011);
        }
        None
    });
    let api = PayloadTrimLayer::new(SearchPages::default()).layer(crm.clone());
    let body = json!({"limit": 12, "properties": ["p1", "p2", "p3"]});
    let got = call(&api, post(SEARCH, &body)).await.unwrap();
    let ids: Vec<u64> = (1_001..=1_012)
        .filter(|id| ![1_002, 1_011].contains(id))
        .collect();
    assert_eq!((got.status, got.ids()), (200, ids));
    assert_eq!(got.next().as_deref(), Some("12"));
    assert!(crm.asked().iter().any(|asked| asked.way == Way::Inputs));
}

/// A whole run of pages while records come and go: whoever stays and is not passed by a change is found.
#[tokio::test(start_paused = true)]
async fn paging_while_the_index_grows_at_its_end() {
    let crm = crm();
    let mut new = 2_000;
    crm.set_hook(move |_, _, store| {
        if new < 2_100 {
            store.records.insert(new, Default::default());
            new += 1;
        }
        None
    });
    let api = PayloadTrimLayer::new(SearchPages::default()).layer(crm.clone());
    let (mut body, mut ids) = (page(), Vec::new());
    loop {
        let got = call(&api, post(SEARCH, &body)).await.unwrap();
        ids.extend(got.ids());
        let Some(next) = got.next() else {
            break;
        };
        body["after"] = json!(next);
    }
    assert!(all_differ(&ids));
    assert_eq!(ids[..405], (1_001..=1_405).collect::<Vec<_>>());
}
