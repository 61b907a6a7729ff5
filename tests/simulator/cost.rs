//! What is too heavy for the server times out; what is not is worked on. Costs are computed by hand.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tower_quota::sim::{Cost, Fault, Latency, Operator, Script, Sim, SimBuilder};

use crate::{LIST, SEARCH, SECOND, call, json, number, send, small};

const READ: &str = "/crm/v3/objects/contacts/batch/read";
const CREATE: &str = "/crm/v3/objects/contacts/batch/create";

fn costing(cost: Cost) -> SimBuilder {
    Sim::builder().no_burst().no_search().cost(cost)
}

async fn post(sim: &Sim, path: &str, body: &Value) -> u16 {
    call(sim, "POST", path, body.clone()).await.0
}

fn filters(operators: &[&str]) -> Value {
    let filters: Vec<Value> = operators
        .iter()
        .map(|operator| {
            json!({ "propertyName": "city", "operator": operator,
                    "value": "a", "highValue": "b", "values": ["a"] })
        })
        .collect();
    json!([{ "filters": filters }])
}

fn inputs(n: usize) -> Value {
    (0..n).map(|id| json!({ "id": id.to_string() })).collect()
}

#[tokio::test(start_paused = true)]
async fn what_costs_the_budget_works_and_what_costs_more_times_out() {
    let eight = filters(&["CONTAINS_TOKEN", "EQ", "NOT_HAS_PROPERTY"]);
    let fourteen = json!([
        { "filters": filters(&["NOT_CONTAINS_TOKEN", "HAS_PROPERTY"])[0]["filters"] },
        { "filters": filters(&["NOT_IN", "IN", "BETWEEN", "LTE"])[0]["filters"] },
    ]);
    let table = [
        // Nothing said: 10 records, the usual properties.
        (SEARCH, json!({}), 10),
        (SEARCH, json!({ "limit": 200 }), 200),
        // 7 x (1 + 2).
        (
            SEARCH,
            json!({ "limit": "7", "properties": ["city", "zip"] }),
            21,
        ),
        // Ordinary filters are free, and none is less than one.
        (
            SEARCH,
            json!({ "limit": 7, "filterGroups": filters(&["EQ", "GT", "IN"]) }),
            7,
        ),
        // 5 x (1 + 1) x (4 + 0 + 4).
        (
            SEARCH,
            json!({ "limit": 5, "properties": ["zip"], "filterGroups": eight }),
            80,
        ),
        // 1 x 1 x (8 + 2 + 4), over two groups.
        (SEARCH, json!({ "limit": 1, "filterGroups": fourteen }), 14),
        // 2 x 1 x (2 + 4), with the filter at the top level.
        (
            SEARCH,
            json!({ "limit": 2, "query": "ada king", "filters": filters(&["NEQ"])[0]["filters"] }),
            12,
        ),
        (READ, json!({ "inputs": inputs(100) }), 100),
        // 50 x (1 + 1 + 2).
        (
            READ,
            json!({ "inputs": inputs(50), "properties": ["zip"], "propertiesWithHistory": ["city", "state"] }),
            200,
        ),
    ];
    for (path, body, cost) in table {
        let enough = costing(Cost::new(cost)).build().unwrap();
        assert_ne!(post(&enough, path, &body).await, 504, "{body}");
        assert_eq!(
            (enough.stats().too_heavy(), enough.elapsed()),
            (0, Duration::ZERO)
        );
        let scarce = costing(Cost::new(cost - 1)).build().unwrap();
        assert_eq!(post(&scarce, path, &body).await, 504, "{body}");
        assert_eq!(scarce.stats().too_heavy(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn weights_can_be_set() {
    let body =
        json!({ "limit": 2, "query": "a", "filterGroups": filters(&["EQ", "CONTAINS_TOKEN"]) });
    // 2 x (3 + 5 + 7).
    let cost = |budget| {
        Cost::new(budget)
            .query(3)
            .operator(Operator::Eq, 5)
            .operator(Operator::ContainsToken, 7)
    };
    let sim = costing(cost(30)).build().unwrap();
    assert_eq!(post(&sim, SEARCH, &body).await, 200);
    sim.set_cost(Some(cost(29))).unwrap();
    assert_eq!(post(&sim, SEARCH, &body).await, 504);
    sim.set_cost(None).unwrap();
    assert_eq!(post(&sim, SEARCH, &body).await, 200);
    // The greatest weights there are make it too heavy, and nothing worse.
    sim.set_cost(Some(
        cost(u64::MAX - 1)
            .query(u64::MAX)
            .operator(Operator::Eq, u64::MAX),
    ))
    .unwrap();
    assert_eq!(post(&sim, SEARCH, &body).await, 504);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_heavy_is_counted_and_answered_after_the_wait() {
    let sim = small()
        .daily(100)
        .service_time(Latency::constant(7 * SECOND))
        .cost(Cost::new(9))
        .build()
        .unwrap();
    let (first, second) = tokio::join!(send(&sim, SEARCH), send(&sim, SEARCH));
    assert_eq!(sim.elapsed(), 30 * SECOND);
    for answer in [first, second] {
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(number(answer.headers(), "daily"), Some(100));
        assert_eq!(json(&answer)["category"], "TIMEOUT");
    }
    // What is refused, and what is light, takes its own time.
    let (_, _, refused) = tokio::join!(send(&sim, SEARCH), send(&sim, SEARCH), send(&sim, SEARCH));
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let before = sim.elapsed();
    assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
    assert_eq!(sim.elapsed() - before, 7 * SECOND);
    let stats = sim.stats();
    let search = stats.search;
    assert_eq!(
        (search.arrived, search.counted, search.refused_window),
        (5, 4, 1)
    );
    assert_eq!((search.too_heavy, search.too_heavy_by_chance), (4, 0));
    assert_eq!((stats.general.too_heavy, stats.faults), (0, 0));
    let served = json(&send(&sim, "/sim/stats").await);
    assert_eq!(served["search"]["too_heavy"], 4);
    assert_eq!(served["search"]["too_heavy_by_chance"], 0);
}

#[tokio::test(start_paused = true)]
async fn the_edge_answers_502_and_524_with_a_page_of_its_own() {
    for (code, title) in [(502, "502 Bad Gateway"), (524, "524 Origin Time-out")] {
        let cost = Cost::new(9)
            .status(StatusCode::from_u16(code).unwrap())
            .wait(100 * SECOND);
        let sim = costing(cost).build().unwrap();
        let answer = send(&sim, SEARCH).await;
        assert_eq!(answer.status().as_u16(), code);
        assert_eq!(sim.elapsed(), 100 * SECOND);
        assert_eq!(answer.headers()["content-type"], "text/html");
        assert_eq!(number(answer.headers(), "daily"), None);
        let page = String::from_utf8(answer.body().bytes().to_vec()).unwrap();
        assert!(page.contains(title), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_good_searches_and_batch_reads_can_be_too_heavy() {
    let sim = costing(Cost::new(1).at_random(1.0)).build().unwrap();
    let long = json!({ "limit": 200, "query": "x".repeat(3_000) });
    let table = [
        (SEARCH, json!({ "limit": 201 }), 400),
        (SEARCH, json!({ "after": "9999" }), 400),
        (SEARCH, json!({ "filterGroups": filters(&["LIKE"]) }), 400),
        (SEARCH, long, 400),
        (READ, json!({ "inputs": inputs(101) }), 400),
        (READ, json!({}), 400),
        (
            CREATE,
            json!({ "inputs": [{ "properties": { "city": "a" } }] }),
            201,
        ),
        ("/crm/v3/objects/deals/search", json!({ "limit": 200 }), 404),
    ];
    for (path, body, expected) in table {
        assert_eq!(post(&sim, path, &body).await, expected, "{path} {body}");
    }
    assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
    assert_eq!(sim.stats().too_heavy(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fault_goes_before() {
    let sim = costing(Cost::new(9)).build().unwrap();
    let moment = |fault| {
        sim.script(Script::new(fault));
        async { (send(&sim, SEARCH).await, sim.elapsed()) }
    };
    // Not worked on, hence not too heavy.
    let (locked, at) = moment(Fault::status(StatusCode::LOCKED)).await;
    assert_eq!((locked.status(), at), (StatusCode::LOCKED, Duration::ZERO));
    assert_eq!(sim.stats().too_heavy(), 0);
    // Worked on, with other headers.
    let (bare, at) = moment(Fault::own_answer().without_quota_headers().delay(SECOND)).await;
    assert_eq!((bare.status().as_u16(), at), (504, 31 * SECOND));
    assert_eq!(number(bare.headers(), "daily"), None);
    assert_eq!((sim.stats().too_heavy(), sim.stats().faults), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn timeouts_by_chance() {
    let sim = costing(Cost::new(u64::MAX).wait(SECOND).at_random(0.2))
        .build()
        .unwrap();
    for _ in 0..5_000 {
        send(&sim, SEARCH).await;
        post(&sim, READ, &json!({ "inputs": [] })).await;
        send(&sim, LIST).await;
    }
    let stats = sim.stats();
    for class in [stats.search, stats.general] {
        // 1,000 on average, and a standard deviation of 28.
        assert!((860..1_140).contains(&class.too_heavy), "{stats:?}");
        assert_eq!(class.too_heavy_by_chance, class.too_heavy);
    }
    assert_eq!(stats.statuses[&504], stats.too_heavy());
    assert_eq!(sim.elapsed(), stats.too_heavy() as u32 * SECOND);
    // What costs too much is no matter of chance.
    sim.set_cost(Some(Cost::new(9).at_random(1.0))).unwrap();
    send(&sim, SEARCH).await;
    let after = sim.stats();
    assert_eq!(after.too_heavy(), stats.too_heavy() + 1);
    assert_eq!(
        after.search.too_heavy_by_chance,
        stats.search.too_heavy_by_chance
    );
}

#[tokio::test(start_paused = true)]
async fn a_cost_that_nothing_exceeds_changes_no_run() {
    let run = |cost: Option<Cost>| async move {
        let mut builder = Sim::builder()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(SECOND / 5, SECOND))
            .fault(0.3, Fault::status(StatusCode::SERVICE_UNAVAILABLE))
            .seed(11)
            .record(true);
        if let Some(cost) = cost {
            builder = builder.cost(cost);
        }
        let sim = builder.build().unwrap();
        for _ in 0..50 {
            send(&sim, SEARCH).await;
            post(&sim, READ, &json!({ "inputs": inputs(3) })).await;
        }
        (sim.log(), sim.stats(), sim.elapsed())
    };
    let without = run(None).await;
    assert_eq!(run(Some(Cost::new(u64::MAX).at_random(0.0))).await, without);
    assert_ne!(run(Some(Cost::new(u64::MAX).at_random(0.5))).await, without);
}

#[tokio::test(start_paused = true)]
async fn a_cost_that_makes_no_sense_is_refused_and_changes_nothing() {
    let table = [
        (Cost::new(0), "cost: budget"),
        (Cost::new(1).wait(86_401 * SECOND), "cost: wait"),
        (Cost::new(1).status(StatusCode::OK), "cost: status"),
        (
            Cost::new(1).status(StatusCode::SERVICE_UNAVAILABLE),
            "cost: status",
        ),
        (Cost::new(1).at_random(1.1), "cost: probability"),
        (Cost::new(1).at_random(f64::NAN), "cost: probability"),
    ];
    let sim = costing(Cost::new(9)).build().unwrap();
    for (cost, field) in table {
        assert_eq!(sim.set_cost(Some(cost.clone())).unwrap_err().field(), field);
        assert_eq!(costing(cost).build().unwrap_err().field(), field);
    }
    assert_eq!(send(&sim, SEARCH).await.status().as_u16(), 504);
}
