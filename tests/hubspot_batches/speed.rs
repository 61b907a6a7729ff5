//! What a batch costs: it runs on the task of a caller.

use std::hint::black_box;
use std::time::Duration;

use serde_json::{Value, json};
use tower_quota::clock::Clock;

use crate::bundle::{Bundle, Got, complete, record};

const RUNS: u32 = 30;
/// Without optimisations all is some twenty times slower.
const LONGEST: Duration = match cfg!(debug_assertions) {
    true => Duration::from_millis(50),
    false => Duration::from_millis(1),
};

/// Properties as they are usual, twelve of them.
fn properties(nth: u64, email: bool) -> Value {
    let mut properties = json!({"firstname": format!("Ann {nth}"), "lastname": "Example", "city": "Rome", "company": "Example and Sons",
        "phone": format!("+39 06 {nth:07}"), "jobtitle": "Head of Something", "country": "Italy"});
    if email {
        properties["email"] = format!("ann.{nth}@example.org").into();
    }
    properties
}

/// The shortest time of several, because other programs only make it longer.
fn shortest(mut run: impl FnMut()) -> Duration {
    let time = |_| {
        let clock = Clock::system();
        run();
        clock.elapsed()
    };
    (0..RUNS).map(time).min().unwrap()
}

fn measure(what: &str, status: u16, bundle: &Bundle, results: &[Value]) {
    let body = complete(results).to_string();
    assert!(
        bundle
            .got_text(status, body.clone())
            .iter()
            .all(|got| matches!(got, Got::Answer(..)))
    );
    let join = shortest(|| {
        black_box(bundle.operation().join(bundle.inputs()));
    });
    let split = shortest(|| {
        black_box(bundle.split(status, body.clone()));
    });
    println!(
        "{what:32} join {join:>10.1?}  split {split:>10.1?}  ({} kB)",
        body.len() / 1_000
    );
    assert!(join + split < LONGEST, "{what}: {join:?} + {split:?}");
}

#[test]
fn a_hundred_inputs_are_joined_and_split_in_less_than_a_millisecond() {
    let shown = |nth: u64, email| {
        let mut properties = properties(nth, email);
        for (name, value) in [
            ("createdate", "2024-08-15T17:09:13.648Z"),
            ("lastmodifieddate", "2024-08-15T17:09:13.648Z"),
            ("hs_object_id", "1"),
            ("lifecyclestage", "lead"),
        ] {
            properties[name] = value.into();
        }
        record(nth, properties)
    };
    let all = |email| {
        (1..=100)
            .rev()
            .map(|nth| shown(nth, email))
            .collect::<Vec<_>>()
    };
    let ends = |end: &str| {
        (1..=100)
            .map(|nth| end.replace('N', &nth.to_string()))
            .collect::<Vec<_>>()
    };
    let reads =
        |end: &str| Bundle::reads(&ends(end).iter().map(String::as_str).collect::<Vec<_>>());
    let updates = |end: &str| {
        let ends = ends(end);
        let calls: Vec<_> = ends
            .iter()
            .zip(1..)
            .map(|(end, nth)| (&**end, properties(nth, false)))
            .collect();
        Bundle::updates(&calls)
    };
    let creates = |email| {
        Bundle::creates(
            &(1..=100)
                .map(|nth| properties(nth, email))
                .collect::<Vec<_>>(),
        )
    };
    let by_email = "ann.N@example.org?idProperty=email";
    measure("reads by id", 200, &reads("N"), &all(true));
    measure(
        "reads by e-mail",
        200,
        &reads(&format!("{by_email}&properties=email,city")),
        &all(true),
    );
    measure(
        "reads by e-mail, not asked for",
        200,
        &reads(&format!("{by_email}&properties=city")),
        &all(true),
    );
    measure("updates by id", 200, &updates("N"), &all(true));
    measure("updates by e-mail", 200, &updates(by_email), &all(true));
    measure(
        "updates by e-mail, not shown",
        200,
        &updates(by_email),
        &all(false),
    );
    measure("creates with e-mails", 201, &creates(true), &all(true));
    measure("creates without", 201, &creates(false), &all(false));

    let single = shortest(|| {
        for _ in 0..1_000 {
            let path = "/crm/v3/objects/contacts/ann.1@example.org?idProperty=email&properties=email,city,firstname,lastname,company";
            black_box(crate::bundle::single("GET", path, ""));
        }
    });
    println!(
        "{:32} {:>10.1?}",
        "a read, with the test's request",
        single / 1_000
    );
}
