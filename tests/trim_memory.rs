//! Promise: what size works is learnt once for all clones, per account and shape, and tried first from then on; it grows back when
//! the server bears more, and does not go up and down when it does not; an outage teaches nothing. (T39, T57)

mod common;
mod crm;

use std::time::Duration;

use crm::{Crm, Fault, SEARCH, Store, call, cost, post, post_as};
use http::Request;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_quota::hubspot::SearchPages;
use tower_quota::plan::Plan;
use tower_quota::request::{AccountId, Token, TokenSource};
use tower_quota::stack::StackLayer;
use tower_quota::trim::PayloadTrim;
use tower_quota::{PayloadTrimLayer, Quota, RetryAfterLayer};

const DEALS: &str = "/crm/v3/objects/deals/search";

fn page() -> Value {
    json!({"limit": 200, "properties": ["p1", "p2", "p3"]})
}

/// A server that bears so many records of [`page`] at a time.
fn bears(records: u64) -> Crm {
    let crm = Crm::new(Store::of(400));
    set(&crm, records);
    crm
}

fn set(crm: &Crm, records: u64) {
    crm.set_budget(records * cost(SEARCH, &page()) / 200);
}

fn layer() -> PayloadTrimLayer {
    PayloadTrimLayer::new(SearchPages::default())
}

/// The sizes that are asked for when the page is wanted.
async fn sizes_of(
    api: &PayloadTrim<Crm>,
    request: Request<http_body_util::Full<bytes::Bytes>>,
) -> Vec<usize> {
    let crm = api.get_ref();
    crm.clear();
    assert_eq!(call(api, request).await.unwrap().status, 200);
    crm.sizes()
}

#[tokio::test(start_paused = true)]
async fn the_size_that_worked_is_tried_first_the_next_time() {
    let api = layer().layer(bears(25));
    let first = sizes_of(&api, post(SEARCH, &page())).await;
    assert_eq!(first[..4], [200, 100, 50, 25]);
    assert_eq!(first[4..], [25; 7]);
    assert_eq!(sizes_of(&api, post(SEARCH, &page())).await, [25; 8]);
    // A smaller page of the same shape needs no trimming at all.
    let mut small = page();
    small["limit"] = json!(20);
    assert_eq!(sizes_of(&api, post(SEARCH, &small)).await, [20]);
    small["limit"] = json!(60);
    assert_eq!(sizes_of(&api, post(SEARCH, &small)).await, [25, 25, 10]);
}

#[tokio::test(start_paused = true)]
async fn it_is_learnt_for_all_clones() {
    let layer = layer();
    let crm = bears(25);
    let (first, second) = (layer.layer(crm.clone()), layer.clone().layer(crm.clone()));
    sizes_of(&first, post(SEARCH, &page())).await;
    for api in [first.clone(), second] {
        assert_eq!(sizes_of(&api, post(SEARCH, &page())).await, [25; 8]);
    }
}

#[tokio::test(start_paused = true)]
async fn another_account_is_not_asked_in_small_pieces() {
    let api = layer().layer(bears(25));
    sizes_of(&api, post(SEARCH, &page())).await;
    let other = sizes_of(&api, post_as("u", SEARCH, &page())).await;
    assert_eq!(other[0], 200);
    // Two tokens of one account.
    let of_account = |token: &str| {
        let mut call = post_as(token, SEARCH, &page());
        call.extensions_mut().insert(AccountId("123".into()));
        call
    };
    assert_eq!(sizes_of(&api, of_account("v")).await[0], 200);
    assert_eq!(sizes_of(&api, of_account("w")).await, [25; 8]);
}

/// With a quota, accounts are told apart as it does: here by a token that is put into the request further inside.
#[tokio::test(start_paused = true)]
async fn in_a_stack_it_is_the_account_of_the_quota() {
    let plan = Plan::builder("none").build().unwrap();
    let quota = Quota::builder(plan).token_source(TokenSource::extension());
    let stack = StackLayer::new(&quota.build()).trim(SearchPages::default());
    let crm = bears(25);
    let api = stack.layer(crm.clone());
    let of = |token: &str, account: Option<&str>| {
        let mut asked = post(SEARCH, &page());
        asked.headers_mut().remove("authorization");
        asked.extensions_mut().insert(Token(token.to_owned()));
        if let Some(account) = account {
            asked.extensions_mut().insert(AccountId::from(account));
        }
        asked
    };
    for (token, account, first) in [
        ("t", None, 200),
        ("t", None, 25),
        ("u", None, 200),
        ("v", Some("123"), 200),
        ("w", Some("123"), 25),
    ] {
        crm.clear();
        let got = call(&api, of(token, account)).await.unwrap();
        assert_eq!(got.status, 200);
        assert_eq!(crm.sizes()[0], first, "{token}, {account:?}");
    }
}

/// A size that is shared between partitions is wiped by one of them for all others.
#[tokio::test(start_paused = true)]
async fn another_shape_has_a_size_of_its_own() {
    let crm = bears(25);
    let api = layer().layer(crm.clone());
    sizes_of(&api, post(SEARCH, &page())).await;

    let deals = post(DEALS, &page());
    assert_eq!(
        sizes_of(&api, deals).await[0],
        200,
        "another type of object"
    );
    let mut wider = page();
    wider["properties"] = (0..20).map(|name| format!("p{name}")).collect();
    assert_eq!(
        sizes_of(&api, post(SEARCH, &wider)).await[0],
        200,
        "many more properties"
    );
    let mut filtered = page();
    filtered["filters"] =
        json!([{"propertyName": "p1", "operator": "CONTAINS_TOKEN", "value": "ü"}]);
    assert_eq!(
        sizes_of(&api, post(SEARCH, &filtered)).await[0],
        200,
        "another operator"
    );

    let slim = json!({"limit": 100});
    for _ in 0..5 {
        for request in [&page(), &wider, &filtered, &slim] {
            sizes_of(&api, post(SEARCH, request)).await;
            assert_eq!(crm.heavy(), 0, "{request}");
        }
    }
    assert_eq!(sizes_of(&api, post(SEARCH, &slim)).await, [100]);
    assert_eq!(sizes_of(&api, post(SEARCH, &page())).await, [25; 8]);
}

/// With the runs of successes that the layer's page tells: after 256 pieces the first probe.
#[tokio::test(start_paused = true)]
async fn the_size_grows_back_to_the_whole_when_the_server_bears_it() {
    let crm = bears(25);
    let api = layer().layer(crm.clone());
    sizes_of(&api, post(SEARCH, &page())).await;
    set(&crm, 200);
    let (mut pieces, mut calls, mut seen) = (0, 0, Vec::new());
    loop {
        let sizes = sizes_of(&api, post(SEARCH, &page())).await;
        assert_eq!(crm.heavy(), 0);
        (pieces, calls) = (pieces + sizes.len(), calls + 1);
        seen.extend(sizes.iter().copied().max());
        if sizes == [200] {
            break;
        }
        assert!(calls < 200, "never whole again after {pieces} pieces");
    }
    seen.dedup();
    assert_eq!(seen, [25, 50, 100, 200], "step by step");
    assert!(pieces > 256, "no probe before a run of successes: {pieces}");
    println!("whole again after {calls} calls of 200 records, {pieces} pieces");
    for _ in 0..20 {
        assert_eq!(sizes_of(&api, post(SEARCH, &page())).await, [200]);
    }
}

/// A server that never bears more: each probe that fails makes the next one wait twice as long.
#[tokio::test(start_paused = true)]
async fn the_size_does_not_go_up_and_down() {
    let crm = bears(25);
    let api = layer().layer(crm.clone());
    sizes_of(&api, post(SEARCH, &page())).await;
    let (mut pieces, mut heavy) = (0, 0);
    for _ in 0..400 {
        let sizes = sizes_of(&api, post(SEARCH, &page())).await;
        assert!(
            sizes.iter().all(|size| [25, 50].contains(size)),
            "{sizes:?}"
        );
        (pieces, heavy) = (pieces + sizes.len(), heavy + crm.heavy());
    }
    println!("{heavy} of {pieces} pieces were too heavy, of a server that never bears more");
    // After 256 pieces, 512 more, and 1,024 more; then there are 3,200.
    assert_eq!(heavy, 3, "{heavy} in {pieces} pieces");
}

/// The server bears now this, now that: what the last probe found is asked until the next one.
#[tokio::test(start_paused = true)]
async fn a_server_that_changes_its_mind_costs_few_failures() {
    let crm = bears(25);
    let api = layer().layer(crm.clone());
    let (mut pieces, mut heavy) = (0, 0);
    for round in 0..600 {
        set(&crm, if (round / 50) % 2 == 0 { 25 } else { 100 });
        let sizes = sizes_of(&api, post(SEARCH, &page())).await;
        (pieces, heavy) = (pieces + sizes.len(), heavy + crm.heavy());
    }
    println!("{heavy} of {pieces} pieces were too heavy, of a server that changes its mind");
    assert!(heavy * 50 <= pieces, "{heavy} in {pieces} pieces");
}

#[tokio::test(start_paused = true)]
async fn an_outage_teaches_nothing() {
    let crm = bears(25);
    let api = layer().layer(crm.clone());
    sizes_of(&api, post(SEARCH, &page())).await;
    crm.set_budget(0);
    let other = json!({"limit": 150, "properties": ["p1"], "query": "ü"});
    for request in [page(), other.clone(), page()] {
        assert_eq!(
            call(&api, post(SEARCH, &request)).await.unwrap().status,
            504
        );
    }
    set(&crm, 25);
    assert_eq!(sizes_of(&api, post(SEARCH, &page())).await, [25; 8]);
    crm.set_budget(u64::MAX);
    assert_eq!(
        sizes_of(&api, post(SEARCH, &other)).await,
        [150],
        "never known to be too heavy"
    );
}

/// One failure in the middle of a run is no reason to ask for less for ever.
#[tokio::test(start_paused = true)]
async fn a_single_failure_costs_one_piece_and_no_more() {
    let crm = bears(50);
    let api = layer().layer(crm.clone());
    sizes_of(&api, post(SEARCH, &page())).await;
    let mut is_due = true;
    crm.set_hook(move |_, asked, _| {
        let fails = is_due && asked.after == 100;
        is_due &= !fails;
        fails.then_some(Fault::Status(504))
    });
    let mut sizes = sizes_of(&api, post(SEARCH, &page())).await;
    sizes.sort_unstable();
    assert_eq!(sizes, [25, 25, 50, 50, 50, 50]);
    assert_eq!(sizes_of(&api, post(SEARCH, &page())).await, [50; 4]);
}

/// Retries inside take what the layer can do nothing about; then the memory is the same.
#[tokio::test(start_paused = true)]
async fn repeats_inside_do_not_count_as_pieces() {
    let crm = bears(1);
    let retry = RetryAfterLayer::new(&crm::unlimited());
    let api = layer().layer(retry.layer(crm.clone()));
    let slim = json!({"limit": 8});
    crm.set_budget(1);
    let mut left = 3;
    crm.set_hook(move |_, asked, _| {
        let fails = left > 0 && asked.size == 1;
        left -= usize::from(fails);
        fails.then_some(Fault::Status(502))
    });
    for _ in 0..2 {
        assert_eq!(
            call(&api, post(SEARCH, &slim)).await.unwrap().ids(),
            [1, 2, 3, 4, 5, 6, 7, 8]
        );
    }
    let sizes = crm.sizes();
    assert_eq!(sizes[..3], [8, 4, 2]);
    assert_eq!(sizes[3..], vec![1; 3 + 8 + 8], "three of them failed");
}

#[tokio::test(start_paused = true)]
async fn the_memory_is_bounded() {
    let crm = bears(100);
    crm.set_times(Duration::ZERO, Duration::ZERO);
    let layer = layer().max_shapes(50);
    let api = layer.layer(crm.clone());
    let page = page();
    for account in 0..100 {
        let request = post_as(&format!("t{account}"), SEARCH, &page);
        assert_eq!(api.clone().oneshot(request).await.unwrap().status(), 200);
        // The first one is in use all the time.
        assert_eq!(
            sizes_of(&api, post_as("t0", SEARCH, &page)).await,
            [100, 100]
        );
        assert!(layer.remembered() <= 50);
    }
    assert_eq!(layer.remembered(), 50);
    assert_eq!(
        sizes_of(&api, post_as("t99", SEARCH, &page)).await,
        [100, 100]
    );
    assert_eq!(
        sizes_of(&api, post_as("t1", SEARCH, &page)).await,
        [200, 100, 100]
    );
    // What is never too heavy takes no place.
    set(&crm, 200);
    for account in 100..200 {
        let request = post_as(&format!("t{account}"), SEARCH, &page);
        assert_eq!(sizes_of(&api, request).await, [200]);
    }
    assert_eq!(
        sizes_of(&api, post_as("t99", SEARCH, &page)).await,
        [100, 100]
    );
}
