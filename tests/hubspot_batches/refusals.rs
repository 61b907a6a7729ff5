//! Answers to a batch as a whole.

use serde_json::json;
use tower_quota::batch::Split;

use crate::bundle::Bundle;

fn bundles() -> [Bundle; 4] {
    [
        Bundle::reads(&["1", "2", "3"]),
        Bundle::updates(&[
            ("1", json!({"a": "x"})),
            ("2", json!({"a": "x"})),
            ("3", json!({"a": "x"})),
        ]),
        Bundle::creates(&[json!({"a": "1"}), json!({"a": "2"}), json!({"a": "3"})]),
        Bundle::new(&[
            ("DELETE", "/crm/v3/objects/contacts/1", ""),
            ("DELETE", "/crm/v3/objects/contacts/2", ""),
            ("DELETE", "/crm/v3/objects/contacts/3", ""),
        ]),
    ]
}

const LIMITED: &str = r#"{"status":"error","message":"You have reached your secondly limit.","correlationId":"de61843f-b3ab-4bc1-8c54-358e37eb0621","category":"RATE_LIMITS"}"#;

#[test]
fn what_is_about_all_alike_goes_to_all() {
    for bundle in bundles() {
        for status in [
            401, 403, 407, 408, 423, 429, 477, 500, 502, 503, 504, 520, 524, 530,
        ] {
            for body in ["", "<html>", LIMITED, "{\"results\":[]}"] {
                assert_eq!(bundle.split(status, body), Split::Whole, "{status} {body}");
            }
        }
    }
}

#[test]
fn an_endpoint_that_does_not_take_it_is_not_asked_again() {
    for bundle in bundles() {
        for status in [405, 415, 501] {
            assert_eq!(
                bundle.split(status, "<html>"),
                Split::Unsupported,
                "{status}"
            );
        }
        assert_eq!(bundle.split(404, "<html>"), Split::Unsupported);
    }
}

#[test]
fn a_cap_is_learnt_from_what_the_answer_says() {
    let ids: Vec<_> = (1..=100).map(|id| id.to_string()).collect();
    let reads = Bundle::reads(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let say = |message: &str| {
        json!({"status": "error", "message": message, "category": "VALIDATION_ERROR"}).to_string()
    };
    for (message, expected) in [
        (
            "The maximum number of inputs supported in a batch is 10. Please reduce the number of items and try again",
            Some(10),
        ),
        (
            "The maximum number of inputs supported in a batch request for property histories is 50",
            Some(50),
        ),
        ("Maximum number of inputs: 1", Some(1)),
        // A cap that the batch kept to, or that nothing can keep to.
        (
            "The maximum number of inputs supported in a batch is 100. Please reduce the number of items and try again",
            None,
        ),
        (
            "The maximum number of inputs supported in a batch is 1,000.",
            None,
        ),
        (
            "The maximum number of inputs supported in a batch is 0",
            None,
        ),
        (
            "The maximum number of inputs supported in a batch is 99999999999999999999999",
            None,
        ),
        ("The maximum number of inputs is lower", None),
    ] {
        assert_eq!(
            reads.split(400, say(message)),
            Split::TooMany(expected),
            "{message}"
        );
    }
}

#[test]
fn a_refusal_is_for_those_that_it_names() {
    let [reads, updates, creates, archives] = bundles();
    let duplicate = r#"{"status":"error","message":"Duplicate IDs found in batch input: [2]. IDs must be unique","correlationId":"d24ec5cd-8998-4674-a928-59603ae6b0eb","context":{"ids":["2"]},"category":"VALIDATION_ERROR"}"#;
    for bundle in [&reads, &updates, &archives] {
        assert_eq!(bundle.suspects(400, duplicate), [1]);
        assert_eq!(
            bundle.suspects(400, &duplicate.replace(r#""context":{"ids":["2"]},"#, "")),
            [1]
        );
        assert_eq!(
            bundle.suspects(422, &duplicate.replace("[\"2\"]", "[3,\"1\",\"9\",\"1\"]")),
            [0, 2]
        );
    }
    let traced = r#"{"status":"error","category":"CONFLICT","message":"Contact already exists.","context":{"objectWriteTraceId":["2"]}}"#;
    assert_eq!(updates.suspects(409, traced), [2]);
    assert_eq!(creates.suspects(409, traced), [2]);
    let inside = r#"{"status":"error","category":"VALIDATION_ERROR","message":"no","errors":[{"message":"x","context":{"objectWriteTraceId":["1"]}}]}"#;
    assert_eq!(creates.suspects(400, inside), [1]);
}

#[test]
fn a_refusal_that_names_nobody_may_be_for_any() {
    let documented = r#"{"status":"error","message":"This will be a human readable message with details about the error.","errors":[{"message":"discount was not a valid number","code":"INVALID_INTEGER","context":{"propertyName":["discount"]}}],"category":"VALIDATION_ERROR","correlationId":"a43683b0-5717-4ceb-80b4-104d02915d8c"}"#;
    let property = r#"{"status":"error","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"testproperty\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"testproperty\",\"portalId\":1}]","category":"VALIDATION_ERROR"}"#;
    let foreign = r#"{"status":"error","message":"no","context":{"ids":["99"],"objectWriteTraceId":["x","3","-1","01"]},"category":"VALIDATION_ERROR"}"#;
    for bundle in bundles() {
        for status in [400, 402, 409, 410, 413, 414, 418, 422, 451, 499] {
            for body in [documented, property, foreign, "<html>", "", "[]"] {
                assert_eq!(bundle.suspects(status, body), [0; 0], "{status} {body}");
            }
        }
    }
}

#[test]
fn what_cannot_be_understood_is_not_believed() {
    let [reads, updates, creates, _] = bundles();
    for bundle in [reads, updates, creates] {
        for body in [
            "",
            "<html>",
            "{}",
            "null",
            r#"{"status":"error","message":"no"}"#,
            r#"{"results":{}}"#,
            r#"{"results":[],"results":[]}"#,
            r#"{"results":[],"errors":{}}"#,
            r#"{"results":[],"status":"COMPLETE","status":"PENDING"}"#,
            r#"{"results":[],"status":"error"}"#,
        ] {
            for status in [200, 201, 202, 207] {
                assert!(
                    matches!(bundle.split(status, body), Split::Unfit(_)),
                    "{body}"
                );
            }
        }
        for status in [204, 302, 304, 600] {
            assert!(
                matches!(bundle.split(status, ""), Split::Unfit(_)),
                "{status}"
            );
        }
    }
}
