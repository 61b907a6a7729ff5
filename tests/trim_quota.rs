//! Promise: each piece pays for its own slots like any other request, so that nothing is ever refused; the caller's lane, deadline
//! and account go with the pieces; and no more of them are under way than concurrency allows.

mod common;
mod crm;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use common::{FOREVER, SECOND, fresh_hubspot, ms};
use crm::{Crm, Got, SEARCH, Store, call, post, unlimited};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::Layer;
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, SearchPages};
use tower_quota::plan::Zone;
use tower_quota::request::{AccountId, Deadline, Lane};
use tower_quota::sim::{Class, Cost, Latency, Sim, SimService};
use tower_quota::stack::{Stack, StackLayer};
use tower_quota::{BoxError, QuotaError};

const RECORDS: u64 = 400;

/// With true rolling windows and a network. A record with two properties costs 3.
fn simulator(budget: u64) -> Sim {
    let sim = Sim::builder()
        .latency(Latency::WAN)
        .service_time(Latency::uniform(ms(200), ms(600)))
        .cost(Cost::new(budget).wait(10 * SECOND))
        .record(true)
        .seed(11)
        .build()
        .unwrap();
    let store = sim.store("t");
    for nth in 0..RECORDS {
        store
            .create([("email", format!("p{nth}@example.com"))])
            .unwrap();
    }
    sim
}

fn page() -> Value {
    json!({"limit": 200, "properties": ["email", "city"]})
}

fn stack() -> StackLayer {
    hubspot::stack(&fresh_hubspot(Zone::UTC).build()).max_wait(FOREVER)
}

fn request(lane: Lane, after: u64) -> Request<Full<Bytes>> {
    let mut body = page();
    body["after"] = json!(after.to_string());
    let mut request = post(SEARCH, &body);
    request.extensions_mut().insert(lane);
    request
}

/// Pages of 200 from several tasks, half of them in each lane. Returns what each call took.
async fn crowd(
    api: &Stack<SimService>,
    tasks: u64,
    calls: u64,
) -> BTreeMap<&'static str, Vec<Duration>> {
    let mut crowd = JoinSet::new();
    for task in 0..tasks {
        let api = api.clone();
        crowd.spawn(async move {
            let (name, lane) = match task % 2 {
                0 => ("bulk", Lane::Bulk),
                _ => ("interactive", Lane::Interactive),
            };
            let mut took = Vec::new();
            for nth in 0..calls {
                let (clock, after) = (Clock::system(), 200 * (nth % 2));
                let got = call(&api, request(lane, after)).await.unwrap();
                took.push(clock.elapsed());
                assert_eq!(got.status, 200);
                let first = 101 + after;
                assert_eq!(got.ids(), (first..first + 200).collect::<Vec<_>>());
            }
            (name, took)
        });
    }
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    while let Some(done) = crowd.join_next().await {
        let (name, took) = done.unwrap();
        all.entry(name).or_default().extend(took);
    }
    all
}

fn mean(times: &[Duration]) -> f64 {
    times.iter().map(Duration::as_secs_f64).sum::<f64>() / times.len() as f64
}

#[tokio::test(start_paused = true)]
async fn pieces_are_counted_and_none_is_refused() {
    let sim = simulator(25 * 3);
    let api = stack().layer(sim.service());
    call(&api, request(Lane::Bulk, 0)).await.unwrap();
    let learning = sim.stats();
    assert_eq!(learning.too_heavy(), 3);
    let took = crowd(&api, 8, 4).await;
    let stats = sim.stats();
    assert_eq!(stats.refused(), 0);
    assert_eq!(stats.statuses.get(&429), None);
    let probes = stats.too_heavy() - learning.too_heavy();
    let pieces = stats.search.counted - learning.search.counted;
    assert_eq!((pieces, probes), (8 * 4 * 8, 0), "eight for each page");
    assert_eq!(stats.general.counted, 0);
    assert!(sim.max_in_window(Class::Search, SECOND) <= 5);
    // Five in a second, less what the network takes, and the time of the first page aside.
    let seconds = (stats.last_admitted.unwrap() - learning.last_admitted.unwrap()).as_secs_f64();
    let rate = pieces as f64 / seconds;
    println!("{pieces} pieces in {seconds:.1} s: {rate:.2} per second");
    let (bulk, interactive) = (mean(&took["bulk"]), mean(&took["interactive"]));
    println!("a page took {bulk:.1} s in bulk and {interactive:.1} s interactive");
    assert!(rate > 3.5, "slots were left unused: {rate}");
    assert!(interactive < bulk, "the lane does not go with the pieces");
}

/// Ids by search, properties by batch read: each in its own window.
#[tokio::test(start_paused = true)]
async fn so_are_the_reads_that_a_search_becomes() {
    // Not even ten records with two properties, but ten ids, and six records with properties.
    let sim = simulator(20);
    let quota = fresh_hubspot(Zone::UTC).build();
    let layer = hubspot::stack(&quota).max_wait(FOREVER);
    let api = layer.layer(sim.service());
    let took = crowd(&api, 4, 3).await;
    let stats = sim.stats();
    println!(
        "{} searches and {} batch reads; a page took {took:?}",
        stats.search.counted, stats.general.counted
    );
    assert_eq!(stats.refused(), 0);
    assert!(stats.search.counted > 0 && stats.general.counted > 0);
    assert!(sim.max_in_window(Class::Search, SECOND) <= 5);
    assert!(sim.max_in_window(Class::General, 10 * SECOND) <= 190);
    let log = sim.log().len() as u64;
    assert_eq!(log, stats.search.counted + stats.general.counted);
    sleep(60 * SECOND).await;
    assert_eq!(
        quota
            .usage(hubspot::SEARCH, &request(Lane::Bulk, 0))
            .unwrap()
            .used,
        0
    );
    assert_eq!(
        quota
            .usage(hubspot::BURST, &request(Lane::Bulk, 0))
            .unwrap()
            .used,
        0
    );
}

/// A lookup beside a backfill that is asked in pieces waits as little as beside one that is not.
#[tokio::test(start_paused = true)]
async fn a_lookup_does_not_wait_for_the_pieces_of_a_backfill() {
    let sim = simulator(25 * 3);
    let api = stack().layer(sim.service());
    call(&api, request(Lane::Bulk, 0)).await.unwrap();
    let mut backfill = JoinSet::new();
    for _ in 0..10 {
        let api = api.clone();
        backfill.spawn(async move {
            loop {
                let got = call(&api, request(Lane::Bulk, 0)).await.unwrap();
                assert_eq!(got.ids().len(), 200);
            }
        });
    }
    sleep(20 * SECOND).await;
    let mut longest = Duration::ZERO;
    for _ in 0..30 {
        let mut lookup = post(
            SEARCH,
            &json!({"limit": 1, "properties": ["email", "city"]}),
        );
        lookup.extensions_mut().insert(Lane::Interactive);
        let clock = Clock::system();
        assert_eq!(call(&api, lookup).await.unwrap().ids(), [101]);
        longest = longest.max(clock.elapsed());
        sleep(3 * SECOND).await;
    }
    println!("the slowest lookup took {longest:?}");
    // A window and two round trips.
    assert!(longest < 5 * SECOND, "{longest:?}");
    assert_eq!(sim.stats().refused(), 0);
}

/// What the caller attached is on every piece.
#[tokio::test(start_paused = true)]
async fn lane_deadline_and_account_go_with_the_pieces() {
    let crm = Crm::new(Store::of(400));
    crm.set_budget(25 * 3);
    let api = StackLayer::new(&unlimited())
        .trim(SearchPages::default())
        .layer(crm.clone());
    let deadline = Deadline::within(1_000 * SECOND);
    let mut request = request(Lane::Interactive, 0);
    request.extensions_mut().insert(deadline);
    request.extensions_mut().insert(AccountId("4711".into()));
    assert_eq!(call(&api, request).await.unwrap().status, 200);
    let log = crm.server.log();
    assert_eq!(log.len(), 4 + 7);
    for seen in log {
        assert_eq!(seen.extensions.get(), Some(&Lane::Interactive));
        assert_eq!(seen.extensions.get(), Some(&deadline));
        assert_eq!(seen.extensions.get(), Some(&AccountId("4711".into())));
        assert_eq!(seen.token(), "t");
    }
}

/// The page would take two seconds at least, for want of slots.
#[tokio::test(start_paused = true)]
async fn a_deadline_holds_for_all_pieces_together() {
    let sim = simulator(25 * 3);
    let api = stack().layer(sim.service());
    call(&api, request(Lane::Bulk, 0)).await.unwrap();
    let mut backfill = JoinSet::new();
    for _ in 0..5 {
        let api = api.clone();
        backfill.spawn(async move { while call(&api, request(Lane::Bulk, 0)).await.is_ok() {} });
    }
    sleep(10 * SECOND).await;
    let clock = Clock::system();
    let mut late = request(Lane::Bulk, 0);
    late.extensions_mut().insert(Deadline::within(2 * SECOND));
    let got: Result<Got, BoxError> = timeout(60 * SECOND, call(&api, late)).await.unwrap();
    let error = got.expect_err("a part for the whole");
    assert!(error.is::<QuotaError>(), "{error}");
    assert!(clock.elapsed() < 4 * SECOND, "{:?}", clock.elapsed());
    drop(backfill);
    // Nobody waits in the place of those who have gone.
    sleep(60 * SECOND).await;
    let again = timeout(60 * SECOND, call(&api, request(Lane::Bulk, 0))).await;
    assert_eq!(again.unwrap().unwrap().status, 200);
    assert_eq!(sim.stats().refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_concurrency_allows() {
    for most in [1, 2, 3, 8] {
        let crm = Crm::new(Store::of(400));
        crm.set_budget(25 * 3);
        let layer = StackLayer::new(&unlimited()).trim(SearchPages::default());
        let layer = layer.max_concurrency(most);
        let api = layer.layer(crm.clone());
        // What failed at first was taken for overload; it takes a few pages until that is forgotten.
        for _ in 0..15 {
            call(&api, request(Lane::Bulk, 0)).await.unwrap();
            sleep(60 * SECOND).await;
        }
        assert_eq!(crm.most_in_flight(), most.min(4) as usize);
    }
}
