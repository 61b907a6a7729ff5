//! Simulated days of programs that use a daily pool, in requests per minute from midnight to midnight, and when it is foretold that
//! they have used it up.

// Every test and bench compiles its own copy and uses a part of it.
#![allow(dead_code)]

use std::f64::consts::TAU;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use tower_quota::report::projection::{Burn, Projection};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const MINUTES: usize = 24 * 60;
pub(crate) const NOON: usize = MINUTES / 2;
/// A burst is as fast as 190 requests per 10 s allow.
const FASTEST: f64 = 19.0 * 60.0;

pub(crate) type Day = Vec<f64>;

/// Who uses the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// One to six syncs, each every 5 to 60 minutes at a phase of its own, in bursts of hundreds or thousands.
    Syncs,
    /// People at work, and a backfill at night.
    Office,
    /// Sessions of agents that begin at any time, each of dozens or hundreds of requests.
    Agents,
    /// All of these, and on one day of five an import that nobody could foresee.
    Mixed,
}

/// What the program knows of the day before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// A day of the same kind.
    Alike,
    /// A day on which a few people were at work, at any time.
    Weekend,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) traffic: Traffic,
    pub(crate) before: Before,
    /// At which minute the program starts. What was used before, only the server knows.
    pub(crate) starts: usize,
}

const fn kind(name: &'static str, traffic: Traffic, before: Before, starts: usize) -> Kind {
    Kind {
        name,
        traffic,
        before,
        starts,
    }
}

pub(crate) const KINDS: [Kind; 12] = [
    kind("syncs", Traffic::Syncs, Before::Nothing, 0),
    kind("syncs, day before", Traffic::Syncs, Before::Alike, 0),
    kind("office", Traffic::Office, Before::Nothing, 0),
    kind("office, day before", Traffic::Office, Before::Alike, 0),
    kind("office, after Sunday", Traffic::Office, Before::Weekend, 0),
    kind("agents", Traffic::Agents, Before::Nothing, 0),
    kind("agents, day before", Traffic::Agents, Before::Alike, 0),
    kind("mixed", Traffic::Mixed, Before::Nothing, 0),
    kind("mixed, day before", Traffic::Mixed, Before::Alike, 0),
    kind("syncs from 09:00", Traffic::Syncs, Before::Nothing, 9 * 60),
    kind(
        "office from 09:00",
        Traffic::Office,
        Before::Nothing,
        9 * 60,
    ),
    kind("mixed from 09:00", Traffic::Mixed, Before::Nothing, 9 * 60),
];

/// A day before, if it is known, and a day.
pub(crate) struct Run {
    pub(crate) before: Option<Day>,
    pub(crate) day: Day,
    pub(crate) quota: f64,
}

impl Run {
    /// A run whose pool is not empty at noon. Half of the quotas or a little more are used up before midnight.
    pub(crate) fn new(kind: &Kind, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        loop {
            let account = Account::new(kind.traffic, &mut rng);
            let before = match kind.before {
                Before::Nothing => None,
                Before::Alike => Some(account.day(false, &mut rng)),
                Before::Weekend => Some(account.day(true, &mut rng)),
            };
            let day = account.day(false, &mut rng);
            let sum = |minutes: &[f64]| minutes.iter().sum::<f64>();
            let quota = (sum(&day) * between(&mut rng, 0.4, 1.4)).floor();
            if quota > sum(&day[..NOON]) {
                return Self { before, day, quota };
            }
        }
    }

    /// At which minute the pool is used up.
    pub(crate) fn runs_out(&self) -> Option<f64> {
        let mut left = self.quota;
        for (minute, requests) in self.day.iter().enumerate() {
            if *requests >= left {
                return Some(minute as f64 + left / requests);
            }
            left -= requests;
        }
        None
    }

    /// Requests before a minute.
    pub(crate) fn used(&self, until: usize) -> f64 {
        self.day[..until].iter().sum()
    }

    /// What a program of this kind has counted at a minute.
    pub(crate) fn usage(&self, kind: &Kind, until: usize) -> Burn {
        let midnight = midnight();
        let mut usage = match &self.before {
            Some(before) => {
                let mut usage = Burn::new(midnight - DAY, midnight);
                note(&mut usage, midnight - DAY, before, 0);
                usage
            }
            None => Burn::new(at(kind.starts), midnight + DAY),
        };
        if kind.starts > 0 {
            // The first response tells what was used before.
            self.project(&mut usage, kind.starts);
        }
        note(&mut usage, midnight, &self.day[..until], kind.starts);
        usage
    }

    /// What is foretold at a minute.
    pub(crate) fn project(&self, usage: &mut Burn, until: usize) -> Projection {
        let used = self.used(until) as u32;
        usage.project(at(until), used, self.quota as u32, midnight() + DAY)
    }

    /// At which minute the pool is said to be used up.
    pub(crate) fn foretold(&self, kind: &Kind, until: usize) -> Option<f64> {
        let mut usage = self.usage(kind, until);
        let runs_out = self.project(&mut usage, until).runs_out?;
        let since = runs_out.duration_since(midnight()).ok()?;
        Some(since.as_secs_f64() / 60.0)
    }
}

fn midnight() -> SystemTime {
    UNIX_EPOCH + 20_000 * DAY
}

fn at(minute: usize) -> SystemTime {
    midnight() + minute as u32 * MINUTE
}

fn note(usage: &mut Burn, midnight: SystemTime, day: &[f64], starts: usize) {
    for (minute, requests) in day.iter().enumerate().skip(starts) {
        usage.note(midnight + minute as u32 * MINUTE, *requests as u32);
    }
}

/// What is the same every day.
struct Account {
    syncs: Vec<Sync>,
    office: Option<Office>,
    agents: Option<Agents>,
    has_imports: bool,
}

struct Sync {
    period: usize,
    phase: usize,
    requests: f64,
    /// How far apart the sizes of its bursts are.
    spread: f64,
}

struct Office {
    /// Requests per minute when all are at work.
    peak: f64,
    /// When half of them have come, and when half have gone, in minutes.
    opens: f64,
    closes: f64,
    backfill_at: f64,
    /// As a share of the requests of the people.
    backfill: f64,
}

struct Agents {
    sessions_per_hour: f64,
    requests: f64,
}

impl Account {
    fn new(traffic: Traffic, rng: &mut Rng) -> Self {
        let is_mixed = traffic == Traffic::Mixed;
        let syncs = match traffic {
            Traffic::Syncs => rng.usize(1..=6),
            Traffic::Mixed => rng.usize(1..=3),
            _ => 0,
        };
        Self {
            syncs: (0..syncs).map(|_| Sync::new(rng)).collect(),
            office: (is_mixed || traffic == Traffic::Office).then(|| Office::new(rng)),
            agents: (is_mixed || traffic == Traffic::Agents).then(|| Agents::new(rng)),
            has_imports: is_mixed,
        }
    }

    fn day(&self, is_weekend: bool, rng: &mut Rng) -> Day {
        let mut day = vec![0.0; MINUTES];
        for sync in &self.syncs {
            sync.fill(&mut day, rng);
        }
        if let Some(office) = &self.office {
            office.fill(&mut day, is_weekend, rng);
        }
        if let Some(agents) = &self.agents {
            agents.fill(&mut day, rng);
        }
        if self.has_imports && rng.f64() < 0.2 {
            let requests = day.iter().sum::<f64>() * between(rng, 0.03, 0.15);
            let at = rng.usize(..MINUTES);
            burst(&mut day, at, requests);
        }
        for requests in &mut day {
            *requests = requests.round();
        }
        day
    }
}

impl Sync {
    fn new(rng: &mut Rng) -> Self {
        const PERIODS: [usize; 7] = [5, 10, 15, 20, 30, 45, 60];
        let period = PERIODS[rng.usize(..PERIODS.len())];
        Self {
            period,
            phase: rng.usize(..period),
            // A sync that is rare has more to do.
            requests: period as f64 * log_normal(rng, 30.0, 0.7),
            spread: between(rng, 0.1, 0.6),
        }
    }

    fn fill(&self, day: &mut Day, rng: &mut Rng) {
        for at in (self.phase..MINUTES).step_by(self.period) {
            let requests = log_normal(rng, self.requests, self.spread);
            burst(day, at, requests);
        }
    }
}

impl Office {
    fn new(rng: &mut Rng) -> Self {
        Self {
            peak: log_normal(rng, 60.0, 0.5),
            opens: between(rng, 7.0, 9.5) * 60.0,
            closes: between(rng, 16.5, 20.0) * 60.0,
            backfill_at: between(rng, 0.0, 5.0) * 60.0,
            backfill: between(rng, 0.0, 0.4),
        }
    }

    fn fill(&self, day: &mut Day, is_weekend: bool, rng: &mut Rng) {
        // Of one day and another, and from hour to hour.
        let level = log_normal(rng, self.peak, 0.2);
        let late = normal(rng) * 10.0;
        let mut mood = 0.0;
        let mut people = 0.0;
        for (minute, requests) in day.iter_mut().enumerate() {
            if minute % 30 == 0 {
                mood = 0.7 * mood + 0.12 * normal(rng);
            }
            let minute = minute as f64 - late;
            let rises = |at: f64| 1.0 / (1.0 + (-(minute - at) / 20.0).exp());
            let lunch = 0.35 * (-((minute - 750.0) / 30.0).powi(2)).exp();
            let at_work = rises(self.opens) * (1.0 - rises(self.closes)) * (1.0 - lunch);
            let present = match is_weekend {
                true => 0.06,
                false => 0.03 + 0.97 * at_work,
            };
            let expected = level * present * f64::exp(mood);
            let count = poisson(rng, expected);
            people += count;
            *requests += count;
        }
        let at = (self.backfill_at + normal(rng) * 5.0).max(0.0) as usize;
        let requests = people * self.backfill * log_normal(rng, 1.0, 0.2);
        burst(day, at, requests);
    }
}

impl Agents {
    fn new(rng: &mut Rng) -> Self {
        Self {
            sessions_per_hour: between(rng, 10.0, 100.0),
            requests: log_normal(rng, 80.0, 0.6),
        }
    }

    fn fill(&self, day: &mut Day, rng: &mut Rng) {
        let sessions = poisson(rng, 24.0 * self.sessions_per_hour) as usize;
        for _ in 0..sessions {
            let at = rng.usize(..MINUTES);
            // Of any length: most are short.
            let requests = (self.requests * -(1.0 - rng.f64()).ln()).ceil();
            let lasts = rng.usize(3..=20);
            for minute in day.iter_mut().skip(at).take(lasts) {
                *minute += requests / lasts as f64;
            }
        }
    }
}

/// As fast as it may go, from a minute on.
fn burst(day: &mut Day, at: usize, requests: f64) {
    let mut left = requests.round();
    for minute in day.iter_mut().skip(at) {
        let count = left.min(FASTEST);
        *minute += count;
        left -= count;
        if left <= 0.0 {
            break;
        }
    }
}

fn between(rng: &mut Rng, least: f64, most: f64) -> f64 {
    least + (most - least) * rng.f64()
}

fn normal(rng: &mut Rng) -> f64 {
    // Box and Muller.
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos()
}

fn log_normal(rng: &mut Rng, median: f64, spread: f64) -> f64 {
    median * (spread * normal(rng)).exp()
}

fn poisson(rng: &mut Rng, mean: f64) -> f64 {
    if mean > 30.0 {
        return (mean + mean.sqrt() * normal(rng)).round().max(0.0);
    }
    // Knuth.
    let limit = (-mean).exp();
    let mut product = rng.f64();
    let mut count = 0.0;
    while product > limit {
        product *= rng.f64();
        count += 1.0;
    }
    count
}
