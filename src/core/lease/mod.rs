//! Slots that a store lends which several processes share.
//!
//! The store (see the `redis` feature) keeps one record for each key: which slots are cooling, and how many each member, that is each process,
//! holds. Members never hold more than the quota together, so that the proof of the [window](crate::core) holds for all of
//! them: a slot is leased before its request is sent, and goes back one window after the response arrived.
//!
//! A [`Ledger`](crate::core::Ledger) that is [shared](crate::core::Ledger::share) admits a request when it has leased slots for it under every
//! limit, and makes [`Call`]s to get more and to tell what has become of those it had. It does no input or output: somebody
//! carries the calls to the store and the [`Answer`]s back.

mod ask;
mod held;
mod members;
mod sharing;
mod wire;

pub(super) use self::ask::{Asked, gathers};
pub(super) use self::held::{Gate, Lease, Share};
pub(super) use self::members::{Leases, Member};
pub use self::sharing::{Members, OnOutage, Sharing};
pub use self::wire::{
    Answer, Call, Granted, HORIZON, Join, LimitAnswer, LimitCall, Outcome, Seen, Settled,
    SharedRule, Slots,
};
