//! The way to the store and back.

use super::super::*;
use super::events::Event;
use super::world::World;
use crate::core::lease::Call;
use crate::redis::members::{self, Beat};

/// A call is given up after so long.
const BOUND: u64 = 250 * MS;

impl World {
    pub(super) fn send_call(&mut self, process: usize, call: Call) {
        self.outcome.calls += 1;
        let up = self.spread(MS);
        let is_lost = self.loses(process, call.seq);
        let now = self.now;
        let sharing = self.store.sharing;
        let names = self.store.names.clone();
        let Some(state) = self.with(process) else {
            return;
        };
        let local = tick(state.local(now));
        let arguments = arguments(&call, &state.name, &sharing, &names, local);
        let (seq, key) = (call.seq, call.key);
        state.calls.insert(seq, call);
        if !is_lost {
            self.after(
                up,
                Event::Call {
                    process,
                    seq,
                    key,
                    arguments,
                },
            );
        }
        self.after(BOUND, Event::CallLost { process, seq });
    }

    /// Whether a call or its answer is lost. Not when it is made again: then the store would be gone for one process alone.
    fn loses(&mut self, process: usize, seq: u64) -> bool {
        let is_lost = self.chance(self.plan.lost / 2.0);
        is_lost && self.lost.insert((process, seq))
    }

    /// A call reaches the store.
    pub(super) fn carry(
        &mut self,
        process: usize,
        seq: u64,
        key: Fingerprint,
        arguments: Vec<Vec<u8>>,
    ) {
        if self.now < self.gone_until {
            if self.plan.freezes {
                let time = self.gone_until - self.now;
                self.after(
                    time,
                    Event::Call {
                        process,
                        seq,
                        key,
                        arguments,
                    },
                );
            }
            return;
        }
        self.store.key = key;
        let value = self.store.run(self.now, &arguments).unwrap();
        if !self.loses(process, seq) {
            let down = self.spread(MS);
            self.after(
                down,
                Event::Answer {
                    process,
                    seq,
                    value,
                },
            );
        }
    }

    pub(super) fn answer(&mut self, process: usize, seq: u64, value: Value) {
        let now = self.now;
        let is_cut_off = now < self.gone_until;
        let names = self.store.names.clone();
        let Some(state) = self.with(process).filter(|_| !is_cut_off) else {
            return;
        };
        if let Some(call) = state.calls.remove(&seq) {
            let answer = answer(value, &call, &names).unwrap();
            let at = state.now(now);
            state.doubts &= state.gone;
            state.lives_at = now;
            let pauses = state.ledger.answered(at, call, answer);
            for (keys, subject, until) in pauses {
                state.ledger.pause(at, keys, subject, until);
            }
        }
        self.look(process);
    }

    pub(super) fn beat(&mut self, process: usize) {
        let up = self.spread(MS);
        let is_lost = self.now < self.gone_until;
        let (now, lease) = (self.now, self.store.sharing.lease);
        let Some(state) = self.with(process).filter(|state| !state.beats) else {
            return;
        };
        state.beats = true;
        state.next_beat = now + us(lease);
        if is_lost {
            return self.after(BOUND, Event::BeatLost { process });
        }
        let name = state.name.clone();
        let arguments = members::arguments(&name, lease, state.membership.joined, false);
        let record = members::record(&self.store.prefix);
        let value = self
            .store
            .run_script(now + up, &self.beat, &record, &arguments)
            .unwrap();
        self.after(2 * up, Event::BeatOver { process, value });
    }

    pub(super) fn beat_over(&mut self, process: usize, value: Value) {
        let now = self.now;
        let Some(state) = self.with(process) else {
            return;
        };
        state.beats = false;
        state.doubts = false;
        let at = state.now(now);
        let beat = Beat::read(value).unwrap();
        if let Some(members) = state.membership.hear(&beat) {
            state.ledger.set_members(at, members);
        }
        if std::mem::take(&mut state.gone) {
            state.ledger.store_back(at);
            self.note(format!("the store is back for process {process}"));
        }
        self.look(process);
    }
}
