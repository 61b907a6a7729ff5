//! Ours beside other people's limiters.
//!
//! Demand is saturating: `tasks` tasks make `total` calls as fast as they may. A call that is refused is repeated after an
//! exponential backoff until it is done.

use std::fmt::Write as _;
use std::time::Duration;

use http_body_util::Empty;
use serde_json::json;
use tower_quota::sim::{Latency, ServiceHeader, Sim, Windows};

use crate::drive::{MILLISECOND, general, grid, make_all, simulate};
use crate::limiters::{
    ALL, Allowance, Limiter, OURS, OURS_WITH_FLOOR, OURS_WITHOUT_HEADER, Server, TOWER,
};
use crate::{Table, chart, support};

const SEEDS: u64 = 10;

#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) allowance: Allowance,
    pub(crate) tasks: usize,
    pub(crate) total: u64,
    pub(crate) latency: Latency,
    pub(crate) windows: Windows,
    /// What ours must use at least, in percent: with the service-time header, and without.
    pub(crate) used: (f64, f64),
}

pub(crate) const SCENARIOS: [Scenario; 3] = [
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
            latency: Latency::WAN,
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
pub(crate) struct Seen {
    pub(crate) attempts: u64,
    pub(crate) refused: u64,
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
    simulate(seed, async {
        let sim = scenario.simulator(limiter.header, seed);
        let server = Server::Sim(sim.service());
        let client = (limiter.client)(server, scenario.allowance);
        let request = general().map(|_| Empty::new());
        make_all(&client, scenario.tasks, scenario.total, &request).await;
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

/// Runs every limiter in every scenario with every seed, and sums over the seeds.
pub(crate) fn run_all(
    limiters: &[Limiter],
    scenarios: &[Scenario],
    seeds: std::ops::Range<u64>,
) -> Vec<Vec<Seen>> {
    let size = (limiters.len(), scenarios.len());
    let seen = grid(size, seeds, |row, column, seed| {
        run(&limiters[row], &scenarios[column], seed)
    });
    let sum = |seen: Vec<Seen>| {
        seen.iter().fold(Seen::default(), |mut sum, seen| {
            sum.add(seen);
            sum
        })
    };
    seen.into_iter()
        .map(|row| row.into_iter().map(sum).collect())
        .collect()
}

pub(crate) fn table() -> Table {
    let mut failures = Vec::new();
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
            check(limiter, scenario, seen, &mut failures);
        }
    }
    let chart = support::target_dir().join("goodput.svg");
    let drawn = chart::draw(&chart, &names(&SCENARIOS), &chart_rows(&seen));
    if let Err(error) = &drawn {
        failures.push(format!("{} cannot be written: {error}", chart.display()));
    }
    let json = json!({
        "seeds": SEEDS,
        "rows": json_rows(&ALL, &seen),
        "one_second_buckets": json_rows(&tried, &seen_by_buckets),
    });
    let mut text = format!(
        "goodput: refused / used, {SEEDS} seeds summed (cargo bench --bench goodput)\n\n{}\n\
         The same against a server with one-second buckets:\n\n{}{}",
        rows(&ALL, &SCENARIOS, &seen),
        rows(&tried, &SCENARIOS, &seen_by_buckets),
        notes(&seen)
    );
    if drawn.is_ok() {
        let _ = writeln!(text, "\nchart: {}", chart.display());
    }
    Table {
        text,
        json,
        failures,
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

pub(crate) fn rows(limiters: &[Limiter], scenarios: &[Scenario], seen: &[Vec<Seen>]) -> String {
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
    support::table(&header, &rows)
}

fn notes(seen: &[Vec<Seen>]) -> String {
    let mut text = "\nused:     ideal time / time until the last request was admitted\n\
                    emulated: the crate's own decisions, but its waiting with tokio's timer, because\n          \
                    its own waiting uses the real time only\n\n"
        .to_owned();
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
        let _ = writeln!(
            text,
            "{}: uses more than ours with the header: {faster}",
            scenario.name
        );
    }
    text
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
