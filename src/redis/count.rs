//! What the store was asked, counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often a [`Quota`](crate::Quota) has asked the store that lends its slots, since it was made; see
/// [`Quota::shared_calls`](crate::Quota::shared_calls).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedCalls {
    /// Calls for slots: one carries all that is to be said of one key, for as many requests as there are.
    pub calls: u64,
    /// Heartbeats, one in a lease, and attempts to reach a store that is gone.
    pub heartbeats: u64,
    /// Messages more because the store had forgotten the script.
    pub scripts: u64,
    /// Calls and heartbeats that were refused, lost or not answered in time.
    pub failures: u64,
    /// How often the store was gone.
    pub outages: u64,
    /// Whether it is gone now.
    pub is_gone: bool,
}

impl SharedCalls {
    /// All messages that went to the store and back, or should have.
    pub fn round_trips(&self) -> u64 {
        self.calls + self.heartbeats + self.scripts
    }
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(super) calls: AtomicU64,
    pub(super) heartbeats: AtomicU64,
    pub(super) scripts: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) outages: AtomicU64,
    pub(super) is_gone: AtomicBool,
}

impl Count {
    pub(crate) fn read(&self) -> SharedCalls {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SharedCalls {
            calls: read(&self.calls),
            heartbeats: read(&self.heartbeats),
            scripts: read(&self.scripts),
            failures: read(&self.failures),
            outages: read(&self.outages),
            is_gone: self.is_gone.load(Ordering::Relaxed),
        }
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
