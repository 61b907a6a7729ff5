//! Promise: a server that allows less than the plan is believed, one that allows more is told of, and both once.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::capture::Capture;
use common::{FOREVER, SECOND, Server, after, at_once, fresh_hubspot, get, ms, patient};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_quota::plan::Zone;
use tower_quota::sim::{ServiceHeader, Sim};
use tower_quota::stack::StackLayer;

/// A server that says how much it allows, and counts nothing.
fn allows(quota: u64) -> (Server, Arc<AtomicU64>) {
    let allowed = Arc::new(AtomicU64::new(quota));
    let quota = allowed.clone();
    let server = Server::new(move |_, _| {
        let quota = quota.load(Ordering::Relaxed);
        let (max, left) = (quota.to_string(), (quota - 1).to_string());
        let told = [
            ("x-hubspot-ratelimit-max", max.as_str()),
            ("x-hubspot-ratelimit-remaining", left.as_str()),
            ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
        ];
        after(ms(100), at_once(200, &told, ""))
    });
    (server, allowed)
}

#[tokio::test(start_paused = true)]
async fn a_difference_is_told_once_and_shown_in_the_check() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let quota = fresh_hubspot(Zone::UTC).build();
    assert!(quota.plan_check().is_empty(), "nothing has been said yet");
    let (server, allowed) = allows(190);
    let api = patient(&quota).layer(server);
    for (says, in_force) in [(190, 190), (100, 100), (100, 100), (250, 190), (100, 100)] {
        allowed.store(says, Ordering::Relaxed);
        api.clone().oneshot(get("t")).await.unwrap();
        assert_eq!(quota.usage("burst", &get("t")).unwrap().quota, in_force);
        let check = quota.plan_check();
        if says == 190 {
            assert!(check.is_empty(), "{check:?}");
            continue;
        }
        let [check] = check.as_slice() else {
            panic!("{check:?}");
        };
        assert_eq!(
            (
                check.limit.as_str(),
                check.planned,
                u64::from(check.learned)
            ),
            ("burst", 190, says)
        );
        let expected = format!("burst: the plan says 190 per 10s, the server {says} per 10s");
        assert_eq!(check.to_string(), expected);
    }
    let text = capture.text();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("tower_quota::limit_learned"))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("limit=\"burst\"") && told[0].contains("planned=190 learned=100"));
    assert!(told[1].contains("planned=190 learned=250"), "{}", told[1]);
}

/// The plan is of another tier than the account. After the first answers nothing is refused.
#[tokio::test(start_paused = true)]
async fn a_lower_quota_is_not_exceeded() {
    let sim = Sim::builder()
        .burst(100, 10 * SECOND)
        .no_daily()
        .service_time(tower_quota::sim::Latency::uniform(ms(200), ms(600)))
        .service_header(Some(ServiceHeader::Envoy))
        .record(true)
        .build()
        .unwrap();
    let quota = tower_quota::Quota::new(tower_quota::hubspot::api(
        tower_quota::hubspot::Tier::Professional,
        Zone::UNKNOWN,
    ));
    let api = StackLayer::new(&quota)
        .max_wait(FOREVER)
        .layer(sim.service());
    let calls: JoinSet<_> = (0..400).map(|_| api.clone().oneshot(get("t"))).collect();
    calls.join_all().await;
    let stats = sim.stats();
    assert_eq!((stats.refused(), stats.counted()), (0, 400));
    assert!(
        sim.elapsed() < Duration::from_secs(35),
        "{:?}",
        sim.elapsed()
    );
}

/// Others are noticed and are gone again: one event each.
#[tokio::test(start_paused = true)]
async fn others_are_told_of_when_they_come_and_when_they_have_gone() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let sim = Sim::builder()
        .burst(190, 10 * SECOND)
        .no_daily()
        .build()
        .unwrap();
    let quota = fresh_hubspot(Zone::UNKNOWN).build();
    let api = patient(&quota).layer(sim.service());
    for second in 0..60 {
        if second < 20 {
            sim.spend("t", 4);
        }
        api.clone().oneshot(get("t")).await.unwrap();
        sleep(SECOND).await;
    }
    let text = capture.text();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("tower_quota::foreign_use"))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("known=true"), "{}", told[0]);
    assert!(told[1].contains("known=false"), "{}", told[1]);
}

/// A lock, a move, an empty daily pool: such a refusal says nothing of who uses the burst, even when we have just used all of it.
#[tokio::test(start_paused = true)]
async fn a_refusal_for_another_reason_is_no_sign_of_others() {
    let daily: &[(&str, &str)] = &[("x-hubspot-ratelimit-daily-remaining", "0")];
    for (status, more) in [(423, &[][..]), (477, &[]), (429, daily)] {
        let capture = Capture::default();
        let _guard = tracing::subscriber::set_default(capture.clone());
        let server = Server::new(move |nth, _| {
            let left = (189 - nth).to_string();
            let mut told = vec![
                ("x-hubspot-ratelimit-max", "190"),
                ("x-hubspot-ratelimit-remaining", left.as_str()),
            ];
            let last = nth == 189;
            told.extend(more.iter().filter(|_| last));
            after(ms(10), at_once(if last { status } else { 200 }, &told, ""))
        });
        let quota = fresh_hubspot(Zone::UNKNOWN).build();
        let api = patient(&quota).layer(server);
        for _ in 0..190 {
            api.clone().oneshot(get("t")).await.unwrap();
        }
        assert_eq!(
            quota.usage("burst", &get("t")).unwrap().foreign,
            0,
            "{status}"
        );
        assert_eq!(
            capture.events("tower_quota::foreign_use").len(),
            0,
            "{status}"
        );
        assert_eq!(
            capture.events("tower_quota::credit_halved").len(),
            0,
            "{status}"
        );
    }
}

/// A refusal that must mean the daily pool, because it says to wait for so long, tells nothing of how the burst counts.
#[tokio::test(start_paused = true)]
async fn an_empty_day_costs_no_credit() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let server = Server::new(|_, _| at_once(429, &[("retry-after", "3600")], ""));
    let quota = fresh_hubspot(Zone::UTC).build();
    let api = patient(&quota).layer(server);
    api.oneshot(get("t")).await.unwrap();
    assert_eq!(capture.events("tower_quota::daily_exhausted").len(), 1);
    assert_eq!(capture.events("tower_quota::credit_halved").len(), 0);
}
