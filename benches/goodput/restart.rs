//! A process that dies in mid-window, and its successor that knows nothing of what was spent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;
use tower::ServiceBuilder;
use tower_quota::Quota;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Assumed, ColdStart, Zone};
use tower_quota::sim::{Latency, Sim, SimBody};

use crate::drive::{
    Call, MILLISECOND, PATIENCE, SECOND, client, general, grid, saturate, search, simulate,
};
use crate::{Table, support};

const SEEDS: u64 = 20;
/// How long the successor is watched.
const LENGTH: Duration = Duration::from_secs(60);

struct Scenario {
    name: &'static str,
    call: fn() -> Call,
    tasks: usize,
    headers: bool,
    start: ColdStart,
    /// Requests that the window lets through in a minute.
    whole: u64,
    /// Nothing may be refused but the probe.
    promised: bool,
}

impl Scenario {
    const fn general(name: &'static str, headers: bool, start: ColdStart, promised: bool) -> Self {
        Self {
            name,
            call: general,
            tasks: 400,
            headers,
            start,
            whole: 1_140,
            promised,
        }
    }
}

const FULL: ColdStart = ColdStart::Assume(Assumed::Full);
const EMPTY: ColdStart = ColdStart::Assume(Assumed::Empty);

const SCENARIOS: [Scenario; 5] = [
    Scenario::general("190 per 10 s, headers", true, ColdStart::Probe, true),
    Scenario {
        name: "search, 5 per 1 s, never with headers",
        call: search,
        tasks: 40,
        headers: true,
        start: ColdStart::Probe,
        whole: 300,
        promised: true,
    },
    Scenario::general(
        "190 per 10 s, no headers, assumed to be full",
        false,
        FULL,
        true,
    ),
    Scenario::general(
        "190 per 10 s, headers fail to come",
        false,
        ColdStart::Probe,
        false,
    ),
    Scenario::general("190 per 10 s, assumed to be empty", true, EMPTY, false),
];

#[derive(Clone, Copy, Default)]
struct Seen {
    arrived: u64,
    counted: u64,
    /// Of the new process, its first answer apart.
    refused: u64,
    /// Whether the first answer of the new process was a refusal.
    probes_refused: u64,
    /// Of the old process what was still on its way: the probe may have taken the last slot.
    old_refused: u64,
}

/// What one process was answered.
#[derive(Default)]
struct Answers {
    first: OnceLock<StatusCode>,
    refused: AtomicU64,
}

pub(crate) fn table() -> Table {
    let seen = grid((SCENARIOS.len(), 1), 1..1 + SEEDS, |row, _, seed| {
        run(&SCENARIOS[row], seed)
    });
    let sum = |row: Vec<Vec<Seen>>| {
        let seen = row.into_iter().flatten();
        seen.fold(Seen::default(), |sum, seen| Seen {
            arrived: sum.arrived + seen.arrived,
            refused: sum.refused + seen.refused,
            counted: sum.counted + seen.counted,
            probes_refused: sum.probes_refused + seen.probes_refused,
            old_refused: sum.old_refused + seen.old_refused,
        })
    };
    report(&Vec::from_iter(seen.into_iter().map(sum)))
}

fn run(scenario: &Scenario, seed: u64) -> Seen {
    simulate(seed, async {
        let sim = Sim::builder()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(200 * MILLISECOND, 600 * MILLISECOND))
            .quota_headers(scenario.headers)
            .seed(seed)
            .build()
            .expect("the simulator is set up soundly");
        let (first, _) = start(&sim, scenario);
        // Anywhere in the window, which is spent at once; what is under way arrives all the same.
        tokio::time::sleep(20 * SECOND.mul_f64(1.0 + fastrand::f64())).await;
        drop(first);
        let before = sim.stats();
        let (second, answers) = start(&sim, scenario);
        tokio::time::sleep(LENGTH).await;
        let after = sim.stats();
        drop(second);
        let probe: u64 = (answers.first.get() == Some(&StatusCode::TOO_MANY_REQUESTS)).into();
        let refused = answers.refused.load(Ordering::Relaxed);
        Seen {
            arrived: after.arrived() - before.arrived(),
            counted: after.counted() - before.counted(),
            refused: refused - probe,
            probes_refused: probe,
            // Up to one that is on its way back at the end.
            old_refused: after.refused() - before.refused() - refused,
        }
    })
}

/// A process with all its layers, busy until it is dropped, and what it is answered.
fn start(sim: &Sim, scenario: &Scenario) -> (JoinSet<()>, Arc<Answers>) {
    let api = hubspot::api(Tier::Professional, Zone::UTC);
    let quota = Quota::builder(api).cold_start(scenario.start).build();
    let answers = Arc::new(Answers::default());
    let heard = answers.clone();
    let layers = ServiceBuilder::new()
        .layer(hubspot::stack(&quota).search_reserve(0).max_wait(PATIENCE))
        .map_response(move |response: Response<SimBody>| {
            heard.first.get_or_init(|| response.status());
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                heard.refused.fetch_add(1, Ordering::Relaxed);
            }
            response
        });
    let client = client(sim, layers);
    let mut tasks = JoinSet::new();
    saturate(&mut tasks, scenario.tasks, &client, &(scenario.call)());
    (tasks, answers)
}

fn report(seen: &[Seen]) -> Table {
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    for (scenario, seen) in SCENARIOS.iter().zip(seen) {
        let used = 100.0 * seen.counted as f64 / (scenario.whole * SEEDS) as f64;
        rows.push(vec![
            scenario.name.to_owned(),
            seen.probes_refused.to_string(),
            seen.refused.to_string(),
            seen.old_refused.to_string(),
            seen.arrived.to_string(),
            format!("{used:.1} %"),
        ]);
        json_rows.push(json!({
            "start": scenario.name,
            "attempts": seen.arrived,
            "first_requests_refused": seen.probes_refused,
            "later_requests_refused": seen.refused,
            "requests_of_the_old_process_refused": seen.old_refused,
            "used_percent": used,
        }));
        if scenario.promised && seen.refused > 0 {
            let Seen { refused, .. } = seen;
            failures.push(format!("restart: {}: {refused} refused", scenario.name));
        }
    }
    let header = [
        "after the restart",
        "first request refused",
        "later ones",
        "of the old process",
        "of",
        "used in the first minute",
    ];
    let text = format!(
        "restart: a process is replaced in mid-window, {SEEDS} seeds summed\n\n{}",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "seeds": SEEDS, "rows": json_rows }),
        failures,
    }
}
