use std::fmt;
use std::sync::Arc;

use super::memory::Memory;
use super::policy::TrimPolicy;
use crate::account::Account;

/// What the services of one layer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) setup: Setup,
    pub(super) memory: Arc<Memory>,
}

impl Shared {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            memory: Arc::new(Memory::new(setup.max_shapes)),
            setup,
        }
    }
}

/// How a layer is set up.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) policy: Arc<dyn TrimPolicy>,
    /// What is heavy for one account is light for another.
    pub(super) account: Account,
    pub(super) max_body: u64,
    pub(super) max_answer: u64,
    pub(super) parallel: usize,
    pub(super) max_shapes: usize,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("max_body", &self.max_body)
            .field("max_answer", &self.max_answer)
            .field("parallel", &self.parallel)
            .field("max_shapes", &self.max_shapes)
            .finish_non_exhaustive()
    }
}
