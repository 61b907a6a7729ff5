use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::policy::TrimPolicy;
use super::service::PayloadTrim;
use super::shared::{Setup, Shared};
use crate::account::Account;
use crate::{ConfigError, Quota};

/// Asks requests that are too heavy in smaller pieces.
///
/// Clones, and all services made from them, share what was learnt. Another setting of a layer begins with nothing learnt.
///
/// See the [module docs](crate::trim) for an example.
#[derive(Clone)]
pub struct PayloadTrimLayer {
    /// `None` where nothing is trimmed.
    shared: Option<Arc<Shared>>,
}

impl PayloadTrimLayer {
    /// A layer for the requests that `policy` understands.
    pub fn new(policy: impl TrimPolicy) -> Self {
        let setup = Setup {
            policy: Arc::new(policy),
            account: Account::default(),
            max_body: 1024 * 1024,
            max_answer: 64 * 1024 * 1024,
            parallel: 4,
            max_shapes: 1024,
        };
        Self {
            shared: Some(Arc::new(Shared::new(setup))),
        }
    }

    /// A layer that passes everything through: where a stack has the place, and nothing is to be trimmed.
    pub fn off() -> Self {
        Self { shared: None }
    }

    /// Tells accounts and tokens apart as `quota` does, and uses its fingerprints in events. At first the
    /// [`AccountId`](crate::request::AccountId) and the `Authorization` header tell. In [shadow mode](Quota::set_enforce) of `quota`
    /// nothing is trimmed.
    #[must_use]
    pub fn quota(self, quota: &Quota) -> Self {
        self.with(|setup| setup.account = Account::Of(quota.clone()))
    }

    /// Sets how large the body of a request may be, in bytes; 1 MiB at first. A larger one, and one that does not say how large it
    /// is, is sent as it comes.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Self {
        self.with(|setup| setup.max_body = bytes)
    }

    /// Sets how large the answers to all pieces of one request may be together, in bytes; 64 MiB at first. Beyond that the caller
    /// gets a [`TrimError`](super::TrimError). While they are read, the answers to pieces that are under way at the same time may come
    /// to as much each. The answer to a request that is sent whole is not looked at and may be of any size.
    #[must_use]
    pub fn max_answer(self, bytes: u64) -> Self {
        self.with(|setup| setup.max_answer = bytes)
    }

    /// Sets how many pieces of one request are asked for at a time, from 1 on; 4 at first. Each has to pass the layers inside, which
    /// may let fewer go.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when it is zero.
    pub fn parallel(self, pieces: usize) -> Result<Self, ConfigError> {
        if pieces == 0 {
            return Err(ConfigError::new("parallel: pieces", "must not be zero"));
        }
        Ok(self.with(|setup| setup.parallel = pieces))
    }

    /// Sets for how many shapes, of all accounts, the size that worked is remembered; 1,024 at first. The one that was of no use for
    /// longest is forgotten first. With 0 nothing is remembered.
    #[must_use]
    pub fn max_shapes(self, most: usize) -> Self {
        self.with(|setup| setup.max_shapes = most)
    }

    /// How many shapes are remembered: of those that were once too heavy.
    pub fn remembered(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.memory.len())
    }

    fn with(self, change: impl FnOnce(&mut Setup)) -> Self {
        let shared = self.shared.map(|shared| {
            let mut setup = shared.setup.clone();
            change(&mut setup);
            Arc::new(Shared::new(setup))
        });
        Self { shared }
    }
}

impl fmt::Debug for PayloadTrimLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadTrimLayer")
            .field("shared", &self.shared)
            .finish()
    }
}

impl<S> Layer<S> for PayloadTrimLayer {
    type Service = PayloadTrim<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PayloadTrim::new(inner, self.shared.clone())
    }
}
