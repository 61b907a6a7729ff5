use std::time::Duration;

use tower_layer::Layer;

use super::TokenLimit;
use crate::Quota;
use crate::plan::Plan;
use crate::quota::DEFAULT_MAX_WAIT;

/// Lets no request leave before every limit of the plan has a slot for it.
///
/// See the [module docs](crate::limit) for an example.
#[derive(Clone, Debug)]
pub struct TokenLimitLayer {
    quota: Quota,
    max_wait: Duration,
}

impl TokenLimitLayer {
    /// A layer that uses the ledger of `quota`.
    pub fn new(quota: &Quota) -> Self {
        Self {
            quota: quota.clone(),
            max_wait: DEFAULT_MAX_WAIT,
        }
    }

    /// Sets how long a request may wait for its slots; 60 s at first. With zero a request that cannot go at once fails.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }
}

impl From<Plan> for TokenLimitLayer {
    /// A layer with a quota of its own.
    fn from(plan: Plan) -> Self {
        Self::new(&Quota::new(plan))
    }
}

impl<S> Layer<S> for TokenLimitLayer {
    type Service = TokenLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TokenLimit::new(inner, self.quota.clone(), self.max_wait)
    }
}
