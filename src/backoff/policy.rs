use std::time::Duration;

use super::budget::Budget;
use crate::Quota;
use crate::request::Effect;
use crate::signal::{Outcome, Refusal, Signals};

/// Jitter lengthens a backoff by up to this share of itself.
const JITTER: f64 = 0.5;

/// Response extension: how often the request was sent. Attached only when it was sent more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts(pub u32);

/// What one layer and all its services share.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) quota: Quota,
    pub(super) max_attempts: u32,
    pub(super) max_wait: Duration,
    pub(super) max_body: u64,
    pub(super) first_backoff: Duration,
    pub(super) longest_backoff: Duration,
    pub(super) budget: Budget,
}

/// What to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the caller's.
    GiveBack,
    /// Send again when all pauses are over.
    AfterPause,
    /// Send again after this time and when all pauses are over.
    After(Duration),
}

impl Policy {
    /// What to do after the `attempt`th attempt (from 1) ended like this. Does not look at the budget.
    pub(super) fn verdict(&self, signals: &Signals, effect: Effect, attempt: u32) -> Verdict {
        if attempt >= self.max_attempts {
            return Verdict::GiveBack;
        }
        match &signals.outcome {
            Outcome::Refused(Refusal::Limit(name)) if !self.waits_for(name) => Verdict::GiveBack,
            Outcome::Refused(Refusal::Request) => {
                Verdict::After(self.backoff(signals.retry_after, attempt))
            }
            Outcome::Refused(_) => Verdict::AfterPause,
            Outcome::Failed if effect != Effect::Create => {
                Verdict::After(self.backoff(signals.retry_after, attempt))
            }
            _ => Verdict::GiveBack,
        }
    }

    /// The same for an attempt that ended without a response.
    pub(super) fn verdict_on_loss(&self, effect: Effect, attempt: u32) -> Verdict {
        if attempt < self.max_attempts && effect != Effect::Create {
            Verdict::After(self.backoff(None, attempt))
        } else {
            Verdict::GiveBack
        }
    }

    /// A daily pool is waited for only by those who park.
    fn waits_for(&self, limit: &str) -> bool {
        let limit = self.quota.plan().limit(limit);
        let is_pool =
            limit.is_some_and(|limit| matches!(limit.rule(), crate::plan::Rule::Calendar { .. }));
        !is_pool || self.quota.parks()
    }

    /// Never shorter than what the server asks for. A server in trouble that asks for no wait at all is not asked again at once.
    pub(super) fn backoff(&self, retry_after: Option<Duration>, attempt: u32) -> Duration {
        let doublings = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let own = self
            .first_backoff
            .saturating_mul(doublings)
            .min(self.longest_backoff);
        let wait = retry_after.filter(|wait| !wait.is_zero()).unwrap_or(own);
        wait.saturating_add(
            wait.min(self.longest_backoff)
                .mul_f64(JITTER * fastrand::f64()),
        )
    }
}
