//! Metrics say what happens, with labels of few values and no secrets, whatever is sent.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Server, at_once, burst, get, ms, patient, request};
use http::Method;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::{Layer, ServiceExt};
use tower_quota::plan::{Limit, Plan, Zone};
use tower_quota::{ObserveLayer, Quota, RetryAfterLayer};

type Labels = BTreeMap<String, String>;

/// All that was recorded since it was asked last, by name and labels.
fn recorded(snapshotter: &Snapshotter) -> BTreeMap<(String, Labels), DebugValue> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    all.map(|(key, _, _, value)| {
        let (_, key) = key.into_parts();
        let labels = key.labels();
        let labels = labels.map(|label| (label.key().to_owned(), label.value().to_owned()));
        ((key.name().to_owned(), labels.collect()), value)
    })
    .collect()
}

fn labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    let labels = [("api", "acme")].into_iter().chain(labels);
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    labels.map(owned).collect()
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_counted_as_what_it_is() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, ms(60_000)));
    let quota = Quota::new(plan.build().unwrap());
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[("retry-after", "2")], ""),
        _ => common::after(ms(250), at_once(200, &[], "")),
    });
    let inner = patient(&quota).layer(ObserveLayer::new(&quota).layer(server));
    let api = RetryAfterLayer::new(&quota).layer(inner);
    assert_eq!(api.oneshot(get("a")).await.unwrap().status(), 200);

    let all = recorded(&snapshotter);
    let one = DebugValue::Counter(1);
    let expected = [
        (
            "requests_total",
            labels([
                ("class", "general"),
                ("outcome", "refused"),
                ("status", "4xx"),
            ]),
        ),
        (
            "requests_total",
            labels([
                ("class", "general"),
                ("outcome", "answered"),
                ("status", "2xx"),
            ]),
        ),
        ("errors_total", labels([("class", "general")])),
        (
            "rate_limited_total",
            labels([
                ("class", "general"),
                ("limit", "token"),
                ("route", "GET /{}/{}/{}/{}"),
            ]),
        ),
        ("recoveries_total", labels([("class", "general")])),
        ("repeats_total", labels([("class", "general")])),
        ("pauses_total", labels([("limit", "token")])),
    ];
    for (name, labels) in expected {
        let key = (format!("tower_quota_{name}"), labels);
        assert_eq!(all.get(&key), Some(&one), "{key:?}: {all:#?}");
    }
    let histogram = |name: &str| {
        let key = (
            format!("tower_quota_{name}"),
            labels([("class", "general")]),
        );
        match all.get(&key) {
            Some(DebugValue::Histogram(values)) => values.iter().map(|it| it.0).collect(),
            _ => Vec::new(),
        }
    };
    assert_eq!(histogram("request_seconds"), [0.0, 0.25]);
    let waited = histogram("wait_seconds");
    assert!(waited.len() == 2 && waited[0] == 0.0, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn labels_have_few_values_and_no_secrets_whatever_is_sent() {
    const STRANGE: [&str; 3] = ["planted@example.org", "4711%22%0a", "planted"];
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let quota = Quota::new(burst(1_000_000, ms(1_000)));
    let server = Server::new(|nth, _| match nth % 3 {
        0 => at_once(429, &[("retry-after", "0")], ""),
        1 => at_once(500, &[], ""),
        _ => at_once(200, &[], ""),
    });
    let api = ObserveLayer::new(&quota).layer(server);
    for nth in 0..10_000 {
        let token = format!("pat-planted-{nth}");
        let deep = "/a".repeat(nth % 400);
        let path = format!("/{}/{nth}{deep}", STRANGE[nth % 3]);
        let mut call = request(Method::GET, &path, &token);
        if let Ok(method) = Method::from_bytes(format!("PLANTED{}", nth % 1_000).as_bytes()) {
            *call.method_mut() = method;
        }
        let _ = api.clone().oneshot(call).await;
    }
    quota.report().record_metrics();
    let all = recorded(&snapshotter);
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, labels) in all.keys() {
        for (key, value) in labels {
            values.entry(key).or_default().insert(value);
        }
    }
    let sizes: BTreeMap<&str, usize> = values.iter().map(|(key, set)| (*key, set.len())).collect();
    for (key, most) in [
        ("api", 1),
        ("class", 33),
        ("limit", 5),
        ("outcome", 8),
        ("reason", 32),
        ("route", 257),
        ("status", 6),
    ] {
        assert!(sizes.get(key).is_none_or(|size| *size <= most), "{sizes:?}");
    }
    let known = [
        "api", "class", "limit", "outcome", "reason", "route", "status",
    ];
    assert!(sizes.keys().all(|key| known.contains(key)), "{sizes:?}");
    // They are not empty.
    assert!(sizes["route"] > 20 && sizes["status"] == 3, "{sizes:?}");
    assert!(all.len() < 400, "{}", all.len());
    let text = format!("{values:?}").to_lowercase();
    for planted in ["pat-", "planted", "4711", "example.org"] {
        assert!(!text.contains(planted), "{planted}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn gauges_say_how_quota_stands() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let plan = Plan::builder("acme")
        .limit(Limit::rolling("burst", 10, ms(60_000)))
        .limit(Limit::daily("day", 1_000, Zone::UTC));
    let quota = Quota::new(plan.build().unwrap());
    let server = Server::new(|nth, _| at_once(if nth == 0 { 500 } else { 200 }, &[], ""));
    let api = patient(&quota).layer(ObserveLayer::new(&quota).layer(server));
    for token in ["a", "a", "a", "b"] {
        api.clone().oneshot(get(token)).await.unwrap();
    }
    quota.report().record_metrics();
    let all = recorded(&snapshotter);
    let gauge = |name: &str, labels: Labels| match all.get(&(format!("tower_quota_{name}"), labels))
    {
        Some(DebugValue::Gauge(value)) => value.0,
        other => panic!("{name}: {other:?} in {all:#?}"),
    };
    assert_eq!(gauge("headroom", labels([("limit", "burst")])), 7.0);
    assert_eq!(gauge("headroom_ratio", labels([("limit", "burst")])), 0.7);
    assert_eq!(gauge("waiting", labels([])), 0.0);
    assert_eq!(gauge("error_ratio", labels([])), 0.25);
    let left = gauge("daily_left", labels([("limit", "day")]));
    assert!((996.0..=997.0).contains(&left), "{left}");
    gauge("daily_per_hour", labels([("limit", "day")]));
    gauge("daily_runs_out_seconds", labels([("limit", "day")]));
}

#[test]
fn each_is_described_with_its_unit() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let quota = Quota::new(burst(10, ms(1_000)));
        quota.report().record_metrics();
    });
    for (key, unit, what, _) in snapshotter.snapshot().into_vec() {
        let name = key.key().name();
        assert!(name.starts_with("tower_quota_"), "{name}");
        assert!(unit.is_some() && what.is_some(), "{name}");
    }
}
