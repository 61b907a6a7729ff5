//! What many keys cost: memory per token when a million of them are idle, and time per admission at 1, 1,000 and 1,000,000.
//!
//! ```text
//! cargo bench --bench keys                tables
//! cargo bench --bench keys -- --json      the same as one JSON object
//! ```
//!
//! Memory is the growth of the resident set (`/proc/self/statm`), so it includes what the allocator keeps; on systems without
//! that file it is not told. The aim is at most 256 bytes per idle token.

mod support;

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use http_body_util::Empty;
use serde_json::{Value, json};
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::core::{Admission, Fingerprint, Keys, Ledger, Now, Tick};
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Lane, Limit, Plan, RouteClass, Zone};
use tower_quota::{Quota, TokenLimitLayer};

const SECOND: Duration = Duration::from_secs(1);
const TOKENS: u64 = 1_000_000;
const KEYS: [u64; 3] = [1, 1_000, TOKENS];
const ADMISSIONS: u64 = 2_000_000;
/// Fewer through the layer, which does more.
const CALLS: u64 = 500_000;

/// Told to a process that only measures the memory of one plan.
const MEMORY_OF: &str = "--memory-of=";

type MakePlan = fn() -> Plan;
type MakeQuota = fn() -> Quota;
const PLANS: [(&str, MakePlan); 2] = [("one limit", one_limit), ("HubSpot", hubspot_plan)];

fn main() {
    for (name, plan) in PLANS {
        if support::has_flag(&format!("{MEMORY_OF}{name}")) {
            println!("{}", memory(&plan()));
            return;
        }
    }
    let memory =
        PLANS.map(|(name, _)| (name, support::of_new_process(&format!("{MEMORY_OF}{name}"))));
    let mut speed = Vec::new();
    for (name, plan) in PLANS {
        speed.push(Speed {
            what: format!("Ledger, {name}"),
            nanos: KEYS.map(|keys| ledger_speed(&plan(), keys)),
        });
    }
    let quotas: [(&str, MakeQuota); 2] = [
        ("one limit", || Quota::new(one_limit())),
        ("HubSpot", || {
            Quota::new(hubspot::api(Tier::Professional, Zone::UTC))
        }),
    ];
    for (name, quota) in quotas {
        speed.push(Speed {
            what: format!("TokenLimit, {name}"),
            nanos: KEYS.map(|keys| layer_speed(&quota(), keys)),
        });
    }
    if support::has_flag("--json") {
        println!("{}", to_json(&memory, &speed));
    } else {
        print(&memory, &speed);
    }
}

fn one_limit() -> Plan {
    let limit = Limit::rolling("burst", 190, 10 * SECOND);
    Plan::builder("plain").limit(limit).build().expect("sound")
}

fn hubspot_plan() -> Plan {
    hubspot::plan(Tier::Professional, Zone::UTC)
}

/// Bytes per token, `null` where the system does not tell.
fn memory(plan: &Plan) -> Value {
    let before = support::resident();
    let per_token = || Some((support::resident()?.saturating_sub(before?)) as f64 / TOKENS as f64);
    let mut ledger = Ledger::new(plan);
    let mut clock = Seconds(0);
    for token in 0..TOKENS {
        request(&mut ledger, clock.now(), keys(token));
    }
    let (cooling, cells) = (per_token(), ledger.cells());
    clock.0 += 1;
    for token in 0..TOKENS {
        request(&mut ledger, clock.now(), keys(token));
    }
    let cooling_twice = per_token();
    // Everybody is idle for longer than any window (a daily pool remembers until midnight). Then one other token's requests
    // make the ledger look at all cells.
    clock.0 += 2 * 24 * 60 * 60;
    for _ in 0..2 * TOKENS {
        clock.0 += 1;
        request(&mut ledger, clock.now(), keys(TOKENS));
    }
    json!({
        "cells": cells,
        "bytes_per_token_cooling": cooling,
        "bytes_per_token_cooling_twice": cooling_twice,
        "cells_evicted": ledger.cells(),
        "bytes_per_token_evicted": per_token(),
    })
}

/// A clock that is set by hand.
struct Seconds(u64);

impl Seconds {
    fn now(&self) -> Now {
        let since = SECOND * u32::try_from(self.0).unwrap_or(u32::MAX);
        Now {
            tick: Tick::from(since),
            wall: SystemTime::UNIX_EPOCH + since,
        }
    }
}

fn keys(token: u64) -> Keys {
    // Any well spread numbers do; the layers use a keyed hash.
    let spread = |seed: u64| {
        (token + seed)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29)
    };
    let fingerprint = Fingerprint::from_halves(spread(1), spread(2) ^ spread(3).rotate_left(17));
    Keys {
        token: fingerprint,
        account: fingerprint,
    }
}

/// One request that is admitted, sent and answered at once.
fn request(ledger: &mut Ledger, now: Now, keys: Keys) {
    let Admission::Granted(mut permit) =
        ledger.admit(now, keys, RouteClass::General, Lane::Bulk, Tick::NEVER)
    else {
        panic!("there is a slot");
    };
    let sent = ledger.send(now, &mut permit, Tick::NEVER);
    assert!(sent.is_ok(), "nothing is paused");
    ledger.settle(now, permit, None);
}

struct Speed {
    what: String,
    /// Per request, at as many tokens as `KEYS` says.
    nanos: [f64; 3],
}

/// Admit, send and settle, with tokens that come in no order.
fn ledger_speed(plan: &Plan, count: u64) -> f64 {
    let mut ledger = Ledger::new(plan);
    let mut clock = Seconds(0);
    for token in 0..count {
        request(&mut ledger, clock.now(), keys(token));
    }
    fastest(|| {
        let stopwatch = Clock::system();
        for nth in 0..ADMISSIONS / 10 {
            if nth % 100 == 0 {
                clock.0 += 20;
            }
            request(&mut ledger, clock.now(), keys(shuffled(nth, count)));
        }
        stopwatch.elapsed().as_nanos() as f64 / (ADMISSIONS / 10) as f64
    })
}

/// Requests through the layer in real time. The server answers at once; every token has slots enough.
fn layer_speed(quota: &Quota, count: u64) -> f64 {
    for limit in quota.plan().limits() {
        quota
            .set_quota(limit.name(), u32::MAX)
            .expect("the plan has it");
    }
    let server = tower::service_fn(|request: Request<Empty<Bytes>>| {
        black_box(&request);
        std::future::ready(Ok::<_, BoxError>(Response::new(Empty::<Bytes>::new())))
    });
    let mut limited = TokenLimitLayer::new(quota).layer(server);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    let tokens: Vec<HeaderValue> = (0..count)
        .map(|token| {
            format!("Bearer {token:032}")
                .parse()
                .expect("a sound value")
        })
        .collect();
    let mut call = async |nth: u64, count: u64| {
        let mut request = Request::new(Empty::new());
        let token = tokens[shuffled(nth, count) as usize].clone();
        request.headers_mut().insert(AUTHORIZATION, token);
        let service = limited.ready().await.expect("it is always ready");
        black_box(service.call(request).await.expect("nothing waits"));
    };
    runtime.block_on(async {
        for nth in 0..count {
            call(nth, count).await;
        }
        let mut least = f64::INFINITY;
        for _ in 0..10 {
            let stopwatch = Clock::system();
            for nth in 0..CALLS / 10 {
                call(nth, count).await;
            }
            least = least.min(stopwatch.elapsed().as_nanos() as f64 / (CALLS / 10) as f64);
        }
        least
    })
}

/// Jumps about among `count`; visits all of them when asked `count` times.
fn shuffled(nth: u64, count: u64) -> u64 {
    // A prime that divides none of the counts.
    (nth * 7_919) % count
}

/// The fastest of ten, because whatever else the machine does only makes it slower.
fn fastest(mut run: impl FnMut() -> f64) -> f64 {
    (0..10).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn print(memory: &[(&str, Value)], speed: &[Speed]) {
    let number = |value: &Value| {
        value
            .as_f64()
            .map_or("unknown".to_owned(), |number| format!("{number:.0}"))
    };
    println!("keys: bytes per token at {TOKENS} tokens (cargo bench --bench keys)\n");
    let columns = [
        ("cells", "cells"),
        ("1 request cooling", "bytes_per_token_cooling"),
        ("2 requests cooling", "bytes_per_token_cooling_twice"),
        ("cells after eviction", "cells_evicted"),
        ("bytes kept for reuse", "bytes_per_token_evicted"),
    ];
    let rows: Vec<Vec<String>> = memory
        .iter()
        .map(|(plan, memory)| {
            let numbers = columns.iter().map(|(_, field)| number(&memory[*field]));
            [(*plan).to_owned()].into_iter().chain(numbers).collect()
        })
        .collect();
    let header: Vec<&str> = ["plan"]
        .into_iter()
        .chain(columns.map(|(title, _)| title))
        .collect();
    support::print_table(&header, &rows);
    println!("\nns per request (admitted, sent, settled), tokens in no order\n");
    let rows: Vec<Vec<String>> = speed
        .iter()
        .map(|speed| {
            let nanos = speed.nanos.iter().map(|nanos| format!("{nanos:.0}"));
            [speed.what.clone()].into_iter().chain(nanos).collect()
        })
        .collect();
    let header = ["through", "1 key", "1,000 keys", "1,000,000 keys"];
    support::print_table(&header, &rows);
}

fn to_json(memory: &[(&str, Value)], speed: &[Speed]) -> Value {
    let memory: Vec<Value> = memory
        .iter()
        .map(|(plan, memory)| json!({ "plan": plan, "figures": memory }))
        .collect();
    let speed: Vec<Value> = speed
        .iter()
        .map(|speed| json!({ "through": speed.what, "keys": KEYS, "nanoseconds": speed.nanos }))
        .collect();
    json!({ "bench": "keys", "tokens": TOKENS, "memory": memory, "speed": speed })
}
