//! What the layers cost: time per call when nothing waits, time per admission when 1,000 tasks wait, and as a share of one real
//! HTTP call.
//!
//! ```text
//! cargo bench --bench overhead               criterion's figures, then the ratios
//! cargo bench --bench overhead -- queue      only the groups whose name contains "queue"
//! ```

// Real time is measured here while tokio's stands still.
#![allow(clippy::disallowed_methods)]

mod support;

#[path = "support/limiters.rs"]
mod limiters;

use std::hint::black_box;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use criterion::measurement::WallTime;
use governor::DefaultKeyedRateLimiter;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::{Builder, Runtime};
use tower::retry::Policy;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Assumed, ColdStart, Limit, Plan, Rule, Zone};
use tower_quota::sim::SimBody;
use tower_quota::stack::StackLayer;
use tower_quota::{ObserveLayer, Quota, RetryAfterLayer, TokenLimitLayer};
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};

use limiters::{Allowance, Client, Server};

type Group<'a> = criterion::BenchmarkGroup<'a, WallTime>;
type Body = Full<Bytes>;

/// So much that nothing ever waits.
const PLENTY: u32 = u32::MAX;
/// The same for limiters that keep an entry per request: they may keep the requests of 10 ms.
const PLENTY_PER_10_MS: usize = 1_000_000;
const TEN_MS: Duration = Duration::from_millis(10);
const TEN_SECONDS: Duration = Duration::from_secs(10);

const WAITING: usize = 1_000;
/// What 1,000 tasks wait for. The time in which they wait costs nothing, because it is paused.
const NARROW: Allowance = Allowance {
    quota: 100,
    window: Duration::from_millis(100),
};

fn main() {
    let output = support::target_dir().join("criterion");
    let mut criterion = Criterion::default()
        .output_directory(&output)
        .without_plots()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500))
        .configure_from_args();
    for threads in [Threads::One, Threads::Workers] {
        calls(&mut criterion, threads);
        loopback(&mut criterion, threads);
    }
    queues(&mut criterion);
    criterion.final_summary();
    report(&output);
}

/// Where the caller and, for `Buffer`, the worker run.
#[derive(Clone, Copy)]
enum Threads {
    /// A current-thread runtime: handing a request over costs no wake-up of another thread.
    One,
    /// What `#[tokio::main]` makes; the caller is `main`, which is no worker thread.
    Workers,
}

impl Threads {
    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Threads::One => Builder::new_current_thread(),
            Threads::Workers => Builder::new_multi_thread(),
        };
        builder
            .enable_all()
            .build()
            .expect("a runtime can be built")
    }

    fn group(self) -> &'static str {
        match self {
            Threads::One => "call-one-thread",
            Threads::Workers => "call-worker-threads",
        }
    }
}

/// Copied for every call, which is cheaper than to build it.
static REQUEST: LazyLock<Request<Body>> = LazyLock::new(|| {
    Request::patch("https://api.hubapi.com/crm/v3/objects/contacts/512")
        .header(
            "authorization",
            "Bearer pat-na1-11111111-2222-3333-4444-555555555555",
        )
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .body(Full::new(Bytes::from_static(b"{\"properties\":{}}")))
        .expect("the request is sound")
});

static ANSWER: LazyLock<Response<Body>> = LazyLock::new(|| {
    Response::builder()
        .header("content-type", "application/json;charset=utf-8")
        .header("x-envoy-upstream-service-time", "87")
        .header("x-hubspot-ratelimit-max", "4294967295")
        .header("x-hubspot-ratelimit-remaining", "4294967294")
        .header("x-hubspot-ratelimit-interval-milliseconds", "10000")
        .header("x-hubspot-ratelimit-daily", "4294967295")
        .header("x-hubspot-ratelimit-daily-remaining", "4294967294")
        .body(Full::new(Bytes::from_static(b"{\"id\":\"512\"}")))
        .expect("the response is sound")
});

/// Answers at once.
fn bare<B: 'static>() -> impl Service<
    Request<B>,
    Response = Response<Body>,
    Error = BoxError,
    Future = std::future::Ready<Result<Response<Body>, BoxError>>,
> + Clone
+ Send
+ 'static {
    tower::service_fn(|request: Request<B>| {
        black_box(&request);
        std::future::ready(Ok(ANSWER.clone()))
    })
}

fn plain_quota() -> Quota {
    let limit = Limit::rolling("burst", PLENTY, TEN_SECONDS);
    Quota::new(Plan::builder("plain").limit(limit).build().expect("sound"))
}

fn hubspot_quota() -> Quota {
    // There was no process before this one, so that there is nothing to ask.
    let quota = Quota::builder(hubspot::api(Tier::Professional, Zone::UTC))
        .cold_start(ColdStart::Assume(Assumed::Empty))
        .build();
    for limit in [
        hubspot::BURST,
        hubspot::SEARCH,
        hubspot::ASSOCIATIONS,
        hubspot::DAILY,
    ] {
        quota.set_quota(limit, PLENTY).expect("the plan has it");
    }
    quota
}

fn calls(criterion: &mut Criterion, threads: Threads) {
    let runtime = threads.runtime();
    let _context = runtime.enter();
    let mut group = criterion.benchmark_group(threads.group());
    measure(&mut group, &runtime, "bare", bare());
    for (api, quota) in [("plain", plain_quota()), ("hubspot", hubspot_quota())] {
        let token_limit = TokenLimitLayer::new(&quota);
        let retry_after = RetryAfterLayer::new(&quota);
        let both = ServiceBuilder::new()
            .layer(retry_after.clone())
            .layer(token_limit.clone());
        let stack = ServiceBuilder::new().layer(StackLayer::new(&quota));
        let observe = ObserveLayer::new(&quota);
        let observed = ServiceBuilder::new()
            .layer(token_limit.clone())
            .layer(observe.clone());
        let service = ServiceBuilder::new().layer(observe).service(bare());
        measure(&mut group, &runtime, &format!("{api}-observe"), service);
        measure(
            &mut group,
            &runtime,
            &format!("{api}-token-limit-observe"),
            observed.service(bare()),
        );
        let service = ServiceBuilder::new().layer(token_limit).service(bare());
        measure(&mut group, &runtime, &format!("{api}-token-limit"), service);
        let service = ServiceBuilder::new().layer(retry_after).service(bare());
        measure(&mut group, &runtime, &format!("{api}-retry-after"), service);
        measure(
            &mut group,
            &runtime,
            &format!("{api}-both"),
            both.service(bare()),
        );
        measure(
            &mut group,
            &runtime,
            &format!("{api}-stack"),
            stack.service(bare()),
        );
    }
    let service = ServiceBuilder::new()
        .buffer(1024)
        .rate_limit(u64::from(PLENTY), TEN_SECONDS)
        .service(bare());
    measure(&mut group, &runtime, "tower-buffer-rate-limit", service);
    let service = ServiceBuilder::new()
        .retry(Never)
        .concurrency_limit(1024)
        .service(bare());
    measure(
        &mut group,
        &runtime,
        "tower-concurrency-limit-retry",
        service,
    );
    let resilience = RateLimiterLayer::builder()
        .limit_for_period(PLENTY_PER_10_MS)
        .refresh_period(TEN_MS)
        .window_type(WindowType::SlidingLog)
        .backpressure()
        .build()
        .expect("the limit is sound");
    let service = ServiceBuilder::new().layer(resilience).service(bare());
    measure(
        &mut group,
        &runtime,
        "tower-resilience-sliding-log",
        service,
    );
    measure(
        &mut group,
        &runtime,
        "governor-keyed-check",
        governor_keyed(),
    );
    group.finish();
}

/// Keeps a copy of the request and never uses it.
#[derive(Clone)]
struct Never;

impl<B: Clone, R, E> Policy<Request<B>, R, E> for Never {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, _: &mut Result<R, E>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

/// The token itself is the key, as one would write it; a refused call would be answered with 429.
fn governor_keyed()
-> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ 'static {
    let quota = governor::Quota::per_second(NonZeroU32::MAX);
    let limiter = Arc::new(DefaultKeyedRateLimiter::<HeaderValue>::keyed(quota));
    tower::service_fn(move |request: Request<Body>| {
        let token = request.headers().get(AUTHORIZATION);
        let passes = token.is_none_or(|token| limiter.check_key(token).is_ok());
        async move {
            if passes {
                return bare().oneshot(request).await;
            }
            let mut response = Response::new(Body::default());
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            Ok(response)
        }
    })
}

fn measure<S>(group: &mut Group<'_>, runtime: &Runtime, name: &str, mut service: S)
where
    S: Service<Request<Body>, Error: std::fmt::Debug>,
{
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|calls| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..calls {
                    let service = service.ready().await.expect("the service is ready");
                    let answer = service.call(REQUEST.clone()).await;
                    // Who refuses has less to do.
                    black_box(answer.expect("nothing is used up"));
                }
                start.elapsed()
            })
        });
    });
}

/// 1,000 tasks that call as often as they may: most of them stand in line at any time.
struct Crowd {
    runtime: Runtime,
    answered: Arc<AtomicU64>,
}

impl Crowd {
    fn new(client: fn(Server, Allowance) -> Client) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be built");
        let answered = Arc::new(AtomicU64::new(0));
        let context = runtime.enter();
        let answer = || {
            let mut response = Response::new(SimBody::default());
            let service_time = HeaderValue::from_static("0");
            let name = "x-envoy-upstream-service-time";
            response.headers_mut().insert(name, service_time);
            response
        };
        let client = client(Server::Ready(answer), NARROW);
        for _ in 0..WAITING {
            let (mut client, answered) = (client.clone(), answered.clone());
            runtime.spawn(async move {
                loop {
                    let request = Request::get("https://api.hubapi.com/crm/v3/owners")
                        .header("authorization", "Bearer one")
                        .body(http_body_util::Empty::new())
                        .expect("the request is sound");
                    let client = client.ready().await.expect("the client is ready");
                    client.call(request).await.expect("the server answers");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        drop(context);
        let crowd = Self { runtime, answered };
        // Once round for everybody.
        crowd.admit(WAITING as u64);
        crowd
    }

    /// Lets at least `calls` calls be answered; gives the processor time that so many took.
    fn admit(&self, calls: u64) -> Duration {
        let begin = self.answered.load(Ordering::Relaxed);
        let start = Instant::now();
        self.runtime.block_on(async {
            while self.answered.load(Ordering::Relaxed) - begin < calls {
                tokio::time::sleep(NARROW.window).await;
            }
        });
        let answered = self.answered.load(Ordering::Relaxed) - begin;
        start.elapsed().mul_f64(calls as f64 / answered as f64)
    }
}

fn queues(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue-of-1000");
    let mut measure = |name: &str, client: fn(Server, Allowance) -> Client| {
        let mut crowd = None;
        group.bench_function(name, |bencher| {
            let crowd = crowd.get_or_insert_with(|| Crowd::new(client));
            bencher.iter_custom(|calls| crowd.admit(calls));
        });
    };
    measure("plain-stack", limiters::ours);
    measure("hubspot-stack", hubspot_crowd);
    measure("tower-buffer-rate-limit", limiters::tower_rate_limit);
    measure("tower-resilience-sliding-log", limiters::resilience);
    measure("governor-emulated", limiters::governor_burst);
    measure("leaky-bucket", limiters::leaky_bucket);
    measure("throttle-net", limiters::throttle);
    group.finish();
}

fn hubspot_crowd(server: Server, allowance: Allowance) -> Client {
    let quota = hubspot_quota();
    let rule = Rule::Rolling {
        quota: allowance.quota,
        window: allowance.window,
    };
    let changed = quota.set_rule(hubspot::BURST, &rule);
    changed.expect("the plan has it");
    limiters::stacked(server, &quota)
}

/// One call with hyper's client to hyper's server on the same machine. On one thread nobody has to be woken, so this is the
/// cheapest call there is; else the server has a thread of its own, as another program would.
fn loopback(criterion: &mut Criterion, threads: Threads) {
    let runtime = threads.runtime();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    match threads {
        Threads::One => drop(runtime.spawn(serve(listener))),
        Threads::Workers => {
            std::thread::spawn(move || Threads::One.runtime().block_on(serve(listener)));
        }
    }
    let client: HttpClient<_, Body> =
        HttpClient::builder(TokioExecutor::new()).build_http::<Body>();
    let mut group = criterion.benchmark_group("loopback");
    group.bench_function(threads.group(), |bencher| {
        bencher.iter_custom(|calls| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..calls {
                    let mut request = REQUEST.clone();
                    let path = format!("http://{address}{}", request.uri().path());
                    *request.uri_mut() = path.parse().expect("the address is sound");
                    let response = client.request(request).await.expect("the server answers");
                    let body = response.into_body().collect().await;
                    black_box(body.expect("the body is whole"));
                }
                start.elapsed()
            })
        });
    });
    group.finish();
}

async fn serve(listener: std::net::TcpListener) {
    listener.set_nonblocking(true).expect("it can be polled");
    let listener = tokio::net::TcpListener::from_std(listener).expect("it can be polled");
    loop {
        let (stream, _) = listener.accept().await.expect("a client connects");
        stream.set_nodelay(true).expect("it is connected");
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| async {
            request.into_body().collect().await?;
            Ok::<_, hyper::Error>(ANSWER.clone())
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

/// The time per call of the fastest sample that criterion has just written (or in an earlier run). Whatever else the machine
/// does makes samples slower, never faster, so this is the figure that can be compared.
fn fastest(output: &Path, group: &str, name: &str) -> Option<f64> {
    let path: PathBuf = [group, name, "new", "sample.json"].iter().collect();
    let text = std::fs::read_to_string(output.join(path)).ok()?;
    let sample: serde_json::Value = serde_json::from_str(&text).ok()?;
    let numbers = |field: &str| Some(sample[field].as_array()?.iter().filter_map(|n| n.as_f64()));
    let per_call = numbers("times")?.zip(numbers("iters")?);
    per_call.map(|(time, calls)| time / calls).reduce(f64::min)
}

/// Ours against the aims: both layers (those that limit and repeat) below 2 us, at most 1/10 of `Buffer` + `RateLimit`, at most 2 % of a loopback call.
fn report(output: &Path) {
    for threads in [Threads::One, Threads::Workers] {
        let group = threads.group();
        let loopback = fastest(output, "loopback", group).unwrap_or(f64::NAN);
        let bare = fastest(output, group, "bare").unwrap_or(f64::NAN);
        let over_bare = |name: &str| fastest(output, group, name).map_or(f64::NAN, |ns| ns - bare);
        let buffer = over_bare("tower-buffer-rate-limit");
        let rows: Vec<Vec<String>> = [
            "plain-token-limit",
            "plain-retry-after",
            "plain-both",
            "plain-stack",
            "hubspot-token-limit",
            "hubspot-retry-after",
            "hubspot-both",
            "hubspot-stack",
            "tower-buffer-rate-limit",
            "tower-concurrency-limit-retry",
            "tower-resilience-sliding-log",
            "governor-keyed-check",
        ]
        .map(|name| {
            let ns = over_bare(name);
            vec![
                name.to_owned(),
                format!("{ns:.0}"),
                format!("{:.3}", ns / buffer),
                format!("{:.2} %", 100.0 * ns / loopback),
            ]
        })
        .into();
        println!(
            "\n{group}: over a bare service of {bare:.0} ns; a loopback call takes {:.1} us\n",
            loopback / 1000.0
        );
        let header = [
            "service",
            "ns per call",
            "/ (Buffer + RateLimit)",
            "/ loopback",
        ];
        support::print_table(&header, &rows);
    }
    println!("\n{WAITING} tasks waiting, ns of processor time per admission, all included:\n");
    let rows: Vec<Vec<String>> = [
        "plain-stack",
        "hubspot-stack",
        "tower-buffer-rate-limit",
        "tower-resilience-sliding-log",
        "governor-emulated",
        "leaky-bucket",
        "throttle-net",
    ]
    .map(|name| {
        let ns = fastest(output, "queue-of-1000", name).unwrap_or(f64::NAN);
        vec![name.to_owned(), format!("{ns:.0}")]
    })
    .into();
    support::print_table(&["service", "ns"], &rows);
    println!(
        "\nboth: RetryAfter and TokenLimit; stack: all layers.\nAims, for both: < 2,000 ns, <= 0.100 of Buffer + RateLimit, <= 2 % of the loopback call."
    );
    println!("(cargo bench --bench overhead)");
}
