//! Promise: processes that share a quota through Redis are never refused together, also when one of them is killed, and use what
//! there is. In real time, over real sockets; how much is used on a quiet machine `cargo bench --bench shared` tells.

#[path = "common/program.rs"]
mod program;
#[path = "common/redis_server.rs"]
mod redis_server;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis_server::RedisServer;
use tokio::net::TcpListener;
use tower_quota::sim::{Class, Latency, Sim, SimServer};

const QUOTA: u32 = 20;
const WINDOW: Duration = Duration::from_secs(2);

/// Dropped, it is killed.
struct Process(Child);

impl Process {
    fn start(redis: &RedisServer, server: &SimServer) -> Self {
        let mut command = Command::new(program::example("shared_quota"));
        command
            .args(["--redis", &redis.url(), "--key", "a secret of this test"])
            .args(["--api", &server.url()])
            .args(["--quota", &QUOTA.to_string()])
            .args(["--window", &WINDOW.as_secs().to_string()])
            // Twice as long as anything takes: what a killed process has in flight is held for so long, a lease and a window.
            .args(["--timeout", "2", "--lease", "1"])
            .args(["--seconds", "60", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Self(command.spawn().expect("the example runs"))
    }

    /// Ctrl-C; gives what it says of itself.
    fn end(mut self) -> serde_json::Value {
        program::interrupt(self.0.id());
        let out = self.0.stdout.take().expect("it is piped");
        let text = std::io::read_to_string(out).expect("it prints text");
        let end = self.0.wait().expect("it ends");
        assert!(end.success(), "{end}: {text}");
        let last = text.lines().last().expect("it prints a line");
        serde_json::from_str(last).expect("it prints JSON")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_share_a_quota_are_never_refused_and_use_it_although_one_is_killed() {
    let redis = RedisServer::start();
    let sim = Sim::builder()
        .burst(u64::from(QUOTA), WINDOW)
        .no_daily()
        .latency(Latency::exponential(
            Duration::from_millis(5),
            Duration::from_millis(10),
        ))
        .service_time(Latency::uniform(
            Duration::from_millis(20),
            Duration::from_millis(200),
        ))
        .record(true)
        .build()
        .expect("the simulator is sound");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = sim.serve(listener).expect("a server");

    let mut processes: Vec<_> = (0..3).map(|_| Process::start(&redis, &server)).collect();
    while sim.stats().counted() < u64::from(QUOTA) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    processes.pop();
    let (killed, counted) = (sim.elapsed(), sim.stats().counted());
    tokio::time::sleep(3 * WINDOW).await;
    let after = sim.stats().counted() - counted;
    let lasted = sim.elapsed() - killed;
    let ends = processes
        .into_iter()
        .map(|process| tokio::task::spawn_blocking(|| process.end()));
    for end in ends {
        let said = end.await.expect("no panic");
        assert!(said["ok"].as_u64() > Some(0), "{said}");
        assert_eq!(said["refused"], 0, "{said}");
        assert_eq!(said["failed"], 0, "{said}");
        assert!(said["redis_calls"].as_u64() > Some(0), "{said}");
    }
    assert_eq!(sim.stats().refused(), 0);
    assert!(sim.max_in_window(Class::General, WINDOW) <= QUOTA as usize);
    let allowed = f64::from(QUOTA) * lasted.as_secs_f64() / WINDOW.as_secs_f64();
    let used = after as f64 / allowed;
    // What the killed one held is missing for a while, and a busy machine is late.
    assert!(
        used > 0.4,
        "used {used:.2} of the quota after one was killed"
    );
}
