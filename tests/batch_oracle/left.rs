//! What is there at the end, when not every caller has got an answer.

use std::collections::HashMap;

use http::Method;
use serde_json::Value;

use crate::ask::{Ask, Chain};
use crate::drive::{Outcome, Ran, makers};
use crate::same::outcomes;
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

/// Of each chain whether it is such.
pub(crate) fn whole_chains(chains: &[Chain], ran: &[Ran]) -> Vec<bool> {
    let pairs = chains.iter().zip(ran);
    pairs.map(|(chain, ran)| is_whole(chain, ran)).collect()
}

/// What the chosen chains hold, and what belongs to none.
pub(crate) fn of_chains(chosen: &[bool], held: &[Value], ran: &[Ran]) -> Vec<Value> {
    let makers = makers(ran);
    let is_chosen = |chain: usize| chosen.get(chain).copied().unwrap_or_default();
    let belongs = |contact: &&Value| {
        let id = contact["id"].as_str().unwrap();
        let maker = makers.get(id).map(|maker| maker.chain);
        // Beyond those of the last chain are those that were made, and those whose maker does not know of it are of no chain.
        maker
            .or_else(|| owner(id.parse().unwrap()))
            .is_none_or(is_chosen)
    };
    held.iter().filter(belongs).cloned().collect()
}

/// Nothing is made twice, nothing is missing that a caller was told of, and nothing is there that a caller was told is not.
pub(crate) fn check_made(chains: &[Chain], ran: &[Ran], held: &[Value]) {
    let mut made: HashMap<&str, usize> = HashMap::new();
    for contact in held {
        if let Some(marker) = contact["properties"]["zip"].as_str() {
            *made.entry(marker).or_default() += 1;
        }
    }
    for (ask, outcome) in outcomes(chains, ran) {
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
