//! What Redis keeps for many tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tower::{Service, ServiceExt};
use tower_quota::clock::Clock;

use crate::limiters::Allowance;
use crate::redis_server::RedisServer;
use crate::tables::Table;
use crate::{SECOND, call, in_real_time, info, limited, shared, support};

/// A window that is longer than the filling takes, so that all is there at the end.
const ALLOWANCE: Allowance = Allowance {
    quota: 100,
    window: Duration::from_secs(3_600),
};

/// One row of the table.
struct Fill {
    tokens: usize,
    tasks: usize,
    /// Of each token.
    requests: usize,
    /// Between two of them: how they spread over the window decides how much of it there is to know.
    gap: Duration,
}

const FILLS: [Fill; 2] = [
    Fill {
        tokens: 100_000,
        tasks: 256,
        requests: 1,
        gap: Duration::ZERO,
    },
    Fill {
        tokens: 1_000,
        tasks: 1_000,
        requests: 100,
        gap: Duration::from_millis(100),
    },
];

struct Seen {
    keys: usize,
    bytes: u64,
    /// The longest record, without what Redis itself adds.
    longest: usize,
    took: Duration,
}

pub(crate) fn table() -> Table {
    let seen: Vec<Seen> = FILLS.iter().map(|fill| in_real_time(fill.see())).collect();
    report(&seen)
}

impl Fill {
    async fn see(&self) -> Seen {
        let redis = RedisServer::start();
        let quota = shared(&redis, ALLOWANCE).await;
        let client = limited(&quota);
        let before = info(&redis, "memory", "used_memory");
        let clock = Clock::system();
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let (tokens, requests, gap) = (self.tokens, self.requests, self.gap);
        for _ in 0..self.tasks {
            let (mut client, next) = (client.clone(), next.clone());
            tasks.spawn(async move {
                loop {
                    let token = next.fetch_add(1, Ordering::Relaxed);
                    if token >= tokens {
                        return;
                    }
                    let token = token.to_string();
                    for _ in 0..requests {
                        let client = client.ready().await.expect("it is ready");
                        client.call(call(&token)).await.expect("it may go");
                        tokio::time::sleep(gap).await;
                    }
                }
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.expect("no task panics");
        }
        let took = clock.elapsed();
        // What is told late is told by then.
        tokio::time::sleep(2 * SECOND).await;
        let bytes = info(&redis, "memory", "used_memory").saturating_sub(before);
        let keys = redis.cli(&["DBSIZE"]).parse().unwrap_or(0);
        let some = redis.cli(&["KEYS", "tower-quota:{*0}"]);
        let lengths = some.lines().take(1_000).map(|key| {
            let length = redis.cli(&["STRLEN", key]);
            length.parse().unwrap_or(0)
        });
        Seen {
            keys,
            bytes,
            longest: lengths.max().unwrap_or(0),
            took,
        }
    }
}

fn report(all: &[Seen]) -> Table {
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    let mut failures = Vec::new();
    for (fill, seen) in FILLS.iter().zip(all) {
        let Fill {
            tokens, requests, ..
        } = *fill;
        let each = seen.bytes as f64 / tokens as f64;
        rows.push(vec![
            format!("{tokens} tokens, {requests} of 100 requests each"),
            format!("{:.1}", seen.bytes as f64 / 1e6),
            format!("{each:.0}"),
            seen.longest.to_string(),
            seen.keys.to_string(),
            format!("{:.1}", seen.took.as_secs_f64()),
        ]);
        json_rows.push(json!({
            "tokens": tokens,
            "requests_each": requests,
            "bytes": seen.bytes,
            "bytes_per_token": each,
            "longest_record_bytes": seen.longest,
            "keys": seen.keys,
            "filled_in_s": seen.took.as_secs_f64(),
        }));
        if seen.keys < tokens {
            failures.push(format!("memory: {} keys for {tokens} tokens", seen.keys));
        }
    }
    let header = [
        "in use",
        "MB",
        "bytes per token",
        "longest record",
        "keys",
        "filled in s",
    ];
    let text = format!(
        "memory: what Redis keeps (used_memory), one limit of 100 requests\n\n{}",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "rows": json_rows }),
        failures,
    }
}
