//! What is known of one program: its last report, the last day in intervals, and the last events.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_quota::core::Fingerprint;
use tower_quota::event::{EventKind, QuotaEvent};
use tower_quota::record::Entry;
use tower_quota::report::{DailyReport, Interval, Report};

use super::happened::{Happened, Tone};

/// So far back is shown.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3_600);
/// The length of an interval.
pub(super) const STEP: u64 = 300;
/// So many events are kept.
const EVENTS: usize = 100;
/// An event is the same again if it is like one of so many before.
const RECENT: usize = 6;
/// So many daily pools are followed.
const POOLS: usize = 16;

/// The figures of one program.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) report: Option<Report>,
    /// The name of the API, before there is a report.
    pub(super) api: Option<String>,
    /// By when they began, in seconds since 1970.
    history: BTreeMap<u64, Slot>,
    pub(super) pools: Vec<Pool>,
    /// The newest first.
    pub(super) events: VecDeque<Happened>,
    /// When the last line came, or was written if it was there before.
    pub(super) news: Option<SystemTime>,
    /// Lines that make no sense, that are torn, or that only later versions know.
    pub(super) skipped: u64,
    /// What was wrong with the last that makes no sense.
    pub(super) problem: Option<String>,
    /// There will be no more lines.
    pub(super) has_ended: bool,
}

/// An interval. A program that starts again counts from zero again.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    before: Sums,
    now: Sums,
}

/// What became of requests in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) rate_limited: u64,
    pub(super) daily: u64,
}

impl Sums {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            rate_limited: self.rate_limited.saturating_add(other.rate_limited),
            daily: self.daily.saturating_add(other.daily),
        }
    }
}

impl From<&Interval> for Sums {
    fn from(interval: &Interval) -> Self {
        Self {
            requests: interval.requests.into(),
            errors: interval.errors.into(),
            rate_limited: interval.rate_limited.into(),
            daily: interval.daily.into(),
        }
    }
}

/// What was left of a daily pool, as far as reports have told.
#[derive(Debug)]
pub(super) struct Pool {
    limit: String,
    key: Option<Fingerprint>,
    resets: SystemTime,
    /// In seconds since 1970 and requests; one in five minutes.
    pub(super) points: BTreeMap<u64, (f64, u32)>,
}

impl Pool {
    fn is(&self, daily: &DailyReport) -> bool {
        self.limit == daily.limit && self.key == daily.key
    }
}

fn since_1970(moment: SystemTime) -> Duration {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The interval in which it is.
fn slot(moment: SystemTime) -> u64 {
    let seconds = since_1970(moment).as_secs();
    seconds - seconds % STEP
}

impl Board {
    /// Learns from one line. `now` is when it came; `None` if nobody knows, as with those that were there before.
    pub(super) fn take(&mut self, entry: Entry, now: Option<SystemTime>) {
        self.news = Some(now.unwrap_or_else(|| entry.at()));
        match entry {
            Entry::Started(started) => self.api = Some(started.api),
            Entry::Report(report) => self.report(*report),
            Entry::Event(event) => self.event(&event),
            _ => {}
        }
    }

    fn report(&mut self, mut report: Report) {
        for interval in std::mem::take(&mut report.history) {
            let sums = Sums::from(&interval);
            let slot = self.history.entry(slot(interval.began)).or_default();
            if sums.requests < slot.now.requests {
                slot.before = slot.before.plus(slot.now);
            }
            slot.now = sums;
        }
        let now = slot(report.at);
        let since = now.saturating_sub(DAY.as_secs());
        self.history
            .retain(|began, _| (since..=now).contains(began));
        report.daily.truncate(POOLS);
        self.pools
            .retain(|pool| report.daily.iter().any(|daily| pool.is(daily)));
        for daily in &report.daily {
            self.pool(report.at, daily);
        }
        self.report = Some(report);
    }

    fn pool(&mut self, at: SystemTime, daily: &DailyReport) {
        let known = self.pools.iter().position(|pool| pool.is(daily));
        let known = known.unwrap_or_else(|| {
            self.pools.push(Pool {
                limit: daily.limit.clone(),
                key: daily.key,
                resets: daily.resets,
                points: BTreeMap::new(),
            });
            self.pools.len() - 1
        });
        let pool = &mut self.pools[known];
        if pool.resets != daily.resets {
            pool.points.clear();
            pool.resets = daily.resets;
        }
        let (now, seconds) = (slot(at), since_1970(at).as_secs_f64());
        pool.points.insert(now, (seconds, daily.left));
        let since = now.saturating_sub(DAY.as_secs());
        pool.points.retain(|at, _| (since..=now).contains(at));
    }

    fn event(&mut self, event: &QuotaEvent) {
        // One for each request: reports count them.
        if matches!(event.kind, EventKind::Request { .. }) {
            return;
        }
        let happened = Happened::new(event);
        let mut recent = self.events.iter().take(RECENT);
        let known = recent.position(|known| known.is_like(&happened));
        match known.and_then(|nth| self.events.remove(nth)) {
            Some(known) => self.events.push_front(known.again(happened)),
            None => self.events.push_front(happened),
        }
        if self.events.len() > EVENTS {
            // Those that matter outlive the everyday ones.
            let plain = self.events.iter().rposition(|it| it.tone == Tone::Plain);
            self.events.remove(plain.unwrap_or(EVENTS));
        }
    }

    /// The intervals of the last day in which something happened, the oldest first.
    pub(super) fn history(&self) -> impl Iterator<Item = (u64, Sums)> + '_ {
        let slots = self.history.iter();
        slots.map(|(began, slot)| (*began, slot.before.plus(slot.now)))
    }

    /// What was left of a daily pool when reports told of it.
    pub(super) fn left(&self, daily: &DailyReport) -> Vec<(f64, u32)> {
        let pool = self.pools.iter().find(|pool| pool.is(daily));
        let points = pool.map(|pool| pool.points.values().copied().collect());
        points.unwrap_or_default()
    }
}
