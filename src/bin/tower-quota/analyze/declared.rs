//! Days of syncs as they are declared.

use fastrand::Rng;
use tower_quota::plan::Plan;

use super::draw::{Day, Source, Worst};
use super::ground::Ground;
use super::syncs::{DAY, Sync, When};
use super::window::{self, Demand};
use super::work::Calls;

/// Syncs and the limits that they share.
pub(super) struct Declared<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) series: Vec<Series<'a>>,
    /// Whether the windows are looked at; the pool alone is much quicker.
    windows: bool,
}

pub(super) struct Series<'a> {
    pub(super) sync: &'a Sync,
    pub(super) account: usize,
    /// The rolling limits of each class of calls.
    windows: [Vec<usize>; 3],
}

/// Calls that a run makes at one moment.
struct Group {
    at: f64,
    series: usize,
    calls: Calls,
}

impl<'a> Declared<'a> {
    pub(super) fn new(plan: &'a Plan, syncs: &'a [Sync], windows: bool) -> Self {
        let mut ground = Ground::new(plan);
        let series = syncs.iter().map(|sync| {
            let calls = sync.work.calls(1.0).by_class();
            Series {
                sync,
                account: ground.account(&sync.account),
                windows: calls.map(|(class, calls)| match calls {
                    0 => Vec::new(),
                    _ => ground.windows(&sync.token, &sync.account, class.as_str()),
                }),
            }
        });
        let series = series.collect();
        Self {
            ground,
            series,
            windows,
        }
    }

    fn groups(&self, random: &mut Rng) -> Vec<Group> {
        let mut groups = Vec::new();
        for (series, Series { sync, .. }) in self.series.iter().enumerate() {
            for start in starts(sync, random) {
                let start = start + sync.jitter * random.f64();
                let calls = sync.work.calls(factor(sync.vary, random));
                let parts = sync.parts(calls.all());
                for part in 0..parts {
                    // What runs into the next day stands for what has run into this one.
                    let at = (start + sync.over * part as f64 / parts as f64) % DAY;
                    // Only what is left over is multiplied: all of it might not fit.
                    let share = |calls: u64| {
                        let left = calls % parts;
                        calls / parts + left * (part + 1) / parts - left * part / parts
                    };
                    let calls = Calls {
                        general: share(calls.general),
                        search: share(calls.search),
                        associations: share(calls.associations),
                    };
                    groups.push(Group { at, series, calls });
                }
            }
        }
        groups.sort_by(|a, b| a.at.total_cmp(&b.at));
        groups
    }

    fn worst(&self, groups: &[Group]) -> Vec<Worst> {
        let mut demands: Vec<Vec<Demand>> = vec![Vec::new(); self.ground.windows.len()];
        for group in groups {
            let Series { sync, windows, .. } = &self.series[group.series];
            for (windows, (_, requests)) in windows.iter().zip(group.calls.by_class()) {
                if requests == 0 {
                    continue;
                }
                let (at, lane) = (group.at, sync.lane);
                for &window in windows {
                    demands[window].push(Demand { at, requests, lane });
                }
            }
        }
        let windows = self.ground.windows.iter().zip(demands);
        windows
            .map(|(window, demands)| {
                let mut worst = Worst::default();
                window::wanted(demands.iter().copied(), window.length, |_, sum| {
                    worst.wanted = worst.wanted.max(sum);
                });
                window::waits(demands, window.quota, window.length, |_, lane, wait| {
                    worst.waited(lane, wait);
                });
                worst
            })
            .collect()
    }
}

impl Source for Declared<'_> {
    fn draw(&self, random: &mut Rng) -> Day {
        let groups = self.groups(random);
        let quota = self.ground.pool().map_or(u64::MAX, |(_, quota)| quota);
        let mut used = vec![0; self.ground.accounts.len()];
        let mut day = Day {
            calls: vec![0; self.series.len()],
            late: vec![0; self.series.len()],
            worst: Vec::new(),
        };
        for group in &groups {
            let used = &mut used[self.series[group.series].account];
            let calls = group.calls.all();
            let left: u64 = quota - *used;
            day.calls[group.series] += calls;
            day.late[group.series] += calls.saturating_sub(left);
            *used += calls.min(left);
        }
        if self.windows {
            day.worst = self.worst(&groups);
        }
        day
    }
}

/// One sync, of which only the number of calls is wanted.
pub(super) struct Alone<'a>(pub(super) &'a Sync);

impl Source for Alone<'_> {
    fn draw(&self, random: &mut Rng) -> Day {
        let sync = self.0;
        let runs = starts(sync, random).len();
        let calls = (0..runs).map(|_| sync.work.calls(factor(sync.vary, random)).all());
        Day {
            calls: vec![calls.sum()],
            ..Day::default()
        }
    }
}

/// When the runs of one day begin.
fn starts(sync: &Sync, random: &mut Rng) -> Vec<f64> {
    match &sync.when {
        When::At(times) => times
            .iter()
            .copied()
            .filter(|&at| sync.runs_at(at))
            .collect(),
        When::Every { length, from } => {
            let first = match from {
                Some(from) if *length > DAY && random.f64() >= DAY / length => DAY + from,
                Some(from) => *from,
                None => random.f64() * length,
            };
            let steps = (0_u32..).map(|nth| first + f64::from(nth) * length);
            steps
                .take_while(|&at| at < DAY)
                .filter(|&at| sync.runs_at(at))
                .collect()
        }
        When::PerDay(runs) => {
            let (from, length) = sync.open();
            let mean_gap = length / runs;
            let mut at = 0.0;
            let moments = std::iter::from_fn(|| {
                at += mean_gap * -(1.0 - random.f64()).ln();
                (at < length).then_some((from + at) % DAY)
            });
            moments.collect()
        }
    }
}

/// By how much a run is larger than usual: lognormal with mean 1 and `vary` as its standard deviation.
fn factor(vary: f64, random: &mut Rng) -> f64 {
    if vary == 0.0 {
        return 1.0;
    }
    let variance = (vary * vary).ln_1p();
    // Box and Muller; f64() is below 1, so the logarithm is finite.
    let normal =
        (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
    (variance.sqrt() * normal - variance / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_vary_around_the_mean_as_said() {
        let mut random = Rng::with_seed(3);
        let factors: Vec<f64> = (0..200_000).map(|_| factor(0.3, &mut random)).collect();
        let mean = factors.iter().sum::<f64>() / 200_000.0;
        let square = factors.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 200_000.0;
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
        assert!((square.sqrt() - 0.3).abs() < 0.005, "{}", square.sqrt());
        assert_eq!(factor(0.0, &mut random), 1.0);
    }
}
