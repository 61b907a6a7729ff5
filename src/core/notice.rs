//! What happens in a ledger that somebody should be told.

use std::time::Duration;

use super::keys::Fingerprint;

/// Something that has happened to one key under one limit; see [`Ledger::take_notices`](super::Ledger::take_notices).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// The position of the limit in the plan.
    pub limit: usize,
    /// The token or account, whichever the limit is for.
    pub key: Fingerprint,
    /// What has happened.
    pub event: Event,
}

/// What can happen to a key under a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A daily pool is used up, or the server says so. Told once, however many responses say it.
    Exhausted {
        /// How long nothing is sent.
        lasts: Duration,
    },
    /// The first request after that has been granted, or, if none comes, the pool is forgotten.
    Resumed {
        /// How long ago it was exhausted.
        after: Duration,
    },
    /// The server says that a daily pool holds another number of requests than planned; the lower one is in force. Told once for each
    /// number, and for eight at most.
    Learned {
        /// Requests per day, as the server says.
        quota: u32,
    },
    /// A response to one of the processes that [share](super::lease) the limit proves that others use it, too: so many of their requests
    /// are reckoned with anew.
    ForeignUse {
        /// Requests.
        requests: u32,
    },
}

impl Notice {
    pub(super) fn new(limit: u8, key: Fingerprint, event: Event) -> Self {
        Self {
            limit: usize::from(limit),
            key,
            event,
        }
    }
}
