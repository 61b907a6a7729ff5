//! Promise: ten thousand records, of which the server times out on every page of 200 and bears pages of 25, are read to the end in
//! pages of 200, each record once; and after the first page at most one request per shape is too heavy. Who only repeats never gets
//! the first page.

mod common;
mod crm;

use bytes::Bytes;
use crm::{SEARCH, call, post, unlimited};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{BoxError, Layer, Service, ServiceBuilder};
use tower_quota::backoff::RetryAfter;
use tower_quota::hubspot::SearchPages;
use tower_quota::sim::{Cost, Sim, SimService};
use tower_quota::trim::PayloadTrim;
use tower_quota::{PayloadTrimLayer, RetryAfterLayer};

const RECORDS: u64 = 10_000;

/// A simulator without limits, which bears 25 records with two properties at a time.
fn simulator() -> Sim {
    let sim = Sim::builder()
        .no_burst()
        .no_search()
        .no_daily()
        .cost(Cost::new(25 * 3))
        .build()
        .unwrap();
    let store = sim.store("t");
    for nth in 0..RECORDS {
        let email = format!("p{nth}@example.com");
        store
            .create([("email", email), ("city", "Ulm".to_owned())])
            .unwrap();
    }
    sim
}

fn too_heavy(sim: &Sim) -> u64 {
    sim.stats().statuses.get(&504).copied().unwrap_or(0)
}

/// All that a query finds, page after page, as the server says where the next one begins.
async fn page_through<S, B>(api: &S, mut query: Value) -> Result<Vec<u64>, String>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError> + Clone,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut ids = Vec::new();
    loop {
        let got = call(api, post(SEARCH, &query)).await.unwrap();
        if got.status != 200 {
            return Err(format!("{} after {} records", got.status, ids.len()));
        }
        assert_eq!(got.json()["total"], RECORDS);
        ids.extend(got.ids());
        match got.next() {
            Some(next) => query["after"] = json!(next),
            None => return Ok(ids),
        }
    }
}

fn retry() -> RetryAfterLayer {
    RetryAfterLayer::new(&unlimited())
}

fn trimmed(sim: &Sim) -> PayloadTrim<RetryAfter<SimService>> {
    ServiceBuilder::new()
        .layer(PayloadTrimLayer::new(SearchPages::default()))
        .layer(retry())
        .service(sim.service())
}

fn query() -> Value {
    json!({"limit": 200, "properties": ["email", "city"]})
}

#[tokio::test(start_paused = true)]
async fn every_record_comes_once_and_only_the_first_page_pays() {
    let sim = simulator();
    let api = trimmed(&sim);
    call(&api, post(SEARCH, &query())).await.unwrap();
    let learning = too_heavy(&sim);
    assert_eq!(learning, 3, "200, 100, 50");
    let ids = page_through(&api, query()).await.unwrap();
    assert_eq!(ids, (101..=100 + RECORDS).collect::<Vec<_>>());
    let after = too_heavy(&sim) - learning;
    println!("10,000 records: {learning} too heavy while learning, {after} afterwards");
    assert!(after <= 1, "{after}");
}

/// Two of them in turn, with filters that weigh nothing, so that both work with 25 records.
#[tokio::test(start_paused = true)]
async fn so_does_each_shape() {
    let sim = simulator();
    let api = trimmed(&sim);
    let filtered = |operator: &str, value: &str| {
        let mut filtered = query();
        let filter = json!({"propertyName": "hs_object_id", "operator": operator, "value": value});
        filtered["filterGroups"] = json!([{"filters": [filter]}]);
        filtered
    };
    let mut queries = [filtered("GT", "0"), filtered("LTE", "1000000")];
    queries[1]["sorts"] = json!(["-hs_object_id"]);
    for query in &queries {
        let before = too_heavy(&sim);
        call(&api, post(SEARCH, query)).await.unwrap();
        assert_eq!(too_heavy(&sim) - before, 3, "{query}");
    }
    let learning = too_heavy(&sim);
    let [first, second] = queries.map(|query| page_through(&api, query));
    let (first, second) = tokio::join!(first, second);
    let all: Vec<_> = (101..=100 + RECORDS).collect();
    assert_eq!(first.unwrap(), all);
    assert!(second.unwrap().iter().eq(all.iter().rev()));
    let after = too_heavy(&sim) - learning;
    println!("two shapes: {learning} too heavy while learning, {after} afterwards");
    assert!(after <= 2, "{after}");
}

#[tokio::test(start_paused = true)]
async fn who_only_repeats_never_gets_the_first_page() {
    let sim = simulator();
    let api = retry().layer(sim.service());
    let end = page_through(&api, query()).await.unwrap_err();
    assert_eq!(end, "504 after 0 records");
    println!("without the layer: {} too heavy, {end}", too_heavy(&sim));
    assert_eq!(too_heavy(&sim), 5, "all attempts");
}
