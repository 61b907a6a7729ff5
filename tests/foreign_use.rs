//! Promise: when other programs spend the same quota, the responses tell, and they are left room; a sole user never loses a slot.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{BURST_BODY, FOREVER, SECOND, Server, after, at_once, ms};
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
    let api = StackLayer::new(quota)
        .max_wait(FOREVER)
        .layer(sim.service());
    let mut workers = JoinSet::new();
    for _ in 0..2 * QUOTA {
        let api = api.clone();
        workers.spawn(timeout(time, async move {
            loop {
                api.clone().oneshot(request()).await.unwrap();
            }
        }));
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

const TIME: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn others_who_take_a_third_are_left_room() {
    let figures = all_seeds(0.3, 1, 2, TIME).await;
    assert!(figures.refused() < 0.01, "{figures:?}");
    assert!(figures.used() >= 0.90, "{figures:?}");
    assert!(figures.others_lost() <= 0.05, "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn others_who_take_most_are_left_room() {
    let figures = all_seeds(0.7, 1, 2, TIME).await;
    assert!(figures.refused() < 0.01, "{figures:?}");
    assert!(figures.used() >= 0.90, "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn others_who_take_a_third_in_bursts_are_left_room() {
    let figures = all_seeds(0.3, 20, 2, TIME).await;
    assert!(figures.refused() < 0.01, "{figures:?}");
    assert!(figures.used() >= 0.80, "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn others_who_take_most_in_bursts_are_left_room() {
    let figures = all_seeds(0.7, 20, 2, TIME).await;
    assert!(figures.refused() < 0.02, "{figures:?}");
    assert!(figures.used() >= 0.75, "{figures:?}");
}

/// T12, T15. Responses overtake each other, and one in twenty takes longer than the window: its figures are of slots that have
/// aged since.
#[tokio::test(start_paused = true)]
async fn a_sole_user_loses_nothing_to_the_figures() {
    const MINUTES: Duration = Duration::from_secs(300);
    let late = Latency::WAN.tail(0.05, ms(15_000));
    let buckets = Windows::OneSecondBuckets { phase: None };
    for (latency, windows, least) in [
        (Latency::WAN, Windows::TrueRolling, 0.98),
        (Latency::WAN, buckets, 0.98),
        (late, Windows::TrueRolling, 0.90),
    ] {
        let sim = Sim::builder()
            .burst(QUOTA, WINDOW)
            .no_daily()
            .windows(windows)
            .latency(latency)
            .service_time(Latency::uniform(ms(200), ms(600)))
            .service_header(Some(ServiceHeader::Envoy))
            .seed(7)
            .build()
            .unwrap();
        let quota = hubspot_quota();
        let watch = async {
            loop {
                sleep(ms(50)).await;
                let usage = quota.usage("burst", &request()).unwrap();
                assert_eq!((usage.foreign, usage.quota), (0, 190), "{usage:?}");
            }
        };
        tokio::select! {
            () = saturate(&quota, &sim, MINUTES) => {}
            () = watch => {}
        }
        let stats = sim.stats().general;
        let used = stats.counted as f64 / (QUOTA as f64 * MINUTES.as_secs_f64() / 10.0);
        println!("{windows:?}: {:.1} % used", 100.0 * used);
        assert_eq!(stats.refused_window, 0, "{stats:?}");
        assert!(used >= least, "{used}");
        assert!(quota.plan_check().is_empty());
    }
}

/// T15. Others come, stay for a minute, and go.
#[tokio::test(start_paused = true)]
async fn what_others_used_is_ours_again_when_it_has_aged() {
    for per_second in [4, 13] {
        let sim = simulator(3, None);
        let quota = hubspot_quota();
        let others = async {
            for _ in 0..60 * per_second {
                sim.spend("t", 1);
                sleep(SECOND / per_second).await;
            }
            // Their last request leaves the window; a little more for the responses to say so.
            sleep(WINDOW + 2 * SECOND).await;
            let before = sim.stats().general;
            sleep(2 * WINDOW).await;
            let after = sim.stats().general;
            assert_eq!(before.refused_window, after.refused_window);
            let used = (after.counted - before.counted) as f64 / (2 * QUOTA) as f64;
            println!(
                "{per_second} a second, and then nobody: {:.1} % used",
                100.0 * used
            );
            assert!(used >= 0.95, "{used}");
            assert_eq!(quota.usage("burst", &request()).unwrap().foreign, 0);
        };
        // The token is known before others use it.
        sim.service().oneshot(request()).await.unwrap();
        tokio::select! {
            () = saturate(&quota, &sim, FOREVER) => {}
            () = others => {}
        }
    }
}

/// A refusal that others explain is no reason to stop for a whole window.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_others_explain_is_a_short_pause() {
    const ASKED: usize = 6;
    for (first_left, pause) in [("100", 1_000..=1_100), ("189", 10_000..=11_000)] {
        let server = Server::new(move |nth, _| {
            let (status, left, body) = match nth {
                ASKED => (429, "0", BURST_BODY),
                _ => (200, first_left, ""),
            };
            let told = [
                ("x-hubspot-ratelimit-max", "190"),
                ("x-hubspot-ratelimit-remaining", left),
            ];
            after(ms(100), at_once(status, &told, body))
        });
        let quota = hubspot_quota();
        let api = StackLayer::new(&quota)
            .max_wait(FOREVER)
            .layer(server.clone());
        // For longer than a window, after which it is no guess any more when they came.
        for _ in 0..ASKED {
            api.clone().oneshot(request()).await.unwrap();
            sleep(2 * SECOND).await;
        }
        let refused = tokio::spawn(api.oneshot(request()));
        sleep(ms(101)).await;
        let paused = quota.usage("burst", &request()).unwrap().paused_until;
        let paused = 1 + quota.until(paused.unwrap()).as_millis();
        assert!(pause.contains(&paused), "{first_left}: {paused}");
        assert_eq!(refused.await.unwrap().unwrap().status(), 200);
    }
}
