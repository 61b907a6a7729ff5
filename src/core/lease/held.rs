//! What one cell has from the store: leased slots, and what is to be told of those it had.

use std::collections::VecDeque;
use std::time::Duration;

use super::ask::Appetite;
use super::wire::{Granted, Seen, Settled, Slots};
use crate::core::tick::Tick;
use crate::plan::Lane;

/// So many settled slots are told one by one; of more, two and two are told as if they were as late as the later, the oldest ones most
/// often. So of those that are still in the window few are told as later than they are, however long the store is gone.
const MOST_SETTLED: usize = 256;
/// So many answers are remembered, to know what had expired when a request was granted.
const ANSWERS: usize = 16;

/// How a cell gets its slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) enum Gate {
    /// The store lends them.
    #[default]
    Leased,
    /// The member is about to join the record again, and what it holds must not change.
    Joining,
    /// The store is gone, and a [`Share`] of the limit may be used.
    Share,
    /// The store is gone, and the whole quota may be used.
    Open,
    /// The store is gone, and nothing may be used.
    Closed,
}

/// A member's part of a limit while the store is gone or its record may lack something.
///
/// At first no more than it had, so that those who had more can shrink to theirs; then its share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::core) struct Share {
    /// Slots that nobody else can have.
    pub(in crate::core) at_first: u32,
    /// Slots that it had leased, and from when on they are free.
    pub(in crate::core) later: Vec<(Tick, u32)>,
    /// No more than this before `grows`, and `then` from then on.
    pub(in crate::core) most: u32,
    pub(in crate::core) then: u32,
    pub(in crate::core) grows: Tick,
}

impl Share {
    pub(in crate::core) fn at(&self, now: Tick) -> u32 {
        if now >= self.grows {
            return self.then;
        }
        let ready = self.later.iter().filter(|(at, _)| *at <= now);
        let had = ready.fold(self.at_first, |sum, (_, slots)| sum.saturating_add(*slots));
        had.min(self.most)
    }

    /// When it becomes more.
    fn next(&self, now: Tick) -> Option<Tick> {
        let later = self.later.iter().map(|(at, _)| *at);
        later.chain([self.grows]).filter(|at| *at > now).min()
    }
}

/// Slots that are leased and not in use.
#[derive(Clone, Copy, Debug)]
struct Idle {
    /// From then on they may be used.
    ready: Tick,
    slots: Slots,
}

/// What one cell has from the store.
#[derive(Debug)]
pub(in crate::core) struct Lease {
    /// The member of the record of the cell's key.
    pub(in crate::core) member: u32,
    pub(in crate::core) gate: Gate,
    /// Sorted by when they may be used.
    idle: VecDeque<Idle>,
    /// No idle slot may be used from then on.
    pub(in crate::core) ends: Tick,
    /// Slots of requests in flight, as the store knows them.
    in_use: Slots,
    /// What the store does not know yet.
    pub(in crate::core) settled: Vec<Settled>,
    pub(in crate::core) told: Option<(u32, Tick)>,
    pub(in crate::core) seen: Option<Seen>,
    /// When the first of it was.
    pub(in crate::core) untold_since: Tick,
    /// When each answer came, and how many slots of the record had expired by then.
    expired: VecDeque<(Tick, u64)>,
    /// Whether a call is under way that tells of this cell.
    pub(in crate::core) asked: bool,
    /// While the store is gone, or its record may lack something.
    pub(in crate::core) share: Option<Share>,
    /// Until when others, who are no members, are known to use the limit.
    pub(in crate::core) foreign_until: Tick,
    /// Of a pool, what was left for all by the last answer.
    pub(in crate::core) left: Option<u32>,
    pub(in crate::core) appetite: Appetite,
}

impl Lease {
    pub(in crate::core) fn new(member: u32) -> Self {
        Self {
            member,
            gate: Gate::Leased,
            idle: VecDeque::new(),
            ends: Tick::ZERO,
            in_use: Slots::default(),
            settled: Vec::new(),
            told: None,
            seen: None,
            untold_since: Tick::ZERO,
            expired: VecDeque::new(),
            asked: false,
            share: None,
            foreign_until: Tick::ZERO,
            left: None,
            appetite: Appetite::default(),
        }
    }

    pub(in crate::core) fn member(&self) -> u32 {
        self.member
    }

    pub(in crate::core) fn appetite(&self) -> &Appetite {
        &self.appetite
    }

    pub(in crate::core) fn appetite_mut(&mut self) -> &mut Appetite {
        &mut self.appetite
    }

    /// When the first of what is to be told happened.
    pub(in crate::core) fn untold_since(&self) -> Tick {
        self.untold_since
    }

    pub(in crate::core) fn begin_apart(&mut self, share: Share) {
        self.share = Some(share);
    }

    /// How many processes there are has changed, and with it the part of a rolling limit.
    pub(in crate::core) fn set_part(&mut self, part: u32) {
        if let Some(share) = &mut self.share {
            (share.most, share.then) = (part, part);
        }
    }

    pub(in crate::core) fn end_apart(&mut self) {
        self.share = None;
    }

    /// The member is about to join the record again. `history` is all that it knows, if the record knows nothing.
    pub(in crate::core) fn prepare_to_join(&mut self, now: Tick, history: Option<Vec<Settled>>) {
        self.gate = Gate::Joining;
        self.idle.clear();
        self.expired.clear();
        self.seen = None;
        if let Some(history) = history {
            self.settled.clear();
            for settled in history {
                self.tell_settled(now, settled);
            }
        }
    }

    /// Slots that somebody of this lane may take now, when `used` are in the window.
    pub(in crate::core) fn free(&self, now: Tick, lane: Lane, used: u32) -> u32 {
        match self.gate {
            Gate::Leased => self.ready(now, lane),
            Gate::Joining | Gate::Closed => 0,
            Gate::Share => self.cap(now).unwrap_or(0).saturating_sub(used),
            Gate::Open => u32::MAX,
        }
    }

    fn ready(&self, now: Tick, lane: Lane) -> u32 {
        if now >= self.ends {
            return 0;
        }
        let ready = self.idle.iter().take_while(|idle| idle.ready <= now);
        ready.fold(0, |sum, idle| sum + usable(idle.slots, lane))
    }

    /// When something changes by itself: a slot becomes ready, or the share grows.
    pub(in crate::core) fn next_event(&self, now: Tick) -> Option<Tick> {
        match self.gate {
            Gate::Leased => {
                let mut ready = self.idle.iter().map(|idle| idle.ready);
                // Whoever waits beside slots that are ready waits for something else.
                let next = ready.find(|ready| *ready > now);
                next.filter(|next| *next < self.ends)
            }
            Gate::Share => self.share.as_ref().and_then(|share| share.next(now)),
            _ => None,
        }
    }

    /// The member's part of the limit, where it may not have more.
    pub(in crate::core) fn cap(&self, now: Tick) -> Option<u32> {
        self.share.as_ref().map(|share| share.at(now))
    }

    /// Whether what is free does not depend on the store.
    pub(in crate::core) fn is_apart(&self) -> bool {
        self.gate != Gate::Leased && self.share.is_some()
    }

    /// Whether nothing of this lane may go, and nobody may wait for it either.
    pub(in crate::core) fn is_closed(&self) -> bool {
        self.gate == Gate::Closed
    }

    /// All slots that are leased and not in use, ready or not.
    pub(in crate::core) fn idle(&self) -> Slots {
        let mut sum = Slots::default();
        for idle in &self.idle {
            sum.add(idle.slots);
        }
        sum
    }

    pub(in crate::core) fn in_use(&self) -> Slots {
        self.in_use
    }

    /// When idle slots that nobody waits for should be given back, if the store was asked last at `asked`.
    pub(in crate::core) fn give_back_at(&self, asked: Tick) -> Tick {
        let ready = self.idle.front().map(|idle| idle.ready);
        self.appetite.give_back_at(asked, ready)
    }

    /// When the last leased slot is ready.
    pub(in crate::core) fn last_ready(&self) -> Option<Tick> {
        self.idle.back().map(|idle| idle.ready)
    }

    pub(in crate::core) fn take(&mut self, now: Tick, lane: Lane) {
        self.appetite.took(now);
        let mut used = lane;
        if self.gate == Gate::Leased {
            let has = |idle: &Idle| usable(idle.slots, lane) > 0;
            if let Some(at) = self.idle.iter().position(has) {
                let idle = &mut self.idle[at];
                if idle.slots.of_lane(lane) == 0 {
                    used = Lane::Bulk;
                }
                idle.slots.remove(Slots::of(used, 1));
                if idle.slots.is_empty() {
                    self.idle.remove(at);
                }
            }
        }
        self.in_use.add(Slots::of(used, 1));
    }

    /// A request of this lane uses its slot no longer. Gives as what the store knows it.
    fn let_go(&mut self, lane: Lane) -> Slots {
        let other = match lane {
            Lane::Bulk => Lane::Interactive,
            Lane::Interactive => Lane::Bulk,
        };
        let lane = match self.in_use.of_lane(lane) {
            0 => other,
            _ => lane,
        };
        let slot = Slots::of(lane, 1);
        self.in_use.remove(slot);
        slot
    }

    /// A slot whose request was never sent can be used again.
    pub(in crate::core) fn refund(&mut self, now: Tick, lane: Lane) {
        let slots = self.let_go(lane);
        if matches!(self.gate, Gate::Leased | Gate::Joining) {
            self.put(Idle { ready: now, slots });
        }
    }

    fn put(&mut self, idle: Idle) {
        let after = self.idle.partition_point(|other| other.ready <= idle.ready);
        match after
            .checked_sub(1)
            .and_then(|before| self.idle.get_mut(before))
        {
            Some(before) if before.ready == idle.ready => before.slots.add(idle.slots),
            _ => self.idle.insert(after, idle),
        }
    }

    /// The server counted the request of a slot at `anchor` at the latest.
    pub(in crate::core) fn settle(&mut self, now: Tick, anchor: Tick, lane: Lane) {
        let slots = self.let_go(lane);
        self.tell_settled(now, Settled { anchor, slots });
    }

    pub(in crate::core) fn tell_settled(&mut self, now: Tick, settled: Settled) {
        self.touch(now);
        match self.settled.last_mut() {
            Some(last) if last.anchor == settled.anchor => last.slots.add(settled.slots),
            _ => {
                if self.settled.len() >= MOST_SETTLED {
                    self.join_settled();
                }
                self.settled.push(settled);
            }
        }
    }

    fn join_settled(&mut self) {
        self.settled.sort_unstable_by_key(|settled| settled.anchor);
        let pairs = self.settled.chunks(2).map(|pair| {
            let mut slots = Slots::default();
            pair.iter().for_each(|settled| slots.add(settled.slots));
            let anchor = pair[pair.len() - 1].anchor;
            Settled { anchor, slots }
        });
        self.settled = pairs.collect();
    }

    fn touch(&mut self, now: Tick) {
        if !self.has_news() {
            self.untold_since = now;
        }
    }

    /// Whether there is something to tell the store.
    pub(in crate::core) fn has_news(&self) -> bool {
        !self.settled.is_empty() || self.told.is_some() || self.seen.is_some()
    }

    /// The server says what it allows; the response to the request that was sent last knows best.
    pub(in crate::core) fn tell_quota(&mut self, now: Tick, quota: u32, sent: Tick) {
        if self.told.is_none_or(|(_, before)| before <= sent) {
            self.touch(now);
            self.told = Some((quota, sent));
        }
    }

    /// The server says how far the limit is used; the request was granted at `taken`.
    pub(in crate::core) fn tell_use(&mut self, now: Tick, used: u32, taken: Tick) {
        let before = self.expired.iter().rev().find(|(at, _)| *at <= taken);
        let Some((_, expired)) = before.copied() else {
            return;
        };
        self.touch(now);
        self.seen = Some(Seen {
            used,
            expired,
            arrived: now,
        });
    }

    pub(in crate::core) fn note_expired(&mut self, now: Tick, expired: u64) {
        if self.expired.len() == ANSWERS {
            self.expired.pop_front();
        }
        self.expired.push_back((now, expired));
    }

    pub(in crate::core) fn grant(&mut self, now: Tick, granted: &[Granted]) {
        for Granted { ready_in, slots } in granted {
            self.put(Idle {
                ready: now.after(*ready_in),
                slots: *slots,
            });
        }
    }

    /// Gives back idle slots beyond `keep`, those that are ready last first: those that are ready now, and those that cool.
    pub(in crate::core) fn give_back(&mut self, now: Tick, keep: u32, window: Duration) -> Slots {
        let mut ready = Slots::default();
        let mut excess = self.idle().all().saturating_sub(keep);
        while excess > 0 {
            let Some(last) = self.idle.back_mut() else {
                break;
            };
            let slots = last.slots.split(excess);
            let at = last.ready;
            if last.slots.is_empty() {
                self.idle.pop_back();
            }
            excess -= slots.all();
            if at <= now {
                ready.add(slots);
            } else {
                self.tell_cooling(now, at, slots, window);
            }
        }
        ready
    }

    /// Whether a refusal is no surprise: others use the limit, or the store's record may lack something.
    pub(in crate::core) fn explains_refusals(&self, now: Tick) -> bool {
        self.foreign_until > now || self.share.is_some()
    }

    /// All idle slots, and from when on they may be used; none when the lease has ended.
    pub(in crate::core) fn idle_by_time(&self, now: Tick) -> Vec<(Tick, u32)> {
        let idle = self.idle.iter().filter(|_| now < self.ends);
        idle.map(|idle| (idle.ready, idle.slots.all())).collect()
    }

    /// All idle slots are given up. Those that are not free yet cool on, whatever the record says when the member comes back: it
    /// would take them for free.
    pub(in crate::core) fn void(&mut self, now: Tick, window: Duration) {
        for Idle { ready, slots } in std::mem::take(&mut self.idle) {
            if ready > now {
                self.tell_cooling(now, ready, slots, window);
            }
        }
    }

    /// Leased slots are given up that are free at `ready` and not before, as if their requests had been counted one window
    /// earlier.
    fn tell_cooling(&mut self, now: Tick, ready: Tick, slots: Slots, window: Duration) {
        let anchor = ready.before(window);
        self.tell_settled(now, Settled { anchor, slots });
    }

    /// Whether the store could take the cell for a new one.
    pub(in crate::core) fn is_blank(&self) -> bool {
        self.idle.is_empty()
            && self.in_use.is_empty()
            && !self.asked
            && !self.has_news()
            && !self.appetite.is_waiting()
    }
}

/// `Interactive` may use the slots of both lanes.
fn usable(slots: Slots, lane: Lane) -> u32 {
    match lane {
        Lane::Bulk => slots.bulk,
        Lane::Interactive => slots.all(),
    }
}
