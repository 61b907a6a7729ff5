//! What the store answers, or that it does not.

use std::time::Duration;

use super::apart::Apart;
use super::calls::window_of;
use crate::core::keys::Keys;
use crate::core::kind::Kind;
use crate::core::lease::{
    Answer, Asked, Call, Gate, Join, LimitAnswer, LimitCall, Outcome, gathers,
};
use crate::core::ledger::Ledger;
use crate::core::notice::{Event, Notice};
use crate::core::place::{CellId, Place, Subject};
use crate::core::tick::{Now, Tick};

/// A call that is not answered is made again at once; after so many the store counts as gone for this key.
const MOST_FAILURES: u32 = 2;
/// A store that is gone for one key is asked so often.
const RETRY: Duration = Duration::from_secs(1);

impl Ledger {
    /// The store has answered. Gives the pauses that others have begun, for the caller to [begin](Self::pause) here.
    pub fn answered(&mut self, now: Now, call: Call, answer: Answer) -> Vec<(Keys, Subject, Tick)> {
        let now = self.advance(now);
        let Some(leases) = &mut self.leases else {
            return Vec::new();
        };
        let Some(member) = leases.find(call.key) else {
            return Vec::new();
        };
        let state = leases.member_mut(member);
        state.is_calling = false;
        state.failures = 0;
        state.retry = Tick::ZERO;
        let pauses = match answer.outcome {
            Outcome::Done => {
                self.carried_out(now, member, &call, &answer);
                self.pauses_of_others(now, member, &answer)
            }
            Outcome::Rejoin | Outcome::Stale => {
                self.rejoin(now, member, call, &answer);
                Vec::new()
            }
        };
        self.plan_call(now, member);
        if let Some(leases) = &mut self.leases {
            leases.end_if_idle(member);
        }
        self.pump(now, None);
        pauses
    }

    fn carried_out(&mut self, now: Now, member: u32, call: &Call, answer: &Answer) {
        let Some(leases) = &mut self.leases else {
            return;
        };
        let ends = call.made.after(leases.sharing.lease);
        let state = leases.member_mut(member);
        state.born = answer.born;
        state.last = call.seq;
        state.answered = call.made;
        state.join = Join::Member;
        state.gone = false;
        state.cut_off = None;
        let was_apart = state.apart.is_some();
        let is_recovering = answer.limits.iter().any(|limit| limit.recovering);
        for (asked, told) in call.limits.iter().zip(&answer.limits) {
            if let Some(id) = self.cell_of_limit(member, asked.limit) {
                self.hear(now, id, (call.made, ends), asked, told);
            }
        }
        if is_recovering && !was_apart {
            self.begin_apart(now, member, Apart::Recovering);
        } else if was_apart && !is_recovering {
            self.end_apart(member);
        }
    }

    pub(super) fn cell_of_limit(&self, member: u32, limit: usize) -> Option<CellId> {
        let leases = self.leases.as_ref()?;
        let mut cells = leases.member(member).cells.iter().copied();
        cells.find(|id| self.table.cell(*id).limit() == Some(limit))
    }

    fn hear(
        &mut self,
        now: Now,
        id: CellId,
        (made, ends): (Tick, Tick),
        asked: &LimitCall,
        told: &LimitAnswer,
    ) {
        let Some(leases) = &self.leases else {
            return;
        };
        let sharing = leases.sharing;
        let (cell, kind) = self.table.cell_mut(id);
        let (window, key, place) = (window_of(kind), cell.key, cell.place);
        let horizon = sharing.horizon(window);
        let gathers = gathers(now.tick, horizon, |at| cell.used_at(at, kind));
        let Some(lease) = &mut cell.lease else {
            return;
        };
        lease.asked = false;
        lease.gate = Gate::Leased;
        lease.ends = ends;
        lease.grant(now.tick, &told.granted);
        let asked = Asked {
            wanted: asked.want.all(),
            most: asked.most,
            is_full: told.used >= asked.rule.quota(),
            window,
            horizon,
            last_ready: lease.last_ready(),
            gathers,
        };
        lease.appetite_mut().answered(now.tick, &asked, told);
        let mut news = None;
        match kind {
            Kind::Rolling(_) => {
                lease.note_expired(now.tick, told.expired);
                if told.foreign > 0 {
                    lease.foreign_until = now.tick.after(window);
                    let requests = told.foreign;
                    news = Some(Event::ForeignUse { requests });
                }
            }
            Kind::Pool(day) => {
                let held = u32::try_from(told.expired).unwrap_or(u32::MAX);
                let left = day.quota.saturating_sub(told.used).saturating_sub(held);
                lease.left = None;
                // Of a call around midnight nobody knows which day was meant.
                if let Some((pool, day)) =
                    cell.pool(kind).filter(|(pool, _)| pool.is_of_today(made))
                {
                    let lasts = pool.hear_of_others(now, day, told.used);
                    news = lasts.map(|lasts| Event::Exhausted { lasts });
                    if let Some(lease) = &mut cell.lease {
                        lease.left = Some(left);
                    }
                }
            }
            Kind::Gate => {}
        }
        if let (Some(event), Place::Limit(limit)) = (news, place) {
            self.news.push(Notice::new(limit, key, event));
        }
        self.dirty.push(id);
        self.changed.push(id);
    }

    fn pauses_of_others(
        &mut self,
        now: Now,
        member: u32,
        answer: &Answer,
    ) -> Vec<(Keys, Subject, Tick)> {
        let Some(leases) = &mut self.leases else {
            return Vec::new();
        };
        let state = leases.member_mut(member);
        let keys = Keys {
            token: state.key,
            account: state.key,
        };
        let mut begun = Vec::new();
        for (subject, length) in &answer.pauses {
            if state.pauses.contains(&(*subject, None)) {
                // It has been ended here, and the store is yet to hear of it.
                continue;
            }
            let until = now.tick.after(*length);
            let known = state
                .known_pauses
                .iter()
                .find(|(known, _)| known == subject);
            if known.is_some_and(|(_, known)| until <= known.after(super::SAME_PAUSE)) {
                continue;
            }
            state.known_pauses.retain(|(known, _)| known != subject);
            state.known_pauses.push((*subject, until));
            begun.push((keys, *subject, until));
        }
        begun
    }

    /// The store does not know this member, or not any more.
    fn rejoin(&mut self, now: Now, member: u32, call: Call, answer: &Answer) {
        let is_same = answer.born == call.born || answer.outcome == Outcome::Stale;
        self.restore(now, member, call);
        let Some(leases) = &mut self.leases else {
            return;
        };
        let state = leases.member_mut(member);
        state.join = match is_same {
            true => Join::Again,
            false => Join::Anew,
        };
        for id in state.cells.clone() {
            let (cell, kind) = self.table.cell_mut(id);
            if let Some(lease) = cell.lease.as_mut().filter(|_| is_same) {
                lease.void(now.tick, window_of(kind));
            }
        }
        if !is_same {
            self.tell_pauses_again(now, member);
            self.begin_apart(now, member, Apart::Lost);
        }
    }

    /// A new record knows nothing of the pauses that are in force.
    fn tell_pauses_again(&mut self, now: Now, member: u32) {
        let Some(leases) = &mut self.leases else {
            return;
        };
        let state = leases.member_mut(member);
        for (subject, until) in &state.known_pauses {
            if *until > now.tick && state.pauses.iter().all(|(other, _)| other != subject) {
                state.pauses.push((*subject, Some(*until)));
            }
        }
    }

    /// The store has not answered in time, so that nobody knows whether it has carried the call out. The same call is due again soon.
    pub fn unanswered(&mut self, now: Now, call: Call) {
        let now = self.advance(now);
        let Some(leases) = &mut self.leases else {
            return;
        };
        let Some(member) = leases.find(call.key) else {
            return;
        };
        let all_gone = leases.gone.is_some();
        let state = leases.member_mut(member);
        state.is_calling = false;
        state.failures += 1;
        if state.failures < MOST_FAILURES && !state.gone && !all_gone {
            state.again = Some(call);
            state.retry = now.tick;
        } else {
            let wait = RETRY.mul_f64(1.0 + fastrand::f64() / 4.0);
            state.retry = now.tick.after(wait);
            self.restore(now, member, call);
            self.begin_apart(now, member, Apart::Gone);
        }
        self.plan_call(now, member);
        self.pump(now, None);
    }

    /// What a call has told must be told again.
    pub(super) fn restore(&mut self, now: Now, member: u32, call: Call) {
        for limit in call.limits {
            let Some(id) = self.cell_of_limit(member, limit.limit) else {
                continue;
            };
            let (cell, _) = self.table.cell_mut(id);
            let Some(lease) = &mut cell.lease else {
                continue;
            };
            lease.asked = false;
            for settled in limit.settled {
                lease.tell_settled(now.tick, settled);
            }
            lease.told = lease.told.or(limit.told);
            lease.seen = lease.seen.or(limit.seen);
        }
        let Some(leases) = &mut self.leases else {
            return;
        };
        let pauses = &mut leases.member_mut(member).pauses;
        for (subject, length) in call.pauses {
            if pauses.iter().all(|(other, _)| *other != subject) {
                pauses.push((subject, length.map(|length| call.made.after(length))));
            }
        }
    }
}
