//! Goodput and errors on an API that refuses more than 12 requests at a time and does not say so: ours against the adaptive
//! limiters of `tower-resilience`.
//!
//! ```text
//! cargo bench --bench concurrency                 tables
//! cargo bench --bench concurrency -- --json       the same as one JSON object
//! ```
//!
//! Every run has its own runtime in paused time. Demand is saturating: 64 tasks call for 120 s; a call that is refused is repeated
//! after a backoff that is the same for all. Goodput is the share of what 12 places could have answered.
//!
//! The peers are given the time of the runtime in place of the machine's, with which they measure latency, and are tried twice: as
//! they are (a 429 is an `Ok` to them) and with refusals turned into errors, which is the best that can be done for them.
//!
//! Ends with exit code 1 when ours has less goodput than the better of AIMD and Vegas, or more than half of its errors. AIMD as it is
//! does not count: it takes a refusal for a success and does not limit at all, so its goodput is that of everybody who hammers at
//! the server, which is more than that of a limiter who knows the 12.

mod support;

#[path = "support/adaptive.rs"]
mod adaptive;

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tower_quota::clock::Clock;

use adaptive::{ALL, Limiter, Network, Server, call};

const MILLISECOND: Duration = Duration::from_millis(1);
const SEEDS: u64 = 10;
const CAP: u32 = 12;
const TASKS: usize = 64;
const LENGTH: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    refusal: StatusCode,
    network: Network,
    /// How many requests the server bears, by the second.
    cap: fn(u64) -> u32,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "429 above 12",
        refusal: StatusCode::TOO_MANY_REQUESTS,
        network: Network::NONE,
        cap: |_| CAP,
    },
    Scenario {
        name: "503 above 12",
        refusal: StatusCode::SERVICE_UNAVAILABLE,
        network: Network::NONE,
        cap: |_| CAP,
    },
    Scenario {
        name: "with a network",
        refusal: StatusCode::TOO_MANY_REQUESTS,
        network: Network {
            base: Duration::from_millis(20),
            extra: Duration::from_millis(30),
        },
        cap: |_| CAP,
    },
    Scenario {
        name: "12, 5 for 40 s, 12",
        refusal: StatusCode::TOO_MANY_REQUESTS,
        network: Network::NONE,
        cap: |second| if (40..80).contains(&second) { 5 } else { CAP },
    },
];

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    good: u64,
    refused: u64,
    /// As many as the places could have answered.
    ideal: f64,
}

impl Seen {
    fn goodput_percent(&self) -> f64 {
        100.0 * self.good as f64 / self.ideal
    }

    fn error_percent(&self) -> f64 {
        100.0 * self.refused as f64 / (self.good + self.refused).max(1) as f64
    }

    fn add(&mut self, other: &Seen) {
        self.good += other.good;
        self.refused += other.refused;
        self.ideal += other.ideal;
    }
}

fn run(limiter: &Limiter, scenario: &Scenario, seed: u64) -> Seen {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let clock = Clock::system();
        let server = Server::new(scenario.refusal, scenario.network, scenario.cap, seed);
        let client = (limiter.client)(server);
        let seen = Rc::new(Cell::new(Seen::default()));
        for _ in 0..TASKS {
            let (mut client, clock, seen) = (client.clone(), clock.clone(), seen.clone());
            tokio::task::spawn_local(async move {
                loop {
                    let client = client.ready().await.expect("the client is ready");
                    let status = client.call(call()).await.expect("the server answers");
                    if clock.elapsed() > LENGTH {
                        break;
                    }
                    let mut sum = seen.get();
                    if status.is_success() {
                        sum.good += 1;
                        seen.set(sum);
                        continue;
                    }
                    sum.refused += 1;
                    seen.set(sum);
                    tokio::time::sleep((200 * MILLISECOND).mul_f64(0.5 + fastrand::f64())).await;
                }
            });
        }
        tokio::time::sleep(LENGTH).await;
        let places: u32 = (0..LENGTH.as_secs()).map(scenario.cap).sum();
        Seen {
            ideal: f64::from(places) / adaptive::MEAN_SERVICE.as_secs_f64(),
            ..seen.get()
        }
    })
}

fn main() -> ExitCode {
    let mut table = vec![vec![Seen::default(); SCENARIOS.len()]; ALL.len()];
    for (limiter, row) in ALL.iter().zip(&mut table) {
        for (scenario, cell) in SCENARIOS.iter().zip(row) {
            for seed in 1..=SEEDS {
                cell.add(&run(limiter, scenario, seed));
            }
        }
    }
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

/// The first is ours; it is held against the peer with the best goodput.
fn check(table: &[Vec<Seen>]) -> Vec<String> {
    let mut failures = Vec::new();
    for (column, scenario) in SCENARIOS.iter().enumerate() {
        let peers = ALL.iter().zip(table).filter(|(limiter, _)| limiter.is_peer);
        let best = peers
            .map(|(limiter, row)| (limiter.name, row[column]))
            .max_by_key(|(_, seen)| seen.good);
        let Some((peer, best)) = best else {
            continue;
        };
        let ours = table[0][column];
        if ours.good < best.good {
            failures.push(format!(
                "{}: {:.1} % of the goodput that is possible, {peer} {:.1} %",
                scenario.name,
                ours.goodput_percent(),
                best.goodput_percent()
            ));
        }
        if 2 * ours.refused > best.refused {
            failures.push(format!(
                "{}: {} errors, {peer} {}",
                scenario.name, ours.refused, best.refused
            ));
        }
    }
    failures
}

fn print(table: &[Vec<Seen>]) {
    println!(
        "concurrency: goodput / errors, {SEEDS} seeds summed (cargo bench --bench concurrency)\n"
    );
    let header: Vec<&str> = ["limiter"]
        .into_iter()
        .chain(SCENARIOS.map(|scenario| scenario.name))
        .collect();
    let cell = |seen: &Seen| {
        format!(
            "{:.1} % / {:.2} % ({})",
            seen.goodput_percent(),
            seen.error_percent(),
            seen.refused
        )
    };
    let rows: Vec<Vec<String>> = ALL
        .iter()
        .zip(table)
        .map(|(limiter, row)| {
            [limiter.name.to_owned()]
                .into_iter()
                .chain(row.iter().map(cell))
                .collect()
        })
        .collect();
    support::print_table(&header, &rows);
    println!("\ngoodput: answers / (places x time / mean service time)");
    println!("errors:  refusals / requests sent (refusals in all)");
}

fn to_json(table: &[Vec<Seen>], passed: bool) -> Value {
    let rows: Vec<Value> = ALL
        .iter()
        .zip(table)
        .map(|(limiter, row)| {
            let cells = SCENARIOS.iter().zip(row).map(|(scenario, seen)| {
                json!({
                    "scenario": scenario.name,
                    "good": seen.good,
                    "refused": seen.refused,
                    "goodput_percent": seen.goodput_percent(),
                    "error_percent": seen.error_percent(),
                })
            });
            json!({ "limiter": limiter.name, "scenarios": cells.collect::<Vec<_>>() })
        })
        .collect();
    json!({ "bench": "concurrency", "seeds": SEEDS, "rows": rows, "passed": passed })
}
