//! The answers to reads.

use serde_json::{Value, json};
use tower_quota::batch::Split;

use crate::bundle::{Bundle, Got, complete, missing, mixed, not_found, record};

fn ok(record: &Value) -> Got {
    Got::Answer(200, record.clone())
}

/// Contacts with these ids, of which the e-mail and the city are shown.
fn contacts(ids: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    let contact = |id| record(id, json!({"email": format!("p{id}@b.org"), "city": "Rome"}));
    ids.map(contact).collect()
}

#[test]
fn results_are_matched_by_id_in_any_order() {
    let ids: Vec<_> = (1..=50).map(|id| id.to_string()).collect();
    let reads = Bundle::reads(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let all = contacts(1..=50);
    let expected: Vec<_> = all.iter().map(ok).collect();
    let mut shuffled = all;
    for turn in 0..50 {
        shuffled.rotate_left(turn % 7);
        shuffled.swap(0, turn);
        assert_eq!(reads.got(200, &complete(&shuffled[..])), expected);
    }
}

#[test]
fn a_result_is_handed_on_byte_for_byte() {
    let reads = Bundle::reads(&["1", "2"]);
    let one = r#"{ "id" : 1, "properties" : {"a":"\u00e9\/", "b": 1e400}, "more":[ ] }"#;
    let body = format!(r#"{{"status":"COMPLETE","results":[{{"id":"2"}}, {one} ]}}"#);
    match reads.split(200, body) {
        Split::Each(parts) => {
            let body = |part: &tower_quota::batch::Part| match part {
                tower_quota::batch::Part::Answer(_, body) => body.clone(),
                part => panic!("{part:?}"),
            };
            assert_eq!(
                (&body(&parts[0])[..], &body(&parts[1])[..]),
                (one.as_bytes(), &b"{\"id\":\"2\"}"[..])
            );
        }
        split => panic!("{split:?}"),
    }
}

#[test]
fn an_id_that_an_error_names_is_not_found_and_a_silent_one_is_asked_for_singly() {
    let reads = Bundle::reads(&["1", "2", "3", "4"]);
    let all = contacts(1..=2);
    let answer = mixed([all[1].clone(), all[0].clone()], [missing(&["4"])]);
    let expected = [ok(&all[0]), ok(&all[1]), Got::Alone, not_found()];
    assert_eq!(reads.got(207, &answer), expected);
    let each = mixed([all[0].clone()], [missing(&["4"]), missing(&["3"])]);
    let expected = [ok(&all[0]), Got::Alone, not_found(), not_found()];
    assert_eq!(reads.got(207, &each), expected);
    // One report has the missing ones left out of a 200.
    let expected = [ok(&all[0]), ok(&all[1]), Got::Alone, Got::Alone];
    assert_eq!(reads.got(200, &complete(&all[..])), expected);
}

#[test]
fn one_error_object_covers_many_ids() {
    // As it was recorded, with the e-mail that was asked for.
    let body = r#"{"status":"COMPLETE","results":[],"numErrors":1,"errors":[{"status":"error","category":"OBJECT_NOT_FOUND","message":"Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.","context":{"ids":["meows@loudly.lol"]}}],"startedAt":"2024-04-24T19:21:09.694Z","completedAt":"2024-04-24T19:21:09.747Z"}"#;
    let reads = Bundle::reads(&[
        "Meows@loudly.LOL?idProperty=email",
        "purrs@loudly.lol?idProperty=email",
    ]);
    assert_eq!(reads.got_text(207, body), [not_found(), Got::Alone]);
    let both = body.replace(
        "[\"meows@loudly.lol\"]",
        "[\"purrs@loudly.lol\",\"meows@loudly.lol\"]",
    );
    assert_eq!(reads.got_text(207, both), [not_found(), not_found()]);
}

#[test]
fn a_404_is_of_the_ids_that_it_names() {
    let reads = Bundle::reads(&["1", "2", "3", "4"]);
    let mut body = missing(&["1", "2", "3", "4"]);
    assert_eq!(
        reads.got(404, &body),
        [not_found(), not_found(), not_found(), not_found()]
    );
    body["context"]["ids"] = json!(["1", "3", "4"]);
    let expected = [not_found(), Got::Alone, not_found(), not_found()];
    assert_eq!(reads.got(404, &body), expected);
    // Many others are a batch of their own.
    body["context"]["ids"] = json!([3]);
    assert_eq!(reads.suspects(404, &body.to_string()), [2]);
    body["context"] = json!({});
    assert_eq!(reads.suspects(404, &body.to_string()), [0; 0]);
}

#[test]
fn a_404_of_a_path_says_that_there_is_no_such_batch() {
    let reads = Bundle::reads(&["1", "2"]);
    let no_type = r#"{"status":"error","message":"Unable to infer object type from: cars","category":"OBJECT_NOT_FOUND"}"#;
    let no_path =
        r#"{"status":"error","message":"resource not found","category":"OBJECT_NOT_FOUND"}"#;
    for body in [
        no_type,
        no_path,
        "<html><h1>404</h1></html>",
        "",
        "{}",
        "null",
    ] {
        assert_eq!(reads.split(404, body), Split::Unsupported, "{body}");
    }
}

#[test]
fn emails_are_matched_without_regard_to_case() {
    let reads = Bundle::reads(&[
        "Ann%40B.org?idProperty=email&properties=email",
        "more%40b.org?idProperty=email&properties=email",
        "gone%40b.org?idProperty=email&properties=email",
    ]);
    let ann = record(1, json!({"email": "ann@b.org"}));
    let other = record(
        2,
        json!({"email": "first@b.org", "hs_additional_emails": "x@b.org; More@b.org"}),
    );
    let answer = mixed([other.clone(), ann.clone()], [missing(&["GONE@b.org"])]);
    assert_eq!(reads.got(207, &answer), [ok(&ann), ok(&other), not_found()]);
}

#[test]
fn other_unique_properties_are_matched_with_regard_to_case() {
    let reads = Bundle::reads(&[
        "Ab?idProperty=code&properties=code",
        "aB?idProperty=code&properties=code",
        "abc?idProperty=code&properties=code",
    ]);
    let (one, other) = (
        record(1, json!({"code": "Ab"})),
        record(2, json!({"code": "aB"})),
    );
    let answer = mixed([other.clone(), one.clone()], [missing(&["ABC"])]);
    assert_eq!(reads.got(207, &answer), [ok(&one), ok(&other), Got::Alone]);
    let answer = mixed([other.clone()], [missing(&["Ab"])]);
    assert_eq!(
        reads.got(207, &answer),
        [not_found(), ok(&other), Got::Alone]
    );
}

#[test]
fn emails_of_other_objects_than_contacts_are_matched_with_regard_to_case() {
    let read = |id: &str| {
        let path = format!("/crm/v3/objects/2-36/{id}?idProperty=email&properties=email");
        ("GET", path, String::new())
    };
    let reads = Bundle::new(&[read("A@b.org"), read("a@b.org")]);
    assert_ne!(reads.inputs()[0].name(), reads.inputs()[1].name());
    let (one, other) = (
        record(1, json!({"email": "A@b.org"})),
        record(2, json!({"email": "a@b.org"})),
    );
    let answer = complete([other.clone(), one.clone()]);
    assert_eq!(reads.got(200, &answer), [ok(&one), ok(&other)]);
    let more = record(
        3,
        json!({"email": "x@b.org", "hs_additional_emails": "a@b.org"}),
    );
    let answer = complete([more, one.clone()]);
    assert_eq!(reads.got(200, &answer), [ok(&one), Got::Alone]);
}

#[test]
fn what_the_caller_did_not_ask_for_is_taken_out_again() {
    let reads = Bundle::reads(&[
        "a?idProperty=code&properties=city",
        "b?idProperty=code&properties=city",
    ]);
    let shown = |id, code: &str| {
        record(
            id,
            json!({"city": "Rome", "code": code, "hs_object_id": id.to_string()}),
        )
    };
    let expected = |id: u64| {
        ok(&record(
            id,
            json!({"city": "Rome", "hs_object_id": id.to_string()}),
        ))
    };
    let answer = complete([shown(2, "b"), shown(1, "a")]);
    assert_eq!(reads.got(200, &answer), [expected(1), expected(2)]);
}

#[test]
fn a_merged_record_is_known_by_its_former_id_or_asked_for_singly() {
    let reads = Bundle::reads(&[
        "1?properties=hs_merged_object_ids",
        "2?properties=hs_merged_object_ids",
        "3?properties=hs_merged_object_ids",
    ]);
    let kept = record(1, json!({"hs_merged_object_ids": "9;2"}));
    assert_eq!(
        reads.got(200, &complete([kept.clone()])),
        [ok(&kept), ok(&kept), Got::Alone]
    );
    let other = record(7, json!({"hs_merged_object_ids": "3; 2"}));
    let one = record(1, json!({"hs_merged_object_ids": null}));
    assert_eq!(
        reads.got(200, &complete([other.clone(), one.clone()])),
        [ok(&one), ok(&other), ok(&other)]
    );
    // Nothing says that it is the one.
    let silent = record(7, json!({}));
    assert_eq!(
        reads.got(200, &complete([silent, one.clone(), kept.clone()])),
        [Got::Alone, ok(&kept), Got::Alone]
    );
}

#[test]
fn archived_records_are_read_by_reads_of_archived_records() {
    let reads = Bundle::reads(&["1?archived=true", "2?archived=true", "3?archived=true"]);
    let archived = |id| {
        let mut record = record(id, json!({}));
        record["archived"] = true.into();
        record
    };
    let live = record(2, json!({}));
    let answer = mixed([live.clone(), archived(1)], [missing(&["3"])]);
    assert_eq!(
        reads.got(207, &answer),
        [ok(&archived(1)), Got::Alone, Got::Alone]
    );
    // It does not look where they are.
    for (status, body) in [
        (200, complete([live])),
        (207, mixed([], [missing(&["1", "2", "3"])])),
        (404, missing(&["1", "2", "3"])),
        (404, missing(&[])),
    ] {
        assert_eq!(
            reads.split(status, body.to_string()),
            Split::Unsupported,
            "{body}"
        );
    }
    let reads = Bundle::reads(&["1", "2"]);
    let live = record(2, json!({}));
    assert_eq!(
        reads.got(200, &complete([archived(1), live.clone()])),
        [Got::Alone, ok(&live)]
    );
}

#[test]
fn an_answer_that_is_not_complete_counts_as_far_as_it_goes() {
    let reads = Bundle::reads(&["1", "2"]);
    let one = record(1, json!({}));
    for (status, state) in [(202, "PENDING"), (200, "PROCESSING"), (200, "CANCELED")] {
        let mut answer = complete([one.clone()]);
        answer["status"] = state.into();
        assert_eq!(
            reads.got(status, &answer),
            [ok(&one), Got::Alone],
            "{state}"
        );
    }
}
