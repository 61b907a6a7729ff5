use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use super::caps::Caps;
use super::policy::BatchPolicy;
use crate::account::Account;
use crate::request::Fingerprinter;

/// What the clones of one service share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) setup: Setup,
    pub(super) board: Board,
}

impl Shared {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            board: Board::default(),
        }
    }
}

/// How a layer is set up.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) policy: Arc<dyn BatchPolicy>,
    pub(super) account: Account,
    /// For groups.
    pub(super) fingerprinter: Fingerprinter,
    pub(super) caps: Arc<Caps>,
    pub(super) max_body: u64,
    pub(super) max_answer: u64,
    pub(super) max_linger: Duration,
    pub(super) max_wait: Duration,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("max_body", &self.max_body)
            .field("max_answer", &self.max_answer)
            .field("max_linger", &self.max_linger)
            .field("max_wait", &self.max_wait)
            .finish_non_exhaustive()
    }
}
