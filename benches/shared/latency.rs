//! How long a request is held up that could go at once, with a Redis on this machine.
//!
//! Ours and the script that others run take turns, each with a Redis of its own. The limit is out of reach and the API behind answers
//! at once, so that what is measured is the asking.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::{Service, ServiceExt};
use tower_quota::clock::Clock;

use crate::gcra::Gcra;
use crate::limiters::{Allowance, Client};
use crate::redis_server::RedisServer;
use crate::tables::Table;
use crate::{SECOND, call, in_real_time, limited, scripts, shared, support};

const ALLOWANCE: Allowance = Allowance {
    quota: 100_000,
    window: Duration::from_secs(10),
};

/// Round trips of a request that finds nothing prepared.
const MOST_CALLS_IDLE: f64 = 1.0;

/// In microseconds. Nobody need wait here, but the machine may be busy with other things.
const LONGEST_P99: u64 = 25_000;

const TURNS: usize = 10;

/// What the callers do.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    name: &'static str,
    tasks: usize,
    /// Requests of each task in one turn.
    calls: usize,
    /// Between two of them.
    gap: Duration,
    /// Whether each has a token that nobody has seen.
    new_tokens: bool,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario {
        name: "one at a time, new tokens",
        tasks: 1,
        calls: 200,
        gap: Duration::from_millis(2),
        new_tokens: true,
    },
    Scenario {
        name: "one every 500 ms",
        tasks: 1,
        calls: 4,
        gap: Duration::from_millis(500),
        new_tokens: false,
    },
    Scenario {
        name: "one every 20 ms",
        tasks: 1,
        calls: 50,
        gap: Duration::from_millis(20),
        new_tokens: false,
    },
    Scenario {
        name: "8 tasks, each every 5 ms",
        tasks: 8,
        calls: 200,
        gap: Duration::from_millis(5),
        new_tokens: false,
    },
];

/// Who is asked.
#[derive(Clone)]
enum Way {
    Ours(Client),
    Gcra(Gcra),
}

/// A way with its own Redis.
struct Asked {
    name: &'static str,
    way: Way,
    redis: RedisServer,
}

#[derive(Default)]
struct Seen {
    micros: Vec<u64>,
    scripts: u64,
}

pub(crate) fn table() -> Table {
    in_real_time(async {
        let asked = [ours().await, gcra().await];
        // How long the very first request waits when Redis is empty, the other tables tell.
        for asked in &asked {
            asked.way.clone().pass("the first").await;
        }
        let mut rows = Vec::new();
        for scenario in &SCENARIOS {
            rows.push((scenario, scenario.see(&asked).await));
        }
        report(&asked, &rows)
    })
}

async fn ours() -> Asked {
    let redis = RedisServer::start();
    let quota = shared(&redis, ALLOWANCE).await;
    Asked {
        name: "tower-quota",
        way: Way::Ours(limited(&quota)),
        redis,
    }
}

async fn gcra() -> Asked {
    let redis = RedisServer::start();
    let gcra = Gcra::new(&redis, ALLOWANCE, ALLOWANCE.quota).await;
    Asked {
        name: "GCRA by script",
        way: Way::Gcra(gcra),
        redis,
    }
}

impl Way {
    async fn pass(&mut self, token: &str) {
        match self {
            Way::Gcra(gcra) => gcra.pass(token).await,
            Way::Ours(client) => {
                let client = client.ready().await.expect("it is ready");
                client.call(call(token)).await.expect("it may go");
            }
        }
    }
}

impl Scenario {
    async fn see(&self, asked: &[Asked]) -> Vec<Seen> {
        let before: Vec<u64> = asked.iter().map(|asked| scripts(&asked.redis)).collect();
        let mut seen: Vec<Seen> = asked.iter().map(|_| Seen::default()).collect();
        for turn in 0..TURNS {
            for (asked, seen) in asked.iter().zip(&mut seen) {
                seen.micros.extend(self.turn(turn, &asked.way).await);
            }
        }
        // What is told late, a fifth of a window later, is told by then.
        tokio::time::sleep(3 * SECOND).await;
        for ((asked, seen), before) in asked.iter().zip(&mut seen).zip(before) {
            seen.scripts = scripts(&asked.redis) - before;
            seen.micros.sort_unstable();
        }
        seen
    }

    async fn turn(self, turn: usize, way: &Way) -> Vec<u64> {
        let clock = Arc::new(Clock::system());
        let mut tasks = JoinSet::new();
        for task in 0..self.tasks {
            let (clock, mut way) = (clock.clone(), way.clone());
            tasks.spawn(async move {
                let mut micros = Vec::new();
                for call in 0..self.calls {
                    tokio::time::sleep(self.gap).await;
                    let token = match self.new_tokens {
                        true => format!("{turn}-{task}-{call}"),
                        false => "one".to_owned(),
                    };
                    let asked = clock.elapsed();
                    way.pass(&token).await;
                    micros.push((clock.elapsed() - asked).as_micros() as u64);
                }
                micros
            });
        }
        tasks.join_all().await.concat()
    }
}

impl Seen {
    /// Of the sorted times.
    fn percentile(&self, percent: usize) -> u64 {
        let nth = self.micros.len() * percent / 100;
        self.micros[nth.min(self.micros.len() - 1)]
    }

    fn calls(&self) -> f64 {
        self.scripts as f64 / self.micros.len() as f64
    }
}

fn report(asked: &[Asked], table: &[(&Scenario, Vec<Seen>)]) -> Table {
    let mut rows = Vec::new();
    let mut json_rows: Vec<Value> = Vec::new();
    let mut failures = Vec::new();
    for (scenario, seen) in table {
        for (asked, seen) in asked.iter().zip(seen) {
            let [p50, p99, most] = [50, 99, 100].map(|percent| seen.percentile(percent));
            rows.push(vec![
                format!("{}: {}", scenario.name, asked.name),
                seen.micros.len().to_string(),
                p50.to_string(),
                p99.to_string(),
                most.to_string(),
                format!("{:.3}", seen.calls()),
            ]);
            json_rows.push(json!({
                "scenario": scenario.name,
                "limiter": asked.name,
                "requests": seen.micros.len(),
                "p50_us": p50,
                "p99_us": p99,
                "most_us": most,
                "redis_calls_per_request": seen.calls(),
            }));
            let mut check = |is_right: bool, problem: String| {
                if matches!(asked.way, Way::Ours(_)) && !is_right {
                    failures.push(format!("latency: {}: {problem}", scenario.name));
                }
            };
            let calls = seen.calls();
            check(
                calls <= MOST_CALLS_IDLE,
                format!("{calls:.3} round trips per request"),
            );
            check(p99 <= LONGEST_P99, format!("p99 is {p99} us"));
        }
    }
    let header = [
        "callers: limiter",
        "requests",
        "p50 us",
        "p99 us",
        "most us",
        "round trips",
    ];
    let text = format!(
        "latency: admission where nobody need wait, {TURNS} turns each\n\n{}\n\
         round trips: to Redis, for each request, heartbeats included\n",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "rows": json_rows }),
        failures,
    }
}
