//! What gathering costs: time for a call that is alone, waiting under light load, memory for each caller who waits and time for each
//! of many who come at once; and how full the batches are.
//!
//! ```text
//! cargo bench --bench batch                tables
//! cargo bench --bench batch -- --json      the same as one JSON object
//! ```
//!
//! Clients answer from memory. Time of the machine is measured where nothing waits; where callers wait for an answer or for each
//! other, time is paused and costs nothing. Memory is the growth of the resident set, each row in a process of its own. One caller is a
//! boxed future and the request in it.
//!
//! Ends with exit code 1 when a lone call takes 5 µs more than without the layer, light load costs more than 2 ms in the median, a
//! caller who waits takes more than 1 KiB more than without the layer, the time for each caller grows more than twice as fast from ten
//! thousand to a hundred thousand as without the layer, or batches of 400 callers in a loop are not full.

// Real time is measured here.
#![allow(clippy::disallowed_methods)]

mod support;

#[path = "support/notes.rs"]
mod notes;

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, ServiceExt};
use tower_quota::body::HeldBody;
use tower_quota::hubspot::Batches;
use tower_quota::plan::{Limit, Plan};
use tower_quota::{BatchLayer, Quota, TokenLimitLayer};

use notes::{MOST, Notes, echo, request};

type Call = Request<Full<Bytes>>;

const MILLISECOND: Duration = Duration::from_millis(1);
/// Of the answers where time is paused.
const TAKES: Duration = Duration::from_millis(100);
const FOREVER: Duration = Duration::from_secs(100_000_000);
const WAITING: usize = 100_000;
const CROWDS: [usize; 3] = [1_000, 10_000, 100_000];
/// Told to a process that only measures the memory of one row.
const MEMORY_OF: &str = "--memory-of=";

fn main() -> ExitCode {
    for (nth, waiting) in WAITERS.iter().enumerate() {
        if support::has_flag(&format!("{MEMORY_OF}{nth}")) {
            println!("{}", (waiting.measure)());
            return ExitCode::SUCCESS;
        }
    }
    let seen = Seen {
        lone: lone_calls(),
        light: [light_load(BatchLayer::off()), light_load(layer())],
        memory: std::array::from_fn(memory_in_new_process),
        crowds: CROWD_ROWS.map(|row| CROWDS.map(|count| crowd(&row, count))),
        sizes: [0, 5, 50].map(batch_size),
    };
    let failures = check(&seen);
    if support::has_flag("--json") {
        println!("{}", to_json(&seen, failures.is_empty()));
    } else {
        print(&seen);
    }
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

struct Seen {
    /// Nanoseconds a call, by [`LONE`].
    lone: [f64; 5],
    /// Median and longest, without the layer and with it.
    light: [(Duration, Duration); 2],
    memory: [Value; 4],
    /// Nanoseconds a caller, and how many were in one batch in the mean.
    crowds: [[(f64, f64); 3]; 4],
    /// Callers in a batch, in the mean, by how long they think between calls, in milliseconds at most.
    sizes: [(u64, f64); 3],
}

fn layer() -> BatchLayer {
    BatchLayer::new(Notes)
}

fn runtime(paused: bool) -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(paused)
        .build()
        .expect("a runtime can be built")
}

const LONE: [&str; 5] = [
    "without the layer",
    "off",
    "a call that has no batch form",
    "a call that is alone",
    "the same for HubSpot",
];

const CONTACT: &str = "/crm/v3/objects/contacts/7?properties=email,firstname,lastname";

/// One after the other, taking turns, because the machine is not always equally fast.
fn lone_calls() -> [f64; 5] {
    let runtime = runtime(false);
    let mut bare = echo(Duration::ZERO);
    let mut off = BatchLayer::off().layer(echo(Duration::ZERO));
    let mut on = layer().layer(echo(Duration::ZERO));
    let mut hubspot = BatchLayer::new(Batches::default()).layer(echo(Duration::ZERO));
    let mut least = [f64::INFINITY; 5];
    runtime.block_on(async {
        for _ in 0..20 {
            let round = [
                one_by_one(&mut bare, "/notes/a").await,
                one_by_one(&mut off, "/notes/a").await,
                one_by_one(&mut on, "/shelves/a").await,
                one_by_one(&mut on, "/notes/a").await,
                one_by_one(&mut hubspot, CONTACT).await,
            ];
            for (least, nanos) in least.iter_mut().zip(round) {
                *least = least.min(nanos);
            }
        }
    });
    least
}

async fn one_by_one<S>(service: &mut S, path: &str) -> f64
where
    S: Service<Call, Error: std::fmt::Debug>,
{
    const CALLS: u32 = 10_000;
    let mut template = request(Method::GET, 1);
    *template.uri_mut() = format!("https://api.example.com{path}")
        .parse()
        .expect("a sound target");
    let start = Instant::now();
    for _ in 0..CALLS {
        let service = service.ready().await.expect("it is always ready");
        black_box(service.call(template.clone()).await.expect("an answer"));
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

/// A call every 50 ms, with answers that take 100.
fn light_load(layer: BatchLayer) -> (Duration, Duration) {
    const CALLS: usize = 1_000;
    runtime(true).block_on(async {
        let api = layer.layer(echo(TAKES));
        let mut calls = Vec::new();
        for nth in 0..CALLS {
            let api = api.clone();
            calls.push(tokio::spawn(async move {
                let start = tokio::time::Instant::now();
                let answer = api.oneshot(request(Method::GET, nth)).await;
                black_box(answer.expect("an answer"));
                start.elapsed()
            }));
            tokio::time::sleep(TAKES / 2).await;
        }
        let mut took = Vec::new();
        for call in calls {
            took.push(call.await.expect("no caller panics"));
        }
        took.sort_unstable();
        (took[CALLS / 2], took[CALLS - 1])
    })
}

/// A row of callers who wait.
struct Waiters {
    name: &'static str,
    measure: fn() -> Value,
}

const WAITERS: [Waiters; 4] = [
    Waiters {
        name: "for an answer, no layers",
        measure: || waiting(echo(Duration::MAX)),
    },
    Waiters {
        name: "for an answer, in batches",
        measure: || waiting(layer().layer(echo(Duration::MAX))),
    },
    Waiters {
        name: "for quota, TokenLimitLayer",
        measure: || waiting(patient(&spent()).layer(echo(Duration::MAX))),
    },
    Waiters {
        name: "for quota, in batches",
        measure: || {
            let quota = spent();
            let limited = patient(&quota).layer(echo(Duration::MAX));
            waiting(layer().quota(&quota).max_wait(FOREVER).layer(limited))
        },
    },
];

/// Waits as long as it must.
fn patient(quota: &Quota) -> TokenLimitLayer {
    TokenLimitLayer::new(quota).max_wait(FOREVER)
}

/// A quota of one request in ten seconds, which somebody has in flight.
fn spent() -> Quota {
    let limit = Limit::rolling("burst", 1, Duration::from_secs(10));
    let plan = Plan::builder("spent").limit(limit).build().expect("sound");
    let quota = Quota::builder(plan).max_waiting(u32::MAX).build();
    let mut first = Box::pin(
        patient(&quota)
            .layer(echo(Duration::MAX))
            .oneshot(request(Method::GET, 0)),
    );
    poll(first.as_mut());
    // In flight to the end of the process.
    Box::leak(Box::new(first));
    quota
}

fn poll<F: Future>(future: Pin<&mut F>) {
    let is_pending = future
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending();
    assert!(is_pending, "nobody answers");
}

/// Bytes for each who waits: in his future, and in all.
fn waiting<S>(api: S) -> Value
where
    S: Service<Call> + Clone,
{
    let runtime = runtime(true);
    let _context = runtime.enter();
    let before = support::resident();
    let mut size = 0;
    let mut callers: Vec<_> = (0..WAITING)
        .map(|key| {
            let mut api = api.clone();
            let future = api.call(request(Method::GET, key));
            size = size_of_val(&future);
            Box::pin(future)
        })
        .collect();
    for _ in 0..3 {
        callers.iter_mut().for_each(|caller| poll(caller.as_mut()));
    }
    let grown = support::resident().zip(before);
    let grown = grown.map(|(after, before)| after.saturating_sub(before));
    // What goes away in the end has been there all the time.
    drop(black_box(callers));
    json!({
        "future": size,
        "bytes": grown.map(|bytes| bytes as f64 / WAITING as f64),
    })
}

fn memory_in_new_process(nth: usize) -> Value {
    support::of_new_process(&format!("{MEMORY_OF}{nth}"))
}

/// Callers who come at one instant.
#[derive(Clone, Copy)]
struct Crowd {
    name: &'static str,
    method: &'static Method,
    /// They are about so many records.
    records: usize,
    has_layer: bool,
}

const CROWD_ROWS: [Crowd; 4] = [
    Crowd {
        name: "without the layer",
        method: &Method::GET,
        records: usize::MAX,
        has_layer: false,
    },
    Crowd {
        name: "reads of different records",
        method: &Method::GET,
        records: usize::MAX,
        has_layer: true,
    },
    Crowd {
        name: "reads of 50 records",
        method: &Method::GET,
        records: 50,
        has_layer: true,
    },
    Crowd {
        name: "writes, ten of each record",
        method: &Method::PUT,
        records: 0,
        has_layer: true,
    },
];

/// Nanoseconds of the machine for each of so many callers, the best of three; and callers to a request.
fn crowd(row: &Crowd, count: usize) -> (f64, f64) {
    let records = match row.records {
        0 => count / 10,
        records => records,
    };
    let rounds = (0..3).map(|_| {
        let asked = Arc::new(AtomicUsize::new(0));
        let shown = asked.clone();
        let mut inner = echo::<HeldBody<Full<Bytes>>>(MILLISECOND);
        let client = tower::service_fn(move |request| {
            shown.fetch_add(1, Ordering::Relaxed);
            inner.call(request)
        });
        let layer = match row.has_layer {
            true => layer(),
            false => BatchLayer::off(),
        };
        let api = layer.layer(client);
        let nanos = runtime(true).block_on(async {
            let requests: Vec<_> = (0..count)
                .map(|nth| request(row.method.clone(), nth % records))
                .collect();
            let start = Instant::now();
            let calls: Vec<_> = requests
                .into_iter()
                .map(|request| tokio::spawn(api.clone().oneshot(request)))
                .collect();
            for call in calls {
                let answer = call.await.expect("no caller panics");
                black_box(answer.expect("an answer"));
            }
            start.elapsed().as_nanos() as f64 / count as f64
        });
        (nanos, count as f64 / asked.load(Ordering::Relaxed) as f64)
    });
    rounds
        .reduce(|best, round| if round.0 < best.0 { round } else { best })
        .expect("there are three")
}

/// 400 callers in a loop who think for up to so many milliseconds between their calls.
fn batch_size(think: u64) -> (u64, f64) {
    const CALLERS: usize = 400;
    const EACH: usize = 50;
    let asked = Arc::new(AtomicUsize::new(0));
    let shown = asked.clone();
    runtime(true).block_on(async {
        let client = tower::service_fn(move |request: Request<HeldBody<Full<Bytes>>>| {
            shown.fetch_add(1, Ordering::Relaxed);
            // From half of the time to half as much again.
            echo(TAKES.mul_f64(0.5 + fastrand::f64())).call(request)
        });
        let api = layer().layer(client);
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let api = api.clone();
                tokio::spawn(async move {
                    for nth in 0..EACH {
                        let pause = think as f64 * fastrand::f64();
                        tokio::time::sleep(MILLISECOND.mul_f64(pause)).await;
                        let call = request(Method::GET, caller * EACH + nth);
                        black_box(api.clone().oneshot(call).await.expect("an answer"));
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("no caller panics");
        }
    });
    let size = (CALLERS * EACH) as f64 / asked.load(Ordering::Relaxed) as f64;
    (think, size)
}

fn check(seen: &Seen) -> Vec<String> {
    let mut failures = Vec::new();
    for lone in &seen.lone[3..] {
        let more = lone - seen.lone[0];
        if more > 5_000.0 {
            failures.push(format!("a lone call takes {more:.0} ns more"));
        }
    }
    let waited = seen.light[1].0.saturating_sub(seen.light[0].0);
    if waited > 2 * MILLISECOND {
        failures.push(format!("light load waits for {waited:?}"));
    }
    let bytes = |row: usize| seen.memory[row]["bytes"].as_f64();
    for row in [1, 3] {
        let more = bytes(row).zip(bytes(row - 1)).map(|(on, off)| on - off);
        if let Some(more) = more.filter(|more| *more > 1024.0) {
            failures.push(format!("{} takes {more:.0} bytes", WAITERS[row].name));
        }
    }
    // A thousand fit into the caches of the machine. Without the layer more are dearer, too, because they do not.
    let growth = |crowds: &[(f64, f64); 3]| crowds[2].0 / crowds[1].0;
    for (row, crowds) in CROWD_ROWS.iter().zip(&seen.crowds) {
        if growth(crowds) > 2.0 * growth(&seen.crowds[0]) {
            failures.push(format!("{}: many are dearer than few", row.name));
        }
    }
    for (think, size) in seen.sizes {
        if size < 0.8 * MOST as f64 {
            failures.push(format!("{size:.1} in a batch, thinking {think} ms"));
        }
    }
    failures
}

fn print(seen: &Seen) {
    println!("batch: time of a call when nobody else calls (cargo bench --bench batch)\n");
    let bare = seen.lone[0];
    let row = |(name, nanos): (&&str, &f64)| {
        let more = format!("{:.0}", nanos - bare);
        vec![(*name).to_owned(), format!("{nanos:.0}"), more]
    };
    let rows: Vec<_> = LONE.iter().zip(&seen.lone).map(row).collect();
    support::print_table(&["call", "ns", "more"], &rows);

    println!("\na call every 50 ms, answers after 100 ms\n");
    let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let rows: Vec<_> = ["without the layer", "with it"]
        .iter()
        .zip(&seen.light)
        .map(|(name, (median, most))| vec![(*name).to_owned(), millis(*median), millis(*most)])
        .collect();
    support::print_table(&["light load", "median ms", "most ms"], &rows);

    println!(
        "\n{WAITING} callers wait: bytes for each, its request included, and how many more than without batches\n"
    );
    let bytes = |value: &Value| {
        let bytes = value.as_f64();
        bytes.map_or("unknown".to_owned(), |bytes| format!("{bytes:.0}"))
    };
    let rows: Vec<_> = WAITERS
        .iter()
        .zip(&seen.memory)
        .enumerate()
        .map(|(nth, (row, memory))| {
            let own = seen.memory[nth & !1]["bytes"].as_f64();
            let more = memory["bytes"]
                .as_f64()
                .zip(own)
                .map(|(all, own)| all - own);
            let (future, all) = (bytes(&memory["future"]), bytes(&memory["bytes"]));
            vec![row.name.to_owned(), future, all, bytes(&json!(more))]
        })
        .collect();
    support::print_table(&["waiting", "future", "in all", "more"], &rows);

    println!("\ncallers at one instant: ns for each, and how many share a request\n");
    let rows: Vec<_> = CROWD_ROWS
        .iter()
        .zip(&seen.crowds)
        .map(|(row, crowds)| {
            let cells = crowds.iter().map(|(nanos, _)| format!("{nanos:.0}"));
            let share = format!("{:.1}", crowds[2].1);
            [row.name.to_owned()]
                .into_iter()
                .chain(cells)
                .chain([share])
                .collect()
        })
        .collect();
    let header = ["callers", "1,000", "10,000", "100,000", "share"];
    support::print_table(&header, &rows);

    println!("\n400 callers in a loop, answers after 50 to 150 ms\n");
    let row = |(think, size): &(u64, f64)| vec![format!("{think} ms"), format!("{size:.1}")];
    let rows: Vec<_> = seen.sizes.iter().map(row).collect();
    support::print_table(&["thinking up to", "in a batch"], &rows);
}

fn to_json(seen: &Seen, passed: bool) -> Value {
    let lone = LONE.iter().zip(seen.lone);
    let waiting = WAITERS.iter().zip(&seen.memory);
    let crowds = CROWD_ROWS.iter().zip(&seen.crowds);
    json!({
        "bench": "batch",
        "lone": lone.map(|(call, nanos)| json!({"call": call, "nanoseconds": nanos})).collect::<Vec<_>>(),
        "light_load_median_ms": seen.light.map(|(median, _)| median.as_secs_f64() * 1e3),
        "waiting": waiting
            .map(|(row, memory)| json!({"for": row.name, "figures": memory}))
            .collect::<Vec<_>>(),
        "crowds": crowds
            .map(|(row, crowds)| json!({
                "callers": row.name,
                "counts": CROWDS,
                "nanoseconds": crowds.map(|(nanos, _)| nanos),
                "share": crowds.map(|(_, share)| share),
            }))
            .collect::<Vec<_>>(),
        "batch_sizes": seen.sizes
            .map(|(think, size)| json!({"thinking_ms": think, "callers": size})),
        "passed": passed,
    })
}
