//! The share of error responses: each threshold is told once, and once when it is left.

use proptest::prelude::*;
use tower_quota::event::{EventKind, Level};
use tower_quota::report::Counts;
use tower_quota::{ConfigError, Quota};

use crate::common::{HOUR, Hand, SECOND, Server, at_once, burst, get, so_far};
use crate::{ask, at_noon, named, observed};

/// Answers 500 where the header says so.
fn server() -> Server {
    Server::new(|_, seen| at_once(seen.header("status").parse().unwrap(), &[], ""))
}

fn call(status: u16) -> crate::Call {
    let mut call = get("a");
    call.headers_mut().insert("status", status.into());
    call
}

fn told(level: Level, requests: u64, errors: u64) -> EventKind {
    EventKind::ErrorShare {
        level,
        requests,
        errors,
        rate_limited: 0,
    }
}

#[tokio::test(start_paused = true)]
async fn three_and_five_per_cent_are_told_once_each_and_once_that_they_are_left() {
    let quota = at_noon(burst(10_000, SECOND)).build();
    let mut events = quota.events();
    let api = observed(&quota, &server());
    // 2 errors of 100 are 2 %, 3 of 100 3 %: at the hundredth request, and not before.
    for nth in 0..99 {
        ask(&api, call(if nth < 3 { 500 } else { 200 }))
            .await
            .unwrap();
    }
    assert!(so_far(&mut events).is_empty(), "too few to tell");
    ask(&api, call(200)).await.unwrap();
    assert_eq!(
        named(&so_far(&mut events), "error_share"),
        [told(Level::Warn, 100, 3)]
    );
    ask(&api, call(404)).await.unwrap();
    ask(&api, call(404)).await.unwrap();
    assert!(so_far(&mut events).is_empty());
    // 6 of 103.
    ask(&api, call(429)).await.unwrap();
    let breach = EventKind::ErrorShare {
        level: Level::Breach,
        requests: 103,
        errors: 6,
        rate_limited: 1,
    };
    assert_eq!(named(&so_far(&mut events), "error_share"), [breach]);
    // Below 4.5 %: the breach is over; below 2.7 %: the warning.
    for _ in 0..200 {
        ask(&api, call(200)).await.unwrap();
    }
    let seen = named(&so_far(&mut events), "error_share");
    let level = |kind: &EventKind| match kind {
        EventKind::ErrorShare {
            level,
            requests,
            errors: 6,
            rate_limited: 1,
        } => (*level, *requests),
        kind => panic!("{kind:?}"),
    };
    let levels: Vec<_> = seen.iter().map(level).collect();
    // 6 / 133 is 4.51 %, 6 / 134 is 4.48 %; 6 / 222 is 2.703 %, 6 / 223 is 2.69 %.
    assert_eq!(levels, [(Level::Warn, 134), (Level::Fine, 223)]);
    let errors = quota.report().errors;
    assert_eq!((errors.level, errors.least_requests), (Level::Fine, 100));
    assert_eq!((errors.warn, errors.breach), (0.03, 0.05));
}

#[tokio::test(start_paused = true)]
async fn a_new_day_clears_what_was_raised() {
    let share = at_noon(burst(10_000, SECOND)).error_share(0.1, 0.2, 1);
    let quota = share.unwrap().build();
    let mut events = quota.events();
    let api = observed(&quota, &server());
    let today = |level| told(level, 1, 1);
    ask(&api, call(500)).await.unwrap();
    assert_eq!(
        named(&so_far(&mut events), "error_share"),
        [today(Level::Breach)]
    );
    tokio::time::advance(12 * HOUR).await;
    // The first one of the day is an error, too: both are told.
    ask(&api, call(500)).await.unwrap();
    let seen = named(&so_far(&mut events), "error_share");
    assert_eq!(seen, [told(Level::Fine, 0, 0), today(Level::Breach)]);
    // A report is enough to begin the day.
    tokio::time::advance(24 * HOUR).await;
    assert_eq!(quota.report().errors.level, Level::Fine);
    let seen = named(&so_far(&mut events), "error_share");
    assert_eq!(seen, [told(Level::Fine, 0, 0)]);
}

#[test]
fn impossible_thresholds_are_errors_that_name_the_field() {
    let refused = |warn, breach| -> ConfigError {
        let builder = Quota::builder(burst(1, SECOND));
        builder.error_share(warn, breach, 1).err().unwrap()
    };
    for (warn, breach, field) in [
        (-0.1, 0.5, "warn"),
        (f64::NAN, 0.5, "warn"),
        (1.1, 1.0, "warn"),
        (0.1, 1.5, "breach"),
        (0.1, f64::NAN, "breach"),
        (0.1, f64::INFINITY, "breach"),
        (0.1, -0.0001, "breach"),
        (0.5, 0.4, "warn"),
    ] {
        let error = refused(warn, breach).to_string();
        assert!(
            error.contains("error share") && error.contains(field),
            "{error}"
        );
    }
    let builder = Quota::builder(burst(1, SECOND));
    assert!(builder.error_share(0.0, 1.0, 0).is_ok());
}

/// What the docs of `error_share` say, and nothing more.
fn oracle(level: Level, counts: &Counts, (warn, breach, least): (f64, f64, u64)) -> Level {
    if counts.requests < least {
        return Level::Fine;
    }
    let share = counts.errors as f64 / counts.requests as f64;
    let is_reached = |which: Level, threshold: f64| {
        let was_reached = level >= which;
        share >= threshold || was_reached && share >= 0.9 * threshold
    };
    match (
        is_reached(Level::Breach, breach),
        is_reached(Level::Warn, warn),
    ) {
        (true, _) => Level::Breach,
        (_, true) => Level::Warn,
        _ => Level::Fine,
    }
}

fn thresholds() -> impl Strategy<Value = (f64, f64, u64)> {
    let pair = prop_oneof![
        3 => (0..=100_u32, 0..=100_u32),
        1 => (0..=10_u32, 0..=10_u32),
        1 => Just((3, 5)),
    ];
    let least = prop_oneof![Just(0_u64), Just(1), 0..50_u64];
    (pair, least).prop_map(|((one, other), least)| {
        let percent = |share: u32| f64::from(share) / 100.0;
        (percent(one.min(other)), percent(one.max(other)), least)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_tells_what_an_oracle_tells(
        thresholds in thresholds(),
        errors in proptest::collection::vec((1..60_u32, 0..=100_u32), 1..12),
        seed: u64,
    ) {
        let (warn, breach, least) = thresholds;
        let builder = at_noon(burst(10_000, SECOND)).error_share(warn, breach, least);
        let quota = builder.unwrap().build();
        let mut events = quota.events();
        let api = observed(&quota, &server());
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut level, mut counts) = (Level::Fine, Counts::default());
        for (requests, percent) in errors {
            for _ in 0..requests {
                let is_error = rng.u32(..100) < percent;
                let status = if is_error { 500 } else { 200 };
                prop_assert!(Hand::new(ask(&api, call(status))).poll().is_ready());
                counts.requests += 1;
                counts.errors += u64::from(is_error);
                let next = oracle(level, &counts, thresholds);
                let expected = (next != level).then(|| told(next, counts.requests, counts.errors));
                level = next;
                let seen = named(&so_far(&mut events), "error_share");
                prop_assert_eq!(seen, Vec::from_iter(expected), "{:?}", counts);
            }
            let report = quota.report();
            prop_assert_eq!(report.errors.level, level);
            prop_assert_eq!(report.today, counts);
        }
    }
}
