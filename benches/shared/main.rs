//! One quota for many processes, on real sockets and in real time: a `redis-server`, the simulated API, and the example `shared_quota`
//! as so many processes of their own.
//!
//! ```text
//! cargo bench --bench shared                      all tables: six minutes
//! cargo bench --bench shared -- processes peer    only these; the names are in the headlines
//! cargo bench --bench shared -- --json            the same as one JSON object
//! ```
//!
//! Ends with exit code 1 when a target is missed; what was missed is said on the error output.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/limiters.rs"]
mod limiters;

#[path = "../support/drive.rs"]
mod drive;

#[path = "../support/tables.rs"]
mod tables;

#[path = "../../tests/common/program.rs"]
mod program;

#[path = "../../tests/common/redis_server.rs"]
mod redis_server;

mod fleet;
mod gcra;
mod latency;
mod memory;
mod pace;
mod peer;
mod processes;
mod seen;

use std::process::ExitCode;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Empty;
use tables::Named;
use tower::{ServiceBuilder, ServiceExt};
use tower_quota::plan::{Limit, Plan};
use tower_quota::redis::{RedisLedger, RedisOptions};
use tower_quota::{Quota, TokenLimitLayer};

use crate::drive::PATIENCE;
use crate::limiters::{Allowance, Call, Client, Server};
use crate::redis_server::RedisServer;

/// Name on the command line, and what makes the table.
const TABLES: [Named; 4] = [
    ("processes", processes::table),
    ("peer", peer::table),
    ("latency", latency::table),
    ("memory", memory::table),
];

const SECOND: Duration = Duration::from_secs(1);

/// What all processes share.
const KEY: &str = "a secret of this bench";

fn main() -> ExitCode {
    let failures = tables::print("shared", &TABLES, "");
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

/// Real time, on all processors.
fn in_real_time<F: Future>(run: F) -> F::Output {
    tokio::runtime::Runtime::new()
        .expect("a runtime can be built")
        .block_on(run)
}

/// The quota of one process, lent by `redis`.
async fn shared(redis: &RedisServer, allowance: Allowance) -> Quota {
    let options = RedisOptions::new().key(KEY.as_bytes());
    let ledger = RedisLedger::connect(&redis.url(), options).await;
    let limit = Limit::rolling("burst", allowance.quota, allowance.window);
    let plan = Plan::builder("sim").limit(limit).build();
    Quota::builder(plan.expect("the plan is sound"))
        .shared(ledger.expect("the server is there"))
        .build()
}

/// In front of an API that answers at once.
fn limited(quota: &Quota) -> Client {
    ServiceBuilder::new()
        .map_response(|response: Response<_>| response.status())
        .layer(TokenLimitLayer::new(quota).max_wait(PATIENCE))
        .service(Server::Ready(Response::default))
        .boxed_clone()
}

fn call(token: &str) -> Call {
    Request::get("http://api.example.com/")
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::new())
        .expect("the request is sound")
}

/// A figure of `INFO`; 0 where it is not told.
fn info(redis: &RedisServer, section: &str, name: &str) -> u64 {
    let info = redis.cli(&["INFO", section]);
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    let figure = line.and_then(|line| line.strip_prefix(':')?.parse().ok());
    figure.unwrap_or(0)
}

/// How often a script was run.
fn scripts(redis: &RedisServer) -> u64 {
    let info = redis.cli(&["INFO", "commandstats"]);
    let calls = |line: &str| -> Option<u64> {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let is_script = matches!(name, "eval" | "evalsha" | "fcall");
        let calls = figures.split(',').next()?.parse().ok()?;
        is_script.then_some(calls)
    };
    info.lines().filter_map(calls).sum()
}
