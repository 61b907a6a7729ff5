//! The simulator's contacts, tried against the facts about the API: single calls, batches, search.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};
use tower_quota::sim::Sim;

use crate::call;

const CONTACTS: &str = "/crm/v3/objects/contacts";
const SEARCH: &str = "/crm/objects/2026-03/contacts/search";

fn sim() -> Sim {
    Sim::builder()
        .no_burst()
        .no_search()
        .property("rank")
        .seed(5)
        .build()
        .unwrap()
}

async fn batch(sim: &Sim, kind: &str, body: Value) -> (u16, Value) {
    call(sim, "POST", &format!("{CONTACTS}/batch/{kind}"), body).await
}

fn person(number: usize) -> Value {
    json!({ "properties": { "email": format!("p{number}@example.com"), "rank": number } })
}

/// Creates `p0` to `p(n-1)`; returns their ids in that order.
async fn people(sim: &Sim, n: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..n {
        let (status, body) = call(sim, "POST", CONTACTS, person(number)).await;
        assert_eq!(status, 201);
        ids.push(body["id"].as_str().unwrap().to_owned());
    }
    ids
}

fn set(list: &Value, name: impl Fn(&Value) -> &Value) -> BTreeSet<String> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|item| name(item).as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn one_contact_from_birth_to_archive() {
    let sim = sim();
    let by_email = format!("{CONTACTS}/Ada%40Example.com?idProperty=email");
    let change = json!({ "properties": { "firstname": "Ada", "rank": 7 } });
    let (status, body) = call(&sim, "PATCH", &by_email, change.clone()).await;
    assert_eq!(
        (status, &body["category"]),
        (404, &json!("OBJECT_NOT_FOUND"))
    );
    let new = json!({ "properties": { "email": "ADA@example.com" } });
    let (status, body) = call(&sim, "POST", CONTACTS, new.clone()).await;
    assert_eq!(
        (status, &body["properties"]["email"]),
        (201, &json!("ada@example.com"))
    );
    let id = body["id"].as_str().unwrap();
    let (status, body) = call(&sim, "POST", CONTACTS, new).await;
    assert_eq!((status, &body["category"]), (409, &json!("CONFLICT")));
    assert_eq!(
        body["message"],
        format!("Contact already exists. Existing ID: {id}")
    );
    let (status, body) = call(&sim, "PATCH", &by_email, change).await;
    assert_eq!((status, &body["properties"]["rank"]), (200, &json!("7")));
    let read = format!("/crm/objects/v3/0-1/{id}?properties=rank,phone&properties=nonsense");
    let (status, body) = call(&sim, "GET", &read, Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(body["properties"]["rank"], "7");
    assert!(body["properties"]["phone"].is_null());
    assert!(body["properties"].get("nonsense").is_none());
    assert_eq!(body["archived"], false);
    let one = format!("{CONTACTS}/{id}");
    assert_eq!(
        call(&sim, "DELETE", &one, Value::Null).await,
        (204, Value::Null)
    );
    assert_eq!(call(&sim, "GET", &one, Value::Null).await.0, 404);
    let (status, body) = call(&sim, "GET", &format!("{one}?archived=true"), Value::Null).await;
    assert_eq!((status, &body["archived"]), (200, &json!(true)));
    // The email is free again.
    assert_eq!(
        call(
            &sim,
            "POST",
            CONTACTS,
            json!({ "properties": { "email": "ada@example.com" } })
        )
        .await
        .0,
        201
    );
}

#[tokio::test(start_paused = true)]
async fn wrong_values_are_named() {
    let sim = sim();
    let table = [
        ("testproperty", "x", "PROPERTY_DOESNT_EXIST"),
        ("email", "broken", "INVALID_EMAIL"),
        ("hs_object_id", "7", "READ_ONLY_VALUE"),
    ];
    for (name, value, code) in table {
        let (status, body) = call(
            &sim,
            "POST",
            CONTACTS,
            json!({ "properties": { name: value } }),
        )
        .await;
        assert_eq!(status, 400);
        assert_eq!(body["status"], "error");
        assert_eq!(body["category"], "VALIDATION_ERROR");
        assert_eq!(body["errors"][0]["code"], code);
        assert_eq!(body["errors"][0]["context"]["propertyName"], json!([name]));
        let inner = body["message"].as_str().unwrap();
        let inner = inner
            .strip_prefix("Property values were not valid: ")
            .unwrap();
        let inner: Value = serde_json::from_str(inner).unwrap();
        assert_eq!(inner[0]["error"], code);
        assert_eq!(inner[0]["isValid"], false);
    }
    for body in [json!("text"), json!({}), json!({ "properties": 7 })] {
        let (status, body) = call(&sim, "POST", CONTACTS, body).await;
        assert_eq!(
            (status, &body["category"]),
            (400, &json!("VALIDATION_ERROR"))
        );
    }
    assert_eq!(
        call(&sim, "GET", "/crm/v3/objects/companies", Value::Null)
            .await
            .0,
        404
    );
    let huge = json!({ "properties": { "message": "x".repeat(5 << 20) } });
    assert_eq!(call(&sim, "POST", CONTACTS, huge).await.0, 413);
}

#[tokio::test(start_paused = true)]
async fn lists_go_page_by_page() {
    let sim = sim();
    let ids = people(&sim, 25).await;
    let (mut seen, mut path) = (Vec::new(), format!("{CONTACTS}?limit=10"));
    for expected in [10, 10, 5] {
        let (status, body) = call(&sim, "GET", &path, Value::Null).await;
        assert_eq!(status, 200);
        let page = body["results"].as_array().unwrap();
        assert_eq!(page.len(), expected);
        seen.extend(
            page.iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match body["paging"]["next"]["after"].as_str() {
            Some(after) => path = format!("{CONTACTS}?limit=10&after={after}"),
            None => assert_eq!(expected, 5),
        }
    }
    assert_eq!(seen, ids);
    for limit in ["0", "101", "many"] {
        assert_eq!(
            call(
                &sim,
                "GET",
                &format!("{CONTACTS}?limit={limit}"),
                Value::Null
            )
            .await
            .0,
            400
        );
    }
}

#[tokio::test(start_paused = true)]
async fn batch_read_is_unordered_and_tells_what_is_missing() {
    let sim = sim();
    let ids = people(&sim, 50).await;
    let inputs: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    let (status, body) = batch(&sim, "read", json!({ "inputs": inputs })).await;
    assert_eq!((status, &body["status"]), (200, &json!("COMPLETE")));
    assert_eq!(
        set(&body["results"], |item| &item["id"]),
        ids.iter().cloned().collect()
    );
    let first = |body: &Value| body["results"][0]["id"].clone();
    let (_, again) = batch(&sim, "read", json!({ "inputs": inputs })).await;
    assert_ne!(first(&body), first(&again), "results are shuffled");
    // Found and missing together; one error covers all that are missing.
    let mixed = json!({
        "idProperty": "email",
        "properties": ["email"],
        "inputs": [{ "id": "P1@example.com" }, { "id": "meows@loudly.lol" }, { "id": "no@no.no" }],
    });
    let (status, body) = batch(&sim, "read", mixed).await;
    assert_eq!(status, 207);
    assert_eq!(body["results"][0]["properties"]["email"], "p1@example.com");
    assert_eq!(body["numErrors"], 1);
    assert_eq!(body["errors"][0]["category"], "OBJECT_NOT_FOUND");
    assert_eq!(
        body["errors"][0]["context"]["ids"],
        json!(["meows@loudly.lol", "no@no.no"])
    );
    let (status, body) = batch(&sim, "read", json!({ "inputs": [{ "id": "0" }] })).await;
    assert_eq!((status, &body["results"]), (207, &json!([])));
    assert!(body["startedAt"].is_string() && body["completedAt"].is_string());
}

#[tokio::test(start_paused = true)]
async fn batches_have_an_end() {
    let sim = sim();
    let inputs = |n: usize| {
        (0..n)
            .map(|id| json!({ "id": id.to_string() }))
            .collect::<Vec<_>>()
    };
    for kind in ["read", "create", "update", "upsert", "archive"] {
        let (status, body) = batch(&sim, kind, json!({ "inputs": inputs(101) })).await;
        assert_eq!(status, 400, "{kind}");
        let message = "The maximum number of inputs supported in a batch is 100. Please reduce the number of items and try again";
        assert_eq!(body["message"], message);
    }
    let history = |n| json!({ "propertiesWithHistory": ["email"], "inputs": inputs(n) });
    assert_eq!(batch(&sim, "read", history(50)).await.0, 207);
    let (status, body) = batch(&sim, "read", history(51)).await;
    assert_eq!(status, 400);
    let message =
        "The maximum number of inputs supported in a batch request for property histories is 50";
    assert_eq!(body["message"], message);
}

#[tokio::test(start_paused = true)]
async fn batch_create_without_trace_ids_is_all_or_nothing() {
    let sim = sim();
    let ids = people(&sim, 1).await;
    let (status, body) = batch(
        &sim,
        "create",
        json!({ "inputs": [person(1), person(0), person(2)] }),
    )
    .await;
    assert_eq!((status, &body["category"]), (409, &json!("CONFLICT")));
    assert_eq!(
        body["message"],
        format!("Contact already exists. Existing ID: {}", ids[0])
    );
    let bad = json!({ "properties": { "missing": "x" } });
    let (status, body) = batch(&sim, "create", json!({ "inputs": [person(1), bad] })).await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (400, &json!("PROPERTY_DOESNT_EXIST"))
    );
    // One trace id for two inputs does not count as trace ids.
    let traced = |mut input: Value, trace: &str| {
        input["objectWriteTraceId"] = trace.into();
        input
    };
    let inputs = json!([traced(person(1), "a"), traced(person(0), "a")]);
    assert_eq!(
        batch(&sim, "create", json!({ "inputs": inputs })).await.0,
        409
    );
    let twice = json!({ "inputs": [person(1), person(1)] });
    assert_eq!(batch(&sim, "create", twice).await.0, 409);
    let (_, list) = call(&sim, "GET", CONTACTS, Value::Null).await;
    assert_eq!(
        list["results"].as_array().unwrap().len(),
        1,
        "nothing was written"
    );
    assert_eq!(
        batch(&sim, "create", json!({ "inputs": [person(1), person(2)] }))
            .await
            .0,
        201
    );
}

#[tokio::test(start_paused = true)]
async fn batch_create_with_trace_ids_writes_what_it_can() {
    let sim = sim();
    let ids = people(&sim, 1).await;
    let traced = |mut input: Value, trace: &str| {
        input["objectWriteTraceId"] = trace.into();
        input
    };
    let bad = json!({ "properties": { "missing": "x" } });
    let inputs = json!([
        traced(person(1), "one"),
        traced(person(0), "two"),
        traced(bad, "three"),
        traced(person(1), "four"),
    ]);
    let (status, body) = batch(&sim, "create", json!({ "inputs": inputs })).await;
    assert_eq!((status, &body["numErrors"]), (207, &json!(3)));
    assert_eq!(body["results"].as_array().unwrap().len(), 1);
    let errors = body["errors"].as_array().unwrap();
    assert_eq!(errors[0]["category"], "CONFLICT");
    assert_eq!(errors[0]["context"]["objectWriteTraceId"], json!(["two"]));
    assert_eq!(errors[0]["context"]["existingId"], json!([ids[0]]));
    assert_eq!(errors[1]["category"], "VALIDATION_ERROR");
    assert_eq!(errors[1]["context"]["objectWriteTraceId"], json!(["three"]));
    assert_eq!(errors[2]["context"]["objectWriteTraceId"], json!(["four"]));
    assert!(errors.iter().all(|error| error["status"] == "error"));
}

#[tokio::test(start_paused = true)]
async fn batch_update_and_upsert() {
    let sim = sim();
    let ids = people(&sim, 3).await;
    let rank = |id: &str, rank: u64| json!({ "id": id, "properties": { "rank": rank } });
    let (status, body) = batch(
        &sim,
        "update",
        json!({ "inputs": [rank(&ids[0], 5), rank("1", 6), rank("2", 6)] }),
    )
    .await;
    assert_eq!((status, &body["numErrors"]), (207, &json!(1)));
    assert_eq!(body["errors"][0]["context"]["ids"], json!(["1", "2"]));
    assert_eq!(body["results"][0]["properties"]["rank"], "5");
    // The trace id is echoed, and the error is the record's own.
    let mut traced = rank("1", 6);
    traced["objectWriteTraceId"] = "t".into();
    let (_, body) = batch(&sim, "update", json!({ "inputs": [traced] })).await;
    assert_eq!(
        body["errors"][0]["context"],
        json!({ "ids": ["1"], "objectWriteTraceId": ["t"] })
    );
    let (status, body) = batch(
        &sim,
        "update",
        json!({ "inputs": [rank(&ids[0], 1), rank(&ids[0], 2)] }),
    )
    .await;
    assert_eq!(status, 400);
    assert_eq!(
        body["message"],
        format!(
            "Duplicate IDs found in batch input: [{}]. IDs must be unique",
            ids[0]
        )
    );
    assert_eq!(body["context"]["ids"], json!([ids[0]]));
    let mut by_id = rank(&ids[0], 1);
    by_id["idProperty"] = "hs_object_id".into();
    assert_eq!(
        batch(&sim, "update", json!({ "inputs": [by_id] })).await.0,
        400
    );
    let up =
        |email: &str| json!({ "id": email, "idProperty": "email", "properties": { "rank": 9 } });
    let (status, body) = batch(
        &sim,
        "upsert",
        json!({ "inputs": [up("p0@example.com"), up("New@example.com")] }),
    )
    .await;
    assert_eq!(status, 200);
    for item in body["results"].as_array().unwrap() {
        assert_eq!(
            item["new"],
            item["properties"]["email"] == "new@example.com"
        );
    }
    let (status, _) = batch(
        &sim,
        "upsert",
        json!({ "inputs": [up("a@b.org"), up("A@b.org")] }),
    )
    .await;
    assert_eq!(status, 400);
    let (status, _) = batch(
        &sim,
        "upsert",
        json!({ "inputs": [up("c@b.org"), up("broken")] }),
    )
    .await;
    assert_eq!(status, 400);
    let archived = json!({ "inputs": [{ "id": ids[1] }, { "id": "1" }] });
    assert_eq!(batch(&sim, "archive", archived).await, (204, Value::Null));
    let (_, list) = call(&sim, "GET", CONTACTS, Value::Null).await;
    assert_eq!(list["results"].as_array().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn search_filters_sorts_and_pages() {
    let sim = sim();
    let ids = people(&sim, 30).await;
    let extra = json!({ "properties": { "email": "ada@lovelace.org", "firstname": "Ada", "lastname": "King" } });
    call(&sim, "POST", CONTACTS, extra).await;
    let filter = |name: &str, operator: &str, more: Value| {
        let mut filter = json!({ "propertyName": name, "operator": operator });
        filter
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "filterGroups": [{ "filters": [filter] }], "limit": 200 })
    };
    let table = [
        (filter("rank", "LT", json!({ "value": "10" })), 10),
        (filter("rank", "LTE", json!({ "value": 10 })), 11),
        (filter("rank", "GT", json!({ "value": "9" })), 20),
        (filter("rank", "GTE", json!({ "value": "9" })), 21),
        (
            filter(
                "rank",
                "BETWEEN",
                json!({ "value": "9", "highValue": "12" }),
            ),
            4,
        ),
        (filter("rank", "HAS_PROPERTY", json!({})), 30),
        (filter("rank", "NOT_HAS_PROPERTY", json!({})), 1),
        (filter("firstname", "EQ", json!({ "value": "ADA" })), 1),
        (filter("firstname", "NEQ", json!({ "value": "ada" })), 30),
        (
            filter("firstname", "IN", json!({ "values": ["ada", "bob"] })),
            1,
        ),
        (filter("firstname", "IN", json!({ "values": ["Ada"] })), 0),
        (
            filter("firstname", "NOT_IN", json!({ "values": ["ada"] })),
            30,
        ),
        (
            filter("email", "CONTAINS_TOKEN", json!({ "value": "lovelace" })),
            1,
        ),
        (
            filter(
                "email",
                "CONTAINS_TOKEN",
                json!({ "value": "*@example.com" }),
            ),
            30,
        ),
        (
            filter("email", "NOT_CONTAINS_TOKEN", json!({ "value": "example" })),
            1,
        ),
        (
            filter("hs_object_id", "GT", json!({ "value": ids[19] })),
            11,
        ),
        (json!({ "query": "king ada" }), 1),
        (
            json!({ "filters": [{ "propertyName": "rank", "operator": "EQ", "value": "3" }] }),
            1,
        ),
        (json!({}), 31),
    ];
    for (body, total) in table {
        let (status, answer) = call(&sim, "POST", SEARCH, body.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["total"], total, "{body}");
    }
    // Downwards by number, in pages; the last page has no `paging`.
    let (mut seen, mut after) = (Vec::new(), json!(null));
    loop {
        let body = json!({
            "filterGroups": [{ "filters": [{ "propertyName": "rank", "operator": "HAS_PROPERTY" }] }],
            "sorts": [{ "propertyName": "rank", "direction": "DESCENDING" }],
            "properties": ["rank"], "limit": 7, "after": after,
        });
        let (_, answer) = call(&sim, "POST", SEARCH, body).await;
        for item in answer["results"].as_array().unwrap() {
            seen.push(
                item["properties"]["rank"]
                    .as_str()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap(),
            );
        }
        match answer.get("paging") {
            Some(paging) => after = paging["next"]["after"].clone(),
            None => break,
        }
    }
    assert_eq!(seen, (0..30).rev().collect::<Vec<_>>());
    let (_, short) = call(
        &sim,
        "POST",
        SEARCH,
        json!({ "sorts": ["-rank"], "limit": 1, "properties": ["rank"] }),
    )
    .await;
    assert_eq!(short["results"][0]["properties"]["rank"], "29");
}

#[tokio::test(start_paused = true)]
async fn search_has_its_ends() {
    let sim = sim();
    let filters = |n: usize| {
        let filter = json!({ "propertyName": "rank", "operator": "HAS_PROPERTY" });
        json!({ "filters": vec![filter; n] })
    };
    let table = [
        (json!({ "limit": 201 }), 400),
        (json!({ "limit": 200 }), 200),
        (json!({ "limit": 0 }), 400),
        (json!({ "after": "9990" }), 200),
        (json!({ "after": "9991" }), 400),
        (json!({ "after": "x" }), 400),
        (json!({ "filterGroups": vec![filters(3); 5] }), 200),
        (json!({ "filterGroups": vec![filters(1); 6] }), 400),
        (json!({ "filterGroups": vec![filters(7)] }), 400),
        (json!({ "filterGroups": vec![filters(5); 4] }), 400),
        (
            json!({ "filters": [{ "propertyName": "rank", "operator": "EQ" }] }),
            400,
        ),
        (
            json!({ "filters": [{ "propertyName": "rank", "operator": "LIKE", "value": "1" }] }),
            400,
        ),
        (
            json!({ "filters": [{ "propertyName": "none", "operator": "EQ", "value": "1" }] }),
            400,
        ),
        (json!({ "sorts": ["rank", "email"] }), 400),
        (json!({ "query": "x".repeat(3_000) }), 400),
    ];
    for (body, expected) in table {
        let (status, answer) = call(&sim, "POST", SEARCH, body.clone()).await;
        assert_eq!(status, expected, "{body} {answer}");
    }
    assert_eq!(sim.stats().search.counted, 15);
    assert_eq!(sim.stats().statuses[&StatusCode::BAD_REQUEST.as_u16()], 12);
}

#[tokio::test(start_paused = true)]
async fn associations_find_nothing() {
    let sim = sim();
    let path = "/crm/v4/associations/contacts/companies/batch/read";
    let (status, body) = call(&sim, "POST", path, json!({ "inputs": [] })).await;
    assert_eq!((status, &body["results"]), (200, &json!([])));
    assert_eq!(sim.stats().associations.counted, 1);
}
