use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::RetryAfter;
use super::budget::Budget;
use super::policy::Policy;
use crate::plan::Plan;
use crate::quota::DEFAULT_MAX_WAIT;
use crate::{ConfigError, Quota};

/// Repeats what may be repeated, and makes everybody wait who must.
///
/// See the [module docs](crate::backoff) for an example. Every call of `layer` starts a budget of its own, which all clones of the service share.
#[derive(Clone, Debug)]
pub struct RetryAfterLayer {
    quota: Quota,
    max_attempts: u32,
    max_wait: Duration,
    max_body: u64,
    first_backoff: Duration,
    longest_backoff: Duration,
    budget: (u32, f64),
}

impl RetryAfterLayer {
    /// A layer that uses the ledger of `quota`.
    pub fn new(quota: &Quota) -> Self {
        Self {
            quota: quota.clone(),
            max_attempts: 5,
            max_wait: DEFAULT_MAX_WAIT,
            max_body: 1024 * 1024,
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(30),
            budget: (100, 0.2),
        }
    }

    /// Sets how often a request is sent at most, the first time included; 5 at first.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when it is zero.
    pub fn max_attempts(mut self, most: u32) -> Result<Self, ConfigError> {
        if most == 0 {
            return Err(ConfigError::new("max_attempts", "must be at least 1"));
        }
        self.max_attempts = most;
        Ok(self)
    }

    /// Sets how long each single wait of a request, for a pause or a backoff, may be; 60 s at first. If the server asks for more, the
    /// caller gets its answer at once, and the pause stays. A [`Deadline`](crate::request::Deadline) bounds all waits together.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// Sets up to which size, in bytes, the body of a request is held in memory; 1 MiB at first. Requests with larger bodies are
    /// sent once.
    #[must_use]
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets the wait before the second attempt after a failure that says nothing itself (500 ms at first; each further wait is
    /// twice as long) and the longest such wait (30 s at first). Both are lengthened by up to half at random.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when `first` is zero or longer than `longest`.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Result<Self, ConfigError> {
        if first.is_zero() {
            return Err(ConfigError::new(
                "backoff: first",
                "must be longer than zero",
            ));
        }
        if first > longest {
            let problem = format!("must not be longer than `longest`: {first:?} > {longest:?}");
            return Err(ConfigError::new("backoff: first", problem));
        }
        (self.first_backoff, self.longest_backoff) = (first, longest);
        Ok(self)
    }

    /// Sets the budget for repetitions after failures: at most `most` are saved (100 at first, all there from the start), and every
    /// answered request earns `share` (0 to 1, 0.2 at first) of one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when `share` is not between 0 and 1.
    pub fn budget(mut self, most: u32, share: f64) -> Result<Self, ConfigError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(ConfigError::new(
                "budget: share",
                format!("must be between 0 and 1, is {share}"),
            ));
        }
        self.budget = (most, share);
        Ok(self)
    }
}

impl From<Plan> for RetryAfterLayer {
    /// A layer with a quota of its own.
    fn from(plan: Plan) -> Self {
        Self::new(&Quota::new(plan))
    }
}

impl Default for RetryAfterLayer {
    /// A layer with a quota of its own that has no limits: it only pauses and repeats.
    fn default() -> Self {
        Self::new(&Quota::new(Plan::unlimited()))
    }
}

impl<S> Layer<S> for RetryAfterLayer {
    type Service = RetryAfter<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let (most, share) = self.budget;
        let policy = Policy {
            quota: self.quota.clone(),
            max_attempts: self.max_attempts,
            max_wait: self.max_wait,
            max_body: self.max_body,
            first_backoff: self.first_backoff,
            longest_backoff: self.longest_backoff,
            budget: Budget::new(most, share),
        };
        RetryAfter::new(inner, Arc::new(policy))
    }
}
