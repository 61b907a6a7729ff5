//! One rolling window: the slots that are held and those that cool down.

use std::collections::VecDeque;
use std::time::Duration;

use super::Tick;

/// Up to this quota every slot keeps its own time; above it the times are rounded up to a grid of this many steps per window,
/// so that a window never needs more entries than this, whatever its quota.
const GRID: u32 = 256;

/// The rule of a rolling window, ready for use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) quota: u32,
    pub(super) length: Duration,
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
            grain,
        }
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
}

/// The slots of one key under one rolling limit.
///
/// Anchors are kept instead of release times, so that a change of the window applies to what is cooling already.
#[derive(Debug, Default)]
pub(super) struct Rolling {
    held: u32,
    cooling_slots: u32,
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
            self.cooling.pop_front();
        }
        if self.cooling.capacity() > 0 {
            self.cooling = VecDeque::new();
        }
    }

    pub(super) fn used(&self) -> u32 {
        self.held.saturating_add(self.cooling_slots)
    }

    pub(super) fn free(&self, window: &Window) -> u32 {
        window.quota.saturating_sub(self.used())
    }

    pub(super) fn take(&mut self, now: Tick) {
        if self.held == 0 {
            self.first_held = now;
        }
        self.held += 1;
    }

    /// A slot whose request was never sent is free at once.
    pub(super) fn refund(&mut self) {
        debug_assert!(self.held > 0, "no refund without its own debit");
        self.held = self.held.saturating_sub(1);
    }

    /// A held slot begins to cool; the server counted its request at `anchor` at the latest.
    pub(super) fn cool(&mut self, anchor: Tick, window: &Window) {
        debug_assert!(self.held > 0, "only a held slot can cool");
        self.held = self.held.saturating_sub(1);
        self.cooling_slots += 1;
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
            Some(entry) if entry.anchor == anchor => entry.slots += 1,
            _ => self.cooling.insert(after, Cooling { anchor, slots: 1 }),
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
        let quota = i64::from(window.quota);
        let used = i64::from(self.used());
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
        let first = self.nth_release(now, window, (used - quota + 1).max(0));
        let again = window.release(first);
        self.nth_release(now, window, missing)
            .min(again)
            .after(whole_rounds)
    }

    fn nth_release(&self, now: Tick, window: &Window, nth: i64) -> Tick {
        if nth <= 0 {
            return now;
        }
        let held_until = now.max(window.release(self.first_held));
        let mut held = i64::from(self.held);
        let mut seen = 0;
        for entry in &self.cooling {
            let release = window.release(entry.anchor);
            if release >= held_until {
                seen += std::mem::take(&mut held);
                if seen >= nth {
                    return held_until;
                }
            }
            seen += i64::from(entry.slots);
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

    const SECOND: Duration = Duration::from_secs(1);

    fn tick(millis: u64) -> Tick {
        Tick::from(Duration::from_millis(millis))
    }

    #[test]
    fn memory_is_bounded_by_the_grid_for_any_quota() {
        let window = Window::new(1_000_000, 10 * SECOND);
        let mut slots = Rolling::default();
        for nth in 0..1_000_000_u64 {
            slots.take(tick(nth / 100));
            slots.cool(tick(nth / 100), &window);
        }
        assert!(slots.entries() <= 257, "{}", slots.entries());
        assert_eq!(slots.free(&window), 0);
        slots.expire(tick(30_000), &window);
        assert_eq!(slots.free(&window), 1_000_000);
        assert!(slots.is_blank());
    }

    #[test]
    fn the_grid_only_ever_delays() {
        let exact = Window::new(256, SECOND);
        let coarse = Window::new(257, SECOND);
        for millis in [0, 1, 3, 4, 999] {
            let mut slots = Rolling::default();
            slots.take(tick(millis));
            slots.cool(tick(millis), &coarse);
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
        slots.take(tick(0));
        slots.take(tick(0));
        slots.cool(tick(100), &window);
        slots.cool(tick(300), &window);
        assert_eq!(slots.earliest(tick(400), &window, 1), tick(1100).next());
        assert_eq!(slots.earliest(tick(400), &window, 2), tick(1300).next());
        assert_eq!(slots.earliest(tick(400), &window, 3), tick(2100).next());
        assert_eq!(slots.earliest(tick(400), &window, 4), tick(2300).next());
        slots.take(tick(400));
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
        slots.take(tick(0));
        slots.take(tick(0));
        slots.cool(tick(100), &window);
        // Given up, and perhaps on its way for five seconds.
        slots.cool(tick(5000), &window);
        assert_eq!(slots.earliest(tick(200), &window, 1), tick(1100).next());
        let again = tick(2100).next().next();
        assert_eq!(slots.earliest(tick(200), &window, 2), again);
    }

    #[test]
    fn a_longer_window_applies_to_what_is_cooling() {
        let short = Window::new(1, SECOND);
        let long = Window::new(1, 10 * SECOND);
        let mut slots = Rolling::default();
        slots.take(tick(0));
        slots.cool(tick(0), &short);
        slots.expire(tick(5_000), &long);
        assert_eq!(slots.free(&long), 0);
        slots.expire(tick(5_000), &short);
        assert_eq!(slots.free(&short), 1);
    }
}
