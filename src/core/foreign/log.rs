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

    /// The time of the last until `to`.
    pub(super) fn last(&self, to: Tick) -> Option<Tick> {
        let (_, end) = self.range(Tick::ZERO, to);
        self.time(end.checked_sub(1)?)
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tick(millis: u64) -> Tick {
        Tick::from(Duration::from_millis(millis))
    }

    #[test]
    fn sums_are_of_half_open_intervals() {
        let mut log = Log::default();
        for millis in 1..=10 {
            log.add(tick(millis), 1.0);
        }
        log.add(tick(5), 0.5);
        for (from, to, sum) in [
            (0, 10, 10.5),
            (1, 9, 8.5),
            (4, 5, 1.5),
            (5, 5, 0.0),
            (7, 3, 0.0),
        ] {
            assert_eq!(log.sum(tick(from), tick(to)), sum, "({from}, {to}]");
        }
        assert_eq!(log.remove(tick(5), 9.0), 1.5);
        assert_eq!(log.remove(tick(5), 9.0), 0.0);
        assert_eq!(log.sum(tick(0), tick(10)), 9.0);
        log.forget(tick(8));
        assert_eq!((log.total(), log.len()), (2.0, 2));
    }

    #[test]
    fn a_log_never_grows_beyond_its_bound() {
        let mut log = Log::default();
        for millis in 0..5_000 {
            log.add(tick(millis), 1.0);
        }
        assert_eq!((log.total(), log.len()), (1024.0, 1024));
    }
}
