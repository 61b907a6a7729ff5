//! When two answers are the same.

use serde_json::{Map, Value};

use crate::ask::{Ask, Chain, Sort};
use crate::drive::{Makers, Outcome, Ran, makers};

/// What is another one each time.
const VOLATILE: [&str; 9] = [
    "correlationId",
    "createdAt",
    "updatedAt",
    "archivedAt",
    "createdate",
    "lastmodifieddate",
    "timestamp",
    "startedAt",
    "completedAt",
];

/// The same without what is another one each time, and with the contacts that were made under the name of their maker.
pub(crate) fn plain(value: &Value, makers: &Makers) -> Value {
    match value {
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                let is_volatile = VOLATILE.contains(&name.as_str()) && value.is_string();
                let value = match is_volatile {
                    true => "some".into(),
                    false => plain(value, makers),
                };
                (name.clone(), value)
            };
            Value::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| plain(item, makers)).collect(),
        Value::String(text) => {
            let (before, id) = text.rsplit_once("Existing ID: ").unwrap_or(("", text));
            match makers.get(id) {
                Some(maker) => format!("{before}{maker}").into(),
                None => value.clone(),
            }
        }
        other => other.clone(),
    }
}

fn plain_outcome(outcome: &Outcome, makers: &Makers) -> Outcome {
    match outcome {
        Outcome::Answered {
            status,
            content_type,
            body,
        } => Outcome::Answered {
            status: *status,
            content_type: content_type.clone(),
            body: plain(body, makers),
        },
        other => other.clone(),
    }
}

/// Every caller got what it would have got alone, or a failure that was injected, whole. Calls whose callers have gone are no
/// matter.
pub(crate) fn check_answers(chains: &[Chain], got: &[Ran], expected: &[Ran]) {
    let (got_makers, expected_makers) = (makers(got), makers(expected));
    for (chain, (steps, got)) in chains.iter().zip(got).enumerate() {
        for (nth, (step, outcomes)) in steps.iter().zip(got).enumerate() {
            for (place, (ask, outcome)) in step.asks.iter().zip(outcomes).enumerate() {
                if outcome == &Outcome::Gone || outcome.is_injected() {
                    continue;
                }
                if ask.sort == Sort::Peek {
                    assert!(
                        matches!(outcome.status(), 200 | 404),
                        "{ask:?}: {outcome:?}"
                    );
                    continue;
                }
                let got = plain_outcome(outcome, &got_makers);
                let expected = plain_outcome(&expected[chain][nth][place], &expected_makers);
                assert_eq!(
                    got, expected,
                    "chain {chain}, step {nth}, call {place}: {ask:?}"
                );
            }
        }
    }
}

/// Both have the same contacts, whatever the order of their ids.
pub(crate) fn check_contacts(got: (&[Value], &[Ran]), expected: (&[Value], &[Ran])) {
    let sorted = |(contacts, ran): (&[Value], &[Ran])| {
        let makers = makers(ran);
        let mut texts: Vec<String> = contacts
            .iter()
            .map(|contact| plain(contact, &makers).to_string())
            .collect();
        texts.sort_unstable();
        texts
    };
    assert_eq!(sorted(got), sorted(expected));
}

/// Each call and what came of it.
pub(crate) fn outcomes<'a>(
    chains: &'a [Chain],
    ran: &'a [Ran],
) -> impl Iterator<Item = (&'a Ask, &'a Outcome)> {
    let steps = chains
        .iter()
        .zip(ran)
        .flat_map(|(steps, ran)| steps.iter().zip(ran));
    steps.flat_map(|(step, outcomes)| step.asks.iter().zip(outcomes))
}
