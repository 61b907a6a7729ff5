//! What the ledger knows of one key under one limit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::Fingerprint;
use super::kind::Kind;
use super::place::Place;
use super::pool::Pool;
use super::queue::WaiterId;
use super::rolling::{Rolling, Window};
use super::tick::{Now, Tick};

/// One key under one limit, or the gate of a token or account.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) place: Place,
    pub(super) key: Fingerprint,
    /// Permits and waiters that name this cell; it is not evicted while there are any.
    pub(super) refs: u32,
    pub(super) slots: Slots,
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
    /// By age: the sequence number of the admission.
    queue: BTreeMap<u64, WaiterId>,
    /// The pump in which the queue took part last.
    pump: u64,
    distrust: Distrust,
}

impl Cell {
    pub(super) fn new(place: Place, key: Fingerprint, kind: &Kind) -> Self {
        let slots = match kind {
            Kind::Rolling(_) => Slots::Rolling(Rolling::default()),
            Kind::Pool { .. } => Slots::Pool(Pool::default()),
            Kind::Gate => Slots::Gate,
        };
        Self {
            place,
            key,
            refs: 0,
            slots,
            rare: None,
        }
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn pause(&mut self, now: Tick, until: Tick, kind: &Kind) {
        let rare = self.rare();
        rare.paused_until = rare.paused_until.max(until);
        if let (Slots::Pool(pool), Kind::Pool { zone, .. }) = (&mut self.slots, kind) {
            pool.pause(now, zone);
        }
    }

    pub(super) fn paused_until(&self, now: Tick) -> Option<Tick> {
        self.rare
            .as_ref()
            .map(|rare| rare.paused_until)
            .filter(|until| *until > now)
    }

    pub(super) fn end_pause(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.paused_until = Tick::ZERO;
        }
    }

    pub(super) fn expire(&mut self, now: Now, kind: &Kind) {
        match (&mut self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.expire(now.tick, window),
            (Slots::Pool(pool), Kind::Pool { zone, .. }) => pool.expire(now, zone),
            _ => {}
        }
    }

    /// Slots that may be taken now; none while paused.
    pub(super) fn free(&self, now: Tick, kind: &Kind) -> u32 {
        if self.paused_until(now).is_some() {
            return 0;
        }
        match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.free(window),
            (Slots::Pool(pool), Kind::Pool { quota, zone }) => pool.free(*quota, zone),
            _ => u32::MAX,
        }
    }

    pub(super) fn used(&self) -> u32 {
        match &self.slots {
            Slots::Rolling(slots) => slots.used(),
            Slots::Pool(pool) => pool.used(),
            Slots::Gate => 0,
        }
    }

    /// When something may change for the head of the queue; `None` when only a response can tell.
    pub(super) fn next_event(&self, now: Now, kind: &Kind) -> Option<Tick> {
        if let Some(until) = self.paused_until(now.tick) {
            return Some(until);
        }
        match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => slots.next_release(window),
            (Slots::Pool(pool), Kind::Pool { .. }) => Some(pool.reset_tick(now)),
            _ => None,
        }
    }

    /// The earliest time at which somebody with so many waiters before him can go. A lower bound.
    pub(super) fn earliest(&self, now: Now, kind: &Kind, seniors: u32) -> Tick {
        let wanted = seniors.saturating_add(1);
        let by_slots = match (&self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => {
                slots.earliest(now.tick, window, wanted)
            }
            (Slots::Pool(pool), Kind::Pool { quota, zone })
                if pool.free(*quota, zone) < wanted && !pool.is_asking() =>
            {
                pool.reset_tick(now)
            }
            _ => now.tick,
        };
        self.paused_until(now.tick)
            .map_or(by_slots, |until| until.max(by_slots))
    }

    pub(super) fn take(&mut self, now: Tick) {
        match &mut self.slots {
            Slots::Rolling(slots) => slots.take(now),
            Slots::Pool(pool) => pool.take(),
            Slots::Gate => {}
        }
    }

    pub(super) fn refund(&mut self, granted: Tick) {
        match &mut self.slots {
            Slots::Rolling(slots) => slots.refund(),
            Slots::Pool(pool) => {
                pool.refund(granted);
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
        credit: Option<Duration>,
        kind: &Kind,
    ) -> bool {
        let distrust = self.rare.as_ref().map(|rare| rare.distrust);
        match (&mut self.slots, kind) {
            (Slots::Rolling(slots), Kind::Rolling(window)) => {
                let credit = credit.unwrap_or_default();
                let credit =
                    distrust.map_or(credit, |distrust| distrust.reduce(credit, latest, window));
                slots.cool(latest.before(credit).max(earliest), window);
                false
            }
            (Slots::Pool(pool), Kind::Pool { zone, .. }) => {
                // The day must not begin after the request is over: it may have been counted in it.
                pool.expire(now, zone);
                let latest = now.wall + latest.since(now.tick);
                pool.settle(earliest, latest, credit.is_some())
            }
            _ => false,
        }
    }

    /// The rule of the limit has changed.
    pub(super) fn change_rule(&mut self, now: Now, kind: &Kind) {
        if let (Slots::Pool(pool), Kind::Pool { zone, .. }) = (&mut self.slots, kind) {
            pool.change_zone(now, zone);
        }
    }

    /// Halves the share of the service time that is credited; gives the new share, in percent.
    pub(super) fn distrust(&mut self, now: Tick, window: &Window) -> u32 {
        self.rare().distrust.halve(now, window)
    }

    pub(super) fn queue(&self) -> Option<&BTreeMap<u64, WaiterId>> {
        self.rare.as_ref().map(|rare| &rare.queue)
    }

    pub(super) fn waiting(&self) -> u32 {
        self.queue()
            .map_or(0, |queue| u32::try_from(queue.len()).unwrap_or(u32::MAX))
    }

    /// How many waiters are older than `age`, counted up to `most`.
    pub(super) fn seniors(&self, age: u64, most: u32) -> u32 {
        let Some(queue) = self.queue().filter(|queue| !queue.is_empty()) else {
            return 0;
        };
        match queue.last_key_value() {
            Some((youngest, _)) if *youngest < age => self.waiting(),
            _ => queue.range(..age).take(most as usize).count() as u32,
        }
    }

    pub(super) fn enqueue(&mut self, age: u64, waiter: WaiterId) {
        self.rare().queue.insert(age, waiter);
    }

    pub(super) fn dequeue(&mut self, age: u64) {
        if let Some(rare) = &mut self.rare {
            rare.queue.remove(&age);
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
        if self.refs > 0 {
            return false;
        }
        self.expire(now, kind);
        let slots_blank = match &self.slots {
            Slots::Rolling(slots) => slots.is_blank(),
            Slots::Pool(pool) => pool.is_blank(),
            Slots::Gate => true,
        };
        slots_blank
            && self.rare.as_ref().is_none_or(|rare| {
                rare.paused_until <= now.tick
                    && rare.queue.is_empty()
                    && rare.distrust.is_over(now.tick, kind)
            })
    }
}

/// How much less than the whole service time is credited.
///
/// The credit assumes that the server counts before it works. A refusal of a limit that we govern says that something is
/// not as assumed: the credited share is halved, and grows back by [`Distrust::RECOVERY`] per window.
#[derive(Clone, Copy, Debug, Default)]
struct Distrust {
    /// What was missing from the whole at `since`, in 1/1024.
    missing: u32,
    since: Tick,
}

impl Distrust {
    const WHOLE: u32 = 1024;
    /// Share that comes back per window, in 1/1024.
    const RECOVERY: u32 = 16;

    fn share(&self, now: Tick, window: &Window) -> u32 {
        if self.missing == 0 {
            return Self::WHOLE;
        }
        let windows = now.since(self.since).as_nanos() / window.length.as_nanos().max(1);
        let recovered = u32::try_from(windows)
            .unwrap_or(u32::MAX)
            .saturating_mul(Self::RECOVERY);
        Self::WHOLE - self.missing.saturating_sub(recovered)
    }

    /// Refusals that come within one window are one piece of evidence: the share is halved once.
    fn halve(&mut self, now: Tick, window: &Window) -> u32 {
        let share = self.share(now, window);
        if self.missing > 0 && now.since(self.since) < window.length {
            return share * 100 / Self::WHOLE;
        }
        *self = Self {
            missing: Self::WHOLE - share / 2,
            since: now,
        };
        share / 2 * 100 / Self::WHOLE
    }

    fn reduce(&self, credit: Duration, now: Tick, window: &Window) -> Duration {
        credit.saturating_mul(self.share(now, window)) / Self::WHOLE
    }

    fn is_over(&self, now: Tick, kind: &Kind) -> bool {
        match kind {
            Kind::Rolling(window) => self.share(now, window) == Self::WHOLE,
            _ => true,
        }
    }
}
