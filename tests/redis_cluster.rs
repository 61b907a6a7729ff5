//! A Redis Cluster lends slots as one server does. In real time, with three real masters.

mod common;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::redis::{RedisErrorKind, RedisLedger, RedisOptions};
use tower_quota::{Quota, TokenLimitLayer};

use common::redis_server::{RedisCluster, RedisServer};
use common::{SECOND, burst, get, ms};

fn options() -> RedisOptions {
    RedisOptions::new()
        .key("a key for tests")
        .lease(SECOND)
        .timeout(ms(250))
}

async fn shared(cluster: &RedisCluster) -> Quota {
    let ledger = RedisLedger::connect_cluster(cluster.urls(), options()).await;
    Quota::shared(burst(10, 30 * SECOND), ledger.unwrap())
}

async fn send(quota: &Quota, token: &str, max_wait: Duration) -> bool {
    let client = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = TokenLimitLayer::new(quota).max_wait(max_wait).layer(client);
    service.oneshot(get(token)).await.is_ok()
}

fn records(node: &RedisServer) -> usize {
    let keys = node.cli(&["KEYS", "*"]);
    keys.lines().filter(|key| !key.contains("members")).count()
}

#[tokio::test]
async fn tokens_are_spread_and_each_is_limited_for_all_processes_together() {
    let cluster = RedisCluster::start();
    let [first, second] = [shared(&cluster).await, shared(&cluster).await];
    for token in 0..30 {
        let token = format!("token-{token}");
        assert!(send(&first, &token, 5 * SECOND).await, "{token}");
    }
    let spread: Vec<_> = cluster.nodes.iter().map(records).collect();
    assert_eq!(spread.iter().sum::<usize>(), 30, "{spread:?}");
    assert!(spread.iter().all(|records| *records > 0), "{spread:?}");

    let mut sent = 1;
    for _ in 0..10 {
        for quota in [&first, &second] {
            sent += usize::from(send(quota, "token-0", SECOND / 2).await);
        }
    }
    assert_eq!(sent, 10);
    for quota in [first, second] {
        let calls = quota.shared_calls();
        assert_eq!((calls.failures, calls.outages), (0, 0), "{calls:?}");
    }
}

#[tokio::test]
async fn scripts_are_told_to_the_node_that_lacks_them() {
    let cluster = RedisCluster::start();
    let quota = shared(&cluster).await;
    for token in 0..12 {
        for node in &cluster.nodes {
            node.cli(&["SCRIPT", "FLUSH"]);
        }
        assert!(send(&quota, &format!("token-{token}"), 5 * SECOND).await);
    }
    assert_eq!(quota.shared_calls().failures, 0);
}

#[tokio::test]
async fn a_user_with_the_rights_that_are_documented_is_enough() {
    let cluster = RedisCluster::start();
    let rights = "on >secret resetkeys ~tower-quota:* resetchannels -@all +eval +evalsha +get +set +time +info +cluster|slots";
    let mut command = vec!["ACL", "SETUSER", "quota"];
    command.extend(rights.split(' '));
    for node in &cluster.nodes {
        node.cli(&command);
    }
    let url = |node: &RedisServer| format!("redis://quota:secret@127.0.0.1:{}", node.port());
    let urls: Vec<_> = cluster.nodes.iter().map(url).collect();
    let ledger = RedisLedger::connect_cluster(urls, options()).await;
    let quota = Quota::shared(burst(10, 30 * SECOND), ledger.unwrap());
    for token in 0..12 {
        assert!(send(&quota, &format!("token-{token}"), 5 * SECOND).await);
    }
    assert_eq!(quota.shared_calls().failures, 0);
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told_soon() {
    let mut cluster = RedisCluster::start();
    let urls = cluster.urls();
    cluster.nodes.iter_mut().for_each(RedisServer::kill);
    let clock = Clock::system();
    let error = RedisLedger::connect_cluster(&urls, options()).await;
    let (error, took) = (error.unwrap_err(), clock.elapsed());
    assert!(took < 2 * SECOND, "{took:?}");
    let kinds = [RedisErrorKind::Unreachable, RedisErrorKind::TimedOut];
    assert!(kinds.contains(&error.kind()), "{error}");

    let none = RedisLedger::connect_cluster([""; 0], options()).await;
    assert_eq!(none.unwrap_err().kind(), RedisErrorKind::Config);
}

#[tokio::test]
async fn a_cluster_that_goes_is_found_out_and_welcomed_back() {
    let mut cluster = RedisCluster::start();
    let quota = shared(&cluster).await;
    assert!(send(&quota, "token", 5 * SECOND).await);
    for node in &cluster.nodes {
        node.freeze();
    }
    let clock = Clock::system();
    while !quota.shared_calls().is_gone {
        let elapsed = clock.elapsed();
        assert!(elapsed < 3 * SECOND, "not found out after {elapsed:?}");
        tokio::time::sleep(ms(10)).await;
    }
    for node in &cluster.nodes {
        node.thaw();
    }
    cluster.wait();
    let clock = Clock::system();
    while quota.shared_calls().is_gone {
        let elapsed = clock.elapsed();
        assert!(elapsed < 4 * SECOND, "not back after {elapsed:?}");
        tokio::time::sleep(ms(10)).await;
    }
    assert!(send(&quota, "another", 5 * SECOND).await);
    cluster.nodes.clear();
}
