//! One rolling window: the slots that are held and those that cool down.

use std::collections::VecDeque;

use super::Tick;
use super::cell::Observation;
use super::foreign::{Foreign, Sample};
use super::lease::{Settled, Slots};
use super::told::{ForeignUse, Told};
use super::window::{Cold, Window};
use crate::plan::Lane;

/// Slots that become free together.
#[derive(Clone, Copy, Debug)]
struct Cooling {
    /// The latest moment at which the server can have counted the request.
    anchor: Tick,
    slots: u32,
    /// Those of `Interactive` among them.
    interactive: u32,
}

/// The slots of one key that are looked at: all, or those that are not reserved.
struct Part {
    quota: u32,
    used: u32,
    held: u32,
    cooling: fn(&Cooling) -> u32,
}

/// The slots of one key under one rolling limit.
///
/// Anchors are kept instead of release times, so that a change of the window applies to what is cooling already.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    held: u32,
    cooling_slots: u32,
    /// Those of `Interactive` among both.
    held_interactive: u32,
    cooling_interactive: u32,
    /// How many slots have been forgotten because their window was over; begins again at 0 after the last number.
    expired: u32,
    /// New while the process is, and nothing has been heard since.
    cold: bool,
    /// Not later than the send of any held slot.
    first_held: Tick,
    /// Sorted by anchor.
    cooling: VecDeque<Cooling>,
    told: Option<Box<Told>>,
}

impl Rolling {
    pub(super) fn new(window: &Window) -> Self {
        Self {
            cold: window.cold.is_some(),
            ..Self::default()
        }
    }

    /// Forgets the slots whose window is over.
    pub(super) fn expire(&mut self, now: Tick, window: &Window) {
        while let Some(first) = self.cooling.front() {
            if window.release(first.anchor) > now {
                return;
            }
            self.expired = self.expired.wrapping_add(first.slots);
            self.cooling_slots -= first.slots;
            self.cooling_interactive -= first.interactive;
            self.cooling.pop_front();
        }
        if self.cooling.capacity() > 0 {
            self.cooling = VecDeque::new();
        }
    }

    pub(super) fn used(&self) -> u32 {
        self.held.saturating_add(self.cooling_slots)
    }

    /// What will be used at `at` of what is used now, at most.
    pub(super) fn used_at(&self, at: Tick, window: &Window) -> u32 {
        let leaves = |entry: &&Cooling| window.release(entry.anchor) <= at;
        let left: u32 = self
            .cooling
            .iter()
            .take_while(leaves)
            .map(|entry| entry.slots)
            .sum();
        self.used().saturating_sub(left)
    }

    /// Used by all but `Interactive`.
    fn used_by_others(&self) -> u32 {
        let interactive = self.held_interactive + self.cooling_interactive;
        self.used().saturating_sub(interactive)
    }

    /// Slots that somebody of this lane may take.
    pub(super) fn free(&self, now: Tick, window: &Window, lane: Lane) -> u32 {
        let quota = self.quota(window);
        let blocked = self.blocked(now);
        let free = |quota: u32, used: u32| quota.saturating_sub(used).saturating_sub(blocked);
        let mut slots = free(quota, self.used());
        if lane == Lane::Bulk {
            slots = slots.min(free(window.unreserved(quota), self.used_by_others()));
        }
        match self.cold(now, window) {
            Some(cold) if cold.full || self.held > 0 => 0,
            Some(_) => slots.min(1),
            None => slots,
        }
    }

    /// The quota to keep to: the server may allow less than the plan.
    pub(super) fn quota(&self, window: &Window) -> u32 {
        self.told
            .as_ref()
            .map_or(window.quota, |told| told.quota(window))
    }

    fn foreign(&self) -> Option<&Foreign> {
        self.told.as_ref()?.foreign()
    }

    fn foreign_mut(&mut self) -> Option<&mut Foreign> {
        self.told.as_mut()?.foreign_mut()
    }

    fn blocked(&self, now: Tick) -> u32 {
        self.foreign()
            .map_or(0, |foreign| foreign.blocked(now, self.held))
    }

    /// About how many requests of others are in the window.
    pub(super) fn used_by_foreign(&self, now: Tick) -> u32 {
        self.foreign()
            .map_or(0, |foreign| foreign.known(now).round() as u32)
    }

    /// The share of the quota that others are known to use.
    pub(super) fn foreign_share(&self, now: Tick, window: &Window) -> Option<f64> {
        let known = self.foreign()?.known(now);
        Some((known / f64::from(self.quota(window))).clamp(0.0, 1.0))
    }

    /// Whether a refusal is no surprise, because others use the quota too, or the process before may have.
    pub(super) fn explains_refusals(&self, now: Tick, window: &Window) -> bool {
        self.cold(now, window).is_some()
            || self
                .foreign()
                .is_some_and(|foreign| foreign.explains_refusals(now, self.quota(window)))
    }

    fn cold(&self, now: Tick, window: &Window) -> Option<Cold> {
        window.cold.filter(|cold| self.cold && now < cold.until)
    }

    /// Whether a slot may become free because a response has arrived, and not only one window later.
    pub(super) fn waits_for_responses(&self, now: Tick, window: &Window) -> bool {
        self.cold(now, window).is_some() || self.foreign().is_some()
    }

    /// How many slots have been forgotten so far; to be given to [`observe`](Self::observe).
    pub(super) fn expired(&self) -> u32 {
        self.expired
    }

    /// A response says how many requests the server allows and how many of them are left. `expired` of our slots have been
    /// forgotten since its request was granted.
    ///
    /// All that we can have in the server's window is what we hold now, and what was forgotten in the meantime: what had been
    /// forgotten before had left the window when the request was sent. If more is used, others use the quota too. So a refusal
    /// says, even if it may all be ours: at the send we held no more than the quota.
    pub(super) fn observe(
        &mut self,
        now: Tick,
        window: &Window,
        seen: &Observation,
        expired: u32,
    ) -> Option<ForeignUse> {
        if let Some(quota) = seen.quota {
            self.hear_quota(window, quota, seen.sent);
        }
        let left = seen.remaining?;
        self.cold = false;
        let quota = seen.quota.unwrap_or(self.quota(window));
        // What it allows beyond the plan is there for others.
        let quota = quota.min(window.quota);
        let used = quota.saturating_sub(left);
        let most = self.used().saturating_add(expired);
        let is_full = seen.refused && left == 0;
        if used <= most && !is_full && self.foreign().is_none() {
            return None;
        }
        let sample = Sample {
            taken: seen.taken,
            sent: seen.sent,
            arrived: now,
            service_time: seen.service_time,
            used,
            refused: seen.refused,
        };
        let cooling = self.cooling.iter().map(|entry| (entry.anchor, entry.slots));
        let make = || Foreign::new(window.length, &sample, cooling, self.held);
        self.told
            .get_or_insert_default()
            .tell_use(now, &sample, make)
    }

    /// The response to a request that was sent at `sent` says how many requests the server allows.
    pub(super) fn hear_quota(&mut self, window: &Window, quota: u32, sent: Tick) {
        if quota < window.quota || self.told.is_some() {
            self.told.get_or_insert_default().tell_quota(quota, sent);
        }
    }

    /// The slots that cool, as a store that knows nothing of them must be told.
    pub(super) fn cooling(&self) -> impl Iterator<Item = Settled> {
        self.cooling.iter().map(|entry| Settled {
            anchor: entry.anchor,
            slots: Slots {
                bulk: entry.slots.saturating_sub(entry.interactive),
                interactive: entry.interactive,
            },
        })
    }

    /// An answer has arrived, and what it says has been observed.
    pub(super) fn answered(&mut self, now: Tick) {
        if let Some(told) = &mut self.told {
            told.answered(now);
        }
    }

    pub(super) fn take(&mut self, now: Tick, window: &Window, lane: Lane) {
        let quota = self.quota(window);
        if let Some(foreign) = self.foreign_mut() {
            foreign.sent(now, quota);
        }
        if self.held == 0 {
            self.first_held = now;
        }
        self.held += 1;
        self.held_interactive += u32::from(lane == Lane::Interactive);
    }

    /// A slot whose request was never sent is free at once.
    pub(super) fn refund(&mut self, taken: Tick, lane: Lane) {
        debug_assert!(self.held > 0, "no refund without its own debit");
        if let Some(foreign) = self.foreign_mut() {
            foreign.unsent(taken);
        }
        self.let_go(lane);
    }

    fn let_go(&mut self, lane: Lane) -> u32 {
        let interactive = u32::from(lane == Lane::Interactive);
        self.held = self.held.saturating_sub(1);
        self.held_interactive = self.held_interactive.saturating_sub(interactive);
        interactive
    }

    /// A held slot begins to cool; the server counted its request at `anchor` at the latest.
    pub(super) fn cool(&mut self, anchor: Tick, window: &Window, lane: Lane) {
        debug_assert!(self.held > 0, "only a held slot can cool");
        let interactive = self.let_go(lane);
        self.cooling_slots += 1;
        self.cooling_interactive += interactive;
        let anchor = anchor.round_up(window.grain);
        if self.cooling.capacity() == 0 {
            // Of a million keys most have one request at a time; they need no room for four.
            self.cooling.reserve_exact(1);
        }
        let after = self.cooling.partition_point(|entry| entry.anchor <= anchor);
        match after
            .checked_sub(1)
            .and_then(|last| self.cooling.get_mut(last))
        {
            Some(entry) if entry.anchor == anchor => {
                entry.slots += 1;
                entry.interactive += interactive;
            }
            _ => {
                let entry = Cooling {
                    anchor,
                    slots: 1,
                    interactive,
                };
                self.cooling.insert(after, entry);
            }
        }
    }

    pub(super) fn is_blank(&self, now: Tick, window: &Window) -> bool {
        let is_forgotten = |told: &Told| told.is_forgotten(now, window);
        self.held == 0 && self.cooling.is_empty() && self.told.as_deref().is_none_or(is_forgotten)
    }

    /// When the next slot becomes free, if that is known already.
    pub(super) fn next_release(&self, now: Tick, window: &Window) -> Option<Tick> {
        let first = self.cooling.front();
        let ours = first.map(|first| window.release(first.anchor));
        let foreign = self.foreign().and_then(|foreign| foreign.next_change(now));
        let warm = self.cold(now, window).map(|cold| cold.until);
        [ours, foreign, warm].into_iter().flatten().min()
    }

    /// The earliest time at which `wanted` slots can be free at once or one after the other, each taken when it becomes free.
    /// A lower bound: what is in flight may take longer.
    pub(super) fn earliest(&self, now: Tick, window: &Window, wanted: u32) -> Tick {
        let all = Part {
            quota: self.quota(window),
            used: self.used(),
            held: self.held,
            cooling: |entry| entry.slots,
        };
        self.earliest_of(now, window, &all, wanted)
    }

    /// The same for slots that are not reserved for `Interactive`.
    pub(super) fn earliest_unreserved(&self, now: Tick, window: &Window, wanted: u32) -> Tick {
        let others = Part {
            quota: window.unreserved(self.quota(window)),
            used: self.used_by_others(),
            held: self.held.saturating_sub(self.held_interactive),
            cooling: |entry| entry.slots - entry.interactive,
        };
        self.earliest_of(now, window, &others, wanted)
    }

    fn earliest_of(&self, now: Tick, window: &Window, part: &Part, wanted: u32) -> Tick {
        let warm = self.cold(now, window).filter(|cold| cold.full);
        let now = warm.map_or(now, |cold| cold.until);
        let quota = i64::from(part.quota);
        let used = i64::from(part.used);
        // So many of the used slots have to become free first.
        let missing = i64::from(wanted) + used - quota;
        let rounds = if missing > used {
            (missing - used + quota - 1) / quota
        } else {
            0
        };
        let missing = missing - rounds * quota;
        let whole_rounds = window
            .length
            .saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        // The first slot to become free may come round again before the last one does, when a request that was given up
        // keeps its own for longer than a window.
        let first = self.nth_release(now, window, part, (used - quota + 1).max(0));
        let again = window.release(first);
        self.nth_release(now, window, part, missing)
            .min(again)
            .after(whole_rounds)
    }

    fn nth_release(&self, now: Tick, window: &Window, part: &Part, nth: i64) -> Tick {
        if nth <= 0 {
            return now;
        }
        let held_until = now.max(window.release(self.first_held));
        let mut held = i64::from(part.held);
        let mut seen = 0;
        for entry in &self.cooling {
            let release = window.release(entry.anchor);
            if release >= held_until {
                seen += std::mem::take(&mut held);
                if seen >= nth {
                    return held_until;
                }
            }
            seen += i64::from((part.cooling)(entry));
            if seen >= nth {
                return release;
            }
        }
        held_until
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.cooling.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BULK: Lane = Lane::Bulk;
    /// Without foreign use and after the start, the time does not matter.
    const NOW: Tick = Tick::ZERO;

    const SECOND: Duration = Duration::from_secs(1);

    fn tick(millis: u64) -> Tick {
        Tick::from(Duration::from_millis(millis))
    }

    #[test]
    fn memory_is_bounded_by_the_grid_for_any_quota() {
        let window = Window::new(1_000_000, 10 * SECOND);
        let mut slots = Rolling::default();
        for nth in 0..1_000_000_u64 {
            slots.take(tick(nth / 100), &window, BULK);
            slots.cool(tick(nth / 100), &window, BULK);
        }
        assert!(slots.entries() <= 257, "{}", slots.entries());
        assert_eq!(slots.free(NOW, &window, BULK), 0);
        slots.expire(tick(30_000), &window);
        assert_eq!(slots.free(NOW, &window, BULK), 1_000_000);
        assert!(slots.is_blank(NOW, &window));
    }

    #[test]
    fn the_grid_only_ever_delays() {
        let exact = Window::new(256, SECOND);
        let coarse = Window::new(257, SECOND);
        for millis in [0, 1, 3, 4, 999] {
            let mut slots = Rolling::default();
            slots.take(tick(millis), &coarse, BULK);
            slots.cool(tick(millis), &coarse, BULK);
            let release = slots.next_release(NOW, &coarse).unwrap();
            let least = exact.release(tick(millis));
            assert!(
                release >= least && release <= least.after(SECOND / 256),
                "{millis}"
            );
        }
    }

    #[test]
    fn the_earliest_time_counts_rounds() {
        let window = Window::new(2, SECOND);
        let mut slots = Rolling::default();
        assert_eq!(slots.earliest(tick(5), &window, 1), tick(5));
        assert_eq!(slots.earliest(tick(5), &window, 2), tick(5));
        slots.take(tick(0), &window, BULK);
        slots.take(tick(0), &window, BULK);
        slots.cool(tick(100), &window, BULK);
        slots.cool(tick(300), &window, BULK);
        assert_eq!(slots.earliest(tick(400), &window, 1), tick(1100).next());
        assert_eq!(slots.earliest(tick(400), &window, 2), tick(1300).next());
        assert_eq!(slots.earliest(tick(400), &window, 3), tick(2100).next());
        assert_eq!(slots.earliest(tick(400), &window, 4), tick(2300).next());
        slots.take(tick(400), &window, BULK);
        // A held slot was sent at 400 at the earliest, so it cannot be free before 1400.
        let narrow = Window::new(3, SECOND);
        assert_eq!(slots.earliest(tick(500), &narrow, 3), tick(1400).next());
        // Shrunk below what is used: more has to become free first.
        let shrunk = Window::new(1, SECOND);
        assert_eq!(slots.earliest(tick(500), &shrunk, 1), tick(1400).next());
    }

    #[test]
    fn a_slot_may_come_round_again_before_another_is_free_at_all() {
        let window = Window::new(2, SECOND);
        let mut slots = Rolling::default();
        slots.take(tick(0), &window, BULK);
        slots.take(tick(0), &window, BULK);
        slots.cool(tick(100), &window, BULK);
        // Given up, and perhaps on its way for five seconds.
        slots.cool(tick(5000), &window, BULK);
        assert_eq!(slots.earliest(tick(200), &window, 1), tick(1100).next());
        let again = tick(2100).next().next();
        assert_eq!(slots.earliest(tick(200), &window, 2), again);
    }

    #[test]
    fn a_longer_window_applies_to_what_is_cooling() {
        let short = Window::new(1, SECOND);
        let long = Window::new(1, 10 * SECOND);
        let mut slots = Rolling::default();
        slots.take(tick(0), &short, BULK);
        slots.cool(tick(0), &short, BULK);
        slots.expire(tick(5_000), &long);
        assert_eq!(slots.free(NOW, &long, BULK), 0);
        slots.expire(tick(5_000), &short);
        assert_eq!(slots.free(NOW, &short, BULK), 1);
    }
}
