//! What goes over the wire, and how long it has waited.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use tower_quota::clock::Clock;
use tower_quota::redis::SharedCalls;

pub(crate) struct Counts {
    clock: Clock,
    sent: AtomicU64,
    ok: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
    lost: AtomicU64,
    failed: AtomicU64,
    waited_us: AtomicU64,
    longest_us: AtomicU64,
}

/// Request extension: one call, however often it is sent.
#[derive(Clone)]
pub(crate) struct Call {
    made: Duration,
    is_sent: Arc<AtomicBool>,
}

impl Call {
    /// Whether it has been on the wire.
    pub(crate) fn is_sent(&self) -> bool {
        self.is_sent.load(Relaxed)
    }
}

impl Counts {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            sent: AtomicU64::new(0),
            ok: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            other: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            waited_us: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
        }
    }

    pub(crate) fn call(&self) -> Call {
        Call {
            made: self.clock.elapsed(),
            is_sent: Arc::default(),
        }
    }

    pub(crate) fn sends(&self, call: Option<&Call>) {
        self.sent.fetch_add(1, Relaxed);
        let Some(call) = call else { return };
        if !call.is_sent.swap(true, Relaxed) {
            let waited = self.clock.elapsed().saturating_sub(call.made);
            let waited = waited.as_micros() as u64;
            self.waited_us.fetch_add(waited, Relaxed);
            self.longest_us.fetch_max(waited, Relaxed);
        }
    }

    /// `None`: there is no answer.
    pub(crate) fn answered(&self, status: Option<StatusCode>) {
        let count = match status {
            Some(StatusCode::TOO_MANY_REQUESTS) => &self.refused,
            Some(status) if status.is_success() => &self.ok,
            Some(_) => &self.other,
            None => &self.lost,
        };
        count.fetch_add(1, Relaxed);
    }

    /// The caller got an error.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn so_far(&self, redis: SharedCalls) -> Value {
        let sent = self.sent.load(Relaxed);
        let per_request = |count: u64| count as f64 / sent.max(1) as f64;
        json!({
            "seconds": self.clock.elapsed().as_secs_f64(),
            "requests": sent,
            "ok": self.ok.load(Relaxed),
            "refused": self.refused.load(Relaxed),
            "other": self.other.load(Relaxed),
            "lost": self.lost.load(Relaxed),
            "failed": self.failed.load(Relaxed),
            "redis_calls": redis.round_trips(),
            "redis_heartbeats": redis.heartbeats,
            "redis_calls_per_request": per_request(redis.round_trips()),
            "mean_wait_s": per_request(self.waited_us.load(Relaxed)) / 1e6,
            "longest_wait_s": self.longest_us.load(Relaxed) as f64 / 1e6,
        })
    }
}

/// The same for people.
pub(crate) fn text(so_far: &Value) -> String {
    let [seconds, per_request, mean, longest] = [
        "seconds",
        "redis_calls_per_request",
        "mean_wait_s",
        "longest_wait_s",
    ]
    .map(|name| so_far[name].as_f64().unwrap_or_default());
    format!(
        "{seconds:6.1} s  {} requests: {} answered, {} refused (429), {} with other errors, {} lost; {} calls failed; \
         {per_request:.3} round trips to Redis per request; waited {mean:.1} s on average, {longest:.1} s at most",
        so_far["requests"],
        so_far["ok"],
        so_far["refused"],
        so_far["other"],
        so_far["lost"],
        so_far["failed"],
    )
}
