//! Many tasks, one server, and what goes wrong between them.

use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;
use proptest::sample::select;
use tower_quota::sim::{
    BatchDialect, ErrorItems, Fault, Latency, NoneFound, Sim, SimBuilder, Traces,
};

use crate::ask::{Chain, Mood, chains};
use crate::common::ms;
use crate::drive::{Api, Ran, at_once};
use crate::world::fill;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) mood: Mood,
    pub(crate) chains: Vec<Chain>,
    dialect: BatchDialect,
    /// From when on a batch may have how many inputs.
    lower: Option<(u8, usize)>,
    pub(crate) linger: u8,
    /// The longest way to the server and back, in milliseconds.
    latency: u8,
    /// How many in a hundred requests fail.
    failures: u8,
    seed: u64,
}

fn dialect() -> impl Strategy<Value = BatchDialect> {
    let traces = select(vec![
        Traces::Used,
        Traces::Echoed,
        Traces::Ignored,
        Traces::FirstNamed,
    ]);
    let none_found = select(vec![
        NoneFound::MultiStatus,
        NoneFound::NotFound { named: true },
        NoneFound::NotFound { named: false },
    ]);
    let errors = select(vec![
        ErrorItems::Recorded,
        ErrorItems::Each,
        ErrorItems::Together,
    ]);
    let most = select(vec![100, 100, 10, 3, 1]);
    let absent = select(vec![
        None,
        None,
        None,
        None,
        Some(StatusCode::NOT_FOUND),
        Some(StatusCode::METHOD_NOT_ALLOWED),
    ]);
    let flags = any::<[bool; 4]>();
    let any = (traces, none_found, errors, most, absent, flags);
    let any = any.prop_map(|(traces, none_found, errors, most, absent, flags)| {
        let dialect = BatchDialect::new()
            .traces(traces)
            .none_found(none_found)
            .errors(errors)
            .most(most)
            .missing_unsaid(flags[0])
            .merged_left_out(flags[1])
            .archived_shown(flags[2])
            .never_in_order(flags[3]);
        absent.map_or(dialect.clone(), |status| dialect.absent(status))
    });
    prop_oneof![Just(usual()), any]
}

fn usual() -> BatchDialect {
    BatchDialect::new().never_in_order(true)
}

/// Many tasks and a server.
pub(crate) fn scenario(mood: Mood) -> impl Strategy<Value = Scenario> {
    let lower = proptest::option::weighted(0.2, (0..60_u8, 1..20_usize));
    let failures = match mood {
        Mood::Calm => 0..1_u8,
        Mood::Rough => 0..20,
    };
    let times = (0..4_u8, 0..80_u8);
    (
        chains(mood),
        dialect(),
        lower,
        times,
        failures,
        any::<u64>(),
    )
        .prop_map(
            move |(chains, dialect, lower, (linger, latency), failures, seed)| Scenario {
                mood,
                chains,
                dialect,
                lower,
                linger,
                latency,
                failures,
                seed,
            },
        )
}

impl Scenario {
    /// Whether the server does what it does if nothing is said.
    pub(crate) fn is_usual(&self) -> bool {
        self.dialect == usual() && self.lower.is_none()
    }

    /// With contents for all tasks.
    pub(crate) fn simulator(&self, builder: SimBuilder) -> Sim {
        let way = Latency::uniform(Duration::ZERO, ms(self.latency.into()));
        // Of the failures some are refusals, some come before the work and some after it.
        let probability = f64::from(self.failures) / 100.0 / 6.0;
        let status = |status, done| {
            let fault = Fault::status(StatusCode::from_u16(status).unwrap());
            match done {
                true => fault.after_work().body("injected: done"),
                false => fault.body("injected: not done"),
            }
        };
        let sim = builder
            .batches(self.dialect.clone())
            .latency(way)
            .service_time(way)
            .seed(self.seed)
            .fault(probability, status(429, false))
            .fault(probability, status(500, false))
            .fault(probability, status(503, false))
            .fault(probability, status(504, true))
            .fault(probability, Fault::drop_after_counting())
            .fault(probability, Fault::drop_after_work())
            .build()
            .unwrap();
        fill(&sim, self.chains.len());
        sim
    }

    /// All tasks through `api`, which leads to `sim`.
    pub(crate) async fn run(&self, sim: &Sim, api: &Api) -> Vec<Ran> {
        let lower = async {
            if let Some((after, most)) = self.lower {
                tokio::time::sleep(ms(after.into())).await;
                sim.set_batches(self.dialect.clone().most(most)).unwrap();
            }
        };
        tokio::join!(at_once(api, &self.chains), lower).0
    }
}
