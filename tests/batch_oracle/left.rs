//! What is there at the end, when not every caller has got an answer.

use std::collections::HashMap;

use http::Method;
use serde_json::Value;

use crate::ask::{Ask, Chain};
use crate::drive::{Outcome, Ran, makers};
use crate::same::outcomes;
use crate::scenario::Scenario;
use crate::world::owner;

/// Whether everything that a chain was to write is written.
fn is_whole(chain: &Chain, ran: &Ran) -> bool {
    let whole = |(ask, outcome): (&Ask, &Outcome)| {
        let reads = ask.method == Method::GET;
        !outcome.is_injected() && (reads || outcome != &Outcome::Gone)
    };
    let steps = chain.iter().zip(ran);
    let mut all = steps.flat_map(|(step, outcomes)| step.asks.iter().zip(outcomes));
    all.all(whole)
}

/// What the chains hold of which all is written, and what all hold.
pub(crate) fn of_whole_chains(
    scenario: &Scenario,
    ran: &[Ran],
    held: &[Value],
    made: &[Ran],
) -> Vec<Value> {
    let is_whole = |chain: usize| is_whole(&scenario.chains[chain], &ran[chain]);
    let makers = makers(made);
    let belongs = |contact: &&Value| {
        let id = contact["id"].as_str().unwrap();
        if let Some(maker) = makers.get(id) {
            let chain = maker.trim_start_matches("made ").split('.').next().unwrap();
            return is_whole(chain.parse().unwrap());
        }
        match owner(id.parse().unwrap()) {
            None => true,
            // Beyond the chains are those that were made for nobody.
            Some(chain) => chain < scenario.chains.len() && is_whole(chain),
        }
    };
    held.iter().filter(belongs).cloned().collect()
}

/// Nothing is made twice, nothing is missing that a caller was told of, and nothing is there that a caller was told is not.
pub(crate) fn check_made(scenario: &Scenario, ran: &[Ran], held: &[Value]) {
    let mut made: HashMap<&str, usize> = HashMap::new();
    for contact in held {
        if let Some(marker) = contact["properties"]["zip"].as_str() {
            *made.entry(marker).or_default() += 1;
        }
    }
    for (ask, outcome) in outcomes(&scenario.chains, ran) {
        let Some(marker) = ask.marker.as_deref() else {
            continue;
        };
        let count = made.get(marker).copied().unwrap_or_default();
        let allowed = match outcome {
            Outcome::Answered { status: 201, .. } => 1..=1,
            Outcome::Answered { body, .. } if body == "injected: done" => 0..=1,
            Outcome::Answered { .. } => 0..=0,
            Outcome::Failed(_) | Outcome::Gone => 0..=1,
        };
        assert!(
            allowed.contains(&count),
            "{count} times: {ask:?}: {outcome:?}"
        );
    }
}
