//! What fails of Redis alone costs no more than that part, is told, and comes back. In real time, with real servers.

mod common;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::redis::{OnOutage, RedisLedger, RedisOptions};
use tower_quota::{BoxError, Quota, TokenLimitLayer};

use common::capture::Capture;
use common::redis_server::{RedisCluster, RedisServer};
use common::{SECOND, burst, get, ms};

const FAILED: &str = "tower_quota::store_failed";
const GONE: &str = "tower_quota::store_gone";

const LEASE: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(100);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

fn options() -> RedisOptions {
    RedisOptions::new()
        .key("a key for tests")
        .lease(LEASE)
        .timeout(TIMEOUT)
}

async fn shared(server: &RedisServer, options: RedisOptions) -> Quota {
    let ledger = RedisLedger::connect(server.url(), options).await.unwrap();
    Quota::shared(burst(10, 30 * SECOND), ledger)
}

async fn send(quota: &Quota, token: &str, max_wait: Duration) -> Result<(), BoxError> {
    let client = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = TokenLimitLayer::new(quota).max_wait(max_wait).layer(client);
    service.oneshot(get(token)).await.map(drop)
}

#[track_caller]
fn eventually(within: Duration, is_true: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let clock = Clock::system();
        while !is_true() {
            let elapsed = clock.elapsed();
            assert!(elapsed < within, "not true after {elapsed:?}: {caller}");
            tokio::time::sleep(ms(10)).await;
        }
    }
}

/// The key of the one record that is there.
fn record(server: &RedisServer) -> String {
    let keys = server.cli(&["KEYS", "*"]);
    let mut records = keys.lines().filter(|key| !key.ends_with("{members}"));
    records.next().expect("there is a record").to_owned()
}

#[tokio::test]
async fn a_record_that_somebody_has_overwritten_stops_one_token_alone_and_is_told_once() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let server = RedisServer::start();
    let quota = shared(&server, options()).await;
    send(&quota, "spoilt", 5 * SECOND).await.unwrap();
    let key = record(&server);
    // Until it must be known as the only member.
    tokio::time::sleep(4 * LEASE).await;
    for (spoil, error) in [
        (vec!["LPUSH", &key, "x"], "WRONGTYPE"),
        (vec!["SET", &key, "x"], "FOREIGN"),
    ] {
        server.cli(&["DEL", &key]);
        server.cli(&spoil);
        let told = || {
            capture
                .events(FAILED)
                .iter()
                .any(|event| event.contains(error))
        };
        // Alone, it has all of the quota for itself.
        send(&quota, "spoilt", 5 * SECOND).await.unwrap();
        // What is told of the first is not told again for a minute.
        if error == "WRONGTYPE" {
            eventually(2 * LEASE + SLACK, told).await;
        }
        for nth in 0..3 {
            let token = format!("{error} {nth}");
            send(&quota, &token, 5 * SECOND).await.unwrap();
        }
        send(&quota, "spoilt", 5 * SECOND).await.unwrap();
    }
    tokio::time::sleep(2 * SECOND).await;
    assert!(!quota.shared_calls().is_gone);
    assert_eq!(
        (capture.events(FAILED).len(), capture.events(GONE).len()),
        (1, 0)
    );
    server.cli(&["DEL", &key]);
    let is_there = || server.cli(&["TYPE", &key]) == "string";
    eventually(2 * SECOND + SLACK, is_there).await;
    send(&quota, "spoilt", 5 * SECOND).await.unwrap();
    let failures = quota.shared_calls().failures;
    tokio::time::sleep(2 * LEASE).await;
    assert_eq!(quota.shared_calls().failures, failures);
}

#[tokio::test]
async fn a_server_that_accepts_no_writes_counts_as_gone_until_it_does() {
    let server = RedisServer::start();
    let quota = shared(&server, options().on_outage(OnOutage::FailClosed)).await;
    send(&quota, "token", 5 * SECOND).await.unwrap();
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    eventually(LEASE + 2 * TIMEOUT + SLACK, || quota.shared_calls().is_gone).await;
    assert!(send(&quota, "token", 5 * SECOND).await.is_err());
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    eventually(SECOND + SLACK, || !quota.shared_calls().is_gone).await;
    send(&quota, "token", 5 * SECOND).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_held_up_for_a_moment_costs_no_request() {
    let server = RedisServer::start_with(&["--enable-debug-command", "yes"]);
    let quota = shared(&server, options().lease(2 * SECOND)).await;
    send(&quota, "token", 5 * SECOND).await.unwrap();
    let url = server.url();
    let held_up = tokio::task::spawn_blocking(move || {
        let mut redis = redis::Client::open(url).unwrap().get_connection().unwrap();
        let slept: redis::RedisResult<()> = redis::cmd("DEBUG")
            .arg(&["SLEEP", "0.15"])
            .query(&mut redis);
        slept.unwrap();
    });
    for nth in 0..9 {
        send(&quota, "token", 5 * SECOND)
            .await
            .unwrap_or_else(|error| panic!("{nth}: {error}"));
    }
    held_up.await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert!(!quota.shared_calls().is_gone);
}

#[tokio::test]
async fn one_master_of_a_cluster_that_is_gone_costs_its_tokens_alone() {
    const TOKENS: usize = 60;
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let mut cluster = RedisCluster::start();
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let ledger = RedisLedger::connect_cluster(cluster.urls(), options().timeout(ms(200))).await;
    let quota = Quota::shared(burst(10, 30 * SECOND), ledger.unwrap());
    let send_all = async |least: usize| {
        let mut all = JoinSet::new();
        for token in least..least + TOKENS {
            let quota = quota.clone();
            all.spawn(async move { send(&quota, &format!("{token}"), 5 * SECOND).await });
        }
        let sent = all.join_all().await;
        sent.iter().filter(|sent| sent.is_ok()).count()
    };
    assert_eq!(send_all(0).await, TOKENS);
    // Until it must be known as the only member.
    tokio::time::sleep(4 * LEASE).await;
    let has_no_heartbeats = |node: &RedisServer| node.cli(&["KEYS", "*{members}"]).is_empty();
    let mut nodes = cluster.nodes.iter_mut();
    let gone = nodes.find(|node| has_no_heartbeats(node)).unwrap();
    gone.kill();

    let clock = Clock::system();
    for least in [0, TOKENS, 2 * TOKENS] {
        assert_eq!(send_all(least).await, TOKENS);
    }
    assert!(clock.elapsed() < 3 * SECOND, "{:?}", clock.elapsed());
    assert!(!quota.shared_calls().is_gone);
    eventually(SECOND, || !capture.events(FAILED).is_empty()).await;
    gone.restart();
    cluster.wait();
    let failures = || quota.shared_calls().failures;
    let clock = Clock::system();
    let mut before = failures();
    loop {
        tokio::time::sleep(2 * SECOND).await;
        match std::mem::replace(&mut before, failures()) {
            same if same == before => break,
            _ => assert!(clock.elapsed() < 15 * SECOND, "calls still fail"),
        }
    }
    assert_eq!(send_all(0).await, TOKENS);
}
