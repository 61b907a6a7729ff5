//! Days at random: seeded, and the same whatever the number of processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use fastrand::Rng;
use tower_quota::plan::Lane;

use crate::progress::Progress;

/// What happens on one day.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Day {
    /// Requests that count against the daily pool, of each series.
    pub(super) calls: Vec<u64>,
    /// Those among them that come when the pool is used up.
    pub(super) late: Vec<u64>,
    /// The worst of each rolling limit.
    pub(super) worst: Vec<Worst>,
}

/// The worst of one rolling limit on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Worst {
    /// Requests that are wanted within one window.
    pub(super) wanted: u64,
    /// The longest wait of each lane, in seconds.
    pub(super) waits: [f64; 2],
}

impl Worst {
    pub(super) fn merge(&mut self, other: &Worst) {
        self.wanted = self.wanted.max(other.wanted);
        for (mine, other) in self.waits.iter_mut().zip(other.waits) {
            *mine = mine.max(other);
        }
    }

    pub(super) fn waited(&mut self, lane: Lane, wait: f64) {
        let longest = &mut self.waits[lane_index(lane)];
        *longest = longest.max(wait);
    }
}

pub(super) fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::Interactive => 0,
        Lane::Bulk => 1,
    }
}

/// Where days are drawn from.
pub(super) trait Source: Sync {
    fn draw(&self, random: &mut Rng) -> Day;
}

/// So many days, on all processors.
pub(super) fn days(source: &impl Source, draws: usize, seed: u64) -> Vec<Day> {
    let progress = Progress::new(draws, "days");
    let next = AtomicUsize::new(0);
    let drawn = Mutex::new(vec![Day::default(); draws]);
    let work = || loop {
        let nth = next.fetch_add(1, Ordering::Relaxed);
        if nth >= draws {
            break;
        }
        let day = source.draw(&mut Rng::with_seed(mixed(seed, nth as u64)));
        drawn.lock().unwrap_or_else(PoisonError::into_inner)[nth] = day;
        progress.step();
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    drawn.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A seed of its own for each day (SplitMix64), so that neighbours have nothing in common.
fn mixed(seed: u64, nth: u64) -> u64 {
    let mut x = seed.wrapping_add(nth.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The value that 99 % of all are not above: the nearest rank.
pub(super) fn p99<T: Copy + PartialOrd>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let rank = (values.len() * 99).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_hundred_is_above_the_99th_percentile() {
        assert_eq!(p99(1..=100), Some(99));
        assert_eq!(p99((1..=1_000).rev()), Some(990));
        assert_eq!(p99([7]), Some(7));
        assert_eq!(p99([0_u8; 0]), None);
    }
}
