//! Every error body that HubSpot was seen to send, and what it means for whom.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tower_quota::hubspot::{
    ASSOCIATIONS, BURST, DAILY, DAILY_ONLY, EXEMPT, HubspotSignals, OAUTH, SEARCH,
};
use tower_quota::plan::RouteClass;
use tower_quota::signal::{Outcome, Refusal, ResponseHead, SignalReader, Signals};

use RouteClass::{Associations, General, Search};

const A1_DAILY: &str = r#"{"status":"error","message":"You have reached your daily limit.","errorType":"RATE_LIMIT","correlationId":"c033cdaa-2c40-4a64-ae48-b4cec88dad24","policyName":"DAILY","requestId":"3d3e35b7-0dae-4b9f-a6e3-9c230cbcf8dd"}"#;
const A2_API_KEY: &str = r#"{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","correlationId":"c93e06a4-7d61-4c3e-b63f-edf486fc6e90","policyName":"TEN_SECONDLY_ROLLING","groupName":"publicapi:hapikey-api-calls-ten-secondly:6748263"}"#;
const A3_PRIVATE_APP: &str = r#"{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","correlationId":"20f98dfa-05b6-4d27-8d96-ecfde54ca211","policyName":"TEN_SECONDLY_ROLLING","groupName":"publicapi:private_app-api-calls-ten-secondly:1512050:26892217"}"#;
const A4_NO_GROUP: &str = r#"{"status":"error","message":"You have reached your ten_secondly_rolling limit.","errorType":"RATE_LIMIT","correlationId":"64f5906e-d941-43a8-88fe-367aa32bf1a7","policyName":"TEN_SECONDLY_ROLLING"}"#;
const A5_SECONDLY: &str = r#"{"status":"error","message":"You have reached your secondly limit.","errorType":"RATE_LIMIT","correlationId":"aedc0d29-ba1e-48e3-9fa0-9975c9131a7a","groupName":"publicapi:hapikey-secondly:2431623","policyName":"SECONDLY","requestId":"632b866a6fc6454f32d5423a1166e92a"}"#;
const B1_SEARCH: &str = r#"{"status":"error","message":"You have reached your secondly limit.","correlationId":"de61843f-b3ab-4bc1-8c54-358e37eb0621","category":"RATE_LIMITS"}"#;
const EDGE_1015: &str = "error code: 1015";
const C9_HTML: &str = "<html>\n<head><title>524 Origin Time-out</title></head>\n<body bgcolor=\"white\">\n<center><h1>524 Origin Time-out</h1></c";

const C1_GENERIC: &str = r#"{"status":"error","message":"This will be a human readable message with details about the error.","errors":[{"message":"discount was not a valid number","code":"INVALID_INTEGER","context":{"propertyName":["discount"]}}],"category":"VALIDATION_ERROR","correlationId":"a43683b0-5717-4ceb-80b4-104d02915d8c"}"#;
const C2_PROPERTY: &str = r#"{"status":"error","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"testproperty\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"testproperty\",\"localizedErrorMessage\":\"Property \\\"testproperty\\\" does not exist\",\"portalId\":{HubId}}]","correlationId":"8a3f6c3a-8296-4002-b0a6-2a06fecf7c0c","errors":[{"message":"Property \"testproperty\" does not exist","code":"PROPERTY_DOESNT_EXIST","context":{"propertyName":["testproperty"]}}],"category":"VALIDATION_ERROR"}"#;
const C3_SCOPES: &str = r#"{"status":"error","message":"This app hasn't been granted all required scopes to make this call. Read more about required scopes here: https://developers.hubspot.com/scopes.","correlationId":"dc49c0a8-9952-4937-aad4-e322b1e5cee0","errors":[{"message":"One or more of the following scopes are required.","context":{"requiredGranularScopes":["crm.schemas.deals.read","crm.objects.deals.sensitive.read.v2","crm.objects.deals.read","crm.objects.deals.highly_sensitive.read.v2"]}}],"links":{"scopes":"https://developers.hubspot.com/scopes"},"category":"MISSING_SCOPES"}"#;
const C4_TOO_MANY: &str = r#"{"status":"error","message":"The maximum number of inputs supported in a batch is 100. Please reduce the number of items and try again","correlationId":"3784ea30-07ce-4866-98e8-bf691d18899e","category":"VALIDATION_ERROR"}"#;
const C5_DUPLICATES: &str = r#"{"status":"error","message":"Duplicate IDs found in batch input: [12877907025]. IDs must be unique","correlationId":"d24ec5cd-8998-4674-a928-59603ae6b0eb","context":{"ids":["12877907025"]},"category":"VALIDATION_ERROR"}"#;
const C6_MISSING: &str = r#"{"status":"COMPLETE","results":[],"numErrors":1,"errors":[{"status":"error","category":"OBJECT_NOT_FOUND","message":"Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid.","context":{"ids":["meows@loudly.lol"]}}],"startedAt":"2024-04-24T19:21:09.694Z","completedAt":"2024-04-24T19:21:09.747Z"}"#;
const C7_TRACE_IDS: &str = r#"{"status":"COMPLETE","results":[{"id":"1145814089","properties":{"createdate":"2024-08-15T17:09:13.648Z","hs_helpdesk_sort_timestamp":"2024-08-15T17:09:13.648Z","hs_last_message_from_visitor":"false","hs_lastmodifieddate":"2024-08-15T17:09:13.648Z","hs_object_id":"1145814089","hs_object_source":"API","hs_object_source_label":"INTERNAL_PROCESSING","hs_pipeline":"0","hs_pipeline_stage":"1","hs_ticket_id":"1145814089"},"createdAt":"2024-08-15T17:09:13.648Z","updatedAt":"2024-08-15T17:09:13.648Z","archived":false}],"numErrors":1,"errors":[{"status":"error","category":"VALIDATION_ERROR","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"missing\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"missing\",\"localizedErrorMessage\":\"Property \\\"missing\\\" does not exist\",\"portalId\":891936587}]","context":{"objectWriteTraceId":["549b1c2a9351"]}}],"startedAt":"2024-08-15T17:09:13.610Z","completedAt":"2024-08-15T17:09:13.910Z"}"#;
const C8_CONFLICT: &str = r#"{"status":"error","category":"CONFLICT","message":"Contact already exists. Existing ID: 171591000198","context":{"objectWriteTraceId":["0"],"existingId":["171591000198"]}}"#;

fn read(status: u16, class: RouteClass, headers: &[(&str, &str)], body: &[u8]) -> Signals {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    let head = ResponseHead {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &map,
    };
    HubspotSignals.read(&head, class, body)
}

fn refusal(status: u16, class: RouteClass, body: impl AsRef<[u8]>) -> Refusal {
    match read(status, class, &[], body.as_ref()).outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn limit(name: &'static str) -> Refusal {
    Refusal::Limit(Cow::Borrowed(name))
}

#[test]
fn a_refusal_names_the_limit() {
    let table = [
        (A1_DAILY, General, limit(DAILY)),
        (A1_DAILY, Search, limit(DAILY)),
        (A1_DAILY, DAILY_ONLY, limit(DAILY)),
        (A2_API_KEY, General, limit(BURST)),
        (A3_PRIVATE_APP, General, limit(BURST)),
        (A3_PRIVATE_APP, Associations, limit(ASSOCIATIONS)),
        (A4_NO_GROUP, General, limit(BURST)),
        (A5_SECONDLY, Search, limit(SEARCH)),
        (A5_SECONDLY, General, limit(SEARCH)),
        (B1_SEARCH, Search, limit(SEARCH)),
        // A search by a route that was not recognized: the message tells.
        (B1_SEARCH, General, limit(SEARCH)),
        // The token endpoint is limited per second too, and is no search.
        (B1_SEARCH, OAUTH, Refusal::Token),
    ];
    for (body, class, expected) in table {
        assert_eq!(refusal(429, class, body), expected, "{class}: {body}");
    }
}

#[test]
fn what_does_not_tell_is_decided_by_the_route() {
    let unknown_policy = r#"{"status":"error","message":"No.","policyName":"HOURLY"}"#;
    let other_policy_same_words = B1_SEARCH.replace("\"category\"", "\"policyName\"");
    let token_endpoint = r#"{"message":"You have reached your rate limit."}"#;
    let truncated = &A1_DAILY[..A1_DAILY.len() - 1];
    let followed = format!("{A1_DAILY}x");
    let long = format!(
        "{}{}",
        &A1_DAILY[..A1_DAILY.len() - 1],
        " ".repeat(64 * 1024)
    );
    let array = format!("[{A1_DAILY}]");
    let bodies = [
        "",
        " ",
        "null",
        "{}",
        "[]",
        "\"DAILY\"",
        "429",
        "{",
        "\u{feff}{}",
        unknown_policy,
        token_endpoint,
        truncated,
        &followed,
        &long,
        &array,
        EDGE_1015,
        C9_HTML,
        C1_GENERIC,
        C2_PROPERTY,
        C3_SCOPES,
        C4_TOO_MANY,
        C5_DUPLICATES,
        C6_MISSING,
        C7_TRACE_IDS,
        C8_CONFLICT,
    ];
    for body in bodies {
        assert_eq!(refusal(429, General, body), Refusal::Token, "{body}");
        assert_eq!(refusal(429, Search, body), limit(SEARCH), "{body}");
        assert_eq!(
            refusal(429, Associations, body),
            limit(ASSOCIATIONS),
            "{body}"
        );
        for class in [OAUTH, EXEMPT, DAILY_ONLY, RouteClass::Named("mine")] {
            assert_eq!(refusal(429, class, body), Refusal::Token, "{class}: {body}");
        }
    }
    assert_eq!(
        refusal(429, General, other_policy_same_words),
        limit(SEARCH)
    );
    let per_second = r#"{"message":"Slower.","policyName":"SECONDLY"}"#;
    assert_eq!(refusal(429, Search, per_second), limit(SEARCH));
    assert_eq!(refusal(429, General, per_second), Refusal::Token);
    assert_eq!(refusal(429, Associations, per_second), Refusal::Token);
}

#[test]
fn every_field_is_optional_and_one_bad_field_spoils_no_other() {
    let table = [
        (r#"{"policyName":"DAILY"}"#, DAILY),
        (r#"{"message":"You have reached your daily limit."}"#, DAILY),
        (
            r#"{"message":"You have reached your ten_secondly_rolling limit."}"#,
            BURST,
        ),
        (
            r#"{"message":"You have reached your secondly limit."}"#,
            SEARCH,
        ),
        // Wrong types beside it, and in its own place.
        (
            r#"{"message":[1,{"a":[]}],"policyName":"DAILY","category":7}"#,
            DAILY,
        ),
        (
            r#"{"policyName":7.5,"message":"You have reached your daily limit."}"#,
            DAILY,
        ),
        (
            r#"{"policyName":null,"message":"You have reached your daily limit."}"#,
            DAILY,
        ),
        (
            r#"{"policyName":{"a":{"b":[null,true]}},"message":"You have reached your daily limit."}"#,
            DAILY,
        ),
        // Doubled: the last one counts.
        (r#"{"policyName":"SECONDLY","policyName":"DAILY"}"#, DAILY),
        (
            r#"{"policyName":"DAILY","message":"a","message":"b"}"#,
            DAILY,
        ),
        // Escapes, white space, other fields of any shape.
        (r#"{"policy\u004eame":"DA\u0049LY"}"#, DAILY),
        (
            " { \"x\" : [[[{\"policyName\":\"SECONDLY\"}]]] ,\n\"policyName\" : \" DAILY \" } \n",
            DAILY,
        ),
    ];
    for (body, expected) in table {
        assert_eq!(refusal(429, General, body), limit(expected), "{body}");
    }
    // A body that is no text in places.
    let mut bytes = br#"{"x":"#.to_vec();
    bytes.extend(b"\"\xff\xfe\",\"policyName\":\"DAILY\"}");
    assert_eq!(refusal(429, General, bytes), limit(DAILY));
    assert_eq!(refusal(429, General, b"\xff\xfe\x00\x01"), Refusal::Token);
    // Deep enough to end a recursive reader.
    let deep = format!(
        r#"{{"x":{}{},"policyName":"DAILY"}}"#,
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    assert_eq!(refusal(429, General, deep), limit(DAILY));
    let deep = format!(r#"{{"message":{}"#, "[".repeat(60_000));
    assert_eq!(refusal(429, General, deep), Refusal::Token);
}

#[test]
fn a_daily_refusal_believes_no_retry_after() {
    let retry = [("retry-after", "5")];
    assert_eq!(
        read(429, General, &retry, A1_DAILY.as_bytes()).retry_after,
        None
    );
    let five = Some(Duration::from_secs(5));
    assert_eq!(
        read(429, General, &retry, A3_PRIVATE_APP.as_bytes()).retry_after,
        five
    );
    assert_eq!(
        read(429, Search, &retry, B1_SEARCH.as_bytes()).retry_after,
        five
    );
    assert_eq!(read(429, Search, &retry, b"").retry_after, five);
}

#[test]
fn without_a_word_an_empty_daily_pool_explains_a_429() {
    let outcome = |class, left, body: &str| {
        let headers = [
            ("x-hubspot-ratelimit-daily-remaining", left),
            ("retry-after", "5"),
        ];
        let signals = read(429, class, &headers, body.as_bytes());
        (signals.outcome, signals.retry_after)
    };
    let five = Some(Duration::from_secs(5));
    for class in [General, Search, Associations] {
        for body in ["", EDGE_1015, "{}"] {
            assert_eq!(
                outcome(class, "0", body),
                (Outcome::Refused(limit(DAILY)), None)
            );
        }
    }
    // What the body names comes first, and a broken figure is not zero.
    let search = Outcome::Refused(limit(SEARCH));
    assert_eq!(outcome(Search, "0", B1_SEARCH), (search.clone(), five));
    for left in ["1", "-1", "0.0", "", "0,0", "zero"] {
        assert_eq!(outcome(Search, left, ""), (search.clone(), five), "{left}");
    }
}

#[test]
fn a_500_with_a_searchs_message_is_a_cheap_429() {
    assert_eq!(refusal(500, Search, B1_SEARCH), limit(SEARCH));
    // Of another request it is not certain that nothing was done: a create must not be repeated.
    let signals = read(500, General, &[], B1_SEARCH.as_bytes());
    assert_eq!(signals.outcome, Outcome::Failed);
    for body in ["", C9_HTML, C1_GENERIC, A1_DAILY] {
        let signals = read(500, Search, &[], body.as_bytes());
        assert_eq!(signals.outcome, Outcome::Failed, "{body}");
    }
    for status in [502, 503, 504, 524] {
        let signals = read(status, Search, &[], B1_SEARCH.as_bytes());
        assert_eq!(signals.outcome, Outcome::Failed, "{status}");
    }
}

#[test]
fn errors_that_are_no_refusals_stay_answers() {
    let bodies = [
        (400, C1_GENERIC),
        (400, C2_PROPERTY),
        (403, C3_SCOPES),
        (400, C4_TOO_MANY),
        (400, C5_DUPLICATES),
        (207, C6_MISSING),
        (207, C7_TRACE_IDS),
        (409, C8_CONFLICT),
        (401, ""),
        (404, ""),
        (414, ""),
        (522, C9_HTML),
        (525, ""),
        (526, ""),
        (530, EDGE_1015),
        // The text of a refusal under another status refuses nothing.
        (200, A1_DAILY),
        (400, B1_SEARCH),
    ];
    for (status, body) in bodies {
        let signals = read(status, General, &[], body.as_bytes());
        assert_eq!(signals, Signals::new(Outcome::Answered), "{status}");
    }
    assert_eq!(
        read(524, General, &[], C9_HTML.as_bytes()).outcome,
        Outcome::Failed
    );
}

#[test]
fn locks_and_moves_have_waits_of_their_own() {
    let of = |status, retry: &[(&str, &str)]| {
        let signals = read(status, General, retry, b"");
        (
            signals.outcome,
            signals.retry_after.map(|wait| wait.as_secs()),
        )
    };
    let locked = Outcome::Refused(Refusal::Request);
    assert_eq!(of(423, &[]), (locked.clone(), Some(2)));
    assert_eq!(of(423, &[("retry-after", "1")]), (locked.clone(), Some(2)));
    assert_eq!(of(423, &[("retry-after", "9")]), (locked, Some(9)));
    let moving = Outcome::Refused(Refusal::Account);
    assert_eq!(of(477, &[]), (moving.clone(), Some(300)));
    assert_eq!(
        of(477, &[("retry-after", "86400")]),
        (moving.clone(), Some(86_400))
    );
    assert_eq!(of(477, &[("retry-after", "-1")]), (moving, Some(300)));
}

#[test]
fn a_cached_response_is_believed_in_nothing_but_its_status() {
    let headers = [
        ("age", "30"),
        ("retry-after", "5"),
        ("x-hubspot-ratelimit-max", "100"),
        ("x-hubspot-ratelimit-remaining", "7"),
        ("x-hubspot-ratelimit-daily-remaining", "0"),
    ];
    let signals = read(429, General, &headers, A1_DAILY.as_bytes());
    assert_eq!(signals, Signals::new(Outcome::Refused(Refusal::Token)));
    let signals = read(200, General, &headers, b"");
    assert_eq!(signals, Signals::new(Outcome::Answered));
}

#[test]
fn only_bodies_that_can_tell_are_asked_for() {
    let headers = HeaderMap::new();
    for status in 100..=999 {
        let head = ResponseHead {
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
        };
        assert_eq!(
            HubspotSignals.wants_body(&head),
            matches!(status, 429 | 500),
            "{status}"
        );
    }
}
