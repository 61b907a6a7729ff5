//! What the layers that ask for less or for more at a time have done is in the stream of events of their quota.

mod common;
mod notes;

use common::{SECOND, Server, at_once, burst, names, patient, request, so_far};
use http::Method;
use http_body_util::{BodyExt, Full};
use notes::server::{Notes, is_batch};
use notes::{all, batches, fetches, with};
use tower::{Layer, ServiceExt};
use tower_quota::event::EventKind;
use tower_quota::{PayloadTrimLayer, Quota, hubspot};

#[tokio::test(start_paused = true)]
async fn the_stream_tells_what_was_too_heavy_and_what_worked() {
    let quota = Quota::new(burst(100, 10 * SECOND));
    let mut events = quota.events();
    let server = Server::new(|nth, _| match nth {
        0..=1 => at_once(504, &[], ""),
        _ => {
            let page = r#"{"total":1,"results":[{"id":"1","properties":{}}]}"#;
            at_once(200, &[("content-type", "application/json")], page)
        }
    });
    let search = || {
        let search = request(Method::POST, "/crm/v3/objects/contacts/search", "Bearer a");
        search.map(|_| Full::<bytes::Bytes>::from(r#"{"limit":200,"query":"x"}"#))
    };
    let layer = || PayloadTrimLayer::new(hubspot::SearchPages::default()).quota(&quota);
    let response = layer().layer(server).oneshot(search()).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();

    let seen = so_far(&mut events);
    let kinds = names(&seen);
    let heavy = kinds.iter().filter(|kind| **kind == "too_heavy").count();
    assert_eq!((heavy, kinds.last()), (2, Some(&"trimmed")), "{kinds:?}");
    for event in &seen {
        assert!(
            event.account.is_some() && event.token.is_none(),
            "{event:?}"
        );
    }
    let EventKind::Trimmed { asked, worked, .. } = seen[seen.len() - 1].kind else {
        unreachable!()
    };
    assert_eq!((asked, worked), (200, 50));

    let hopeless = layer().layer(Server::new(|_, _| at_once(504, &[], "")));
    let response = hopeless.oneshot(search()).await.unwrap();
    assert_eq!(response.status(), 504);
    let kinds = names(&so_far(&mut events));
    assert_eq!(kinds.last(), Some(&"trim_failed"), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn the_stream_tells_how_many_calls_left_together() {
    let quota = Quota::new(burst(100, 10 * SECOND));
    let mut events = quota.events();
    let notes = Notes::of("n", 20).takes(2 * SECOND);
    let inner = patient(&quota).layer(notes.service());
    let api = batches().quota(&quota).layer(inner);
    let calls = |count| {
        let calls = fetches("n", count).into_iter();
        calls.map(|call| with(call, "authorization", "Bearer a"))
    };
    all(&api, calls(10)).await;
    let seen = so_far(&mut events);
    assert_eq!(names(&seen), ["batched"]);
    assert!(seen[0].account.is_some());
    let EventKind::Batched {
        calls: together,
        requests,
        refused,
        took,
        ..
    } = seen[0].kind
    else {
        unreachable!()
    };
    assert_eq!((together, requests, refused), (10, 1, 0));
    assert_eq!(took.as_secs(), 2);

    notes.set_hook(|_, seen| is_batch(seen).then(|| at_once(413, &[], "at most 2")));
    all(&api, calls(8)).await;
    let kinds = names(&so_far(&mut events));
    assert!(kinds.contains(&"batch_limit"), "{kinds:?}");
}
