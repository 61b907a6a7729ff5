//! What the network floor risks. Many short runs instead of a long one, because the floor is least certain when it has just been
//! learnt.

use std::time::Duration;

use tower_quota::sim::Latency;

use crate::limiters::{OURS, OURS_WITH_FLOOR};
use crate::peers::{SCENARIOS, Scenario, rows, run_all};

const RUNS: u64 = 100;

/// As the open internet but without a least time: the worst for a limiter that believes in one.
const NO_BASE: Latency = Latency::exponential(Duration::ZERO, Duration::from_millis(30))
    .tail(0.02, Duration::from_millis(1500));

pub(crate) fn print() -> Vec<String> {
    let mut failures = Vec::new();
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
        print!("{}", rows(&limiters, &scenarios, &seen));
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
    failures
}
