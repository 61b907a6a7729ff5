//! The answers to creates: whose record is whose, or an error that says that nobody knows.

use serde_json::{Value, json};

use crate::bundle::{Bundle, Got, complete, mixed, record};

fn created(record: &Value) -> Got {
    Got::Answer(201, record.clone())
}

/// What all records have.
fn with_usual(id: u64, mut properties: Value) -> Value {
    properties["createdate"] = "2024-08-15T17:09:13.648Z".into();
    properties["hs_object_id"] = id.to_string().into();
    properties["lifecyclestage"] = "lead".into();
    record(id, properties)
}

#[test]
fn a_recorded_207_is_taken_apart() {
    let body = r#"{"status":"COMPLETE","results":[{"id":"1145814089","properties":{"createdate":"2024-08-15T17:09:13.648Z","hs_helpdesk_sort_timestamp":"2024-08-15T17:09:13.648Z","hs_last_message_from_visitor":"false","hs_lastmodifieddate":"2024-08-15T17:09:13.648Z","hs_object_id":"1145814089","hs_object_source":"API","hs_object_source_label":"INTERNAL_PROCESSING","hs_pipeline":"0","hs_pipeline_stage":"1","hs_ticket_id":"1145814089"},"createdAt":"2024-08-15T17:09:13.648Z","updatedAt":"2024-08-15T17:09:13.648Z","archived":false}],"numErrors":1,"errors":[{"status":"error","category":"VALIDATION_ERROR","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"missing\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"missing\",\"localizedErrorMessage\":\"Property \\\"missing\\\" does not exist\",\"portalId\":891936587}]","context":{"objectWriteTraceId":["0"]}}],"startedAt":"2024-08-15T17:09:13.610Z","completedAt":"2024-08-15T17:09:13.910Z"}"#;
    let creates = Bundle::creates(&[
        json!({"missing": "x"}),
        json!({"hs_pipeline_stage": 1, "hs_pipeline": "0"}),
    ]);
    let whole: Value = serde_json::from_str(body).unwrap();
    // Worded as the answer to a single call is documented.
    let refused = json!({
        "status": "error",
        "message": whole["errors"][0]["message"],
        "correlationId": "c1",
        "errors": [{"message": "Property \"missing\" does not exist", "code": "PROPERTY_DOESNT_EXIST", "context": {"propertyName": ["missing"]}}],
        "category": "VALIDATION_ERROR",
    });
    let expected = [Got::Answer(400, refused), created(&whole["results"][0])];
    assert_eq!(creates.got_text(207, body), expected);
}

#[test]
fn a_conflict_is_told_to_its_owner() {
    let creates = Bundle::creates(&[json!({"email": "a@b.org"}), json!({"email": "c@b.org"})]);
    let item: Value = serde_json::from_str(r#"{"status":"error","category":"CONFLICT","message":"Contact already exists. Existing ID: 171591000198","context":{"objectWriteTraceId":["0"],"existingId":["171591000198"]}}"#).unwrap();
    let other = with_usual(2, json!({"email": "c@b.org"}));
    let refused = json!({"status": "error", "message": "Contact already exists. Existing ID: 171591000198", "correlationId": "c1", "category": "CONFLICT"});
    let answer = mixed([other.clone()], [item]);
    assert_eq!(
        creates.got(207, &answer),
        [Got::Answer(409, refused), created(&other)]
    );
}

#[test]
fn one_error_names_several_inputs_and_keeps_what_it_says() {
    let creates = Bundle::creates(&[json!({"a": "1"}), json!({"a": "2"}), json!({"a": "3"})]);
    let error = json!({
        "status": "error", "category": "MISSING_SCOPES", "message": "no",
        "subCategory": {"x": 1}, "links": {"scopes": "https://x"},
        "errors": [{"message": "One or more", "context": {"requiredGranularScopes": ["s"]}}],
        "context": {"objectWriteTraceId": ["0", "2"], "why": ["so"]},
    });
    let middle = with_usual(7, json!({"a": "2"}));
    let refused = json!({
        "status": "error", "message": "no", "correlationId": "c1", "context": {"why": ["so"]},
        "errors": [{"message": "One or more", "context": {"requiredGranularScopes": ["s"]}}],
        "links": {"scopes": "https://x"}, "category": "MISSING_SCOPES",
    });
    let refused = Got::Answer(403, refused);
    let answer = mixed([middle.clone()], [error]);
    assert_eq!(
        creates.got(207, &answer),
        [refused.clone(), created(&middle), refused]
    );
}

#[test]
fn an_error_of_an_unknown_kind_is_told_by_a_single_call() {
    let creates = Bundle::creates(&[json!({"a": "1"}), json!({"a": "2"})]);
    let two = with_usual(2, json!({"a": "2"}));
    for category in ["SOMETHING_NEW", "RATE_LIMITS", "OBJECT_NOT_FOUND"] {
        let error = json!({"status": "error", "category": category, "message": "no", "context": {"objectWriteTraceId": ["0"]}});
        let answer = mixed([two.clone()], [error]);
        assert_eq!(
            creates.got(207, &answer),
            [Got::Alone, created(&two)],
            "{category}"
        );
    }
    // After this one nobody knows, as after the answer to a single create that says so.
    let error = json!({"status": "error", "category": "INTERNAL_ERROR", "message": "no", "context": {"objectWriteTraceId": ["0"]}});
    let got = creates.got(207, &mixed([two], [error]));
    assert!(matches!(got[0], Got::Answer(500, _)), "{got:?}");
}

#[test]
fn a_contact_is_known_by_its_email() {
    let creates = Bundle::creates(&[
        json!({"email": " Ann@B.org ", "firstname": "Ann "}),
        json!({"email": "bob@b.org", "firstname": "Ann "}),
    ]);
    let ann = with_usual(1, json!({"email": "ann@b.org", "firstname": "Ann"}));
    let bob = with_usual(2, json!({"email": "bob@b.org", "firstname": "Ann"}));
    let answer = complete([bob.clone(), ann.clone()]);
    assert_eq!(creates.got(201, &answer), [created(&ann), created(&bob)]);
    let answer = complete([bob.clone()]);
    assert_eq!(creates.got(201, &answer), [Got::Unknown, created(&bob)]);
}

#[test]
fn what_was_sent_tells_numbers_and_empty_values_too() {
    let creates = Bundle::creates(&[
        json!({"name": "A", "amount": 5, "open": true, "gone": null}),
        json!({"name": "A", "amount": "5", "open": false, "gone": ""}),
        json!({"name": "B", "amount": 5}),
    ]);
    let all = [
        with_usual(1, json!({"name": "A", "amount": "5", "open": "true"})),
        with_usual(2, json!({"name": "A", "amount": "5", "open": "false"})),
        with_usual(3, json!({"name": "B", "amount": "5", "open": null})),
    ];
    let answer = complete([all[1].clone(), all[2].clone(), all[0].clone()]);
    let expected: Vec<_> = all.iter().map(created).collect();
    assert_eq!(creates.got(201, &answer), expected);
}

#[test]
fn creates_that_sent_the_very_same_have_a_record_each() {
    let creates = Bundle::creates(&[json!({"a": "1"}), json!({"a": "1"}), json!({"a": "2"})]);
    let all = [
        with_usual(1, json!({"a": "1"})),
        with_usual(2, json!({"a": "1"})),
        with_usual(3, json!({"a": "2"})),
    ];
    let got = creates.got(
        201,
        &complete([all[2].clone(), all[1].clone(), all[0].clone()]),
    );
    assert_eq!(got[2], created(&all[2]));
    let both = [created(&all[0]), created(&all[1])];
    assert!(
        got[0] != got[1] && both.contains(&got[0]) && both.contains(&got[1]),
        "{got:?}"
    );
}

#[test]
fn one_that_sent_less_is_told_from_those_that_sent_more() {
    let creates = Bundle::creates(&[
        json!({"a": "1"}),
        json!({"a": "1", "b": "2"}),
        json!({"a": "1", "b": "3"}),
    ]);
    let all = [
        with_usual(1, json!({"a": "1"})),
        with_usual(2, json!({"a": "1", "b": "2"})),
        with_usual(3, json!({"a": "1", "b": "3"})),
    ];
    let answer = complete([all[2].clone(), all[0].clone(), all[1].clone()]);
    let expected: Vec<_> = all.iter().map(created).collect();
    assert_eq!(creates.got(201, &answer), expected);
    // With one of them missing it is not certain any more whose the others are.
    let answer = complete(&all[1..]);
    assert_eq!(
        creates.got(201, &answer),
        [Got::Unknown, Got::Unknown, Got::Unknown]
    );
}

#[test]
fn values_that_the_server_writes_in_another_way_tell_nothing_and_the_others_do() {
    let creates = Bundle::creates(&[
        json!({"dealname": "one", "closedate": 1_700_000_000_000_u64, "amount": "10.00"}),
        json!({"dealname": "two", "closedate": 1_700_000_000_000_u64, "amount": "10.00"}),
        json!({"dealname": " three", "closedate": 1_700_000_000_000_u64}),
    ]);
    let date = "2023-11-14T22:13:20Z";
    let all = [
        with_usual(
            1,
            json!({"dealname": "one", "closedate": date, "amount": "10"}),
        ),
        with_usual(
            2,
            json!({"dealname": "two", "closedate": date, "amount": "10"}),
        ),
        with_usual(3, json!({"dealname": "three", "closedate": date})),
    ];
    let answer = complete([all[2].clone(), all[0].clone(), all[1].clone()]);
    let expected: Vec<_> = all.iter().map(created).collect();
    assert_eq!(creates.got(201, &answer), expected);
    // But not where one is missing, or two cannot be told apart.
    let got = creates.got(201, &complete(&all[..2]));
    assert_eq!(got, [Got::Unknown, Got::Unknown, Got::Unknown]);
    let alike = Bundle::creates(&[json!({"d": " x"}), json!({"d": "x "})]);
    let both = [
        with_usual(1, json!({"d": "x"})),
        with_usual(2, json!({"d": "x"})),
    ];
    assert_eq!(
        alike.got(201, &complete(&both)),
        [Got::Unknown, Got::Unknown]
    );
}

#[test]
fn another_email_is_never_taken_for_the_one_that_was_sent() {
    let creates = Bundle::creates(&[json!({"email": "a@b.org"}), json!({"email": "b@b.org"})]);
    let one = with_usual(1, json!({"email": "a@b.org"}));
    let other = with_usual(2, json!({"email": "x@b.org"}));
    let got = creates.got(201, &complete([other, one.clone()]));
    assert_eq!(got, [created(&one), Got::Unknown]);
}

#[test]
fn a_trace_id_on_a_result_is_a_match_and_is_not_shown() {
    let creates = Bundle::creates(&[json!({"a": "1"}), json!({"a": "1"})]);
    let (one, two) = (
        with_usual(1, json!({"a": "1"})),
        with_usual(2, json!({"a": "1"})),
    );
    let (mut traced_one, mut traced_two) = (one.clone(), two.clone());
    traced_one["objectWriteTraceId"] = "1".into();
    traced_two["objectWriteTraceId"] = "0".into();
    let got = creates.got(201, &complete([traced_one, traced_two]));
    assert_eq!(got, [created(&two), created(&one)]);
}

#[test]
fn a_create_of_which_nothing_is_told_is_unknown() {
    let creates = Bundle::creates(&[json!({"a": "1"}), json!({"a": "2"})]);
    let one = with_usual(1, json!({"a": "1"}));
    assert_eq!(
        creates.got(201, &complete([])),
        [Got::Unknown, Got::Unknown]
    );
    assert_eq!(
        creates.got(207, &complete([one.clone()])),
        [created(&one), Got::Unknown]
    );
    // With the others accounted for, an error without a name can only be its own.
    let unnamed = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "no"});
    let got = creates.got(207, &mixed([one.clone()], [unnamed.clone()]));
    assert_eq!(got[0], created(&one));
    assert!(matches!(got[1], Got::Answer(400, _)), "{got:?}");
    let got = creates.got(207, &mixed([], [unnamed]));
    assert_eq!(got, [Got::Unknown, Got::Unknown]);
}

#[test]
fn what_the_server_adds_to_one_does_not_make_another_ones_record_its_own() {
    // The first name of the first is written without the blank; two have the same stage, one of them because none was sent.
    let creates = Bundle::creates(&[
        json!({"firstname": "Ann ", "stage": "customer"}),
        json!({"firstname": "Ann"}),
        json!({"firstname": "Ann", "stage": "lead"}),
    ]);
    let customer = with_usual(1, json!({"firstname": "Ann", "stage": "customer"}));
    let leads = [2, 3].map(|id| with_usual(id, json!({"firstname": "Ann", "stage": "lead"})));
    let [two, three] = leads;
    let answer = complete([two, customer.clone(), three]);
    let expected = [created(&customer), Got::Unknown, Got::Unknown];
    assert_eq!(creates.got(201, &answer), expected);
}

#[test]
fn one_of_which_nothing_is_told_may_be_the_one_that_was_written_in_another_way() {
    let ann = with_usual(1, json!({"firstname": "Ann", "age": "7"}));
    let bob = with_usual(2, json!({"firstname": "Bob", "age": "8"}));
    let unnamed = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "no"});
    for other in [
        json!({"firstname": " ann", "age": 7}),
        json!({"firstname": "Ann", "age": "7.0"}),
        json!({"firstname": "Ann", "age": "seven"}),
        json!({"firstname": "Ann", "age": 7, "hidden": "x"}),
    ] {
        let creates = Bundle::creates(&[
            json!({"firstname": "Ann", "age": 7}),
            other.clone(),
            json!({"firstname": "Bob", "age": 8}),
        ]);
        let answer = mixed([bob.clone(), ann.clone()], [unnamed.clone()]);
        let expected = [Got::Unknown, Got::Unknown, created(&bob)];
        assert_eq!(creates.got(207, &answer), expected, "{other}");
    }
    let creates = Bundle::creates(&[
        json!({"firstname": "Ann", "age": 7}),
        json!({"firstname": "Ann", "age": 9}),
        json!({"firstname": "Bob", "age": 8}),
    ]);
    let got = creates.got(207, &mixed([bob.clone(), ann.clone()], [unnamed]));
    assert_eq!((&got[0], &got[2]), (&created(&ann), &created(&bob)));
    assert!(matches!(got[1], Got::Answer(400, _)), "{got:?}");
}

#[test]
fn only_of_contacts_the_case_of_emails_does_not_matter() {
    let create = |path, email| {
        let body = json!({"properties": {"email": email}}).to_string();
        ("POST", format!("/crm/v3/objects/{path}"), body)
    };
    let (upper, lower) = (
        with_usual(1, json!({"email": "A@b.org"})),
        with_usual(2, json!({"email": "a@b.org"})),
    );
    let answer = complete([lower.clone(), upper.clone()]);
    let cars = Bundle::new(&[create("cars", "A@b.org"), create("cars", "a@b.org")]);
    assert_eq!(cars.got(201, &answer), [created(&upper), created(&lower)]);
    let contacts = Bundle::new(&[create("0-1", "A@b.org"), create("0-1", "c@b.org")]);
    let other = with_usual(3, json!({"email": "c@b.org"}));
    let answer = complete([other.clone(), lower.clone()]);
    assert_eq!(
        contacts.got(201, &answer),
        [created(&lower), created(&other)]
    );
}

#[test]
fn who_sent_an_email_has_no_record_without_one() {
    let creates = Bundle::creates(&[
        json!({"email": "a@b.org", "firstname": "Ann"}),
        json!({"firstname": "Ann"}),
    ]);
    let ann = with_usual(1, json!({"firstname": "Ann"}));
    let conflict = json!({"status": "error", "category": "CONFLICT", "message": "no"});
    let got = creates.got(207, &mixed([ann.clone()], [conflict]));
    assert!(matches!(got[0], Got::Answer(409, _)), "{got:?}");
    assert_eq!(got[1], created(&ann));
}

#[test]
fn an_error_without_a_name_is_nobodys_when_more_is_open_than_one_create() {
    let creates = Bundle::creates(&[json!({"a": "1"}), json!({"a": "2"})]);
    let one = with_usual(1, json!({"a": "1"}));
    let unnamed = json!({"status": "error", "category": "VALIDATION_ERROR", "message": "no"});
    let stranger = with_usual(3, json!({"a": "3"}));
    let mut not_done = mixed([one.clone()], [unnamed.clone()]);
    not_done["status"] = "PROCESSING".into();
    for answer in [mixed([one.clone(), stranger], [unnamed]), not_done] {
        assert_eq!(
            creates.got(207, &answer),
            [created(&one), Got::Unknown],
            "{answer}"
        );
    }
}
