use std::sync::atomic::{AtomicU64, Ordering};

/// One repetition, in the units of the balance.
const REPETITION: u64 = 1_000_000;

/// How many repetitions may still be made after failures, shared by all clones of a layer's service.
///
/// Counted in whole millionths, so that nothing is rounded over a long run.
#[derive(Debug)]
pub(super) struct Budget {
    balance: AtomicU64,
    most: u64,
    earned: u64,
}

impl Budget {
    /// Saves at most `most` repetitions, all there at first; an answered request earns `share` (0 to 1) of one.
    pub(super) fn new(most: u32, share: f64) -> Self {
        let most = u64::from(most) * REPETITION;
        Self {
            balance: AtomicU64::new(most),
            most,
            earned: (share * REPETITION as f64) as u64,
        }
    }

    pub(super) fn earn(&self) {
        // Full nearly always: then nothing is written.
        if self.balance.load(Ordering::Relaxed) < self.most {
            let add = |balance: u64| Some((balance + self.earned).min(self.most));
            let _ = self
                .balance
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    pub(super) fn spend(&self) -> bool {
        let take = |balance: u64| balance.checked_sub(REPETITION);
        self.balance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_exact_over_a_long_run() {
        let budget = Budget::new(10, 0.6);
        let mut repeated = 0;
        for _ in 0..100_000 {
            budget.earn();
            repeated += u32::from(budget.spend());
        }
        assert_eq!(
            repeated,
            60_000 + 9,
            "six in ten, and what was saved before, of which the first deposit found no room"
        );
    }

    #[test]
    fn without_answers_it_runs_out() {
        let budget = Budget::new(3, 1.0);
        assert_eq!((0..10).filter(|_| budget.spend()).count(), 3);
    }
}
