//! What people are told.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::Trimmed;
use super::job::{Ask, Job};
use super::leg::Failure;
use super::policy::{Question, Shape, Whole};
use super::shared::Shared;
use crate::clock::Clock;
use crate::core::Fingerprint;
use crate::event::EventKind;

/// Of more hints than these nobody reads the rest.
const MOST_HINTS: usize = 8;

/// What happened to one request.
pub(super) struct Diary {
    shared: Arc<Shared>,
    account: Fingerprint,
    shape: Shape,
    units: usize,
    begun: Instant,
    failures: u32,
}

impl Diary {
    pub(super) fn new(
        shared: Arc<Shared>,
        account: Fingerprint,
        shape: Shape,
        units: usize,
    ) -> Self {
        Self {
            shared,
            account,
            shape,
            units,
            begun: Clock::instant_now(),
            failures: 0,
        }
    }

    pub(super) fn route(&self) -> Cow<'static, str> {
        self.shape.route.clone()
    }

    fn elapsed(&self) -> Duration {
        Clock::instant_now().saturating_duration_since(self.begun)
    }

    fn emit(&self, kind: EventKind) {
        self.shared.setup.account.emit(self.account, kind);
    }

    /// A request or piece was too heavy.
    pub(super) fn too_heavy<RB>(
        &mut self,
        failure: &Failure<RB>,
        ask: &Ask,
        goes_on: bool,
        question: &dyn Question,
    ) {
        let status = match failure {
            Failure::Response(response) => Some(response.status().as_u16()),
            Failure::Error(_) => None,
        };
        self.emit(EventKind::TooHeavy {
            route: self.route(),
            status,
            asked: ask.span.len() as u64,
            goes_on,
            took: self.elapsed(),
        });
        self.failures += 1;
        if self.failures > 1 {
            return;
        }
        for hint in question.hints().into_iter().take(MOST_HINTS) {
            self.emit(EventKind::HeavyHint {
                route: self.route(),
                hint: hint.into(),
            });
        }
    }

    /// The caller gets his whole answer.
    pub(super) fn done(&self, job: &Job, whole: &Whole) -> Trimmed {
        let trimmed = Trimmed {
            asked: self.units,
            size: job.size(),
            pieces: job.tally.pieces,
            too_heavy: job.tally.too_heavy,
        };
        self.emit(EventKind::Trimmed {
            route: self.route(),
            shape: self.shape.detail.clone(),
            asked: trimmed.asked as u64,
            worked: trimmed.size as u64,
            way: job.way(),
            pieces: trimmed.pieces,
            too_heavy: trimmed.too_heavy,
            dropped: whole.dropped.len() as u64,
            took: self.elapsed(),
        });
        trimmed
    }

    /// The caller gets something else: what the server said last, or an error.
    pub(super) fn failed(&self, job: &Job, status: Option<StatusCode>) {
        // Otherwise it was no matter of size.
        if self.failures == 0 && job.tally.pieces == 0 {
            return;
        }
        self.emit(EventKind::TrimFailed {
            route: self.route(),
            shape: self.shape.detail.clone(),
            asked: self.units as u64,
            tried: job.size() as u64,
            way: job.way(),
            pieces: job.tally.pieces,
            too_heavy: self.failures,
            status: status.map(|status| status.as_u16()),
            took: self.elapsed(),
        });
    }
}
