//! A route is the method and the API's own names in the path, and nothing that tells whose record is asked for.

use http::{Method, Request};
use http_body_util::Full;
use tower_quota::event::EventKind;
use tower_quota::plan::Zone;
use tower_quota::request::{RequestHead, RouteName, Routes};
use tower_quota::{Api, Quota};

use crate::common::{SECOND, Server, at_once, burst, fresh_hubspot, so_far};
use crate::{Call, ask, at_noon, observed};

fn call(method: Method, uri: &str) -> Call {
    let request = Request::builder().method(method).uri(uri);
    request.body(Full::default()).unwrap()
}

/// As the event tells it, and the report.
async fn route_of(quota: &Quota, call: Call) -> String {
    let mut events = quota.events_with_requests();
    ask(&observed(quota, &Server::fine()), call).await.unwrap();
    let EventKind::Request { route, .. } = so_far(&mut events).remove(0).kind else {
        panic!("one event")
    };
    let reported = quota.report_top(300).routes;
    assert!(reported.iter().any(|it| it.route == route), "{route}");
    route.to_string()
}

async fn hubspot(method: Method, path: &str) -> String {
    let quota = fresh_hubspot(Zone::UTC).build();
    route_of(
        &quota,
        call(method, &format!("https://api.hubapi.com{path}")),
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn hubspots_names_are_left_and_ids_are_not() {
    for (path, route) in [
        ("/crm/v3/objects/contacts", "/crm/v3/objects/contacts"),
        (
            "/crm/v3/objects/contacts/512",
            "/crm/v3/objects/contacts/{}",
        ),
        (
            "/crm/v3/objects/contacts/512?archived=true&email=a@b.c",
            "/crm/v3/objects/contacts/{}",
        ),
        ("//crm/v3//objects/contacts/", "/crm/v3/objects/contacts"),
        (
            "/crm/objects/2026-03/contacts/512",
            "/crm/objects/2026-03/contacts/{}",
        ),
        ("/crm/v3/objects/2-3456789/77", "/crm/v3/objects/{}/{}"),
        ("/crm/v3/objects/p_car/77", "/crm/v3/objects/{}/{}"),
        (
            "/crm/v4/objects/contacts/512/associations/default/companies/99",
            "/crm/v4/objects/contacts/{}/associations/default/companies/{}",
        ),
        (
            "/contacts/v1/contact/email/ada@example.org/profile",
            "/contacts/v1/contact/email/{}/{}",
        ),
        (
            "/contacts/v1/contact/email/ada%40example.org",
            "/contacts/v1/contact/email/{}",
        ),
        ("/crm/v3/objects/con%74acts/ada", "/crm/v3/objects/{}/{}"),
        (
            "/oauth/v1/access-tokens/CJSP5qf1KhICAQ",
            "/oauth/v1/access-tokens/{}",
        ),
        ("/crm/v3/objects/contacts;session=1", "/crm/v3/objects/{}"),
        ("/CRM/v3", "/{}/v3"),
        ("/", "/"),
        ("", "/"),
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let expected = format!("{method} {route}");
            assert_eq!(hubspot(method, path).await, expected, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_of_somebodys_own_may_be_an_id() {
    let method = Method::from_bytes(b"PLANTED-4711").unwrap();
    assert_eq!(
        hubspot(method, "/crm/v3/lists").await,
        "OTHER /crm/v3/lists"
    );
}

#[tokio::test(start_paused = true)]
async fn a_path_of_ten_kilobytes_is_a_short_route() {
    let long_id = format!("/crm/v3/objects/contacts/{}", "7".repeat(10_000));
    assert_eq!(
        hubspot(Method::GET, &long_id).await,
        "GET /crm/v3/objects/contacts/{}"
    );
    for segment in ["/a", "/contacts", "/crm/v3", "/ä%20"] {
        let many = segment.repeat(10_000 / segment.len());
        let uri: Result<http::Uri, _> = many.parse();
        if uri.is_err() {
            continue;
        }
        let route = hubspot(Method::GET, &many).await;
        assert!(route.len() <= 120, "{route}");
        assert!(route.ends_with("/*"), "{route}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_an_unknown_api_no_name_is_known() {
    let quota = Quota::new(burst(100, SECOND));
    let uri = "https://ada:secret@api.example.com/users/ada@example.org?key=secret";
    assert_eq!(route_of(&quota, call(Method::PUT, uri)).await, "PUT /{}/{}");
    assert_eq!(
        route_of(&quota, call(Method::GET, "https://x")).await,
        "GET /"
    );
    // What some clients send to a proxy or a server.
    let options = route_of(&quota, call(Method::OPTIONS, "*")).await;
    assert!(
        ["OPTIONS /", "OPTIONS /{}"].contains(&&*options),
        "{options}"
    );
    let connect = call(Method::CONNECT, "secret.example.com:443");
    assert_eq!(route_of(&quota, connect).await, "CONNECT /");
}

#[tokio::test(start_paused = true)]
async fn a_caller_can_name_the_route() {
    let quota = fresh_hubspot(Zone::UTC).build();
    let named = |name: &str| {
        let mut call = call(Method::GET, "https://x/crm/v3/objects/contacts/512");
        call.extensions_mut().insert(RouteName::from(name));
        call
    };
    assert_eq!(
        route_of(&quota, named("contact by id")).await,
        "contact by id"
    );
    assert_eq!(route_of(&quota, named("")).await, "");
    // Cut between two characters.
    let long = "ü".repeat(200);
    let route = route_of(&quota, named(&long)).await;
    assert!(long.starts_with(&route) && (100..=120).contains(&route.len()));
    // By the name of those that are counted together it is one of them.
    assert_eq!(route_of(&quota, named("other")).await, "other");
    for nth in 0..300 {
        route_of(&quota, named(&nth.to_string())).await;
    }
    let routes = quota.report_top(1_000).routes;
    let others = routes.iter().filter(|it| it.route.as_str() == "other");
    assert_eq!(others.count(), 1);
}

struct Everything;

impl Routes for Everything {
    fn class(&self, _: &RequestHead<'_>) -> tower_quota::plan::RouteClass {
        tower_quota::plan::RouteClass::General
    }

    fn effect(&self, request: &RequestHead<'_>) -> tower_quota::request::Effect {
        tower_quota::request::Effect::of_method(request.method)
    }

    fn is_name(&self, _: &str) -> bool {
        true
    }
}

/// An API that calls everything a name shows it, and no more than 256 of it are remembered.
#[tokio::test(start_paused = true)]
async fn beyond_256_all_routes_are_one() {
    let quota = at_noon(Api::new(burst(100_000, SECOND)).routes(Everything)).build();
    let server = Server::new(|nth, _| at_once(if nth == 999 { 500 } else { 200 }, &[], ""));
    let api = observed(&quota, &server);
    for nth in 0..1_000 {
        let uri = format!("https://x/{nth}");
        ask(&api, call(Method::GET, &uri)).await.unwrap();
    }
    // Those that were first stay what they are.
    ask(&api, call(Method::GET, "https://x/7")).await.unwrap();
    let routes = quota.report_top(usize::MAX).routes;
    assert_eq!(routes.len(), 257);
    let other = &routes[0];
    assert_eq!(
        (other.route.as_str(), other.requests, other.errors),
        ("other", 744, 1)
    );
    assert_eq!(
        (routes[1].route.as_str(), routes[1].requests),
        ("GET /7", 2)
    );
    assert!(routes[2..].iter().all(|it| it.requests == 1));
}
