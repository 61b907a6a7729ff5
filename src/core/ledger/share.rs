//! A ledger whose slots are lent by a store that several processes share.

mod answers;
mod apart;
mod calls;

use self::apart::Apart;
use super::Ledger;
use crate::core::cell::Cell;
use crate::core::keys::Fingerprint;
use crate::core::kind::Kind;
use crate::core::lease::{Leases, Members, Sharing};
use crate::core::place::{CellId, Cells, Place, Subject};
use crate::core::tick::{Now, Tick};
use crate::plan::FirstWindow;

/// The store need not hear again of a pause that it knows to this precision.
const SAME_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// # Slots that a store lends
impl Ledger {
    /// From now on a store lends the slots of all limits, except of daily pools whose zone is unknown. To be called before the first
    /// request.
    pub fn share(&mut self, sharing: Sharing) {
        let limits = self.table.limit_count();
        self.leases = Some(Box::new(Leases::new(sharing, limits)));
    }

    /// Sets how a limit may be used while the store's record of a key may lack something; [`FirstWindow::Empty`] at first. Does nothing
    /// unless the ledger is [shared](Self::share).
    pub fn set_shared_first_window(&mut self, limit: usize, first: FirstWindow) {
        let leases = self.leases.as_mut();
        if let Some(policy) = leases.and_then(|leases| leases.first.get_mut(limit)) {
            *policy = first;
        }
    }

    /// How many processes share the store.
    pub fn set_members(&mut self, now: Now, members: Members) {
        let now = self.advance(now);
        let Some(leases) = &mut self.leases else {
            return;
        };
        leases.fleet = members;
        // A key may be apart alone, for longer than it takes to know how many there are.
        for member in leases.all() {
            if leases.member(member).apart.is_none() {
                continue;
            }
            for id in &leases.member(member).cells {
                let (cell, kind) = self.table.cell_mut(*id);
                if let (Kind::Rolling(window), Some(lease)) = (kind, &mut cell.lease) {
                    lease.set_part(members.share(window.quota));
                    self.dirty.push(*id);
                    self.changed.push(*id);
                }
            }
        }
        self.pump(now, None);
    }

    /// When [`calls`](Self::calls) will have something to give, as far as that is known; asked after every change, because it may
    /// have become earlier.
    pub fn next_call(&self) -> Option<Tick> {
        let (due, _) = self.leases.as_ref()?.next()?;
        Some(due)
    }

    /// Lets the store lend the slots of these cells.
    pub(super) fn lease(&mut self, now: Now, cells: &Cells) {
        let Some(leases) = &mut self.leases else {
            return;
        };
        for id in cells.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            if cell.lease.is_some() || !can_be_shared(cell, kind) {
                continue;
            }
            let member = leases.enter(now.tick, cell.key);
            cell.lease_from(member);
            leases.member_mut(member).cells.push(id);
            let state = leases.member(member);
            let why = match state.gone {
                true => Some(Apart::Gone),
                false => state.apart.map(|_| Apart::Recovering),
            };
            if let Some(why) = why {
                self.set_apart(now, member, id, why);
                return self.lease(now, cells);
            }
        }
    }

    /// Somebody stands in line for `obstacle` and needs slots of the other cells, too: those may be asked for together.
    pub(super) fn accompany(&mut self, now: Now, cells: &Cells, obstacle: CellId) {
        for id in cells.iter() {
            if let Some(lease) = &mut self.table.cell_mut(id).0.lease {
                if id != obstacle {
                    lease.appetite_mut().accompany();
                }
                self.touched.push(id);
            }
        }
        self.plan_calls(now);
    }

    /// Something has happened to the lease of a cell.
    pub(super) fn touch(&mut self, id: CellId) {
        if self.leases.is_some() {
            self.touched.push(id);
        }
    }

    /// Sees when the members must say something whose cells have been touched.
    pub(super) fn plan_calls(&mut self, now: Now) {
        while let Some(id) = self.touched.pop() {
            if let Some(member) = self
                .table
                .cell(id)
                .lease
                .as_ref()
                .map(|lease| lease.member())
            {
                self.plan_call(now, member);
            }
        }
    }

    /// Cells have been forgotten.
    pub(super) fn unlease(&mut self) {
        for (member, id) in self.table.take_unleased() {
            if let Some(leases) = &mut self.leases {
                leases.leave(member, id);
            }
        }
    }

    /// Tells the store of a pause, or that it has been ended.
    pub(super) fn tell_pause(
        &mut self,
        now: Now,
        key: Fingerprint,
        subject: Subject,
        until: Option<Tick>,
    ) {
        let Some(leases) = &mut self.leases else {
            return;
        };
        let member = leases.enter(now.tick, key);
        let state = leases.member_mut(member);
        let known = state
            .known_pauses
            .iter()
            .find(|(known, _)| *known == subject);
        match (until, known) {
            (Some(until), Some((_, known))) if until <= known.after(SAME_PAUSE) => return,
            _ => {}
        }
        state
            .known_pauses
            .retain(|(known, till)| *known != subject && *till > now.tick);
        state
            .known_pauses
            .extend(until.map(|until| (subject, until)));
        state.pauses.retain(|(other, _)| *other != subject);
        state.pauses.push((subject, until));
        self.plan_call(now, member);
    }
}

/// Where nobody knows when a day begins, nothing is counted.
fn can_be_shared(cell: &Cell, kind: &Kind) -> bool {
    let is_limit = matches!(cell.place, Place::Limit(_));
    is_limit && !matches!(kind, Kind::Pool(day) if day.zone.is_unknown())
}
