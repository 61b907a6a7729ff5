//! Ten thousand records, read in pages of 200 from a server that times out on pages of more than 25: with the layer that trims,
//! without it, and as somebody would who knew the 25.
//!
//! ```text
//! cargo bench --bench trim                 a table
//! cargo bench --bench trim -- --json       the same as one JSON object
//! ```
//!
//! Every run has its own runtime in paused time. All have the whole stack for HubSpot around them: five searches per second, counted
//! in true rolling windows, with a network and answers that take 200 to 600 ms. What is too heavy takes 30 s to fail. One
//! caller asks for page after page; in one row five callers begin at the same time, so that none can know what the others learn.
//!
//! Ends with exit code 1 when the layer does not bring every record exactly once, pays for more than one failure after the first
//! page, or is ever refused.

mod support;

use std::collections::HashSet;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, SearchPages, Tier};
use tower_quota::plan::{Assumed, ColdStart, Zone};
use tower_quota::sim::{Cost, Latency, Sim};
use tower_quota::stack::StackLayer;
use tower_quota::{BoxError, PayloadTrimLayer, Quota};

const MILLISECOND: Duration = Duration::from_millis(1);
const RECORDS: usize = 10_000;
const BEARS: usize = 25;
const PROPERTIES: [&str; 2] = ["email", "city"];
/// 200, 100, 50.
const LEARNING: u64 = 3;

/// One row of the table.
struct Way {
    name: &'static str,
    limit: usize,
    /// So many callers share the pages.
    readers: usize,
    stack: fn(&Quota) -> StackLayer,
}

const WAYS: [Way; 5] = [
    Way {
        name: "PayloadTrimLayer",
        limit: 200,
        readers: 1,
        stack: hubspot::stack,
    },
    Way {
        name: "the same, five readers at once",
        limit: 200,
        readers: 5,
        stack: hubspot::stack,
    },
    Way {
        name: "the same, nothing remembered",
        limit: 200,
        readers: 1,
        stack: |quota| {
            let trim = PayloadTrimLayer::new(SearchPages::default());
            StackLayer::new(quota).trim_with(trim.quota(quota).max_shapes(0))
        },
    },
    Way {
        name: "repeated only",
        limit: 200,
        readers: 1,
        stack: StackLayer::new,
    },
    Way {
        name: "pages of 25, if it were known",
        limit: BEARS,
        readers: 1,
        stack: StackLayer::new,
    },
];

struct Seen {
    /// Records, of which so many are different.
    records: usize,
    different: usize,
    requests: u64,
    too_heavy: u64,
    refused: u64,
    took: Duration,
}

fn simulator() -> Sim {
    let sim = Sim::builder()
        .latency(Latency::WAN)
        .service_time(Latency::uniform(200 * MILLISECOND, 600 * MILLISECOND))
        .cost(Cost::new((BEARS * (1 + PROPERTIES.len())) as u64))
        .seed(1)
        .build()
        .expect("the simulator is sound");
    let store = sim.store("one");
    for nth in 0..RECORDS {
        let email = format!("p{nth}@example.com");
        store
            .create([("email", email), ("city", "Ulm".to_owned())])
            .expect("the contact is sound");
    }
    sim
}

fn search(limit: usize, after: usize) -> Request<Full<Bytes>> {
    let body = json!({"limit": limit, "properties": PROPERTIES, "after": after});
    Request::post("http://sim/crm/v3/objects/contacts/search")
        .header("authorization", "Bearer one")
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .expect("the request is sound")
}

/// The ids on one page of every `readers`, from page `first` on.
async fn read<S, B>(api: S, limit: usize, readers: usize, first: usize) -> Vec<String>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError> + Clone,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Debug>,
{
    let mut ids = Vec::new();
    for after in (first * limit..RECORDS).step_by(limit * readers) {
        let response = api.clone().oneshot(search(limit, after)).await;
        let response = response.expect("there is an answer");
        if !response.status().is_success() {
            break;
        }
        let body = response.into_body().collect().await;
        let body = body.expect("the body is whole").to_bytes();
        let answer: Value = serde_json::from_slice(&body).expect("the answer is JSON");
        let results = answer["results"].as_array().into_iter().flatten();
        ids.extend(results.map(|record| record["id"].to_string()));
        let next = after + limit;
        let expected = (next < RECORDS).then(|| next.to_string());
        assert_eq!(
            answer["paging"]["next"]["after"].as_str(),
            expected.as_deref()
        );
    }
    ids
}

async fn page_through(way: &Way) -> Seen {
    let quota = Quota::builder(hubspot::api(Tier::Professional, Zone::UTC))
        .cold_start(ColdStart::Assume(Assumed::Empty))
        .build();
    let sim = simulator();
    let api = (way.stack)(&quota).layer(sim.service());
    let clock = Clock::system();
    let readers = (0..way.readers).map(|first| read(api.clone(), way.limit, way.readers, first));
    let ids = readers.collect::<JoinSet<_>>().join_all().await.concat();
    let stats = sim.stats();
    Seen {
        records: ids.len(),
        different: ids.iter().collect::<HashSet<_>>().len(),
        requests: stats.counted(),
        too_heavy: stats.too_heavy(),
        refused: stats.refused(),
        took: clock.elapsed(),
    }
}

fn run(way: &Way) -> Seen {
    fastrand::seed(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime.block_on(page_through(way))
}

fn main() -> ExitCode {
    let table = WAYS.each_ref().map(run);
    let failures = check(&table);
    if support::has_flag("--json") {
        println!("{}", to_json(&table, failures.is_empty()));
    } else {
        print(&table);
    }
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn check(table: &[Seen]) -> Vec<String> {
    let mut failures = Vec::new();
    for (way, seen) in WAYS.iter().zip(table) {
        if seen.refused > 0 {
            failures.push(format!("{}: {} were refused", way.name, seen.refused));
        }
    }
    let ours = &table[0];
    if (ours.records, ours.different) != (RECORDS, RECORDS) {
        failures.push(format!(
            "{} records, {} different",
            ours.records, ours.different
        ));
    }
    if ours.too_heavy > LEARNING + 1 {
        failures.push(format!("{} were too heavy", ours.too_heavy));
    }
    failures
}

fn print(table: &[Seen]) {
    println!(
        "trim: {RECORDS} records in pages of 200, of which the server bears {BEARS} at a time (cargo bench --bench trim)\n"
    );
    let header = ["way", "requests", "504", "refused", "seconds", "records"];
    let row = |(way, seen): (&Way, &Seen)| {
        vec![
            way.name.to_owned(),
            seen.requests.to_string(),
            seen.too_heavy.to_string(),
            seen.refused.to_string(),
            format!("{:.1}", seen.took.as_secs_f64()),
            seen.different.to_string(),
        ]
    };
    let rows: Vec<_> = WAYS.iter().zip(table).map(row).collect();
    support::print_table(&header, &rows);
    println!("\n504:     requests that were too heavy, of those in the first column");
    println!("seconds: until the last page is there, or the caller is told that there is none");
}

fn to_json(table: &[Seen], passed: bool) -> Value {
    let rows = WAYS.iter().zip(table).map(|(way, seen)| {
        json!({
            "way": way.name,
            "limit": way.limit,
            "readers": way.readers,
            "requests": seen.requests,
            "too_heavy": seen.too_heavy,
            "refused": seen.refused,
            "seconds": seen.took.as_secs_f64(),
            "records": seen.records,
            "different": seen.different,
        })
    });
    json!({ "bench": "trim", "rows": rows.collect::<Vec<_>>(), "passed": passed })
}
