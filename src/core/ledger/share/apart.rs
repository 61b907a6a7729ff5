//! What a member may do while the store is gone, or while its record may lack something.
//!
//! All members together stay within a limit, because a slot stays with whoever used it last: a member that had more than its share
//! when the store went shrinks to it; one that had less may grow to its share only when what the others had more must have
//! left the window. Nobody uses what is leased for longer than a lease; so that is one lease, one window and the time that a
//! request may be late afterwards.

use super::calls::{ANY_BEFORE, window_of};
use crate::core::kind::Kind;
use crate::core::lease::{Gate, Join, OnOutage, Share};
use crate::core::ledger::Ledger;
use crate::core::network::LEAST_LATE_ARRIVAL;
use crate::core::place::CellId;
use crate::core::queue::{Denial, DenialReason};
use crate::core::tick::{Now, Tick};

/// Why a member is apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apart {
    /// The store cannot be reached: nothing that it has lent holds.
    Gone,
    /// The store has lost the record: nothing that it has lent holds.
    Lost,
    /// The record may lack something that others have not told yet.
    Recovering,
}

impl Ledger {
    /// The store is gone: every key is in the state that [`OnOutage`] says, until an answer comes for it.
    /// Calls that are under way may still be answered.
    pub fn store_gone(&mut self, now: Now) {
        let now = self.advance(now);
        let Some(leases) = &mut self.leases else {
            return;
        };
        leases.gone.get_or_insert(now.tick);
        for member in leases.all() {
            self.begin_apart(now, member, Apart::Gone);
            self.plan_call(now, member);
        }
        self.pump(now, None);
    }

    /// The store is there again: every key that is in use asks it soon.
    pub fn store_back(&mut self, now: Now) {
        let now = self.advance(now);
        let Some(leases) = &mut self.leases else {
            return;
        };
        if let Some(since) = leases.gone.take() {
            leases.outage = Some((since, now.tick));
        }
        for member in leases.all() {
            if let Some(leases) = &mut self.leases {
                let is_closed = leases.sharing.on_outage == OnOutage::FailClosed;
                let state = leases.member_mut(member);
                state.retry = now.tick;
                state.failures = 0;
                if is_closed {
                    // Those who come from now on wait for the answer.
                    state.gone = false;
                    for id in &state.cells {
                        if let Some(lease) = &mut self.table.cell_mut(*id).0.lease {
                            lease.gate = Gate::Joining;
                        }
                    }
                }
            }
            self.plan_call(now, member);
        }
        self.pump(now, None);
    }

    /// From now on the member keeps to what it has, and later to its share.
    pub(super) fn begin_apart(&mut self, now: Now, member: u32, why: Apart) {
        let gone = why == Apart::Gone;
        let Some(leases) = &mut self.leases else {
            return;
        };
        let state = leases.member_mut(member);
        let is_new = state.apart.is_none();
        if is_new || why == Apart::Lost || gone && !state.gone {
            // Be it again: others may have had more than their parts since the last answer.
            state.apart = Some(now.tick);
        }
        if gone && !state.gone {
            state.gone = true;
            state.cut_off = Some(now.tick);
            if let Some(call) = state.again.take() {
                self.restore(now, member, call);
            }
        }
        let Some(leases) = &mut self.leases else {
            return;
        };
        let state = leases.member_mut(member);
        if gone && state.join == Join::Member {
            state.join = Join::Again;
        }
        for id in state.cells.clone() {
            if is_new || why != Apart::Recovering {
                self.set_apart(now, member, id, why);
            }
        }
    }

    /// The member is about to join a new record. If it had nothing to say until its lease was over, there may have been another record
    /// meanwhile, and others may have got what it had.
    pub(super) fn renew_apart(&mut self, now: Now, member: u32) {
        let Some(leases) = &self.leases else {
            return;
        };
        let state = leases.member(member);
        let is_late = now.tick >= state.answered.after(leases.sharing.lease);
        if is_late && state.join == Join::Anew && state.born > ANY_BEFORE && !state.gone {
            self.begin_apart(now, member, Apart::Lost);
        }
    }

    /// What a member keeps to under the limit of one cell.
    pub(super) fn set_apart(&mut self, now: Now, member: u32, id: CellId, why: Apart) {
        let Some(leases) = &self.leases else {
            return;
        };
        let (sharing, fleet) = (leases.sharing, leases.fleet);
        let since = leases.member(member).apart.unwrap_or(now.tick);
        let late = self.network.late_arrival().max(LEAST_LATE_ARRIVAL);
        let (cell, kind) = self.table.cell_mut(id);
        cell.expire(now, kind);
        let used = cell.used();
        let own_share = fleet.share(kind.quota().unwrap_or_default());
        let reset = cell.pool(kind).map(|(pool, _)| pool.reset_tick(now));
        let window = window_of(kind);
        // What leaves the window sooner may have been leased to somebody.
        let kept = cell.used_at(now.tick.after(sharing.horizon(window)), kind);
        let Some(lease) = &mut cell.lease else {
            return;
        };
        // Whoever has been apart from the store knows since then what is his.
        let is_known = why == Apart::Gone && lease.is_apart();
        let later = lease.idle_by_time(now.tick);
        if why != Apart::Recovering {
            lease.void(now.tick, window);
        }
        let share = match kind {
            Kind::Pool(_) => {
                let idle: u32 = later.iter().map(|(_, slots)| *slots).sum();
                let left = lease.left.map(|left| fleet.share(left));
                let left = left.unwrap_or(own_share.saturating_sub(used));
                let at_first = used.saturating_add(idle).saturating_add(left);
                Share {
                    at_first,
                    later: Vec::new(),
                    most: at_first,
                    then: own_share,
                    grows: reset.unwrap_or(Tick::NEVER),
                }
            }
            _ => Share {
                at_first: kept,
                later,
                most: own_share,
                then: own_share,
                grows: match fleet.is_alone() {
                    true => since,
                    false => since.after(sharing.lease).after(window).after(late),
                },
            },
        };
        if !is_known {
            lease.begin_apart(share);
        }
        if why == Apart::Gone {
            lease.gate = match sharing.on_outage {
                OnOutage::LocalShare => Gate::Share,
                OnOutage::FailClosed => Gate::Closed,
                OnOutage::FailOpen => Gate::Open,
            };
            if lease.is_closed() {
                self.deny_all(now, id);
            }
        }
        self.dirty.push(id);
        self.changed.push(id);
    }

    /// Nobody may wait here.
    fn deny_all(&mut self, now: Now, id: CellId) {
        let denial = self.store_gone_denial(now, id);
        let waiters = self.waiters.waiting(|waiter| waiter.cells.contains(id));
        for waiter in waiters {
            self.deny(&waiter, denial);
        }
    }

    /// What to tell those who need a slot of a store that is gone.
    pub(in crate::core::ledger) fn store_gone_denial(&self, now: Now, id: CellId) -> Denial {
        Denial {
            reason: DenialReason::StoreGone,
            subject: self.table.subject(id),
            paused: false,
            until: now.tick,
        }
    }

    pub(super) fn end_apart(&mut self, member: u32) {
        let Some(leases) = &mut self.leases else {
            return;
        };
        let state = leases.member_mut(member);
        state.apart = None;
        for id in state.cells.clone() {
            if let Some(lease) = &mut self.table.cell_mut(id).0.lease {
                lease.end_apart();
            }
        }
    }
}
