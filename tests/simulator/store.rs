//! Contents that are changed from outside, and associations.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_quota::clock::Clock;
use tower_quota::sim::{Cost, Sim, Store};

use crate::{ASSOCIATIONS, LIST, SEARCH, at, call, json, request, send_as};

fn sim() -> Sim {
    Sim::builder()
        .no_burst()
        .no_search()
        .no_associations()
        .property("rank")
        .seed(5)
        .build()
        .unwrap()
}

/// Makes `n` contacts whose rank is their number.
fn fill(store: &Store, n: u64) -> Vec<u64> {
    let contact = |n: u64| {
        let email = ("email", format!("p{n}@example.com"));
        store.create([email, ("rank", n.to_string())]).unwrap()
    };
    (0..n).map(contact).collect()
}

/// The answer to a good search.
async fn search(sim: &Sim, body: Value) -> Value {
    let (status, answer) = call(sim, "POST", SEARCH, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn ids(answer: &Value) -> Vec<u64> {
    let results = answer["results"].as_array().unwrap().iter();
    results
        .map(|item| item["id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn contents_change_between_two_requests_without_using_quota() {
    let sim = sim();
    let store = sim.store("pat-1");
    let made = fill(&store, 3);
    assert_eq!(made, [101, 102, 103]);
    store
        .update(102, [("rank", "9"), ("email", "new@example.com")])
        .unwrap();
    assert!(store.archive(103));
    assert!(!store.archive(103));
    let four = store.create([("rank", "4"), ("zip", "")]).unwrap();
    let body = json!({ "sorts": ["-rank"], "properties": ["rank", "zip", "email"] });
    let answer = search(&sim, body).await;
    assert_eq!(
        (&answer["total"], ids(&answer)),
        (&json!(3), vec![102, four, 101])
    );
    let first = &answer["results"][0]["properties"];
    assert_eq!(
        (&first["rank"], &first["email"]),
        (&json!("9"), &json!("new@example.com"))
    );
    assert!(answer["results"][1]["properties"]["zip"].is_null());
    let (_, archived) = call(&sim, "GET", &format!("{LIST}?archived=true"), Value::Null).await;
    assert_eq!(ids(&archived), [103]);
    // The search and the list are all that was counted.
    assert_eq!((sim.stats().counted(), sim.stats().arrived()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_a_request_may_not_write_may_nobody() {
    let sim = sim();
    let store = sim.store("pat-1");
    let id = fill(&store, 2)[0];
    let table = [
        (store.create([("nonsense", "1")]), "does not exist"),
        (store.create([("email", "broken")]), "is invalid"),
        (store.create([("hs_object_id", "7")]), "read only"),
        (
            store.create([("email", "P1@example.com")]),
            "already exists",
        ),
        (
            store.update(id, [("email", "p1@example.com")]).map(|()| id),
            "already exists",
        ),
        (store.update(7, [("rank", "1")]).map(|()| 7), "not found"),
    ];
    for (outcome, why) in table {
        let error = outcome.unwrap_err();
        assert_eq!(error.field(), "contact");
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(search(&sim, json!({})).await["total"], 2);
}

#[tokio::test(start_paused = true)]
async fn accounts_and_times_are_kept_apart() {
    let sim = Sim::builder()
        .account("other", 7)
        .token("pat-1")
        .token("other")
        .clock(Clock::starting_at(at("2026-03-01T00:00:00Z")))
        .build()
        .unwrap();
    let id = sim.store("pat-1").create([("city", "Bonn")]).unwrap();
    tokio::time::sleep(crate::SECOND).await;
    sim.store("pat-1").update(id, [("city", "Ulm")]).unwrap();
    sim.store("other")
        .associate(("contacts", id), ("companies", 1));
    let one = json(&send_as(&sim, LIST, "pat-1").await)["results"][0].clone();
    assert_eq!(one["createdAt"], "2026-03-01T00:00:00.000Z");
    assert_eq!(one["updatedAt"], "2026-03-01T00:00:01.000Z");
    assert_eq!(
        json(&send_as(&sim, LIST, "other").await)["results"],
        json!([])
    );
    let read = json!({ "inputs": [{ "id": id }] });
    let (_, none) = call(&sim, "POST", ASSOCIATIONS, read).await;
    assert_eq!(none["results"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_search_shows_its_records_as_a_batch_read_does() {
    let sim = sim();
    let store = sim.store("pat-1");
    fill(&store, 30);
    store.update(105, [("firstname", "Ada")]).unwrap();
    for properties in [
        json!([]),
        json!(["rank"]),
        json!(["zip", "rank", "nonsense", "email"]),
        json!(["hs_object_id"]),
    ] {
        let found = search(&sim, json!({ "limit": 30, "properties": properties })).await;
        let inputs: Vec<Value> = ids(&found).iter().map(|id| json!({ "id": id })).collect();
        let read = json!({ "inputs": inputs, "properties": properties });
        let (status, read) = call(&sim, "POST", &format!("{LIST}/batch/read"), read).await;
        assert_eq!(status, 200);
        let by_id = |answer: &Value| -> BTreeMap<u64, Value> {
            let items = answer["results"].as_array().unwrap().clone();
            ids(answer).into_iter().zip(items).collect()
        };
        assert_eq!(by_id(&found), by_id(&read), "{properties}");
        assert_eq!(by_id(&found).len(), 30);
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_over_ten_thousand_and_more_pages_up_to_the_cap() {
    let sim = sim();
    let made = fill(&sim.store("pat-1"), 10_001);
    let (mut seen, mut after, mut pages) = (Vec::new(), json!(null), 0);
    loop {
        let body = json!({ "sorts": ["-rank"], "limit": 200, "after": after });
        let answer = search(&sim, body).await;
        assert_eq!(answer["total"], 10_001);
        seen.extend(ids(&answer));
        pages += 1;
        after = answer["paging"]["next"]["after"].clone();
        assert_eq!(after, (pages * 200).to_string());
        if after == "10000" {
            break;
        }
    }
    assert_eq!(pages, 50);
    let downwards: Vec<u64> = made.into_iter().rev().take(10_000).collect();
    assert_eq!(seen, downwards);
    // There is one more, and no way to it.
    for body in [
        json!({ "limit": 1, "after": "10000" }),
        json!({ "limit": 2, "after": "9999" }),
    ] {
        assert_eq!(call(&sim, "POST", SEARCH, body).await.0, 400);
    }
    let last = search(&sim, json!({ "limit": 1, "after": "9999" })).await;
    assert_eq!(last["paging"]["next"]["after"], "10000");
}

#[tokio::test(start_paused = true)]
async fn records_of_equal_rank_keep_one_order_from_page_to_page() {
    let sim = sim();
    let store = sim.store("pat-1");
    // Numbers, text and nothing.
    for n in 0..60 {
        let rank = ["7", "1a", "10", "", "A", "9.0"][n % 6];
        store.create([("rank", rank)]).unwrap();
    }
    for sort in ["rank", "-rank"] {
        let page = |after: usize, limit: usize| {
            let body = json!({ "sorts": [sort], "limit": limit, "after": after });
            search(&sim, body)
        };
        let whole = ids(&page(0, 60).await);
        let mut pieces = Vec::new();
        for after in (0..60).step_by(7) {
            pieces.extend(ids(&page(after, 7).await));
        }
        assert_eq!(pieces, whole, "{sort}");
    }
}

#[tokio::test(start_paused = true)]
async fn associations_are_read_in_bulk() {
    let sim = sim();
    let store = sim.store("pat-1");
    for (contact, company) in [(1, 11), (1, 10), (2, 10), (1, 11)] {
        store.associate(("contacts", contact), ("COMPANY", company));
    }
    store.associate(("0-1", 1), ("deals", 12));
    let read = |path: &'static str, ids: Value| {
        let inputs: Value = ids
            .as_array()
            .unwrap()
            .iter()
            .map(|id| json!({ "id": id }))
            .collect();
        let sim = &sim;
        async move {
            let (status, answer) = call(sim, "POST", path, json!({ "inputs": inputs })).await;
            assert_eq!((status, &answer["status"]), (200, &json!("COMPLETE")));
            let mut results = answer["results"].as_array().unwrap().clone();
            results.sort_by_key(|item| item["from"]["id"].to_string());
            results
        }
    };
    let to = |id: u64, type_id: u64| {
        json!({
            "toObjectId": id,
            "associationTypes": [{ "category": "HUBSPOT_DEFINED", "typeId": type_id, "label": null }],
        })
    };
    let two = json!({ "from": { "id": "2" }, "to": [to(10, 279)] });
    let one = json!({ "from": { "id": "1" }, "to": [to(10, 279), to(11, 279)] });
    // Ids as text or numbers, twice, and such as have none.
    let asked = json!(["2", 1, "3", "x", "2"]);
    for path in [
        ASSOCIATIONS,
        "/crm/associations/2026-03/0-1/0-2/batch/read",
        "/crm/v3/associations/contact/company/batch/read",
    ] {
        assert_eq!(read(path, asked.clone()).await, [one.clone(), two.clone()]);
    }
    let back = "/crm/v4/associations/companies/contacts/batch/read";
    let ten = json!({ "from": { "id": "10" }, "to": [to(1, 280), to(2, 280)] });
    assert_eq!(read(back, json!(["10"])).await, [ten]);
    let deals = "/crm/v4/associations/contacts/deals/batch/read";
    assert_eq!(read(deals, json!(["1"])).await.len(), 1);
    // Reading is all that is simulated.
    let labels = "/crm/v4/associations/contacts/companies/batch/create";
    let (status, nothing) = call(&sim, "POST", labels, Value::Null).await;
    assert_eq!((status, &nothing["results"]), (200, &json!([])));
    assert_eq!(sim.stats().associations.counted, 6);
}

#[tokio::test(start_paused = true)]
async fn a_batch_read_of_associations_has_its_ends() {
    let sim = sim();
    let store = sim.store("pat-1");
    (0..1_000).for_each(|id| store.associate(("contacts", id), ("companies", 1)));
    let inputs = |n: u64| {
        let inputs: Value = (0..n).map(|id| json!({ "id": id })).collect();
        json!({ "inputs": inputs })
    };
    let (status, answer) = call(&sim, "POST", ASSOCIATIONS, inputs(1_000)).await;
    let results = answer["results"].as_array().unwrap();
    assert_eq!((status, results.len()), (200, 1_000));
    // In no order that could be relied on.
    assert!(
        !results.is_sorted_by_key(|item| item["from"]["id"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap())
    );
    let (status, answer) = call(&sim, "POST", ASSOCIATIONS, inputs(1_001)).await;
    assert_eq!(
        (status, &answer["category"]),
        (400, &json!("VALIDATION_ERROR"))
    );
    let bare = request(Method::POST, "/crm/associations/v4/a/b/batch/read", "pat-1");
    assert_eq!(sim.service().oneshot(bare).await.unwrap().status(), 400);
    // One unit for each id.
    sim.set_cost(Some(Cost::new(999))).unwrap();
    assert_eq!(call(&sim, "POST", ASSOCIATIONS, inputs(999)).await.0, 200);
    assert_eq!(call(&sim, "POST", ASSOCIATIONS, inputs(1_000)).await.0, 504);
    assert_eq!(sim.stats().associations.too_heavy, 1);
}
