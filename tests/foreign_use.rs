//! Promise: when other programs spend the same quota, the responses tell, and they are left room; a sole user never loses a slot.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{FOREVER, ms};
use http::Request;
use http_body_util::Empty;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt};
use tower_quota::Quota;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::sim::{Latency, Others, ServiceHeader, Sim, Windows};
use tower_quota::stack::StackLayer;

/// HubSpot's burst of the Professional tier.
const QUOTA: u64 = 190;
const WINDOW: Duration = Duration::from_secs(10);

/// 20 ms + exp(30 ms) each way with 2 % tails to 1.5 s, 200 to 600 ms of work.
fn simulator(seed: u64, others: Option<Others>) -> Sim {
    let sim = Sim::builder()
        .burst(QUOTA, WINDOW)
        .no_daily()
        .windows(Windows::TrueRolling)
        .latency(Latency::WAN)
        .service_time(Latency::uniform(ms(200), ms(600)))
        .service_header(Some(ServiceHeader::Envoy))
        .seed(seed);
    let sim = match others {
        Some(others) => sim.others(others),
        None => sim,
    };
    sim.build().unwrap()
}

fn request() -> Request<Empty<Bytes>> {
    let request = Request::get("http://sim/crm/v3/owners").header("authorization", "Bearer t");
    request.body(Empty::new()).unwrap()
}

fn hubspot_quota() -> Quota {
    Quota::new(hubspot::api(Tier::Professional, Zone::UNKNOWN))
}

/// Makes as many requests as may go, until the time is over.
async fn saturate(quota: &Quota, sim: &Sim, time: Duration) {
    let end = sim.elapsed() + time;
    let api = StackLayer::new(quota)
        .max_wait(FOREVER)
        .layer(sim.service());
    let mut workers = JoinSet::new();
    for _ in 0..2 * QUOTA {
        let (api, sim) = (api.clone(), sim.clone());
        workers.spawn(async move {
            let left = || end.saturating_sub(sim.elapsed());
            while let Ok(answer) = timeout(left(), api.clone().oneshot(request())).await {
                answer.unwrap();
            }
        });
    }
    workers.join_all().await;
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    sent: u64,
    refused: u64,
    used: u64,
    allowed: f64,
    others: u64,
    others_refused: u64,
}

impl Figures {
    fn refused(&self) -> f64 {
        self.refused as f64 / self.sent as f64
    }

    fn used(&self) -> f64 {
        self.used as f64 / self.allowed
    }

    fn others_lost(&self) -> f64 {
        self.others_refused as f64 / (self.others + self.others_refused) as f64
    }
}

/// Others take `share` of the quota, in bursts of `at_once`, and never hold back; we take all that we can get.
async fn beside_others(share: f64, at_once: u32, seed: u64, time: Duration) -> Figures {
    let rate = share * QUOTA as f64 / WINDOW.as_secs_f64();
    let sim = simulator(seed, Some(Others::burst(rate).in_bursts_of(at_once)));
    // They begin when the token is seen first, and have been there for two windows when we come.
    sim.service().oneshot(request()).await.unwrap();
    sleep(2 * WINDOW).await;
    let before = sim.stats().general;
    let quota = hubspot_quota();
    saturate(&quota, &sim, time).await;
    let stats = sim.stats().general;
    let others = stats.others_counted - before.others_counted;
    Figures {
        sent: stats.arrived - before.arrived,
        refused: stats.refused_window,
        used: stats.counted - before.counted + others,
        allowed: QUOTA as f64 * time.as_secs_f64() / WINDOW.as_secs_f64(),
        others,
        others_refused: stats.others_refused,
    }
}

async fn all_seeds(share: f64, at_once: u32, seeds: u64, time: Duration) -> Figures {
    let mut sum = Figures::default();
    for seed in 1..=seeds {
        fastrand::seed(seed);
        let one = beside_others(share, at_once, seed, time).await;
        sum.sent += one.sent;
        sum.refused += one.refused;
        sum.used += one.used;
        sum.allowed += one.allowed;
        sum.others += one.others;
        sum.others_refused += one.others_refused;
    }
    println!(
        "{:.0} % in bursts of {at_once}: {:.2} % refused, {:.1} % used, others lose {:.1} %",
        100.0 * share,
        100.0 * sum.refused(),
        100.0 * sum.used(),
        100.0 * sum.others_lost(),
    );
    sum
}

/// Prints the figures of ten seeds: `cargo test --release --test foreign_use -- --ignored --nocapture`.
#[tokio::test(start_paused = true)]
#[ignore = "takes long"]
async fn figures_of_ten_seeds() {
    for (share, at_once) in [(0.3, 1), (0.7, 1), (0.3, 20), (0.7, 20)] {
        all_seeds(share, at_once, 10, Duration::from_secs(1_200)).await;
    }
}
