//! A shared quota may be made and used anywhere, and does not hang where the runtime ends that carries its calls. In real time, with a
//! real server.

mod common;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::core::DenialReason;
use tower_quota::redis::{OnOutage, RedisLedger, RedisOptions};
use tower_quota::{BoxError, Quota, QuotaError, TokenLimitLayer};

use common::capture::Capture;
use common::redis_server::RedisServer;
use common::{SECOND, burst, get, ms};

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

fn options() -> RedisOptions {
    RedisOptions::new()
        .key("a key for tests")
        .lease(ms(400))
        .timeout(ms(100))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn shared(server: &RedisServer, options: RedisOptions) -> Quota {
    let ledger = RedisLedger::connect(server.url(), options).await.unwrap();
    Quota::shared(burst(10, 30 * SECOND), ledger)
}

async fn send(quota: &Quota, max_wait: Duration) -> Result<(), BoxError> {
    let client = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = TokenLimitLayer::new(quota).max_wait(max_wait).layer(client);
    service.oneshot(get("token")).await.map(drop)
}

#[test]
fn a_quota_may_be_made_outside_the_runtime_and_used_in_others() {
    let server = RedisServer::start();
    let carrier = Builder::new_multi_thread().enable_all().build().unwrap();
    let ledger = carrier.block_on(RedisLedger::connect(server.url(), options()));
    let quota = Quota::shared(burst(10, 30 * SECOND), ledger.unwrap());
    for nth in 0..10 {
        let sent = runtime().block_on(send(&quota, 5 * SECOND));
        assert!(sent.is_ok(), "{nth}: {sent:?}");
    }
    assert!(runtime().block_on(send(&quota, SECOND)).is_err());
    drop(carrier);
}

#[test]
fn a_runtime_that_ends_is_told_as_an_outage_and_nobody_waits_for_it() {
    for then in [
        OnOutage::LocalShare,
        OnOutage::FailClosed,
        OnOutage::FailOpen,
    ] {
        let capture = Capture::default();
        let _guard = tracing::subscriber::set_default(capture.clone());
        let server = RedisServer::start();
        let carrier = runtime();
        let quota = carrier.block_on(async {
            let quota = shared(&server, options().on_outage(then)).await;
            send(&quota, 5 * SECOND).await.unwrap();
            // Until it must be known as the only member.
            tokio::time::sleep(2 * SECOND).await;
            quota
        });
        drop(carrier);
        assert!(quota.shared_calls().is_gone, "{then:?}");
        let events = capture.events("tower_quota::store_gone");
        assert_eq!(events.len(), 1, "{then:?}: {events:?}");
        assert!(events[0].contains("the runtime has ended"), "{events:?}");

        let clock = Clock::system();
        let sent = runtime().block_on(send(&quota, 20 * SECOND));
        assert!(clock.elapsed() < SLACK, "{then:?}: {:?}", clock.elapsed());
        match then {
            OnOutage::FailClosed => {
                let error = sent.unwrap_err();
                let error = error.downcast_ref::<QuotaError>().unwrap();
                assert_eq!(error.reason(), DenialReason::StoreGone);
            }
            _ => assert!(sent.is_ok(), "{then:?}: {sent:?}"),
        }
    }
}

#[test]
fn a_quota_that_is_made_when_its_runtime_has_ended_is_in_an_outage() {
    let server = RedisServer::start();
    let carrier = runtime();
    let options = options().on_outage(OnOutage::FailClosed);
    let ledger = carrier.block_on(RedisLedger::connect(server.url(), options));
    drop(carrier);
    let quota = Quota::shared(burst(10, 30 * SECOND), ledger.unwrap());
    assert!(quota.shared_calls().is_gone);
    assert!(runtime().block_on(send(&quota, 20 * SECOND)).is_err());
}

#[test]
fn whoever_leaves_with_the_runtime_does_not_hang() {
    let server = RedisServer::start();
    let clock = Clock::system();
    runtime().block_on(async {
        let quota = shared(&server, options()).await;
        send(&quota, 5 * SECOND).await.unwrap();
    });
    assert!(clock.elapsed() < SECOND + SLACK, "{:?}", clock.elapsed());
}

#[test]
fn two_quotas_of_one_process_are_two_members() {
    let server = RedisServer::start();
    runtime().block_on(async {
        let quotas = [
            shared(&server, options()).await,
            shared(&server, options()).await,
        ];
        let mut sent = 0;
        for nth in 0..12 {
            sent += usize::from(send(&quotas[nth % 2], SECOND).await.is_ok());
        }
        assert_eq!(sent, 10, "together they have one quota");
    });
}
