use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::caps::Caps;
use super::policy::BatchPolicy;
use super::service::Batch;
use super::shared::{Setup, Shared};
use crate::Quota;
use crate::account::Account;
use crate::quota::DEFAULT_MAX_WAIT;
use crate::request::Fingerprinter;

/// Sends calls for single records as batch calls.
///
/// Clones of a service gather together. Services that the layer makes of different inner services do not: what one of them is
/// given leaves through its own. They share what was learnt of the server.
///
/// See the [module docs](crate::batch) for an example.
#[derive(Clone)]
pub struct BatchLayer {
    /// `None` where nothing is gathered.
    setup: Option<Setup>,
}

impl BatchLayer {
    /// A layer for the calls that `policy` understands.
    pub fn new(policy: impl BatchPolicy) -> Self {
        Self {
            setup: Some(Setup {
                policy: Arc::new(policy),
                account: Account::default(),
                fingerprinter: Fingerprinter::default(),
                caps: Arc::new(Caps::default()),
                max_body: 1024 * 1024,
                max_answer: 64 * 1024 * 1024,
                max_linger: Duration::from_millis(1),
                max_wait: DEFAULT_MAX_WAIT,
            }),
        }
    }

    /// A layer that passes everything through: where a stack has the place, and nothing is to be gathered.
    pub fn off() -> Self {
        Self { setup: None }
    }

    /// Tells tokens and accounts apart as `quota` does, and takes the slots of a batch before it is closed: what waits for quota goes
    /// on gathering until its slots are granted. At first the [`AccountId`](crate::request::AccountId) and the headers tell, and a
    /// batch is closed before it waits.
    ///
    /// The slots are handed over to the [`TokenLimitLayer`](crate::TokenLimitLayer) of the same quota further inside; without one
    /// they are free again when the batch is answered. In [shadow mode](Quota::set_enforce) of `quota` nothing is gathered.
    #[must_use]
    pub fn quota(self, quota: &Quota) -> Self {
        self.with(|setup| setup.account = Account::Of(quota.clone()))
    }

    /// Sets how long a call waits for company when others of its kind are under way, at most; 1 ms at first, 0 allowed. A call that
    /// is alone never waits. Timers go off up to a millisecond late. Whatever this is, a batch that is not full waits for one of four
    /// that are under way to end, and a small one of [`Lane::Bulk`](crate::request::Lane) for those that are larger; both for a second at
    /// most.
    #[must_use]
    pub fn max_linger(self, max_linger: Duration) -> Self {
        self.with(|setup| setup.max_linger = max_linger)
    }

    /// Sets how long a batch waits for its slots, with a [`quota`](Self::quota), and a call for its turn where calls about the same
    /// record go one after the other; 60 s at first. Whoever comes while a batch waits may wait for as long again when that
    /// is over: less than twice as long in all. A call's own [`Deadline`](crate::request::Deadline) ends its wait sooner.
    #[must_use]
    pub fn max_wait(self, max_wait: Duration) -> Self {
        self.with(|setup| setup.max_wait = max_wait)
    }

    /// Sets how large the body of a call may be, in bytes; 1 MiB at first. A larger one, and one that does not say how large it is,
    /// is sent as it comes.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Self {
        self.with(|setup| setup.max_body = bytes)
    }

    /// Sets how large the answer to a batch may be, in bytes; 64 MiB at first. Of a larger one nothing is kept: reads and idempotent
    /// writes are sent one by one, and the callers of creates get a [`BatchError`](super::BatchError).
    #[must_use]
    pub fn max_answer(self, bytes: u64) -> Self {
        self.with(|setup| setup.max_answer = bytes)
    }

    fn with(mut self, change: impl FnOnce(&mut Setup)) -> Self {
        self.setup.as_mut().map(change);
        self
    }
}

impl fmt::Debug for BatchLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLayer")
            .field("setup", &self.setup)
            .finish()
    }
}

impl<S> Layer<S> for BatchLayer {
    type Service = Batch<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let shared = self.setup.clone().map(Shared::new);
        Batch::new(inner, shared.map(Arc::new))
    }
}
