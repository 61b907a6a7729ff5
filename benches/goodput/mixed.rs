//! Three classes of calls at once, each as many as it may: nobody takes what is another's.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tower_quota::Quota;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::sim::{ClassStats, Latency, Sim, Stats};

use crate::drive::{
    Call, MILLISECOND, associations, client, general, grid, saturate, search, simulate,
};
use crate::{Table, support};

const SEEDS: u64 = 5;
/// Long, because bursts come every ten seconds: one more or less is 1 %.
const LENGTH: Duration = Duration::from_secs(1_000);
/// Every class must get so much of what it gets alone, in percent.
const LEAST: f64 = 95.0;

struct Class {
    name: &'static str,
    tasks: usize,
    call: fn() -> Call,
    stats: fn(&Stats) -> &ClassStats,
}

const CLASSES: [Class; 3] = [
    Class {
        name: "general, 190 per 10 s",
        tasks: 400,
        call: general,
        stats: |stats| &stats.general,
    },
    Class {
        name: "search, 5 per 1 s",
        tasks: 40,
        call: search,
        stats: |stats| &stats.search,
    },
    Class {
        name: "associations, 150 per 10 s",
        tasks: 300,
        call: associations,
        stats: |stats| &stats.associations,
    },
];

/// One run for each class alone, and one for all together.
const TOGETHER: usize = CLASSES.len();

pub(crate) fn table() -> Table {
    let seen = grid((TOGETHER + 1, 1), 1..1 + SEEDS, |row, _, seed| {
        let classes = match row {
            TOGETHER => &CLASSES[..],
            alone => &CLASSES[alone..=alone],
        };
        run(classes, seed)
    });
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    for (nth, class) in CLASSES.iter().enumerate() {
        let sum = |row: usize, figure: fn(&ClassStats) -> u64| -> u64 {
            let stats = seen[row].iter().flatten();
            stats.map(|stats| figure((class.stats)(stats))).sum()
        };
        let [alone, together] = [nth, TOGETHER].map(|row| sum(row, |stats| stats.counted));
        let arrived = sum(nth, |stats| stats.arrived) + sum(TOGETHER, |stats| stats.arrived);
        let refused = arrived - alone - together;
        let share = 100.0 * together as f64 / alone as f64;
        let per_second = |n: u64| n as f64 / (LENGTH * SEEDS as u32).as_secs_f64();
        rows.push(vec![
            class.name.to_owned(),
            support::percent(refused, arrived),
            format!("{:.2}/s", per_second(alone)),
            format!("{:.2}/s", per_second(together)),
            format!("{share:.1} %"),
        ]);
        json_rows.push(json!({
            "class": class.name,
            "attempts": arrived,
            "refused": refused,
            "alone_per_second": per_second(alone),
            "together_per_second": per_second(together),
        }));
        if refused > 0 {
            failures.push(format!("mixed: {}: {refused} refused", class.name));
        }
        if share < LEAST {
            failures.push(format!("mixed: {}: {share:.1} % < {LEAST} %", class.name));
        }
    }
    let header = ["class", "refused", "alone", "together", "share"];
    let text = format!(
        "mixed: what each class gets alone and beside the others, {SEEDS} seeds of {LENGTH:?}\n\n{}",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "seeds": SEEDS, "rows": json_rows }),
        failures,
    }
}

fn run(classes: &[Class], seed: u64) -> Stats {
    simulate(seed, async {
        let sim = Sim::builder()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(200 * MILLISECOND, 600 * MILLISECOND))
            .seed(seed)
            .build()
            .expect("the simulator is set up soundly");
        let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
        let client = client(&sim, hubspot::stack(&quota));
        let mut tasks = JoinSet::new();
        for class in classes {
            saturate(&mut tasks, class.tasks, &client, &(class.call)());
        }
        tokio::time::sleep(LENGTH).await;
        sim.stats()
    })
}
