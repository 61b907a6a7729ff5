//! What has come of a run.

use std::ops::Range;

use super::super::{BEGIN, S};

/// What has come of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// When requests were admitted, in seconds since the begin, by process.
    pub(super) admitted: Vec<Vec<u64>>,
    pub(super) calls: u32,
    /// How often a process did something because its time had come.
    pub(super) looks: u32,
    /// The longest time for which a process did nothing for those who wait, although the store was there.
    pub(super) silence: u64,
    pub(super) foreign: u32,
    pub(super) refused: Vec<u64>,
    /// The longest time without any request while somebody waited, and its end.
    pub(super) longest_gap: (u64, u64),
    pub(super) log: Vec<String>,
}

impl Outcome {
    pub(super) fn admitted(&self) -> u32 {
        self.admitted.iter().map(|times| times.len() as u32).sum()
    }

    pub(super) fn parts(&self, seconds: Range<u64>) -> Vec<u32> {
        let count = |times: &Vec<u64>| {
            let inside = times.iter().filter(|time| seconds.contains(time));
            inside.count() as u32
        };
        self.admitted.iter().map(count).collect()
    }

    pub(super) fn line(&self) -> String {
        let (gap, at) = self.longest_gap;
        format!(
            "{} requests, {} calls, {} of others, {} refused, longest gap {:.1} s at {:.1} s",
            self.admitted(),
            self.calls,
            self.foreign,
            self.refused.len(),
            gap as f64 / S as f64,
            at as f64 / S as f64
        )
    }

    pub(super) fn check(&self, seed: u64) {
        let at: Vec<_> = self
            .refused
            .iter()
            .map(|at| (at - BEGIN) as f64 / S as f64)
            .collect();
        assert!(
            at.is_empty(),
            "seed {seed}: refused at {at:?}; {:#?}",
            self.log
        );
        assert!(self.admitted() > 0, "seed {seed}");
        // A pause takes 3 s at most, and others may have begun one again and again; a store is asked once in a lease.
        let silence = self.silence as f64 / S as f64;
        assert!(
            silence < 15.0,
            "seed {seed}: silent for {silence} s; {:#?}",
            self.log
        );
        // Nobody wakes up again and again for nothing.
        let most = 4 * (self.admitted() + self.calls) + 1_000;
        assert!(self.looks <= most, "seed {seed}: {} looks", self.looks);
    }
}
