//! What the further layers cost a sole user: the whole stack against the limiter alone.

use std::time::Duration;

use serde_json::json;
use tower::ServiceBuilder;
use tower_quota::concurrency::Headroom;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::sim::{Latency, Sim};
use tower_quota::{
    AdaptiveConcurrencyLayer, Quota, RetryAfterLayer, SearchBudgetLayer, TokenLimitLayer,
};

use crate::drive::{Api, MILLISECOND, PATIENCE, client, general, grid, make_all, simulate};
use crate::{Table, support};

const SEEDS: u64 = 5;
const TASKS: usize = 400;
const TOTAL: u64 = 6_000;
/// The Professional tier allows 190 per 10 s.
const IDEAL: Duration = Duration::from_secs(10 * (TOTAL - 190).div_ceil(190));
/// The whole stack may use so many points less than the limiter alone.
const COSTS: f64 = 1.0;

const SERVICE_TIMES: [(&str, u64); 3] = [("20 ms", 20), ("200 ms", 200), ("2 s", 2_000)];

struct Line {
    name: &'static str,
    client: fn(&Sim, &Quota) -> Api,
    /// Whether it has to keep up with the limiter alone.
    promised: bool,
}

const LINES: [Line; 4] = [
    Line {
        name: "TokenLimit alone",
        client: |sim, quota| client(sim, TokenLimitLayer::new(quota)),
        promised: true,
    },
    Line {
        name: "whole stack",
        client: |sim, quota| client(sim, hubspot::stack(quota)),
        promised: true,
    },
    Line {
        name: "whole stack, at most 64 at a time",
        client: |sim, quota| client(sim, hubspot::stack(quota).max_concurrency(64)),
        promised: false,
    },
    Line {
        name: "whole stack, literal 20/70 rule",
        client: literal,
        promised: false,
    },
];

/// The stack layer by layer, with the plain rule, which takes our own use for a reason to hold back.
fn literal(sim: &Sim, quota: &Quota) -> Api {
    let concurrency = AdaptiveConcurrencyLayer::new(quota).headroom(Headroom::Literal);
    let layers = ServiceBuilder::new()
        .layer(RetryAfterLayer::new(quota))
        .layer(SearchBudgetLayer::new(quota))
        .layer(TokenLimitLayer::new(quota).max_wait(PATIENCE))
        .layer(concurrency.max_wait(PATIENCE));
    client(sim, layers)
}

#[derive(Clone, Copy, Default)]
struct Seen {
    refused: u64,
    arrived: u64,
    elapsed: Duration,
}

impl Seen {
    fn used_percent(&self) -> f64 {
        100.0 * (IDEAL * SEEDS as u32).as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

pub(crate) fn table() -> Table {
    let seen = grid(
        (LINES.len(), SERVICE_TIMES.len()),
        1..1 + SEEDS,
        |row, column, seed| run(&LINES[row], SERVICE_TIMES[column].1, seed),
    );
    let sum = |seen: &Vec<Seen>| {
        seen.iter().fold(Seen::default(), |sum, seen| Seen {
            refused: sum.refused + seen.refused,
            arrived: sum.arrived + seen.arrived,
            elapsed: sum.elapsed + seen.elapsed,
        })
    };
    let seen: Vec<Vec<Seen>> = seen
        .iter()
        .map(|row| row.iter().map(sum).collect())
        .collect();
    report(&seen)
}

fn run(line: &Line, service: u64, seed: u64) -> Seen {
    simulate(seed, async {
        let sim = Sim::builder()
            .latency(Latency::WAN)
            .service_time(Latency::constant(MILLISECOND * service as u32))
            .seed(seed)
            .build()
            .expect("the simulator is set up soundly");
        let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
        let client = (line.client)(&sim, &quota);
        make_all(&client, TASKS, TOTAL, &general()).await;
        let stats = sim.stats();
        Seen {
            refused: stats.refused(),
            arrived: stats.arrived(),
            elapsed: stats.last_admitted.unwrap_or_default(),
        }
    })
}

fn report(seen: &[Vec<Seen>]) -> Table {
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    for (line, row) in LINES.iter().zip(seen) {
        let mut cells = vec![line.name.to_owned()];
        let mut json_cells = Vec::new();
        for (((service, _), seen), alone) in SERVICE_TIMES.iter().zip(row).zip(&seen[0]) {
            let refused = support::percent(seen.refused, seen.arrived);
            let used = seen.used_percent();
            cells.push(format!("{refused} / {used:.1} %"));
            json_cells.push(json!({
                "service_time": service,
                "refused": seen.refused,
                "attempts": seen.arrived,
                "used_percent": used,
            }));
            let place = format!("stack: {}, {service}", line.name);
            if line.promised && seen.refused > 0 {
                failures.push(format!("{place}: {} refused", seen.refused));
            }
            let least = alone.used_percent() - COSTS;
            if line.promised && used < least {
                failures.push(format!("{place}: used {used:.1} % < {least:.1} %"));
            }
        }
        rows.push(cells);
        json_rows.push(json!({ "line": line.name, "service_times": json_cells }));
    }
    let header: Vec<_> = ["layers"]
        .into_iter()
        .chain(SERVICE_TIMES.map(|(name, _)| name))
        .collect();
    let text = format!(
        "stack: refused / used by a sole user, 190 per 10 s, by service time, {SEEDS} seeds\n\n{}",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "seeds": SEEDS, "rows": json_rows }),
        failures,
    }
}
