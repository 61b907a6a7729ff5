//! What the ledger answers: a permit, a place in line, or neither.

use std::time::Duration;

#[cfg(doc)]
use super::Ledger;
use crate::core::keys::Keys;
use crate::core::place::Cells;
use crate::core::queue::{Denial, Rank, Waiter, WaiterId};
use crate::core::tick::Tick;
use crate::plan::RouteClass;

/// The answer to [`Ledger::admit`].
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// The request may be sent.
    Granted(Permit),
    /// The request stands in line; call [`Ledger::poll`] at once to learn until when, and [`Ledger::cancel`] to give up.
    Waiting(WaiterId),
    /// The request may not go, and may not wait either.
    Denied(Denial),
}

/// The answer to [`Ledger::poll`].
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// The request may be sent.
    Granted(Permit),
    /// Not yet. Ask again when woken, and at `until` if that is known.
    Waiting {
        /// The waiter, to ask again.
        waiter: WaiterId,
        /// When something may have changed, at the latest when it may not wait any longer; `None` while others see to it.
        until: Option<Tick>,
    },
    /// The request may not go.
    Denied(Denial),
}

impl Progress {
    /// Whether the request may be sent.
    pub fn is_granted(&self) -> bool {
        matches!(self, Progress::Granted(_))
    }

    /// Whether the request still stands in line.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Progress::Waiting { .. })
    }
}

/// The right to send one request now, made of one slot under each limit that governs it.
///
/// It goes from granted over sent to settled: give it to [`Ledger::refund`] if the request is not sent after all, and to
/// [`Ledger::settle`], [`Ledger::fail`] or [`Ledger::abandon`] when it was. Dropping it loses its slots for ever, which is why the layers wrap it.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    pub(super) rank: Rank,
    pub(super) keys: Keys,
    pub(super) cells: Cells,
    /// The class of a request that needs no slot and only respects pauses.
    pub(super) slotless: Option<RouteClass>,
    /// Whether it has had to wait for a daily pool.
    pub(super) has_parked: bool,
    /// When its slots were taken, and when its owner was told.
    pub(super) taken: Tick,
    pub(super) granted: Tick,
    /// How many slots its cells had forgotten by then.
    pub(super) expired: u32,
    pub(super) sent: Option<Tick>,
    /// How much later than that it really went.
    delay: Duration,
}

impl Permit {
    pub(super) fn new(waiter: Waiter, granted: Tick, expired: u32) -> Self {
        Self {
            rank: waiter.rank,
            keys: waiter.keys,
            cells: waiter.cells,
            slotless: waiter.slotless,
            has_parked: waiter.patience.has_parked,
            taken: waiter.taken,
            granted,
            expired,
            sent: None,
            delay: Duration::ZERO,
        }
    }

    /// Marks it as sent at `now`, for those who know that no pause has begun since it was granted; otherwise [`Ledger::send`] must
    /// be asked.
    pub fn mark_sent(&mut self, now: Tick) {
        self.sent = Some(now.max(self.granted));
    }

    /// When it was sent; should it never have been, when it was granted.
    pub(super) fn began(&self) -> Tick {
        self.sent.unwrap_or(self.granted)
    }

    /// It really went so much later than it was [sent](Ledger::send), because it was held up further inside: that time is no part
    /// of its round trip.
    pub fn note_delay(&mut self, delay: Duration) {
        self.delay = delay;
    }

    pub(super) fn round_trip(&self, arrived: Tick) -> Duration {
        arrived.since(self.began()).saturating_sub(self.delay)
    }

    /// Whether it holds nothing and need not be given back.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Whether it has waited, or been ready to wait, for a daily pool to be filled again.
    pub fn has_parked(&self) -> bool {
        self.has_parked
    }

    /// Whether [`Ledger::send`] has been called for it.
    pub fn is_sent(&self) -> bool {
        self.sent.is_some()
    }
}
