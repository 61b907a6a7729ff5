//! Somebody else spends the same quota, never holds back, and is seen in the headers only.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tower::layer::util::Identity;
use tower_quota::concurrency::Headroom;
use tower_quota::hubspot::{self, HubspotRoutes, Tier};
use tower_quota::plan::Zone;
use tower_quota::sim::{Latency, Others, Sim};
use tower_quota::{AdaptiveConcurrencyLayer, Api as Description, Quota};

use crate::drive::{Api, MILLISECOND, PATIENCE, TOKEN, client, general, grid, saturate, simulate};
use crate::{Table, support};

const SEEDS: u64 = 5;
const LENGTH: Duration = Duration::from_secs(1_200);
/// The stranger was there before we came.
const LEAD: Duration = Duration::from_secs(20);
const TASKS: usize = 200;
/// The Professional tier: 190 per 10 s.
const QUOTA: (u64, u64) = (190, 10);

struct Scenario {
    name: &'static str,
    /// The stranger's share of the quota, and how many of its requests come at once.
    share: f64,
    at_once: u32,
    /// Most that may be refused to us, and least that must be used in sum, in percent.
    refused: f64,
    used: f64,
    /// Most that the stranger may lose beyond what it loses without us, in percent.
    loss: Option<f64>,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "30 %, one by one",
        share: 0.3,
        at_once: 1,
        refused: 1.0,
        used: 90.0,
        loss: Some(5.0),
    },
    Scenario {
        name: "70 %, one by one",
        share: 0.7,
        at_once: 1,
        refused: 1.0,
        used: 90.0,
        loss: None,
    },
    Scenario {
        name: "30 %, 20 at once",
        share: 0.3,
        at_once: 20,
        refused: 1.0,
        used: 80.0,
        loss: None,
    },
    Scenario {
        name: "70 %, 20 at once",
        share: 0.7,
        at_once: 20,
        refused: 2.0,
        used: 75.0,
        loss: None,
    },
];

struct Line {
    name: &'static str,
    /// `None`: we are not there.
    client: Option<fn(&Sim) -> Api>,
    promised: bool,
}

const LINES: [Line; 5] = [
    Line {
        name: "whole stack",
        client: Some(whole_stack),
        promised: true,
    },
    Line {
        name: "whole stack, quota headers not read",
        client: Some(blind_stack),
        promised: false,
    },
    Line {
        name: "plain retry, exponential backoff",
        client: Some(|sim| client(sim, Identity::new())),
        promised: false,
    },
    Line {
        name: "adaptive concurrency alone, literal 20/70 rule",
        client: Some(concurrency_alone),
        promised: false,
    },
    Line {
        name: "the stranger alone",
        client: None,
        promised: false,
    },
];

fn whole_stack(sim: &Sim) -> Api {
    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    client(sim, hubspot::stack(&quota).max_wait(PATIENCE))
}

/// The rule by itself: nothing else holds a request back, and nobody waits after a refusal but the caller.
fn concurrency_alone(sim: &Sim) -> Api {
    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    let layer = AdaptiveConcurrencyLayer::new(&quota).headroom(Headroom::Literal);
    client(sim, layer.max_wait(PATIENCE))
}

fn blind_stack(sim: &Sim) -> Api {
    let plan = hubspot::plan(Tier::Professional, Zone::UTC);
    let quota = Quota::new(Description::new(plan).routes(HubspotRoutes));
    client(sim, hubspot::stack(&quota).max_wait(PATIENCE))
}

#[derive(Clone, Copy, Default)]
struct Seen {
    arrived: u64,
    refused: u64,
    others_counted: u64,
    others_refused: u64,
}

impl Seen {
    fn refused_percent(&self) -> f64 {
        100.0 * self.refused as f64 / self.arrived.max(1) as f64
    }

    /// Ours and the stranger's, of all that the window lets through in the time.
    fn used_percent(&self) -> f64 {
        let counted = self.arrived - self.refused + self.others_counted;
        let whole = QUOTA.0 * LENGTH.as_secs() / QUOTA.1 * SEEDS;
        100.0 * counted as f64 / whole as f64
    }

    fn loss_percent(&self) -> f64 {
        let sent = self.others_counted + self.others_refused;
        100.0 * self.others_refused as f64 / sent as f64
    }
}

pub(crate) fn table() -> Table {
    let seen = grid(
        (LINES.len(), SCENARIOS.len()),
        1..1 + SEEDS,
        |row, column, seed| run(&LINES[row], &SCENARIOS[column], seed),
    );
    let sum = |seen: &Vec<Seen>| {
        seen.iter().fold(Seen::default(), |sum, seen| Seen {
            arrived: sum.arrived + seen.arrived,
            refused: sum.refused + seen.refused,
            others_counted: sum.others_counted + seen.others_counted,
            others_refused: sum.others_refused + seen.others_refused,
        })
    };
    let seen: Vec<Vec<Seen>> = seen
        .iter()
        .map(|row| row.iter().map(sum).collect())
        .collect();
    report(&seen)
}

fn run(line: &Line, scenario: &Scenario, seed: u64) -> Seen {
    simulate(seed, async {
        let (quota, seconds) = QUOTA;
        let rate = scenario.share * quota as f64 / seconds as f64;
        let sim = Sim::builder()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(200 * MILLISECOND, 600 * MILLISECOND))
            .others(Others::burst(rate).in_bursts_of(scenario.at_once))
            .seed(seed)
            .build()
            .expect("the simulator is set up soundly");
        // Nothing is spent, but the token is known from now on, and the stranger begins.
        sim.spend(TOKEN, 0);
        tokio::time::sleep(LEAD).await;
        let before = sim.stats();
        let mut tasks = JoinSet::new();
        if let Some(client) = line.client {
            saturate(&mut tasks, TASKS, &client(&sim), &general());
        }
        tokio::time::sleep(LENGTH).await;
        let after = sim.stats();
        Seen {
            arrived: after.arrived(),
            refused: after.refused(),
            others_counted: after.others_counted() - before.others_counted(),
            others_refused: after.others_refused() - before.others_refused(),
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
        for (scenario, seen) in SCENARIOS.iter().zip(row) {
            let (refused, used, loss) = (
                seen.refused_percent(),
                seen.used_percent(),
                seen.loss_percent(),
            );
            cells.push(match line.client {
                Some(_) => format!("{refused:.2} / {used:.1} / {loss:.1} %"),
                None => format!("- / {used:.1} / {loss:.1} %"),
            });
            json_cells.push(json!({
                "stranger": scenario.name,
                "attempts": seen.arrived,
                "refused": seen.refused,
                "refused_percent": refused,
                "used_percent": used,
                "loss_percent": loss,
            }));
            if line.promised {
                check(scenario, seen, &mut failures);
            }
        }
        rows.push(cells);
        json_rows.push(json!({ "line": line.name, "scenarios": json_cells }));
    }
    let header: Vec<_> = ["a stranger spends"]
        .into_iter()
        .chain(SCENARIOS.iter().map(|scenario| scenario.name))
        .collect();
    let text = format!(
        "strangers: refused to us / used in sum / lost by the stranger, 190 per 10 s, {SEEDS} seeds of {LENGTH:?}\n\n{}",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "seeds": SEEDS, "rows": json_rows }),
        failures,
    }
}

fn check(scenario: &Scenario, seen: &Seen, failures: &mut Vec<String>) {
    let (refused, used, loss) = (
        seen.refused_percent(),
        seen.used_percent(),
        seen.loss_percent(),
    );
    let place = format!("strangers: {}", scenario.name);
    if refused >= scenario.refused {
        let most = scenario.refused;
        failures.push(format!("{place}: refused {refused:.2} %, not < {most} %"));
    }
    if used < scenario.used {
        let least = scenario.used;
        failures.push(format!("{place}: used {used:.1} % < {least} %"));
    }
    if let Some(most) = scenario.loss.filter(|most| loss > *most) {
        failures.push(format!(
            "{place}: the stranger loses {loss:.1} % > {most} %"
        ));
    }
}
