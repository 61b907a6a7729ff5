//! Several ledgers, one store and a judge, in told time: nobody is ever refused, and the work goes on.
//!
//! The judge counts each request at a random moment between its send and its response, and refuses it if the window is full. The
//! processes see each other only through the store, over a network that delays and loses.

mod events;
mod judge;
mod network;
mod outcome;
mod process;
mod world;

use self::events::Plan;
use self::world::World;
use super::*;

/// So much of what one process alone gets they all get together.
const LEAST: f64 = 0.95;

/// Runs of each kind; `FLEET_SEEDS` says how many if it is to be more.
fn seeds() -> std::ops::Range<u64> {
    let told = std::env::var("FLEET_SEEDS").ok();
    0..told.and_then(|seeds| seeds.parse().ok()).unwrap_or(3)
}

fn quiet(processes: usize, seconds: u64) -> Plan {
    Plan {
        processes,
        seconds,
        ..Plan::default()
    }
}

#[test]
fn four_processes_at_full_demand_share_what_one_alone_would_get() {
    let (mut calls, mut requests) = (0, 0);
    for seed in seeds() {
        let alone = World::new(
            seed,
            Plan {
                shared: false,
                ..quiet(1, 180)
            },
        )
        .run();
        let together = World::new(
            seed,
            Plan {
                searches: false,
                ..quiet(4, 180)
            },
        )
        .run();
        alone.check(seed);
        together.check(seed);
        assert_eq!(together.foreign, 0, "seed {seed}");
        let share = f64::from(together.admitted()) / f64::from(alone.admitted());
        // Since all are there.
        let parts = together.parts(60..180);
        println!(
            "seed {seed}: {} of {} requests ({:.1} %), by process {parts:?}, {} calls",
            together.admitted(),
            alone.admitted(),
            share * 100.0,
            together.calls
        );
        assert!(share >= LEAST, "seed {seed}: {share}");
        let quarter = f64::from(parts.iter().sum::<u32>()) / 4.0;
        for part in parts {
            let off = (f64::from(part) - quarter).abs() / quarter;
            assert!(
                off <= 0.1,
                "seed {seed}: {part} is not within a tenth of {quarter}"
            );
        }
        calls += together.calls;
        requests += together.admitted();
    }
    let rate = f64::from(calls) / f64::from(requests);
    println!("calls per request: {rate:.3}");
    assert!(rate <= 0.2, "{rate}");
}

#[test]
fn nobody_is_refused_whatever_happens_to_processes_and_requests() {
    for seed in seeds() {
        let outcome = World::new(
            seed,
            Plan {
                think: seed % 3 * 400 * MS,
                kills: 10 * S,
                cancels: 0.1,
                pauses: 0.01,
                figures: seed % 2 == 0,
                ..quiet(2 + seed as usize % 4, 120)
            },
        )
        .run();
        println!("seed {seed}: {}", outcome.line());
        outcome.check(seed);
    }
}

#[test]
fn nobody_is_refused_whatever_happens_to_calls() {
    for seed in seeds() {
        let outcome = World::new(
            seed,
            Plan {
                think: seed % 3 * 400 * MS,
                lost: 0.05,
                figures: seed % 2 == 0,
                ..quiet(2 + seed as usize % 4, 120)
            },
        )
        .run();
        println!("seed {seed}: {}", outcome.line());
        outcome.check(seed);
    }
}

#[test]
fn nobody_is_refused_when_the_store_is_gone_for_all() {
    for seed in seeds() {
        let outcome = World::new(
            seed,
            Plan {
                think: seed % 3 * 400 * MS,
                outages: 40 * S,
                freezes: seed % 2 == 1,
                ..quiet(2 + seed as usize % 4, 180)
            },
        )
        .run();
        println!("seed {seed}: {}", outcome.line());
        outcome.check(seed);
    }
}

#[test]
fn nobody_is_refused_when_the_store_loses_its_data() {
    for seed in seeds() {
        let outcome = World::new(
            seed,
            Plan {
                think: seed % 3 * 400 * MS,
                losses: 40 * S,
                ..quiet(2 + seed as usize % 4, 180)
            },
        )
        .run();
        println!("seed {seed}: {}", outcome.line());
        outcome.check(seed);
    }
}

#[test]
fn nobody_is_refused_when_all_of_it_happens() {
    for seed in seeds() {
        let outcome = World::new(
            seed,
            Plan {
                think: seed % 3 * 400 * MS,
                kills: 15 * S,
                cancels: 0.1,
                pauses: 0.005,
                lost: 0.02,
                outages: 50 * S,
                freezes: seed % 2 == 1,
                losses: 60 * S,
                figures: seed % 4 < 2,
                ..quiet(2 + seed as usize % 4, 180)
            },
        )
        .run();
        println!("seed {seed}: {}", outcome.line());
        outcome.check(seed);
    }
}
