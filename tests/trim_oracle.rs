//! Promise: whatever is asked and whatever is too much for the server, what the caller gets through the layer equals what a
//! server without limits answers, in not many more requests than pieces; and where not even one record can be had, the caller gets
//! the server's own failure. (T39)

mod common;
mod crm;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crm::store::{AllMissing, LONGEST_SEARCH};
use crm::{
    ASSOCIATIONS, Asked, BATCH_READ, Crm, Fault, Got, Outcome, SEARCH, Store, Way, call, cost,
    post_text, unlimited, unordered,
};
use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder};
use tower_quota::hubspot::SearchPages;
use tower_quota::{PayloadTrimLayer, RetryAfterLayer};

/// The names of properties that records may have values of.
const NAMES: usize = 20;
/// From here on a search with all properties is not halved, and below here a page with properties is not, by default.
const MANY: usize = 50;
const FLOOR: usize = 10;

/// Records of every kind; those of a smaller count are the first of a larger one.
fn store(seed: u64, count: u64, all_missing: AllMissing) -> Store {
    let record = |nth: u64| {
        let rng = &mut fastrand::Rng::with_seed(seed ^ (nth << 20));
        let mut values = BTreeMap::new();
        if rng.u8(0..10) < 7 {
            values.insert("email".to_owned(), json!(format!("{nth}@example.com")));
        }
        for name in 0..NAMES {
            let value = match rng.u8(0..16) {
                0..=5 => continue,
                6 => Value::Null,
                7 => json!(""),
                8 => json!("Zoë \u{1f980} \"q\" \\ \n\u{0} é"),
                9 => json!("x".repeat(rng.usize(1..1_500))),
                10 => json!(rng.i32(-50..50)),
                11 => json!(1.5e300),
                12 => json!(rng.u32(..1_000).to_string()),
                13 => json!(rng.bool()),
                _ => json!(["a", "b", "c"][rng.usize(..3)]),
            };
            values.insert(format!("p{name}"), value);
        }
        (3 * nth, values)
    };
    let records: BTreeMap<_, _> = (1..=count).map(record).collect();
    let associated = records.keys().filter(|&&id| id % 2 == 0);
    Store {
        associated: associated.map(|&id| (id, (0..id % 5).collect())).collect(),
        records,
        all_missing,
        ..Store::default()
    }
}

#[derive(Clone, Debug)]
struct Ask {
    path: &'static str,
    body: Value,
    /// Whether the body is written with spaces.
    is_airy: bool,
}

impl Ask {
    fn text(&self) -> String {
        match self.is_airy {
            true => format!("{:#}", self.body),
            false => self.body.to_string(),
        }
    }

    /// Whether there may be no room for what a piece must say beside.
    fn is_tight(&self) -> bool {
        self.length() > LONGEST_SEARCH - 100
    }

    /// In characters.
    fn length(&self) -> usize {
        self.text().chars().count()
    }
}

fn properties() -> impl Strategy<Value = Vec<String>> {
    let name = prop_oneof![
        8 => (0..NAMES).prop_map(|name| format!("p{name}")),
        8 => (NAMES..150).prop_map(|name| format!("p{name}")),
        1 => select(vec!["email", "hs_object_id", "unknown"]).prop_map(str::to_owned),
    ];
    prop_oneof![
        2 => Just(Vec::new()),
        1 => Just(vec!["hs_object_id".to_owned()]),
        5 => vec(name.clone(), 1..12),
        3 => vec(name, 12..=120),
    ]
}

fn filter() -> impl Strategy<Value = Value> {
    let operators = [
        "EQ",
        "NEQ",
        "GT",
        "LTE",
        "IN",
        "HAS_PROPERTY",
        "NOT_HAS_PROPERTY",
        "CONTAINS_TOKEN",
        "NONE",
    ];
    // A server refuses the last one.
    let operator = prop_oneof![30 => 0..8_usize, 1 => Just(8)].prop_map(move |nth| operators[nth]);
    let value = select(vec!["a", "b", "c", "17", "500", ""]);
    (0..NAMES, operator, value).prop_map(|(name, operator, value)| {
        let mut filter = json!({"propertyName": format!("p{name}"), "operator": operator});
        match operator {
            "HAS_PROPERTY" | "NOT_HAS_PROPERTY" => {}
            "IN" => filter["values"] = json!([value, "b"]),
            _ => filter["value"] = json!(value),
        }
        filter
    })
}

fn search() -> impl Strategy<Value = Ask> {
    let limit = prop_oneof![
        1 => Just(None),
        4 => Just(Some(200)),
        8 => (1..=200_usize).prop_map(Some),
        1 => select(vec![Some(0), Some(201)]),
    ];
    let after = prop_oneof![
        8 => Just(None),
        6 => (0..250_usize).prop_map(Some),
        1 => (250..700_usize).prop_map(Some),
        1 => (9_790..=10_001_usize).prop_map(Some),
    ];
    let groups = prop_oneof![Just(Vec::new()), vec(vec(filter(), 1..3), 1..4)];
    let sort = option::of((0..NAMES, any::<bool>(), any::<bool>()));
    let word = option::weighted(0.1, Just("x"));
    let spelling = any::<[bool; 4]>();
    // What the server does not know, so long that the body has nearly as many characters as it may have.
    let note = option::weighted(0.1, LONGEST_SEARCH - 120..=LONGEST_SEARCH);
    (
        limit,
        after,
        properties(),
        groups,
        sort,
        word,
        spelling,
        note,
    )
        .prop_map(
            |(limit, after, properties, groups, sort, word, spelling, note)| {
                let [as_text, is_dated, fills, is_airy] = spelling;
                let mut body = json!({});
                let number = |number: usize| match as_text {
                    true => json!(number.to_string()),
                    false => json!(number),
                };
                if let Some(limit) = limit {
                    body["limit"] = number(limit);
                }
                match after {
                    Some(after) => body["after"] = number(after),
                    None if fills => body["after"] = Value::Null,
                    None => {}
                }
                if !properties.is_empty() || fills {
                    body["properties"] = json!(properties);
                }
                if !groups.is_empty() {
                    let groups = groups
                        .into_iter()
                        .map(|filters| json!({"filters": filters}));
                    body["filterGroups"] = groups.collect();
                }
                if let Some((name, is_short, descends)) = sort {
                    let sign = if descends { "-" } else { "" };
                    let direction = if descends { "DESCENDING" } else { "ASCENDING" };
                    body["sorts"] = match is_short {
                        true => json!([format!("{sign}p{name}")]),
                        false => {
                            json!([{"propertyName": format!("p{name}"), "direction": direction}])
                        }
                    };
                }
                if let Some(word) = word {
                    body["query"] = json!(word);
                }
                let path = match is_dated {
                    true => "/crm/objects/2026-03/contacts/search",
                    false => SEARCH,
                };
                let mut ask = Ask {
                    path,
                    body,
                    is_airy,
                };
                // Nobody knows whether HubSpot refuses what is too long, so nothing is.
                ask.is_airy &= ask.length() <= LONGEST_SEARCH - 200;
                if let Some(length) = note {
                    ask.body["note"] = json!("");
                    let left = length.saturating_sub(ask.length());
                    ask.body["note"] = json!("ü".repeat(left));
                }
                ask
            },
        )
}

fn batch_read() -> impl Strategy<Value = Ask> {
    let history = prop_oneof![2 => Just(false), 1 => Just(true)];
    let most = prop_oneof![2 => Just(50_usize), 2 => Just(100), 1 => Just(104)];
    let ids = most.prop_flat_map(|most| vec((0..450_u64, any::<bool>()), 0..=most));
    (ids, properties(), history, any::<bool>()).prop_map(|(ids, properties, history, by_email)| {
        let input = |(nth, other): (u64, bool)| match (by_email, other) {
            (true, true) => json!({"id": format!("{nth}@EXAMPLE.com")}),
            (true, false) => json!({"id": format!("{nth}@example.com")}),
            // Every third number is one of a record.
            (false, true) => json!({"id": nth.to_string()}),
            (false, false) => json!({"id": 3 * nth}),
        };
        let inputs: Vec<_> = ids.into_iter().map(input).collect();
        let mut body = json!({"inputs": inputs, "properties": properties});
        if history {
            body["propertiesWithHistory"] = json!(["p0", "p1"]);
        }
        if by_email {
            body["idProperty"] = json!("email");
        }
        let (path, is_airy) = (BATCH_READ, history);
        Ask {
            path,
            body,
            is_airy,
        }
    })
}

fn associations() -> impl Strategy<Value = Ask> {
    vec(0..1_300_u64, 0..300).prop_map(|ids| {
        let inputs: Vec<_> = ids.iter().map(|id| json!({"id": id.to_string()})).collect();
        let (path, body, is_airy) = (ASSOCIATIONS, json!({"inputs": inputs}), false);
        Ask {
            path,
            body,
            is_airy,
        }
    })
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![6 => search(), 2 => batch_read(), 1 => associations()]
}

#[derive(Clone, Debug)]
enum Budget {
    Any,
    /// So many units of the first request are not too much.
    Units(u64),
    Cost(u64),
}

#[derive(Clone, Debug)]
struct Scenario {
    seed: u64,
    count: u64,
    all_missing: bool,
    asks: Vec<Ask>,
    budget: Budget,
    /// How many of 1,000 requests fail for no reason.
    faults: u16,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let budget = prop_oneof![
        1 => Just(Budget::Any),
        6 => (1..=40_u64).prop_map(Budget::Units),
        2 => (40..=200_u64).prop_map(Budget::Units),
        2 => (0..30_u64).prop_map(Budget::Cost),
        3 => (30..500_u64).prop_map(Budget::Cost),
        1 => (500..30_000_u64).prop_map(Budget::Cost),
    ];
    let faults = prop_oneof![1 => Just(0_u16), 1 => 1..400_u16];
    // Made again, what was learnt is of use.
    let asks = (vec(ask(), 1..4), weighted(0.7)).prop_map(|(mut asks, again)| {
        if again {
            asks.extend_from_within(..);
        }
        asks
    });
    let all_missing = any::<bool>();
    (
        any::<u64>(),
        prop_oneof![1 => 0..20_u64, 4 => 20..400_u64],
        all_missing,
        asks,
        budget,
        faults,
    )
        .prop_map(
            |(seed, count, all_missing, asks, budget, faults)| Scenario {
                seed,
                count,
                all_missing,
                asks,
                budget,
                faults,
            },
        )
}

/// Every request fails for no reason twice at most, so that what can be had at all can be had.
fn let_fail(crm: &Crm, seed: u64, faults: u16) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut failed: HashMap<_, u32> = HashMap::new();
    crm.set_hook(move |_, asked, _| {
        if rng.u16(0..1_000) >= faults {
            return None;
        }
        let times = failed.entry(asked.body.clone()).or_default();
        *times += 1;
        (*times <= 2).then(|| match rng.u8(0..5) {
            0 => Fault::Hang,
            1 => Fault::Status(502),
            2 => Fault::Status(524),
            _ => Fault::Status(504),
        })
    });
}

fn length(body: &Value, name: &str) -> usize {
    body[name].as_array().map_or(0, Vec::len)
}

fn limit(body: &Value) -> usize {
    crm::store::number(&body["limit"]).unwrap_or(10)
}

/// Whether one of the ways to ask leads to the answer.
fn is_possible(ask: &Ask, expected: &(u16, Value), budget: u64) -> bool {
    let Ask { path, body, .. } = ask;
    let properties = length(body, "properties");
    let of = |units: usize| {
        let mut piece = body.clone();
        piece["limit"] = json!(units);
        cost(path, &piece)
    };
    if expected.0 == 400 || cost(path, body) <= budget {
        return true;
    }
    if !path.ends_with("/search") {
        return (1 + properties + length(body, "propertiesWithHistory")) as u64 <= budget;
    }
    // What the server shows anyway cannot be had more cheaply.
    if properties == 0 || body["properties"] == json!(["hs_object_id"]) {
        return of(1) <= budget;
    }
    let pages = properties < MANY && of(limit(body).min(FLOOR)) <= budget;
    let ids = of(1) / (1 + properties) as u64 * 2 <= budget;
    let found = length(&expected.1, "results");
    pages || (ids && (found == 0 || (1 + properties) as u64 <= budget))
}

/// How many requests there may be beside the one that the caller made.
///
/// For every way that was asked (a page with properties, a page of ids, inputs): with `s` the size that works, which is the largest
/// that was answered, and `n` how many units it is about, at most `2 * ceil(log2(n / s)) + ceil(n / s)`. A way of which no size works
/// counts with the smallest that was asked, and without pieces. Nothing is asked twice in the same words.
///
/// Where the test let requests fail, a smaller size may be the one that works from then on, so the smallest that was asked counts, and
/// every failure adds one. Then, and where there is no answer in the end, what is as small as can be is asked again.
fn check_count(ask: &Ask, expected: &(u16, Value), asked: &[Asked], possible: bool) {
    let is_fault = |asked: &&Asked| matches!(asked.outcome, Outcome::Fault(_));
    let faults = asked.iter().filter(is_fault).count();
    let mut most = 0;
    for way in [Way::Pages, Way::Ids, Way::Inputs] {
        let of_way = || asked.iter().filter(|asked| asked.way == way);
        let Some(smallest) = of_way().map(|asked| asked.size.max(1)).min() else {
            continue;
        };
        let works = of_way().filter(|asked| asked.is_answered());
        let works = works.map(|asked| asked.size.max(1)).max();
        let units = match way {
            Way::Inputs if ask.path.ends_with("/search") => length(&expected.1, "results"),
            Way::Inputs => crm::store::inputs(&ask.body).len(),
            _ => limit(&ask.body),
        };
        let size = if faults > 0 {
            smallest
        } else {
            works.unwrap_or(smallest)
        };
        let parts = units.div_ceil(size).max(1);
        most += 2 * parts.next_power_of_two().ilog2() as usize;
        most += if works.is_some() || faults > 0 {
            parts
        } else {
            1
        };
    }
    let mut seen: BTreeMap<_, Vec<&Asked>> = BTreeMap::new();
    for asked in asked {
        seen.entry(&asked.body).or_default().push(asked);
    }
    let mut repeats = 0;
    for same in seen.values() {
        let answered = same.iter().filter(|asked| asked.is_answered()).count();
        assert!(answered <= 1, "asked again after the answer: {same:?}");
        let heavy = same.iter().filter(|asked| asked.outcome == Outcome::Heavy);
        repeats += heavy.count().saturating_sub(1);
    }
    assert!(
        repeats == 0 || faults > 0 || !possible,
        "the same was too heavy {} times",
        repeats + 1
    );
    let extra = asked.len() - 1;
    assert!(
        extra <= most + faults + repeats,
        "{extra} more requests, at most {most} + {faults} faults + {repeats} repeats\n{:?}",
        asked
            .iter()
            .map(|asked| (asked.way, asked.size, asked.outcome))
            .collect::<Vec<_>>()
    );
}

/// The answer is the expected one.
fn check_answer(got: &Got, expected: &(u16, Value)) {
    let (status, expected) = expected;
    let (answer, expected) = (unordered(got.json()), unordered(expected.clone()));
    assert_eq!(got.status, *status, "{answer}");
    assert_eq!(answer, expected);
    assert_eq!(got.headers["content-type"], crm::JSON);
    assert_eq!(got.headers["content-length"], got.body.len().to_string());
}

/// The failure is one of those that the server sent, as it was sent.
fn check_failure(got: Result<Got, BoxError>, asked: &[Asked], first: usize) {
    match got {
        Err(error) => {
            assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
            let hung = |asked: &Asked| asked.outcome == Outcome::Fault(Fault::Hang);
            assert!(asked.iter().any(hung));
        }
        Ok(got) => {
            let sent: BTreeSet<_> = asked
                .iter()
                .enumerate()
                .filter_map(|(nth, asked)| match asked.outcome {
                    Outcome::Heavy => Some((504, crm::trouble_body(first + nth))),
                    Outcome::Fault(Fault::Status(status)) => {
                        Some((status, crm::trouble_body(first + nth)))
                    }
                    _ => None,
                })
                .collect();
            let text = String::from_utf8(got.body.to_vec()).unwrap();
            assert!(sent.contains(&(got.status, text)), "{got:?}");
            assert_eq!(got.headers["content-type"], "text/html");
        }
    }
}

async fn run(scenario: Scenario) {
    let all_missing = match scenario.all_missing {
        true => AllMissing::NotFound,
        false => AllMissing::MultiStatus,
    };
    let crm = Crm::new(store(scenario.seed, scenario.count, all_missing));
    let budget = match scenario.budget {
        Budget::Any => u64::MAX,
        Budget::Cost(cost) => cost,
        Budget::Units(units) => {
            let Ask { path, body, .. } = &scenario.asks[0];
            let one = match path.ends_with("/search") {
                true => cost(path, body) / limit(body).max(1) as u64,
                false => 1 + length(body, "properties") as u64,
            };
            units * one
        }
    };
    crm.set_budget(budget);
    crm.set_jitter(scenario.seed);
    let_fail(&crm, scenario.seed, scenario.faults);
    let retry = RetryAfterLayer::new(&unlimited()).budget(100_000, 1.0);
    let api = ServiceBuilder::new()
        .layer(PayloadTrimLayer::new(SearchPages::default()))
        .layer(retry.unwrap())
        .layer(TimeoutLayer::new(Duration::from_secs(60)))
        .service(crm.clone());
    for ask in &scenario.asks {
        let expected = crm.oracle(ask.path, &ask.text());
        let before = crm.asked().len();
        let got = call(&api, post_text("t", ask.path, ask.text())).await;
        let asked = &crm.asked()[before..];
        // Where a piece would have more characters than it may, a search can fail although it could be split. It gets no 400.
        let may_fail = ask.is_tight() && cost(ask.path, &ask.body) > budget;
        let has_failed = got.as_ref().is_ok_and(|got| got.status > 500);
        let possible = is_possible(ask, &expected, budget) && !(may_fail && has_failed);
        if possible {
            check_answer(&got.unwrap(), &expected);
        } else {
            check_failure(got, asked, before);
        }
        check_count(ask, &expected, asked, possible);
    }
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(300),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_answer_is_that_of_a_server_without_limits(scenario in scenario()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(scenario));
    }
}
