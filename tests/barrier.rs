//! Promise: ten thousand tasks released at once never exceed a limit at the server. Nobody is refused, everybody is served, in
//! the order in which they asked, and waiting costs a bounded number of polls. (T1, T3, T9, T43, T44, T46)

mod common;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    CountPolls, FOREVER, SECOND, Server, at_once, get, lock, most_in_window, ms, patient, request,
    search,
};
use http::{Method, StatusCode};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};
use tower_quota::Quota;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::sim::{Class, Latency, Sim, SimTier};

const TASKS: usize = 10_000;
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Latencies with tails, and a server that says how long it worked.
fn simulator() -> tower_quota::sim::SimBuilder {
    Sim::builder()
        .no_daily()
        .latency(Latency::WAN)
        .service_time(Latency::uniform(ms(200), ms(600)))
        .seed(3)
        .record(true)
}

#[tokio::test(start_paused = true)]
async fn one_token_never_exceeds_its_window_at_the_server() {
    let sim = simulator().burst(190, TEN_SECONDS).build().unwrap();
    let quota = Quota::new(common::burst(190, TEN_SECONDS));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(sim.service());
    let barrier = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (api, barrier) = (api.clone(), barrier.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            let (response, polls) = CountPolls::new(api.oneshot(get("t"))).await;
            assert_eq!(response.unwrap().status(), StatusCode::OK);
            polls
        });
    }
    let polls = tasks.join_all().await;
    let stats = sim.stats();
    assert_eq!(stats.refused(), 0);
    assert_eq!(stats.counted(), TASKS as u64);
    assert!(sim.max_in_window(Class::General, TEN_SECONDS) <= 190);
    assert_eq!(quota.waiting(), 0);
    // First poll, grant, answer, and a few while at the head of the line.
    let (sum, most) = (polls.iter().sum::<usize>(), polls.iter().max().unwrap());
    println!("{sum} polls, at most {most}");
    assert!(sum <= 6 * TASKS, "{sum} polls");
    assert!(*most <= 20, "{most} polls of one request");
}

#[tokio::test(start_paused = true)]
async fn one_token_is_served_in_the_order_of_asking() {
    let server = Server::fine();
    let quota = Quota::new(common::burst(97, SECOND));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    let barrier = Arc::new(Barrier::new(TASKS));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (api, barrier, asked) = (api.clone(), barrier.clone(), asked.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            let mut request = get("t");
            let place = asked.fetch_add(1, Ordering::SeqCst);
            request.headers_mut().insert("x-place", place.into());
            api.oneshot(request).await.unwrap();
        });
    }
    tasks.join_all().await;
    let log = server.log();
    let places: Vec<usize> = log
        .iter()
        .map(|seen| seen.header("x-place").parse().unwrap())
        .collect();
    assert!(
        places.iter().copied().eq(0..TASKS),
        "served in another order"
    );
    let times: Vec<_> = log.iter().map(|seen| seen.at).collect();
    assert_eq!(most_in_window(&times, SECOND), 97);
    // Answers come at once, so each window begins one tick after the last one.
    let windows = TASKS.div_ceil(97) as u32 - 1;
    assert!(server.elapsed() >= windows * SECOND);
    assert!(
        server.elapsed() <= windows * (SECOND + ms(1)),
        "{:?}",
        server.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn two_tokens_run_side_by_side() {
    let sim = simulator().burst(100, TEN_SECONDS).build().unwrap();
    let quota = Quota::new(common::burst(100, TEN_SECONDS));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(sim.service());
    let barrier = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for nth in 0..TASKS {
        let (api, barrier) = (api.clone(), barrier.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            let token = if nth % 2 == 0 { "even" } else { "odd" };
            assert_eq!(
                api.oneshot(get(token)).await.unwrap().status(),
                StatusCode::OK
            );
        });
    }
    tasks.join_all().await;
    assert_eq!(sim.stats().refused(), 0);
    assert_eq!(sim.stats().counted(), TASKS as u64);
    let log = sim.log();
    for token in ["even", "odd"] {
        let own = log
            .iter()
            .filter(|entry| entry.token.as_deref() == Some(token));
        let times: Vec<_> = own.map(|entry| entry.at).collect();
        assert_eq!(times.len(), TASKS / 2);
        assert!(most_in_window(&times, TEN_SECONDS) <= 100);
    }
    // 5,000 each at 100 per 10 s are 490 s side by side and 990 s one after the other.
    let took = sim.stats().last_admitted.unwrap();
    assert!(took < Duration::from_secs(530), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn searches_and_ordinary_requests_keep_their_own_windows() {
    let sim = simulator().tier(SimTier::Professional).build().unwrap();
    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota).max_wait(FOREVER))
        .service(sim.service());
    let barrier = Arc::new(Barrier::new(TASKS));
    let clock = tower_quota::clock::Clock::system();
    let mut tasks = JoinSet::new();
    for nth in 0..TASKS {
        let (api, barrier, clock) = (api.clone(), barrier.clone(), clock.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            let is_search = nth % 50 == 0;
            let mut request = if is_search { search("t") } else { get("t") };
            if is_search {
                *request.body_mut() = "{}".into();
            }
            let response = api.oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            is_search.then(|| clock.elapsed())
        });
    }
    let done = tasks.join_all().await;
    let stats = sim.stats();
    assert_eq!(stats.refused(), 0);
    assert_eq!((stats.search.counted, stats.general.counted), (200, 9_800));
    assert!(sim.max_in_window(Class::Search, SECOND) <= 5);
    assert!(sim.max_in_window(Class::General, TEN_SECONDS) <= 190);
    // 200 at 5 per second: they do not wait for the 9,800, which take 510 s.
    let searches = done.into_iter().flatten().max().unwrap();
    assert!(searches < Duration::from_secs(60), "{searches:?}");
}

/// Real threads and real time; the windows are tiny so that it takes two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_do_not_exceed_a_window_either() {
    let window = ms(100);
    let sim = Sim::builder()
        .burst(500, window)
        .no_daily()
        .record(true)
        .build()
        .unwrap();
    let quota = Quota::new(common::burst(500, window));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(sim.service());
    let barrier = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (api, barrier) = (api.clone(), barrier.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            let (response, polls) = CountPolls::new(api.oneshot(get("t"))).await;
            assert_eq!(response.unwrap().status(), StatusCode::OK);
            polls
        });
    }
    let polls = tokio::time::timeout(Duration::from_secs(30), tasks.join_all()).await;
    let polls = polls.expect("everybody is served");
    assert_eq!(sim.stats().refused(), 0);
    assert_eq!(sim.stats().counted(), TASKS as u64);
    assert!(sim.max_in_window(Class::General, window) <= 500);
    let sum = polls.iter().sum::<usize>();
    println!("{sum} polls, at most {}", polls.iter().max().unwrap());
    assert!(sum <= 10 * TASKS, "{sum} polls");
}

/// A limit of one, on threads: every grant must reach the right waiter, or all the others stand still.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_between_threads() {
    let inside = Arc::new(Mutex::new(Vec::new()));
    let server = Server::new({
        let inside = inside.clone();
        move |_, seen| {
            lock(&inside).push(seen.at);
            at_once(200, &[], "")
        }
    });
    let quota = Quota::new(common::burst(1, ms(1)));
    let api = ServiceBuilder::new()
        .layer(patient(&quota))
        .service(server.clone());
    let mut tasks = JoinSet::new();
    for nth in 0..600_u32 {
        let api = api.clone();
        tasks.spawn(async move {
            let sent = api.oneshot(request(Method::GET, "/a", "t"));
            // Every third one gives up at some point on its way.
            match nth % 3 {
                0 => drop(tokio::time::timeout(ms(u64::from(nth)), sent).await),
                _ => drop(sent.await.unwrap()),
            }
        });
    }
    let done = tokio::time::timeout(Duration::from_secs(30), tasks.join_all()).await;
    assert!(done.is_ok(), "{} still wait", quota.waiting());
    assert!(server.count() >= 400);
    assert_eq!(quota.waiting(), 0);
}
