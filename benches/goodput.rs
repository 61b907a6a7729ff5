//! How much of a quota is used, and how often the server refuses: ours against other limiters.
//!
//! ```text
//! cargo bench --bench goodput                   the table, and target/goodput.svg
//! cargo bench --bench goodput -- --json         the same as one JSON object
//! cargo bench --bench goodput -- --million      a million requests per scenario with the network floor on
//! ```
//!
//! Every run has its own runtime in paused time and its own simulator with true rolling windows. Demand is saturating: `tasks`
//! tasks make `total` calls as fast as they may. A call that is refused is repeated after an exponential backoff until it is done.
//!
//! Ends with exit code 1 when ours is refused once or uses less than it must.

mod support;

#[path = "support/chart.rs"]
mod chart;
#[path = "support/limiters.rs"]
mod limiters;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use serde_json::json;
use tower::{Service, ServiceExt};
use tower_quota::sim::{Latency, ServiceHeader, Sim, Windows};

use limiters::{
    ALL, Allowance, Client, Limiter, OURS, OURS_WITH_FLOOR, OURS_WITHOUT_HEADER, Server, TOWER,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SEEDS: u64 = 10;

/// 20 ms + exp(30 ms) each way, 2 % tails to 1.5 s.
const WAN: Latency = Latency::WAN;
/// The same without a least time: the worst for a limiter that believes in one.
const NO_BASE: Latency = Latency::exponential(Duration::ZERO, Duration::from_millis(30))
    .tail(0.02, Duration::from_millis(1500));

#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    allowance: Allowance,
    tasks: usize,
    total: u64,
    latency: Latency,
    windows: Windows,
    /// What ours must use at least, in percent: with the service-time header, and without.
    used: (f64, f64),
}

const SCENARIOS: [Scenario; 3] = [
    Scenario::new("100 per 10 s", (100, 10), 200, 3_000, (97.0, 92.0)),
    Scenario::new("190 per 10 s", (190, 10), 400, 6_000, (98.0, 93.0)),
    Scenario::new("5 per 1 s", (5, 1), 100, 300, (87.0, 64.0)),
];

impl Scenario {
    const fn new(
        name: &'static str,
        (quota, seconds): (u32, u64),
        tasks: usize,
        total: u64,
        used: (f64, f64),
    ) -> Self {
        let allowance = Allowance {
            quota,
            window: Duration::from_secs(seconds),
        };
        Self {
            name,
            allowance,
            tasks,
            total,
            latency: WAN,
            windows: Windows::TrueRolling,
            used,
        }
    }

    /// Until the last request is admitted, if the client knew all and had no latency.
    fn ideal(&self) -> Duration {
        let quota = u64::from(self.allowance.quota);
        self.allowance.window * (self.total - quota).div_ceil(quota) as u32
    }

    fn simulator(&self, header: bool, seed: u64) -> Sim {
        let Allowance { quota, window } = self.allowance;
        Sim::builder()
            .burst(u64::from(quota), window)
            .windows(self.windows)
            .no_daily()
            .latency(self.latency)
            .service_time(Latency::uniform(200 * MILLISECOND, 600 * MILLISECOND))
            .service_header(header.then_some(ServiceHeader::Envoy))
            .seed(seed)
            .build()
            .expect("the simulator is set up soundly")
    }
}

/// What the server saw, summed over all seeds.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    attempts: u64,
    refused: u64,
    ideal: Duration,
    /// Until the last request was admitted.
    elapsed: Duration,
}

impl Seen {
    fn refused_percent(&self) -> f64 {
        100.0 * self.refused as f64 / self.attempts as f64
    }

    fn used_percent(&self) -> f64 {
        100.0 * self.ideal.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    fn add(&mut self, other: &Seen) {
        self.attempts += other.attempts;
        self.refused += other.refused;
        self.ideal += other.ideal;
        self.elapsed += other.elapsed;
    }
}

fn run(limiter: &Limiter, scenario: &Scenario, seed: u64) -> Seen {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let sim = scenario.simulator(limiter.header, seed);
        let server = Server::Sim(sim.service());
        let client = (limiter.client)(server, scenario.allowance);
        let left = std::sync::Arc::new(AtomicU64::new(scenario.total));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..scenario.tasks {
            tasks.spawn(make_calls(client.clone(), left.clone()));
        }
        while let Some(task) = tasks.join_next().await {
            task.expect("no call fails");
        }
        let stats = sim.stats();
        assert_eq!(stats.counted(), scenario.total, "every call was done once");
        Seen {
            attempts: stats.arrived(),
            refused: stats.refused(),
            ideal: scenario.ideal(),
            elapsed: stats.last_admitted.unwrap_or_default(),
        }
    })
}

async fn make_calls(mut client: Client, left: std::sync::Arc<AtomicU64>) {
    let take = |left: u64| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        for attempt in 0.. {
            let request = Request::get("http://sim/crm/v3/owners")
                .header("authorization", "Bearer one")
                .body(Empty::<Bytes>::new())
                .expect("the request is sound");
            let client = client.ready().await.expect("the client is ready");
            let status = client.call(request).await.expect("the server answers");
            if status != StatusCode::TOO_MANY_REQUESTS {
                break;
            }
            tokio::time::sleep(backoff(attempt)).await;
        }
    }
}

/// 500 ms, then twice as long each time up to 8 s, all with a jitter of half of it to either side.
fn backoff(attempt: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(8);
    let whole = 500 * MILLISECOND * 2_u32.saturating_pow(attempt.min(8));
    whole.min(LONGEST).mul_f64(0.5 + fastrand::f64())
}

/// Runs every limiter in every scenario with every seed, on all processors. The results do not depend on their number.
fn run_all(
    limiters: &[Limiter],
    scenarios: &[Scenario],
    seeds: std::ops::Range<u64>,
) -> Vec<Vec<Seen>> {
    let mut jobs = Vec::new();
    for seed in seeds {
        for row in 0..limiters.len() {
            jobs.extend((0..scenarios.len()).map(|column| (row, column, seed)));
        }
    }
    let results = Mutex::new(vec![vec![Seen::default(); scenarios.len()]; limiters.len()]);
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((row, column, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let seen = run(&limiters[*row], &scenarios[*column], *seed);
            results.lock().expect("nobody panics")[*row][*column].add(&seen);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    results.into_inner().expect("nobody panics")
}

fn main() -> ExitCode {
    let mut failures = Vec::new();
    if support::has_flag("--million") {
        million(&mut failures);
    } else {
        compare(&mut failures);
    }
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn compare(failures: &mut Vec<String>) {
    let seen = run_all(&ALL, &SCENARIOS, 1..1 + SEEDS);
    let buckets = SCENARIOS.map(|scenario| Scenario {
        windows: Windows::OneSecondBuckets { phase: None },
        ..scenario
    });
    // Ours gives the same figures twice, because a server that never refuses has no say; a peer shows that this one is another.
    let tried = [OURS, OURS_WITHOUT_HEADER, OURS_WITH_FLOOR, TOWER];
    let seen_by_buckets = run_all(&tried, &buckets, 1..1 + SEEDS);
    for (limiter, row) in tried
        .iter()
        .zip(&seen_by_buckets)
        .filter(|(tried, _)| tried.ours)
    {
        for (scenario, seen) in SCENARIOS.iter().zip(row) {
            if seen.refused > 0 {
                let Seen { refused, .. } = seen;
                failures.push(format!(
                    "{}: {refused} refused, {}, one-second buckets",
                    limiter.name, scenario.name
                ));
            }
        }
    }
    for (limiter, row) in ALL.iter().zip(&seen).filter(|(limiter, _)| limiter.ours) {
        for (scenario, seen) in SCENARIOS.iter().zip(row) {
            check(limiter, scenario, seen, failures);
        }
    }
    let chart = support::target_dir().join("goodput.svg");
    let drawn = chart::draw(&chart, &names(&SCENARIOS), &chart_rows(&seen));
    if let Err(error) = &drawn {
        failures.push(format!("{} cannot be written: {error}", chart.display()));
    }
    if support::has_flag("--json") {
        let table = |limiters: &[Limiter], seen: &[Vec<Seen>]| json_rows(limiters, seen);
        println!(
            "{}",
            json!({
                "bench": "goodput",
                "seeds": SEEDS,
                "rows": table(&ALL, &seen),
                "one_second_buckets": table(&tried, &seen_by_buckets),
                "passed": failures.is_empty(),
            })
        );
        return;
    }
    println!("goodput: refused / used, {SEEDS} seeds summed (cargo bench --bench goodput)\n");
    print_rows(&ALL, &SCENARIOS, &seen);
    println!("\nThe same against a server with one-second buckets:\n");
    print_rows(&tried, &SCENARIOS, &seen_by_buckets);
    print_notes(&seen);
    if drawn.is_ok() {
        println!("\nchart: {}", chart.display());
    }
}

fn check(limiter: &Limiter, scenario: &Scenario, seen: &Seen, failures: &mut Vec<String>) {
    let least = if limiter.header {
        scenario.used.0
    } else {
        scenario.used.1
    };
    let place = format!("{}, {}", limiter.name, scenario.name);
    if seen.refused > 0 {
        failures.push(format!("{place}: {} refused", seen.refused));
    }
    if seen.used_percent() < least {
        failures.push(format!(
            "{place}: used {:.1} % < {least} %",
            seen.used_percent()
        ));
    }
}

fn names(scenarios: &[Scenario]) -> Vec<&'static str> {
    scenarios.iter().map(|scenario| scenario.name).collect()
}

fn print_rows(limiters: &[Limiter], scenarios: &[Scenario], seen: &[Vec<Seen>]) {
    let header: Vec<&str> = ["limiter"].into_iter().chain(names(scenarios)).collect();
    let cell = |seen: &Seen| {
        // Not a single one is told from nearly none.
        let refused = match seen.refused {
            0 => "0".to_owned(),
            _ => format!("{:.1}", seen.refused_percent()),
        };
        format!("{refused} % / {:.1} %", seen.used_percent())
    };
    let rows: Vec<Vec<String>> = limiters
        .iter()
        .zip(seen)
        .map(|(limiter, row)| {
            [limiter.name.to_owned()]
                .into_iter()
                .chain(row.iter().map(cell))
                .collect()
        })
        .collect();
    support::print_table(&header, &rows);
}

fn print_notes(seen: &[Vec<Seen>]) {
    println!("\nused:     ideal time / time until the last request was admitted");
    println!("emulated: the crate's own decisions, but its waiting with tokio's timer, because");
    println!("          its own waiting uses the real time only\n");
    for (column, scenario) in SCENARIOS.iter().enumerate() {
        let ours = seen[0][column].used_percent();
        let faster: Vec<String> = ALL
            .iter()
            .zip(seen)
            .filter(|(limiter, row)| !limiter.ours && row[column].used_percent() > ours)
            .map(|(limiter, row)| {
                let seen = row[column];
                format!(
                    "{} (+{:.1} points, {:.1} % refused)",
                    limiter.name,
                    seen.used_percent() - ours,
                    seen.refused_percent()
                )
            })
            .collect();
        let faster = match faster.is_empty() {
            true => "nobody".to_owned(),
            false => faster.join("; "),
        };
        println!(
            "{}: uses more than ours with the header: {faster}",
            scenario.name
        );
    }
}

fn json_rows(limiters: &[Limiter], seen: &[Vec<Seen>]) -> serde_json::Value {
    let cell = |(scenario, seen): (&Scenario, &Seen)| {
        json!({
            "scenario": scenario.name,
            "attempts": seen.attempts,
            "refused": seen.refused,
            "refused_percent": seen.refused_percent(),
            "used_percent": seen.used_percent(),
        })
    };
    limiters
        .iter()
        .zip(seen)
        .map(|(limiter, row)| {
            let cells: Vec<_> = SCENARIOS.iter().zip(row).map(cell).collect();
            json!({ "limiter": limiter.name, "ours": limiter.ours, "scenarios": cells })
        })
        .collect()
}

fn chart_rows(seen: &[Vec<Seen>]) -> Vec<chart::Row> {
    ALL.iter()
        .zip(seen)
        .map(|(limiter, row)| chart::Row {
            name: limiter.name,
            ours: limiter.ours,
            cells: row
                .iter()
                .map(|seen| (seen.refused_percent(), seen.used_percent()))
                .collect(),
        })
        .collect()
}

/// What the network floor risks. Many short runs instead of a long one, because the floor is least certain when it has just been learnt.
fn million(failures: &mut Vec<String>) {
    const RUNS: u64 = 100;
    let long = |scenario: Scenario| Scenario {
        total: 1_000_000 / RUNS,
        ..scenario
    };
    let wan = SCENARIOS.map(long);
    let no_base = SCENARIOS.map(|scenario| Scenario {
        latency: NO_BASE,
        ..long(scenario)
    });
    let limiters = [OURS, OURS_WITH_FLOOR];
    println!("goodput --million: 1,000,000 requests per cell in {RUNS} runs, refused / used\n");
    for (title, scenarios, has_floor) in [
        ("20 ms + exp(30 ms) each way, 2 % tails to 1.5 s", wan, true),
        (
            "no least time: exp(30 ms) each way, 2 % tails to 1.5 s",
            no_base,
            false,
        ),
    ] {
        let seen = run_all(&limiters, &scenarios, 1..1 + RUNS);
        println!("{title}:\n");
        print_rows(&limiters, &scenarios, &seen);
        println!();
        for (nth, (limiter, row)) in limiters.iter().zip(&seen).enumerate() {
            // Where the network has no floor, crediting one is what the bench is there to judge; without it all is proven.
            let promised = has_floor || nth == 0;
            for (scenario, seen) in scenarios.iter().zip(row) {
                println!(
                    "{}, {}: {} of {} refused",
                    limiter.name, scenario.name, seen.refused, seen.attempts
                );
                if promised && seen.refused > 0 {
                    failures.push(format!(
                        "{}, {}, {title}: {} refused",
                        limiter.name, scenario.name, seen.refused
                    ));
                }
            }
        }
        println!();
    }
}
