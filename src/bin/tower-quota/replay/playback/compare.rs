//! Whether two sequences of events are the same.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};

/// Events and figures of a log are told within a moment of what they tell of.
const MOMENT: Duration = Duration::from_millis(2);
/// A pause until the reset of a daily pool is lengthened by as much, at random.
const JITTER: f64 = 1.0;

/// An event, without whose it is but by name.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) at: SystemTime,
    /// File and line, if it comes from a log.
    pub(super) place: Option<String>,
    pub(super) token: Option<String>,
    pub(super) account: Option<String>,
    pub(super) name: &'static str,
    pub(super) fields: Map<String, Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct Difference {
    /// Where the log tells of it; `None` for an event that it does not tell of.
    place: Option<String>,
    /// Seconds since the first event of the two sequences.
    after: f64,
    event: &'static str,
    fields: Map<String, Value>,
}

/// The events of either sequence that are not in the other at the same moment. Of those that happen at one moment the order is not compared.
pub(super) fn compare(log: &[Told], played: &[Told]) -> Vec<Difference> {
    let began = log.iter().chain(played).map(|told| told.at).min();
    let Some(began) = began else {
        return Vec::new();
    };
    let difference = |told: &Told| Difference {
        place: told.place.clone(),
        after: told
            .at
            .duration_since(began)
            .unwrap_or_default()
            .as_secs_f64(),
        event: told.name,
        fields: told.fields.clone(),
    };
    let mut is_matched = vec![false; played.len()];
    let mut differences = Vec::new();
    // Those before are too early for all that follow.
    let mut first = 0;
    for told in log {
        while played
            .get(first)
            .is_some_and(|other| other.at + MOMENT < told.at)
        {
            first += 1;
        }
        let mut near =
            (first..played.len()).take_while(|index| played[*index].at <= told.at + MOMENT);
        match near.find(|index| !is_matched[*index] && is_same(told, &played[*index])) {
            Some(index) => is_matched[index] = true,
            None => differences.push(difference(told)),
        }
    }
    let extra = played
        .iter()
        .zip(&is_matched)
        .filter(|(_, matched)| !**matched);
    differences.extend(extra.map(|(told, _)| difference(told)));
    differences.sort_by(|one, other| one.after.total_cmp(&other.after));
    differences
}

fn is_same(one: &Told, other: &Told) -> bool {
    (one.name, &one.token, &one.account) == (other.name, &other.token, &other.account)
        && one.fields.len() == other.fields.len()
        && one.fields.iter().all(|(name, value)| {
            let other = other.fields.get(name);
            other.is_some_and(|other| is_near(name, value, other))
        })
}

/// Whole numbers and words must be the same; durations, which are not whole, nearly so.
fn is_near(name: &str, one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let slack = match name {
                "lasts" => JITTER,
                _ => 0.0,
            };
            let apart = a.as_f64().zip(b.as_f64()).map(|(a, b)| (a - b).abs());
            apart.is_some_and(|apart| apart <= MOMENT.as_secs_f64() + slack)
        }
        _ => one == other,
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: does not follow: {}", self.event)?,
            None => write!(
                f,
                "follows {:.3} s after the first event, but is not in the log: {}",
                self.after, self.event
            )?,
        }
        self.fields
            .iter()
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}
