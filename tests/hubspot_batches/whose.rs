//! However a server writes values, and whatever it adds: nobody gets the record that was created for another one.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::bundle::{Bundle, Got, complete, mixed, record};

type Properties = std::collections::BTreeMap<&'static str, Value>;

fn properties() -> impl Strategy<Value = Properties> {
    let name = select(vec!["name", "size", "stage", "when"]);
    let value = select(vec![
        json!("ann"),
        json!("Ann"),
        json!(" ann "),
        json!("bob"),
        json!("Bob "),
        json!(5),
        json!("5"),
        json!("5.0"),
        json!(" 5"),
        json!(6),
        json!("2023-11-14"),
        json!("2023-11-14T00:00:00Z"),
        json!(1_699_920_000_000_u64),
        json!(true),
        json!(""),
        json!(null),
        json!("hidden"),
        json!("Big Deal"),
    ]);
    btree_map(name, value, 1..4)
}

/// What a server does with what it gets; it does it to what it has written, too, and nothing changes.
#[derive(Clone, Copy, Debug)]
struct Server {
    trims: bool,
    lowers: bool,
    counts: bool,
    dates: bool,
    /// Some values it does not show, others it calls by a name of its own.
    renames: bool,
    /// What has no name or stage is given one.
    adds: [bool; 2],
}

fn server() -> impl Strategy<Value = Server> {
    any::<[bool; 7]>().prop_map(|flags| Server {
        trims: flags[0],
        lowers: flags[1],
        counts: flags[2],
        dates: flags[3],
        renames: flags[4],
        adds: [flags[5], flags[6]],
    })
}

/// As all servers take it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Server {
    fn write(self, value: &Value) -> String {
        let mut text = text(value);
        if self.trims {
            text = text.trim().to_owned();
        }
        if self.lowers {
            text = text.to_lowercase();
        }
        if self.counts {
            text = text.trim().parse().map_or(text, |n: f64| n.to_string());
        }
        match text.as_str() {
            "2023-11-14" | "2023-11-14t00:00:00z" | "1699920000000" if self.dates => {
                "2023-11-14T00:00:00Z".to_owned()
            }
            "hidden" if self.renames => String::new(),
            "Big Deal" | "big deal" if self.renames => "bob".to_owned(),
            _ => text,
        }
    }

    fn show(self, sent: &Properties) -> Value {
        let pairs = sent.iter();
        let pairs = pairs.map(|(name, value)| (*name, self.write(value)));
        let mut shown: Properties = pairs
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| (name, text.into()))
            .collect();
        for (name, value, is_added) in [("name", "ann", self.adds[0]), ("stage", "5", self.adds[1])]
        {
            if is_added && !shown.contains_key(name) {
                shown.insert(name, value.into());
            }
        }
        json!(shown)
    }
}

/// Those that sent the very same may have each other's.
fn plain(sent: &Properties) -> Map<String, Value> {
    let pairs = sent.iter().map(|(name, value)| (*name, text(value)));
    let pairs = pairs.filter(|(_, text)| !text.is_empty());
    pairs
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect()
}

/// For each caller who was told that its record was created, by its place, whose that is.
fn owners(got: &[Got]) -> Vec<(usize, usize)> {
    let owner = |(place, got): (usize, &Got)| match got {
        Got::Answer(201, body) => Some((place, body["id"].as_str()?.parse().ok()?)),
        _ => None,
    };
    got.iter().enumerate().filter_map(owner).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_created_record_is_told_to_whom_it_is_of(
        sent in vec(properties(), 2..7),
        mut server in server(),
        order in any::<u64>(),
        failed in vec(proptest::bool::weighted(0.3), 7),
        fails in any::<bool>(),
        is_said in any::<bool>(),
    ) {
        // Where some have no result, a value that is written by another name altogether could be anything.
        server.renames &= !fails;
        let creates: Vec<Value> = sent.iter().map(|sent| json!(sent)).collect();
        let results = sent.iter().enumerate();
        let results = results.filter(|(place, _)| !(fails && failed[*place]));
        let mut results: Vec<Value> = results
            .map(|(place, sent)| record(place as u64, server.show(sent)))
            .collect();
        fastrand::Rng::with_seed(order).shuffle(&mut results);
        let missing = sent.len() - results.len();
        let error = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "no"});
        let answer = match is_said {
            true => mixed(&results[..], vec![error; missing]),
            false => complete(&results[..]),
        };
        let got = Bundle::creates(&creates).got(207, &answer);
        let mut owners = owners(&got);
        for (place, owner) in &owners {
            prop_assert_eq!(plain(&sent[*place]), plain(&sent[*owner]), "{} {}: {}", place, owner, answer);
        }
        owners.sort_unstable_by_key(|(_, owner)| *owner);
        owners.dedup_by_key(|(_, owner)| *owner);
        prop_assert_eq!(owners.len(), got.iter().filter(|got| matches!(got, Got::Answer(201, _))).count());
        for (place, got) in got.iter().enumerate() {
            // Of those that sent the very same one that failed may be told that it did not, and the other that it did.
            let alike = sent.iter().zip(&failed);
            let has_failed = alike.filter(|(other, _)| plain(other) == plain(&sent[place])).any(|(_, failed)| *failed);
            prop_assert!(!matches!(got, Got::Answer(400, _)) || has_failed, "{} {}", place, answer);
        }
    }
}
