//! One rolling window: the slots that are held and those that cool down.

use std::collections::VecDeque;
use std::time::Duration;

use super::Tick;
use crate::plan::Lane;

/// Up to this quota every slot keeps its own time; above it the times are rounded up to a grid of this many steps per window,
/// so that a window never needs more entries than this, whatever its quota.
const GRID: u32 = 256;

/// The rule of a rolling window, ready for use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) quota: u32,
    pub(super) length: Duration,
    /// So many slots are kept for `Interactive`.
    reserve: u32,
    grain: Duration,
}

impl Window {
    pub(super) fn new(quota: u32, length: Duration) -> Self {
        let grain = if quota > GRID {
            length / GRID
        } else {
            Duration::ZERO
        };
        Self {
            quota,
            length,
            reserve: 0,
            grain,
        }
    }

    pub(super) fn with_reserve(self, reserve: u32) -> Self {
        Self { reserve, ..self }
    }

    pub(super) fn has_reserve(&self) -> bool {
        self.reserve > 0
    }

    /// What all but `Interactive` may hold together.
    fn unreserved(&self) -> u32 {
        self.quota.saturating_sub(self.reserve)
    }

    /// A slot is free strictly after its window, which is right for servers that count the edge as inside, too.
    fn release(&self, anchor: Tick) -> Tick {
        anchor.after(self.length).next()
    }
}

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
    /// Not later than the send of any held slot.
    first_held: Tick,
    /// Sorted by anchor.
    cooling: VecDeque<Cooling>,
}

impl Rolling {
    /// Forgets the slots whose window is over.
    pub(super) fn expire(&mut self, now: Tick, window: &Window) {
        while let Some(first) = self.cooling.front() {
            if window.release(first.anchor) > now {
                return;
            }
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

    /// Used by all but `Interactive`.
    fn used_by_others(&self) -> u32 {
        let interactive = self.held_interactive + self.cooling_interactive;
        self.used().saturating_sub(interactive)
    }

    /// Slots that somebody of this lane may take.
    pub(super) fn free(&self, window: &Window, lane: Lane) -> u32 {
        let free = window.quota.saturating_sub(self.used());
        match lane {
            Lane::Interactive => free,
            Lane::Bulk => free.min(window.unreserved().saturating_sub(self.used_by_others())),
        }
    }

    pub(super) fn take(&mut self, now: Tick, lane: Lane) {
        if self.held == 0 {
            self.first_held = now;
        }
        self.held += 1;
        self.held_interactive += u32::from(lane == Lane::Interactive);
    }

    /// A slot whose request was never sent is free at once.
    pub(super) fn refund(&mut self, lane: Lane) {
        debug_assert!(self.held > 0, "no refund without its own debit");
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

    pub(super) fn is_blank(&self) -> bool {
        self.held == 0 && self.cooling.is_empty()
    }

    /// When the next slot becomes free, if that is known already.
    pub(super) fn next_release(&self, window: &Window) -> Option<Tick> {
        self.cooling
            .front()
            .map(|first| window.release(first.anchor))
    }

    /// The earliest time at which `wanted` slots can be free at once or one after the other, each taken when it becomes free.
    /// A lower bound: what is in flight may take longer.
    pub(super) fn earliest(&self, now: Tick, window: &Window, wanted: u32) -> Tick {
        let all = Part {
            quota: window.quota,
            used: self.used(),
            held: self.held,
            cooling: |entry| entry.slots,
        };
        self.earliest_of(now, window, &all, wanted)
    }

    /// The same for slots that are not reserved for `Interactive`.
    pub(super) fn earliest_unreserved(&self, now: Tick, window: &Window, wanted: u32) -> Tick {
        let others = Part {
            quota: window.unreserved(),
            used: self.used_by_others(),
            held: self.held.saturating_sub(self.held_interactive),
            cooling: |entry| entry.slots - entry.interactive,
        };
        self.earliest_of(now, window, &others, wanted)
    }

    fn earliest_of(&self, now: Tick, window: &Window, part: &Part, wanted: u32) -> Tick {
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
    use super::*;

    const BULK: Lane = Lane::Bulk;

    const SECOND: Duration = Duration::from_secs(1);

    fn tick(millis: u64) -> Tick {
        Tick::from(Duration::from_millis(millis))
    }

    #[test]
    fn memory_is_bounded_by_the_grid_for_any_quota() {
        let window = Window::new(1_000_000, 10 * SECOND);
        let mut slots = Rolling::default();
        for nth in 0..1_000_000_u64 {
            slots.take(tick(nth / 100), BULK);
            slots.cool(tick(nth / 100), &window, BULK);
        }
        assert!(slots.entries() <= 257, "{}", slots.entries());
        assert_eq!(slots.free(&window, BULK), 0);
        slots.expire(tick(30_000), &window);
        assert_eq!(slots.free(&window, BULK), 1_000_000);
        assert!(slots.is_blank());
    }

    #[test]
    fn the_grid_only_ever_delays() {
        let exact = Window::new(256, SECOND);
        let coarse = Window::new(257, SECOND);
        for millis in [0, 1, 3, 4, 999] {
            let mut slots = Rolling::default();
            slots.take(tick(millis), BULK);
            slots.cool(tick(millis), &coarse, BULK);
            let release = slots.next_release(&coarse).unwrap();
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
        slots.take(tick(0), BULK);
        slots.take(tick(0), BULK);
        slots.cool(tick(100), &window, BULK);
        slots.cool(tick(300), &window, BULK);
        assert_eq!(slots.earliest(tick(400), &window, 1), tick(1100).next());
        assert_eq!(slots.earliest(tick(400), &window, 2), tick(1300).next());
        assert_eq!(slots.earliest(tick(400), &window, 3), tick(2100).next());
        assert_eq!(slots.earliest(tick(400), &window, 4), tick(2300).next());
        slots.take(tick(400), BULK);
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
        slots.take(tick(0), BULK);
        slots.take(tick(0), BULK);
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
        slots.take(tick(0), BULK);
        slots.cool(tick(0), &short, BULK);
        slots.expire(tick(5_000), &long);
        assert_eq!(slots.free(&long, BULK), 0);
        slots.expire(tick(5_000), &short);
        assert_eq!(slots.free(&short, BULK), 1);
    }
}
