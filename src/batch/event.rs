//! What people are told.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use crate::clock::Clock;
use crate::core::Fingerprint;

/// What happened to one batch.
pub(super) struct Diary {
    account: Fingerprint,
    label: Cow<'static, str>,
    begun: Instant,
    requests: AtomicU32,
    refused: AtomicU32,
}

impl Diary {
    pub(super) fn new(account: Fingerprint, label: Cow<'static, str>) -> Self {
        Self {
            account,
            label,
            begun: Clock::instant_now(),
            requests: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        }
    }

    /// A batch call is sent.
    pub(super) fn asks(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A batch call was refused as a whole, and is asked for in another way.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The server takes fewer inputs than was thought.
    pub(super) fn learnt(&self, most: usize) {
        tracing::info!(
            target: "tower_quota::batch_limit",
            account = %self.account,
            route = %self.label,
            most,
        );
    }

    /// Every caller has what is his.
    pub(super) fn over(&self, calls: usize) {
        let requests = self.requests.load(Ordering::Relaxed);
        // A single call that left as it came is no batch.
        if requests == 0 {
            return;
        }
        tracing::debug!(
            target: "tower_quota::batched",
            account = %self.account,
            route = %self.label,
            calls,
            requests,
            refused = self.refused.load(Ordering::Relaxed),
            seconds = Clock::instant_now().saturating_duration_since(self.begun).as_secs_f64(),
        );
    }
}
