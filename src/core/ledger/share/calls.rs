//! Which calls to the store are due, and what they say.

use std::time::Duration;

use crate::core::cell::Cell;
use crate::core::keys::Keys;
use crate::core::kind::Kind;
use crate::core::lease::{Call, HORIZON, Join, LimitCall, Member, SharedRule, Slots};
use crate::core::ledger::Ledger;
use crate::core::place::CellId;
use crate::core::tick::{Now, Tick};

/// A pool's count is told after so long.
const TELL_POOL: Duration = Duration::from_secs(1);
/// A member that holds slots calls so often in the length of its lease.
const BEATS: u32 = 2;
/// One that only waits for some is remembered for two leases, and loses nothing if it comes too late: this part of a lease, in percent.
const LATEST: u32 = 160;
/// Of those who wait so many are counted.
const MOST_COUNTED: usize = 4_096;

/// The record that a member knows which knows none, and yet knows that the key may have been used.
pub(super) const ANY_BEFORE: u64 = 1;
/// For those who stand in line for something else so many slots are kept.
const MOST_ELSEWHERE: u32 = 4;

/// What those need who wait for a cell.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    needed: u32,
    missing: Slots,
}

impl Ledger {
    /// The calls to the store that are due, `most` at most. For each key one is under way at a time: hand every one of them back by
    /// [`answered`](Self::answered) or [`unanswered`](Self::unanswered).
    pub fn calls(&mut self, now: Now, most: usize) -> Vec<Call> {
        let now = self.advance(now);
        let mut calls = Vec::new();
        while calls.len() < most {
            let Some(leases) = &mut self.leases else {
                break;
            };
            let Some((_, member)) = leases.next().filter(|(due, _)| *due <= now.tick) else {
                break;
            };
            leases.set_due(member, Tick::NEVER);
            let call = match leases.member_mut(member).again.take() {
                Some(call) => Some(call),
                None => self.make_call(now, member),
            };
            let Some(leases) = &mut self.leases else {
                break;
            };
            match call {
                Some(call) => {
                    leases.member_mut(member).is_calling = true;
                    calls.push(call);
                }
                None => leases.end_if_idle(member),
            }
        }
        self.pump(now, None);
        calls
    }

    /// One last call for every key that tells what has become of the slots, and gives back all that are not used. Nothing can be asked
    /// afterwards.
    pub fn farewell(&mut self, now: Now) -> Vec<Call> {
        let now = self.advance(now);
        let Some(leases) = &mut self.leases else {
            return Vec::new();
        };
        let mut calls = Vec::new();
        for member in leases.all() {
            let state = self.leases.as_ref().map(|leases| leases.member(member));
            let is_away = |state: &Member| {
                state.gone
                    || state.is_calling
                    || state.again.is_some()
                    || state.join != Join::Member
            };
            if state.is_none_or(is_away) {
                continue;
            }
            if let Some(mut call) = self.make_call(now, member) {
                for limit in &mut call.limits {
                    (limit.want, limit.spare) = (Slots::default(), 0);
                    self.give_back_all(now, member, limit);
                }
                calls.push(call);
            }
        }
        calls
    }

    /// The last call of a member gives back what is leased and not in use.
    fn give_back_all(&mut self, now: Now, member: u32, said: &mut LimitCall) {
        let Some(id) = self.cell_of_limit(member, said.limit) else {
            return;
        };
        let (cell, kind) = self.table.cell_mut(id);
        let Some(lease) = &mut cell.lease else {
            return;
        };
        let idle = lease.idle().all();
        said.own = said.own.saturating_sub(idle);
        said.soon = said.soon.saturating_sub(idle);
        said.returned
            .add(lease.give_back(now.tick, 0, window_of(kind)));
        said.settled.append(&mut lease.settled);
    }

    /// When a member must say something next.
    pub(super) fn plan_call(&mut self, now: Now, member: u32) {
        let due = self.call_due(now, member);
        if let Some(leases) = &mut self.leases {
            leases.set_due(member, due);
        }
    }

    fn call_due(&mut self, now: Now, member: u32) -> Tick {
        let Some(leases) = &self.leases else {
            return Tick::NEVER;
        };
        let state = leases.member(member);
        if state.is_calling || leases.gone.is_some() {
            return Tick::NEVER;
        }
        if state.again.is_some() || state.gone {
            return state.retry;
        }
        let lease_time = leases.sharing.lease;
        let beat = state.answered.after(lease_time / BEATS);
        let latest = state.answered.after(lease_time * LATEST / 100);
        let answered = state.answered;
        let mut due = match state.pauses.is_empty() {
            true => Tick::NEVER,
            false => state.retry,
        };
        let must_join = state.join != Join::Member;
        let retry = state.retry;
        let paused_until = self.key_paused_until(now, member);
        let count = leases.member(member).cells.len();
        for nth in 0..count {
            let Some(id) = self.cell_of_member(member, nth) else {
                break;
            };
            let demand = self.demand(now, id, paused_until.is_some());
            let missing = !demand.missing.is_empty();
            let (cell, kind) = self.table.cell_mut(id);
            let window = window_of(kind);
            // What those who wait here need is not asked for before.
            let resumed = paused_until.max(cell.paused_until(now.tick));
            let resumed = resumed.filter(|_| cell.waiting() > 0);
            let Some(lease) = &mut cell.lease else {
                continue;
            };
            let idle = lease.idle();
            let mut when = resumed.unwrap_or(Tick::NEVER);
            if let Some(ask) = lease.appetite().due(missing, !idle.is_empty()) {
                when = ask.max(retry);
            }
            if lease.has_news() {
                // A slot may be leased to others so long before it is free.
                let tell = (window / HORIZON).min(lease_time / BEATS);
                when = when.min(lease.untold_since().after(tell));
            }
            if idle.all() > demand.needed {
                when = when.min(lease.give_back_at(answered));
            }
            let holds = !idle.is_empty() || !lease.in_use().is_empty();
            if holds {
                when = when.min(beat);
            } else if lease.appetite().is_waiting() {
                when = when.min(latest);
            }
            if holds && must_join {
                when = when.min(retry);
            }
            due = due.min(when);
        }
        due
    }

    fn cell_of_member(&self, member: u32, nth: usize) -> Option<CellId> {
        let leases = self.leases.as_ref()?;
        leases.member(member).cells.get(nth).copied()
    }

    /// Until when nobody may go under this key, whatever the limit.
    fn key_paused_until(&self, now: Now, member: u32) -> Option<Tick> {
        let leases = self.leases.as_ref()?;
        let key = leases.member(member).key;
        let keys = Keys {
            token: key,
            account: key,
        };
        let (_, until) = self.table.closed_gate(now.tick, &keys)?;
        Some(until)
    }

    /// How many slots those need who wait, and how many of them are not there yet.
    fn demand(&mut self, now: Now, id: CellId, is_paused: bool) -> Demand {
        let (cell, kind) = self.table.cell_mut(id);
        let Some(lease) = &cell.lease else {
            return Demand::default();
        };
        if is_paused || cell.paused_until(now.tick).is_some() {
            return Demand::default();
        }
        let reserved = match kind {
            Kind::Rolling(window) => window.has_reserve(),
            Kind::Pool(day) => day.reserve.of(day.quota) > 0,
            Kind::Gate => false,
        };
        let waiting = cell.waiting_in_lanes(MOST_COUNTED);
        // Permits and waiters name the cell once; those who stand in line here do once more.
        let here = cell.waiting().saturating_mul(2);
        let elsewhere = cell.refs.saturating_sub(lease.in_use().all());
        let elsewhere = elsewhere.saturating_sub(here).min(MOST_ELSEWHERE);
        let idle = lease.idle();
        let spare_bulk = idle.bulk.saturating_sub(waiting.bulk);
        let missing = match reserved {
            // All slots are alike: those of `Bulk` are good for both.
            false => Slots {
                bulk: waiting.all().saturating_sub(idle.all()),
                interactive: 0,
            },
            true => Slots {
                bulk: waiting.bulk.saturating_sub(idle.bulk),
                interactive: waiting
                    .interactive
                    .saturating_sub(idle.interactive)
                    .saturating_sub(spare_bulk),
            },
        };
        let needed = waiting.all().saturating_add(elsewhere);
        Demand { needed, missing }
    }

    /// What a member says now; `None` if it has nothing to say.
    fn make_call(&mut self, now: Now, member: u32) -> Option<Call> {
        self.renew_apart(now, member);
        let is_paused = self.key_paused_until(now, member).is_some();
        let leases = self.leases.as_mut()?;
        let (fleet, sharing) = (leases.fleet, leases.sharing);
        let unseen_since = leases.unseen_since(now.tick);
        let state = leases.member_mut(member);
        if let Some(since) = unseen_since.filter(|_| state.born == 0) {
            // The record must not be taken for a whole one.
            (state.born, state.answered, state.join) = (ANY_BEFORE, since, Join::Anew);
        }
        let (key, join, apart) = (state.key, state.join, state.apart);
        let answered = state.answered;
        let cells = state.cells.clone();
        let pauses = std::mem::take(&mut state.pauses);
        let mut limits = Vec::new();
        let mut has_reason = !pauses.is_empty();
        for id in cells {
            let Demand { needed, missing } = self.demand(now, id, is_paused);
            let first = self.first_window(id);
            let (cell, kind) = self.table.cell_mut(id);
            cell.expire(now, kind);
            let Some((rule, limit)) = shared_rule(cell, kind, first).zip(cell.limit()) else {
                continue;
            };
            let window = window_of(kind);
            let quota = kind.quota().unwrap_or_default();
            if join != Join::Member {
                cell.prepare_to_join(now.tick, join);
            }
            let (used, is_pool) = (cell.used(), matches!(kind, Kind::Pool(_)));
            let used_soon = cell.used_at(now.tick.after(sharing.horizon(window)), kind);
            let Some(lease) = &mut cell.lease else {
                continue;
            };
            let idle = lease.idle();
            has_reason |= !idle.is_empty()
                || !lease.in_use().is_empty()
                || lease.has_news()
                || lease.appetite().is_waiting();
            let want = lease.appetite_mut().want(missing, !idle.is_empty());
            let most = lease.appetite().most(fleet.count <= 1);
            let callers = want.all().saturating_add(lease.in_use().all());
            let mut spare = lease.appetite_mut().spare(now.tick, quota, callers);
            let mut returned = Slots::default();
            if want.is_empty() && now.tick >= lease.give_back_at(answered) {
                let keep = lease.appetite_mut().keep(now.tick, quota);
                returned = lease.give_back(now.tick, keep.max(needed), window);
            }
            if want.is_empty() {
                spare = 0;
            }
            has_reason |= !want.is_empty();
            let cap = apart.and_then(|_| lease.cap(now.tick));
            let left = lease.idle().all();
            limits.push(LimitCall {
                limit,
                rule,
                held: lease.in_use(),
                own: if is_pool {
                    0
                } else {
                    used.saturating_add(left)
                },
                soon: if is_pool {
                    0
                } else {
                    used_soon.saturating_add(left)
                },
                cap: cap.map(|cap| cap.saturating_sub(if is_pool { used } else { 0 })),
                want,
                most,
                spare: spare.saturating_sub(left),
                returned,
                settled: std::mem::take(&mut lease.settled),
                told: lease.told.take(),
                seen: lease.seen.take(),
            });
            lease.asked = true;
        }
        if !has_reason {
            self.no_call(member);
            return None;
        }
        let leases = self.leases.as_mut()?;
        let seq = leases.next_seq();
        let state = leases.member(member);
        let length = |until: Tick| until.since(now.tick);
        Some(Call {
            key,
            seq,
            last: state.last,
            answered: state.answered,
            born: state.born,
            join,
            cut_off: state.cut_off,
            made: now.tick,
            limits,
            pauses: pauses
                .into_iter()
                .map(|(subject, until)| (subject, until.map(length)))
                .collect(),
        })
    }

    fn no_call(&mut self, member: u32) {
        let Some(leases) = &self.leases else {
            return;
        };
        for id in leases.member(member).cells.clone() {
            if let Some(lease) = &mut self.table.cell_mut(id).0.lease {
                lease.asked = false;
            }
        }
    }

    fn first_window(&self, id: CellId) -> crate::plan::FirstWindow {
        let limit = self.table.cell(id).limit().unwrap_or_default();
        let first = self
            .leases
            .as_ref()
            .and_then(|leases| leases.first.get(limit));
        first.copied().unwrap_or_default()
    }
}

/// How long a slot cools; a pool's are told a little later.
pub(super) fn window_of(kind: &Kind) -> Duration {
    match kind {
        Kind::Rolling(window) => window.length,
        _ => TELL_POOL * HORIZON,
    }
}

fn shared_rule(
    cell: &mut Cell,
    kind: &Kind,
    first: crate::plan::FirstWindow,
) -> Option<SharedRule> {
    match kind {
        Kind::Rolling(window) => Some(SharedRule::Rolling {
            quota: window.quota,
            unreserved: window.unreserved(window.quota),
            window: window.length,
            first,
        }),
        Kind::Pool(_) => {
            let (pool, day) = cell.pool(kind)?;
            let reset = pool.reset();
            Some(SharedRule::Pool {
                quota: day.quota,
                unreserved: day.quota.saturating_sub(day.reserve.of(day.quota)),
                resets: [reset, day.zone.next_reset(reset)],
            })
        }
        Kind::Gate => None,
    }
}
