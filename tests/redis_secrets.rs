//! What stands in Redis: no token, nothing that tells one, nothing outside the prefix, and nothing for ever. In real time, with a real
//! server.

mod common;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt};
use tower_quota::plan::{Limit, Plan, Scope, Zone};
use tower_quota::redis::{RedisErrorKind, RedisLedger, RedisOptions};
use tower_quota::request::AccountId;
use tower_quota::{Quota, TokenLimitLayer};

use common::redis_server::RedisServer;
use common::{HOUR, SECOND, get, ms};

const TOKEN: &str = "pat-eu1-0f7c6c4e-51e2-4b7a-b0a5-8d3b3a5f9d11";
const ACCOUNT: &str = "portal-20174711";
const KEY: &str = "correct horse battery staple";

fn plan() -> Plan {
    let plan = Plan::builder("test")
        .limit(Limit::rolling("burst", 10, 10 * SECOND))
        .limit(Limit::rolling("minute", 300, 60 * SECOND).scope(Scope::Account))
        .limit(Limit::daily("day", 1_000, Zone::UTC).scope(Scope::App));
    plan.build().unwrap()
}

fn options() -> RedisOptions {
    // A server that has just been started has perhaps lost a record; whoever has one comes back within a lease.
    RedisOptions::new().key(KEY).lease(ms(400)).timeout(ms(200))
}

async fn shared(url: &str, options: RedisOptions) -> Quota {
    let ledger = RedisLedger::connect(url, options).await.unwrap();
    Quota::shared(plan(), ledger)
}

/// Sends a request, which may wait for longer than a lease, and for less than the shortest window.
async fn send(quota: &Quota, token: &str) -> Result<(), tower_quota::BoxError> {
    let client = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = TokenLimitLayer::new(quota)
        .max_wait(5 * SECOND)
        .layer(client);
    let mut request = get(token);
    request.extensions_mut().insert(AccountId::from(ACCOUNT));
    service.oneshot(request).await.map(drop)
}

fn keys(server: &RedisServer) -> Vec<String> {
    let keys = server.cli(&["KEYS", "*"]);
    keys.lines().map(str::to_owned).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    bytes.windows(text.len()).any(|found| found == text)
}

#[tokio::test]
async fn neither_tokens_nor_accounts_nor_the_key_are_in_the_data() {
    let server = RedisServer::start_with(&["--rdbcompression", "no"]);
    let quota = shared(&server.url(), options()).await;
    send(&quota, TOKEN).await.unwrap();
    quota.resume(&get(TOKEN));
    server.cli(&["SAVE"]);
    let directory = server.cli(&["CONFIG", "GET", "dir"]);
    let directory = directory.lines().last().unwrap().to_owned();
    let dump = std::fs::read(format!("{directory}/dump.rdb")).unwrap();
    assert!(contains(&dump, "tower-quota:{"), "the records are there");
    let parts = [TOKEN, "0f7c6c4e", ACCOUNT, "20174711", KEY, "battery"];
    for text in parts {
        assert!(!contains(&dump, text), "{text}");
    }
}

#[tokio::test]
async fn one_token_is_one_record_for_all_who_have_the_key_and_another_for_all_others() {
    let server = RedisServer::start();
    let url = server.url();
    let records = || keys(&server).len() - 1;
    let first = shared(&url, options()).await;
    send(&first, TOKEN).await.unwrap();
    // The token's, the account's, and that of the app.
    assert_eq!(records(), 3, "{:?}", keys(&server));
    let second = shared(&url, options()).await;
    send(&second, TOKEN).await.unwrap();
    assert_eq!(records(), 3, "{:?}", keys(&server));
    let stranger = shared(&url, options().key("another")).await;
    send(&stranger, TOKEN).await.unwrap();
    assert_eq!(records(), 5, "{:?}", keys(&server));
}

#[tokio::test]
async fn all_keys_have_the_prefix_and_an_end() {
    let server = RedisServer::start();
    let quota = shared(&server.url(), options().prefix("acme:prod")).await;
    send(&quota, TOKEN).await.unwrap();
    for key in keys(&server) {
        assert!(key.starts_with("acme:prod:{"), "{key}");
        let left: i64 = server.cli(&["PTTL", &key]).parse().unwrap();
        let longest = 25 * HOUR;
        assert!(
            left > 0 && left <= longest.as_millis() as i64,
            "{key}: {left}"
        );
    }
}

#[tokio::test]
async fn prefixes_share_nothing() {
    let server = RedisServer::start();
    for prefix in ["one", "two"] {
        let quota = shared(&server.url(), options().prefix(prefix)).await;
        for _ in 0..10 {
            send(&quota, TOKEN).await.unwrap();
        }
        let eleventh = send(&quota, TOKEN).await;
        assert!(eleventh.is_err());
    }
}

#[tokio::test]
async fn a_user_with_the_rights_that_are_documented_is_enough() {
    let server = RedisServer::start();
    let rights = "on >secret resetkeys ~tower-quota:* resetchannels -@all +eval +evalsha +get +set +time +info";
    let mut command = vec!["ACL", "SETUSER", "quota"];
    command.extend(rights.split(' '));
    server.cli(&command);
    let url = format!("redis://quota:secret@127.0.0.1:{}", server.port());
    let quota = shared(&url, options()).await;
    for _ in 0..10 {
        send(&quota, TOKEN).await.unwrap();
    }
    server.cli(&["SCRIPT", "FLUSH"]);
    send(&quota, "another").await.unwrap();
    let calls = quota.shared_calls();
    assert_eq!((calls.failures, calls.outages), (0, 0), "{calls:?}");
    let denied = server.cli(&["ACL", "LOG"]);
    assert!(!denied.contains("script"), "{denied}");

    let another = format!("{url}/1");
    let error = RedisLedger::connect(&another, options()).await.unwrap_err();
    assert_eq!(error.kind(), RedisErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("select"), "{error}");
    server.cli(&["ACL", "SETUSER", "quota", "+select"]);
    send(&shared(&another, options()).await, TOKEN)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_script_flush_between_two_calls_is_not_felt() {
    let server = RedisServer::start();
    let quota = shared(&server.url(), options()).await;
    for round in 0..10 {
        server.cli(&["SCRIPT", "FLUSH"]);
        let token = format!("token-{round}");
        send(&quota, &token).await.unwrap();
    }
    let calls = quota.shared_calls();
    assert_eq!(calls.failures, 0, "{calls:?}");
    assert!(calls.scripts >= 10, "{calls:?}");
}
