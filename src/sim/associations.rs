//! The associations of one account, in memory: which records belong to which, of any type.

use std::collections::{BTreeSet, HashMap, HashSet};

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Problem, Reply};
use super::batch::{Key, answer, at_most};
use super::calls::{Work, parse};
use super::cost::Load;

const MOST: usize = 1_000;

/// By the types of both ends, as [`object_type`](super::routes::object_type) names them, and the id of the first. Each association
/// is kept in both directions.
#[derive(Debug, Default)]
pub(super) struct Associations(HashMap<(String, String), HashMap<u64, BTreeSet<u64>>>);

impl Associations {
    pub(super) fn add(&mut self, (from, from_id): (&str, u64), (to, to_id): (&str, u64)) {
        let mut half = |from: &str, from_id, to: &str, to_id| {
            let ends = (from.to_owned(), to.to_owned());
            let ids = self.0.entry(ends).or_default();
            ids.entry(from_id).or_default().insert(to_id);
        };
        half(from, from_id, to, to_id);
        half(to, to_id, from, from_id);
    }
}

#[derive(Deserialize)]
struct Body {
    inputs: Vec<Key>,
}

fn parse_read(body: &[u8]) -> Result<Body, Problem> {
    let body: Body = parse(body)?;
    at_most(MOST, body.inputs.len())?;
    Ok(body)
}

/// What a batch read of associations costs, if the server accepts it.
pub(super) fn load(body: &[u8]) -> Result<Load, Problem> {
    Ok(Load {
        units: parse_read(body)?.inputs.len(),
        ..Load::default()
    })
}

/// All associations of each id in one go: no item is paged. Ids without any are left out.
pub(super) fn read(
    associations: Option<&Associations>,
    ends: &(String, String),
    work: &Work<'_>,
    rng: &mut fastrand::Rng,
) -> Result<Reply, Problem> {
    let Body { inputs } = parse_read(work.body)?;
    let of_type = associations.and_then(|associations| associations.0.get(ends));
    let type_id = type_id(ends);
    let mut seen = HashSet::new();
    let found = inputs.iter().filter_map(|Key { id }| {
        let from: u64 = id.parse().ok()?;
        let to = of_type?.get(&from).filter(|_| seen.insert(from))?;
        let types = json!([{ "category": "HUBSPOT_DEFINED", "typeId": type_id, "label": null }]);
        let to = to
            .iter()
            .map(|id| json!({ "toObjectId": id, "associationTypes": types }));
        Some(json!({ "from": { "id": from.to_string() }, "to": to.collect::<Vec<_>>() }))
    });
    let mut results: Vec<Value> = found.collect();
    rng.shuffle(&mut results);
    Ok(answer(work, StatusCode::OK, results, &[]))
}

/// The published number of an association without a label; 1 for all but contacts and companies, which is made up.
fn type_id((from, to): &(String, String)) -> u32 {
    match (from.as_str(), to.as_str()) {
        ("0-1", "0-2") => 279,
        ("0-2", "0-1") => 280,
        _ => 1,
    }
}
