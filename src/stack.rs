//! [`StackLayer`]: the layers of this crate in their right order, as one layer.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_quota::plan::{Limit, Plan};
//! use tower_quota::stack::StackLayer;
//! use tower_quota::Quota;
//!
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::new(plan);
//! # let client = ();
//! let api = ServiceBuilder::new().layer(StackLayer::new(&quota)).service(client);
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```

use std::time::Duration;

use tower_layer::Layer;

use crate::backoff::RetryAfter;
use crate::batch::{Batch, BatchPolicy};
use crate::body::Flat;
use crate::concurrency::{AdaptiveConcurrency, Concurrency};
use crate::limit::TokenLimit;
use crate::observe::Observe;
use crate::plan::{Limit, Plan, Rule};
use crate::quota::DEFAULT_MAX_WAIT;
use crate::request::RequestHead;
use crate::search::ClassBudget;
use crate::trim::{PayloadTrim, TrimPolicy};
use crate::{
    AdaptiveConcurrencyLayer, BatchLayer, ConfigError, ObserveLayer, PayloadTrimLayer, Quota,
    RetryAfterLayer, SearchBudgetLayer, TokenLimitLayer,
};

/// What [`StackLayer`] makes of a service.
pub type Stack<S> =
    PayloadTrim<RetryAfter<ClassBudget<TokenLimit<AdaptiveConcurrency<Observe<Flat<S>>>>>>>;

/// What [`BatchedStackLayer`] makes of a service.
pub type BatchedStack<S> = Batch<Stack<Flat<S>>>;

/// The layers of this crate in their right order, with their defaults: [`PayloadTrimLayer`] outside, which does nothing until it is
/// told [what to trim](Self::trim), then [`RetryAfterLayer`], [`SearchBudgetLayer`] and [`TokenLimitLayer`],
/// [`AdaptiveConcurrencyLayer`], and [`ObserveLayer`] inside. [`batch`](Self::batch) puts [`BatchLayer`] around them.
///
/// Clones share what was learnt of the concurrency that each token bears and of the sizes that work, so make one and clone it.
///
/// See the [module docs](crate::stack) for an example. Use the layers one by one to set more than this or to put others between.
#[derive(Clone, Debug)]
pub struct StackLayer {
    quota: Quota,
    max_wait: Duration,
    trim: PayloadTrimLayer,
    retry_after: RetryAfterLayer,
    search_budget: SearchBudgetLayer,
    token_limit: TokenLimitLayer,
    concurrency: AdaptiveConcurrencyLayer,
    observe: ObserveLayer,
}

impl StackLayer {
    /// The layers, all with the ledger of `quota`.
    pub fn new(quota: &Quota) -> Self {
        Self {
            quota: quota.clone(),
            max_wait: DEFAULT_MAX_WAIT,
            trim: PayloadTrimLayer::off(),
            retry_after: RetryAfterLayer::new(quota),
            search_budget: SearchBudgetLayer::new(quota),
            token_limit: TokenLimitLayer::new(quota),
            concurrency: AdaptiveConcurrencyLayer::new(quota).max(max_concurrency(quota.plan())),
            observe: ObserveLayer::new(quota),
        }
    }

    /// Asks requests that are too heavy in smaller pieces, as `policy` says.
    #[must_use]
    pub fn trim(self, policy: impl TrimPolicy) -> Self {
        let trim = PayloadTrimLayer::new(policy).quota(&self.quota);
        self.trim_with(trim)
    }

    /// The same with a layer that is set up in another way, or with one that is [off](PayloadTrimLayer::off).
    #[must_use]
    pub fn trim_with(mut self, trim: PayloadTrimLayer) -> Self {
        self.trim = trim;
        self
    }

    /// Sets how long each single wait of a request may be, in each of the layers; 60 s at first. A
    /// [`Deadline`](crate::request::Deadline) bounds all waits together.
    #[must_use]
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self.retry_after = self.retry_after.max_wait(max_wait);
        self.search_budget = self.search_budget.max_wait(max_wait);
        self.token_limit = self.token_limit.max_wait(max_wait);
        self.concurrency = self.concurrency.max_wait(max_wait);
        self
    }

    /// Sets how often a request is sent at most, the first time included; 5 at first.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when it is zero.
    pub fn max_attempts(mut self, most: u32) -> Result<Self, ConfigError> {
        self.retry_after = self.retry_after.max_attempts(most)?;
        Ok(self)
    }

    /// Keeps so many slots of the search limit for [`Lane::Interactive`](crate::request::Lane); 1 at first. A program whose
    /// searches are all alike should reserve none.
    #[must_use]
    pub fn search_reserve(mut self, slots: u32) -> Self {
        self.search_budget = self.search_budget.reserve(slots);
        self
    }

    /// Sets how many requests of a token may be in flight at most. At first as many as the widest window allows, but from 64 to
    /// 256: fewer than a window would make the answers of its first requests hold up the others.
    #[must_use]
    pub fn max_concurrency(mut self, max: u32) -> Self {
        self.concurrency = self.concurrency.max(max);
        self
    }

    /// The same layers, with one around them that sends calls for single records as batch calls, as `policy` says. Last, because what
    /// comes out of it is set up.
    ///
    /// It is asked for because it changes what goes over the wire: where an answer is lost, a hundred callers do not know what became
    /// of their records instead of one. The client, its bodies and its futures must be `Send` and `'static`: a batch belongs to
    /// whichever of its callers is polled.
    pub fn batch(self, policy: impl BatchPolicy) -> BatchedStackLayer {
        let batch = BatchLayer::new(policy).quota(&self.quota);
        let batch = batch.max_wait(self.max_wait);
        self.batch_with(batch)
    }

    /// The same with a layer that is set up in another way, or with one that is [off](BatchLayer::off).
    pub fn batch_with(self, batch: BatchLayer) -> BatchedStackLayer {
        BatchedStackLayer { batch, stack: self }
    }

    /// How many requests with the token of `request` are in flight, and how many may be.
    pub fn concurrency<'a>(&self, request: impl Into<RequestHead<'a>>) -> Concurrency {
        self.concurrency.concurrency(request)
    }
}

/// With 190 per 10 s and answers that take 2 s, 64 would use 0.6 points less of the quota over 6,000 requests than 190 do
/// (`cargo bench --bench goodput -- stack`).
fn max_concurrency(plan: &Plan) -> u32 {
    let rolling = |limit: &Limit| matches!(limit.rule(), Rule::Rolling { .. });
    let limits = plan.limits().iter().filter(|limit| rolling(limit));
    let widest = limits.map(|limit| limit.rule().quota()).max();
    widest.unwrap_or(0).clamp(64, 256)
}

impl<S> Layer<S> for StackLayer {
    type Service = Stack<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let limited = self
            .token_limit
            .layer(self.concurrency.layer(self.observe.layer(Flat::new(inner))));
        let repeated = self.retry_after.layer(self.search_budget.layer(limited));
        self.trim.layer(repeated)
    }
}

/// [`StackLayer`] with [`BatchLayer`] around it; made by [`StackLayer::batch`].
#[derive(Clone, Debug)]
pub struct BatchedStackLayer {
    batch: BatchLayer,
    stack: StackLayer,
}

impl BatchedStackLayer {
    /// The layers inside.
    pub fn stack(&self) -> &StackLayer {
        &self.stack
    }
}

impl<S> Layer<S> for BatchedStackLayer {
    type Service = BatchedStack<S>;

    fn layer(&self, inner: S) -> Self::Service {
        self.batch.layer(self.stack.layer(Flat::new(inner)))
    }
}
