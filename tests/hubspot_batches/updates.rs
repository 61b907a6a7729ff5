//! The answers to updates and archives.

use serde_json::{Value, json};
use tower_quota::batch::Split;

use crate::bundle::{Bundle, Got, complete, missing, mixed, not_found, record};

fn ok(record: &Value) -> Got {
    Got::Answer(200, record.clone())
}

/// An item of a 207, of the inputs with these trace ids.
fn traced(mut error: Value, traces: &[&str]) -> Value {
    error["context"]["objectWriteTraceId"] = json!(traces);
    error
}

#[test]
fn each_update_gets_its_own_record_or_error() {
    let updates = Bundle::updates(&[
        ("1", json!({"a": "x"})),
        ("2", json!({"a": "x"})),
        ("3", json!({"a": "x"})),
        ("4", json!({"a": "x"})),
    ]);
    let (one, two) = (record(1, json!({"a": "x"})), record(2, json!({"a": "x"})));
    let invalid = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "a was not valid", "context": {}});
    let answer = mixed([two.clone(), one.clone()], [traced(invalid, &["3"])]);
    let said = json!({"status": "error", "message": "a was not valid", "correlationId": "c1", "category": "VALIDATION_ERROR"});
    let expected = [ok(&one), ok(&two), Got::Alone, Got::Answer(400, said)];
    assert_eq!(updates.got(207, &answer), expected);
}

#[test]
fn a_missing_record_is_looked_for_by_a_single_update_when_it_may_have_been_merged() {
    let updates = Bundle::updates(&[("1", json!({"a": "x"})), ("2", json!({"a": "x"}))]);
    let one = record(1, json!({"a": "x"}));
    for error in [
        missing(&["2"]),
        traced(missing(&["2"]), &["1"]),
        traced(missing(&[]), &["1"]),
    ] {
        assert_eq!(
            updates.got(207, &mixed([one.clone()], [error])),
            [ok(&one), Got::Alone]
        );
    }
    let by_email = Bundle::updates(&[
        ("a@b.org?idProperty=email", json!({"a": "x"})),
        ("c@b.org?idProperty=email", json!({"a": "x"})),
    ]);
    let one = record(1, json!({"a": "x", "email": "a@b.org"}));
    for error in [missing(&["c@b.org"]), traced(missing(&["c@b.org"]), &["1"])] {
        assert_eq!(
            by_email.got(207, &mixed([one.clone()], [error])),
            [ok(&one), not_found()]
        );
    }
}

#[test]
fn a_record_that_gets_another_name_is_known_by_that() {
    let updates = Bundle::updates(&[
        (
            "a@b.org?idProperty=email",
            json!({"email": " New@B.org", "a": "x"}),
        ),
        ("b@b.org?idProperty=email", json!({"a": "x"})),
        (
            "c@b.org?idProperty=email",
            json!({"email": "b@b.org", "a": "x"}),
        ),
    ]);
    let new = record(1, json!({"email": "new@b.org", "a": "x"}));
    let other = record(2, json!({"email": "b@b.org", "a": "x"}));
    let conflict = json!({"status": "error", "category": "CONFLICT", "message": "Contact already exists. Existing ID: 2", "context": {"existingId": ["2"]}});
    let answer = mixed([other.clone(), new.clone()], [traced(conflict, &["2"])]);
    let said = json!({"status": "error", "message": "Contact already exists. Existing ID: 2", "correlationId": "c1", "category": "CONFLICT"});
    assert_eq!(
        updates.got(207, &answer),
        [ok(&new), ok(&other), Got::Answer(409, said)]
    );
    // With no error either of two may be the one.
    let answer = complete([other, new.clone()]);
    assert_eq!(
        updates.got(200, &answer),
        [ok(&new), Got::Alone, Got::Alone]
    );
}

#[test]
fn results_that_do_not_show_the_name_are_known_by_what_was_set_if_that_tells_all() {
    let updates = Bundle::updates(&[
        ("a?idProperty=code", json!({"x": "1"})),
        ("b?idProperty=code", json!({"x": 2})),
    ]);
    let (one, two) = (record(1, json!({"x": "1"})), record(2, json!({"x": "2"})));
    let answer = complete([two.clone(), one.clone()]);
    assert_eq!(updates.got(200, &answer), [ok(&one), ok(&two)]);
    for results in [
        vec![one.clone()],
        vec![one.clone(), record(3, json!({}))],
        vec![one.clone(), one.clone()],
    ] {
        assert_eq!(
            updates.got(200, &complete(&results[..])),
            [Got::Alone, Got::Alone],
            "{results:?}"
        );
    }
    let alike = Bundle::updates(&[
        ("a?idProperty=code", json!({"x": "1"})),
        ("b?idProperty=code", json!({"x": "1"})),
    ]);
    let answer = complete([record(2, json!({"x": "1"})), one]);
    assert_eq!(alike.got(200, &answer), [Got::Alone, Got::Alone]);
}

#[test]
fn a_trace_id_on_a_result_is_a_match_and_is_not_shown() {
    let updates = Bundle::updates(&[
        ("a?idProperty=code", json!({"x": "1"})),
        ("b?idProperty=code", json!({"x": "1"})),
    ]);
    let (one, two) = (record(1, json!({"x": "1"})), record(2, json!({"x": "1"})));
    let traced = |record: &Value, trace: &str| {
        let mut record = record.clone();
        record["objectWriteTraceId"] = trace.into();
        record
    };
    let answer = complete([traced(&two, "1"), traced(&one, "0")]);
    assert_eq!(updates.got(200, &answer), [ok(&one), ok(&two)]);
    let by_id = Bundle::updates(&[("1", json!({"x": "1"})), ("2", json!({"x": "1"}))]);
    assert_eq!(by_id.got(200, &answer), [ok(&one), ok(&two)]);
    let foreign = complete([traced(&two, "theirs"), traced(&one, "00")]);
    assert_eq!(by_id.got(200, &foreign), [ok(&one), ok(&two)]);
    let crossed = complete([traced(&two, "0"), traced(&one, "1")]);
    assert_eq!(by_id.got(200, &crossed), [Got::Alone, Got::Alone]);
}

#[test]
fn two_errors_of_one_input_are_told_by_a_single_call() {
    let updates = Bundle::updates(&[("1", json!({"a": "x"})), ("2", json!({"a": "x"}))]);
    let error = |message: &str| {
        let error = json!({"status": "error", "category": "VALIDATION_ERROR", "message": message, "context": {}});
        traced(error, &["0"])
    };
    let two = record(2, json!({"a": "x"}));
    let different = mixed([two.clone()], [error("one"), error("other")]);
    assert_eq!(updates.got(207, &different), [Got::Alone, ok(&two)]);
    let same = mixed([two.clone()], [error("one"), error("one")]);
    assert!(matches!(updates.got(207, &same)[0], Got::Answer(400, _)));
}

#[test]
fn an_error_is_of_the_trace_that_it_names_whatever_ids_it_names() {
    let updates = Bundle::updates(&[("1", json!({"a": "x"})), ("2", json!({"a": "x"}))]);
    let two = record(2, json!({"a": "x"}));
    let conflict = json!({"status": "error", "category": "CONFLICT", "message": "no", "context": {"ids": ["2"]}});
    let got = updates.got(207, &mixed([two.clone()], [traced(conflict, &["0"])]));
    assert!(matches!(got[0], Got::Answer(409, _)), "{got:?}");
    assert_eq!(got[1], ok(&two));
    // What may be done again is, when nobody knows whether it was done.
    let internal =
        json!({"status": "error", "category": "INTERNAL_ERROR", "message": "no", "context": {}});
    let answer = mixed([two.clone()], [traced(internal, &["0"])]);
    assert_eq!(updates.got(207, &answer), [Got::Alone, ok(&two)]);
}

#[test]
fn an_update_that_is_left_out_is_not_told_that_another_one_was_done() {
    // The one was merged into the other, which a batch update does not look for.
    let by_id = Bundle::updates(&[("5", json!({"a": "x"})), ("7", json!({"b": "y"}))]);
    let seven = record(7, json!({"b": "y", "hs_merged_object_ids": "5"}));
    for answer in [
        complete([seven.clone()]),
        complete([seven.clone(), seven.clone()]),
    ] {
        assert_eq!(by_id.got(200, &answer), [Got::Alone, ok(&seven)]);
    }
    let by_email = Bundle::updates(&[
        ("more@b.org?idProperty=email", json!({"a": "x"})),
        ("a@b.org?idProperty=email", json!({"b": "y"})),
    ]);
    let one = record(
        1,
        json!({"b": "y", "email": "a@b.org", "hs_additional_emails": "more@b.org"}),
    );
    assert_eq!(
        by_email.got(200, &complete([one.clone()])),
        [Got::Alone, ok(&one)]
    );
    // Of two that were merged into a third nobody knows which was done.
    let both = Bundle::updates(&[("5", json!({"a": "x"})), ("6", json!({"a": "y"}))]);
    let third = record(7, json!({"a": "y", "hs_merged_object_ids": "5;6"}));
    assert_eq!(both.got(200, &complete([third])), [Got::Alone, Got::Alone]);
    // What was done to nobody else's was done for it.
    let seven = record(7, json!({"a": "x", "hs_merged_object_ids": "5"}));
    let eight = record(8, json!({"a": "y"}));
    let one = Bundle::updates(&[("5", json!({"a": "x"})), ("8", json!({"a": "y"}))]);
    let answer = complete([eight.clone(), seven.clone()]);
    assert_eq!(one.got(200, &answer), [ok(&seven), ok(&eight)]);
}

#[test]
fn an_archive_is_answered_without_a_body() {
    let archives = Bundle::new(&[
        ("DELETE", "/crm/v3/objects/contacts/1", ""),
        ("DELETE", "/crm/v3/objects/contacts/2", ""),
    ]);
    let done = Got::Answer(204, Value::Null);
    assert_eq!(archives.got_text(204, ""), [done.clone(), done]);
    for status in [200, 207] {
        let answer = complete([]).to_string();
        assert!(matches!(archives.split(status, answer), Split::Unfit(_)));
    }
}
