//! Headers are evidence, not truth: what is hostile, odd or broken is unknown; it never panics and never means "nothing left".

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;
use tower_quota::hubspot::{ASSOCIATIONS, BURST, DAILY, DAILY_ONLY, HubspotSignals, SEARCH};
use tower_quota::plan::RouteClass;
use tower_quota::signal::{
    Observed, Outcome, Refusal, ResponseHead, SignalReader, Signals, StandardSignals,
};

use RouteClass::{Associations, General, Search};

const MAX: &str = "x-hubspot-ratelimit-max";
const REMAINING: &str = "x-hubspot-ratelimit-remaining";
const INTERVAL: &str = "x-hubspot-ratelimit-interval-milliseconds";
const PER_DAY: &str = "x-hubspot-ratelimit-daily";
const LEFT_TODAY: &str = "x-hubspot-ratelimit-daily-remaining";
const SERVICE: [&str; 4] = [
    "x-envoy-upstream-service-time",
    "server-timing",
    "x-runtime",
    "openai-processing-ms",
];

fn map(headers: &[(&str, &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    map
}

fn read(class: RouteClass, headers: &[(&str, &[u8])]) -> Signals {
    let headers = map(headers);
    let head = ResponseHead {
        status: StatusCode::OK,
        headers: &headers,
    };
    HubspotSignals.read(&head, class, b"")
}

fn observed(limit: &'static str, quota: Option<u64>, remaining: Option<u64>) -> Observed {
    let mut observed = Observed::new(limit);
    observed.quota = quota;
    observed.remaining = remaining;
    observed
}

fn service(headers: &[(&str, &str)]) -> Option<Duration> {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    read(General, &headers).service_time
}

const fn micros(micros: u64) -> Option<Duration> {
    Some(Duration::from_micros(micros))
}

#[test]
fn recorded_headers_are_read_for_the_limits_that_they_describe() {
    let headers: [(&str, &[u8]); 7] = [
        ("X-HubSpot-RateLimit-Daily", b"1000000"),
        ("X-HubSpot-RateLimit-Daily-Remaining", b"919952"),
        ("X-HubSpot-RateLimit-Interval-Milliseconds", b"10000"),
        ("X-HubSpot-RateLimit-Max", b"200"),
        ("X-HubSpot-RateLimit-Remaining", b"198"),
        ("X-HubSpot-RateLimit-Secondly", b"20"),
        ("X-HubSpot-RateLimit-Secondly-Remaining", b"19"),
    ];
    let mut burst = observed(BURST, Some(200), Some(198));
    burst.window = Some(Duration::from_secs(10));
    let daily = observed(DAILY, Some(1_000_000), Some(919_952));
    assert_eq!(read(General, &headers).observed, [burst, daily.clone()]);
    // Other limiters govern other classes, and no header says how much is left of them.
    for class in [Search, Associations, DAILY_ONLY] {
        assert_eq!(
            read(class, &headers).observed,
            std::slice::from_ref(&daily),
            "{class}"
        );
    }
    // OAuth apps get no daily figures; a search answers with nothing at all.
    let oauth = read(General, &headers[2..]).observed;
    assert_eq!(oauth.len(), 1);
    assert_eq!(oauth[0].limit, BURST);
    assert_eq!(read(Search, &[]).observed, []);
    assert_eq!(read(General, &headers[5..]).observed, []);
}

#[test]
fn odd_counters_are_unknown() {
    let rows: [&[u8]; 34] = [
        b"",
        b" ",
        b"-1",
        b"-0",
        b"+5",
        b"5,000",
        b"0,0",
        b"598.0",
        b"0.0",
        b"2.0",
        b"NaN",
        b"nan",
        b"inf",
        b"1e308",
        b"0e0",
        b"0x0",
        b"00h",
        b"20:1,100",
        b"0;w=1",
        b"100, 100",
        b"0, 0",
        b"\"0\"",
        b"23h59m45s",
        b"6m0s",
        b"20ms",
        b"2026-04-21T14:38:25Z",
        b"Tue, 21 Apr 2026 14:38:02 GMT",
        b"1234567890123456",
        b"18446744073709551616",
        b"0000000000000000",
        b"\xff0",
        b"\xc2\xa00",
        b"0\t0",
        b"null",
    ];
    for row in rows {
        for class in [General, Search, Associations] {
            let row = [
                (MAX, row),
                (REMAINING, row),
                (INTERVAL, row),
                (PER_DAY, row),
                (LEFT_TODAY, row),
            ];
            assert_eq!(
                read(class, &row).observed,
                [],
                "{:?}",
                row[0].1.escape_ascii().to_string()
            );
        }
    }
    for digit in [b'0', b'1', b' '] {
        assert_eq!(read(General, &[(REMAINING, &[digit; 10_000])]).observed, []);
    }
}

#[test]
fn plain_counters_are_read() {
    let remaining = |value: &[u8]| read(General, &[(REMAINING, value)]).observed;
    assert_eq!(remaining(b"0"), [observed(BURST, None, Some(0))]);
    assert_eq!(remaining(b" 42\t"), [observed(BURST, None, Some(42))]);
    assert_eq!(remaining(b"0042"), [observed(BURST, None, Some(42))]);
    assert_eq!(
        remaining(b"999999999999999"),
        [observed(BURST, None, Some(999_999_999_999_999))]
    );
}

#[test]
fn figures_that_contradict_each_other_are_unknown() {
    // Fields that agree are one field; fields that do not are none.
    let twice = |a, b| read(General, &[(REMAINING, a), (REMAINING, b)]).observed;
    assert_eq!(twice(b"7", b"7"), [observed(BURST, None, Some(7))]);
    assert_eq!(twice(b"7", b"0"), []);
    assert_eq!(twice(b"0", b"x"), []);
    assert_eq!(twice(b"x", b"0"), []);
    // More left than there is, a limit of nothing, a window of nothing or of years.
    let more = read(General, &[(MAX, b"100"), (REMAINING, b"101")]).observed;
    assert_eq!(more, [observed(BURST, Some(100), None)]);
    let nothing = read(General, &[(MAX, b"0"), (REMAINING, b"0"), (INTERVAL, b"0")]).observed;
    assert_eq!(nothing, [observed(BURST, None, Some(0))]);
    assert_eq!(read(General, &[(INTERVAL, b"31622400001")]).observed, []);
}

#[test]
fn service_time_in_every_unit() {
    assert_eq!(service(&[]), None);
    let table = [
        ("x-envoy-upstream-service-time", "60", micros(60_000)),
        ("x-envoy-upstream-service-time", "0", micros(0)),
        (
            "x-envoy-upstream-service-time",
            "3600000",
            micros(3_600_000_000),
        ),
        ("x-envoy-upstream-service-time", "3600001", None),
        ("openai-processing-ms", "443", micros(443_000)),
        ("x-runtime", "0.034", micros(34_000)),
        (
            "x-runtime",
            "0.0343219",
            Some(Duration::from_nanos(34_321_900)),
        ),
        ("x-runtime", "0.00000000059", Some(Duration::ZERO)),
        ("x-runtime", "3600.1", None),
        ("server-timing", "total;dur=53.2", micros(53_200)),
        (
            "server-timing",
            "miss, db;dur=53, app;dur=47.2",
            micros(53_000),
        ),
        (
            "server-timing",
            "app ; DUR = \"47.2\" ; desc=\"a, b;dur=9999\"",
            micros(47_200),
        ),
        (
            "server-timing",
            "a;desc=\"x\\\",y;dur=7\";dur=3",
            micros(3_000),
        ),
        ("server-timing", "cache;desc=\"hit\"", None),
        ("server-timing", "", None),
        // What a proxy measured includes the way to the machine that counts.
        (
            "server-timing",
            "processing;dur=57, cfRequestDuration;dur=151.9",
            micros(57_000),
        ),
        (
            "server-timing",
            "cdn-cache;dur=9, edge;dur=5, origin;dur=120",
            None,
        ),
        ("server-timing", "cfL4;desc=\"?proto=TCP&rtt=2\"", None),
    ];
    for (name, value, expected) in table {
        assert_eq!(service(&[(name, value)]), expected, "{name}: {value}");
    }
    // Several lines are one list.
    let lines = [
        ("server-timing", "db;dur=5"),
        ("server-timing", "app;dur=9"),
    ];
    assert_eq!(service(&lines), micros(9_000));
    // Of several headers the smallest, because a credit that is too large costs a refusal.
    let both = [
        ("x-runtime", "0.2"),
        ("x-envoy-upstream-service-time", "150"),
    ];
    assert_eq!(service(&both), micros(150_000));
    let one_broken = [
        ("x-runtime", "fast"),
        ("x-envoy-upstream-service-time", "150"),
    ];
    assert_eq!(service(&one_broken), micros(150_000));
    let disagreeing = [("x-runtime", "0.2"), ("x-runtime", "0.1")];
    assert_eq!(service(&disagreeing), None);
}

#[test]
fn odd_service_times_are_unknown() {
    let rows = [
        "-1",
        "-0.5",
        "+1",
        "NaN",
        "inf",
        "1e308",
        "1e1",
        "0x10",
        "5,000",
        "1.2.3",
        "5ms",
        ".5",
        "5.",
        "99999999999999999999",
        "18446744073709551615",
        "\"\"",
        "\"5",
        "5\"",
    ];
    for row in rows {
        for name in SERVICE {
            assert_eq!(service(&[(name, row)]), None, "{name}: {row}");
        }
        let metric = format!("app;dur={row}");
        // In a list a comma only begins the next metric.
        if row != "5,000" {
            assert_eq!(service(&[("server-timing", &metric)]), None, "{metric}");
            // One broken figure makes the whole field doubtful.
            let beside = format!("db;dur=5, {metric}");
            assert_eq!(service(&[("server-timing", &beside)]), None, "{beside}");
        }
    }
    for name in SERVICE {
        assert_eq!(service(&[(name, &"1".repeat(10_000))]), None, "{name}");
        assert_eq!(
            read(General, &[(name, b"app;dur=5\xff")]).service_time,
            None,
            "{name}"
        );
    }
    let long = format!("{}app;dur=5", "a,".repeat(5_000));
    assert_eq!(service(&[("server-timing", &long)]), None);
}

/// Bytes that are allowed in a header value, and often look like something.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let any = vec(
        prop_oneof![Just(b'\t'), 0x20_u8..0x7f, 0x80_u8..=0xff],
        0..40,
    );
    prop_oneof![
        any,
        "[-+ ]?[0-9]{0,20}[.,eE]?[0-9]{0,12}".prop_map(String::into_bytes),
        "[a-zA-Z]{3}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,4} [0-9:]{0,8}( GMT)?"
            .prop_map(String::into_bytes),
        "([a-z]{1,4}(;(dur|desc)=\"?[0-9.,\\\\]{0,6}\"?){0,2},? ?){0,4}"
            .prop_map(String::into_bytes),
    ]
}

fn header() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let names = [
        MAX,
        REMAINING,
        INTERVAL,
        PER_DAY,
        LEFT_TODAY,
        SERVICE[0],
        SERVICE[1],
        SERVICE[2],
        SERVICE[3],
        "retry-after",
        "date",
        "age",
    ];
    (proptest::sample::select(names.to_vec()), value())
}

/// Bytes, text, and pieces of JSON that nearly are an error body.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u00",
        "null",
        "-1",
        "1e999",
        " ",
        "\"policyName\"",
        "\"message\"",
        "\"DAILY\"",
        "\"TEN_SECONDLY_ROLLING\"",
        "\"You have reached your secondly limit.\"",
        "{\"policyName\":",
        "error code: 1015",
    ]);
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes()),
    ]
}

fn class() -> impl Strategy<Value = RouteClass> {
    proptest::sample::select(vec![General, Search, Associations, DAILY_ONLY])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_response_panics_and_no_garbage_means_nothing_left(
        status in 100_u16..1000,
        headers in vec(header(), 0..12),
        class in class(),
        body in body(),
    ) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &value[..])).collect();
        let map = map(&headers);
        let head = ResponseHead { status: StatusCode::from_u16(status).unwrap(), headers: &map };
        let day = Duration::from_secs(86_400);

        let standard = StandardSignals.read(&head, class, &body);
        let hubspot = HubspotSignals.read(&head, class, &body);
        for signals in [&standard, &hubspot] {
            prop_assert!(signals.retry_after.is_none_or(|wait| wait <= 366 * day + day / 86_400));
            prop_assert!(signals.service_time.is_none_or(|time| time <= day / 24));
        }
        prop_assert_eq!(standard.observed, vec![]);
        prop_assert_eq!(standard.service_time, hubspot.service_time);

        for observed in &hubspot.observed {
            let name = if observed.limit == BURST { REMAINING } else { LEFT_TODAY };
            prop_assert!(observed.limit == DAILY || class == General);
            if observed.remaining == Some(0) {
                for value in map.get_all(name) {
                    let text = value.as_bytes().trim_ascii();
                    prop_assert!(!text.is_empty() && text.iter().all(|byte| *byte == b'0'));
                }
            }
        }
        if let Outcome::Refused(Refusal::Limit(limit)) = &hubspot.outcome {
            prop_assert!([BURST, SEARCH, ASSOCIATIONS, DAILY].contains(&limit.as_ref()));
            prop_assert!(status == 429 || status == 500);
            prop_assert!(limit != DAILY || hubspot.retry_after.is_none());
        }
    }

    #[test]
    fn whole_seconds_come_back(seconds in 0_u64..=31_622_400, pad in "[ \t]{0,3}") {
        let text = format!("{pad}{seconds}{pad}");
        let signals = read(General, &[("retry-after", text.as_bytes())]);
        prop_assert_eq!(signals.retry_after, Some(Duration::from_secs(seconds)));
    }

    #[test]
    fn any_path_has_a_class(path in "(/[a-z0-9%{}.-]{0,9}|/crm|/v3|/objects|/search|/batch){0,12}") {
        use tower_quota::request::{RequestHead, Routes};
        let request = http::Request::post(format!("https://api.example{path}")).body(());
        if let Ok(request) = request {
            let head = RequestHead::from(&request);
            let class = tower_quota::hubspot::HubspotRoutes.class(&head);
            let _ = tower_quota::hubspot::HubspotRoutes.effect(&head);
            prop_assert!(class != Search || path.trim_end_matches('/').ends_with("search"));
        }
    }
}
