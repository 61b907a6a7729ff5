//! A rolling window without cleverness and without a network: what a limit would do to demands, at best.

use std::collections::VecDeque;

use tower_quota::plan::Lane;

/// Requests that are wanted at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Demand {
    /// In seconds.
    pub(super) at: f64,
    pub(super) requests: u64,
    pub(super) lane: Lane,
}

/// Moments that are nearer to each other are the same: they are sums of fractions, which are rounded.
const SAME: f64 = 1e-6;
/// Nobody waits longer; a limit that is so far behind never catches up.
const LONGEST_WAIT: f64 = 86_400.0;

/// Tells for each demand how many are wanted in the window that ends with it. Demands come in the order of their times.
pub(super) fn wanted(
    demands: impl IntoIterator<Item = Demand>,
    window: f64,
    mut tell: impl FnMut(f64, u64),
) {
    let mut inside = VecDeque::new();
    let mut sum = 0;
    for demand in demands {
        while let Some(&(at, requests)) = inside.front() {
            if demand.at + SAME < at + window {
                break;
            }
            sum -= requests;
            inside.pop_front();
        }
        inside.push_back((demand.at, demand.requests));
        sum += demand.requests;
        tell(demand.at, sum);
    }
}

/// Tells for each demand how long its requests wait until there are fewer than `quota` in the window; those of `Interactive` go first,
/// each lane in order. The demand, its lane, and how long; a demand is told of several times when it is let through in parts.
pub(super) fn waits(
    demands: impl IntoIterator<Item = Demand>,
    quota: u64,
    window: f64,
    mut tell: impl FnMut(f64, Lane, f64),
) {
    let mut demands = demands.into_iter().peekable();
    let mut lines = [VecDeque::new(), VecDeque::new()];
    // When they leave the window, and how many.
    let mut inside: VecDeque<(f64, u64)> = VecDeque::new();
    let mut held = 0;
    loop {
        let someone_waits = lines.iter().any(|line| !line.is_empty());
        let next = demands.peek().map(|demand: &Demand| demand.at);
        let leaves = inside.front().map(|&(leaves, _)| leaves);
        let now = match (next, leaves.filter(|_| someone_waits)) {
            (Some(next), Some(leaves)) => next.min(leaves),
            (Some(now), None) | (None, Some(now)) => now,
            (None, None) => break,
        };
        while let Some(&(leaves, requests)) = inside.front() {
            if leaves > now + SAME {
                break;
            }
            held -= requests;
            inside.pop_front();
        }
        while let Some(demand) = demands.next_if(|demand| demand.at <= now) {
            lines[usize::from(demand.lane == Lane::Bulk)].push_back(demand);
        }
        for line in &mut lines {
            while let Some(first) = line.front_mut() {
                let waited = now - first.at;
                let free = quota - held;
                if free == 0 && waited <= LONGEST_WAIT {
                    break;
                }
                tell(first.at, first.lane, waited);
                if waited > LONGEST_WAIT {
                    return;
                }
                let go = free.min(first.requests);
                inside.push_back((now + window, go));
                held += go;
                first.requests -= go;
                if first.requests == 0 {
                    line.pop_front();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(at: f64, requests: u64) -> Demand {
        Demand {
            at,
            requests,
            lane: Lane::Bulk,
        }
    }

    fn longest(demands: &[Demand], quota: u64, window: f64) -> [f64; 2] {
        let mut longest = [0.0_f64; 2];
        waits(demands.iter().copied(), quota, window, |_, lane, wait| {
            let longest = &mut longest[usize::from(lane == Lane::Bulk)];
            *longest = longest.max(wait);
        });
        longest
    }

    #[test]
    fn the_fullest_window_is_half_open() {
        let demands = [bulk(0.0, 3), bulk(5.0, 2), bulk(10.0, 4), bulk(14.9, 1)];
        let mut seen = Vec::new();
        wanted(demands, 10.0, |_, sum| seen.push(sum));
        assert_eq!(seen, [3, 5, 6, 7]);
    }

    #[test]
    fn what_does_not_fit_waits_for_whole_windows() {
        assert_eq!(longest(&[bulk(0.0, 190)], 190, 10.0), [0.0, 0.0]);
        assert_eq!(longest(&[bulk(0.0, 191)], 190, 10.0), [0.0, 10.0]);
        assert_eq!(longest(&[bulk(0.0, 1_000)], 190, 10.0), [0.0, 50.0]);
        // Half of the window is used by others until 7 s.
        let demands = [bulk(-3.0, 95), bulk(0.0, 190)];
        assert_eq!(longest(&demands, 190, 10.0), [0.0, 7.0]);
    }

    #[test]
    fn the_urgent_go_first() {
        let urgent = Demand {
            at: 1.0,
            requests: 1,
            lane: Lane::Interactive,
        };
        let demands = [bulk(0.0, 30), urgent];
        assert_eq!(longest(&demands, 10, 10.0), [9.0, 30.0]);
    }

    #[test]
    fn a_limit_that_never_catches_up_ends() {
        let [_, bulk] = longest(&[bulk(0.0, 1_000_000_000)], 1, 1.0);
        assert!(bulk > LONGEST_WAIT, "{bulk}");
    }
}
