//! Promise: when we are the only user of a rolling limit, the server never refuses us, whatever the latencies are; and we use
//! nearly all of it.

mod common;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{PieceBody, SECOND, Server, after, at_once, burst, get, lock, ms, patient, response};
use http::Request;
use http_body_util::Empty;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::Quota;
use tower_quota::clock::Clock;
use tower_quota::plan::{Limit, Plan};
use tower_quota::sim::{Latency, ServiceHeader, Sim, Windows};
use tower_quota::stack::StackLayer;

#[derive(Clone, Copy, Debug)]
struct Scenario {
    quota: u32,
    window: Duration,
    tasks: usize,
    total: usize,
    /// The server says how long it worked.
    header: bool,
    windows: Windows,
}

/// 20 ms + exp(30 ms) each way with 2 % tails to 1.5 s, 200 to 600 ms of work.
fn simulator(scenario: &Scenario) -> Sim {
    Sim::builder()
        .burst(u64::from(scenario.quota), scenario.window)
        .no_daily()
        .windows(scenario.windows)
        .latency(Latency::exponential(ms(20), ms(30)).tail(0.02, ms(1500)))
        .service_time(Latency::uniform(ms(200), ms(600)))
        .service_header(scenario.header.then_some(ServiceHeader::Envoy))
        .seed(7)
        .build()
        .unwrap()
}

/// How many requests were refused, and which share of the ideal was used.
async fn run(scenario: &Scenario) -> (u64, f64) {
    let sim = simulator(scenario);
    let plan = Plan::builder("sim").limit(Limit::rolling("burst", scenario.quota, scenario.window));
    let quota = Quota::new(plan.build().unwrap());
    let stack = StackLayer::new(&quota).max_wait(100_000 * SECOND);
    let api = stack.layer(sim.service());
    let left = Arc::new(AtomicUsize::new(scenario.total));
    let mut workers = JoinSet::new();
    for _ in 0..scenario.tasks {
        let (api, left) = (api.clone(), left.clone());
        workers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Relaxed, Relaxed, take).is_ok() {
                let request =
                    Request::get("http://sim/crm/v3/owners").header("authorization", "Bearer t");
                let request = request.body(Empty::<Bytes>::new()).unwrap();
                api.clone().oneshot(request).await.unwrap();
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
    let rounds = (scenario.total as f64 / f64::from(scenario.quota) - 1.0).ceil();
    let ideal = rounds * scenario.window.as_secs_f64();
    let stats = sim.stats();
    assert_eq!(stats.counted(), scenario.total as u64);
    let last = stats.last_admitted.unwrap();
    (stats.refused(), ideal / last.as_secs_f64())
}

/// T1, T2, T47. `cargo bench --bench goodput` has the figures, over many seeds and beside other limiters.
#[tokio::test(start_paused = true)]
async fn nothing_is_refused_and_nearly_all_is_used() {
    let buckets = Windows::OneSecondBuckets { phase: None };
    for windows in [Windows::TrueRolling, buckets] {
        for (quota, window, tasks, total, with_header, without) in [
            (100, 10, 200, 3_000, 0.97, 0.92),
            (190, 10, 400, 6_000, 0.98, 0.93),
            (5, 1, 100, 300, 0.87, 0.64),
        ] {
            for (header, least) in [(true, with_header), (false, without)] {
                let scenario = Scenario {
                    quota,
                    window: window * SECOND,
                    tasks,
                    total,
                    header,
                    windows,
                };
                let (refused, used) = run(&scenario).await;
                assert_eq!(refused, 0, "{scenario:?}");
                assert!(used >= least, "{scenario:?}: {used}");
            }
        }
    }
}

/// The service time of an answer is credited. A gateway that gives up tells how long it waited, and a refusal nothing: their
/// slots age from the response.
#[tokio::test(start_paused = true)]
async fn only_an_answer_is_credited() {
    for (status, earliest) in [(200, 1_100), (404, 1_100), (502, 1_500)] {
        let quota = Quota::new(burst(1, SECOND));
        let server = Server::new(move |_, _| {
            let told = [("x-envoy-upstream-service-time", "400")];
            after(ms(500), at_once(status, &told, ""))
        });
        let api = patient(&quota).layer(server.clone());
        for _ in 0..2 {
            api.clone().oneshot(get("t")).await.unwrap();
        }
        let second = server.times()[1];
        let expected = earliest..=earliest + 2;
        assert!(expected.contains(&second), "{status}: {second}");
    }
}

/// Credit takes for granted that a server counts a request before it works on it. One that counts afterwards refuses; then less
/// and less is credited, also where a refusal does not say which limit it means.
#[tokio::test(start_paused = true)]
async fn a_server_that_counts_late_is_credited_less() {
    const QUOTA: usize = 5;
    let (clock, refused) = (Clock::system(), Arc::new(Mutex::new(0)));
    let counted: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let refusals = refused.clone();
    let random = Mutex::new(fastrand::Rng::with_seed(1));
    let server = Server::new(move |_, _| {
        let (clock, counted, refused) = (clock.clone(), counted.clone(), refusals.clone());
        let service = lock(&random).u64(200..600);
        Box::pin(async move {
            tokio::time::sleep(ms(service)).await;
            let now = clock.elapsed();
            let mut counted = lock(&counted);
            counted.retain(|at| *at + SECOND > now);
            if counted.len() == QUOTA {
                *lock(&refused) += 1;
                return Ok(response(
                    429,
                    &[("retry-after", "0.1")],
                    PieceBody::whole(""),
                ));
            }
            counted.push(now);
            let millis = service.to_string();
            let headers = [("x-envoy-upstream-service-time", millis.as_str())];
            Ok(response(200, &headers, PieceBody::whole("")))
        })
    });
    let quota = Quota::new(burst(QUOTA as u32, SECOND));
    let api = patient(&quota).layer(server);
    let mut rounds = Vec::new();
    for _ in 0..4 {
        let before = *lock(&refused);
        let mut tasks = JoinSet::new();
        for _ in 0..100 {
            tasks.spawn(api.clone().oneshot(get("t")));
        }
        for answer in tasks.join_all().await {
            answer.unwrap();
        }
        rounds.push(*lock(&refused) - before);
    }
    // The credit grows back slowly, and is then refuted again; with the whole of it there are 14 to 17.
    println!("{rounds:?} refused of a hundred each");
    assert!(rounds[0] > 0, "the credit is untrue: {rounds:?}");
    assert!(
        rounds[1..].iter().all(|refused| *refused <= 3),
        "{rounds:?}"
    );
}
