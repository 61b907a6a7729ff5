//! How much of the quota was used.

use std::time::Duration;

use tower_quota::sim::Sim;

use crate::SECOND;
use crate::limiters::Allowance;

/// How long so many windows full of requests took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Until the first was counted, since there was anybody to send one.
    pub(crate) first: Duration,
    /// From the first until the last.
    pub(crate) took: Duration,
    /// What the server would have allowed.
    ideal: Duration,
}

impl Pace {
    /// Waits until `windows` full of requests are counted, or twice as long as that should have taken.
    pub(crate) async fn wait(
        sim: &Sim,
        allowance: Allowance,
        started: Duration,
        windows: u32,
    ) -> Self {
        let whole = (windows * allowance.quota) as usize;
        let ideal = allowance.window * (windows - 1);
        let longest = started + 2 * allowance.window * windows;
        while sim.stats().counted() < whole as u64 && sim.elapsed() < longest {
            tokio::time::sleep(SECOND / 50).await;
        }
        let log = sim.log();
        let first = log.first().map_or(longest, |first| first.at);
        let last = log.get(whole - 1).map_or(longest, |last| last.at);
        Self {
            first: first - started,
            took: last - first,
            ideal,
        }
    }

    /// 1 if nobody could have been faster.
    pub(crate) fn used(&self) -> f64 {
        self.ideal.as_secs_f64() / self.took.as_secs_f64()
    }
}

/// Below a table.
pub(crate) const LEGEND: &str = "\
first after: until the first request was counted, since the processes were started with an empty Redis
used:        the least time in which the server allows so many requests, of the time they took from the first to the last
";
