//! Whatever the server does, the request ends: with all numbers, each once and in order, or with the server's own failure; and
//! the number of requests is bounded.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{Layer, ServiceExt};
use tower_quota::PayloadTrimLayer;

use crate::common::{Answer, FOREVER, Server, after, at_once, lock, ms};
use crate::numbers::{HEAVY_BODY, Numbers, ask, heavy, numbers, span, text};

/// How a server fails.
#[derive(Clone, Copy, Debug)]
struct Moods {
    /// So many numbers are never too heavy but by chance.
    bears: usize,
    /// In per cent of all requests.
    by_chance: u32,
    short: u32,
}

fn moody(moods: Moods, rng: Rng, good: Arc<Mutex<Vec<Range<usize>>>>) -> Server {
    let rng = Mutex::new(rng);
    Server::new(move |_, seen| -> Answer {
        let span = span(seen);
        let mut rng = lock(&rng);
        let mut is = |per_cent: u32| rng.u32(0..100) < per_cent;
        let is_light = seen.path.starts_with("/light/");
        let bears = if is_light {
            moods.bears * 8
        } else {
            moods.bears
        };
        if span.len() > bears || is(moods.by_chance) {
            return heavy();
        }
        let end = if is(moods.short) {
            rng.usize(span.start + 1..=span.end)
        } else {
            span.end
        };
        lock(&good).push(span.start..end);
        let wait = ms(rng.u64(1..5_000));
        after(wait, at_once(200, &[], &numbers(span.start..end)))
    })
}

#[tokio::test(start_paused = true)]
async fn every_request_ends_whole_or_with_the_servers_failure() {
    let (mut whole, mut failed, mut most) = (0, 0, 0.0_f64);
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let moods = Moods {
            bears: [1, 1, 3, 10, 25, 60][rng.usize(0..6)],
            by_chance: [0, 0, 5, 20, 50][rng.usize(0..5)],
            short: [0, 0, 30][rng.usize(0..3)],
        };
        let policy = Numbers {
            floor: [1, 1, 10][rng.usize(0..3)],
            instead: [None, Some("/light/")][rng.usize(0..2)],
            instead_above: [0, 0, 40][rng.usize(0..3)],
            in_order: rng.bool(),
            rounds: [0, 0, 2][rng.usize(0..3)],
            ..Numbers::default()
        };
        let good = Arc::default();
        let server = moody(moods, rng.fork(), Arc::clone(&good));
        let layer = PayloadTrimLayer::new(policy.clone());
        let layer = layer.parallel(rng.usize(1..6)).unwrap();
        for _ in 0..8 {
            let size = rng.usize(1..=80);
            let before = (server.count(), lock(&good).len());
            let context = format!("seed {seed}, {size} numbers, {moods:?}, {policy:?}");
            let call = layer.layer(server.clone()).oneshot(ask(0..size));
            let response = timeout(FOREVER, call).await;
            let response = response.unwrap_or_else(|_| panic!("no end: {context}"));
            let response = response.unwrap_or_else(|error| panic!("{error}: {context}"));
            let (status, body) = text(response).await;
            let (sent, good) = (server.count() - before.0, lock(&good).len() - before.1);
            if status == StatusCode::OK {
                whole += 1;
                // What is asked whole may be answered short; that is the caller's as it came.
                let is_short = sent == 1 && moods.short > 0;
                assert!(is_short || body == numbers(0..size), "{body}: {context}");
            } else {
                failed += 1;
                assert_eq!(
                    (status, &*body),
                    (StatusCode::GATEWAY_TIMEOUT, HEAVY_BODY),
                    "{context}"
                );
            }
            // All halvings down to one number in both ways, and as many after each answer.
            let failures = sent - good;
            let halvings = 2 * (size.ilog2() as usize + 4);
            assert!(
                failures <= halvings * (good + 1),
                "{sent} requests, {good} answers: {context}"
            );
            if moods.by_chance == 0 && moods.short == 0 {
                let rounds = policy.rounds as usize + 1;
                assert!(good <= 2 * rounds * size, "{good} answers: {context}");
                assert!(failures <= 2 * halvings, "{failures} failures: {context}");
            }
            most = most.max(failures as f64 / (good + 1) as f64);
        }
    }
    println!("{whole} whole, {failed} failures handed on; {most:.1} failures per answer at most");
    assert!(whole > 1000 && failed > 50);
}

/// Many callers of one shape at once, some of whom go: no one waits for ever, and none gets a part.
#[tokio::test(start_paused = true)]
async fn so_do_those_of_many_callers() {
    for seed in 0..30 {
        let mut rng = Rng::with_seed(seed);
        let moods = Moods {
            bears: [1, 7, 25][rng.usize(0..3)],
            by_chance: [0, 3][rng.usize(0..2)],
            short: 0,
        };
        let policy = Numbers {
            floor: 10,
            instead: [None, Some("/light/")][rng.usize(0..2)],
            ..Numbers::default()
        };
        let server = moody(moods, rng.fork(), Arc::default());
        let layer = PayloadTrimLayer::new(policy);
        let mut calls = JoinSet::new();
        for _ in 0..60 {
            let api = layer.layer(server.clone());
            let (size, start) = (rng.usize(1..=80), ms(rng.u64(0..600_000)));
            let patience = if rng.u8(0..3) == 0 {
                ms(rng.u64(0..200_000))
            } else {
                FOREVER
            };
            calls.spawn(async move {
                tokio::time::sleep(start).await;
                let Ok(response) = timeout(patience, api.oneshot(ask(0..size))).await else {
                    return patience < FOREVER;
                };
                let (status, body) = text(response.unwrap()).await;
                match status {
                    StatusCode::OK => body == numbers(0..size),
                    _ => body == HEAVY_BODY,
                }
            });
        }
        while let Some(is_right) = calls.join_next().await {
            assert!(is_right.unwrap(), "seed {seed}");
        }
    }
}
