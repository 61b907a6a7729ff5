//! How a store is shared.

use std::time::Duration;

use super::wire::HORIZON;

/// What becomes of requests while the store that lends their slots cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnOutage {
    /// Each process uses its part of every limit: the quota, divided by the number of processes. What it had more when the outage
    /// began it gives up; what it had less it may use when what the others have used must have aged. So all together stay within
    /// the limit, as long as the store is gone for all of them.
    #[default]
    LocalShare,
    /// Requests fail at once, and the error says why.
    FailClosed,
    /// Each process keeps to the whole limit, as if it were the only one: the server will refuse some.
    FailOpen,
}

/// How a ledger shares its slots with other processes.
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    /// How long the store remembers a member that says nothing; what is leased and not used is given up by then.
    pub lease: Duration,
    /// The longest that any request is under way. The slots of a member that has died with requests in flight are free one window
    /// and so long after its lease ended.
    pub request_timeout: Duration,
    /// What happens while the store is gone.
    pub on_outage: OnOutage,
}

impl Sharing {
    /// Slots of a window of this length are leased so long before they are free; see [`HORIZON`].
    pub(crate) fn horizon(&self, window: Duration) -> Duration {
        (window / HORIZON).min(self.lease / 2)
    }
}

/// How many processes share the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Members {
    /// All of them, this one included.
    pub count: u32,
    /// How many of them joined before this one.
    pub rank: u32,
    /// Whether this one has been a member for so long that all others must know it.
    pub known: bool,
}

impl Members {
    /// Whether it is certain that there is nobody else.
    pub(crate) fn is_alone(self) -> bool {
        self.count <= 1 && self.known
    }

    /// This one's part of so many slots, if the store is gone.
    pub(crate) fn share(self, quota: u32) -> u32 {
        // Not even of one that seems to be alone: others may only not have come again yet.
        if !self.known {
            return 0;
        }
        let count = self.count.max(1);
        quota / count + u32::from(self.rank < quota % count)
    }
}
