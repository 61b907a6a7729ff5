//! What a member tells the store of one key, and what the store answers.

use std::time::{Duration, SystemTime};

use crate::core::keys::Fingerprint;
use crate::core::place::Subject;
use crate::core::tick::Tick;
use crate::plan::{FirstWindow, Lane};

/// Slots are leased up to this part of a window before they are free; a record does so, too, for half a lease at most.
pub const HORIZON: u32 = 5;

/// A number of slots for each lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Slots of [`Lane::Bulk`].
    pub bulk: u32,
    /// Slots of [`Lane::Interactive`].
    pub interactive: u32,
}

impl Slots {
    /// So many of one lane.
    pub fn of(lane: Lane, slots: u32) -> Self {
        match lane {
            Lane::Bulk => Self {
                bulk: slots,
                interactive: 0,
            },
            Lane::Interactive => Self {
                bulk: 0,
                interactive: slots,
            },
        }
    }

    /// Of both lanes together.
    pub fn all(self) -> u32 {
        self.bulk.saturating_add(self.interactive)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.all() == 0
    }

    /// Those of one lane.
    pub fn of_lane(self, lane: Lane) -> u32 {
        match lane {
            Lane::Bulk => self.bulk,
            Lane::Interactive => self.interactive,
        }
    }

    pub(super) fn remove(&mut self, fewer: Slots) {
        self.bulk = self.bulk.saturating_sub(fewer.bulk);
        self.interactive = self.interactive.saturating_sub(fewer.interactive);
    }

    /// Takes `most` of them out, those of `Bulk` first.
    pub(super) fn split(&mut self, most: u32) -> Slots {
        let bulk = self.bulk.min(most);
        let interactive = self.interactive.min(most - bulk);
        let taken = Slots { bulk, interactive };
        self.remove(taken);
        taken
    }

    pub(in crate::core) fn add(&mut self, more: Slots) {
        self.bulk = self.bulk.saturating_add(more.bulk);
        self.interactive = self.interactive.saturating_add(more.interactive);
    }
}

/// One call to the store, for all limits of one key. The store carries it out as one step or not at all, and once: a call with the same
/// number again only repeats the answer.
#[derive(Clone, Debug)]
pub struct Call {
    /// The token or account.
    pub key: Fingerprint,
    /// Grows with every call of this member.
    pub seq: u64,
    /// The number of the last call that was answered; 0 if none was since the member joined.
    pub last: u64,
    /// When the last call was made that was answered; the origin of time if none was.
    pub answered: Tick,
    /// Which record the member knows: when the store began it, in microseconds since 1970; 0 if it knows none, 1 if it knows none
    /// and others may have used the key while the store was gone.
    pub born: u64,
    /// Whether the member is new to the record, or was away.
    pub join: Join,
    /// Since when it has not reached the store; told when it [joins](Join) again.
    pub cut_off: Option<Tick>,
    /// When the call was made. Other times in it are told in their distance from the time of sending.
    pub made: Tick,
    /// What it says of each limit.
    pub limits: Vec<LimitCall>,
    /// Pauses that have begun (for so long from `made`), or have been ended by somebody who knows better.
    pub pauses: Vec<(Subject, Option<Duration>)>,
}

/// Whether a member is new to a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// It is known there. If it turns out not to be, the store does nothing but say so.
    #[default]
    Member,
    /// It is new, or comes back: what it holds is told in [`LimitCall::held`], and [`LimitCall::settled`] is what the record does
    /// not know yet. If the record is not the one that it knows, the store does nothing but say so.
    Again,
    /// The same, and `settled` is all that the member knows: the record may be a new one.
    Anew,
}

/// What a call says of one limit.
#[derive(Clone, Debug)]
pub struct LimitCall {
    /// The position of the limit in the plan.
    pub limit: usize,
    /// The rule, as this member knows it.
    pub rule: SharedRule,
    /// What the member holds, in flight or leased; told when it [joins](Join).
    pub held: Slots,
    /// What the member has in the window or leased: its part in the use of the limit.
    pub own: u32,
    /// What will be left of that by the time up to which slots are leased [in advance](HORIZON).
    pub soon: u32,
    /// The most that `own` may become while the store's record [may lack something](LimitAnswer::recovering); `None` when the
    /// member has no right to anything then.
    pub cap: Option<u32>,
    /// So many slots it wants for those who wait.
    pub want: Slots,
    /// No more than so many are leased to it now, unless others are known to want some: then each gets its part.
    pub most: u32,
    /// So many more it would like if nobody else wants them: for those who will come.
    pub spare: u32,
    /// Slots that are free at once.
    pub returned: Slots,
    /// Slots whose requests are over.
    pub settled: Vec<Settled>,
    /// What the server says that it allows, and when the request was sent whose response said so.
    pub told: Option<(u32, Tick)>,
    /// How far the server says that the limit is used.
    pub seen: Option<Seen>,
}

/// The rule of a shared limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedRule {
    /// A rolling window.
    Rolling {
        /// Slots per window.
        quota: u32,
        /// What all but `Interactive` may hold of them.
        unreserved: u32,
        /// Its length.
        window: Duration,
        /// How it may be used while the record may lack something.
        first: FirstWindow,
    },
    /// A daily pool.
    Pool {
        /// Requests per day.
        quota: u32,
        /// What all but `Interactive` may use of them.
        unreserved: u32,
        /// When it is filled again next, and after that.
        resets: [SystemTime; 2],
    },
}

impl SharedRule {
    /// Slots per window or day.
    pub fn quota(&self) -> u32 {
        match self {
            Self::Rolling { quota, .. } | Self::Pool { quota, .. } => *quota,
        }
    }
}

/// Slots that begin to cool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The latest moment at which the server can have counted the requests. It may be later than now.
    pub anchor: Tick,
    /// How many.
    pub slots: Slots,
}

/// How far the server says that a limit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Requests in the window.
    pub used: u32,
    /// How many slots of the record had [expired](LimitAnswer::expired) by an answer that came before the request was sent.
    pub expired: u64,
    /// When the response arrived.
    pub arrived: Tick,
}

/// What the store answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Which record this is; see [`Call::born`].
    pub born: u64,
    /// What has become of the call.
    pub outcome: Outcome,
    /// The store's clock.
    pub time: SystemTime,
    /// In the order of the call; empty unless it was carried out.
    pub limits: Vec<LimitAnswer>,
    /// All pauses that are in force, and for how long yet.
    pub pauses: Vec<(Subject, Duration)>,
}

/// What has become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out, now or when it came first.
    Done,
    /// Nothing was done: the member is not known there, or the record is another one; it must [join](Join) it.
    Rejoin,
    /// Nothing was done: a later call has been carried out already.
    Stale,
}

/// What the store answers for one limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitAnswer {
    /// Leased to the member.
    pub granted: Vec<Granted>,
    /// How long from now until a slot becomes free that was not granted, as far as that is known.
    pub next: Option<Duration>,
    /// How many slots of this record have been forgotten because their window was over.
    pub expired: u64,
    /// Slots in the window, leased or in flight, of all members; of a pool, requests that are over today.
    pub used: u32,
    /// So many slots are blocked anew for others.
    pub foreign: u32,
    /// Whether another member wants more than it has.
    pub contended: bool,
    /// Whether the record may lack something that members have not told yet.
    pub recovering: bool,
}

/// Slots that may be used from then on, until the lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// How long from now.
    pub ready_in: Duration,
    /// How many.
    pub slots: Slots,
}
