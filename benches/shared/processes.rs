//! Processes at full demand with one token.
//!
//! All runs go at the same time, each with an API and a Redis of its own: none of them is much work for a machine.

use std::path::Path;
use std::time::Duration;

use crate::fleet::{Process, Said, World};
use crate::limiters::Allowance;
use crate::pace::Pace;
use crate::seen::{Outage, Seen, report};
use crate::tables::Table;
use crate::{SECOND, in_real_time, program, scripts};

pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Whole windows, for a fair comparison.
const LASTS: Duration = Duration::from_secs(60);

/// Redis is gone for so long, after so long.
const OUTAGE: Duration = Duration::from_secs(30);

/// Longer than any answer takes here. What a killed process has in flight is held for so long, a lease and a window.
const TIMEOUT: &str = "5";

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) quota: u32,
    pub(crate) trouble: Trouble,
    /// How many work at a time.
    processes: usize,
    /// Whether they share the quota.
    pub(crate) shares: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// The clocks of two processes are an hour ahead, that of a third is an hour behind.
    Skew,
    /// One is killed every 5 s and another one started.
    Kill,
    /// Redis is killed in mid-run, at a bad moment, and comes back empty.
    Restart,
    /// Redis is gone for a while and comes back empty.
    Outage,
}

pub(crate) const RUNS: [Run; 10] = [
    run("one, without Redis", 100, 1, Trouble::None).alone(),
    run("one", 100, 1, Trouble::None),
    run("four", 100, 4, Trouble::None),
    run("four, clocks wrong by an hour", 100, 4, Trouble::Skew),
    run("four, one killed every 5 s", 100, 4, Trouble::Kill),
    run("four, Redis restarted, empty", 100, 4, Trouble::Restart),
    run("four, Redis gone for 30 s", 100, 4, Trouble::Outage),
    run("one, without Redis", 190, 1, Trouble::None).alone(),
    run("one", 190, 1, Trouble::None),
    run("four", 190, 4, Trouble::None),
];

const fn run(name: &'static str, quota: u32, processes: usize, trouble: Trouble) -> Run {
    Run {
        name,
        quota,
        trouble,
        processes,
        shares: true,
    }
}

pub(crate) fn table() -> Table {
    let program = program::example("shared_quota");
    let seen = in_real_time(async {
        let runs = RUNS.map(|run| {
            let program = program.clone();
            tokio::spawn(async move { run.see(&program).await })
        });
        let mut seen = Vec::new();
        for run in runs {
            seen.push(run.await.expect("no run panics"));
        }
        seen
    });
    report(&seen)
}

impl Run {
    const fn alone(mut self) -> Self {
        self.shares = false;
        self
    }

    pub(crate) fn lasts(&self) -> Duration {
        match self.trouble {
            Trouble::Outage => 3 * OUTAGE,
            _ => LASTS,
        }
    }

    async fn see(self, program: &Path) -> Seen {
        let mut world = World::new(Allowance {
            quota: self.quota,
            window: WINDOW,
        })
        .await;
        let skews: &[&str] = match self.trouble {
            Trouble::Skew => &["3600", "3600", "-3600"],
            _ => &[],
        };
        let start = |nth: usize| {
            let skew = skews.get(nth).unwrap_or(&"0");
            let arguments = ["--timeout", TIMEOUT, "--clock-skew", skew];
            match self.shares {
                true => world.start(program, &arguments),
                false => world.start_alone(program, &arguments),
            }
        };
        let started = world.sim.elapsed();
        let mut processes: Vec<Process> = (0..self.processes).map(start).collect();
        let begun = world.begun().await;
        let end = begun + self.lasts();
        let mut said = Vec::new();
        let mut outage = None;
        match self.trouble {
            Trouble::None | Trouble::Skew => {}
            Trouble::Kill => {
                let mut next = begun + WINDOW;
                while next < end {
                    world.until(next).await;
                    next += 5 * SECOND;
                    said.push(processes.remove(0).kill().await);
                    processes.push(world.start(program, &["--timeout", TIMEOUT]));
                }
            }
            Trouble::Restart => {
                world.in_a_rush(begun + LASTS / 2).await;
                world.redis.restart();
            }
            Trouble::Outage => outage = Some(take_away(&mut world, begun).await),
        }
        world.until(end).await;
        let windows = self.lasts().as_secs() / WINDOW.as_secs();
        let pace = Pace::wait(&world.sim, world.allowance, started, windows as u32).await;
        if let Some(outage) = &mut outage {
            outage.most_after = world.most(outage.returned);
        }
        let counts_scripts = matches!(self.trouble, Trouble::None | Trouble::Skew);
        let scripts = counts_scripts.then(|| scripts(&world.redis));
        let survivors = said.len();
        for process in processes {
            said.push(process.end().await);
        }
        let shares = |from: Duration| {
            let done = |said: &Said| said.last("ok") - said.at(from, "ok");
            let done: Vec<u64> = said[survivors..].iter().map(|said| done(said)).collect();
            let all = done.iter().sum::<u64>().max(1);
            done.iter().map(|&one| one as f64 / all as f64).collect()
        };
        let sum = |name| said.iter().map(|said| said.last(name)).sum::<u64>();
        Seen {
            run: self,
            pace,
            refused: world.sim.stats().refused(),
            failed: sum("lost") + sum("other") + sum("failed"),
            requests: sum("requests"),
            calls: sum("redis_calls"),
            heartbeats: sum("redis_heartbeats"),
            scripts,
            shares: shares(Duration::ZERO),
            later_shares: shares(pace.first + WINDOW),
            outage,
        }
    }
}

/// Stops Redis, and starts it again.
async fn take_away(world: &mut World, begun: Duration) -> Outage {
    world.in_a_rush(begun + OUTAGE).await;
    world.redis.stop();
    let gone = world.sim.elapsed();
    world.until(gone + OUTAGE).await;
    world.redis.restart();
    let returned = world.sim.elapsed();
    let rate = |from: Duration, to: Duration| {
        let counted = world.counted(from, to) as f64;
        counted / (to - from).as_secs_f64()
    };
    Outage {
        // With the first window, which was free at once: rather too much than too little.
        before: rate(begun, gone),
        during: rate(gone, returned),
        returned,
        most_after: 0,
    }
}
