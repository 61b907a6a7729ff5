//! `Retry-After` in every form that was seen, and the status that comes with it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tower_quota::plan::RouteClass;
use tower_quota::signal::{Outcome, Refusal, ResponseHead, SignalReader, Signals, StandardSignals};

const DATE: &str = "Tue, 21 Apr 2026 14:38:02 GMT";

fn read(status: u16, headers: &[(&str, &[u8])]) -> Signals {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    let head = ResponseHead {
        status: StatusCode::from_u16(status).unwrap(),
        headers: &map,
    };
    StandardSignals.read(&head, RouteClass::General, b"")
}

fn wait(headers: &[(&str, &[u8])]) -> Option<Duration> {
    read(429, headers).retry_after
}

fn alone(value: &str) -> Option<Duration> {
    wait(&[("retry-after", value.as_bytes())])
}

#[test]
fn seconds() {
    let ms = |ms| Some(Duration::from_millis(ms));
    let table = [
        ("0", ms(0)),
        ("1", ms(1_000)),
        ("120", ms(120_000)),
        ("0120", ms(120_000)),
        (" 25\t", ms(25_000)),
        ("2.0", ms(2_000)),
        ("0.250", ms(250)),
        ("64.57", ms(64_570)),
        ("0.0", ms(0)),
        // Below a nanosecond it rounds up, never down.
        ("0.0000000001", Some(Duration::from_nanos(1))),
        // 366 days, and not a nanosecond more.
        ("31622400", ms(31_622_400_000)),
        ("31622400.000000001", None),
        ("31622400.0000000001", None),
        ("31622401", None),
    ];
    for (value, expected) in table {
        assert_eq!(alone(value), expected, "{value:?}");
    }
}

#[test]
fn what_is_no_number_is_unknown() {
    let table = [
        "",
        " ",
        "-1",
        "-5",
        "-0",
        "+5",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "1e308",
        "1e3",
        "0x10",
        "5,000",
        "5, 10",
        "5;10",
        "5 s",
        "5s",
        "2.",
        ".5",
        ".",
        "1.2.3",
        "1_000",
        "soon",
        "23h59m45s",
        "6m0s",
        "12ms",
        "99999999999999999999",
        "18446744073709551616",
        "2026-04-21T14:38:25Z",
        "1609844400",
        "20:1,100",
        "\"5\"",
        "null",
    ];
    for value in table {
        assert_eq!(alone(value), None, "{value:?}");
    }
    assert_eq!(wait(&[]), None);
    assert_eq!(wait(&[("retry-after", b"\xff\xfe5")]), None);
    assert_eq!(wait(&[("retry-after", "٥".as_bytes())]), None);
    assert_eq!(wait(&[("retry-after", &[b'1'; 10_000])]), None);
    let mut padded = vec![b'0'; 10_000];
    padded.push(b'5');
    assert_eq!(wait(&[("retry-after", &padded)]), None);
}

#[test]
fn a_date_counts_from_the_responses_own_date() {
    let from = |value: &str, date: &str| {
        wait(&[("retry-after", value.as_bytes()), ("date", date.as_bytes())])
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    // One second is added, because both dates were cut to whole seconds.
    assert_eq!(from("Tue, 21 Apr 2026 14:38:25 GMT", DATE), seconds(24));
    assert_eq!(from(DATE, DATE), seconds(1));
    assert_eq!(from("Tuesday, 21-Apr-26 14:38:25 GMT", DATE), seconds(24));
    assert_eq!(from("Tue Apr 21 14:38:25 2026", DATE), seconds(24));
    // Whatever the year: no local clock is asked.
    assert_eq!(
        from(
            "Sun, 06 Nov 1994 08:49:47 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT"
        ),
        seconds(11)
    );
    assert_eq!(
        from(
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Fri, 31 Dec 9999 23:59:50 GMT"
        ),
        seconds(10)
    );
    // The past is over.
    assert_eq!(from("Tue, 21 Apr 2026 14:38:01 GMT", DATE), seconds(0));
    assert_eq!(from("Thu, 01 Jan 1970 00:00:00 GMT", DATE), seconds(0));
    // More than 366 days is nobody's quota.
    assert_eq!(
        from("Thu, 22 Apr 2027 14:38:02 GMT", DATE),
        seconds(366 * 86_400 + 1)
    );
    assert_eq!(from("Thu, 22 Apr 2027 14:38:03 GMT", DATE), None);
    assert_eq!(from("Fri, 31 Dec 9999 23:59:59 GMT", DATE), None);
}

#[test]
fn a_date_without_a_usable_date_field_is_unknown() {
    let retry = ("retry-after", b"Tue, 21 Apr 2026 14:38:25 GMT".as_slice());
    assert_eq!(wait(&[retry]), None);
    for date in [
        "",
        "now",
        "1776782282",
        "2026-04-21T14:38:02Z",
        "Tue, 21 Apr 2026",
    ] {
        assert_eq!(wait(&[retry, ("date", date.as_bytes())]), None, "{date:?}");
    }
    let other = ("date", b"Tue, 21 Apr 2026 14:38:03 GMT".as_slice());
    assert_eq!(wait(&[retry, ("date", DATE.as_bytes()), other]), None);
    let twice = [retry, ("date", DATE.as_bytes()), ("date", DATE.as_bytes())];
    assert_eq!(wait(&twice), Some(Duration::from_secs(24)));
    // Seconds need no date.
    let seconds = [("retry-after", b"5".as_slice()), ("date", b"now")];
    assert_eq!(wait(&seconds), Some(Duration::from_secs(5)));
}

#[test]
fn sent_twice_the_longer_wait_counts() {
    let twice = |a: &str, b: &str| {
        wait(&[
            ("retry-after", a.as_bytes()),
            ("Retry-After", b.as_bytes()),
            ("date", DATE.as_bytes()),
        ])
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(twice("5", "5"), seconds(5));
    assert_eq!(twice("5", "30"), seconds(30));
    assert_eq!(twice("30", "5"), seconds(30));
    assert_eq!(twice("5", "Tue, 21 Apr 2026 14:38:25 GMT"), seconds(24));
    assert_eq!(twice("5", "nonsense"), seconds(5));
    assert_eq!(twice("-1", "1e308"), None);
}

#[test]
fn a_cached_response_says_nothing_about_waits() {
    let fields = |age: &'static [u8]| {
        [
            ("retry-after", b"5".as_slice()),
            ("x-runtime", b"0.5"),
            ("age", age),
        ]
    };
    for age in ["1", "0042", "99999999999999999999999"] {
        let signals = read(429, &fields(age.as_bytes()));
        assert_eq!(signals.outcome, Outcome::Refused(Refusal::Token), "{age}");
        assert_eq!(
            (signals.retry_after, signals.service_time),
            (None, None),
            "{age}"
        );
    }
    for age in ["0", "000", "", "-1", "old"] {
        assert!(
            read(429, &fields(age.as_bytes())).retry_after.is_some(),
            "{age:?}"
        );
    }
}

#[test]
fn the_status_decides() {
    for status in 100..=999 {
        let expected = match status {
            429 => Outcome::Refused(Refusal::Token),
            425 => Outcome::Refused(Refusal::Request),
            408 | 500 | 502 | 503 | 504 | 521 | 523 | 524 | 529 => Outcome::Failed,
            _ => Outcome::Answered,
        };
        assert_eq!(read(status, &[]), Signals::new(expected), "{status}");
    }
    let busy = read(503, &[("retry-after", b"7")]);
    assert_eq!(busy.outcome, Outcome::Failed);
    assert_eq!(busy.retry_after, Some(Duration::from_secs(7)));
}
