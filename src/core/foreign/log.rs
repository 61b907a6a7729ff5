//! Requests by time.

use std::collections::VecDeque;

use super::super::Tick;

/// A log never has more entries than this, whatever a server says.
const MOST_ENTRIES: usize = 1024;

/// Requests by time. Weights are not whole numbers where they are estimates.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Sorted by time.
    entries: VecDeque<(Tick, f64)>,
    total: f64,
}

impl Log {
    pub(super) fn add(&mut self, at: Tick, weight: f64) {
        let after = self.entries.partition_point(|(time, _)| *time <= at);
        self.total += weight;
        match after
            .checked_sub(1)
            .and_then(|last| self.entries.get_mut(last))
        {
            Some((time, sum)) if *time == at => *sum += weight,
            _ => self.entries.insert(after, (at, weight)),
        }
        if self.entries.len() > MOST_ENTRIES {
            self.pop_first();
        }
    }

    /// Removes up to `weight` at this time; gives how much it was.
    pub(super) fn remove(&mut self, at: Tick, weight: f64) -> f64 {
        let nth = self.entries.partition_point(|(time, _)| *time < at);
        match self.entries.get(nth) {
            Some((time, _)) if *time == at => self.remove_nth(nth, weight),
            _ => 0.0,
        }
    }

    pub(super) fn remove_nth(&mut self, nth: usize, weight: f64) -> f64 {
        let Some((_, sum)) = self.entries.get_mut(nth) else {
            return 0.0;
        };
        let removed = sum.min(weight);
        *sum -= removed;
        self.total -= removed;
        if *sum <= f64::EPSILON {
            self.entries.remove(nth);
        }
        removed
    }

    /// How much there is in `(from, to]`.
    pub(super) fn sum(&self, from: Tick, to: Tick) -> f64 {
        let (begin, end) = self.range(from, to);
        let of = |range: std::ops::Range<usize>| -> f64 {
            self.entries.range(range).map(|(_, weight)| weight).sum()
        };
        if 2 * (end - begin) <= self.entries.len() {
            of(begin..end)
        } else {
            (self.total - of(0..begin) - of(end..self.entries.len())).max(0.0)
        }
    }

    pub(super) fn forget(&mut self, until: Tick) {
        while matches!(self.entries.front(), Some((time, _)) if *time <= until) {
            self.pop_first();
        }
    }

    fn pop_first(&mut self) {
        if let Some((_, weight)) = self.entries.pop_front() {
            self.total -= weight;
        }
        if self.entries.is_empty() {
            self.total = 0.0;
        }
    }

    /// Those in `(from, to]`: the place of the first, and behind the last.
    pub(super) fn range(&self, from: Tick, to: Tick) -> (usize, usize) {
        let begin = self.entries.partition_point(|(time, _)| *time <= from);
        let end = self.entries.partition_point(|(time, _)| *time <= to);
        (begin, end.max(begin))
    }

    pub(super) fn time(&self, nth: usize) -> Option<Tick> {
        self.entries.get(nth).map(|(time, _)| *time)
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }
}
