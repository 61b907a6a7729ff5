use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::AdaptiveConcurrency;
use super::Release;
use super::shared::{Setup, Shared};
use crate::Quota;
use crate::core::concurrency::{Bounds, Concurrency, Headroom};
use crate::plan::Plan;
use crate::request::RequestHead;

/// Sends no more requests of a token at a time than the server bears.
///
/// See the [module docs](crate::concurrency) for an example. Clones and all services made from them share what was learnt; a layer that is
/// set up differently begins anew.
#[derive(Clone, Debug)]
pub struct AdaptiveConcurrencyLayer {
    shared: Arc<Shared>,
    /// As given: they bound each other only when all are known.
    start: u32,
    min: u32,
    max: u32,
}

impl AdaptiveConcurrencyLayer {
    /// A layer that finds tokens, reads responses and respects pauses as `quota` says.
    pub fn new(quota: &Quota) -> Self {
        let setup = Setup::default();
        let bounds = setup.settings.bounds;
        Self {
            shared: Shared::new(quota.clone(), setup),
            start: bounds.start(),
            min: bounds.min(),
            max: bounds.max(),
        }
    }

    /// Sets how many requests of a token may be in flight at first; 4 at first. Brought between `min` and `max`.
    #[must_use]
    pub fn start(mut self, start: u32) -> Self {
        self.start = start;
        self.bounded()
    }

    /// Sets how many may always be in flight; 1 at first. Zero counts as one, more than `max` as `max`.
    #[must_use]
    pub fn min(mut self, min: u32) -> Self {
        self.min = min;
        self.bounded()
    }

    /// Sets how many may be in flight at most; 64 at first. Zero counts as one.
    #[must_use]
    pub fn max(mut self, max: u32) -> Self {
        self.max = max;
        self.bounded()
    }

    /// Sets which headroom moves the limit; [`Headroom::Unexplained`] at first.
    #[must_use]
    pub fn headroom(self, headroom: Headroom) -> Self {
        self.with(|setup| setup.settings.headroom = headroom)
    }

    /// Sets when a request ceases to count as in flight; [`Release::Head`] at first.
    #[must_use]
    pub fn release(self, release: Release) -> Self {
        self.with(|setup| setup.release = release)
    }

    /// Sets how long a request may wait for its turn; 60 s at first. With zero a request that cannot go at once fails.
    #[must_use]
    pub fn max_wait(self, max_wait: Duration) -> Self {
        self.with(|setup| setup.max_wait = max_wait)
    }

    /// Sets how many requests of one token may wait; 65,536 at first. With 0 nobody waits.
    #[must_use]
    pub fn max_waiting(self, most: u32) -> Self {
        self.with(|setup| setup.settings.max_waiting = most)
    }

    /// How many requests with the token of `request` are in flight, and how many may be.
    pub fn concurrency<'a>(&self, request: impl Into<RequestHead<'a>>) -> Concurrency {
        self.shared.concurrency(request.into())
    }

    /// How many tokens are remembered. Idle ones are forgotten bit by bit: ten minutes after their last request, or one minute if
    /// their limit never moved.
    pub fn remembered(&self) -> usize {
        self.shared.crowds(|crowds, _| crowds.remembered())
    }

    fn bounded(self) -> Self {
        let bounds = Bounds::new(self.start, self.min, self.max);
        self.with(|setup| setup.settings.bounds = bounds)
    }

    fn with(self, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = self.shared.setup;
        change(&mut setup);
        Self {
            shared: Shared::new(self.shared.quota.clone(), setup),
            ..self
        }
    }
}

impl From<Plan> for AdaptiveConcurrencyLayer {
    /// A layer with a quota of its own.
    fn from(plan: Plan) -> Self {
        Self::new(&Quota::new(plan))
    }
}

impl<S> Layer<S> for AdaptiveConcurrencyLayer {
    type Service = AdaptiveConcurrency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AdaptiveConcurrency::new(inner, self.shared.clone())
    }
}
