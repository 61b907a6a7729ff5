//! Processes of the example `shared_quota`, and what they work with.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tower_quota::sim::{Counted, Latency, Sim, SimServer};

use crate::limiters::Allowance;
use crate::redis_server::RedisServer;
use crate::{KEY, SECOND, program};

/// A simulated API on a socket, and a Redis.
pub(crate) struct World {
    pub(crate) allowance: Allowance,
    pub(crate) redis: RedisServer,
    pub(crate) sim: Sim,
    server: SimServer,
}

/// What one process said of itself last, and second by second.
#[derive(Default)]
pub(crate) struct Said(Mutex<Vec<Value>>);

pub(crate) struct Process {
    child: Child,
    said: Arc<Said>,
    reader: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new(allowance: Allowance) -> Self {
        let sim = Sim::builder()
            .burst(u64::from(allowance.quota), allowance.window)
            .no_daily()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(SECOND / 5, 3 * SECOND / 5))
            .seed(1)
            .record(true)
            .build()
            .expect("the simulator is sound");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let server = sim.serve(listener.expect("there is a free port"));
        Self {
            allowance,
            redis: RedisServer::start(),
            sim,
            server: server.expect("the server starts"),
        }
    }

    /// Starts one process with full demand.
    pub(crate) fn start(&self, program: &Path, arguments: &[&str]) -> Process {
        let redis = ["--redis", &self.redis.url(), "--key", KEY];
        self.start_alone(program, &[&redis, arguments].concat())
    }

    /// The same with a quota of its own.
    pub(crate) fn start_alone(&self, program: &Path, arguments: &[&str]) -> Process {
        let mut command = Command::new(program);
        command
            .args(["--api", &self.server.url()])
            .args(["--quota", &self.allowance.quota.to_string()])
            .args(["--window", &self.allowance.window.as_secs().to_string()])
            .args(["--progress", "--json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the example runs");
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        let said = Arc::<Said>::default();
        let hears = said.clone();
        let reader = tokio::spawn(async move {
            let Some(mut lines) = lines else { return };
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).expect("the example prints JSON");
                hears.0.lock().expect("nobody panics").push(line);
            }
        });
        Process {
            child,
            said,
            reader,
        }
    }

    /// Until the first request was counted; gives when that was.
    pub(crate) async fn begun(&self) -> Duration {
        loop {
            if let Some(first) = self.sim.log().first() {
                return first.at;
            }
            tokio::time::sleep(SECOND / 100).await;
        }
    }

    /// Until so long after the simulator was built.
    pub(crate) async fn until(&self, time: Duration) {
        tokio::time::sleep(time.saturating_sub(self.sim.elapsed())).await;
    }

    /// Until processes are in the middle of taking slots, at that time or later.
    pub(crate) async fn in_a_rush(&self, time: Duration) {
        self.until(time).await;
        let before = self.sim.stats().counted();
        while self.sim.stats().counted() < before + u64::from(self.allowance.quota / 3) {
            tokio::time::sleep(SECOND / 100).await;
        }
    }

    /// Requests that were counted from then until then.
    pub(crate) fn counted(&self, from: Duration, to: Duration) -> usize {
        let log = self.sim.log();
        let within = |entry: &&Counted| (from..to).contains(&entry.at);
        log.iter().filter(within).count()
    }

    /// The most requests in any window that ends later than `from`.
    pub(crate) fn most(&self, from: Duration) -> usize {
        let log = self.sim.log();
        let ends = log.iter().filter(|entry| entry.at > from);
        let counted = |end: &Counted| {
            let within =
                |entry: &&Counted| entry.at <= end.at && entry.at + self.allowance.window > end.at;
            log.iter().filter(within).count()
        };
        ends.map(counted).max().unwrap_or(0)
    }
}

impl Process {
    /// As a crash would.
    pub(crate) async fn kill(mut self) -> Arc<Said> {
        self.child.kill().await.expect("it can be killed");
        self.heard().await
    }

    /// In good order.
    pub(crate) async fn end(mut self) -> Arc<Said> {
        if let Some(id) = self.child.id() {
            program::interrupt(id);
        }
        let end = tokio::time::timeout(60 * SECOND, self.child.wait()).await;
        let end = end.expect("it ends").expect("it can be waited for");
        assert!(end.success(), "the example failed: {end}");
        self.heard().await
    }

    async fn heard(self) -> Arc<Said> {
        self.reader.await.expect("the reader does not panic");
        self.said
    }
}

impl Said {
    /// The figure of this name, as it was last.
    pub(crate) fn last(&self, name: &str) -> u64 {
        let said = self.0.lock().expect("nobody panics");
        said.last()
            .and_then(|line| line[name].as_u64())
            .unwrap_or(0)
    }

    /// As it was when the process had run for so long.
    pub(crate) fn at(&self, time: Duration, name: &str) -> u64 {
        let said = self.0.lock().expect("nobody panics");
        let earlier = |line: &&Value| line["seconds"].as_f64() <= Some(time.as_secs_f64());
        let line = said.iter().rev().find(earlier);
        line.and_then(|line| line[name].as_u64()).unwrap_or(0)
    }
}
