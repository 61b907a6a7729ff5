//! What the ledger knows of one key under one limit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::distrust::Distrust;
use super::keys::Fingerprint;
use super::kind::Kind;
use super::learned::Learned;
use super::lease::{Join, Lease, Settled, Slots as LaneSlots};
use super::notice::Notice;
use super::place::Place;
use super::pool::{Day, Pool};
use super::queue::{Rank, WaiterId};
use super::rolling::Rolling;
use super::tick::{Now, Tick};
use super::told::ForeignUse;
use super::window::Window;
use crate::plan::Lane;

/// So many of `Interactive` may go before one of `Bulk` who waits for the same, so that nobody starves.
pub(super) const TURNS_OF_INTERACTIVE: u8 = 8;

/// One key under one limit, or the gate of a token or account.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) place: Place,
    pub(super) key: Fingerprint,
    /// Permits and waiters that name this cell; it is not evicted while there are any.
    pub(super) refs: u32,
    pub(super) slots: Slots,
    /// What a store lends, if slots are shared with other processes.
    pub(super) lease: Option<Box<Lease>>,
    /// Most cells never need these.
    rare: Option<Box<Rare>>,
}

#[derive(Debug)]
pub(super) enum Slots {
    Rolling(Rolling),
    Pool(Pool),
    Gate,
}

#[derive(Debug, Default)]
struct Rare {
    paused_until: Tick,
    queue: BTreeMap<Rank, WaiterId>,
    /// The pump in which the queue took part last.
    pump: u64,
    /// How many of `Interactive` have gone before those of `Bulk` who wait here.
    passed_over: u8,
    distrust: Distrust,
    learned: Learned,
}

/// What is known of when the server counted a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Credit {
    /// Nothing: it was refused, failed or given up.
    NoAnswer,
    /// So long before the answer arrived, at least.
    Time(Duration),
    /// The answer does not tell; a learned share of the round trip, and the network's floor.
    Share {
        round_trip: Duration,
        floor: Duration,
    },
}

/// What a response says of the limit of a cell, and about which request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    /// What the server allows, and how much of it is left.
    pub(super) quota: Option<u32>,
    pub(super) remaining: Option<u32>,
    pub(super) service_time: Option<Duration>,
    pub(super) refused: bool,
    /// When its slot was taken, and when it was sent.
    pub(super) taken: Tick,
    pub(super) sent: Tick,
}

impl Cell {
    pub(super) fn new(place: Place, key: Fingerprint, kind: &Kind) -> Self {
        let slots = match kind {
            Kind::Rolling(window) => Slots::Rolling(Rolling::new(window)),
            Kind::Pool { .. } => Slots::Pool(Pool::default()),
            Kind::Gate => Slots::Gate,
        };
        Self {
            place,
            key,
            refs: 0,
            slots,
            lease: None,
            rare: None,
        }
    }

    /// The position of its limit in the plan, if it is no gate.
    pub(super) fn limit(&self) -> Option<usize> {
        match self.place {
            Place::Limit(limit) => Some(usize::from(limit)),
            _ => None,
        }
    }

    /// From now on a store lends the slots, to this member of its record.
    pub(super) fn lease_from(&mut self, member: u32) {
        self.lease = Some(Box::new(Lease::new(member)));
    }

    /// The member is about to join a record that knows nothing of this cell, or not all.
    pub(super) fn prepare_to_join(&mut self, now: Tick, join: Join) {
        let history = (join == Join::Anew).then(|| match &self.slots {
            Slots::Rolling(slots) => slots.cooling().collect(),
            Slots::Pool(pool) => vec![Settled {
                anchor: now,
                slots: pool.over_today(),
            }],
            Slots::Gate => Vec::new(),
        });
        if let Some(lease) = &mut self.lease {
            lease.prepare_to_join(now, history);
        }
    }

    /// Whether the store is gone that lends the slots, and nobody may wait for it.
    pub(super) fn is_closed(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.is_closed())
    }

    /// Those who wait here, counted up to `most`.
    pub(super) fn waiting_in_lanes(&self, most: usize) -> LaneSlots {
        let Some(queue) = self.queue() else {
            return LaneSlots::default();
        };
        let interactive = queue.range(..Rank::FIRST_BULK).take(most).count();
        let bulk = queue.len().min(most).saturating_sub(interactive);
        LaneSlots {
            bulk: u32::try_from(bulk).unwrap_or(u32::MAX),
            interactive: u32::try_from(interactive).unwrap_or(u32::MAX),
        }
    }

    /// The pool and its rule, if it is one.
    pub(super) fn pool<'a>(&mut self, kind: &'a Kind) -> Option<(&mut Pool, &'a Day)> {
        match (&mut self.slots, kind) {
            (Slots::Pool(pool), Kind::Pool(day)) => Some((pool, day)),
            _ => None,
        }
    }

    /// What there is to tell when the cell is forgotten.
    pub(super) fn last_notice(&self, now: Tick) -> Option<Notice> {
        match (&self.slots, self.place) {
            (Slots::Pool(pool), Place::Limit(limit)) => {
                Some(Notice::new(limit, self.key, pool.last_event(now)?))
            }
            _ => None,
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn pause(&mut self, now: Tick, until: Tick, kind: &Kind) {
        let rare = self.rare();
        rare.paused_until = rare.paused_until.max(until);
        if let Some((pool, day)) = self.pool(kind) {
            pool.pause(now, day);
        }
    }

    pub(super) fn paused_until(&self, now: Tick) -> Option<Tick> {
        self.rare
            .as_ref()
            .map(|rare| rare.paused_until)
            .filter(|until| *until > now)
    }

    pub(super) fn end_pause(&mut self, now: Now, kind: &Kind) {
        self.shorten_pause(Tick::ZERO);
        if let Some((pool, day)) = self.pool(kind) {
            pool.reopen(now, day);
        }
    }

    /// A pause ends at `until` at the latest.
    pub(super) fn shorten_pause(&mut self, until: Tick) {
        if let Some(rare) = &mut self.rare {
            rare.paused_until = rare.paused_until.min(until);
        }
    }

    pub(super) fn expire(&mut self, now: Now, kind: &Kind) {
        match (&mut self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.expire(now.tick, window),
            (Slots::Pool(pool), Kind::Pool(day)) => pool.expire(now, day),
            _ => {}
        }
    }

    /// Slots that somebody of this lane may take now; none while paused.
    pub(super) fn free(&self, now: Tick, kind: &Kind, lane: Lane) -> u32 {
        if self.paused_until(now).is_some() {
            return 0;
        }
        let free = match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.free(now, window, lane),
            (Slots::Pool(pool), Kind::Pool(day)) => pool.free(now, day, lane),
            _ => u32::MAX,
        };
        match &self.lease {
            Some(lease) if free > 0 => free.min(lease.free(now, lane, self.used())),
            _ => free,
        }
    }

    pub(super) fn used(&self) -> u32 {
        match &self.slots {
            Slots::Rolling(slots) => slots.used(),
            Slots::Pool(pool) => pool.own(),
            Slots::Gate => 0,
        }
    }

    /// What will be used at `at` of what is used now, at most.
    pub(super) fn used_at(&self, at: Tick, kind: &Kind) -> u32 {
        match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.used_at(at, window),
            _ => self.used(),
        }
    }

    /// When something may change for the head of the queue; `None` when only a response can tell.
    pub(super) fn next_event(&self, now: Now, kind: &Kind) -> Option<Tick> {
        if let Some(until) = self.paused_until(now.tick) {
            return Some(until);
        }
        let by_itself = match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.next_release(now.tick, window),
            (Slots::Pool(pool), Kind::Pool(_)) => Some(pool.next_event(now)),
            _ => None,
        };
        let Some(lease) = &self.lease else {
            return by_itself;
        };
        // What is leased does not become free here.
        let by_itself = by_itself.filter(|_| lease.is_apart() || matches!(kind, Kind::Pool(_)));
        [by_itself, lease.next_event(now.tick)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether there is a slot for the one of this rank, and for all before it.
    pub(super) fn has_slot_for(&self, now: Tick, kind: &Kind, rank: Rank) -> bool {
        let free = self.free(now, kind, Lane::Interactive);
        if free <= self.seniors(rank, free) {
            return false;
        }
        rank.lane() == Lane::Interactive || self.has_slot_in_lane(now, kind, rank)
    }

    /// Whether there is a slot for the one of this rank, and for those of its lane before it.
    pub(super) fn has_slot_in_lane(&self, now: Tick, kind: &Kind, rank: Rank) -> bool {
        let free = self.free(now, kind, rank.lane());
        free > self.seniors_in_lane(rank, free)
    }

    /// The earliest time at which the one of this rank can go. A lower bound.
    pub(super) fn earliest(&self, now: Now, kind: &Kind, rank: Rank) -> Tick {
        let in_lane = self.seniors_in_lane(rank, u32::MAX);
        // Of the other lane at most so many go before it as have their turns.
        let turns = in_lane.saturating_mul(u32::from(TURNS_OF_INTERACTIVE));
        let others = self.seniors(rank, u32::MAX) - in_lane;
        let wanted = in_lane.saturating_add(others.min(turns)).saturating_add(1);
        let in_lane = in_lane.saturating_add(1);
        let lane = rank.lane();
        let by_slots = match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => {
                let all = slots.earliest(now.tick, window, wanted);
                match lane {
                    Lane::Bulk if window.has_reserve() => {
                        all.max(slots.earliest_unreserved(now.tick, window, in_lane))
                    }
                    _ => all,
                }
            }
            (Slots::Pool(pool), Kind::Pool(day)) => pool.earliest(now, day, lane, in_lane),
            _ => now.tick,
        };
        self.paused_until(now.tick)
            .map_or(by_slots, |until| until.max(by_slots))
    }

    /// What there is to tell is added to `news`.
    pub(super) fn take(&mut self, now: Now, kind: &Kind, lane: Lane, news: &mut Vec<Notice>) {
        match (&mut self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.take(now.tick, window, lane),
            (Slots::Pool(pool), Kind::Pool(day)) => {
                let events = pool.take(now, day, lane);
                if let Place::Limit(limit) = self.place {
                    let events = events.into_iter().flatten();
                    news.extend(events.map(|event| Notice::new(limit, self.key, event)));
                }
            }
            _ => {}
        }
        if let Some(lease) = &mut self.lease {
            lease.take(now.tick, lane);
        }
        if let Some(rare) = &mut self.rare {
            rare.passed_over = match lane {
                Lane::Interactive if rare.first_bulk().is_some() => {
                    rare.passed_over.saturating_add(1)
                }
                _ => 0,
            };
        }
    }

    /// Who of `Bulk` goes next because enough of `Interactive` have gone before him.
    pub(super) fn passed_over(&self) -> Option<(Rank, WaiterId)> {
        let rare = self.rare.as_ref()?;
        if rare.passed_over < TURNS_OF_INTERACTIVE {
            return None;
        }
        rare.first_bulk()
    }

    /// `taken` is when the slot was, `granted` when its owner was told.
    pub(super) fn refund(&mut self, now: Tick, taken: Tick, granted: Tick, lane: Lane) {
        if let Some(lease) = &mut self.lease {
            lease.refund(now, lane);
        }
        match &mut self.slots {
            Slots::Rolling(slots) => slots.refund(taken, lane),
            Slots::Pool(pool) => {
                pool.refund(granted, lane);
            }
            Slots::Gate => {}
        }
    }

    /// The request of a held slot was counted by the server between `earliest` and `latest`; `credit` of that time is
    /// explained by what the response said, if it is an answer. Gives whether others may go now who had to wait for this one.
    pub(super) fn cool(
        &mut self,
        now: Now,
        earliest: Tick,
        latest: Tick,
        credit: Credit,
        lane: Lane,
        kind: &Kind,
    ) -> bool {
        let distrust = self.rare.as_ref().map(|rare| rare.distrust);
        match (&mut self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => {
                let credit = match credit {
                    Credit::NoAnswer => Duration::ZERO,
                    Credit::Time(time) => {
                        distrust.map_or(time, |distrust| distrust.reduce(time, latest, window))
                    }
                    Credit::Share { round_trip, floor } => {
                        let rare = self.rare.get_or_insert_default();
                        floor + rare.learned.credit(latest, round_trip, window)
                    }
                };
                let anchor = latest.before(credit).max(earliest);
                slots.cool(anchor, window, lane);
                if let Some(lease) = &mut self.lease {
                    lease.settle(now.tick, anchor, lane);
                }
                // Who had to wait for responses may go all the more when this one lets the others be forgotten.
                let waits = slots.waits_for_responses(now.tick, window);
                slots.answered(now.tick);
                waits
            }
            (Slots::Pool(pool), Kind::Pool(day)) => {
                // The day must not begin after the request is over: it may have been counted in it.
                pool.expire(now, day);
                if let Some(lease) = &mut self.lease {
                    lease.settle(now.tick, latest, lane);
                }
                let latest = now.wall + latest.since(now.tick);
                pool.settle(earliest, latest, !matches!(credit, Credit::NoAnswer))
            }
            _ => false,
        }
    }

    /// A response says something of the limit. `expired` of our slots have been forgotten since its request was granted.
    pub(super) fn observe(
        &mut self,
        now: Tick,
        kind: &Kind,
        seen: &Observation,
        expired: u32,
    ) -> Option<ForeignUse> {
        match (&mut self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => {
                let Some(lease) = &mut self.lease else {
                    return slots.observe(now, window, seen, expired);
                };
                // What the other processes use is not foreign; only the store can tell.
                if let Some(quota) = seen.quota {
                    slots.hear_quota(window, quota, seen.sent);
                    if quota < window.quota {
                        lease.tell_quota(now, quota, seen.sent);
                    }
                }
                if let Some(left) = seen.remaining {
                    let quota = seen.quota.unwrap_or(slots.quota(window));
                    let used = quota.min(window.quota).saturating_sub(left);
                    lease.tell_use(now, used, seen.taken);
                }
                None
            }
            _ => None,
        }
    }

    /// About how many requests of others are in the window or day.
    pub(super) fn used_by_foreign(&self, now: Tick, kind: &Kind) -> u32 {
        match (&self.slots, kind) {
            (Slots::Rolling(slots), _) => slots.used_by_foreign(now),
            (Slots::Pool(pool), Kind::Pool(day)) => pool.foreign(day),
            _ => 0,
        }
    }

    /// The share of the quota that others are known to use.
    pub(super) fn foreign_share(&self, now: Tick, kind: &Kind) -> Option<f64> {
        match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.foreign_share(now, window),
            _ => None,
        }
    }

    /// Whether a refusal is no surprise, because others use the limit too.
    pub(super) fn explains_refusals(&self, now: Tick, kind: &Kind) -> bool {
        let is_shared_with_others = self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.explains_refusals(now));
        match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => {
                is_shared_with_others || slots.explains_refusals(now, window)
            }
            _ => false,
        }
    }

    /// Requests per window or day: what the plan says, or the server if that is less.
    pub(super) fn quota(&self, kind: &Kind) -> Option<u32> {
        match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => Some(slots.quota(window)),
            (Slots::Pool(pool), Kind::Pool(day)) => Some(pool.quota(day)),
            _ => kind.quota(),
        }
    }

    /// The rule of the limit has changed.
    pub(super) fn change_rule(&mut self, now: Now, kind: &Kind) {
        if let Some((pool, day)) = self.pool(kind) {
            pool.change_rule(now, day);
        }
    }

    /// Halves the share of the service time that is credited; gives the new share, in percent.
    pub(super) fn distrust(&mut self, now: Tick, window: &Window) -> u32 {
        let rare = self.rare();
        rare.learned.refused(now, window);
        rare.distrust.halve(now, window)
    }

    pub(super) fn queue(&self) -> Option<&BTreeMap<Rank, WaiterId>> {
        self.rare.as_ref().map(|rare| &rare.queue)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.queue()
            .map_or(0, |queue| u32::try_from(queue.len()).unwrap_or(u32::MAX))
    }

    /// How many waiters come before `rank`, counted up to `most`.
    pub(super) fn seniors(&self, rank: Rank, most: u32) -> u32 {
        let Some(queue) = self.queue().filter(|queue| !queue.is_empty()) else {
            return 0;
        };
        match queue.last_key_value() {
            Some((last, _)) if *last < rank => self.waiting(),
            _ => queue.range(..rank).take(most as usize).count() as u32,
        }
    }

    /// The same, of those in its own lane.
    pub(super) fn seniors_in_lane(&self, rank: Rank, most: u32) -> u32 {
        let Some(queue) = self.queue().filter(|queue| !queue.is_empty()) else {
            return 0;
        };
        let has_others =
            || matches!(queue.first_key_value(), Some((first, _)) if *first < Rank::FIRST_BULK);
        if rank.lane() == Lane::Interactive || !has_others() {
            return self.seniors(rank, most);
        }
        let in_lane = queue.range(Rank::FIRST_BULK..rank);
        in_lane.take(most as usize).count() as u32
    }

    pub(super) fn enqueue(&mut self, rank: Rank, waiter: WaiterId) {
        self.rare().queue.insert(rank, waiter);
    }

    pub(super) fn dequeue(&mut self, rank: Rank) {
        if let Some(rare) = &mut self.rare {
            rare.queue.remove(&rank);
        }
    }

    /// Whether anybody waits here and the queue does not take part in this pump yet; from now on it does.
    pub(super) fn join_pump(&mut self, pump: u64) -> bool {
        match &mut self.rare {
            Some(rare) if !rare.queue.is_empty() => std::mem::replace(&mut rare.pump, pump) != pump,
            _ => false,
        }
    }

    /// Whether a fresh cell would behave the same, so that this one can be forgotten.
    pub(super) fn is_blank(&mut self, now: Now, kind: &Kind) -> bool {
        if self.refs > 0 || self.lease.as_ref().is_some_and(|lease| !lease.is_blank()) {
            return false;
        }
        self.expire(now, kind);
        let slots_blank = match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.is_blank(now.tick, window),
            (Slots::Pool(pool), Kind::Pool(day)) => pool.is_blank(now, day),
            _ => true,
        };
        slots_blank
            && self.rare.as_ref().is_none_or(|rare| {
                rare.paused_until <= now.tick
                    && rare.queue.is_empty()
                    && rare.distrust.is_over(now.tick, kind)
            })
    }
}

impl Rare {
    fn first_bulk(&self) -> Option<(Rank, WaiterId)> {
        let (rank, waiter) = self.queue.range(Rank::FIRST_BULK..).next()?;
        Some((*rank, waiter.again()))
    }
}
