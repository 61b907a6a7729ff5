//! Promise: every token has its own slots, whatever the spelling of its header; accounts share theirs; and the token itself
//! appears nowhere: in no `Debug` or `Display`, no error, no event. Limits can be changed in mid-flight, and what makes no
//! sense is an error that names the field. (T6, T7, T42)

mod common;

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use common::capture::Capture;
use common::{
    DAILY_BODY, FOREVER, SECOND, Server, after, at_once, burst, get, lock, lost, most_in_window,
    ms, patient,
};
use http::{HeaderName, Request};
use http_body_util::Full;
use tokio::time::sleep;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_quota::body::HeldBody;
use tower_quota::clock::Clock;
use tower_quota::core::Fingerprint;
use tower_quota::hubspot::{self, HubspotSignals, Tier};
use tower_quota::plan::{Limit, Plan, RouteClass, Rule, Scope, Zone};
use tower_quota::request::{AccountId, Deadline, RequestHead, Token, TokenSource};
use tower_quota::signal::{ResponseHead, SignalReader, Signals, StandardSignals};
use tower_quota::stack::StackLayer;
use tower_quota::{
    AdaptiveConcurrencyLayer, Api, BoxError, ConfigError, Quota, QuotaError, RetryAfterLayer,
    TokenLimitLayer,
};

fn plain() -> Request<Full<Bytes>> {
    Request::get("http://x/a").body(Full::default()).unwrap()
}

fn with_header(name: &str, value: &str) -> Request<Full<Bytes>> {
    let mut request = plain();
    let name: HeaderName = name.parse().unwrap();
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// How many of these can go at once under a limit of one each: the number of different keys.
async fn keys(quota: &Quota, requests: impl IntoIterator<Item = Request<Full<Bytes>>>) -> usize {
    let server = Server::fine();
    let layer = TokenLimitLayer::new(quota).max_wait(Duration::ZERO);
    let api = ServiceBuilder::new().layer(layer).service(server.clone());
    for request in requests {
        drop(api.clone().oneshot(request).await);
    }
    server.count()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_one_however_it_is_spelled() {
    let same = [
        "Bearer x",
        "bearer  x",
        "BEARER x",
        "Bearer\tx ",
        "  Bearer x",
    ];
    let quota = Quota::new(burst(1, SECOND));
    assert_eq!(
        keys(
            &quota,
            same.map(|value| with_header("authorization", value))
        )
        .await,
        1
    );
    let others = [
        "Bearer X",
        "Bearer xx",
        "Bearer x y",
        "Bearer y",
        "Basic eDp4",
        "Bearer",
    ];
    assert_eq!(
        keys(
            &quota,
            others.map(|value| with_header("authorization", value))
        )
        .await,
        others.len()
    );
}

#[tokio::test(start_paused = true)]
async fn two_tokens_never_share_and_one_never_splits() {
    let quota = Quota::new(burst(1, SECOND));
    let tokens: Vec<_> = (0..5_000).map(|nth| format!("pat-na1-{nth:05}")).collect();
    assert_eq!(
        keys(&quota, tokens.iter().map(|token| get(token))).await,
        5_000
    );
    assert_eq!(keys(&quota, tokens.iter().map(|token| get(token))).await, 0);
    // Another quota knows nothing of them, and calls them by other names.
    let other = Quota::new(burst(1, SECOND));
    assert_eq!(keys(&other, [get("pat-na1-00000")]).await, 1);
    let name = |quota: &Quota| {
        let layer = TokenLimitLayer::new(quota).max_wait(Duration::ZERO);
        let api = ServiceBuilder::new().layer(layer).service(Server::fine());
        async move {
            let error = api.oneshot(get("pat-na1-00000")).await.unwrap_err();
            error
                .downcast_ref::<QuotaError>()
                .unwrap()
                .token()
                .to_string()
        }
    };
    assert_ne!(name(&quota).await, name(&other).await, "keyed at random");
    assert_eq!(name(&quota).await, name(&quota).await);
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_token_share_one_key() {
    let quota = Quota::new(burst(1, SECOND));
    assert_eq!(
        keys(&quota, [plain(), with_header("x-api-key", "k"), plain()]).await,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_of_one_account_share_what_is_the_account_s() {
    let plan =
        Plan::builder("accounts").limit(Limit::rolling("search", 2, SECOND).scope(Scope::Account));
    let quota = Quota::new(plan.build().unwrap());
    let of = |token: &str, account: Option<&str>| {
        let mut request = get(token);
        if let Some(account) = account {
            request.extensions_mut().insert(AccountId(account.into()));
        }
        request
    };
    assert_eq!(
        keys(
            &quota,
            [of("a", Some("1")), of("b", Some("1")), of("c", Some("1"))]
        )
        .await,
        2
    );
    assert_eq!(
        keys(
            &quota,
            [of("a", Some("2")), of("a", Some("2")), of("a", Some("2"))]
        )
        .await,
        2
    );
    // Without a name for the account the token is the account; a token called like an account is not that account.
    assert_eq!(
        keys(&quota, [of("1", None), of("1", None), of("1", None)]).await,
        2
    );
    // An account of requests without a token.
    let without = || {
        let mut request = plain();
        request.extensions_mut().insert(AccountId("1".into()));
        request
    };
    assert_eq!(
        keys(&quota, [without(), without()]).await,
        0,
        "account 1 is used up"
    );
}

/// HubSpot counts by app and account. The token of a private app is that; those of an OAuth app are renewed every half hour, and
/// a fresh one is no fresh allowance.
#[tokio::test(start_paused = true)]
async fn a_renewed_oauth_token_goes_on_where_the_old_one_was() {
    let requests = || {
        (0..400).map(|nth| {
            let mut request = get(if nth < 200 { "old" } else { "new" });
            request.extensions_mut().insert(AccountId::from("4711"));
            request
        })
    };
    for (tier, at_once) in [(Tier::PublicOauth, 110), (Tier::FreeStarter, 2 * 100)] {
        let quota = Quota::new(hubspot::api(tier, Zone::UNKNOWN));
        assert_eq!(keys(&quota, requests()).await, at_once, "{tier}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_app_is_one_for_all_tokens() {
    let plan = Plan::builder("app").limit(Limit::rolling("all", 3, SECOND).scope(Scope::App));
    let quota = Quota::new(plan.build().unwrap());
    assert_eq!(keys(&quota, ["a", "b", "c", "d", "e"].map(get)).await, 3);
}

#[tokio::test(start_paused = true)]
async fn tokens_may_be_anywhere() {
    let by_header = TokenSource::header(HeaderName::from_static("x-api-key"));
    let quota = Quota::builder(burst(1, SECOND))
        .token_source(by_header)
        .build();
    let values = ["k1", "k1", "k2"].map(|key| with_header("x-api-key", key));
    assert_eq!(keys(&quota, values).await, 2);
    assert_eq!(
        keys(&quota, [with_header("authorization", "Bearer x"), plain()]).await,
        1,
        "no key: the shared one"
    );

    let quota = Quota::builder(burst(1, SECOND))
        .token_source(TokenSource::extension())
        .build();
    let tokens = ["k1", "k1", "k2"].map(|key| {
        let mut request = with_header("authorization", "Bearer added-later");
        request.extensions_mut().insert(Token(key.into()));
        request
    });
    assert_eq!(keys(&quota, tokens).await, 2);

    let in_query = TokenSource::with(|head| {
        let query = head.uri.query()?;
        let key = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("hapikey="))?;
        Some(Cow::Borrowed(key.as_bytes()))
    });
    let quota = Quota::builder(burst(1, SECOND))
        .token_source(in_query)
        .build();
    let requests = ["/a?hapikey=1", "/b?x=y&hapikey=1", "/a?hapikey=2", "/c"].map(|path| {
        Request::get(format!("http://x{path}"))
            .body(Full::default())
            .unwrap()
    });
    assert_eq!(keys(&quota, requests).await, 3);
    let owned =
        TokenSource::with(|head| Some(Cow::Owned(head.uri.path().to_lowercase().into_bytes())));
    let quota = Quota::builder(burst(1, SECOND)).token_source(owned).build();
    let requests = ["/A", "/a"].map(|path| Request::get(path).body(Full::default()).unwrap());
    assert_eq!(keys(&quota, requests).await, 1);
}

const SECRET: &str = "pat-na1-S3CR3T-hunter2";

fn is_clean(text: &str, what: &str) {
    let text = text.to_lowercase();
    for part in ["s3cr3t", "hunter2", "pat-na1"] {
        assert!(!text.contains(part), "{what} shows the token: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_is_in_no_event_and_no_error() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let noon = SystemTime::UNIX_EPOCH + 12 * common::HOUR;
    let quota = Quota::builder(hubspot::api(Tier::Professional, Zone::UTC))
        .clock(Clock::starting_at(noon))
        .build();
    quota.set_quota("burst", 2).unwrap();
    let server = Server::new(|nth, _| match nth {
        0 => at_once(429, &[("retry-after", "1")], ""),
        1 => at_once(503, &[], ""),
        2 => lost(),
        3 => at_once(502, &[("retry-after", "2")], "<html>"),
        4 => at_once(200, &[("x-envoy-upstream-service-time", "3")], ""),
        5 => at_once(429, &[], common::BURST_BODY),
        6 => at_once(423, &[], ""),
        7 => at_once(200, &[], ""),
        _ => at_once(429, &[], DAILY_BODY),
    });
    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota))
        .service(server.clone());
    let request = || {
        let mut request = get(SECRET);
        request.extensions_mut().insert(AccountId("6251500".into()));
        request
    };
    let mut errors = Vec::new();
    for _ in 0..3 {
        match api.clone().oneshot(request()).await {
            Ok(answer) => {
                is_clean(
                    &format!("{:?}", answer.extensions().get::<Signals>()),
                    "Signals",
                );
                is_clean(&format!("{answer:?}"), "the response");
            }
            Err(error) => errors.push(error),
        }
    }
    for _ in 0..3 {
        errors.push(api.clone().oneshot(request()).await.unwrap_err());
    }
    for error in errors {
        is_clean(&format!("{error} {error:?} {error:#?}"), "the error");
        assert!(error.is::<QuotaError>());
    }
    let text = capture.text();
    for target in [
        "tower_quota::paused",
        "tower_quota::repeat",
        "tower_quota::credit_halved",
    ] {
        assert!(text.contains(target), "no event {target}:\n{text}");
    }
    is_clean(&text, "an event");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_concurrency_is_told_without_the_token() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let layer = AdaptiveConcurrencyLayer::new(&Quota::new(burst(10, SECOND)));
    let api = layer.layer(Server::new(|_, _| at_once(503, &[], "")));
    api.clone().oneshot(get(SECRET)).await.unwrap();
    let text = capture.text();
    let event = text
        .lines()
        .find(|line| line.contains("tower_quota::concurrency_changed"));
    let event = event.expect("the limit was halved");
    assert!(
        event.contains(" from=4 to=2 reason=\"overload\""),
        "{event}"
    );
    is_clean(&text, "an event");
    is_clean(&format!("{layer:?}"), "Debug");
}

/// A client's error often shows the address, and a token may be in it.
#[tokio::test(start_paused = true)]
async fn the_text_of_a_lost_connection_is_in_no_event() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let quota = Quota::new(burst(10, SECOND));
    let client = tower::service_fn(|_: Request<HeldBody<Full<Bytes>>>| async {
        let error = format!("connection reset (https://api.example.com/things?key={SECRET})");
        Err::<http::Response<Full<Bytes>>, _>(BoxError::from(error))
    });
    let api = StackLayer::new(&quota).layer(client);
    let error = api.oneshot(get("t")).await.unwrap_err();
    assert!(error.to_string().contains(SECRET), "the client's own error");
    let text = capture.text();
    assert_eq!(text.matches("tower_quota::repeat").count(), 4, "{text}");
    is_clean(&text, "an event");
}

#[tokio::test(start_paused = true)]
async fn the_token_is_in_no_debug_output() {
    let quota = Quota::builder(Api::new(burst(1, SECOND)).signals(HubspotSignals))
        .token_source(TokenSource::with(|_| {
            Some(Cow::Borrowed(SECRET.as_bytes()))
        }))
        .build();
    let builder = Quota::builder(burst(1, SECOND)).token_source(TokenSource::extension());
    let limit = TokenLimitLayer::new(&quota);
    let retry = RetryAfterLayer::new(&quota);
    let stack = StackLayer::new(&quota);
    let service = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::default()))
    });
    let limited = limit.layer(service);
    drop(limited.clone().oneshot(get(SECRET)).await);
    let denied = TokenLimitLayer::new(&quota)
        .max_wait(Duration::ZERO)
        .layer(service);
    let error = denied.oneshot(get(SECRET)).await.unwrap_err();
    let usage = quota.usage("burst", &get(SECRET)).unwrap();
    let token = Token(SECRET.into());
    let mut head = get(SECRET);
    *head.uri_mut() = format!("https://x/{SECRET}?key={SECRET}").parse().unwrap();
    let refresh = Request::post("https://x/oauth/v1/token").body(Full::<Bytes>::from(SECRET));
    let seen = Arc::new(Mutex::new(String::new()));
    let sees = seen.clone();
    let client = tower::service_fn(move |request: Request<HeldBody<Full<Bytes>>>| {
        *lock(&sees) = format!("{:?}", request.body());
        async { Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::default())) }
    });
    retry.layer(client).oneshot(refresh.unwrap()).await.unwrap();
    let body = lock(&seen).clone();
    for (what, text) in [
        ("Quota", format!("{quota:?}")),
        ("QuotaBuilder", format!("{builder:?}")),
        (
            "TokenLimitLayer",
            format!("{limit:?} {:?}", limit.layer(())),
        ),
        (
            "RetryAfterLayer",
            format!("{retry:?} {:?}", retry.layer(())),
        ),
        ("StackLayer", format!("{stack:?} {:?}", stack.layer(()))),
        ("QuotaError", format!("{error} {error:?}")),
        ("Usage", format!("{usage:?}")),
        ("Token", format!("{token:?} {token:#?}")),
        ("RequestHead", format!("{:?}", RequestHead::from(&head))),
        ("HeldBody", body),
        (
            "TokenSource",
            format!(
                "{:?} {:?}",
                TokenSource::default(),
                TokenSource::extension()
            ),
        ),
    ] {
        assert!(!text.is_empty());
        is_clean(&text, what);
    }
    // What is shown of a fingerprint is eight digits.
    let error = error.downcast_ref::<QuotaError>().unwrap();
    let shown: Fingerprint = error.token();
    assert_eq!(format!("{shown}").len(), 8);
    assert_eq!(format!("{shown:?}"), format!("{shown}"));
}

/// A zone that was learnt, or a window that was changed, is not forgotten when only the quota changes.
#[tokio::test(start_paused = true)]
async fn a_new_quota_keeps_the_rest_of_the_rule() {
    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UNKNOWN));
    let rule = Rule::Calendar {
        quota: 1,
        zone: Zone::UTC,
    };
    quota.set_rule("daily", &rule).unwrap();
    quota.set_quota("daily", 2).unwrap();
    let api = TokenLimitLayer::new(&quota).layer(Server::fine());
    for _ in 0..2 {
        api.clone().oneshot(get("t")).await.unwrap();
    }
    let error = api.oneshot(get("t")).await.unwrap_err();
    let error = error.downcast_ref::<QuotaError>().unwrap();
    assert_eq!(error.limit(), "daily", "an unknown zone counts nothing");
}

/// Up, down and up again while requests are in flight and waiting: never more than the limit in force, and no slot is lost.
#[tokio::test(start_paused = true)]
async fn limits_change_in_mid_flight() {
    let quota = Quota::new(burst(19, SECOND));
    let server = Server::new(|nth, _| after(ms((nth as u64 * 37) % 400), at_once(200, &[], "")));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    let tasks: Vec<_> = (0..400)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    let mut phases = vec![(Duration::ZERO, 19)];
    for limit in [11, 19, 3, 40, 1, 25] {
        sleep(3 * SECOND + ms(333)).await;
        quota.set_quota("burst", limit).unwrap();
        phases.push((server.elapsed(), limit as usize));
        let usage = quota.usage("burst", &get("t")).unwrap();
        assert_eq!(usage.quota, limit);
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let times: Vec<_> = server.log().iter().map(|seen| seen.at).collect();
    for (nth, (began, limit)) in phases.iter().enumerate() {
        let end = phases.get(nth + 1).map_or(FOREVER, |(end, _)| *end);
        // A new send sees at most `limit` in the window that it closes; what went before the change counts.
        for at in times.iter().filter(|at| **at > *began && **at < end) {
            let within = times
                .iter()
                .filter(|time| **time <= *at && **time + SECOND > *at)
                .count();
            assert!(within <= *limit, "{within} of {limit} at {at:?}");
        }
    }
    sleep(2 * SECOND).await;
    assert_eq!(quota.usage("burst", &get("t")).unwrap().used, 0);
    let began = server.count();
    let burst: Vec<_> = (0..30)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(server.count() - began, 25, "no slot is lost");
    for task in burst {
        task.await.unwrap().unwrap();
    }
}

/// A higher limit lets those who wait go in that instant; a shorter window likewise.
#[tokio::test(start_paused = true)]
async fn more_quota_is_used_at_once() {
    let quota = Quota::new(burst(1, 1_000 * SECOND));
    let server = Server::fine();
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    let tasks: Vec<_> = (0..12)
        .map(|_| tokio::spawn(api.clone().oneshot(get("t"))))
        .collect();
    sleep(SECOND).await;
    assert_eq!(server.count(), 1);
    quota.set_quota("burst", 4).unwrap();
    sleep(ms(1)).await;
    assert_eq!(server.times(), [0, 1_000, 1_000, 1_000]);
    quota
        .set_rule(
            "burst",
            &Rule::Rolling {
                quota: 4,
                window: 10 * SECOND,
            },
        )
        .unwrap();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let times: Vec<_> = server.log().iter().map(|seen| seen.at).collect();
    assert!(most_in_window(&times, 10 * SECOND) <= 4);
    assert!(*times.last().unwrap() < 31 * SECOND, "{times:?}");
}

fn names(error: ConfigError, field: &str) {
    assert!(
        error.field().contains(field),
        "{error} does not name {field}"
    );
    assert!(
        error.to_string().contains(field),
        "{error} does not name {field}"
    );
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_an_error_that_names_the_field() {
    let with = |limit: Limit| Plan::builder("bad").limit(limit).build();
    names(
        with(Limit::rolling("burst", 0, SECOND)).unwrap_err(),
        "`burst`: quota",
    );
    names(
        with(Limit::daily("day", 0, Zone::UTC)).unwrap_err(),
        "`day`: quota",
    );
    names(
        with(Limit::rolling("burst", 1, Duration::ZERO)).unwrap_err(),
        "`burst`: window",
    );
    names(
        with(Limit::rolling("burst", 1, Duration::from_micros(999))).unwrap_err(),
        "`burst`: window",
    );
    names(
        with(Limit::rolling("burst", 1, Duration::MAX)).unwrap_err(),
        "`burst`: window",
    );
    names(with(Limit::rolling("", 1, SECOND)).unwrap_err(), "name");
    names(
        with(Limit::rolling("burst", 1, SECOND).governs([])).unwrap_err(),
        "`burst`: governs",
    );
    let twice = Plan::builder("bad")
        .limit(Limit::rolling("a", 1, SECOND))
        .limit(Limit::rolling("a", 2, SECOND));
    names(twice.build().unwrap_err(), "`a`: name");
    let many = (0..9).fold(Plan::builder("bad"), |plan, nth| {
        plan.limit(Limit::rolling(format!("l{nth}"), 1, SECOND).governs([RouteClass::Search]))
    });
    names(many.build().unwrap_err(), "limits");
    let countless = (0..256).fold(Plan::builder("bad"), |plan, nth| {
        let class = if nth % 2 == 0 {
            RouteClass::Search
        } else {
            RouteClass::General
        };
        plan.limit(Limit::rolling(format!("l{nth}"), 1, SECOND).governs([class]))
    });
    let error = countless.build().unwrap_err();
    assert!(error.to_string().contains("255"), "{error}");
    names(Zone::fixed(15 * 3600).unwrap_err(), "zone");
    names(Zone::fixed(i32::MIN).unwrap_err(), "zone");
    names(Zone::named("Mars/Olympus").unwrap_err(), "zone");
    names("platinum".parse::<Tier>().unwrap_err(), "tier");
    assert!(Tier::Professional.with_increase(3).is_err());
    assert!(Tier::PublicOauth.with_increase(1).is_err());

    let quota = Quota::new(burst(1, SECOND));
    let retry = || RetryAfterLayer::new(&quota);
    names(retry().max_attempts(0).unwrap_err(), "max_attempts");
    names(
        retry().backoff(Duration::ZERO, SECOND).unwrap_err(),
        "backoff",
    );
    names(retry().backoff(2 * SECOND, SECOND).unwrap_err(), "backoff");
    for share in [-0.1, 1.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        names(retry().budget(1, share).unwrap_err(), "share");
    }
    assert!(retry().budget(u32::MAX, 1.0).is_ok());
    assert!(retry().max_attempts(u32::MAX).is_ok());
    assert!(retry().backoff(ms(1), Duration::MAX).is_ok());

    names(quota.set_quota("burst", 0).unwrap_err(), "`burst`: quota");
    names(quota.set_quota("nothing", 5).unwrap_err(), "nothing");
    names(
        quota
            .set_rule(
                "burst",
                &Rule::Calendar {
                    quota: 5,
                    zone: Zone::UTC,
                },
            )
            .unwrap_err(),
        "burst",
    );
    names(
        quota
            .set_rule(
                "burst",
                &Rule::Rolling {
                    quota: 5,
                    window: Duration::ZERO,
                },
            )
            .unwrap_err(),
        "`burst`: window",
    );
    assert!(quota.usage("nothing", &get("t")).is_none());
    assert_eq!(
        quota.usage("burst", &get("t")).unwrap().quota,
        1,
        "nothing of it has come into force"
    );
}

/// The largest figures there are do not overflow anywhere.
#[tokio::test(start_paused = true)]
async fn extreme_figures_are_figures() {
    let plan = Plan::builder("large")
        .limit(Limit::rolling("most", u32::MAX, 366 * 24 * 3600 * SECOND))
        .limit(Limit::rolling("least", 1, ms(1)))
        .limit(Limit::daily("day", u32::MAX, Zone::UTC))
        .build()
        .unwrap();
    let quota = Quota::builder(plan).max_waiting(u32::MAX).build();
    let layer = RetryAfterLayer::new(&quota)
        .max_attempts(u32::MAX)
        .unwrap()
        .max_body(u64::MAX)
        .max_wait(Duration::MAX);
    let layer = layer
        .budget(u32::MAX, 1.0)
        .unwrap()
        .backoff(ms(1), Duration::MAX)
        .unwrap();
    let server = Server::new(|nth, _| at_once(if nth < 20 { 503 } else { 200 }, &[], ""));
    let api = ServiceBuilder::new()
        .layer(layer)
        .layer(patient(&quota))
        .service(server.clone());
    let mut request = get("t");
    request
        .extensions_mut()
        .insert(Deadline::within(Duration::MAX));
    assert_eq!(api.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(server.count(), 21);
}

/// A reader of one's own that asks for a pause without end.
struct ForEver;

impl SignalReader for ForEver {
    fn read(&self, response: &ResponseHead<'_>, class: RouteClass, body: &[u8]) -> Signals {
        let mut signals = StandardSignals.read(response, class, body);
        signals.retry_after = Some(Duration::MAX);
        signals.service_time = Some(Duration::MAX);
        signals
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_without_end_is_a_pause() {
    let quota = Quota::new(Api::new(burst(10, SECOND)).signals(ForEver));
    let server = Server::new(|nth, _| at_once(if nth == 0 { 200 } else { 429 }, &[], ""));
    let api = ServiceBuilder::new()
        .layer(StackLayer::new(&quota))
        .service(server.clone());
    assert_eq!(api.clone().oneshot(get("t")).await.unwrap().status(), 200);
    assert_eq!(api.clone().oneshot(get("t")).await.unwrap().status(), 429);
    let error = api.oneshot(get("t")).await.unwrap_err();
    assert!(error.is::<QuotaError>(), "{error}");
    let waits = patient(&quota).max_wait(Duration::MAX).layer(server);
    let year = 366 * 24 * 3600 * SECOND;
    let answer = tokio::time::timeout(year, waits.oneshot(get("t"))).await;
    assert!(answer.is_err(), "it waits for ever");
}
