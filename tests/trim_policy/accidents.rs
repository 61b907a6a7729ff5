//! What fails once fails by chance, and changes nothing for what comes after.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tower_quota::PayloadTrimLayer;

use crate::common::{Server, at_once, lock};
use crate::numbers::{Numbers, asked, fine, heavy, numbers, server, span, spans, text};

fn one_at_a_time() -> PayloadTrimLayer {
    PayloadTrimLayer::new(Numbers::default())
        .parallel(1)
        .unwrap()
}

/// Less cannot be asked for, and nobody else repeats it here.
#[tokio::test(start_paused = true)]
async fn the_smallest_piece_is_asked_again() {
    let server = Server::new(|nth, seen| match (span(seen).len(), nth) {
        (2.., _) | (_, 6) => heavy(),
        _ => fine(seen),
    });
    asked(&server, &one_at_a_time(), 0..8).await;
    assert_eq!(spans(&server)[5..8], [2..3, 3..4, 3..4]);
}

#[tokio::test(start_paused = true)]
async fn a_second_one_long_after_the_first_is_one_too() {
    // 200, 100, 50; of the first, third and fifth piece of 25 the last two fail.
    let server = Server::new(|nth, seen| match (span(seen).len(), nth) {
        (26.., _) | (_, 5 | 9) => heavy(),
        _ => fine(seen),
    });
    let layer = one_at_a_time();
    asked(&server, &layer, 0..200).await;
    let lengths: Vec<_> = spans(&server).iter().map(|span| span.len()).collect();
    let expected = [200, 100, 50, 25, 25, 25, 13, 12, 25, 25, 13, 12, 25, 25, 25];
    assert_eq!(lengths, expected);
    let before = server.count();
    asked(&server, &layer, 0..200).await;
    assert_eq!(server.count() - before, 8);
}

/// The run before a larger size is tried is one without trouble.
#[tokio::test(start_paused = true)]
async fn it_begins_the_run_anew() {
    let fails = Arc::new(AtomicBool::new(false));
    let now = fails.clone();
    let server = Server::new(move |_, seen| match span(seen).len() {
        26.. => heavy(),
        25 if now.swap(false, Ordering::SeqCst) => heavy(),
        _ => fine(seen),
    });
    let layer = one_at_a_time();
    for pieces in (0..400).step_by(2) {
        fails.store(pieces == 200, Ordering::SeqCst);
        let before = spans(&server).len();
        asked(&server, &layer, 0..50).await;
        let larger = spans(&server)[before..].iter().any(|span| span.len() > 25);
        assert_eq!(larger, pieces == 0, "after {pieces} pieces");
    }
}

#[tokio::test(start_paused = true)]
async fn one_caller_at_a_time_tries_a_larger_size() {
    let server = server(25);
    let layer = PayloadTrimLayer::new(Numbers::default());
    for _ in 0..33 {
        asked(&server, &layer, 0..200).await;
    }
    let larger = || {
        let spans = spans(&server);
        spans.iter().filter(|span| span.len() > 25).count()
    };
    let before = larger();
    let many = || asked(&server, &layer, 0..200);
    tokio::join!(many(), many(), many(), many(), many());
    assert_eq!(larger() - before, 1);
}

/// What says that it is the end is believed, even where less was expected of it.
#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_beyond_the_end() {
    let there = 60;
    let asked_for = Arc::new(Mutex::new(Vec::new()));
    let log = asked_for.clone();
    let server = Server::new(move |_, seen| {
        let span = span(seen);
        lock(&log).push(span.clone());
        match span.len() {
            26.. => heavy(),
            _ => at_once(
                200,
                &[],
                &numbers(span.start.min(there)..span.end.min(there)),
            ),
        }
    });
    let response = crate::numbers::call(&server, &one_at_a_time(), 0..200).await;
    assert_eq!(text(response).await.1, numbers(0..60));
    assert_eq!(lock(&asked_for)[3..], [0..25, 25..50, 50..75, 60..85]);
}
