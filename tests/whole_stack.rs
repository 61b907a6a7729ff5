//! Promise: the layers that stand around the limiter cost a sole user nothing, and no class of calls takes what is another's.

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use common::{FOREVER, SECOND, Server, after, at_once, burst, ms, never, request};
use http::{Method, Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::sim::{ClassStats, Latency, Others, Sim, SimService, Stats};
use tower_quota::stack::StackLayer;
use tower_quota::{Quota, TokenLimitLayer};

type Call = Request<Full<Bytes>>;

fn general() -> Call {
    request(Method::GET, "/crm/v3/owners", "t")
}

fn search() -> Call {
    let search = request(Method::POST, "/crm/v3/objects/contacts/search", "t");
    search.map(|_| Full::from("{}"))
}

fn associations() -> Call {
    let path = "/crm/v4/associations/contacts/companies/batch/read";
    let read = request(Method::POST, path, "t");
    read.map(|_| Full::from(r#"{"inputs":[]}"#))
}

fn professional() -> Quota {
    Quota::new(hubspot::api(Tier::Professional, Zone::UTC))
}

/// Demand that never ends, from `tasks` tasks, until `total` calls are made.
async fn make<L, B>(layer: &L, sim: &Sim, tasks: usize, total: usize, call: fn() -> Call)
where
    L: Layer<SimService>,
    L::Service: Service<Call, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    <L::Service as Service<Call>>::Future: Send,
{
    let api = layer.layer(sim.service());
    let left = Arc::new(AtomicUsize::new(total));
    let mut workers = JoinSet::new();
    for _ in 0..tasks {
        let (api, left) = (api.clone(), left.clone());
        workers.spawn(async move {
            let take = |left: usize| left.checked_sub(1);
            while left.fetch_update(Relaxed, Relaxed, take).is_ok() {
                api.clone().oneshot(call()).await.unwrap();
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
}

fn simulator(service: Latency, seed: u64) -> Sim {
    Sim::builder()
        .latency(Latency::WAN)
        .service_time(service)
        .seed(seed)
        .build()
        .unwrap()
}

/// When the last of 6,000 calls was admitted; not one may be refused.
async fn last_admitted<L, B>(layer: &L, service: Duration) -> f64
where
    L: Layer<SimService>,
    L::Service: Service<Call, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    <L::Service as Service<Call>>::Future: Send,
{
    let sim = simulator(Latency::constant(service), 3);
    make(layer, &sim, 400, 6_000, general).await;
    let stats = sim.stats();
    assert_eq!((stats.counted(), stats.refused()), (6_000, 0));
    stats.last_admitted.unwrap().as_secs_f64()
}

/// `cargo bench --bench goodput -- stack` has the figures; 2 % here, because this is one run of each. What it costs is at the start,
/// when nobody knows yet how many at a time the server bears.
#[tokio::test(start_paused = true)]
async fn the_whole_stack_uses_what_the_limiter_alone_uses() {
    for service in [20, 200, 2_000] {
        let limiter = TokenLimitLayer::new(&professional()).max_wait(FOREVER);
        let alone = last_admitted(&limiter, ms(service)).await;
        let stack = hubspot::stack(&professional()).max_wait(FOREVER);
        let whole = last_admitted(&stack, ms(service)).await;
        assert!(whole <= 1.02 * alone, "{service} ms: {whole} s, {alone} s");
    }
}

struct Class {
    tasks: usize,
    call: fn() -> Call,
    stats: fn(&Stats) -> &ClassStats,
}

const CLASSES: [Class; 3] = [
    Class {
        tasks: 400,
        call: general,
        stats: |stats| &stats.general,
    },
    Class {
        tasks: 40,
        call: search,
        stats: |stats| &stats.search,
    },
    Class {
        tasks: 300,
        call: associations,
        stats: |stats| &stats.associations,
    },
];

/// What has been counted after five minutes of more calls of these classes than anybody allows.
async fn crowd(classes: &[Class]) -> Stats {
    let sim = simulator(Latency::uniform(ms(200), ms(600)), 5);
    let stack = hubspot::stack(&professional()).max_wait(FOREVER);
    let mut crowd = JoinSet::new();
    for class in classes {
        let (stack, sim, tasks, call) = (stack.clone(), sim.clone(), class.tasks, class.call);
        crowd.spawn(async move { make(&stack, &sim, tasks, usize::MAX, call).await });
    }
    tokio::time::sleep(300 * SECOND).await;
    sim.stats()
}

/// `cargo bench --bench goodput -- mixed` has the figures.
#[tokio::test(start_paused = true)]
async fn every_class_gets_beside_the_others_what_it_gets_alone() {
    let together = crowd(&CLASSES).await;
    assert_eq!(together.refused(), 0);
    for (nth, class) in CLASSES.iter().enumerate() {
        let alone = crowd(&CLASSES[nth..=nth]).await;
        let [alone, together] = [&alone, &together].map(|stats| (class.stats)(stats).counted);
        let share = together as f64 / alone as f64;
        assert!(share >= 0.95, "class {nth}: {together} of {alone}");
    }
}

/// Searches say nothing of those who use them, too, so that some are refused. That is no load that the other calls cause.
#[tokio::test(start_paused = true)]
async fn a_stranger_on_the_searches_does_not_slow_the_other_calls() {
    let counted = async |searches: f64| {
        let sim = Sim::builder()
            .latency(Latency::WAN)
            .service_time(Latency::constant(2 * SECOND))
            .others(Others::search(searches))
            .seed(3)
            .build()
            .unwrap();
        let stack = hubspot::stack(&professional()).max_wait(FOREVER);
        let mut crowd = JoinSet::new();
        let (layer, server) = (stack.clone(), sim.clone());
        crowd.spawn(async move { make(&layer, &server, 400, usize::MAX, general).await });
        for _ in 0..40 {
            let api = stack.layer(sim.service());
            // Some are refused to the end.
            crowd.spawn(async move {
                loop {
                    let _ = api.clone().oneshot(search()).await.unwrap();
                }
            });
        }
        tokio::time::sleep(120 * SECOND).await;
        let stats = sim.stats();
        assert_eq!(stats.general.refused_window, 0);
        (stats.general.counted, stats.search.refused_window)
    };
    let (alone, _) = counted(0.001).await;
    let (beside, refused) = counted(3.5).await;
    assert!(refused > 0, "nobody was in the way");
    assert!(beside * 100 >= alone * 95, "{beside} of {alone}");
}

/// Otherwise whoever gives up after others have waited long for their turn, or parked, would block his slot for as long.
#[tokio::test(start_paused = true)]
async fn waiting_for_ones_turn_is_no_time_on_the_network() {
    let quota = Quota::new(burst(10, 10 * SECOND));
    let stack = StackLayer::new(&quota).max_concurrency(1);
    let server = Server::new(|nth, _| match nth {
        0..5 => after(3 * SECOND, at_once(200, &[], "")),
        _ => never(),
    });
    let api = stack.layer(server);
    let mut crowd = JoinSet::new();
    for _ in 0..5 {
        crowd.spawn(api.clone().oneshot(general()));
    }
    while let Some(done) = crowd.join_next().await {
        done.unwrap().unwrap();
    }
    tokio::time::sleep(20 * SECOND).await;
    let used = || quota.usage("burst", &general()).unwrap().used;
    assert_eq!(used(), 0);
    let given_up = tokio::time::timeout(SECOND, api.oneshot(general()));
    assert!(given_up.await.is_err());
    // One window, and the longest round trip: 3 s.
    tokio::time::sleep(ms(12_900)).await;
    assert_eq!(used(), 1);
    tokio::time::sleep(ms(200)).await;
    assert_eq!(used(), 0);
}
