//! Days as a log has observed them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use tower_quota::plan::{Plan, Zone};

use super::answer::Basis;
use super::draw::{Day, Source, Worst};
use super::ground::Ground;
use super::requests::{self, Call, Requests};
use super::singles::{Batches, is_single};
use super::window::{self, Demand};
use crate::error::CliError;

/// Accounts, routes of them all, and rolling limits that are looked at: those that are used most.
const MOST_ACCOUNTS: usize = 100;
const MOST_ROUTES: usize = 1_000;
const MOST_WINDOWS: usize = 100;
/// With so many whole days, days are drawn; with fewer, hours.
const ENOUGH_DAYS: usize = 10;

/// What a log says, in parts of equal length.
pub(super) struct Observed<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) series: Vec<Route>,
    blocks: Vec<Block>,
    drawn: Drawn,
    from: f64,
    to: f64,
    requests: u64,
    ungoverned: u64,
    whole_days: usize,
    parts: &'static str,
}

/// One route of one account.
pub(super) struct Route {
    pub(super) name: String,
    account: usize,
    is_single: bool,
    pub(super) calls_per_day: f64,
    pub(super) repeats_per_day: f64,
    /// By which share there were fewer calls, if those of one second left as batch calls.
    batch_saves: f64,
}

/// What is drawn to make a day.
enum Drawn {
    /// The blocks of each whole day.
    Days(Vec<Vec<usize>>),
    /// For each part of a day, the blocks observed at that time of day.
    Parts(Vec<Vec<usize>>),
}

/// A part of a day.
#[derive(Default)]
struct Block {
    /// Calls and repeats of each route.
    counts: BTreeMap<usize, [u64; 2]>,
    worst: BTreeMap<usize, Worst>,
}

/// When the days and their parts begin, in seconds since 1970.
struct Calendar {
    /// Day by day: when it begins and ends, and its first block.
    days: Vec<(f64, f64, usize)>,
    part: f64,
    blocks: usize,
}

impl Calendar {
    fn new(zone: &Zone, from: f64, to: f64, part: f64) -> Self {
        let reset = |after: f64| seconds(zone.next_reset(moment(after)));
        // A day has at most 25 hours.
        let mut begins = reset(from - 26.0 * 3_600.0);
        let mut days = Vec::new();
        let mut blocks = 0;
        while begins <= to {
            let ends = reset(begins);
            if ends > from {
                days.push((begins, ends, blocks));
                blocks += parts(ends - begins, part);
            }
            begins = ends;
        }
        Self { days, part, blocks }
    }

    fn block(&self, at: f64) -> Option<usize> {
        let day = self.days.partition_point(|&(begins, ..)| begins <= at);
        let &(begins, ends, first) = self.days.get(day.checked_sub(1)?)?;
        (at < ends).then(|| first + ((at - begins) / self.part) as usize)
    }

    /// Day by day: its blocks, and when each begins and ends.
    fn parts(&self) -> impl Iterator<Item = Vec<(usize, f64, f64)>> + '_ {
        self.days.iter().map(|&(begins, ends, first)| {
            let parts = 0..parts(ends - begins, self.part);
            let block = |nth: usize| {
                let from = begins + nth as f64 * self.part;
                (first + nth, from, (from + self.part).min(ends))
            };
            parts.map(block).collect()
        })
    }
}

fn parts(length: f64, part: f64) -> usize {
    (length / part).ceil() as usize
}

fn moment(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs_f64(seconds.max(0.0))
}

fn seconds(moment: SystemTime) -> f64 {
    let since = moment.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

impl<'a> Observed<'a> {
    pub(super) fn read(
        plan: &'a Plan,
        zone: &Zone,
        file: &Path,
        window: Duration,
    ) -> Result<Self, CliError> {
        let log = requests::read(file, window)?;
        let (from, to) = (log.from, log.to);
        let (part, parts) = match to - from {
            7_200.0.. => (3_600.0, "hours"),
            120.0.. => (60.0, "minutes"),
            _ => (10.0, "parts of 10 s"),
        };
        let calendar = Calendar::new(zone, from, to, part);
        let mut observed = Self {
            ground: Ground::new(plan),
            series: Vec::new(),
            blocks: Vec::new(),
            drawn: Drawn::Days(Vec::new()),
            from,
            to,
            requests: log.calls.len() as u64,
            ungoverned: 0,
            whole_days: 0,
            parts,
        };
        observed.blocks.resize_with(calendar.blocks, Block::default);
        observed.count(&log, &calendar);
        observed.choose(&log, &calendar);
        observed.average();
        Ok(observed)
    }

    /// Counts the calls of each route, and the worst of each rolling limit, block by block.
    fn count(&mut self, log: &Requests, calendar: &Calendar) {
        let mut calls_of = vec![0_u64; log.kinds.len()];
        for call in &log.calls {
            calls_of[call.kind as usize] += 1;
        }
        let series_of = self.name_routes(log, &calls_of);
        let mut windows_of: Vec<Vec<usize>> = Vec::new();
        let mut calls_in: Vec<u64> = Vec::new();
        for (kind, calls) in log.kinds.iter().zip(&calls_of) {
            let windows = match *calls {
                0 => Vec::new(),
                _ => self.ground.windows(&kind.token, &kind.account, &kind.class),
            };
            calls_in.resize(self.ground.windows.len(), 0);
            for &window in &windows {
                calls_in[window] += calls;
            }
            windows_of.push(windows);
        }
        self.keep_windows(&mut windows_of, &calls_in);
        let mut batches = Batches::new(log.kinds.len());
        for call in &log.calls {
            let kind = call.kind as usize;
            let Some(series) = series_of[kind] else {
                self.ungoverned += u64::from(!self.ground.is_pooled(&log.kinds[kind].class));
                continue;
            };
            if self.series[series].is_single {
                batches.count(kind, series, call.at);
            }
            let Some(block) = calendar.block(call.at) else {
                continue;
            };
            let [calls, repeats] = self.blocks[block].counts.entry(series).or_default();
            *calls += 1;
            *repeats += u64::from(call.is_repeat);
        }
        for (series, (calls, batches)) in batches.end() {
            self.series[series].batch_saves = 1.0 - batches as f64 / calls as f64;
        }
        for window in 0..self.ground.windows.len() {
            let mine = log.calls.iter();
            let mine = mine.filter(|call| windows_of[call.kind as usize].contains(&window));
            self.look_at(window, mine.map(Call::demand), calendar);
        }
    }

    /// A series for each route, of the accounts and routes that are used most; the other routes of an account are one series. `None`
    /// for what uses no pool, and for accounts that are left out.
    fn name_routes(&mut self, log: &Requests, calls_of: &[u64]) -> Vec<Option<usize>> {
        let mut accounts: HashMap<&str, u64> = HashMap::new();
        let mut routes: HashMap<(&str, &str), u64> = HashMap::new();
        let pooled: Vec<bool> = log
            .kinds
            .iter()
            .map(|kind| self.ground.is_pooled(&kind.class))
            .collect();
        let kinds = || log.kinds.iter().zip(calls_of).zip(&pooled);
        for ((kind, calls), _) in kinds().filter(|((_, calls), pooled)| **pooled && **calls > 0) {
            *accounts.entry(&kind.account).or_default() += calls;
            *routes.entry((&kind.account, &kind.route)).or_default() += calls;
        }
        let accounts: Vec<&str> = most(accounts, MOST_ACCOUNTS);
        let routes: Vec<(&str, &str)> = most(routes, MOST_ROUTES);
        let mut known: HashMap<(&str, &str), usize> = HashMap::new();
        // The busiest account and route come first.
        for &account in &accounts {
            let nth = self.ground.account(account);
            for &(_, route) in routes.iter().filter(|(of, _)| *of == account) {
                known.insert((account, route), self.series.len());
                self.series.push(Route::new(route, nth));
            }
        }
        let mut series_of = Vec::new();
        for ((kind, &calls), &pooled) in kinds() {
            let account = (pooled && calls > 0)
                .then(|| accounts.iter().position(|&of| of == kind.account))
                .flatten();
            series_of.push(account.map(|account| {
                let route = (kind.account.as_str(), kind.route.as_str());
                let other = (kind.account.as_str(), "");
                let found = known.get(&route).or_else(|| known.get(&other)).copied();
                found.unwrap_or_else(|| {
                    self.series.push(Route::new("other routes", account));
                    known.insert(other, self.series.len() - 1);
                    self.series.len() - 1
                })
            }));
        }
        series_of
    }

    /// Leaves those out that are used least.
    fn keep_windows(&mut self, windows_of: &mut [Vec<usize>], calls_in: &[u64]) {
        let calls = calls_in.iter().copied().enumerate().collect();
        let kept = most(calls, MOST_WINDOWS);
        let windows = kept
            .iter()
            .map(|&window| self.ground.windows[window].clone());
        self.ground.windows = windows.collect();
        for windows in windows_of {
            *windows = windows
                .iter()
                .filter_map(|window| kept.iter().position(|kept| kept == window))
                .collect();
        }
    }

    fn look_at(
        &mut self,
        window: usize,
        demands: impl Iterator<Item = Demand> + Clone,
        calendar: &Calendar,
    ) {
        let (quota, length) = {
            let window = &self.ground.windows[window];
            (window.quota, window.length)
        };
        let blocks = &mut self.blocks;
        window::wanted(demands.clone(), length, |at, sum| {
            if let Some(block) = calendar.block(at) {
                let worst = blocks[block].worst.entry(window).or_default();
                worst.wanted = worst.wanted.max(sum);
            }
        });
        window::waits(demands, quota, length, |at, lane, wait| {
            if let Some(block) = calendar.block(at) {
                let worst = blocks[block].worst.entry(window).or_default();
                worst.waited(lane, wait);
            }
        });
    }

    /// Decides what days are drawn from.
    fn choose(&mut self, log: &Requests, calendar: &Calendar) {
        // The log may end a moment before the part does.
        const SLACK: f64 = 1.0;
        let is_whole = |&(_, begins, ends): &(usize, f64, f64)| {
            begins >= log.from - SLACK && ends <= log.to + SLACK
        };
        let is_seen = |&(_, begins, ends): &(usize, f64, f64)| log.is_seen(begins, ends);
        let mut whole_days = Vec::new();
        let mut slots: Vec<Vec<usize>> = Vec::new();
        let mut partial = Vec::new();
        for day in calendar.parts() {
            let good = |part: &(usize, f64, f64)| is_whole(part) && is_seen(part);
            if day.iter().all(good) {
                whole_days.push(day.iter().map(|&(block, ..)| block).collect());
            }
            // A day of 25 hours has one more, which is drawn for none.
            let usual = parts(super::syncs::DAY, calendar.part);
            slots.resize_with(slots.len().max(usual), Vec::new);
            for (slot, part) in day.iter().enumerate().take(usual) {
                match good(part) {
                    true => slots[slot].push(part.0),
                    false if is_seen(part) => partial.push(part.0),
                    false => {}
                }
            }
        }
        self.whole_days = whole_days.len();
        if whole_days.len() >= ENOUGH_DAYS {
            self.parts = "days";
            self.drawn = Drawn::Days(whole_days);
            return;
        }
        // Of a time of day that was never observed, any other stands for it.
        let mut any: Vec<usize> = slots.iter().flatten().copied().collect();
        if any.is_empty() {
            any = partial;
        }
        for slot in slots.iter_mut().filter(|slot| slot.is_empty()) {
            slot.clone_from(&any);
        }
        self.drawn = Drawn::Parts(slots);
    }

    /// What a day has on average, exactly.
    fn average(&mut self) {
        let mut sums = vec![[0.0; 2]; self.series.len()];
        let mut add = |block: &Block, share: f64| {
            for (&series, counts) in &block.counts {
                for (sum, &count) in sums[series].iter_mut().zip(counts) {
                    *sum += share * count as f64;
                }
            }
        };
        let lists = match &self.drawn {
            Drawn::Days(lists) | Drawn::Parts(lists) => lists,
        };
        for list in lists {
            let of = match &self.drawn {
                Drawn::Days(days) => days.len(),
                Drawn::Parts(_) => list.len(),
            };
            for &block in list {
                add(&self.blocks[block], 1.0 / of as f64);
            }
        }
        for (route, [calls, repeats]) in self.series.iter_mut().zip(sums) {
            (route.calls_per_day, route.repeats_per_day) = (calls, repeats);
        }
    }

    pub(super) fn series_of(&self, account: usize) -> Vec<usize> {
        (0..self.series.len())
            .filter(|&series| self.series[series].account == account)
            .collect()
    }

    /// The routes among these that have a batch form, and by which share there would be fewer calls.
    pub(super) fn batchable(
        &self,
        series: &[usize],
    ) -> impl Iterator<Item = (usize, String, f64, f64)> {
        let routes = series.iter().map(|&series| (series, &self.series[series]));
        let single = routes.filter(|(_, route)| route.is_single && route.batch_saves > 0.0);
        single.map(|(series, route)| {
            let name = route.name.clone();
            (series, name, route.calls_per_day, route.batch_saves)
        })
    }

    pub(super) fn basis(&self, file: &Path) -> Basis {
        Basis::Log {
            file: file.display().to_string(),
            from: self.from,
            to: self.to,
            requests: self.requests,
            ungoverned: self.ungoverned,
            whole_days: self.whole_days,
            resampled: self.parts,
        }
    }
}

impl Source for Observed<'_> {
    fn draw(&self, random: &mut Rng) -> Day {
        let mut day = Day {
            calls: vec![0; self.series.len()],
            late: Vec::new(),
            worst: vec![Worst::default(); self.ground.windows.len()],
        };
        let mut add = |block: usize| {
            let block = &self.blocks[block];
            for (&series, [calls, _]) in &block.counts {
                day.calls[series] += calls;
            }
            for (&window, worst) in &block.worst {
                day.worst[window].merge(worst);
            }
        };
        match &self.drawn {
            Drawn::Days(days) => {
                if let Some(blocks) = random.choice(days) {
                    blocks.iter().copied().for_each(add);
                }
            }
            Drawn::Parts(slots) => {
                for slot in slots {
                    random.choice(slot).copied().into_iter().for_each(&mut add);
                }
            }
        }
        day
    }
}

impl Route {
    fn new(name: &str, account: usize) -> Self {
        Self {
            name: name.to_owned(),
            account,
            is_single: is_single(name),
            calls_per_day: 0.0,
            repeats_per_day: 0.0,
            batch_saves: 0.0,
        }
    }
}

/// Those with the highest figures, and of equal ones the first.
fn most<K: Ord + std::hash::Hash>(all: HashMap<K, u64>, count: usize) -> Vec<K> {
    let mut all: Vec<(K, u64)> = all.into_iter().collect();
    all.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    all.into_iter().take(count).map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_of_25_hours_have_25_parts() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        // 2026-10-25 begins at 22:00Z of the 24th.
        let begins = 1_792_879_200.0;
        let calendar = Calendar::new(&berlin, begins, begins + 90_000.0, 3_600.0);
        assert_eq!(calendar.days[0], (begins, begins + 90_000.0, 0));
        assert_eq!(calendar.block(begins + 89_999.0), Some(24));
        assert_eq!(calendar.block(begins + 90_000.0), Some(25));
        assert_eq!(calendar.block(begins - 1.0), None);
    }
}
