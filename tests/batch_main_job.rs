//! Promise: an upsert of many records by many tasks, each of which makes one call after the other, takes little more requests than
//! the fullest batches would, is never refused, and writes every record once.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::ms;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::Quota;
use tower_quota::hubspot::{self, Batches, Tier};
use tower_quota::plan::{Assumed, ColdStart, Zone};
use tower_quota::sim::{Latency, Sim};

const RECORDS: usize = 10_000;
const TASKS: usize = 400;
const CONTACTS: &str = "http://sim/crm/v3/objects/contacts";

fn email(nth: usize) -> String {
    format!("p{nth}@example.com")
}

fn write(method: Method, target: &str, nth: usize) -> Request<Full<Bytes>> {
    let body = serde_json::json!({ "properties": { "email": email(nth), "city": "Ulm" } });
    Request::builder()
        .method(method)
        .uri(target)
        .header("authorization", "Bearer one")
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upsert_of_many_takes_little_more_requests_than_the_fullest_batches() {
    let sim = Sim::builder()
        .latency(Latency::WAN)
        .service_time(Latency::uniform(ms(200), ms(600)))
        .seed(1)
        .build()
        .unwrap();
    let store = sim.store("one");
    for nth in (0..RECORDS).step_by(2) {
        store.create([("email", email(nth))]).unwrap();
    }
    let quota = Quota::builder(hubspot::api(Tier::Professional, Zone::UTC))
        .cold_start(ColdStart::Assume(Assumed::Empty))
        .build();
    let api = hubspot::stack(&quota)
        .batch(Batches::default())
        .layer(sim.service());
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (api, next) = (api.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= RECORDS {
                    return;
                }
                let target = format!("{CONTACTS}/{}?idProperty=email", email(nth));
                let known = api
                    .clone()
                    .oneshot(write(Method::PATCH, &target, nth))
                    .await;
                let known = known.unwrap().status();
                if nth % 2 == 0 {
                    assert_eq!(known, StatusCode::OK);
                    continue;
                }
                assert_eq!(known, StatusCode::NOT_FOUND);
                let new = api
                    .clone()
                    .oneshot(write(Method::POST, CONTACTS, nth))
                    .await;
                assert_eq!(new.unwrap().status(), StatusCode::CREATED);
            }
        });
    }
    tasks.join_all().await;
    let stats = sim.stats();
    assert_eq!(stats.refused(), 0);
    // A hundred batches of updates and fifty of creates are the least.
    println!("{} requests", stats.counted());
    assert!(stats.counted() <= 220, "{}", stats.counted());
    // Each of them is there: an email belongs to one contact only.
    for nth in 0..RECORDS {
        assert!(store.create([("email", email(nth))]).is_err(), "{nth}");
    }
}
