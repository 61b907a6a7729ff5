//! What callers ask, drawn at random, so that the answers do not depend on the order in which calls of different tasks arrive.

use std::time::Duration;

use http::Method;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{self, CONTACTS, MADE, Name, SLOTS, name, new_email, shared, shared_email};

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) body: String,
    pub(crate) sort: Sort,
    /// When its caller goes, from the moment of the call.
    pub(crate) cancel: Option<Duration>,
    /// What only this create writes, as `zip`.
    pub(crate) marker: Option<String>,
    /// Whether a batch call may be in vain because of it, although it is answered well alone.
    pub(crate) is_odd: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Plain,
    /// A create that at most one of its step can win.
    Rival,
    /// A read of what another chain writes: the answer may be either.
    Peek,
}

/// Calls that begin at one instant, each answered alike in whatever order they are done, apart from updates of one contact by one
/// name, which are done in order.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) gap: Duration,
    pub(crate) asks: Vec<Ask>,
}

/// Steps one after the other.
pub(crate) type Chain = Vec<Step>;

/// What may go wrong in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// All calls are answered: answers can tell of all that was done before.
    Calm,
    /// Calls may fail, or their callers may go: updates of one contact all set the same property, so that what a later one is
    /// answered does not depend on what became of an earlier one.
    Rough,
}

#[derive(Clone, Debug)]
enum Op {
    Read(Who, View),
    /// Reads of many contacts at once.
    Crowd(u64, View),
    Update(usize, u8, Change),
    /// Updates of one contact by one name.
    InOrder(usize, u8, u8),
    /// The same change of one contact by two names.
    ByTwoNames(usize, u8, u8),
    Rename(usize, u8),
    Create(Vec<New>),
    Rivals(u8),
    Archive(usize, u8, u8),
    Other(u8),
}

#[derive(Clone, Debug)]
enum Who {
    Own(usize, u8, bool),
    Shared(u64, bool),
    Odd(usize),
    /// Of another chain.
    Peek(usize, usize),
}

/// What a read asks for beside the name.
#[derive(Clone, Copy, Debug)]
struct View(usize);

const VIEWS: [&str; 12] = [
    "",
    "properties=city,rank",
    "properties=email&properties=rank",
    "properties=city,nonsense,email",
    "properties=hs_object_id",
    "properties=&archived=false",
    "propertiesWithHistory=city,email",
    "properties=rank&propertiesWithHistory=city",
    "archived=true",
    "archived=true&properties=city",
    "associations=companies",
    "properties=hs_merged_object_ids,hs_additional_emails,email",
];

impl View {
    fn ask(self, target: String) -> Ask {
        let read = ask(Method::GET, target, "");
        match VIEWS[self.0].contains("archived=true") {
            true => odd(read),
            false => read,
        }
    }
}

/// Not the id of any contact, or written in an unusual way.
const ODD: [&str; 12] = [
    "999999",
    "0",
    "abc",
    "-5",
    "18446744073709551616",
    "0105",
    "%20107",
    "a%2Fb",
    "%C3%BC%22",
    "1e2",
    "nobody%40example.com",
    "+108",
];

#[derive(Clone, Debug)]
enum Change {
    City(u8),
    Values(u8),
    Bad(usize),
}

#[derive(Clone, Debug)]
enum New {
    Plain,
    WithEmail,
    /// The same as others make.
    Twin,
    /// Part of what others make.
    Bare,
    Bad(usize),
}

/// A change that is refused, whatever the contact.
fn bad(nth: usize) -> String {
    let properties = match nth % 8 {
        0 => json!({ "nonsense": "x" }),
        1 => json!({ "email": "broken" }),
        2 => json!({ "hs_object_id": "7" }),
        3 => json!({ "email": shared_email(nth as u64 % 4) }),
        4 => json!({ "city": ["Ulm"] }),
        5 => json!(7),
        6 => return "{\"properties\":".to_owned(),
        _ => return String::new(),
    };
    json!({ "properties": properties }).to_string()
}

/// Makes calls of what was drawn.
struct Maker {
    chain: usize,
    chains: usize,
    mood: Mood,
    counter: usize,
}

impl Maker {
    fn marker(&mut self) -> String {
        self.counter += 1;
        format!("m{}-{}", self.chain, self.counter)
    }

    fn asks(&mut self, op: &Op) -> Vec<Ask> {
        let read = |name: Name, view: View| view.ask(name.target(VIEWS[view.0]));
        let unusual =
            |id: &str, by: &str, view: View| view.ask(world::target(id, by, VIEWS[view.0]));
        let by_id = |id: u64| Name::Id(id.to_string());
        let chain = self.chain;
        let name = |slot, way, upper| name(chain, slot, way, upper);
        match op {
            Op::Read(Who::Own(slot, way, upper), view) => {
                vec![read(name(*slot, *way, *upper), *view)]
            }
            Op::Read(Who::Shared(n, false), view) => vec![read(by_id(shared(*n)), *view)],
            Op::Read(Who::Shared(n, true), view) => {
                let email = shared_email(*n).to_uppercase();
                vec![read(Name::Email(email), *view)]
            }
            Op::Read(Who::Odd(n), view) => match n.checked_sub(ODD.len()) {
                None => vec![unusual(ODD[*n], "", *view)],
                Some(0) => vec![unusual("7", "idProperty=rank", *view)],
                Some(_) => {
                    let id = shared(3).to_string();
                    vec![unusual(&id, "idProperty=hs_object_id", *view)]
                }
            },
            Op::Read(Who::Peek(chain, slot), view) => {
                let other = world::name(chain % self.chains, slot % MADE, 0, false);
                let mut peek = read(other, *view);
                peek.sort = Sort::Peek;
                vec![peek]
            }
            Op::Crowd(count, view) => {
                // One in thirteen is missing.
                let id = |n: u64| match n % 13 {
                    0 => 900_000 + n,
                    _ => shared(n * 7),
                };
                (0..*count).map(|n| read(by_id(id(n)), *view)).collect()
            }
            Op::Update(slot, way, change) => {
                let target = name(*slot, *way, false).target("");
                vec![self.update(target, change)]
            }
            Op::InOrder(slot, way, count) => {
                let targets: Vec<String> = (0..*count)
                    .map(|nth| name(*slot, *way, nth % 2 == 1).target(""))
                    .collect();
                let values = (0..*count).map(Change::Values);
                let pairs = targets.into_iter().zip(values);
                pairs
                    .map(|(target, values)| self.update(target, &values))
                    .collect()
            }
            Op::ByTwoNames(slot, one, other) => {
                let body = json!({ "properties": { "city": "Kiel" } }).to_string();
                let target = |way| name(*slot, way, false).target("");
                [*one, *other]
                    .map(|way| odd(ask(Method::PATCH, target(way), &body)))
                    .to_vec()
            }
            Op::Rename(slot, way) => {
                let email = new_email(self.chain, *slot).to_uppercase();
                let body = json!({ "properties": { "email": email } }).to_string();
                // By an e-mail that it changes, a call that is repeated finds nothing: layer or not.
                let way = if self.mood == Mood::Rough { 0 } else { *way };
                vec![ask(
                    Method::PATCH,
                    name(*slot, way, false).target(""),
                    &body,
                )]
            }
            Op::Create(all) => all.iter().map(|new| self.create(new)).collect(),
            Op::Rivals(count) => {
                let email = format!("{}@rivals.example.com", self.marker());
                let body = json!({ "properties": { "email": email, "city": "Ulm" } }).to_string();
                let mut rival = ask(Method::POST, CONTACTS.to_owned(), &body);
                rival.sort = Sort::Rival;
                vec![rival; usize::from(*count)]
            }
            Op::Archive(slot, way, times) => {
                // By its id: that is all that the call knows.
                let target = name(*slot, way % 2, false).target("");
                vec![ask(Method::DELETE, target, ""); usize::from(*times)]
            }
            Op::Other(n) => vec![other(*n)],
        }
    }

    fn update(&mut self, target: String, change: &Change) -> Ask {
        let marker = self.marker();
        if let Change::Bad(nth) = change {
            return ask(Method::PATCH, target, &bad(*nth));
        }
        let values = match (self.mood, change) {
            (Mood::Rough, _) => json!({ "rank": marker }),
            (_, Change::City(n)) => {
                let city = ["Ulm", "Bonn", "", "Köln \"×\""][usize::from(n % 4)];
                json!({ "city": city })
            }
            (_, Change::Values(n)) => {
                let names = ["city", "zip", "rank", "state", "fax"];
                let values = [
                    json!(marker),
                    json!(7.5),
                    json!(true),
                    Value::Null,
                    json!(marker),
                ];
                let n = usize::from(*n);
                let (name, value) = (names[n % 5], &values[n * 3 % 5]);
                json!({ name: value, "phone": marker })
            }
            (_, Change::Bad(_)) => Value::Null,
        };
        let body = json!({ "properties": values }).to_string();
        ask(Method::PATCH, target, &body)
    }

    fn create(&mut self, new: &New) -> Ask {
        let marker = self.marker();
        let mut values = match new {
            New::Plain => json!({ "rank": marker, "city": "Ulm", "fax": null, "state": "" }),
            New::WithEmail => {
                let email = format!(" {}@New.Example.com", marker.to_uppercase());
                json!({ "rank": 7, "email": email, "gender": true })
            }
            New::Twin => json!({ "city": "Twin", "state": "1" }),
            New::Bare => json!({ "city": "Twin" }),
            New::Bad(nth) => return ask(Method::POST, CONTACTS.to_owned(), &bad(*nth)),
        };
        let is_marked = self.mood == Mood::Rough;
        if is_marked {
            values["zip"] = json!(marker);
        }
        let body = json!({ "properties": values }).to_string();
        let mut create = ask(Method::POST, CONTACTS.to_owned(), &body);
        create.marker = is_marked.then_some(marker);
        create
    }

    fn step(&mut self, ops: &[(Op, Option<u8>)], gap: u8, is_last: bool) -> Step {
        let mut written = [false; SLOTS];
        let mut touched = [false; SLOTS];
        let mut asks: Vec<Ask> = Vec::new();
        for (op, cancel) in ops {
            let (slot, writes) = match op {
                Op::Read(Who::Own(slot, ..), _) => (Some(*slot), false),
                Op::Update(slot, ..)
                | Op::InOrder(slot, ..)
                | Op::ByTwoNames(slot, ..)
                | Op::Rename(slot, _)
                | Op::Archive(slot, ..) => (Some(*slot), true),
                _ => (None, false),
            };
            if let Some(slot) = slot {
                // Nobody reads what is written in the same step, and only one op writes.
                if written[slot] || (writes && touched[slot]) {
                    continue;
                }
                written[slot] |= writes;
                touched[slot] = true;
            }
            // When the one that wins gets no answer, nobody can tell what the others should get.
            if self.mood == Mood::Rough && matches!(op, Op::Rivals(_)) {
                continue;
            }
            let mut new = self.asks(op);
            if let Op::Update(2, 1, _) | Op::InOrder(2, 1, _) | Op::Rename(2, 1) = op {
                // By the id of the one that was merged.
                new = new.into_iter().map(odd).collect();
            }
            let may_go = is_last || matches!(op, Op::Read(..) | Op::Crowd(..));
            if let (Mood::Rough, true, Some(cancel)) = (self.mood, may_go, cancel) {
                // Every other one, so that some stay.
                for (nth, ask) in new.iter_mut().enumerate() {
                    let wait = u64::from(*cancel) * (1 + nth as u64 % 3);
                    ask.cancel = (nth % 2 == 0).then(|| Duration::from_millis(wait));
                }
            }
            asks.extend(new);
        }
        Step {
            gap: Duration::from_millis(gap.into()),
            asks,
        }
    }
}

fn ask(method: Method, target: String, body: &str) -> Ask {
    Ask {
        method,
        target,
        body: body.to_owned(),
        sort: Sort::Plain,
        cancel: None,
        marker: None,
        is_odd: false,
    }
}

fn odd(mut ask: Ask) -> Ask {
    ask.is_odd = true;
    ask
}

/// What no batch call can do, and what is none.
fn other(n: u8) -> Ask {
    let inputs = r#"{"inputs":[{"id":"101"}]}"#;
    let (method, target, body) = match n % 9 {
        0 => (Method::GET, "/crm/v3/things/101".to_owned(), ""),
        1 => (
            Method::POST,
            "/crm/v4/associations/contacts/companies/batch/read".to_owned(),
            inputs,
        ),
        2 => (
            Method::GET,
            format!("{CONTACTS}/101/associations/companies"),
            "",
        ),
        3 => (Method::PUT, format!("{CONTACTS}/101"), "{}"),
        4 => (
            Method::POST,
            format!("{CONTACTS}/search"),
            r#"{"filters":[{"propertyName":"email","operator":"EQ","value":"shared1@example.com"}]}"#,
        ),
        5 => (Method::GET, "/crm/v3/objects/companies/101".to_owned(), ""),
        6 => (Method::GET, "/crm/objects/2026-03/0-1/102".to_owned(), ""),
        7 => (Method::GET, format!("{CONTACTS}/102?limit=1"), ""),
        _ => (Method::GET, "/crm/v3/objects/contact/103".to_owned(), ""),
    };
    ask(method, target, body)
}

fn view() -> impl Strategy<Value = View> {
    prop_oneof![
        4 => Just(0),
        4 => Just(1_usize),
        3 => 0..VIEWS.len(),
    ]
    .prop_map(View)
}

fn op() -> impl Strategy<Value = Op> {
    let slot = 0..SLOTS;
    let way = 0..5_u8;
    let who = prop_oneof![
        4 => (slot.clone(), way.clone(), any::<bool>())
            .prop_map(|(slot, way, upper)| Who::Own(slot, way, upper)),
        4 => (0..world::SHARED, any::<bool>()).prop_map(|(n, by)| Who::Shared(n, by)),
        2 => (0..ODD.len() + 2).prop_map(Who::Odd),
        2 => (any::<u8>(), slot.clone()).prop_map(|(chain, slot)| Who::Peek(chain.into(), slot)),
    ];
    let change = prop_oneof![
        2 => any::<u8>().prop_map(Change::City),
        2 => any::<u8>().prop_map(Change::Values),
        1 => (0..8_usize).prop_map(Change::Bad),
    ];
    let all_good = prop_oneof![Just(New::Plain), Just(New::WithEmail)];
    let new = prop_oneof![
        2 => Just(New::Plain),
        2 => Just(New::WithEmail),
        1 => Just(New::Twin),
        1 => Just(New::Bare),
        1 => (0..8_usize).prop_map(New::Bad),
    ];
    prop_oneof![
        8 => (who, view()).prop_map(|(who, view)| Op::Read(who, view)),
        1 => (20..150_u64, view()).prop_map(|(count, view)| Op::Crowd(count, view)),
        6 => (slot.clone(), way.clone(), change).prop_map(|(slot, way, change)| Op::Update(slot, way, change)),
        2 => (slot.clone(), way.clone(), 2..5_u8).prop_map(|(slot, way, count)| Op::InOrder(slot, way, count)),
        1 => (slot.clone(), way.clone(), way.clone()).prop_map(|(slot, one, other)| Op::ByTwoNames(slot, one, other)),
        1 => (slot.clone(), way.clone()).prop_map(|(slot, way)| Op::Rename(slot, way)),
        4 => vec(new, 1..5).prop_map(Op::Create),
        1 => vec(all_good, 30..120).prop_map(Op::Create),
        1 => (2..5_u8).prop_map(Op::Rivals),
        2 => (slot, way, 1..3_u8).prop_map(|(slot, way, times)| Op::Archive(slot, way, times)),
        2 => any::<u8>().prop_map(Op::Other),
    ]
}

/// What many chains ask.
pub(crate) fn chains(mood: Mood) -> impl Strategy<Value = Vec<Chain>> {
    let step = || (vec((op(), option::weighted(0.3, 0..60_u8)), 1..5), 0..4_u8);
    let few = vec(vec(step(), 1..5), 1..6);
    let many = vec(vec(step(), 1..4), 6..40);
    prop_oneof![few, many].prop_map(move |drawn| {
        let chains = drawn.len();
        let chain = |(chain, steps): (usize, Vec<(Vec<_>, u8)>)| {
            let mut maker = Maker {
                chain,
                chains,
                mood,
                counter: 0,
            };
            let last = steps.len() - 1;
            let step =
                |(nth, (ops, gap)): (usize, (Vec<_>, u8))| maker.step(&ops, gap, nth == last);
            steps.into_iter().enumerate().map(step).collect()
        };
        drawn.into_iter().enumerate().map(chain).collect()
    })
}
