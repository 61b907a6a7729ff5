//! The ways in which batch calls may answer, and records that were merged.

use http::StatusCode;
use serde_json::{Value, json};
use tower_quota::sim::{BatchDialect, ErrorItems, NoneFound, Sim, Traces};

use crate::{LIST, call};

/// Six contacts, `p101@example.com` to `p106@example.com`, whose ids are the same numbers.
fn sim(dialect: BatchDialect) -> Sim {
    let builder = Sim::builder().no_burst().batches(dialect).seed(5);
    let sim = builder.build().unwrap();
    for id in 101..=106 {
        let email = ("email", email(id));
        assert_eq!(sim.store("pat-1").create([email]).unwrap(), id);
    }
    sim
}

fn email(id: u64) -> String {
    format!("p{id}@example.com")
}

async fn batch(sim: &Sim, kind: &str, body: Value) -> (u16, Value) {
    call(sim, "POST", &format!("{LIST}/batch/{kind}"), body).await
}

fn inputs(ids: impl IntoIterator<Item = u64>) -> Value {
    let inputs: Value = ids.into_iter().map(|id| json!({ "id": id })).collect();
    json!({ "inputs": inputs })
}

/// Updates of the city, each with its own trace id: `t` and the id of the record.
fn updates(cities: &[(u64, Value)]) -> Value {
    let input = |(id, city): &(u64, Value)| {
        json!({
            "id": id.to_string(),
            "properties": { "city": city },
            "objectWriteTraceId": format!("t{id}"),
        })
    };
    json!({ "inputs": cities.iter().map(input).collect::<Value>() })
}

/// The ids of the results, sorted.
fn found(answer: &Value) -> Vec<u64> {
    let results = answer["results"].as_array().unwrap().iter();
    let mut ids: Vec<u64> = results
        .map(|item| item["id"].as_str().unwrap().parse().unwrap())
        .collect();
    ids.sort_unstable();
    ids
}

fn contexts(answer: &Value) -> Vec<&Value> {
    match answer["errors"].as_array() {
        Some(errors) => errors.iter().map(|error| &error["context"]).collect(),
        None => Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_merged_record_is_found_in_the_one_that_survived() {
    let sim = sim(BatchDialect::new());
    let store = sim.store("pat-1");
    store
        .update(102, [("city", "Ulm"), ("firstname", "B")])
        .unwrap();
    store.update(101, [("firstname", "A")]).unwrap();
    store.merge(101, 102).unwrap();
    store.merge(103, 101).unwrap();
    let asked = "properties=email,city,firstname,hs_merged_object_ids,hs_additional_emails";
    for key in ["101", "102", "103"] {
        let (status, body) = call(&sim, "GET", &format!("{LIST}/{key}?{asked}"), json!(null)).await;
        assert_eq!((status, &body["id"]), (200, &json!("103")));
        let of = |name: &str| body["properties"][name].as_str().unwrap();
        assert_eq!((of("email"), of("city")), (&*email(103), "Ulm"));
        assert_eq!(of("firstname"), "A");
        assert_eq!(of("hs_merged_object_ids"), "102;101");
        assert_eq!(
            of("hs_additional_emails"),
            format!("{};{}", email(102), email(101))
        );
    }
    for id in 101..=103 {
        let path = format!("{LIST}/{}?idProperty=email", email(id).to_uppercase());
        let (status, body) = call(&sim, "GET", &path, json!(null)).await;
        assert_eq!((status, &body["id"]), (200, &json!("103")));
    }
    // A single update knows merged ids, and nobody may take the e-mails.
    let change = json!({ "properties": { "city": "Bonn" } });
    let (status, body) = call(&sim, "PATCH", &format!("{LIST}/102"), change).await;
    assert_eq!((status, &body["properties"]["city"]), (200, &json!("Bonn")));
    let rival = json!({ "properties": { "email": email(102) } });
    let (status, body) = call(&sim, "POST", LIST, rival.clone()).await;
    assert_eq!(status, 409);
    let message = body["message"].as_str().unwrap();
    assert!(message.ends_with("Existing ID: 103"), "{message}");
    let forged = json!({ "properties": { "hs_merged_object_ids": "7" } });
    let (status, body) = call(&sim, "PATCH", &format!("{LIST}/103"), forged).await;
    assert_eq!(
        (status, &body["errors"][0]["code"]),
        (400, &json!("READ_ONLY_VALUE"))
    );
    // With the one that survived all of them are gone, and the e-mails are free.
    assert!(store.archive(103));
    assert_eq!(
        call(&sim, "GET", &format!("{LIST}/101"), json!(null))
            .await
            .0,
        404
    );
    assert_eq!(call(&sim, "POST", LIST, rival).await.0, 201);
}

#[tokio::test(start_paused = true)]
async fn a_record_without_an_email_takes_that_of_the_merged_one() {
    let sim = sim(BatchDialect::new());
    let store = sim.store("pat-1");
    let bare = store.create([("city", "Ulm")]).unwrap();
    store.merge(bare, 101).unwrap();
    let path = format!("{LIST}/101?properties=email,hs_additional_emails");
    let (_, body) = call(&sim, "GET", &path, json!(null)).await;
    assert_eq!(body["properties"]["email"], email(101));
    assert!(body["properties"]["hs_additional_emails"].is_null());
    for (primary, other) in [(102, 102), (102, 7), (7, 102), (101, 102), (102, 101)] {
        let error = store.merge(primary, other).unwrap_err();
        assert_eq!(error.field(), "contact");
    }
    assert_eq!(
        found(&call(&sim, "GET", LIST, json!(null)).await.1).len(),
        6
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_knows_merged_records_less_well() {
    let sim = sim(BatchDialect::new());
    sim.store("pat-1").merge(101, 102).unwrap();
    let (status, body) = batch(&sim, "read", inputs([102, 103])).await;
    assert_eq!((status, found(&body)), (200, vec![101, 103]));
    // Both names of one record give one result.
    let (_, body) = batch(&sim, "read", inputs([102, 101])).await;
    assert_eq!(found(&body), [101]);
    let both = updates(&[(101, json!("Ulm")), (102, json!("Bonn"))]);
    let (status, body) = batch(&sim, "update", both).await;
    assert_eq!((status, found(&body)), (207, vec![101]));
    assert_eq!(
        contexts(&body),
        [&json!({ "ids": ["102"], "objectWriteTraceId": ["t102"] })]
    );
    sim.set_batches(BatchDialect::new().merged_left_out(true))
        .unwrap();
    let (status, body) = batch(&sim, "read", inputs([102, 103])).await;
    assert_eq!((status, found(&body)), (200, vec![103]));
    let by_email = json!({ "idProperty": "email", "inputs": [{ "id": email(102) }] });
    assert_eq!(found(&batch(&sim, "read", by_email).await.1), [101]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_finds_nothing_may_be_a_404() {
    let not_found = |named| BatchDialect::new().none_found(NoneFound::NotFound { named });
    let sim = sim(not_found(true));
    let (status, body) = batch(&sim, "read", inputs([7, 8])).await;
    assert_eq!(
        (status, &body["category"]),
        (404, &json!("OBJECT_NOT_FOUND"))
    );
    assert_eq!(body["context"]["ids"], json!(["7", "8"]));
    // One that is found, and it is a 207.
    let (status, body) = batch(&sim, "read", inputs([7, 101])).await;
    assert_eq!((status, found(&body)), (207, vec![101]));
    for unnamed in [not_found(false), not_found(true).missing_unsaid(true)] {
        sim.set_batches(unnamed).unwrap();
        let (status, body) = batch(&sim, "read", inputs([7, 8])).await;
        assert_eq!((status, body.get("context")), (404, None));
    }
}

#[tokio::test(start_paused = true)]
async fn missing_ones_may_be_left_out_without_a_word() {
    let sim = sim(BatchDialect::new().missing_unsaid(true));
    let (status, body) = batch(&sim, "read", inputs([7, 101])).await;
    assert_eq!((status, found(&body)), (200, vec![101]));
    assert_eq!(body.get("errors"), None);
    let change = updates(&[(7, json!("Ulm")), (101, json!("Ulm"))]);
    let (status, body) = batch(&sim, "update", change).await;
    assert_eq!((status, found(&body)), (200, vec![101]));
    let untraced = json!({ "inputs": [{ "id": "7", "properties": {} }] });
    let (status, body) = batch(&sim, "update", untraced).await;
    assert_eq!((status, found(&body)), (200, vec![]));
    // What is wrong in another way is still said.
    let (status, body) = batch(&sim, "update", updates(&[(101, json!([]))])).await;
    assert_eq!((status, contexts(&body).len()), (207, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_about_one_input_or_about_many() {
    let sim = sim(BatchDialect::new().errors(ErrorItems::Each));
    let (_, body) = batch(&sim, "read", inputs([7, 101, 8])).await;
    assert_eq!(body["numErrors"], 2);
    assert_eq!(
        contexts(&body),
        [&json!({ "ids": ["7"] }), &json!({ "ids": ["8"] })]
    );
    sim.set_batches(BatchDialect::new().errors(ErrorItems::Together))
        .unwrap();
    let change = updates(&[
        (7, json!("Ulm")),
        (101, json!([])),
        (102, json!("Ulm")),
        (8, json!("Ulm")),
        (103, json!({})),
    ]);
    let (_, body) = batch(&sim, "update", change).await;
    assert_eq!((&body["numErrors"], found(&body)), (&json!(2), vec![102]));
    assert_eq!(
        contexts(&body),
        [
            &json!({ "ids": ["7", "8"], "objectWriteTraceId": ["t7", "t8"] }),
            &json!({ "objectWriteTraceId": ["t101", "t103"] }),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn trace_ids_may_be_echoed() {
    let sim = sim(BatchDialect::new().traces(Traces::Echoed));
    let change = updates(&[(101, json!("Ulm")), (102, json!("Bonn"))]);
    let (_, body) = batch(&sim, "update", change).await;
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for item in results {
        let id = item["id"].as_str().unwrap();
        assert_eq!(item["objectWriteTraceId"], format!("t{id}"));
    }
    let untraced = json!({ "inputs": [{ "properties": {} }] });
    let (_, body) = batch(&sim, "create", untraced).await;
    assert_eq!(body["results"][0].get("objectWriteTraceId"), None);
}

#[tokio::test(start_paused = true)]
async fn trace_ids_may_be_ignored() {
    let sim = sim(BatchDialect::new().traces(Traces::Ignored));
    let bad = || updates(&[(101, json!("Ulm")), (102, json!([])), (103, json!({}))]);
    let (status, body) = batch(&sim, "update", bad()).await;
    assert_eq!((status, body.get("context")), (400, None));
    assert_eq!(body["errors"][0]["code"], "INVALID_VALUE");
    let rivals = json!({ "inputs": [
        { "objectWriteTraceId": "a", "properties": { "email": "new@example.com" } },
        { "objectWriteTraceId": "b", "properties": { "email": email(101) } },
    ] });
    let (status, body) = batch(&sim, "create", rivals.clone()).await;
    assert_eq!((status, body.get("context")), (409, None));
    sim.set_batches(BatchDialect::new().traces(Traces::FirstNamed))
        .unwrap();
    let (status, body) = batch(&sim, "update", bad()).await;
    let named = json!({ "ids": ["102"], "objectWriteTraceId": ["t102"] });
    assert_eq!((status, &body["context"]), (400, &named));
    let (status, body) = batch(&sim, "create", rivals).await;
    let named = json!({ "objectWriteTraceId": ["b"] });
    assert_eq!((status, &body["context"]), (409, &named));
    // Nothing was written.
    let (_, list) = call(&sim, "GET", &format!("{LIST}?properties=city"), json!(null)).await;
    let list = list["results"].as_array().unwrap();
    assert_eq!(list.len(), 6);
    assert!(list.iter().all(|item| item["properties"]["city"].is_null()));
    // Missing ones spoil nothing, and have no trace id.
    let missing = updates(&[(101, json!("Ulm")), (7, json!("Ulm"))]);
    let (status, body) = batch(&sim, "update", missing).await;
    assert_eq!((status, found(&body)), (207, vec![101]));
    assert_eq!(contexts(&body), [&json!({ "ids": ["7"] })]);
}

#[tokio::test(start_paused = true)]
async fn the_most_inputs_can_change_at_any_time() {
    let sim = sim(BatchDialect::new());
    let all = || inputs(101..=106);
    assert_eq!(batch(&sim, "read", all()).await.0, 200);
    sim.set_batches(BatchDialect::new().most(5)).unwrap();
    for kind in ["read", "create", "update", "upsert", "archive"] {
        let (status, body) = batch(&sim, kind, all()).await;
        let message = "The maximum number of inputs supported in a batch is 5. Please reduce the number of items and try again";
        assert_eq!((status, &body["message"]), (400, &json!(message)));
    }
    let mut history = all();
    history["propertiesWithHistory"] = json!(["city"]);
    assert_eq!(batch(&sim, "read", history).await.0, 400);
    assert_eq!(batch(&sim, "archive", inputs(101..=105)).await.0, 204);
    let nonsense = BatchDialect::new().most(0);
    assert_eq!(
        sim.set_batches(nonsense).unwrap_err().field(),
        "batches: most"
    );
    assert_eq!(batch(&sim, "read", all()).await.0, 400, "as it was");
}

#[tokio::test(start_paused = true)]
async fn there_may_be_no_batch_calls() {
    for status in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED] {
        let sim = sim(BatchDialect::new().absent(status));
        for kind in ["read", "create", "update", "upsert", "archive"] {
            let path = format!("{LIST}/batch/{kind}");
            let response = crate::send(&sim, &path).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["content-type"], "text/html");
        }
        let one = format!("{LIST}/101");
        assert_eq!(call(&sim, "GET", &one, json!(null)).await.0, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn archived_records_may_be_shown() {
    let sim = sim(BatchDialect::new());
    assert!(sim.store("pat-1").archive(101));
    let read = || batch(&sim, "read?archived=true", inputs([101, 102]));
    let (status, body) = read().await;
    assert_eq!((status, found(&body)), (207, vec![102]));
    sim.set_batches(BatchDialect::new().archived_shown(true))
        .unwrap();
    let (status, body) = read().await;
    assert_eq!((status, found(&body)), (207, vec![101]));
    assert_eq!(body["results"][0]["archived"], true);
    assert_eq!(contexts(&body), [&json!({ "ids": ["102"] })]);
    assert_eq!(
        found(&batch(&sim, "read", inputs([101, 102])).await.1),
        [102]
    );
}

#[tokio::test(start_paused = true)]
async fn results_may_never_be_in_order() {
    let sim = sim(BatchDialect::new().never_in_order(true));
    for _ in 0..100 {
        let (_, body) = batch(&sim, "read", inputs([101, 102])).await;
        assert_eq!(body["results"][0]["id"], "102");
    }
    let (_, body) = batch(&sim, "read", inputs([101])).await;
    assert_eq!(found(&body), [101]);
}
