//! When no piece is small enough there may be another way to ask, and an answer may need several questions.

use std::sync::{Arc, Mutex};

use tower::{Layer, ServiceExt};
use tower_quota::PayloadTrimLayer;
use tower_quota::trim::{Dropped, TrimError};

use crate::common::{Server, lock};
use crate::numbers::{Numbers, ask, asked, fine, heavy, numbers, server, spans, text};

/// A server that bears nothing but requests at `path`, until it is told that it is well.
fn only(path: &'static str) -> (Server, Arc<Mutex<bool>>) {
    let is_well = Arc::new(Mutex::new(false));
    let health = is_well.clone();
    let server = Server::new(move |_, seen| {
        let bears = seen.path.starts_with(path) || *lock(&health);
        if bears { fine(seen) } else { heavy() }
    });
    (server, is_well)
}

#[tokio::test(start_paused = true)]
async fn below_the_floor_another_way_is_asked_and_remembered() {
    let (server, _) = only("/light/");
    let policy = Numbers {
        floor: 10,
        instead: Some("/light/"),
        ..Numbers::default()
    };
    let layer = PayloadTrimLayer::new(policy);
    asked(&server, &layer, 0..200).await;
    // 200, 100, 50, 25, 13; then the other way, whole.
    let sizes: Vec<usize> = spans(&server).iter().map(|span| span.len()).collect();
    assert_eq!(sizes, [200, 100, 50, 25, 13, 200]);
    asked(&server, &layer, 0..200).await;
    assert_eq!(server.count(), 7);
    assert!(server.log()[6].path.starts_with("/light/"));
}

#[tokio::test(start_paused = true)]
async fn the_first_way_is_tried_again_after_a_run_and_kept_when_it_works() {
    let (server, is_well) = only("/light/");
    let policy = Numbers {
        floor: 10,
        instead: Some("/light/"),
        ..Numbers::default()
    };
    let layer = PayloadTrimLayer::new(policy);
    asked(&server, &layer, 0..20).await;
    let failures = |server: &Server| {
        let log = server.log().into_iter();
        log.filter(|seen| seen.path.starts_with("/numbers/"))
            .count()
    };
    assert_eq!(failures(&server), 2);
    // It is asked whole, once, and not halved when that fails.
    for _ in 0..256 + 512 {
        asked(&server, &layer, 0..20).await;
    }
    assert_eq!(failures(&server), 3);
    *lock(&is_well) = true;
    for _ in 0..2 {
        asked(&server, &layer, 0..20).await;
    }
    let last = server.log().pop().unwrap();
    assert!(last.path.starts_with("/numbers/"), "{}", last.path);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_out_is_said() {
    let (server, _) = only("/kept/");
    let policy = Numbers {
        instead: Some("/kept/"),
        floor: 100,
        ..Numbers::default()
    };
    let layer = PayloadTrimLayer::new(policy).layer(server);
    let response = layer.oneshot(ask(0..100)).await.unwrap();
    let dropped = response.extensions().get::<Dropped>().unwrap();
    assert_eq!(dropped.0, ["colour", "größe"]);
    let header = &response.headers()["x-tower-quota-dropped-properties"];
    assert_eq!(header.as_bytes(), "colour,größe".as_bytes());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_out_before_the_whole_was_asked_for() {
    let (server, is_well) = only("/kept/");
    let policy = Numbers {
        instead: Some("/kept/"),
        floor: 10,
        ..Numbers::default()
    };
    let layer = PayloadTrimLayer::new(policy).layer(server.clone());
    let dropped = || async {
        let response = layer.clone().oneshot(ask(0..100)).await.unwrap();
        response.extensions().get::<Dropped>().is_some()
    };
    assert!(dropped().await);
    let learning = server.count();
    // Once more, and not in halves.
    assert!(dropped().await);
    assert_eq!(server.count() - learning, 2);
    // One that is alike and not as heavy loses nothing.
    *lock(&is_well) = true;
    assert!(!dropped().await);
    assert_eq!(server.count() - learning, 3);
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_need_several_rounds_but_not_endlessly_many() {
    for (rounds, works) in [(2, true), (u32::MAX, false)] {
        let server = server(25);
        let policy = Numbers {
            rounds,
            ..Numbers::default()
        };
        let layer = PayloadTrimLayer::new(policy).layer(server.clone());
        let answer = layer.oneshot(ask(0..100)).await;
        match works {
            true => assert_eq!(text(answer.unwrap()).await.1, numbers(0..100)),
            false => assert!(answer.unwrap_err().is::<TrimError>()),
        }
        assert!(server.count() < 100);
    }
}
