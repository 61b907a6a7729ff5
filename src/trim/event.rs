//! What people are told.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::Trimmed;
use super::job::{Ask, Job};
use super::leg::Failure;
use super::policy::{Question, Shape, Whole};
use crate::clock::Clock;
use crate::core::Fingerprint;

/// Of more hints than these nobody reads the rest.
const MOST_HINTS: usize = 8;

/// What happened to one request.
pub(super) struct Diary {
    account: Fingerprint,
    shape: Shape,
    units: usize,
    begun: Instant,
    failures: u32,
}

impl Diary {
    pub(super) fn new(account: Fingerprint, shape: Shape, units: usize) -> Self {
        Self {
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
        tracing::debug!(
            target: "tower_quota::too_heavy",
            account = %self.account,
            route = %self.shape.route,
            status,
            timeout = status.is_none(),
            asked = ask.span.len(),
            goes_on,
            seconds = self.elapsed().as_secs_f64(),
        );
        self.failures += 1;
        if self.failures > 1 {
            return;
        }
        for hint in question.hints().into_iter().take(MOST_HINTS) {
            tracing::info!(
                target: "tower_quota::heavy_hint",
                account = %self.account,
                route = %self.shape.route,
                hint,
            );
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
        tracing::info!(
            target: "tower_quota::trimmed",
            account = %self.account,
            route = %self.shape.route,
            shape = %self.shape.detail,
            asked = trimmed.asked,
            worked = trimmed.size,
            way = %job.way(),
            pieces = trimmed.pieces,
            too_heavy = trimmed.too_heavy,
            dropped = whole.dropped.len(),
            seconds = self.elapsed().as_secs_f64(),
        );
        trimmed
    }

    /// The caller gets something else: what the server said last, or an error.
    pub(super) fn failed(&self, job: &Job, status: Option<StatusCode>) {
        // Otherwise it was no matter of size.
        if self.failures == 0 && job.tally.pieces == 0 {
            return;
        }
        tracing::info!(
            target: "tower_quota::trim_failed",
            account = %self.account,
            route = %self.shape.route,
            shape = %self.shape.detail,
            asked = self.units,
            tried = job.size(),
            way = %job.way(),
            pieces = job.tally.pieces,
            too_heavy = self.failures,
            status = status.map(|status| status.as_u16()),
            seconds = self.elapsed().as_secs_f64(),
        );
    }
}
