//! What all tables need to run simulations.

// Every bench compiles its own copy and uses a part of it.
#![allow(dead_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::task::JoinSet;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_quota::sim::Sim;

use crate::limiters::Server;

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Runs one simulation in a runtime of its own, in paused time, with a seed for all that is drawn outside of the simulator.
pub(crate) fn simulate<F: Future>(seed: u64, simulation: F) -> F::Output {
    fastrand::seed(seed);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built")
        .block_on(simulation)
}

/// Does all jobs, on all processors. The results come in the order of the jobs and do not depend on the number of processors.
fn parallel<J: Sync, R: Send>(jobs: &[J], run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let results = Mutex::new(Vec::from_iter(jobs.iter().map(|_| None)));
    let next = AtomicUsize::new(0);
    let work = || loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(index) else { break };
        let result = run(job);
        results.lock().expect("nobody panics")[index] = Some(result);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let results = results.into_inner().expect("nobody panics");
    results
        .into_iter()
        .map(|result| result.expect("every job was done"))
        .collect()
}

/// Runs every row in every column with every seed; the results stand at `[row][column]`, in the order of the seeds.
pub(crate) fn grid<T: Send>(
    (rows, columns): (usize, usize),
    seeds: Range<u64>,
    run: impl Fn(usize, usize, u64) -> T + Sync,
) -> Vec<Vec<Vec<T>>> {
    let mut jobs = Vec::new();
    // Seed by seed, so that long and short jobs are mixed and all processors end at about the same time.
    for seed in seeds {
        for row in 0..rows {
            jobs.extend((0..columns).map(|column| (row, column, seed)));
        }
    }
    let results = parallel(&jobs, |&(row, column, seed)| run(row, column, seed));
    let mut grid =
        Vec::from_iter((0..rows).map(|_| Vec::from_iter((0..columns).map(|_| Vec::new()))));
    for ((row, column, _), result) in jobs.into_iter().zip(results) {
        grid[row][column].push(result);
    }
    grid
}

/// 500 ms, then twice as long each time up to 8 s, all with a jitter of half of it to either side.
fn backoff(attempt: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(8);
    let whole = 500 * MILLISECOND * 2_u32.saturating_pow(attempt.min(8));
    whole.min(LONGEST).mul_f64(0.5 + fastrand::f64())
}

/// Until the next of so many a second that come at random.
pub(crate) fn gap(per_second: f64) -> Duration {
    Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / per_second)
}

/// A request with a body that can be sent again.
pub(crate) type Call = Request<Full<Bytes>>;

/// A client with its layers; of an answer only the status is wanted.
type Client<C> = BoxCloneService<C, StatusCode, BoxError>;

pub(crate) type Api = Client<Call>;

/// `layer` in front of the simulator.
pub(crate) fn client<L, B>(sim: &Sim, layer: L) -> Api
where
    L: Layer<Server>,
    L::Service: Service<Call, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    <L::Service as Service<Call>>::Future: Send + 'static,
{
    layer
        .layer(Server::Sim(sim.service()))
        .map_response(|response: Response<B>| response.status())
        .boxed_clone()
}

fn call(method: Method, path: &str, body: &'static str) -> Call {
    Request::builder()
        .method(method)
        .uri(format!("http://sim{path}"))
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Full::from(body))
        .expect("the request is sound")
}

/// For `max_wait`: nobody gives up here, whoever waits long shows in the throughput.
pub(crate) const PATIENCE: Duration = Duration::from_secs(24 * 3_600);

/// Whose calls they all are.
pub(crate) const TOKEN: &str = "one";

pub(crate) fn general() -> Call {
    call(Method::GET, "/crm/v3/owners", "")
}

pub(crate) fn search() -> Call {
    call(Method::POST, "/crm/v3/objects/contacts/search", "{}")
}

pub(crate) fn associations() -> Call {
    let path = "/crm/v4/associations/contacts/companies/batch/read";
    call(Method::POST, path, r#"{"inputs":[]}"#)
}

/// Makes one call; as long as it is refused it is repeated after a backoff.
async fn insist<B>(client: &mut Client<Request<B>>, request: &Request<B>)
where
    Request<B>: Clone,
{
    for attempt in 0.. {
        let client = client.ready().await.expect("the client is ready");
        let status = client.call(request.clone()).await;
        match status.expect("the server answers").as_u16() {
            429 | 503 => tokio::time::sleep(backoff(attempt)).await,
            _ => break,
        }
    }
}

/// Makes `total` calls like this in `tasks` tasks, and waits until all are done.
pub(crate) async fn make_all<B>(
    client: &Client<Request<B>>,
    tasks: usize,
    total: u64,
    request: &Request<B>,
) where
    B: Send + Sync + 'static,
    Request<B>: Clone,
{
    let left = Arc::new(AtomicU64::new(total));
    let mut set = JoinSet::new();
    for _ in 0..tasks {
        let (mut client, request, left) = (client.clone(), request.clone(), left.clone());
        set.spawn(async move {
            let take = |left: u64| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                insist(&mut client, &request).await;
            }
        });
    }
    while let Some(task) = set.join_next().await {
        task.expect("no call fails");
    }
}

/// Keeps `tasks` tasks busy with calls like this, for as long as the set is kept.
pub(crate) fn saturate<B>(
    on: &mut JoinSet<()>,
    tasks: usize,
    client: &Client<Request<B>>,
    request: &Request<B>,
) where
    B: Send + Sync + 'static,
    Request<B>: Clone,
{
    for _ in 0..tasks {
        let (mut client, request) = (client.clone(), request.clone());
        on.spawn(async move {
            loop {
                insist(&mut client, &request).await;
            }
        });
    }
}
