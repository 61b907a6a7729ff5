//! Where no answer tells the service time, a share of the round trip may be credited: more of the quota is used, at the price of
//! a refusal now and then. It is the user's choice.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use common::{FOREVER, SECOND, burst, get, ms};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::Quota;
use tower_quota::core::Guard;
use tower_quota::sim::{Latency, ServiceHeader, Sim};
use tower_quota::stack::StackLayer;

const QUOTA: u32 = 5;

/// Saturating demand at 5 per 1 s and 400 ms of work; gives the shares of requests refused and of the quota used.
async fn run(guard: Guard, header: Option<ServiceHeader>, total: usize, seed: u64) -> (f64, f64) {
    fastrand::seed(seed);
    let sim = Sim::builder()
        .burst(QUOTA.into(), SECOND)
        .no_daily()
        .latency(Latency::WAN)
        .service_time(Latency::constant(ms(400)))
        .service_header(header)
        .seed(seed)
        .build()
        .unwrap();
    let quota = Quota::builder(burst(QUOTA, SECOND)).guard(guard).build();
    let api = StackLayer::new(&quota)
        .max_wait(FOREVER)
        .layer(sim.service());
    let left = Arc::new(AtomicUsize::new(total));
    let mut workers = JoinSet::new();
    for _ in 0..50 {
        let (api, left) = (api.clone(), left.clone());
        workers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Relaxed, Relaxed, take).is_ok() {
                api.clone().oneshot(get("one")).await.unwrap();
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
    let stats = sim.stats();
    let ideal = (total as f64 / f64::from(QUOTA) - 1.0) * SECOND.as_secs_f64();
    let used = ideal / stats.last_admitted.unwrap().as_secs_f64();
    (stats.refused() as f64 / stats.arrived() as f64, used)
}

#[tokio::test(start_paused = true)]
async fn learned_credit_uses_more_and_is_refused_rarely() {
    let (refused, proven) = run(Guard::Proven, None, 3_000, 1).await;
    assert!(refused == 0.0, "the default is proven: {refused}");
    let (refused, learned) = run(Guard::Learned, None, 3_000, 1).await;
    assert!(
        learned > proven + 0.04,
        "used {learned:.3} instead of {proven:.3}"
    );
    assert!(refused < 0.005, "refused {refused:.4}");
}

#[tokio::test(start_paused = true)]
async fn where_the_service_time_is_told_nothing_is_learned() {
    let (refused, _) = run(Guard::Learned, Some(ServiceHeader::Envoy), 3_000, 1).await;
    assert!(refused == 0.0, "{refused}");
}
