//! A server at a `rediss://` URL is spoken to over TLS, and only if somebody vouches for it. In real time, with a real server that was
//! built with TLS; needs the feature `redis-tls`.
#![cfg(feature = "redis-tls")]

mod common;

use std::net::TcpListener;

use tower_quota::redis::{RedisErrorKind, RedisLedger, RedisOptions};

use common::redis_server::RedisServer;

const ROOTS: &str = include_str!("certificates/ca.pem");
const CLIENT: &str = include_str!("certificates/client.pem");
const CLIENT_KEY: &str = include_str!("certificates/client.key");

fn options() -> RedisOptions {
    RedisOptions::new().key("a key for tests")
}

/// A server, and its URL for TLS.
fn server(clients: &str) -> (RedisServer, String) {
    let file = |name| format!("{}/tests/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = port.unwrap().port().to_string();
    let server = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-cert-file",
        &file("server.pem"),
        "--tls-key-file",
        &file("server.key"),
        "--tls-auth-clients",
        clients,
    ]);
    (server, format!("rediss://localhost:{port}"))
}

#[tokio::test]
async fn a_server_that_is_vouched_for_is_connected_to() {
    let (_server, url) = server("no");
    let ledger = RedisLedger::connect(&url, options().root_certificates(ROOTS)).await;
    assert!(ledger.is_ok(), "{ledger:?}");
}

#[tokio::test]
async fn a_server_for_which_nobody_vouches_is_not() {
    let (_server, url) = server("no");
    let error = RedisLedger::connect(&url, options()).await.unwrap_err();
    assert_eq!(error.kind(), RedisErrorKind::Unreachable, "{error}");
    let (_, address) = url.split_once("localhost:").unwrap();
    let plain = format!("redis://localhost:{address}");
    assert!(RedisLedger::connect(&plain, options()).await.is_err());
}

#[tokio::test]
async fn a_server_that_wants_to_know_its_clients_is_shown_a_certificate() {
    let (_server, url) = server("yes");
    let options = options().root_certificates(ROOTS);
    assert!(RedisLedger::connect(&url, options.clone()).await.is_err());
    let options = options.client_certificate(CLIENT, CLIENT_KEY);
    let ledger = RedisLedger::connect(&url, options).await;
    assert!(ledger.is_ok(), "{ledger:?}");
}

#[tokio::test]
async fn certificates_that_are_none_are_named() {
    for (options, name) in [
        (options().root_certificates("nonsense"), "root_certificates"),
        (
            options().client_certificate("", CLIENT_KEY),
            "client_certificate",
        ),
        (options().client_certificate(CLIENT, ""), "private key"),
    ] {
        let error = RedisLedger::connect("rediss://localhost:1", options).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), RedisErrorKind::Config, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
