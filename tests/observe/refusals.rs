//! Each refusal is told, and once for a token and class that it is answered again.

use http::Method;
use tower::{Layer, ServiceExt};
use tower_quota::event::EventKind;
use tower_quota::plan::Zone;
use tower_quota::request::Attempt;
use tower_quota::stack::StackLayer;
use tower_quota::{Quota, hubspot};

use crate::common::{
    SECOND, Server, after, at_once, burst, fresh_hubspot, get, lost, ms, names, request, search,
    so_far,
};
use crate::{ask, named, observed};

const DAILY: [(&str, &str); 3] = [
    ("retry-after", "2"),
    ("x-hubspot-ratelimit-daily", "625000"),
    ("x-hubspot-ratelimit-daily-remaining", "4711"),
];

#[tokio::test(start_paused = true)]
async fn a_refusal_tells_what_is_known_of_it() {
    let quota = fresh_hubspot(Zone::UTC).build();
    let mut events = quota.events();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &DAILY, ""),
        1 => at_once(429, &[], ""),
        _ => at_once(200, &[], ""),
    });
    let api = StackLayer::new(&quota).layer(server.clone());
    let path = "/crm/v3/objects/contacts/4711?email=a@b.c";
    assert_eq!(
        ask(&api, request(Method::GET, path, "a")).await.unwrap(),
        200
    );
    let seen = so_far(&mut events);
    let refused = |attempt, retry_after, daily_remaining| EventKind::RateLimited {
        limit: "token".into(),
        class: "general".into(),
        route: "GET /crm/v3/objects/contacts/{}".into(),
        status: 429,
        attempt,
        retry_after,
        daily_remaining,
    };
    let expected = [
        refused(1, Some(2 * SECOND), Some(4711)),
        refused(2, None, None),
    ];
    assert_eq!(named(&seen, "rate_limited"), expected);
    let recovered = EventKind::Recovered {
        class: "general".into(),
        route: "GET /crm/v3/objects/contacts/{}".into(),
        attempt: 3,
        refusals: 2,
        recovered_after: server.elapsed(),
    };
    assert_eq!(named(&seen, "recovered"), [recovered]);
    let whose: Vec<_> = seen
        .iter()
        .filter(|event| matches!(event.kind.as_str(), "rate_limited" | "recovered"))
        .map(|event| (event.token, event.account))
        .collect();
    assert!(whose[0].0.is_some() && whose.iter().all(|it| *it == whose[0]));
    // The refusal comes before what is done about it, and the recovery is the end.
    let order = names(&seen);
    let place = |name| order.iter().position(|it| *it == name).unwrap();
    assert!(place("rate_limited") < place("paused") && place("paused") < place("repeated"));
    assert!(place("repeated") < place("resumed") && place("resumed") < place("recovered"));
}

#[tokio::test(start_paused = true)]
async fn a_search_names_its_limit_and_a_program_its_attempt() {
    let quota = fresh_hubspot(Zone::UTC).build();
    let mut events = quota.events();
    let api = observed(&quota, &Server::new(|_, _| at_once(429, &[], "")));
    let mut call = search("a");
    call.extensions_mut().insert(Attempt(7));
    ask(&api, call).await.unwrap();
    let [
        EventKind::RateLimited {
            limit,
            class,
            route,
            attempt,
            ..
        },
    ] = &named(&so_far(&mut events), "rate_limited")[..]
    else {
        panic!("one event")
    };
    assert_eq!(
        (&**limit, &**class, *attempt),
        (hubspot::SEARCH, "search", 7)
    );
    assert_eq!(route.as_str(), "POST /crm/v3/objects/contacts/search");
}

/// Which answers mean that a token is served again.
#[tokio::test(start_paused = true)]
async fn only_an_answer_is_a_recovery() {
    let quota = fresh_hubspot(Zone::UTC).build();
    let mut events = quota.events();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[], ""),
        1 => at_once(503, &[], ""),
        2 => lost(),
        3 => at_once(423, &[], ""),
        4 => at_once(429, &[], ""),
        _ => at_once(404, &[], ""),
    });
    let api = observed(&quota, &server);
    for nth in 0..8 {
        tokio::time::advance(SECOND).await;
        let _ = ask(&api, get("a")).await;
        let recovered = named(&so_far(&mut events), "recovered");
        assert_eq!(recovered.len(), usize::from(nth == 5), "{nth}");
        let Some(EventKind::Recovered {
            refusals,
            recovered_after,
            ..
        }) = recovered.first()
        else {
            continue;
        };
        assert_eq!((*refusals, *recovered_after), (2, 5 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn each_token_and_class_recovers_for_itself() {
    let quota = fresh_hubspot(Zone::UTC).build();
    let mut events = quota.events();
    let server = Server::new(|nth, _| at_once(if nth < 4 { 429 } else { 200 }, &[], ""));
    let api = observed(&quota, &server);
    let all = || [get("a"), get("b"), search("a"), search("b")];
    for call in all() {
        ask(&api, call).await.unwrap();
    }
    tokio::time::advance(SECOND).await;
    so_far(&mut events);
    let mut tokens = Vec::new();
    for call in all() {
        ask(&api, call).await.unwrap();
        let seen = so_far(&mut events);
        assert_eq!(names(&seen), ["recovered"]);
        tokens.push(seen[0].token.unwrap());
    }
    assert_eq!((tokens[0], tokens[1]), (tokens[2], tokens[3]));
    assert_ne!(tokens[0], tokens[1]);
    for call in all() {
        ask(&api, call).await.unwrap();
    }
    assert!(so_far(&mut events).is_empty(), "it was told");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_the_refusal_tells_nothing() {
    let quota = Quota::new(burst(100, SECOND));
    let mut events = quota.events();
    let server = Server::new(|nth, _| match nth {
        0 => after(3 * SECOND, at_once(200, &[], "")),
        1 => at_once(429, &[], ""),
        _ => at_once(200, &[], ""),
    });
    let api = observed(&quota, &server);
    let slow = tokio::spawn(api.clone().oneshot(get("a")));
    tokio::time::sleep(SECOND).await;
    ask(&api, get("a")).await.unwrap();
    slow.await.unwrap().unwrap();
    assert_eq!(names(&so_far(&mut events)), ["rate_limited"]);
    ask(&api, get("a")).await.unwrap();
    assert_eq!(names(&so_far(&mut events)), ["recovered"]);
}

/// Tokens that are renewed every half hour leave their refusals behind.
#[tokio::test(start_paused = true)]
async fn tokens_that_never_come_back_do_not_hide_those_that_do() {
    let quota = Quota::new(burst(100, SECOND));
    let server = Server::new(|nth, _| at_once(if nth <= 5_000 { 429 } else { 200 }, &[], ""));
    let api = observed(&quota, &server);
    for nth in 0..5_000 {
        ask(&api, get(&format!("gone{nth}"))).await.unwrap();
        tokio::time::advance(ms(1)).await;
    }
    let mut events = quota.events();
    ask(&api, get("a")).await.unwrap();
    tokio::time::advance(SECOND).await;
    ask(&api, get("a")).await.unwrap();
    assert_eq!(names(&so_far(&mut events)), ["rate_limited", "recovered"]);
}
