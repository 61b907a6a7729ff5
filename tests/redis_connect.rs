//! Connecting to Redis ends soon, and says what is wrong without saying what is secret. In real time, with a real server.

mod common;

use std::net::TcpListener;

use tower_quota::clock::Clock;
use tower_quota::redis::{RedisError, RedisErrorKind, RedisLedger, RedisOptions};

use common::redis_server::RedisServer;
use common::{HOUR, SECOND, ms};

/// What is found in no text.
const PASSWORD: &str = "swordfish";

fn options() -> RedisOptions {
    RedisOptions::new().key("a key for tests")
}

/// The error, which must not take longer than the documentation says, nor show a secret.
async fn error(url: &str, options: RedisOptions) -> RedisError {
    let clock = Clock::system();
    let connected = RedisLedger::connect(url, options).await;
    let took = clock.elapsed();
    let Err(error) = connected else {
        panic!("connected to {url}");
    };
    assert!(took < SECOND + ms(250) + ms(500), "{error} after {took:?}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD), "{text}");
    error
}

async fn assert_config(url: &str, options: RedisOptions, names: &str) {
    let error = error(url, options).await;
    assert_eq!(error.kind(), RedisErrorKind::Config, "{error}");
    assert!(error.to_string().contains(names), "{error}");
}

#[tokio::test]
async fn without_a_key_nothing_is_connected() {
    let server = RedisServer::start();
    let url = server.url();
    assert_config(&url, RedisOptions::new(), "RedisOptions::key").await;
    assert_config(&url, options().key(""), "RedisOptions::key").await;
    assert_eq!(server.cli(&["DBSIZE"]), "0");
}

#[tokio::test]
async fn options_that_make_no_sense_are_named() {
    let server = RedisServer::start();
    for (options, name) in [
        (options().prefix(""), "prefix"),
        (options().prefix("a{b}"), "prefix"),
        (options().prefix("x".repeat(257)), "prefix"),
        (options().timeout(ms(0)), "timeout"),
        (options().timeout(4 * SECOND), "timeout"),
        (options().lease(ms(99)), "lease"),
        (options().lease(25 * HOUR), "lease"),
        (options().request_timeout(25 * HOUR), "request_timeout"),
    ] {
        assert_config(&server.url(), options, name).await;
    }
}

#[tokio::test]
async fn a_url_that_is_none_is_not_repeated() {
    for url in [
        "",
        "nonsense",
        "http://user:swordfish@127.0.0.1/",
        "redis://user:swordfish@",
        "redis://user:swordfish@127.0.0.1:99999",
        "redis://user:swordfish@127.0.0.1/not-a-number",
        "redis://user:swordfish@0.0.0.0/",
        "redis:/swordfish",
        "swordfish@127.0.0.1",
    ] {
        assert_config(url, options(), "URL").await;
    }
}

#[cfg(not(feature = "redis-tls"))]
#[tokio::test]
async fn tls_without_its_feature_names_the_feature() {
    for scheme in ["rediss", "valkeys"] {
        let url = format!("{scheme}://user:{PASSWORD}@127.0.0.1/");
        assert_config(&url, options(), "`redis-tls`").await;
    }
}

#[tokio::test]
async fn where_nobody_listens_it_ends_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{port}");
    let error = error(&url, options()).await;
    assert_eq!(error.kind(), RedisErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn where_nobody_answers_it_ends_soon() {
    let server = RedisServer::start();
    let url = server.url();
    server.freeze();
    let error = error(&url, options()).await;
    assert_eq!(error.kind(), RedisErrorKind::TimedOut, "{error}");
    server.thaw();
}

#[tokio::test]
async fn a_wrong_password_is_called_that_and_not_shown() {
    let server = RedisServer::start_with(&["--requirepass", "another"]);
    let port = server.port();
    for user in ["", "default", "nobody"] {
        let url = format!("redis://{user}:{PASSWORD}@127.0.0.1:{port}");
        let error = error(&url, options()).await;
        assert_eq!(error.kind(), RedisErrorKind::Denied, "{error}");
    }
    let none = format!("redis://127.0.0.1:{port}");
    let error = error(&none, options()).await;
    assert_eq!(error.kind(), RedisErrorKind::Denied, "{error}");
    assert!(RedisLedger::connect(server.url(), options()).await.is_ok());
}

#[tokio::test]
async fn a_user_who_may_not_run_scripts_is_told_so_when_connecting() {
    let server = RedisServer::start();
    let password = format!(">{PASSWORD}");
    server.cli(&["ACL", "SETUSER", "reader", "on", &password, "~*", "+get"]);
    let url = format!("redis://reader:{PASSWORD}@127.0.0.1:{}", server.port());
    let error = error(&url, options()).await;
    assert_eq!(error.kind(), RedisErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("evalsha"), "{error}");
}

#[tokio::test]
async fn debug_of_what_is_connected_shows_no_secret() {
    let server = RedisServer::start_with(&["--requirepass", PASSWORD]);
    let options = RedisOptions::new().key(PASSWORD);
    let text = format!("{options:?}");
    assert!(!text.contains(PASSWORD), "{text}");
    let ledger = RedisLedger::connect(server.url(), options).await.unwrap();
    let text = format!("{ledger:?}");
    assert!(!text.contains(PASSWORD), "{text}");
}
