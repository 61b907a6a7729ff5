//! Learned credit: what it wins where nobody tells the service time, and what it costs.

use std::time::Duration;

use serde_json::json;
use tower_quota::Quota;
use tower_quota::core::Guard;
use tower_quota::plan::{Limit, Plan};
use tower_quota::sim::{Latency, Sim};
use tower_quota::stack::StackLayer;

use crate::drive::{MILLISECOND, SECOND, client, general, grid, make_all, simulate};
use crate::{Table, support};

const SEEDS: u64 = 10;
const TASKS: usize = 50;
const QUOTA: u32 = 5;
/// What it must win to earn its place, in points, and what it may cost, in percent.
const WINS: f64 = 4.0;
const COSTS: f64 = 0.5;

const GUARDS: [(&str, Guard); 2] = [("proven", Guard::Proven), ("learned", Guard::Learned)];
const TOTALS: [(&str, u64); 3] = [("first 300", 300), ("3,000", 3_000), ("20,000", 20_000)];

#[derive(Clone, Copy, Default)]
struct Seen {
    arrived: u64,
    refused: u64,
    elapsed: Duration,
}

impl Seen {
    fn refused_percent(&self) -> f64 {
        100.0 * self.refused as f64 / self.arrived as f64
    }

    fn used_percent(&self, total: u64) -> f64 {
        let ideal = SECOND * (total / u64::from(QUOTA) - 1) as u32 * SEEDS as u32;
        100.0 * ideal.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

pub(crate) fn table() -> Table {
    let size = (GUARDS.len(), TOTALS.len());
    let seen = grid(size, 1..1 + SEEDS, |row, column, seed| {
        run(GUARDS[row].1, TOTALS[column].1, seed)
    });
    let sum = |seen: &Vec<Seen>| {
        seen.iter().fold(Seen::default(), |sum, seen| Seen {
            arrived: sum.arrived + seen.arrived,
            refused: sum.refused + seen.refused,
            elapsed: sum.elapsed + seen.elapsed,
        })
    };
    report(&Vec::from_iter(
        seen.iter().map(|row| Vec::from_iter(row.iter().map(sum))),
    ))
}

fn run(guard: Guard, total: u64, seed: u64) -> Seen {
    simulate(seed, async {
        let sim = Sim::builder()
            .burst(QUOTA.into(), SECOND)
            .no_daily()
            .latency(Latency::WAN)
            .service_time(Latency::constant(400 * MILLISECOND))
            .service_header(None)
            .seed(seed)
            .build()
            .expect("the simulator is set up soundly");
        let plan = Plan::builder("sim").limit(Limit::rolling("burst", QUOTA, SECOND));
        let quota = Quota::builder(plan.build().expect("the plan is sound"))
            .guard(guard)
            .build();
        let client = client(&sim, StackLayer::new(&quota));
        make_all(&client, TASKS, total, &general()).await;
        let stats = sim.stats();
        Seen {
            arrived: stats.arrived(),
            refused: stats.refused(),
            elapsed: stats.last_admitted.unwrap_or_default(),
        }
    })
}

fn report(seen: &[Vec<Seen>]) -> Table {
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    for ((name, guard), row) in GUARDS.iter().zip(seen) {
        let mut cells = vec![(*name).to_owned()];
        let mut json_cells = Vec::new();
        for (((requests, total), seen), proven) in TOTALS.iter().zip(row).zip(&seen[0]) {
            let (refused, used) = (seen.refused_percent(), seen.used_percent(*total));
            let shown = support::percent(seen.refused, seen.arrived);
            cells.push(format!("{shown} / {used:.1} %"));
            json_cells.push(json!({
                "requests": total,
                "attempts": seen.arrived,
                "refused": seen.refused,
                "refused_percent": refused,
                "used_percent": used,
            }));
            let (most, wins) = match guard {
                Guard::Proven => (0.0, 0.0),
                Guard::Learned => (COSTS, WINS),
            };
            let least = proven.used_percent(*total) + wins;
            if refused > most {
                failures.push(format!(
                    "learned: {name}, {requests}: refused {refused:.2} %"
                ));
            }
            if used < least {
                failures.push(format!(
                    "learned: {name}, {requests}: used {used:.1} % < {least:.1} %"
                ));
            }
        }
        rows.push(cells);
        json_rows.push(json!({ "guard": name, "requests": json_cells }));
    }
    let header: Vec<_> = ["credit"]
        .into_iter()
        .chain(TOTALS.map(|(name, _)| name))
        .collect();
    let text = format!(
        "learned credit: refused / used at 5 per 1 s, 400 ms of work that no header tells, by requests, {SEEDS} seeds\n\n{}",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "seeds": SEEDS, "rows": json_rows }),
        failures,
    }
}
