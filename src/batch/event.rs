//! What people are told.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use super::shared::Shared;
use crate::clock::Clock;
use crate::core::Fingerprint;
use crate::event::EventKind;

/// What happened to one batch.
pub(super) struct Diary {
    shared: Arc<Shared>,
    account: Fingerprint,
    label: Cow<'static, str>,
    begun: Instant,
    batches: AtomicU32,
    alone: AtomicU32,
    refused: AtomicU32,
}

impl Diary {
    pub(super) fn new(shared: Arc<Shared>, account: Fingerprint, label: Cow<'static, str>) -> Self {
        Self {
            shared,
            account,
            label,
            begun: Clock::instant_now(),
            batches: AtomicU32::new(0),
            alone: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        }
    }

    fn emit(&self, kind: EventKind) {
        self.shared.setup.account.emit(self.account, kind);
    }

    /// A batch call is sent.
    pub(super) fn asks(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// So many callers send their calls themselves.
    pub(super) fn leaves_alone(&self, callers: usize) {
        let callers = u32::try_from(callers).unwrap_or(u32::MAX);
        self.alone.fetch_add(callers, Ordering::Relaxed);
    }

    /// A batch call was refused as a whole, and is asked for in another way.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The server takes fewer inputs than was thought.
    pub(super) fn learnt(&self, most: usize) {
        self.emit(EventKind::BatchLimit {
            route: self.label.clone(),
            most: most as u64,
        });
    }

    /// Every caller has what is his.
    pub(super) fn over(&self, calls: usize) {
        let batches = self.batches.load(Ordering::Relaxed);
        // A single call that left as it came is no batch.
        if batches == 0 {
            return;
        }
        let requests = batches.saturating_add(self.alone.load(Ordering::Relaxed));
        self.emit(EventKind::Batched {
            route: self.label.clone(),
            calls: calls as u64,
            requests,
            refused: self.refused.load(Ordering::Relaxed),
            took: Clock::instant_now().saturating_duration_since(self.begun),
        });
    }
}
