//! This process as a member of the records of all keys that it uses, and which of them has something to say next.

use std::collections::{BTreeSet, HashMap};

use slab::Slab;

use super::sharing::{Members, Sharing};
use super::wire::{Call, Join};
use crate::core::keys::Fingerprint;
use crate::core::place::{CellId, Subject};
use crate::core::tick::Tick;
use crate::plan::FirstWindow;

/// This process as a member of the record of one key.
#[derive(Debug)]
pub(in crate::core) struct Member {
    pub(in crate::core) key: Fingerprint,
    /// The cells of its limits.
    pub(in crate::core) cells: Vec<CellId>,
    /// Which record it knows, its last call that was answered, and when that was made.
    pub(in crate::core) born: u64,
    pub(in crate::core) last: u64,
    pub(in crate::core) answered: Tick,
    pub(in crate::core) join: Join,
    /// Whether a call is under way.
    pub(in crate::core) is_calling: bool,
    /// The call to be made again, because nobody knows whether it was carried out.
    pub(in crate::core) again: Option<Call>,
    /// How many calls in a row were not answered.
    pub(in crate::core) failures: u32,
    /// The store cannot be reached.
    pub(in crate::core) gone: bool,
    /// Since when it could not be reached, until the member has joined again.
    pub(in crate::core) cut_off: Option<Tick>,
    /// Since when the store has been gone, or its record may have lacked something.
    pub(in crate::core) apart: Option<Tick>,
    /// Not before then, after a failure.
    pub(in crate::core) retry: Tick,
    /// Pauses that the store must be told, and until when; `None` if one has been ended.
    pub(in crate::core) pauses: Vec<(Subject, Option<Tick>)>,
    /// Pauses that the store knows.
    pub(in crate::core) known_pauses: Vec<(Subject, Tick)>,
    due: Tick,
}

/// All memberships of this process.
#[derive(Debug)]
pub(in crate::core) struct Leases {
    pub(in crate::core) sharing: Sharing,
    /// How many processes there are.
    pub(in crate::core) fleet: Members,
    /// Since when the store cannot be reached by any call.
    pub(in crate::core) gone: Option<Tick>,
    /// From when to when that was so the last time.
    pub(in crate::core) outage: Option<(Tick, Tick)>,
    /// How each limit may be used while a record may lack something.
    pub(in crate::core) first: Vec<FirstWindow>,
    members: Slab<Member>,
    index: HashMap<Fingerprint, u32>,
    due: BTreeSet<(Tick, u32)>,
    seq: u64,
}

impl Leases {
    pub(in crate::core) fn new(sharing: Sharing, limits: usize) -> Self {
        Self {
            sharing,
            fleet: Members {
                count: 1,
                rank: 0,
                known: false,
            },
            gone: None,
            outage: None,
            first: vec![FirstWindow::Empty; limits],
            members: Slab::new(),
            index: HashMap::new(),
            due: BTreeSet::new(),
            seq: 0,
        }
    }

    /// Since when the store was gone, if others may have used a key meanwhile that its record says nothing of: they may after a
    /// lease, and have told of it a lease after the store is back.
    pub(in crate::core) fn unseen_since(&self, now: Tick) -> Option<Tick> {
        let (since, until) = self.outage?;
        let lease = self.sharing.lease;
        (until.since(since) > lease && now < until.after(lease)).then_some(since)
    }

    /// Finds the membership of a key or begins it.
    pub(in crate::core) fn enter(&mut self, now: Tick, key: Fingerprint) -> u32 {
        if let Some(member) = self.index.get(&key) {
            return *member;
        }
        let apart = self.gone.or_else(|| self.unseen_since(now));
        let member = self.members.insert(Member {
            key,
            cells: Vec::new(),
            born: 0,
            last: 0,
            answered: Tick::ZERO,
            join: Join::Again,
            is_calling: false,
            again: None,
            failures: 0,
            gone: self.gone.is_some(),
            cut_off: apart,
            apart,
            retry: Tick::ZERO,
            pauses: Vec::new(),
            known_pauses: Vec::new(),
            due: Tick::NEVER,
        });
        let member = u32::try_from(member).unwrap_or(u32::MAX);
        self.index.insert(key, member);
        member
    }

    pub(in crate::core) fn find(&self, key: Fingerprint) -> Option<u32> {
        self.index.get(&key).copied()
    }

    pub(in crate::core) fn member(&self, member: u32) -> &Member {
        &self.members[member as usize]
    }

    pub(in crate::core) fn member_mut(&mut self, member: u32) -> &mut Member {
        &mut self.members[member as usize]
    }

    pub(in crate::core) fn all(&self) -> Vec<u32> {
        self.members.iter().map(|(id, _)| id as u32).collect()
    }

    /// A cell has been forgotten; with the last one the membership is, too, unless there is something to say.
    pub(in crate::core) fn leave(&mut self, member: u32, cell: CellId) {
        let state = self.member_mut(member);
        state.cells.retain(|other| *other != cell);
        self.end_if_idle(member);
    }

    pub(in crate::core) fn end_if_idle(&mut self, member: u32) {
        let state = self.member(member);
        let has_news = state.is_calling || state.again.is_some() || !state.pauses.is_empty();
        if state.cells.is_empty() && !has_news {
            let state = self.members.remove(member as usize);
            self.index.remove(&state.key);
            self.due.remove(&(state.due, member));
        }
    }

    pub(in crate::core) fn set_due(&mut self, member: u32, due: Tick) {
        let state = &mut self.members[member as usize];
        let before = std::mem::replace(&mut state.due, due);
        if before == due {
            return;
        }
        self.due.remove(&(before, member));
        if due < Tick::NEVER {
            self.due.insert((due, member));
        }
    }

    /// Who must say something next, and when.
    pub(in crate::core) fn next(&self) -> Option<(Tick, u32)> {
        self.due.first().copied()
    }

    pub(in crate::core) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}
