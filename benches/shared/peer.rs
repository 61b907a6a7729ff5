//! Ours beside the script that others run, in front of the same simulated API.
//!
//! Four clients, each with a connection to Redis of its own, keep 32 tasks busy for about two minutes. A request that is refused is
//! repeated after an exponential backoff.

use std::time::Duration;

use http_body_util::Empty;
use serde_json::json;
use tokio::task::JoinSet;
use tower_quota::sim::{Latency, Sim, Stats};

use crate::drive::{TOKEN, general, saturate};
use crate::gcra::Gcra;
use crate::limiters::{Allowance, Client, Server, gated, stacked};
use crate::pace::{LEGEND, Pace};
use crate::redis_server::RedisServer;
use crate::tables::Table;
use crate::{SECOND, in_real_time, scripts, shared, support};

const ALLOWANCE: Allowance = Allowance {
    quota: 100,
    window: Duration::from_secs(10),
};
const CLIENTS: usize = 4;
const TASKS: usize = 32;
/// Many, because a pace that is even from the start never makes up for the first window.
const WINDOWS: u32 = 12;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
enum Way {
    Ours,
    Gcra { burst: u32 },
}

const WAYS: [Way; 3] = [Way::Ours, Way::Gcra { burst: 100 }, Way::Gcra { burst: 1 }];

struct Seen {
    pace: Pace,
    stats: Stats,
    scripts: u64,
}

pub(crate) fn table() -> Table {
    let seen = in_real_time(async {
        let runs = WAYS.map(|way| tokio::spawn(way.see()));
        let mut seen = Vec::new();
        for run in runs {
            seen.push(run.await.expect("no run panics"));
        }
        seen
    });
    report(&seen)
}

impl Way {
    fn name(self) -> String {
        match self {
            Way::Ours => "tower-quota".to_owned(),
            Way::Gcra { burst } => format!("GCRA by script, burst {burst}"),
        }
    }

    async fn see(self) -> Seen {
        let redis = RedisServer::start();
        let sim = Sim::builder()
            .burst(u64::from(ALLOWANCE.quota), ALLOWANCE.window)
            .no_daily()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(SECOND / 5, 3 * SECOND / 5))
            .seed(1)
            .record(true)
            .build()
            .expect("the simulator is sound");
        let request = general().map(|_| Empty::new());
        let mut busy = JoinSet::new();
        let started = sim.elapsed();
        for _ in 0..CLIENTS {
            let client = self.client(&redis, Server::Sim(sim.service())).await;
            saturate(&mut busy, TASKS, &client, &request);
        }
        let seen = Seen {
            pace: Pace::wait(&sim, ALLOWANCE, started, WINDOWS).await,
            stats: sim.stats(),
            scripts: scripts(&redis),
        };
        // The tasks end before the Redis that they use.
        busy.shutdown().await;
        seen
    }

    async fn client(self, redis: &RedisServer, server: Server) -> Client {
        match self {
            Way::Ours => stacked(server, &shared(redis, ALLOWANCE).await),
            Way::Gcra { burst } => {
                let gcra = Gcra::new(redis, ALLOWANCE, burst).await;
                gated(server, move || {
                    let gcra = gcra.clone();
                    async move { gcra.pass(TOKEN).await }
                })
            }
        }
    }
}

fn report(seen: &[Seen]) -> Table {
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    let mut failures = Vec::new();
    for (way, seen) in WAYS.iter().zip(seen) {
        let (arrived, counted) = (seen.stats.arrived(), seen.stats.counted());
        let refused = seen.stats.refused();
        let used = seen.pace.used();
        let first = seen.pace.first.as_secs_f64();
        let calls = seen.scripts as f64 / counted.max(1) as f64;
        rows.push(vec![
            way.name(),
            refused.to_string(),
            support::percent(refused, arrived),
            format!("{first:.1} s"),
            format!("{:.1} %", 100.0 * used),
            format!("{calls:.3}"),
        ]);
        json_rows.push(json!({
            "limiter": way.name(),
            "arrived": arrived,
            "refused": refused,
            "first_after_s": first,
            "used": used,
            "redis_calls_per_counted_request": calls,
        }));
        if matches!(way, Way::Ours) && refused > 0 {
            failures.push(format!("peer: {refused} refused"));
        }
    }
    let header = [
        "limiter",
        "429",
        "of all",
        "first after",
        "used",
        "round trips",
    ];
    let text = format!(
        "peer: {CLIENTS} clients, 100 per 10 s on one token, 1,200 requests in real time\n\n{}\n\
         {LEGEND}\
         round trips: to Redis, for each request that was counted\n",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "rows": json_rows }),
        failures,
    }
}
