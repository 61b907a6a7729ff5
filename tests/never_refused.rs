//! Promise: when we are the only user of a rolling limit, the server never refuses us, whatever the latencies are; and we use
//! nearly all of it.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{PieceBody, SECOND, Server, burst, get, lock, ms, patient, response};
use http::Request;
use http_body_util::Empty;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::plan::{Limit, Plan};
use tower_quota::sim::{Latency, ServiceHeader, Sim};
use tower_quota::stack::StackLayer;
use tower_quota::{Quota, TokenLimitLayer};

struct Scenario {
    quota: u32,
    window: Duration,
    tasks: usize,
    total: usize,
    header: bool,
}

/// Design section 1: 20 ms + exp(30 ms) each way, 2 % tails to 1.5 s, service 200 to 600 ms.
fn simulator(scenario: &Scenario, seed: u64) -> Sim {
    let millis = Duration::from_millis;
    let header = scenario.header.then_some(ServiceHeader::Envoy);
    Sim::builder()
        .burst(u64::from(scenario.quota), scenario.window)
        .no_daily()
        .latency(Latency::exponential(millis(20), millis(30)).tail(0.02, millis(1500)))
        .service_time(Latency::uniform(millis(200), millis(600)))
        .service_header(header)
        .seed(seed)
        .build()
        .unwrap()
}

async fn run(scenario: &Scenario, seed: u64) -> (u64, f64) {
    let sim = simulator(scenario, seed);
    let plan = Plan::builder("sim").limit(Limit::rolling("burst", scenario.quota, scenario.window));
    let quota = Quota::new(plan.build().unwrap());
    let layer = TokenLimitLayer::new(&quota).max_wait(Duration::from_secs(1_000_000));
    let api = tower::ServiceBuilder::new()
        .layer(layer)
        .service(sim.service());
    let mut workers = tokio::task::JoinSet::new();
    let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(scenario.total));
    for _ in 0..scenario.tasks {
        let (api, left) = (api.clone(), left.clone());
        workers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            let order = std::sync::atomic::Ordering::Relaxed;
            while left.fetch_update(order, order, take).is_ok() {
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
    let stats = sim.stats();
    let ideal = ((scenario.total as f64 - f64::from(scenario.quota)) / f64::from(scenario.quota))
        .ceil()
        * scenario.window.as_secs_f64();
    (
        stats.refused(),
        ideal / stats.last_admitted.unwrap().as_secs_f64(),
    )
}

#[tokio::test(start_paused = true)]
async fn smoke() {
    let _ = StackLayer::new;
    for (quota, window, tasks, total) in
        [(100, 10, 200, 3000), (190, 10, 400, 6000), (5, 1, 100, 300)]
    {
        for header in [true, false] {
            let window = Duration::from_secs(window);
            let (refused, used) = run(
                &Scenario {
                    quota,
                    window,
                    tasks,
                    total,
                    header,
                },
                7,
            )
            .await;
            println!(
                "{quota}/{window:?} header={header}: refused {refused}, used {:.1} %",
                used * 100.0
            );
            assert_eq!(refused, 0);
        }
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
