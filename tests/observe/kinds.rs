//! Every kind of event is one flat JSON object that reads back as what it was.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tower_quota::event::{Ending, EventKind, Level, QuotaEvent};
use tower_quota::plan::Lane;

use crate::common::{SECOND, ms};

/// One of each kind, with everything in it that may be in it.
fn one_of_each(length: Duration, number: u64) -> Vec<EventKind> {
    let (limit, class, route) = ("burst", "general", "GET /crm/v3/objects/contacts/{}");
    let small = number as u32;
    vec![
        EventKind::Request {
            class: class.into(),
            route: route.into(),
            lane: Lane::Interactive,
            attempt: small,
            waited: length,
            took: length,
            ending: Ending::Refused,
            status: Some(429),
            limit: Some(limit.into()),
            retry_after: Some(length),
            service_time: Some(length),
            daily_remaining: Some(number),
        },
        EventKind::RateLimited {
            limit: limit.into(),
            class: class.into(),
            route: route.into(),
            status: 429,
            attempt: small,
            retry_after: Some(length),
            daily_remaining: Some(number),
        },
        EventKind::Recovered {
            class: class.into(),
            route: route.into(),
            attempt: small,
            refusals: number,
            recovered_after: length,
        },
        EventKind::Paused {
            limit: limit.into(),
            class: class.into(),
            status: 429,
            lasts: length,
        },
        EventKind::Resumed {
            limit: limit.into(),
            after: length,
        },
        EventKind::DailyExhausted {
            limit: limit.into(),
            lasts: length,
        },
        EventKind::DailyResumed {
            limit: limit.into(),
            after: length,
        },
        EventKind::LimitLearned {
            limit: limit.into(),
            planned: small,
            learned: small,
        },
        EventKind::ForeignUse {
            limit: limit.into(),
            requests: Some(small),
        },
        EventKind::CreditHalved {
            limit: limit.into(),
            percent: 50,
        },
        EventKind::ConcurrencyChanged {
            from: small,
            to: small,
            reason: "overload".into(),
        },
        EventKind::Repeated {
            class: class.into(),
            status: Some(503),
            attempt: small,
            wait: length,
        },
        EventKind::Denied {
            limit: limit.into(),
            class: class.into(),
            reason: "too_long".into(),
            retry_after: length,
        },
        EventKind::WouldWait {
            limit: limit.into(),
            class: class.into(),
        },
        EventKind::ErrorShare {
            level: Level::Warn,
            requests: number,
            errors: number,
            rate_limited: number,
        },
        EventKind::TooHeavy {
            route: route.into(),
            status: Some(504),
            asked: number,
            goes_on: true,
            took: length,
        },
        EventKind::HeavyHint {
            route: route.into(),
            hint: "a \"sentence\"\nfor people".into(),
        },
        EventKind::Trimmed {
            route: route.into(),
            shape: "filters".into(),
            asked: number,
            worked: number,
            way: "pages".into(),
            pieces: small,
            too_heavy: small,
            dropped: number,
            took: length,
        },
        EventKind::TrimFailed {
            route: route.into(),
            shape: "filters".into(),
            asked: number,
            tried: number,
            way: "pages".into(),
            pieces: small,
            too_heavy: small,
            status: Some(504),
            took: length,
        },
        EventKind::Batched {
            route: route.into(),
            calls: number,
            requests: small,
            refused: small,
            took: length,
        },
        EventKind::BatchLimit {
            route: route.into(),
            most: number,
        },
        EventKind::StoreFailed {
            failures: number,
            error: "timed out".into(),
        },
        EventKind::StoreGone {
            policy: "fail".into(),
            error: "timed out".into(),
        },
        EventKind::StoreBack { after: length },
        EventKind::PauseShared {
            limit: limit.into(),
            lasts: length,
        },
        EventKind::Missed { events: number },
    ]
}

/// The same with nothing in it that may be unknown.
fn bare() -> Vec<EventKind> {
    let mut kinds = one_of_each(SECOND, 7);
    for kind in &mut kinds {
        match kind {
            EventKind::Request {
                status,
                limit,
                retry_after,
                service_time,
                daily_remaining,
                ..
            } => {
                (*status, *limit, *daily_remaining) = (None, None, None);
                (*retry_after, *service_time) = (None, None);
            }
            EventKind::RateLimited {
                retry_after,
                daily_remaining,
                ..
            } => (*retry_after, *daily_remaining) = (None, None),
            EventKind::ForeignUse { requests, .. } => *requests = None,
            EventKind::Repeated { status, .. }
            | EventKind::TooHeavy { status, .. }
            | EventKind::TrimFailed { status, .. } => *status = None,
            _ => {}
        }
    }
    kinds
}

/// An event as a log holds it.
fn written(kind: &EventKind, at: f64, keys: Option<(&str, &str)>) -> Value {
    let mut event = serde_json::to_value(kind).unwrap();
    event["at"] = json!(at);
    if let Some((token, account)) = keys {
        (event["token"], event["account"]) = (json!(token), json!(account));
    }
    event
}

const KEYS: (&str, &str) = (
    "00112233445566778899aabbccddeeff",
    "ffffffffffffffff0000000000000000",
);

fn reads_back(kind: &EventKind, at: f64, keys: Option<(&str, &str)>) -> QuotaEvent {
    let value = written(kind, at, keys);
    let event: QuotaEvent = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(event.kind, *kind);
    assert_eq!(event.token.is_some(), keys.is_some());
    // By way of text, too, and flat.
    let text = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_str::<QuotaEvent>(&text).unwrap(), event);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    assert!(!text.contains('\n'), "one line");
    let fields = value.as_object().unwrap();
    assert!(
        fields
            .values()
            .all(|field| !field.is_object() && !field.is_array())
    );
    assert_eq!(value["event"], kind.as_str());
    event
}

#[test]
fn every_kind_is_known_by_its_name() {
    let unknown = serde_json::from_str::<EventKind>(r#"{"event":"?"}"#).unwrap_err();
    let unknown = unknown.to_string();
    let known: Vec<_> = unknown.split('`').skip(1).step_by(2).skip(1).collect();
    let kinds = one_of_each(SECOND, 7);
    let names: Vec<_> = kinds.iter().map(EventKind::as_str).collect();
    assert_eq!(names, known, "one of each is here");
}

#[test]
fn what_is_unknown_is_left_out() {
    for kind in bare() {
        let event = reads_back(&kind, 1_763_806_831.123_456, None);
        let text = serde_json::to_string(&event).unwrap();
        let is_foreign = matches!(kind, EventKind::ForeignUse { .. });
        assert_eq!(text.contains("null"), is_foreign, "{text}");
    }
}

#[test]
fn a_moment_is_seconds_since_1970_and_a_duration_seconds() {
    let kind = EventKind::StoreBack { after: ms(1_500) };
    let event = reads_back(&kind, 1_763_806_831.123_456, Some(KEYS));
    let text = serde_json::to_string(&event).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "at": 1_763_806_831.123_456, "token": KEYS.0, "account": KEYS.1,
        "event": "store_back", "after": 1.5,
    });
    assert_eq!(value, expected);
}

#[test]
fn what_makes_no_sense_is_an_error() {
    for text in [
        r#"{"at":-1.0,"event":"missed","events":1}"#,
        r#"{"at":1e300,"event":"missed","events":1}"#,
        r#"{"at":"now","event":"missed","events":1}"#,
        r#"{"event":"missed","events":1}"#,
        r#"{"at":1.0,"event":"missed"}"#,
        r#"{"at":1.0,"event":"missed","events":-1}"#,
        r#"{"at":1.0,"events":1}"#,
        r#"{"at":1.0,"event":"unheard","events":1}"#,
        r#"{"at":1.0,"event":"store_back","after":-1.0}"#,
        r#"{"at":1.0,"event":"store_back","after":1e30}"#,
        r#"{"at":1.0,"event":"missed","events":1,"token":"00112233"}"#,
        r#"{"at":1.0,"event":"missed","events":1,"token":"+0112233445566778899aabbccddeeff"}"#,
        "[]",
        "",
    ] {
        assert!(serde_json::from_str::<QuotaEvent>(text).is_err(), "{text}");
    }
    // What a later version adds is passed over.
    let more = r#"{"at":1.0,"event":"missed","events":1,"more":[1]}"#;
    assert!(serde_json::from_str::<QuotaEvent>(more).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Durations to the nanosecond for a month, moments to the microsecond for two hundred years.
    #[test]
    fn all_figures_read_back(
        nanos in 0..2_600_000_000_000_000_u64,
        micros in 0..7_000_000_000_000_000_u64,
        number: u64,
    ) {
        for kind in one_of_each(Duration::from_nanos(nanos), number) {
            let at = Duration::from_micros(micros);
            let event = reads_back(&kind, at.as_secs_f64(), Some(KEYS));
            prop_assert_eq!(event.at, std::time::UNIX_EPOCH + at);
        }
    }
}
