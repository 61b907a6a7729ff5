//! Whether Redis is there is found out in time, told once, and costs no more than it must. In real time, with a real server.

mod common;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::core::DenialReason;
use tower_quota::redis::{OnOutage, RedisLedger, RedisOptions};
use tower_quota::{BoxError, Quota, QuotaError, TokenLimitLayer};
use tracing::subscriber::DefaultGuard;

use common::capture::Capture;
use common::redis_server::RedisServer;
use common::{SECOND, burst, get, most_in_window, ms};

const GONE: &str = "tower_quota::store_gone";
const BACK: &str = "tower_quota::store_back";

const LEASE: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(100);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

fn options() -> RedisOptions {
    RedisOptions::new()
        .key("a key for tests")
        .prefix("outage")
        .lease(LEASE)
        .timeout(TIMEOUT)
}

async fn shared(server: &RedisServer, options: RedisOptions) -> Quota {
    let ledger = RedisLedger::connect(server.url(), options).await.unwrap();
    Quota::shared(burst(10, SECOND), ledger)
}

/// The driver runs on this thread, too.
fn capture() -> (Capture, DefaultGuard) {
    let capture = Capture::default();
    let guard = tracing::subscriber::set_default(capture.clone());
    (capture, guard)
}

/// How long it takes until something is true, which is to be within that time.
#[track_caller]
fn eventually(within: Duration, is_true: impl Fn() -> bool) -> impl Future<Output = Duration> {
    let caller = std::panic::Location::caller();
    async move {
        let clock = Clock::system();
        while !is_true() {
            let elapsed = clock.elapsed();
            assert!(elapsed < within, "not true after {elapsed:?}: {caller}");
            tokio::time::sleep(ms(2)).await;
        }
        clock.elapsed()
    }
}

/// Until the quota is a member of those who share, and so connected.
async fn joined(quota: &Quota) {
    eventually(SECOND, || quota.shared_calls().heartbeats >= 2).await;
}

#[tokio::test]
async fn a_store_that_falls_silent_is_found_out_while_nobody_asks_for_slots() {
    let (capture, _guard) = capture();
    let server = RedisServer::start();
    let quota = shared(&server, options().on_outage(OnOutage::FailClosed)).await;
    joined(&quota).await;
    server.freeze();
    let gone = || !capture.events(GONE).is_empty();
    eventually(LEASE + 2 * TIMEOUT + SLACK, gone).await;
    assert!(quota.shared_calls().is_gone);
    let event = &capture.events(GONE)[0];
    assert!(event.starts_with("WARN "), "{event}");
    assert!(event.contains("policy=FailClosed"), "{event}");
    assert!(event.contains("does not answer in time"), "{event}");

    tokio::time::sleep(SECOND).await;
    server.thaw();
    // The attempt of the moment, the longest pause, and the next attempt.
    let back = || !capture.events(BACK).is_empty();
    eventually(3 * SECOND + SLACK, back).await;
    assert!(!quota.shared_calls().is_gone);
    assert!(
        capture.events(BACK)[0].contains("after=1."),
        "{:?}",
        capture.events(BACK)
    );
    assert_eq!(
        (capture.events(GONE).len(), capture.events(BACK).len()),
        (1, 1)
    );
    assert_eq!(quota.shared_calls().outages, 1);
}

#[tokio::test]
async fn a_store_that_ends_is_tried_again_until_it_is_back_but_not_in_a_storm() {
    let (capture, _guard) = capture();
    let mut server = RedisServer::start();
    let quota = shared(&server, options()).await;
    joined(&quota).await;
    server.kill();
    eventually(LEASE + 2 * TIMEOUT + SLACK, || quota.shared_calls().is_gone).await;
    let before = quota.shared_calls();
    tokio::time::sleep(3 * SECOND).await;
    let tries = quota.shared_calls().heartbeats - before.heartbeats;
    // After 0.1, 0.2, 0.4 and 0.8 s, and then every second; up to half of each may be missing.
    assert!((3..=9).contains(&tries), "{tries}");
    server.restart();
    eventually(SECOND + SLACK, || !quota.shared_calls().is_gone).await;
    assert_eq!(
        (capture.events(GONE).len(), capture.events(BACK).len()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_lost_connection_is_made_anew_and_is_no_outage() {
    let server = RedisServer::start();
    let quota = shared(&server, options()).await;
    joined(&quota).await;
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    let before = quota.shared_calls();
    eventually(5 * LEASE, || {
        quota.shared_calls().heartbeats >= before.heartbeats + 3
    })
    .await;
    let after = quota.shared_calls();
    assert_eq!((after.outages, after.is_gone), (0, false));
    assert!(after.failures <= before.failures + 1, "{after:?}");
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_told_again() {
    let server = RedisServer::start();
    let quota = shared(&server, options()).await;
    joined(&quota).await;
    let before = quota.shared_calls();
    assert_eq!(before.scripts, 0, "they were told when it connected");
    server.cli(&["SCRIPT", "FLUSH"]);
    eventually(3 * LEASE, || {
        quota.shared_calls().heartbeats >= before.heartbeats + 2
    })
    .await;
    let after = quota.shared_calls();
    assert_eq!((after.scripts, after.failures), (1, 0));
}

#[tokio::test]
async fn a_server_that_is_demoted_is_left() {
    let server = RedisServer::start();
    let quota = shared(&server, options()).await;
    joined(&quota).await;
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    eventually(LEASE + 2 * TIMEOUT + SLACK, || quota.shared_calls().is_gone).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually(3 * SECOND, || !quota.shared_calls().is_gone).await;
}

#[tokio::test]
async fn a_server_whose_memory_is_full_counts_as_gone() {
    let (capture, _guard) = capture();
    let server = RedisServer::start();
    let quota = shared(&server, options()).await;
    joined(&quota).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    eventually(LEASE + 2 * TIMEOUT + SLACK, || quota.shared_calls().is_gone).await;
    let event = &capture.events(GONE)[0];
    assert!(event.contains("OOM"), "{event}");
}

#[tokio::test]
async fn the_last_handle_takes_the_connection_and_the_membership_with_it() {
    let server = RedisServer::start();
    let clients = || {
        server
            .cli(&["CLIENT", "LIST", "TYPE", "normal"])
            .lines()
            .count()
    };
    let alone = clients();
    let [first, second] = [
        shared(&server, options()).await,
        shared(&server, options()).await,
    ];
    joined(&first).await;
    joined(&second).await;
    assert_eq!(clients(), alone + 2);
    let both = server.cli(&["GET", "outage:{members}"]).len();
    let copy = first.clone();
    drop(first);
    tokio::time::sleep(ms(50)).await;
    assert_eq!(clients(), alone + 2, "a handle is left");
    drop(copy);
    eventually(SECOND, || clients() == alone + 1).await;
    let one = server.cli(&["GET", "outage:{members}"]).len();
    assert!(one < both, "the member is still on the list");
    drop(second);
    eventually(SECOND, || clients() == alone).await;
}

#[tokio::test]
async fn the_last_handle_does_not_wait_for_a_store_that_is_silent() {
    let server = RedisServer::start();
    let quota = shared(&server, options()).await;
    joined(&quota).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    assert!(tasks() > 0);
    server.freeze();
    drop(quota);
    eventually(4 * TIMEOUT + SLACK, || tasks() == 0).await;
    server.thaw();
}

async fn send(quota: &Quota, max_wait: Duration) -> Result<(), BoxError> {
    let client = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = TokenLimitLayer::new(quota).max_wait(max_wait).layer(client);
    service.oneshot(get("token")).await.map(drop)
}

#[tokio::test]
async fn those_who_want_no_request_to_go_uncounted_fail_soon_and_are_told_why() {
    let mut server = RedisServer::start();
    let quota = shared(&server, options().on_outage(OnOutage::FailClosed)).await;
    send(&quota, 5 * SECOND).await.unwrap();
    server.kill();
    eventually(LEASE + 2 * TIMEOUT + SLACK, || quota.shared_calls().is_gone).await;
    let clock = Clock::system();
    let error = send(&quota, 30 * SECOND).await.unwrap_err();
    assert!(clock.elapsed() < SLACK, "{:?}", clock.elapsed());
    let error = error.downcast_ref::<QuotaError>().unwrap();
    assert_eq!(error.reason(), DenialReason::StoreGone);
    let text = error.to_string();
    assert!(
        text.contains("the store that lends its slots cannot be reached"),
        "{text}"
    );
    server.restart();
    eventually(2 * SECOND + SLACK, || !quota.shared_calls().is_gone).await;
    send(&quota, 10 * SECOND).await.unwrap();
}

#[tokio::test]
async fn who_is_alone_goes_on_with_the_whole_quota_and_returns_without_a_burst() {
    let mut server = RedisServer::start();
    let quota = shared(&server, options()).await;
    let clock = Clock::system();
    let demand = async {
        let mut times = Vec::new();
        while clock.elapsed() < 12 * SECOND {
            send(&quota, 30 * SECOND).await.unwrap();
            times.push(clock.elapsed());
        }
        times
    };
    let outage = async {
        // Until it must be known as a member.
        tokio::time::sleep(3 * SECOND).await;
        server.kill();
        eventually(LEASE + 2 * TIMEOUT + SLACK, || quota.shared_calls().is_gone).await;
        let from = clock.elapsed();
        tokio::time::sleep(5 * SECOND).await;
        server.restart();
        from..clock.elapsed()
    };
    let (times, outage) = tokio::join!(demand, outage);
    let during = times.iter().filter(|time| outage.contains(time)).count();
    assert!(during >= 35, "{during} of 50");
    let after = times.iter().filter(|time| **time > outage.end).count();
    assert!(after >= 20, "{after} of some 35");
    let most = most_in_window(&times, SECOND);
    assert!(most <= 10, "{most} in a second");
    assert!(!quota.shared_calls().is_gone);
}

#[tokio::test]
async fn no_request_waits_for_a_call_to_a_store_that_is_silent() {
    let server = RedisServer::start();
    let quota = shared(&server, options().on_outage(OnOutage::FailOpen)).await;
    send(&quota, 5 * SECOND).await.unwrap();
    server.freeze();
    let clock = Clock::system();
    for _ in 0..5 {
        send(&quota, 30 * SECOND).await.unwrap();
    }
    let took = clock.elapsed();
    assert!(took < 2 * TIMEOUT + SECOND + SLACK, "{took:?}");
    server.thaw();
}
