//! Answers that no server should give: nobody gets another one's record, and nothing takes long.

use std::collections::HashMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower_quota::batch::Split;
use tower_quota::clock::Clock;

use crate::bundle::{Bundle, Got, complete, missing, mixed, record};

/// No test machine needs as long for what is linear; what compares so many results with each other takes minutes.
const LONG: Duration = Duration::from_secs(5);

/// A result is nobody's but of whom it is about.
fn is_own(got: &Got, id: u64) -> bool {
    match got {
        Got::Answer(200, body) => body["id"].as_str() == Some(&*id.to_string()),
        _ => true,
    }
}

#[test]
fn a_result_that_answers_nobody_is_given_to_nobody() {
    let reads = Bundle::reads(&["1", "2"]);
    let one = record(1, json!({}));
    for stranger in [
        record(9, json!({"hs_object_id": "9"})),
        json!({"id": null}),
        json!({"id": "2", "id2": 1, "archived": true}),
        json!({"id": [2]}),
        json!({"id": ["2"], "properties": {"hs_object_id": "2"}}),
        json!({"properties": {"hs_object_id": "2"}}),
        json!([]),
        json!(2),
        json!("2"),
    ] {
        let got = reads.got(200, &complete([stranger.clone(), one.clone()]));
        assert_eq!(
            got,
            [Got::Answer(200, one.clone()), Got::Alone],
            "{stranger}"
        );
    }
    let doubled = r#"{"status":"COMPLETE","results":[{"id":"1"},{"id":"2","id":"3"}]}"#;
    assert_eq!(reads.got_text(200, doubled)[1], Got::Alone);
}

#[test]
fn a_record_that_is_shown_in_two_ways_is_asked_for_singly() {
    let reads = Bundle::reads(&["1", "2"]);
    let (one, two) = (record(1, json!({})), record(2, json!({})));
    let other = record(1, json!({"a": "b"}));
    let got = reads.got(200, &complete([one.clone(), other, two.clone()]));
    assert_eq!(got, [Got::Alone, Got::Answer(200, two.clone())]);
    let got = reads.got(200, &complete([one.clone(), one.clone(), two.clone()]));
    assert_eq!(
        got,
        [Got::Answer(200, one.clone()), Got::Answer(200, two.clone())]
    );
    let got = reads.got(207, &mixed([one.clone(), two], [missing(&["2"])]));
    assert_eq!(got, [Got::Answer(200, one), Got::Alone]);
}

#[test]
fn a_create_with_a_result_and_an_error_is_unknown() {
    let creates = Bundle::creates(&[json!({"a": "1"}), json!({"a": "2"})]);
    let traced = json!({"id": "1", "properties": {"a": "1"}, "objectWriteTraceId": "0"});
    let error = json!({"status": "error", "category": "CONFLICT", "message": "no", "context": {"objectWriteTraceId": ["0"]}});
    let two = record(2, json!({"a": "2"}));
    let got = creates.got(207, &mixed([traced, two.clone()], [error]));
    assert_eq!(got, [Got::Unknown, Got::Answer(201, two)]);
    let surplus = [
        record(1, json!({"a": "1"})),
        record(2, json!({"a": "1"})),
        record(3, json!({"a": "2"})),
    ];
    assert_eq!(
        creates.got(201, &complete(&surplus)),
        [Got::Unknown, Got::Unknown]
    );
}

#[test]
fn errors_that_make_no_sense_are_nobodys() {
    let reads = Bundle::reads(&["1", "2"]);
    let one = record(1, json!({}));
    for error in [
        json!(null),
        json!([]),
        json!({}),
        json!({"context": {"ids": ["2"]}}),
        json!({"category": "OBJECT_NOT_FOUND", "context": {"ids": {"2": "2"}}}),
        json!({"category": "OBJECT_NOT_FOUND", "context": []}),
        json!({"category": "OBJECT_NOT_FOUND", "context": {"objectWriteTraceId": ["1"]}}),
        json!({"category": "OBJECT_NOT_FOUND", "context": {"ids": ["02", "2.0", " 2", ""]}}),
        json!({"category": "VALIDATION_ERROR", "context": {"ids": ["2"]}}),
    ] {
        let got = reads.got(207, &mixed([one.clone()], [error.clone()]));
        assert_eq!(got, [Got::Answer(200, one.clone()), Got::Alone], "{error}");
    }
}

#[test]
fn a_broken_list_in_a_message_is_only_a_message() {
    let updates = Bundle::updates(&[("1", json!({"a": "x"})), ("2", json!({"a": "x"}))]);
    for list in ["", "[", "[]", "[1]", "[{}]", "[{\"message\":1}]", "no list"] {
        let message = format!("Property values were not valid: {list}");
        let error = json!({"status": "error", "category": "VALIDATION_ERROR", "message": message, "context": {"objectWriteTraceId": ["0"]}});
        let got = updates.got(207, &mixed([], [error]));
        let said = json!({"status": "error", "message": message, "correlationId": "c1", "category": "VALIDATION_ERROR"});
        assert_eq!(got, [Got::Answer(400, said), Got::Alone], "{list}");
    }
}

#[test]
fn very_many_results_take_no_long_time() {
    const MANY: u64 = 10_000;
    let ids: Vec<_> = (1..=100).map(|id| id.to_string()).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let alike = |id| {
        record(
            id,
            json!({"a": "1", "b": "2", "email": "a@b.org", "hs_merged_object_ids": "1;2;3;4", "hs_additional_emails": "1;2;3;4"}),
        )
    };
    let strangers: Vec<_> = (1_000..1_000 + MANY).map(alike).collect();
    let same: Vec<_> = (0..MANY).map(|_| alike(1)).collect();
    let errors: Vec<_> = (0..MANY).map(|_| missing(&["1", "2", "9"])).collect();
    let by_email = ids
        .iter()
        .map(|id| format!("{id}?idProperty=email"))
        .collect::<Vec<_>>();
    let by_email: Vec<_> = by_email.iter().map(String::as_str).collect();
    let update = |path: &&'static str| (*path, json!({"a": "1"}));
    let updates = ["1?idProperty=email", "2?idProperty=email"];
    let create = |nth: u64| json!({"a": "1", "b": "2", "c": nth % 7});
    let bundles = [
        Bundle::reads(&ids),
        Bundle::reads(&by_email),
        Bundle::updates(&updates.iter().map(update).collect::<Vec<_>>()),
        Bundle::creates(&(0..100).map(create).collect::<Vec<_>>()),
    ];
    let answers = [
        complete(&strangers[..]).to_string(),
        complete(&same[..]).to_string(),
        mixed(&strangers[..], &errors[..1]).to_string(),
        mixed([], &errors[..]).to_string(),
    ];
    for bundle in bundles {
        for answer in &answers {
            let clock = Clock::system();
            let split = bundle.split(200, answer.clone());
            assert!(clock.elapsed() < LONG, "{:?}", bundle.operation().label());
            assert!(matches!(split, Split::Each(_)));
        }
    }
    let too_many = format!(r#"{{"results":[{}1]}}"#, "1,".repeat(100_000));
    assert!(matches!(
        Bundle::reads(&ids).split(200, too_many),
        Split::Unfit(_)
    ));
}

/// Anything that may be in an answer, or almost.
fn anything() -> impl Strategy<Value = Value> {
    let id = || prop_oneof!["[0-4]", "a@b.org", "x", "\u{130}|\u{df}"];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        (0..5_u64).prop_map(|n| json!(n)),
        id().prop_map(|id| json!(id)),
    ];
    let name = prop_oneof![
        Just("id".to_owned()),
        Just("ids".to_owned()),
        Just("properties".to_owned()),
        Just("context".to_owned()),
        Just("objectWriteTraceId".to_owned()),
        Just("category".to_owned()),
        Just("message".to_owned()),
        Just("email".to_owned()),
        Just("hs_merged_object_ids".to_owned()),
        Just("hs_additional_emails".to_owned()),
        Just("archived".to_owned()),
        Just("a".to_owned()),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((name.clone(), inner), 0..6)
                .prop_map(|all| json!(all.into_iter().collect::<HashMap<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_answer_is_it_is_taken_apart(
        results in vec(anything(), 0..6),
        errors in vec(anything(), 0..4),
        status in prop_oneof![Just(200_u16), Just(201), Just(207), Just(202), Just(400), Just(404), Just(409)],
        complete in any::<bool>(),
    ) {
        let mut answer = mixed(results, errors);
        if !complete {
            answer["status"] = "CANCELED".into();
        }
        let bundles = [
            Bundle::reads(&["1", "2", "3"]),
            Bundle::reads(&["a@b.org?idProperty=email", "x?idProperty=email"]),
            Bundle::updates(&[("1", json!({"a": "x"})), ("2", json!({"a": 2}))]),
            Bundle::updates(&[("x?idProperty=a", json!({"a": "x"})), ("y?idProperty=a", json!({"a": null}))]),
            Bundle::creates(&[json!({"a": "x"}), json!({"a": 1, "email": "a@b.org"}), json!({"a": 1})]),
        ];
        for bundle in &bundles {
            let Split::Each(parts) = bundle.split(status, answer.to_string()) else {
                continue;
            };
            prop_assert_eq!(parts.len(), bundle.inputs().len());
        }
        let Split::Each(parts) = bundles[0].split(status, answer.to_string()) else {
            return Ok(());
        };
        for (part, id) in parts.into_iter().zip(1..) {
            let got = Got::from(part);
            let merged = matches!(&got, Got::Answer(200, body)
                if body["properties"]["hs_merged_object_ids"].as_str().is_some_and(|all| all.contains(&id.to_string())));
            prop_assert!(merged || is_own(&got, id) || matches!(&got, Got::Answer(200, body) if body["id"] == id), "{:?}", got);
        }
    }
}
