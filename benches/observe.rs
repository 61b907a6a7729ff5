//! What it costs to see: time per request of `ObserveLayer` with and without readers, and what a report costs with a million tokens.
//!
//! ```text
//! cargo bench --bench observe                tables
//! cargo bench --bench observe -- --json      the same as one JSON object
//! ```
//!
//! Each time is the fastest of many short rounds, in which all rows take turns, because whatever else the machine does only makes
//! a round slower. The aims: at most 300 ns per request with nobody reading, a report within 50 ms, and no admission held up
//! for longer than 1 ms by it.

// Real time is measured.
#![allow(clippy::disallowed_methods)]

mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Assumed, ColdStart, Limit, Plan, Zone};
use tower_quota::{AdaptiveConcurrencyLayer, ObserveLayer, Quota, TokenLimitLayer};

type Body = Full<Bytes>;

const ROUNDS: usize = 200;
const CALLS: u32 = 2_000;
const TOKENS: usize = 1_000_000;
const REPORTS: usize = 20;

fn main() {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime can be built");
    let _context = runtime.enter();
    let costs: Vec<(&str, [f64; 5])> = [("one limit", plain()), ("HubSpot", hubspot())]
        .map(|(name, quota)| (name, costs(&runtime, &quota)))
        .to_vec();
    let report = report(&runtime);
    if support::has_flag("--json") {
        let costs = costs.iter().map(|(plan, nanos)| {
            json!({
                "plan": plan,
                "bare": nanos[0],
                "observe": nanos[1],
                "limits": nanos[2],
                "limits_observe": nanos[3],
                "limits_observe_read": nanos[4],
            })
        });
        let costs: Vec<_> = costs.collect();
        println!(
            "{}",
            json!({ "bench": "observe", "nanoseconds_per_request": costs, "report": report.json() })
        );
        return;
    }
    println!("observe: ns per request (cargo bench --bench observe)\n");
    let rows = costs.iter().map(|(plan, nanos)| {
        let [bare, alone, limits, observed, read] = *nanos;
        let figures = [bare, alone - bare, limits, observed - limits, read - limits];
        let figures = figures.map(|nanos| format!("{nanos:.0}"));
        [vec![(*plan).to_owned()], figures.to_vec()].concat()
    });
    let header = [
        "plan",
        "bare service",
        "+ observe",
        "token limit, concurrency",
        "+ observe",
        "+ observe, somebody reads",
    ];
    support::print_table(&header, &rows.collect::<Vec<_>>());
    println!(
        "\nAlone it also reads what the response says of quota, which otherwise the next layer does. Aim: 300 ns beside the others.\n"
    );
    report.print();
}

fn answer() -> Response<Body> {
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
}

fn request() -> Request<Body> {
    Request::patch("https://api.hubapi.com/crm/v3/objects/contacts/512")
        .header(
            "authorization",
            "Bearer pat-na1-11111111-2222-3333-4444-555555555555",
        )
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(b"{\"properties\":{}}")))
        .expect("the request is sound")
}

fn plain() -> Quota {
    let limit = Limit::rolling("burst", u32::MAX, Duration::from_secs(10));
    Quota::new(Plan::builder("plain").limit(limit).build().expect("sound"))
}

fn hubspot() -> Quota {
    let quota = Quota::builder(hubspot::api(Tier::Professional, Zone::UTC))
        .cold_start(ColdStart::Assume(Assumed::Empty))
        .build();
    for limit in quota.plan().limits() {
        quota
            .set_quota(limit.name(), u32::MAX)
            .expect("the plan has it");
    }
    quota
}

type Client = BoxCloneSyncService<Request<Body>, (), BoxError>;

/// Nanoseconds per request: bare, observed, limited, both, both with a reader of the events of all requests.
fn costs(runtime: &Runtime, quota: &Quota) -> [f64; 5] {
    let answer = answer();
    let bare = tower::service_fn(move |request: Request<Body>| {
        black_box(&request);
        std::future::ready(Ok::<_, BoxError>(answer.clone()))
    });
    let observe = ObserveLayer::new(quota);
    let limits = ServiceBuilder::new()
        .layer(TokenLimitLayer::new(quota))
        .layer(AdaptiveConcurrencyLayer::new(quota));
    let clients = [
        Client::new(bare.clone().map_response(drop)),
        Client::new(
            ServiceBuilder::new()
                .layer(observe.clone())
                .service(bare.clone())
                .map_response(drop),
        ),
        Client::new(limits.clone().service(bare.clone()).map_response(drop)),
        Client::new(limits.layer(observe).service(bare).map_response(drop)),
    ];
    let request = request();
    let mut fastest = [f64::INFINITY; 5];
    for _ in 0..ROUNDS {
        for (client, fastest) in clients.iter().zip(&mut fastest) {
            *fastest = fastest.min(round(runtime, client, &request));
        }
        let mut events = quota.events_with_requests();
        fastest[4] = fastest[4].min(round(runtime, &clients[3], &request));
        assert!(events.try_next().is_some(), "there were requests");
    }
    fastest
}

fn round(runtime: &Runtime, client: &Client, request: &Request<Body>) -> f64 {
    let mut client = client.clone();
    runtime.block_on(async {
        let start = Instant::now();
        for _ in 0..CALLS {
            let client = client.ready().await.expect("the service is ready");
            client
                .call(request.clone())
                .await
                .expect("nothing is used up");
        }
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    })
}

/// What a report costs, and those who meanwhile ask for slots.
struct Reports {
    /// With nobody else about: no lock is held for longer than the whole takes.
    alone: Duration,
    slowest_alone: Duration,
    /// The slowest of those made while others ask.
    slowest: Duration,
    /// The longest time that a request needed: while nobody wanted a report, and while somebody did all the time.
    longest_without: Duration,
    longest_with: Duration,
    /// So many of 10,000 requests needed less.
    usual_without: Duration,
    usual_with: Duration,
}

fn report(runtime: &Runtime) -> Reports {
    let quota = hubspot();
    let answer = answer();
    let bare = tower::service_fn(move |_: Request<Body>| {
        std::future::ready(Ok::<_, BoxError>(answer.clone()))
    });
    let mut client = ServiceBuilder::new()
        .layer(TokenLimitLayer::new(&quota))
        .layer(AdaptiveConcurrencyLayer::new(&quota))
        .layer(ObserveLayer::new(&quota))
        .service(bare);
    let mut call = |nth: usize| {
        let mut request = request();
        let token = HeaderValue::try_from(format!("Bearer {nth:032}")).expect("a sound value");
        request.headers_mut().insert(AUTHORIZATION, token);
        let start = Instant::now();
        let answer = runtime.block_on(async { client.ready().await?.call(request).await });
        answer.expect("nothing is used up");
        start.elapsed()
    };
    for nth in 0..TOKENS {
        call(nth);
    }
    let mut took = |times: usize| {
        let mut took: Vec<Duration> = (0..times).map(|nth| call(nth * 7_919 % TOKENS)).collect();
        took.sort();
        (took[times - 1 - times / 10_000], took[times - 1])
    };
    let (usual_without, longest_without) = took(100_000);
    let mut alone: Vec<Duration> = (0..1_000)
        .map(|_| {
            let start = Instant::now();
            black_box(quota.report());
            start.elapsed()
        })
        .collect();
    alone.sort();
    let done = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    let (usual_with, longest_with) = std::thread::scope(|scope| {
        let reporter = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            for nth in 0.. {
                let start = Instant::now();
                black_box(quota.report());
                slowest = slowest.max(start.elapsed());
                if nth >= REPORTS && done.load(Ordering::Relaxed) {
                    break;
                }
            }
            slowest
        });
        let took = took(100_000);
        done.store(true, Ordering::Relaxed);
        slowest = reporter.join().expect("it does not panic");
        took
    });
    Reports {
        alone: alone[alone.len() / 2],
        slowest_alone: alone[alone.len() - 1],
        slowest,
        longest_without,
        longest_with,
        usual_without,
        usual_with,
    }
}

impl Reports {
    fn json(&self) -> serde_json::Value {
        let micros = |time: Duration| time.as_nanos() as f64 / 1e3;
        json!({
            "tokens": TOKENS,
            "median_alone_us": micros(self.alone),
            "slowest_alone_us": micros(self.slowest_alone),
            "slowest_us": micros(self.slowest),
            "longest_request_without_us": micros(self.longest_without),
            "longest_request_with_us": micros(self.longest_with),
            "p99_99_without_us": micros(self.usual_without),
            "p99_99_with_us": micros(self.usual_with),
        })
    }

    fn print(&self) {
        println!(
            "a report with {TOKENS} tokens, made all the time while another thread sends 100,000 requests\n"
        );
        let row = |what: &str, time: Duration, aim: &str| {
            let time = format!("{:.1}", time.as_nanos() as f64 / 1e3);
            vec![what.to_owned(), time, aim.to_owned()]
        };
        let rows = [
            row("report with nobody else, median", self.alone, "1,000"),
            row(
                "report with nobody else, slowest of 1,000",
                self.slowest_alone,
                "",
            ),
            row("slowest report", self.slowest, "50,000"),
            row("p99.99 of requests without reports", self.usual_without, ""),
            row("p99.99 of requests with reports", self.usual_with, "1,000"),
            row("longest request without reports", self.longest_without, ""),
            row("longest request with reports", self.longest_with, ""),
        ];
        support::print_table(&["", "us", "aim"], &rows);
    }
}
