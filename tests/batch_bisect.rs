//! Promise: where one bad record refuses a whole batch, its owner alone fails, and finding it costs O(log n) requests more; where the
//! server says which it is, it costs next to nothing. (T38)

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use common::ms;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{BoxError, Layer, ServiceExt};
use tower_quota::BatchLayer;
use tower_quota::hubspot::Batches;
use tower_quota::sim::{BatchDialect, Latency, Sim, Traces};

const CONTACTS: &str = "https://api.example.com/crm/v3/objects/contacts";
const MANY: usize = 100;

/// What a caller got.
type Got = (u16, Value);

/// A hundred contacts, the first with the id 101.
fn sim(traces: Traces) -> Sim {
    let dialect = BatchDialect::new().traces(traces).never_in_order(true);
    let builder = Sim::builder().no_burst().batches(dialect);
    let sim = builder.latency(Latency::constant(ms(10))).build().unwrap();
    for n in 0..MANY {
        let email = ("email", format!("p{n}@example.com"));
        sim.store("pat-1").create([email]).unwrap();
    }
    sim
}

/// One call for each body, all at one instant, through one layer; with how many requests they took.
async fn all(sim: &Sim, requests: Vec<Request<Full<Bytes>>>) -> (Vec<Got>, u64) {
    let before = sim.stats().arrived();
    let api = BatchLayer::new(Batches::default()).layer(sim.service());
    let call = |request| {
        let answer = api.clone().oneshot(request);
        tokio::spawn(async move {
            let answer = answer.await?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await?.to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            Ok::<Got, BoxError>((status, body))
        })
    };
    let calls: Vec<_> = requests.into_iter().map(call).collect();
    let mut got = Vec::new();
    for call in calls {
        got.push(call.await.unwrap().unwrap());
    }
    (got, sim.stats().arrived() - before)
}

fn request(method: Method, target: &str, body: &Value) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(target)
        .header("authorization", "Bearer pat-1")
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

/// An update of each contact; those of the bad ones are refused.
fn updates(bad: &BTreeSet<usize>) -> Vec<Request<Full<Bytes>>> {
    let update = |n| {
        let name = match bad.contains(&n) {
            true => "nonsense",
            false => "city",
        };
        let body = json!({ "properties": { name: format!("city {n}") } });
        request(Method::PATCH, &format!("{CONTACTS}/{}", 101 + n), &body)
    };
    (0..MANY).map(update).collect()
}

/// A hundred new contacts; the bad ones have an e-mail that is taken.
fn creates(bad: &BTreeSet<usize>, round: usize) -> Vec<Request<Full<Bytes>>> {
    let create = |n| {
        let email = match bad.contains(&n) {
            true => format!("p{n}@example.com"),
            false => format!("new{round}.{n}@example.com"),
        };
        let body = json!({ "properties": { "email": email } });
        request(Method::POST, CONTACTS, &body)
    };
    (0..MANY).map(create).collect()
}

fn check_updates(got: &[Got], bad: &BTreeSet<usize>) {
    for (n, (status, body)) in got.iter().enumerate() {
        if bad.contains(&n) {
            assert_eq!(
                (*status, &body["errors"][0]["code"]),
                (400, &json!("PROPERTY_DOESNT_EXIST"))
            );
        } else {
            assert_eq!((*status, &body["id"]), (200, &json!((101 + n).to_string())));
            assert_eq!(body["properties"]["city"], format!("city {n}"));
        }
    }
}

fn check_creates(got: &[Got], bad: &BTreeSet<usize>, round: usize) {
    for (n, (status, body)) in got.iter().enumerate() {
        if bad.contains(&n) {
            let message = format!("Contact already exists. Existing ID: {}", 101 + n);
            assert_eq!((*status, &body["message"]), (409, &json!(message)));
        } else {
            let email = format!("new{round}.{n}@example.com");
            assert_eq!(
                (*status, &body["properties"]["email"]),
                (201, &json!(email))
            );
        }
    }
}

/// How many requests a hundred good ones take.
async fn without_a_bad_one() -> u64 {
    let (got, requests) = all(&sim(Traces::Ignored), updates(&BTreeSet::new())).await;
    check_updates(&got, &BTreeSet::new());
    requests
}

/// With one bad one among a hundred: 2 + 2 log2 100.
const MOST_FOR_ONE: u64 = 15;

#[tokio::test(start_paused = true)]
async fn one_bad_record_among_a_hundred_costs_few_requests_wherever_it_is() {
    let least = without_a_bad_one().await;
    assert_eq!(least, 1);
    let sim = sim(Traces::Ignored);
    let mut worst = 0;
    for place in 0..MANY {
        let bad = BTreeSet::from([place]);
        let (got, requests) = all(&sim, updates(&bad)).await;
        check_updates(&got, &bad);
        worst = worst.max(requests - least);
        let (got, requests) = all(&sim, creates(&bad, place)).await;
        check_creates(&got, &bad, place);
        worst = worst.max(requests - least);
    }
    println!("one bad record among {MANY}: at most {worst} requests more");
    assert!(worst <= MOST_FOR_ONE, "{worst}");
}

#[tokio::test(start_paused = true)]
async fn more_bad_records_cost_so_much_each_at_most() {
    let sim = sim(Traces::Ignored);
    let rng = &mut fastrand::Rng::with_seed(7);
    for (round, k) in [2, 3, 5, 10, 20, 50, 99, 100, 2, 3, 5, 10, 20, 50]
        .into_iter()
        .enumerate()
    {
        let mut places: Vec<usize> = (0..MANY).collect();
        rng.shuffle(&mut places);
        let bad: BTreeSet<usize> = places.into_iter().take(k).collect();
        let (got, updates) = all(&sim, updates(&bad)).await;
        check_updates(&got, &bad);
        let (got, creates) = all(&sim, creates(&bad, round)).await;
        check_creates(&got, &bad, round);
        let worst = updates.max(creates) - 1;
        println!("{k} bad records among {MANY}: {worst} requests more");
        assert!(worst <= MOST_FOR_ONE * k as u64, "{k}: {worst}");
        // Never more than a tree over all of them.
        assert!(worst < 2 * MANY as u64, "{k}: {worst}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_trace_ids_bad_records_cost_nothing() {
    for traces in [Traces::Used, Traces::Echoed] {
        let sim = sim(traces);
        for (round, bad) in [vec![0], vec![99], vec![3, 50, 51], (0..MANY).collect()]
            .into_iter()
            .enumerate()
        {
            let bad = BTreeSet::from_iter(bad);
            let (got, requests) = all(&sim, updates(&bad)).await;
            check_updates(&got, &bad);
            assert_eq!(requests, 1, "{bad:?}");
            let (got, requests) = all(&sim, creates(&bad, round)).await;
            check_creates(&got, &bad, round);
            assert_eq!(requests, 1, "{bad:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_record_that_the_refusal_names_is_left_out_at_once() {
    let sim = sim(Traces::FirstNamed);
    for bad in [vec![0], vec![37], vec![99], vec![2, 50, 51, 98]] {
        let bad = BTreeSet::from_iter(bad);
        let (got, requests) = all(&sim, updates(&bad)).await;
        check_updates(&got, &bad);
        // The whole, and for each of them the others and it alone.
        assert_eq!(requests, 1 + 2 * bad.len() as u64, "{bad:?}");
    }
}
