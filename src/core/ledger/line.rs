//! How the queues move: whose turn it is, where he goes when something else holds him up, and who must look again.

use std::task::Waker;

use super::{Admission, Ledger, Progress};
use crate::core::keys::Keys;
use crate::core::place::{CellId, Cells, Subject};
use crate::core::queue::{Denial, DenialReason, Rank, State, Waiter, WaiterId};
use crate::core::tick::{Now, Tick};
use crate::plan::Lane;

/// How far a pump has come in the queue of one cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    cell: CellId,
    next: Rank,
    /// Those who keep their place, and a slot with it, although they cannot go yet.
    passed: u32,
    /// Those of `Bulk` among them.
    passed_bulk: u32,
}

impl Ledger {
    pub(super) fn line_up(&mut self, now: Now, mut waiter: Waiter, obstacle: CellId) -> Admission {
        self.admissions += 1;
        if self.table.is_pool(obstacle) {
            waiter.patience = waiter.patience.park();
        }
        let (cell, kind) = self.table.cell_mut(obstacle);
        let until = cell.earliest(now, kind, waiter.rank);
        let paused = cell.paused_until(now.tick).is_some();
        let is_closed = !paused && cell.is_closed();
        let deny = |reason, subject| {
            Admission::Denied(Denial {
                reason,
                subject,
                paused,
                until,
            })
        };
        if is_closed {
            return Admission::Denied(self.store_gone_denial(now, obstacle));
        }
        if !waiter.patience.allows(until) {
            return deny(DenialReason::TooLong, self.table.subject(obstacle));
        }
        if cell.waiting() >= self.max_waiting {
            return deny(DenialReason::QueueFull, self.table.subject(obstacle));
        }
        waiter.queued.push(obstacle);
        waiter.visited.push(obstacle);
        let cells = waiter.cells;
        for id in cells.iter() {
            self.table.cell_mut(id).0.refs += 1;
        }
        let rank = waiter.rank;
        let id = self.waiters.insert(waiter);
        self.table.cell_mut(obstacle).0.enqueue(rank, id.again());
        self.table.cell_mut(obstacle).0.refs += 1;
        if self.leases.is_some() {
            self.accompany(now, &cells, obstacle);
        }
        Admission::Waiting(id)
    }

    /// The cell that holds up somebody of this rank for the longest time, if any does.
    pub(super) fn obstacle(
        &mut self,
        now: Now,
        keys: &Keys,
        cells: &Cells,
        rank: Rank,
    ) -> Option<CellId> {
        if let Some((gate, _)) = self.table.closed_gate(now.tick, keys) {
            return Some(gate);
        }
        let mut worst: Option<(Tick, CellId)> = None;
        for id in cells.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            cell.expire(now, kind);
            if cell.has_slot_for(now.tick, kind, rank) {
                continue;
            }
            let until = cell.earliest(now, kind, rank);
            if worst.is_none_or(|(latest, _)| until > latest) {
                worst = Some((until, id));
            }
        }
        worst.map(|(_, id)| id)
    }

    /// Lets the queues of all dirty cells move, then makes sure that every head has set its alarm. `polling` looks by itself.
    pub(super) fn pump(&mut self, now: Now, polling: Option<&WaiterId>) {
        while let Some(id) = self.dirty.pop() {
            self.pump_from(now, id);
        }
        if !self.changed.is_empty() {
            self.set_alarms(now, polling);
        }
        if !self.touched.is_empty() {
            self.plan_calls(now);
        }
    }

    /// Goes through the queue of a cell from the first, as long as there is a slot for the next one. Where somebody before him
    /// stands in another queue for what the next one needs, that queue moves along, and the first of all goes first:
    /// otherwise it would matter whose alarm happens to ring first.
    fn pump_from(&mut self, now: Now, first: CellId) {
        self.pumps += 1;
        let mut turns = std::mem::take(&mut self.turns);
        self.join_turns(&mut turns, first);
        loop {
            if self.serve_passed_over(now, &turns) {
                continue;
            }
            let mut first: Option<(Rank, usize, WaiterId)> = None;
            let mut at = 0;
            while at < turns.len() {
                let Some((rank, waiter)) = self.next_in_turn(now, turns[at]) else {
                    self.changed.push(turns.swap_remove(at).cell);
                    continue;
                };
                if first.as_ref().is_none_or(|(first, ..)| rank < *first) {
                    first = Some((rank, at, waiter));
                }
                at += 1;
            }
            let Some((rank, at, waiter)) = first else {
                break;
            };
            if self.join_older(&mut turns, &waiter) {
                continue;
            }
            turns[at].next = rank.next();
            let turn = turns[at].cell;
            if self.try_grant(now, turn, &waiter) {
                turns[at].passed += 1;
                turns[at].passed_bulk += u32::from(rank.lane() == Lane::Bulk);
            }
        }
        self.turns = turns;
    }

    /// Lets a queue take part in the present pump, once. Gives false when it does already or nobody waits in it.
    fn join_turns(&mut self, turns: &mut Vec<Turn>, id: CellId) -> bool {
        let joins = self.table.cell_mut(id).0.join_pump(self.pumps);
        if joins {
            turns.push(Turn {
                cell: id,
                next: Rank::FIRST,
                passed: 0,
                passed_bulk: 0,
            });
        }
        joins
    }

    /// Lets the queues take part in which somebody before `waiter` waits for what `waiter` needs. Gives whether there was one.
    fn join_older(&mut self, turns: &mut Vec<Turn>, waiter: &WaiterId) -> bool {
        let Waiter {
            rank, keys, cells, ..
        } = *self.waiters.get(waiter);
        let gates = self.table.gates(&keys);
        let mut joined = false;
        for id in cells.iter().chain(gates) {
            if self.table.cell(id).seniors(rank, 1) > 0 {
                joined |= self.join_turns(turns, id);
            }
        }
        joined
    }

    /// Whose turn it is, if there is a slot for anybody.
    fn next_in_turn(&mut self, now: Now, turn: Turn) -> Option<(Rank, WaiterId)> {
        let (cell, kind) = self.table.cell_mut(turn.cell);
        cell.expire(now, kind);
        if cell.free(now.tick, kind, Lane::Interactive) <= turn.passed {
            return None;
        }
        let (rank, waiter) = cell.queue()?.range(turn.next..).next()?;
        if rank.lane() == Lane::Bulk && cell.free(now.tick, kind, Lane::Bulk) <= turn.passed_bulk {
            // None of those behind him may take what is reserved either.
            return None;
        }
        Some((*rank, waiter.again()))
    }

    /// It is the turn of `waiter` in the queue of `turn`. Grants it, or sends it to the queue of what holds it up. Gives true
    /// when it keeps its place in this queue.
    fn try_grant(&mut self, now: Now, turn: CellId, waiter: &WaiterId) -> bool {
        let Waiter {
            rank,
            keys,
            cells,
            slotless,
            visited,
            ..
        } = *self.waiters.get(waiter);
        let needed = self.needed(&keys, cells, slotless);
        let Some(obstacle) = self.obstacle(now, &keys, &needed, rank) else {
            self.grant_waiter(now, waiter);
            return false;
        };
        let is_pool = self.table.is_pool(obstacle);
        let state = self.waiters.get(waiter);
        if is_pool {
            state.patience = state.patience.park();
        }
        let patience = state.patience;
        let (cell, kind) = self.table.cell_mut(obstacle);
        let until = cell.earliest(now, kind, rank);
        let paused = cell.paused_until(now.tick).is_some();
        if !paused && cell.is_closed() {
            let denial = self.store_gone_denial(now, obstacle);
            self.deny(waiter, denial);
            return false;
        }
        if !patience.allows(until) {
            let denial = Denial {
                reason: DenialReason::TooLong,
                subject: self.table.subject(obstacle),
                paused,
                until,
            };
            self.deny(waiter, denial);
            return false;
        }
        if obstacle == turn {
            return true;
        }
        if paused {
            // Whoever waits for a pause must not keep a slot from others.
            self.leave_queues(waiter);
            self.waiters.get(waiter).visited = Cells::default();
        } else if !visited.contains(obstacle) {
            self.leave_queue(waiter, turn);
        }
        self.join_queue(waiter, obstacle);
        !paused && visited.contains(obstacle)
    }

    fn grant_waiter(&mut self, now: Now, waiter: &WaiterId) {
        self.leave_queues(waiter);
        let Waiter { cells, rank, .. } = *self.waiters.get(waiter);
        self.grant(now, &cells, rank.lane());
        self.waiters.get(waiter).taken = now.tick;
        // The waiter counted as one reference to each cell; from here on its permit does.
        self.release(&cells);
        self.finish(waiter, State::Granted);
    }

    /// Grants one of `Bulk` whom enough of `Interactive` have gone before, if he can go now. Gives whether there was one.
    ///
    /// No slot is kept for him and nobody goes before him in his lane: where he needs several limits that different classes of
    /// `Interactive` keep busy, he may not find them free at the same time.
    fn serve_passed_over(&mut self, now: Now, turns: &[Turn]) -> bool {
        turns.iter().any(|turn| {
            let passed_over = self.table.cell(turn.cell).passed_over();
            passed_over.is_some_and(|(rank, waiter)| self.try_turn(now, rank, &waiter))
        })
    }

    fn try_turn(&mut self, now: Now, rank: Rank, waiter: &WaiterId) -> bool {
        let Waiter {
            keys,
            cells,
            slotless,
            ..
        } = *self.waiters.get(waiter);
        let needed = self.needed(&keys, cells, slotless);
        let can_go = self.table.closed_gate(now.tick, &keys).is_none()
            && needed.iter().all(|id| {
                let (cell, kind) = self.table.cell_mut(id);
                cell.expire(now, kind);
                cell.has_slot_in_lane(now.tick, kind, rank)
            });
        if can_go {
            self.grant_waiter(now, waiter);
        }
        can_go
    }

    fn join_queue(&mut self, waiter: &WaiterId, id: CellId) {
        let state = self.waiters.get(waiter);
        if state.queued.contains(id) {
            return;
        }
        state.queued.push(id);
        if !state.visited.contains(id) {
            state.visited.push(id);
        }
        let rank = state.rank;
        let cell = self.table.cell_mut(id).0;
        cell.enqueue(rank, waiter.again());
        cell.refs += 1;
        self.changed.push(id);
        self.touch(id);
    }

    fn leave_queue(&mut self, waiter: &WaiterId, id: CellId) {
        let state = self.waiters.get(waiter);
        state.leave(id);
        let rank = state.rank;
        let cell = self.table.cell_mut(id).0;
        cell.dequeue(rank);
        cell.refs -= 1;
        self.changed.push(id);
        self.touch(id);
    }

    /// Leaves every queue; those behind may move up.
    pub(super) fn leave_queues(&mut self, waiter: &WaiterId) {
        let queued = self.waiters.get(waiter).queued;
        for id in queued.iter() {
            self.leave_queue(waiter, id);
            self.dirty.push(id);
        }
    }

    pub(super) fn deny(&mut self, waiter: &WaiterId, denial: Denial) {
        self.leave_queues(waiter);
        let cells = std::mem::take(&mut self.waiters.get(waiter).cells);
        self.release(&cells);
        self.finish(waiter, State::Denied(denial));
    }

    fn finish(&mut self, waiter: &WaiterId, state: State) {
        let waiter = self.waiters.get(waiter);
        waiter.state = state;
        self.wake.extend(waiter.waker.take());
    }

    /// Wakes the head of every changed queue that would otherwise look too late.
    pub(super) fn set_alarms(&mut self, now: Now, polling: Option<&WaiterId>) {
        while let Some(id) = self.changed.pop() {
            let (cell, kind) = self.table.cell_mut(id);
            let Some(head) = cell
                .queue()
                .and_then(|queue| queue.first_key_value())
                .map(|(_, head)| head.again())
            else {
                continue;
            };
            let event = cell.next_event(now, kind);
            if polling == Some(&head) {
                continue;
            }
            let state = self.waiters.get(&head);
            if event.is_some_and(|event| event < state.armed) {
                state.armed = Tick::ZERO;
                self.wake.extend(state.waker.take());
            }
        }
    }

    /// What to tell somebody who stands in these queues.
    fn denial(&mut self, now: Now, rank: Rank, queued: &Cells, reason: DenialReason) -> Denial {
        let mut worst: Option<Denial> = None;
        for id in queued.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            let until = cell.earliest(now, kind, rank);
            let paused = cell.paused_until(now.tick).is_some();
            if worst.is_none_or(|denial| until > denial.until) {
                worst = Some(Denial {
                    reason,
                    subject: self.table.subject(id),
                    paused,
                    until,
                });
            }
        }
        worst.unwrap_or(Denial {
            reason,
            subject: Subject::Token,
            paused: false,
            until: now.tick,
        })
    }

    pub(super) fn keep_waiting(
        &mut self,
        now: Now,
        waiter: WaiterId,
        waker: Option<&Waker>,
    ) -> Progress {
        let Waiter {
            rank,
            queued,
            patience,
            ..
        } = *self.waiters.get(&waiter);
        let deadline = patience.deadline;
        let mut until = (deadline < Tick::NEVER).then_some(deadline);
        for id in queued.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            let is_head = cell
                .queue()
                .and_then(|queue| queue.first_key_value())
                .is_some_and(|(first, _)| *first == rank);
            if is_head {
                until = [until, cell.next_event(now, kind)]
                    .into_iter()
                    .flatten()
                    .min();
            }
        }
        if now.tick >= deadline {
            let denial = self.denial(now, rank, &queued, DenialReason::TimedOut);
            self.cancel(now, waiter);
            return Progress::Denied(denial);
        }
        let state = self.waiters.get(&waiter);
        state.armed = until.unwrap_or(Tick::NEVER);
        match (&state.waker, waker) {
            (Some(old), Some(new)) if old.will_wake(new) => {}
            _ => self
                .retired
                .extend(std::mem::replace(&mut state.waker, waker.cloned())),
        }
        Progress::Waiting { waiter, until }
    }
}
