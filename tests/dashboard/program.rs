//! The dashboard as a process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tower_quota::clock::Clock;

use crate::http::{Answer, PATIENCE, ask};

/// A dashboard that runs until it is dropped.
pub(crate) struct Dashboard {
    child: Child,
    pub(crate) address: String,
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tower-quota"));
    command
        .arg("dashboard")
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program runs")
}

impl Dashboard {
    /// On a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.args(["--listen", "127.0.0.1:0"]);
        Self::start_with(command)
    }

    pub(crate) fn start_with(mut command: Command) -> Self {
        let mut child = command
            .arg("--json")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        let address = line["address"].as_str().expect("an address");
        let address = address.strip_prefix("http://").expect("a URL").to_owned();
        Self { child, address }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn input(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("its input")
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        ask(&self.address, "GET", path, &[], b"")
    }

    /// The page, once it has `text`.
    pub(crate) fn page_with(&self, text: &str) -> String {
        let mut page = String::new();
        until(|| {
            page = self.get("/").body;
            page.contains(text)
        });
        page
    }

    /// Posts lines as they should be.
    pub(crate) fn post(&self, path: &str, lines: &str) -> Answer {
        let kind = "content-type: application/x-ndjson";
        ask(&self.address, "POST", path, &[kind], lines.as_bytes())
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again, and fails after a while.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    while !is_so() {
        assert!(clock.elapsed() < PATIENCE, "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A file of this test, empty at first.
pub(crate) fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    std::fs::write(&path, "").expect("a file");
    path
}

/// A report of 22 November 2026, 12:00, as a recorder writes it.
pub(crate) fn report() -> Value {
    let counts = |requests, errors, rate_limited| json!({"requests": requests, "errors": errors, "rate_limited": rate_limited, "lost": 3, "denied": 4, "would_wait": 0});
    let key = "00112233445566778899aabbccddeeff";
    let token = "ffeeddccbbaa99887766554433221100";
    let midnight = 1_795_305_600.0;
    let noon = midnight + 43_200.0;
    json!({
        "event": "report", "at": noon, "api": "acme", "enforced": true, "waiting": 17, "day_began": midnight,
        "today": counts(12_345, 432, 99), "yesterday": counts(23_456, 111, 22),
        "errors": {"level": "warn", "share": 0.035, "warn": 0.03, "breach": 0.05, "least_requests": 100},
        "limits": [
            {"limit": "burst", "scope": "token", "quota": 100, "window": 10.0, "keys": [
                {"key": token, "quota": 100, "used": 60, "foreign": 30, "waiting": 5, "headroom": 10, "paused": 4.25},
            ]},
            {"limit": "daily", "scope": "account", "quota": 50_000, "keys": []},
        ],
        "daily": [{"limit": "daily", "key": key, "quota": 50_000, "used": 12_000, "foreign": 8_000, "left": 30_000,
            "resets": midnight + 86_400.0, "per_hour": 5_000.0, "runs_out": midnight + 64_800.0}],
        "tokens": [{"token": token, "requests": 12_345, "uncertain": 0, "errors": 432, "rate_limited": 99}],
        "refused_tokens": [],
        "routes": [{"route": "GET /things/{}", "requests": 12_000, "errors": 400, "rate_limited": 90}],
        "concurrency": [{"token": token, "limit": 8, "in_flight": 6, "waiting": 2, "last_change": "overload"}],
        "history": [
            {"began": noon - 600.0, "requests": 200, "errors": 4, "rate_limited": 2, "daily": 200},
            {"began": noon - 300.0, "requests": 100, "errors": 9, "rate_limited": 1, "daily": 100},
        ],
    })
}

/// The same with something changed.
pub(crate) fn report_with(change: impl FnOnce(&mut Value)) -> String {
    let mut report = report();
    change(&mut report);
    format!("{report}\n")
}
