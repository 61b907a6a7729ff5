//! A report shows what the ledger knows, and nothing else.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_quota::plan::{Limit, Plan, Rule, Scope, Zone};
use tower_quota::report::{KeyReport, Report};
use tower_quota::request::AccountId;
use tower_quota::stack::StackLayer;
use tower_quota::{ObserveLayer, Quota, hubspot};

use crate::common::{
    FOREVER, HOUR, Hand, SECOND, Server, after, at_once, burst, get, patient, search,
};
use crate::{Call, ask, at_noon, noon, observed};

fn key_of<'a>(report: &'a Report, limit: &str) -> &'a KeyReport {
    let limits = report.limits.iter();
    let limit = limits.clone().find(|it| it.limit == limit).unwrap();
    assert_eq!(limit.keys.len(), 1, "{limit:?}");
    &limit.keys[0]
}

fn is_json_safe(report: &Report) {
    let text = serde_json::to_string(report).unwrap();
    let read: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(read, *report);
}

#[tokio::test(start_paused = true)]
async fn figures_are_those_of_the_ledger() {
    let quota = at_noon(hubspot::api(hubspot::Tier::FreeStarter, Zone::UTC)).build();
    let server = Server::new(|_, _| {
        let figures = [
            ("x-hubspot-ratelimit-max", "100"),
            ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
            ("x-hubspot-ratelimit-remaining", "40"),
            ("x-hubspot-ratelimit-daily", "250000"),
            ("x-hubspot-ratelimit-daily-remaining", "200000"),
        ];
        after(SECOND, at_once(200, &figures, ""))
    });
    let api = StackLayer::new(&quota).layer(server);
    for _ in 0..5 {
        ask(&api, get("a")).await.unwrap();
        ask(&api, search("a")).await.unwrap();
    }
    let report = quota.report();
    assert_eq!(
        (report.api.as_str(), report.enforced, report.at),
        ("hubspot", true, noon() + 10 * SECOND)
    );
    for name in [
        hubspot::BURST,
        hubspot::SEARCH,
        hubspot::ASSOCIATIONS,
        hubspot::DAILY,
    ] {
        let usage = quota.usage(name, &get("a")).unwrap();
        let key = key_of(&report, name);
        assert_eq!(key.quota, usage.quota, "{name}");
        assert_eq!(
            (key.used, key.foreign, key.waiting),
            (usage.used, usage.foreign, usage.waiting)
        );
        assert_eq!(
            key.headroom,
            usage.quota.saturating_sub(usage.used + usage.foreign)
        );
        assert_eq!((key.key, key.paused), (Some(report.tokens[0].token), None));
    }
    assert!(key_of(&report, hubspot::BURST).used > 0);
    let daily = &report.daily[0];
    let usage = quota.usage(hubspot::DAILY, &get("a")).unwrap();
    assert_eq!(
        (daily.quota, daily.used, daily.foreign),
        (250_000, 10, usage.foreign)
    );
    // The server says that 200,000 are left, with the first answer and with the last.
    assert_eq!(daily.left, 250_000 - usage.used - usage.foreign);
    assert!((199_990..=200_000).contains(&daily.left));
    assert_eq!(daily.resets, noon() + 12 * HOUR);
    let concurrency = &report.concurrency[0];
    let known = StackLayer::new(&quota).concurrency(&get("a"));
    assert_eq!((concurrency.in_flight, concurrency.waiting), (0, 0));
    assert!(concurrency.limit >= known.limit, "{concurrency:?}");
    is_json_safe(&report);
}

#[tokio::test(start_paused = true)]
async fn who_waits_and_who_is_in_flight_is_seen() {
    let quota = at_noon(burst(2, 10 * SECOND)).build();
    let server = Server::new(|_, _| after(3 * SECOND, at_once(200, &[], "")));
    let api = StackLayer::new(&quota).max_wait(FOREVER).layer(server);
    // A token is known once one of its requests is over.
    ask(&api, get("a")).await.unwrap();
    sleep(20 * SECOND).await;
    let calls: Vec<_> = (0..5)
        .map(|_| tokio::spawn(api.clone().oneshot(get("a"))))
        .collect();
    sleep(SECOND).await;
    let report = quota.report();
    assert_eq!(report.waiting, 3);
    let key = key_of(&report, "burst");
    assert_eq!((key.used, key.waiting, key.headroom), (2, 3, 0));
    assert_eq!(report.concurrency[0].in_flight, 2);
    is_json_safe(&report);
    for call in calls {
        call.await
            .unwrap()
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap();
    }
    assert_eq!(quota.report().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_shows_how_long_it_lasts() {
    let quota = at_noon(burst(10, SECOND)).build();
    let server = Server::new(|_, _| at_once(429, &[("retry-after", "30")], ""));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .layer(ObserveLayer::new(&quota))
        .service(server);
    ask(&api, get("a")).await.unwrap();
    sleep(10 * SECOND).await;
    let report = quota.report();
    let usage = quota.usage("burst", &get("a")).unwrap();
    let expected = usage.paused_until.map(|until| quota.until(until));
    let paused = key_of(&report, "burst").paused;
    assert_eq!(paused, expected);
    assert!((20 * SECOND..22 * SECOND).contains(&paused.unwrap()));
    is_json_safe(&report);
}

#[tokio::test(start_paused = true)]
async fn limits_of_accounts_and_of_the_app_come_once() {
    let plan = Plan::builder("scopes")
        .limit(Limit::rolling("token", 10, SECOND))
        .limit(Limit::rolling("account", 10, SECOND).scope(Scope::Account))
        .limit(Limit::rolling("app", 100, SECOND).scope(Scope::App))
        .limit(Limit::daily("day", 1_000, Zone::UTC).scope(Scope::App));
    let quota = at_noon(plan.build().unwrap()).build();
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .layer(ObserveLayer::new(&quota))
        .service(Server::fine());
    for (token, account) in [("a", "one"), ("b", "one"), ("b", "one"), ("c", "two")] {
        let mut call = get(token);
        call.extensions_mut().insert(AccountId::from(account));
        ask(&api, call).await.unwrap();
    }
    let report = quota.report();
    let used = |limit: usize| -> Vec<_> {
        let keys = report.limits[limit].keys.iter();
        keys.map(|it| (it.key.is_some(), it.used)).collect()
    };
    assert_eq!(
        used(0),
        [(true, 2), (true, 1), (true, 1)],
        "the fullest first"
    );
    assert_eq!(used(1), [(true, 3), (true, 1)]);
    assert_eq!(used(2), [(false, 4)]);
    assert_eq!(
        (
            report.daily.len(),
            report.daily[0].used,
            report.daily[0].key
        ),
        (1, 4, None)
    );
    // What has been changed since is told.
    let rule = Rule::Rolling {
        quota: 33,
        window: 2 * SECOND,
    };
    quota.set_rule("app", &rule).unwrap();
    let app = &quota.report().limits[2];
    assert_eq!((app.quota, app.window), (33, Some(2 * SECOND)));
    is_json_safe(&report);
}

#[tokio::test(start_paused = true)]
async fn up_to_1024_tokens_are_counted_exactly() {
    let quota = Quota::new(burst(100_000, SECOND));
    let api = observed(&quota, &Server::fine());
    for nth in 0..1_024_u32 {
        for _ in 0..=(nth * 7 % 5) {
            ask(&api, get(&nth.to_string())).await.unwrap();
        }
    }
    let tokens = quota.report_top(usize::MAX).tokens;
    assert_eq!(tokens.len(), 1_024);
    for requests in 1..=5 {
        let with = tokens.iter().filter(|it| it.requests == requests);
        let expected = (0..1_024).filter(|nth| nth * 7 % 5 + 1 == requests);
        assert_eq!(with.count(), expected.count(), "{requests}");
    }
    assert!(tokens.iter().all(|token| token.uncertain == 0));
    assert!(tokens.is_sorted_by(|one, next| one.requests >= next.requests));
    assert_eq!(quota.report().tokens, tokens[..10]);
    assert_eq!(quota.report_top(0).tokens.len(), 0);
    // One more takes the place of the least; none is counted too low, and what may be others' is said.
    for _ in 0..50 {
        ask(&api, get("new")).await.unwrap();
    }
    let tokens = quota.report_top(usize::MAX).tokens;
    assert_eq!(tokens.len(), 1_024);
    assert_eq!((tokens[0].requests, tokens[0].uncertain), (51, 1));
}

#[tokio::test(start_paused = true)]
async fn without_the_layer_the_counts_stay_at_zero() {
    let quota = at_noon(burst(10, SECOND)).build();
    ask(&patient(&quota).layer(Server::fine()), get("a"))
        .await
        .unwrap();
    let report = quota.report();
    assert_eq!(crate::figures(report.today), [0; 4]);
    assert!(report.tokens.is_empty() && report.history.is_empty());
    assert_eq!(report.limits[0].quota, 10);
    is_json_safe(&report);
}

#[tokio::test(start_paused = true)]
async fn what_fails_without_being_sent_is_counted_apart() {
    let quota = Quota::new(burst(1, 100 * SECOND));
    let server = Server::fine();
    let api = StackLayer::new(&quota)
        .max_wait(Duration::ZERO)
        .layer(server.clone());
    for _ in 0..5 {
        let _ = ask(&api, get("a")).await;
    }
    let today = quota.report().today;
    assert_eq!((today.requests, today.denied, server.count()), (1, 4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_report_while_requests_are_under_way_counts_those_that_are_over() {
    let quota = Quota::new(burst(10, SECOND));
    let mut api = observed(&quota, &Server::new(|_, _| crate::common::never()));
    let call = |api: &mut tower_quota::observe::Observe<Server>, call: Call| {
        let mut hand = Hand::new(api.call(call));
        assert!(hand.poll().is_pending());
        hand
    };
    let hands: Vec<_> = (0..3).map(|_| call(&mut api, get("a"))).collect();
    assert_eq!(api.quota().report().today.requests, 0);
    drop(hands);
    assert_eq!(api.quota().report().today.requests, 3);
}
