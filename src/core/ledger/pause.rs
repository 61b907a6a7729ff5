//! Pauses: who must not send, and until when.

use super::Ledger;
use crate::core::keys::Keys;
use crate::core::kind::Kind;
use crate::core::patience::Patience;
use crate::core::place::{CellId, Place, Subject};
use crate::core::queue::{Denial, DenialReason, WaiterId};
use crate::core::tick::{Now, Tick};
use crate::plan::RouteClass;

impl Ledger {
    /// Nobody sends under `subject` of these keys before `until`. Pauses merge by the later deadline. Those who wait for it and
    /// may not wait that long are denied at once.
    pub fn pause(&mut self, now: Now, keys: Keys, subject: Subject, until: Tick) {
        let now = self.advance(now);
        let Some(place) = self.place(subject) else {
            return;
        };
        let id = self.table.open(place, &keys);
        self.pause_cell(now, id, until);
        if self.leases.is_some() {
            let key = self.table.key(place, &keys);
            self.tell_pause(now, key, subject, Some(until));
            self.touched.push(id);
        }
        if let Place::Limit(limit) = place {
            // Those who need no slot of a limit wait for its pauses at a gate of their own.
            let gate = self.table.open(Place::PauseOf(limit), &keys);
            self.pause_cell(now, gate, until);
        }
        let table = &self.table;
        let concerned = self
            .waiters
            .waiting(|waiter| match (place, waiter.slotless) {
                (Place::TokenGate, _) => waiter.keys.token == keys.token,
                (Place::AccountGate, _) => waiter.keys.account == keys.account,
                (_, None) => waiter.cells.contains(id),
                (_, Some(class)) => {
                    table.governs(class, place) && table.shares(place, &waiter.keys, &keys)
                }
            });
        self.deny_hopeless(now, id, &concerned);
        for waiter in &concerned {
            let state = self.waiters.get(waiter);
            // Whoever keeps a place in several queues must not keep it through the pause: it is sent to wait for its end.
            if state.is_waiting() && state.queued.len() > 1 {
                self.dirty.extend(state.queued.iter());
            }
        }
        self.pump(now, None);
        if matches!(self.table.cell_mut(id).1, Kind::Pool(day) if day.zone.is_unknown()) {
            // Such a pool tells by the time who asks whether it has been filled again: what is granted from here on is later than
            // the pause, even if the clock has not moved.
            self.latest = now.tick.next();
        }
    }

    fn pause_cell(&mut self, now: Now, id: CellId, until: Tick) {
        let (cell, kind) = self.table.cell_mut(id);
        cell.pause(now.tick, until, kind);
        self.changed.push(id);
    }

    /// Ends a pause before its time.
    pub fn resume(&mut self, now: Now, keys: Keys, subject: Subject) {
        let now = self.advance(now);
        let Some(place) = self.place(subject) else {
            return;
        };
        let gate = match place {
            Place::Limit(limit) => Some(Place::PauseOf(limit)),
            _ => None,
        };
        if self.leases.is_some() {
            let key = self.table.key(place, &keys);
            self.tell_pause(now, key, subject, None);
        }
        for place in [Some(place), gate].into_iter().flatten() {
            if let Some(id) = self.table.find(place, &keys) {
                let (cell, kind) = self.table.cell_mut(id);
                cell.end_pause(now, kind);
                self.dirty.push(id);
            }
        }
        self.pump(now, None);
    }

    /// Until when pauses hold up a request with these keys and this class; `None` when nothing does.
    pub fn paused_until(&mut self, now: Now, keys: Keys, class: RouteClass) -> Option<Tick> {
        let now = self.advance(now);
        let limits = self.table.find_gates(class, &keys);
        let gate = self
            .table
            .closed_gate(now.tick, &keys)
            .map(|(_, until)| until);
        limits
            .iter()
            .map(|id| self.table.cell(id).paused_until(now.tick))
            .fold(gate, Option::max)
    }

    /// Whether `patience` is enough for all pauses that hold up a request with these keys and this class.
    pub fn can_wait_for_pauses(
        &mut self,
        now: Now,
        keys: Keys,
        class: RouteClass,
        patience: impl Into<Patience>,
    ) -> bool {
        let patience = patience.into();
        let now = self.advance(now);
        let gate = self.table.closed_gate(now.tick, &keys);
        gate.is_none_or(|(_, until)| patience.allows(until))
            && self.table.find_gates(class, &keys).iter().all(|id| {
                let until = self.table.cell(id).paused_until(now.tick);
                until.is_none_or(|until| match self.table.is_pool(id) {
                    true => patience.park().allows(until),
                    false => patience.allows(until),
                })
            })
    }

    pub(super) fn place(&self, subject: Subject) -> Option<Place> {
        match subject {
            Subject::Limit(limit) => {
                self.table.kind_of_limit(limit)?;
                u8::try_from(limit).ok().map(Place::Limit)
            }
            Subject::Token => Some(Place::TokenGate),
            Subject::Account => Some(Place::AccountGate),
        }
    }

    /// Denies those who may not wait as long as `paused` is paused.
    pub(super) fn deny_hopeless(&mut self, now: Now, paused: CellId, concerned: &[WaiterId]) {
        let Some(until) = self.table.cell(paused).paused_until(now.tick) else {
            return;
        };
        let denial = Denial {
            reason: DenialReason::TooLong,
            subject: self.table.subject(paused),
            paused: true,
            until,
        };
        let is_pool = self.table.is_pool(paused);
        for waiter in concerned {
            let state = self.waiters.get(waiter);
            if is_pool {
                state.patience = state.patience.park();
            }
            if state.is_waiting() && !state.patience.allows(until) {
                self.deny(waiter, denial);
            }
        }
    }

    /// A limit that should have been respected refused a request: halves the share of service time that is credited for it.
    /// Gives the new share in percent, or nothing when no time is credited under this limit.
    pub fn distrust(&mut self, now: Now, keys: Keys, limit: usize) -> Option<u32> {
        let now = self.advance(now);
        let Kind::Rolling(_) = self.table.kind_of_limit(limit)? else {
            return None;
        };
        let id = self.table.open(self.place(Subject::Limit(limit))?, &keys);
        let (cell, kind) = self.table.cell_mut(id);
        match kind {
            Kind::Rolling(window) => Some(cell.distrust(now.tick, window)),
            _ => None,
        }
    }
}
