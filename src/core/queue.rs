//! Those who wait, and why somebody may not.

use std::task::Waker;

use slab::Slab;

use super::keys::Keys;
use super::patience::Patience;
use super::place::{CellId, Cells, Subject};
use super::tick::Tick;
use crate::plan::{Lane, RouteClass};

/// Names a waiter of a [`Ledger`](super::Ledger) until it is granted, denied or cancelled.
#[derive(Debug, PartialEq, Eq)]
pub struct WaiterId(u32);

impl WaiterId {
    /// The ledger's own second handle to a waiter; the public one is not `Clone`, so that it cannot outlive its waiter.
    pub(super) fn again(&self) -> WaiterId {
        WaiterId(self.0)
    }
}

/// Why a request may not go, and when it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Denial {
    /// What kind of refusal this is.
    pub reason: DenialReason,
    /// What holds the request up.
    pub subject: Subject,
    /// Whether that is paused, as opposed to used up.
    pub paused: bool,
    /// The earliest time at which the request could go, if those before it stay in line and each takes the slot that it
    /// waits for.
    pub until: Tick,
}

/// Why a request may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenialReason {
    /// It is known that the wait would be longer than allowed.
    TooLong,
    /// The time allowed for waiting is over.
    TimedOut,
    /// Too many are waiting already.
    QueueFull,
    /// The store that lends the slots cannot be reached, and [`OnOutage`](super::lease::OnOutage) says to fail then.
    StoreGone,
}

impl DenialReason {
    /// The same in one word, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::TimedOut => "timed_out",
            Self::QueueFull => "queue_full",
            Self::StoreGone => "store_gone",
        }
    }
}

/// A place in line: `Interactive` before `Bulk`, and within a lane whoever came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Rank {
    pub(super) const FIRST: Rank = Rank(0);
    pub(super) const FIRST_BULK: Rank = Rank(1 << 63);

    /// `admission` is the sequence number of the admission.
    pub(super) fn new(lane: Lane, admission: u64) -> Self {
        match lane {
            Lane::Interactive => Rank(admission),
            Lane::Bulk => Rank(Self::FIRST_BULK.0 | admission),
        }
    }

    pub(super) fn lane(self) -> Lane {
        if self < Self::FIRST_BULK {
            Lane::Interactive
        } else {
            Lane::Bulk
        }
    }

    pub(super) fn next(self) -> Rank {
        Rank(self.0.saturating_add(1))
    }
}

#[derive(Debug)]
pub(super) enum State {
    Waiting,
    Granted,
    Denied(Denial),
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) rank: Rank,
    pub(super) keys: Keys,
    /// The cells of all limits that the request needs.
    pub(super) cells: Cells,
    /// The class of a request that needs no slot and only respects pauses.
    pub(super) slotless: Option<RouteClass>,
    /// The cells in whose queue it stands.
    pub(super) queued: Cells,
    /// The cells in whose queue it has stood since it last waited for a pause.
    pub(super) visited: Cells,
    pub(super) patience: Patience,
    /// When its slots were taken, if they have been.
    pub(super) taken: Tick,
    pub(super) state: State,
    pub(super) waker: Option<Waker>,
    /// When its owner will look again by itself.
    pub(super) armed: Tick,
}

impl Waiter {
    pub(super) fn new(rank: Rank, keys: Keys, cells: Cells, patience: Patience) -> Self {
        Self {
            rank,
            keys,
            cells,
            slotless: None,
            queued: Cells::default(),
            visited: Cells::default(),
            patience,
            taken: Tick::ZERO,
            state: State::Waiting,
            waker: None,
            armed: Tick::NEVER,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    pub(super) fn leave(&mut self, cell: CellId) {
        self.queued.remove(cell);
    }
}

/// All waiters of a ledger.
#[derive(Debug, Default)]
pub(super) struct Waiters(Slab<Waiter>);

impl Waiters {
    pub(super) fn insert(&mut self, waiter: Waiter) -> WaiterId {
        WaiterId(u32::try_from(self.0.insert(waiter)).unwrap_or(u32::MAX))
    }

    pub(super) fn get(&mut self, id: &WaiterId) -> &mut Waiter {
        &mut self.0[id.0 as usize]
    }

    pub(super) fn remove(&mut self, id: WaiterId) -> Waiter {
        self.0.remove(id.0 as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn take_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.0.iter_mut().filter_map(|(_, it)| it.waker.take())
    }

    /// Those who still wait and to whom `concerned` applies.
    pub(super) fn waiting(&self, concerned: impl Fn(&Waiter) -> bool) -> Vec<WaiterId> {
        let chosen = self
            .0
            .iter()
            .filter(|(_, waiter)| waiter.is_waiting() && concerned(waiter));
        chosen.map(|(id, _)| WaiterId(id as u32)).collect()
    }
}
