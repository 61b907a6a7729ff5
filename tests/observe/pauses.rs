//! A pause is told once, and once that it is over.

use std::time::Duration;

use http::Request;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_quota::event::EventKind;
use tower_quota::plan::{Limit, Plan, RouteClass, Scope, Zone};
use tower_quota::request::AccountId;
use tower_quota::signal::{Outcome, Refusal, ResponseHead, SignalReader, Signals, StandardSignals};
use tower_quota::{Api, ObserveLayer, Quota};

use crate::common::{
    Piece, PieceBody, SECOND, Server, after, at_once, burst, fresh_hubspot, get, ms, names,
    patient, response, search, so_far,
};
use crate::{Call, ask, at_noon, named};

/// The layers that limit and observe, around a server.
macro_rules! limited {
    ($quota:expr, $server:expr) => {
        ServiceBuilder::new()
            .layer(patient($quota))
            .layer(ObserveLayer::new($quota))
            .service($server)
    };
}

fn of_account(mut call: Call, account: &str) -> Call {
    call.extensions_mut().insert(AccountId::from(account));
    call
}

fn resumed(limit: &'static str, after: Duration) -> EventKind {
    let limit = limit.into();
    EventKind::Resumed { limit, after }
}

#[tokio::test(start_paused = true)]
async fn fifty_that_come_back_refused_are_one_pause() {
    let quota = Quota::new(burst(50, 10 * SECOND));
    let mut events = quota.events();
    let server = Server::new(|nth, _| match nth {
        0..50 => after(
            ms(100 + 4 * nth as u64),
            at_once(429, &[("retry-after", "5")], ""),
        ),
        _ => at_once(200, &[], ""),
    });
    let api = limited!(&quota, server.clone());
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        calls.spawn(api.clone().oneshot(get("a")));
    }
    calls.join_all().await;
    let seen = so_far(&mut events);
    assert_eq!(named(&seen, "rate_limited").len(), 50);
    let [
        EventKind::Paused {
            limit,
            class,
            status,
            lasts,
        },
    ] = &named(&seen, "paused")[..]
    else {
        panic!("{:?}", names(&seen))
    };
    assert_eq!((&**limit, &**class, *status), ("token", "general", 429));
    assert!((5 * SECOND..=6 * SECOND).contains(lasts), "{lasts:?}");

    // Nobody comes for a while, and then two.
    sleep(20 * SECOND).await;
    assert!(
        so_far(&mut events).is_empty(),
        "it is over when the first one goes"
    );
    ask(&api, get("a")).await.unwrap();
    ask(&api, get("a")).await.unwrap();
    let seen = so_far(&mut events);
    let since_the_first = server.log()[50].at - ms(100);
    assert_eq!(named(&seen, "resumed"), [resumed("token", since_the_first)]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_becomes_much_longer_is_told_again() {
    let quota = Quota::new(burst(50, 10 * SECOND));
    let mut events = quota.events();
    let server = Server::new(|nth, _| {
        let wait = if nth == 7 { "40" } else { "5" };
        after(
            ms(100 + nth as u64),
            at_once(429, &[("retry-after", wait)], ""),
        )
    });
    let api = limited!(&quota, server);
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        calls.spawn(api.clone().oneshot(get("a")));
    }
    calls.join_all().await;
    let told = named(&so_far(&mut events), "paused");
    let lasts: Vec<_> = told
        .iter()
        .map(|kind| match kind {
            EventKind::Paused { lasts, .. } => lasts.as_secs(),
            _ => unreachable!(),
        })
        .collect();
    assert!(matches!(lasts[..], [5, 40..=41]), "{lasts:?}");
}

/// Many small steps are a long way, too.
#[tokio::test(start_paused = true)]
async fn a_pause_that_goes_on_and_on_is_told_again() {
    let quota = at_noon(burst(1_000, 10 * SECOND)).enforce(false).build();
    let mut events = quota.events();
    let server = Server::new(|_, _| at_once(429, &[("retry-after", "10")], ""));
    let api = limited!(&quota, server.clone());
    let mut ends = Duration::ZERO;
    for _ in 0..200 {
        ask(&api, get("a")).await.unwrap();
        for kind in named(&so_far(&mut events), "paused") {
            let EventKind::Paused { lasts, .. } = kind else {
                unreachable!()
            };
            ends = server.elapsed() + lasts;
        }
        // The pause, which has begun with the test, lasts for ten more seconds in truth: what was told is not much less.
        let lasts = server.elapsed() + 10 * SECOND;
        assert!(ends.mul_f64(1.2) >= lasts, "{ends:?} of {lasts:?}");
        sleep(SECOND / 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_ends_a_pause_is_told_at_once() {
    let quota = Quota::new(burst(50, 10 * SECOND));
    let mut events = quota.events();
    let server = Server::new(|_, _| at_once(429, &[("retry-after", "30")], ""));
    let api = limited!(&quota, server);
    ask(&api, get("a")).await.unwrap();
    ask(&api, get("b")).await.unwrap();
    sleep(3 * SECOND).await;
    so_far(&mut events);
    quota.resume(&get("c"));
    assert!(so_far(&mut events).is_empty(), "nobody has paused it");
    quota.resume(&get("a"));
    let seen = so_far(&mut events);
    assert_eq!(named(&seen, "resumed"), [resumed("token", 3 * SECOND)]);
    quota.resume(&get("a"));
    assert!(so_far(&mut events).is_empty(), "it was told");
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_an_account_ends_for_all_its_tokens() {
    let quota = fresh_hubspot(Zone::UTC).build();
    let mut events = quota.events();
    let server = Server::new(|nth, seen| match nth {
        0 | 1 if !seen.is_search() => at_once(477, &[("retry-after", "5")], ""),
        0 | 1 => at_once(429, &[("retry-after", "5")], ""),
        _ => at_once(200, &[], ""),
    });
    let api = limited!(&quota, server);
    ask(&api, of_account(get("a"), "one")).await.unwrap();
    ask(&api, of_account(search("a"), "two")).await.unwrap();
    let paused = named(&so_far(&mut events), "paused");
    let limits: Vec<_> = paused
        .iter()
        .map(|kind| match kind {
            EventKind::Paused { limit, .. } => limit.to_string(),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(limits, ["account", "search"]);
    sleep(10 * SECOND).await;
    // Not for those whom it did not concern.
    ask(&api, of_account(get("a"), "two")).await.unwrap();
    ask(&api, of_account(search("a"), "three")).await.unwrap();
    assert!(named(&so_far(&mut events), "resumed").is_empty());
    ask(&api, of_account(search("b"), "two")).await.unwrap();
    let seen = so_far(&mut events);
    assert_eq!(named(&seen, "resumed"), [resumed("search", 10 * SECOND)]);
    ask(&api, of_account(search("b"), "one")).await.unwrap();
    let seen = so_far(&mut events);
    assert_eq!(named(&seen, "resumed"), [resumed("account", 10 * SECOND)]);
}

/// Says in a header which limit refuses.
struct Named;

impl SignalReader for Named {
    fn read(&self, response: &ResponseHead<'_>, class: RouteClass, body: &[u8]) -> Signals {
        let mut signals = StandardSignals.read(response, class, body);
        if let Some(limit) = response.headers.get("limit") {
            let limit = limit.to_str().unwrap().to_owned();
            signals.outcome = Outcome::Refused(Refusal::Limit(limit.into()));
        }
        signals
    }
}

fn named_limits() -> Quota {
    let only = RouteClass::Named("only");
    let plan = Plan::builder("named")
        .limit(Limit::rolling("app", 100, SECOND).scope(Scope::App))
        .limit(
            Limit::rolling("elsewhere", 100, SECOND)
                .scope(Scope::Account)
                .governs([only]),
        );
    let api = Api::new(plan.build().unwrap()).signals(Named);
    at_noon(api).build()
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_app_ends_with_whichever_token_comes_first() {
    let quota = named_limits();
    let mut events = quota.events();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[("retry-after", "5"), ("limit", "app")], ""),
        _ => at_once(200, &[], ""),
    });
    let api = limited!(&quota, server);
    ask(&api, get("a")).await.unwrap();
    ask(&api, get("b")).await.unwrap();
    let seen = so_far(&mut events);
    assert_eq!(named(&seen, "paused").len(), 1);
    let [EventKind::Resumed { limit, after }] = &named(&seen, "resumed")[..] else {
        panic!("{:?}", names(&seen))
    };
    assert!(&**limit == "app" && *after >= 5 * SECOND);
}

/// A server may say that another limit than those of the request is used up.
#[tokio::test(start_paused = true)]
async fn a_pause_of_a_limit_that_does_not_govern_the_request_ends_for_those_whom_it_governs() {
    let quota = named_limits();
    let mut events = quota.events();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[("retry-after", "5"), ("limit", "elsewhere")], ""),
        _ => at_once(200, &[], ""),
    });
    let api = limited!(&quota, server);
    let governed = |token| {
        let mut call: Request<_> = of_account(get(token), "one");
        call.extensions_mut().insert(RouteClass::Named("only"));
        call
    };
    ask(&api, of_account(get("a"), "one")).await.unwrap();
    assert_eq!(named(&so_far(&mut events), "paused").len(), 1);
    ask(&api, governed("b")).await.unwrap();
    let seen = so_far(&mut events);
    let [EventKind::Resumed { limit, after }] = &named(&seen, "resumed")[..] else {
        panic!("{:?}", names(&seen))
    };
    assert!(&**limit == "elsewhere" && *after >= 5 * SECOND);
}

/// Tokens that are renewed every half hour leave their pauses behind.
#[tokio::test(start_paused = true)]
async fn pauses_whose_end_nobody_sees_do_not_hide_others() {
    let quota = Quota::new(burst(10, SECOND));
    let server = Server::new(|nth, _| match nth {
        0..5_000 => at_once(429, &[("retry-after", "1")], ""),
        5_000..5_002 => after(ms(10), at_once(429, &[("retry-after", "1")], "")),
        _ => at_once(200, &[], ""),
    });
    let observed = ObserveLayer::new(&quota).layer(server);
    let api = patient(&quota).layer(observed.clone());
    for nth in 0..5_000 {
        ask(&api, get(&format!("gone{nth}"))).await.unwrap();
        tokio::time::advance(ms(1)).await;
    }
    tokio::time::advance(5 * SECOND).await;
    let mut events = quota.events();
    let (one, other) = tokio::join!(ask(&api, get("a")), ask(&api, get("a")));
    assert_eq!((one.unwrap(), other.unwrap()), (429, 429));
    assert_eq!(named(&so_far(&mut events), "paused").len(), 1);
    ask(&api, get("a")).await.unwrap();
    assert_eq!(names(&so_far(&mut events)), ["resumed", "recovered"]);
}

/// What the server calls its limit may be anything: here it is whose it is.
#[tokio::test(start_paused = true)]
async fn what_is_no_limit_of_the_plan_is_not_told_by_its_name() {
    let quota = named_limits();
    let mut events = quota.events_with_requests();
    let limit = "of ann@example.com";
    let server = Server::new(move |_, _| at_once(429, &[("limit", limit)], ""));
    let api = limited!(&quota, server);
    ask(&api, get("a")).await.unwrap();
    let seen = so_far(&mut events);
    assert!(!format!("{seen:?}").contains("ann"), "{seen:?}");
    let [EventKind::RateLimited { limit, .. }] = &named(&seen, "rate_limited")[..] else {
        panic!("{:?}", names(&seen))
    };
    assert_eq!(limit, "token");
}

/// Then the head of the response is all that is known, and its pause holds.
#[tokio::test(start_paused = true)]
async fn a_pause_is_told_though_nobody_waits_for_the_body_that_says_why() {
    let quota = fresh_hubspot(Zone::UTC).build();
    let mut events = quota.events();
    let server = Server::new(|_, _| {
        let body = PieceBody::new([Piece::Wait(SECOND), Piece::Data("{}".into())]);
        let refusal = response(429, &[("retry-after", "5")], body);
        Box::pin(async { Ok(refusal) })
    });
    let api = limited!(&quota, server);
    let answer = tokio::time::timeout(ms(100), ask(&api, get("a"))).await;
    assert!(answer.is_err(), "{answer:?}");
    let [EventKind::Paused { limit, lasts, .. }] = &named(&so_far(&mut events), "paused")[..]
    else {
        panic!("it is not told")
    };
    assert!(&**limit == "token" && *lasts >= 5 * SECOND);
}
