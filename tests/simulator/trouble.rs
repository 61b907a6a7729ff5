//! Faults: what goes wrong on purpose.

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tokio::time::sleep;
use tower::ServiceExt;
use tower_quota::sim::{Fault, Script, Sim, SimBody, SimError};

use crate::{LIST, SEARCH, SECOND, json, number, request, send, small};

#[tokio::test(start_paused = true)]
async fn faults_by_script() {
    let sim = small().burst(100, 10 * SECOND).build().unwrap();
    let locked = Fault::status(StatusCode::LOCKED);
    sim.script(
        Script::new(locked)
            .times(2)
            .path("/search")
            .method(Method::POST),
    );
    let moving = Fault::status(StatusCode::from_u16(477).unwrap()).retry_after(86_400);
    sim.script(Script::new(moving));
    sim.script(Script::new(
        Fault::status(StatusCode::BAD_GATEWAY).delay(SECOND),
    ));
    let timeout = Fault::status(StatusCode::from_u16(524).unwrap());
    sim.script(Script::new(timeout));
    assert_eq!(send(&sim, SEARCH).await.status(), StatusCode::LOCKED);
    let moved = send(&sim, LIST).await;
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()["retry-after"]),
        (477, &"86400".parse().unwrap())
    );
    let before = sim.elapsed();
    let gateway = send(&sim, LIST).await;
    assert_eq!(sim.elapsed() - before, SECOND);
    assert_eq!(gateway.headers()["content-type"], "text/html");
    assert_eq!(number(gateway.headers(), "max"), None);
    let timeout = send(&sim, LIST).await;
    let page = String::from_utf8(timeout.body().bytes().to_vec()).unwrap();
    assert!(page.starts_with("<html>\n<head><title>524 Origin Time-out</title></head>"));
    assert_eq!(send(&sim, SEARCH).await.status(), StatusCode::LOCKED);
    assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
    // All of them were counted, and the error of the server itself carries quota headers.
    assert_eq!(sim.stats().counted(), 6);
    sim.script(Script::new(Fault::status(
        StatusCode::INTERNAL_SERVER_ERROR,
    )));
    assert_eq!(
        number(send(&sim, LIST).await.headers(), "remaining"),
        Some(95)
    );
}

#[tokio::test(start_paused = true)]
async fn connections_are_lost_before_and_after_counting() {
    let sim = small().burst(100, 10 * SECOND).build().unwrap();
    let lost = |fault| {
        sim.script(Script::new(fault));
        let mut create = request(Method::POST, LIST, "pat-1");
        *create.body_mut() = SimBody::from(r#"{"properties":{"firstname":"A"}}"#);
        sim.service().oneshot(create)
    };
    let contacts = || async {
        json(&send(&sim, LIST).await)["results"]
            .as_array()
            .unwrap()
            .len()
    };
    let error = lost(Fault::drop_before_counting()).await.unwrap_err();
    assert!(matches!(error, SimError::ConnectionDropped));
    assert_eq!((sim.stats().counted(), contacts().await), (0, 0));
    lost(Fault::drop_after_counting()).await.unwrap_err();
    assert_eq!((sim.stats().counted(), contacts().await), (2, 0));
    lost(Fault::drop_after_work()).await.unwrap_err();
    assert_eq!((sim.stats().counted(), contacts().await), (4, 1));
    assert_eq!(sim.stats().dropped, 3);
    let hung = tokio::time::timeout(3_600 * SECOND, lost(Fault::hang())).await;
    assert!(hung.is_err());
    assert_eq!(sim.stats().hung, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_does_not_use_up_a_script_and_a_scripted_one_is_not_counted() {
    let sim = small().burst(1, 10 * SECOND).daily(100).build().unwrap();
    sim.script(Script::new(
        Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after(3),
    ));
    let refused = send(&sim, LIST).await;
    assert_eq!(refused.headers()["retry-after"], "3");
    assert_eq!(json(&refused)["policyName"], "TEN_SECONDLY_ROLLING");
    assert_eq!(number(refused.headers(), "daily-remaining"), Some(99));
    assert_eq!(send(&sim, LIST).await.status(), StatusCode::OK);
    sim.script(Script::new(Fault::status(StatusCode::SERVICE_UNAVAILABLE)));
    assert_eq!(
        send(&sim, LIST).await.status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    sleep(10 * SECOND).await;
    assert_eq!(
        send(&sim, LIST).await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test(start_paused = true)]
async fn faults_by_chance() {
    let sim = Sim::builder()
        .no_burst()
        .fault(0.2, Fault::status(StatusCode::SERVICE_UNAVAILABLE))
        .fault(0.1, Fault::drop_after_work())
        .build()
        .unwrap();
    for _ in 0..10_000 {
        let _ = sim
            .service()
            .oneshot(request(Method::GET, LIST, "pat-1"))
            .await;
    }
    let stats = sim.stats();
    assert!((1_850..2_150).contains(&stats.statuses[&503]), "{stats:?}");
    assert!((900..1_100).contains(&stats.dropped), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn headers_can_be_missing_or_hostile() {
    let sim = small().build().unwrap();
    sim.script(Script::new(Fault::own_answer().without_quota_headers()));
    let bare = send(&sim, LIST).await;
    assert_eq!(
        (bare.status(), number(bare.headers(), "max")),
        (StatusCode::OK, None)
    );
    let name = HeaderName::from_static("x-hubspot-ratelimit-remaining");
    let fault = Fault::own_answer().header(name, HeaderValue::from_static("-1"));
    sim.script(Script::new(fault));
    let hostile = send(&sim, LIST).await;
    assert_eq!(hostile.headers()["x-hubspot-ratelimit-remaining"], "-1");
    assert_eq!(json(&hostile)["results"].as_array().unwrap().len(), 0);
    let edge = Fault::status(StatusCode::TOO_MANY_REQUESTS)
        .header(CONTENT_TYPE, HeaderValue::from_static("text/plain"))
        .without_quota_headers()
        .body("error code: 1015");
    sim.script(Script::new(edge));
    let edge = send(&sim, LIST).await;
    assert_eq!(edge.headers()["content-type"], "text/plain");
    assert_eq!(edge.body().bytes(), "error code: 1015");
    assert_eq!(sim.stats().counted(), 2);
}
