//! The judge's windows: how many requests were counted lately.
//!
//! Written on its own and on purpose: a client's limiter is tried against this, so the two must not share a line.

use std::collections::VecDeque;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// How the server's windows move.
///
/// [`TrueRolling`](Windows::TrueRolling) refuses whatever [`OneSecondBuckets`](Windows::OneSecondBuckets) would refuse and more, so
/// a client that survives the first survives the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Windows {
    /// A request at `t` is admitted if fewer than `N` were counted in `(t - W, t]`; one that is exactly `W` old is out.
    TrueRolling,
    /// What HubSpot was seen to do: the current second and the ones before it, `W` seconds in all, so that the real span is
    /// between `W - 1 s` and `W`. A window of one second is then the second on the clock. Windows must be whole seconds.
    OneSecondBuckets {
        /// How long after the full second of the wall clock a bucket begins, less than one second; `None` draws from the seed how
        /// long after the start of the simulator.
        phase: Option<Duration>,
    },
}

/// `quota` requests in each window of `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) quota: u64,
    pub(super) window: Duration,
}

/// One counter of admitted requests. Times are since the start of the simulator and never go back.
#[derive(Debug)]
pub(super) struct Window {
    rule: Rule,
    counted: Counted,
}

#[derive(Debug)]
enum Counted {
    Rolling(VecDeque<Duration>),
    Buckets {
        /// What to add to the time so that buckets begin at its full seconds.
        shift: Duration,
        /// Number of the second, and how many were counted in it; empty seconds have no entry.
        buckets: VecDeque<(u64, u64)>,
        sum: u64,
    },
}

impl Window {
    pub(super) fn rolling(rule: Rule) -> Self {
        Self {
            rule,
            counted: Counted::Rolling(VecDeque::new()),
        }
    }

    pub(super) fn buckets(rule: Rule, shift: Duration) -> Self {
        let counted = Counted::Buckets {
            shift,
            buckets: VecDeque::new(),
            sum: 0,
        };
        Self { rule, counted }
    }

    pub(super) fn rule(&self) -> Rule {
        self.rule
    }

    /// Another quota from now on. What was counted stays counted.
    pub(super) fn set_quota(&mut self, quota: u64) {
        self.rule.quota = quota;
    }

    /// Counts a request at `now` if there is room for it.
    pub(super) fn admit(&mut self, now: Duration) -> bool {
        if self.used(now) >= self.rule.quota {
            return false;
        }
        match &mut self.counted {
            Counted::Rolling(times) => times.push_back(now),
            Counted::Buckets {
                shift,
                buckets,
                sum,
            } => {
                let second = (now + *shift).as_secs();
                *sum += 1;
                match buckets.back_mut() {
                    Some((last, count)) if *last == second => *count += 1,
                    _ => buckets.push_back((second, 1)),
                }
            }
        }
        true
    }

    /// How many are counted at `now`.
    pub(super) fn used(&mut self, now: Duration) -> u64 {
        match &mut self.counted {
            Counted::Rolling(times) => {
                while times.front().is_some_and(|&t| t + self.rule.window <= now) {
                    times.pop_front();
                }
                times.len() as u64
            }
            Counted::Buckets {
                shift,
                buckets,
                sum,
            } => {
                let second = (now + *shift).as_secs();
                let width = self.rule.window.as_secs();
                while let Some(&(first, count)) = buckets.front() {
                    if first + width > second {
                        break;
                    }
                    *sum -= count;
                    buckets.pop_front();
                }
                *sum
            }
        }
    }
}

impl Windows {
    /// Buckets that begin at the full seconds of the wall clock.
    pub const WALL_SECONDS: Windows = Windows::OneSecondBuckets {
        phase: Some(Duration::ZERO),
    };

    /// Whether `window` can be built from whole seconds, if it must be.
    pub(super) fn fits(self, window: Duration) -> bool {
        matches!(self, Windows::TrueRolling) || (window.subsec_nanos() == 0 && window >= SECOND)
    }

    pub(super) fn phase_fits(self) -> bool {
        match self {
            Windows::OneSecondBuckets { phase: Some(phase) } => phase < SECOND,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rule(quota: u64, seconds: u64) -> Rule {
        Rule {
            quota,
            window: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_request_exactly_one_window_old_is_out() {
        let mut window = Window::rolling(rule(1, 10));
        assert!(window.admit(Duration::ZERO));
        assert!(!window.admit(10 * SECOND - MS));
        assert!(window.admit(10 * SECOND));
    }

    #[test]
    fn buckets_forget_a_whole_second_at_once() {
        let mut window = Window::buckets(rule(2, 10), Duration::ZERO);
        assert!(window.admit(900 * MS));
        assert!(window.admit(999 * MS));
        // Second 9 still sees second 0, second 10 does not: the real window was 9.001 s.
        assert!(!window.admit(9_999 * MS));
        assert!(window.admit(10_000 * MS));
    }

    #[test]
    fn the_phase_moves_the_buckets() {
        let mut window = Window::buckets(rule(1, 1), 400 * MS);
        assert!(window.admit(500 * MS));
        assert!(!window.admit(599 * MS));
        assert!(window.admit(600 * MS));
    }
}
