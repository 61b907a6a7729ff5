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
const RECENT: usize = 16;
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tower_quota::record::Reader;

    use super::*;

    const NOON: u64 = 1_795_348_800;

    fn report(at: u64, history: &Value) -> Value {
        let none = json!({"requests": 0, "errors": 0, "rate_limited": 0, "lost": 0, "denied": 0, "would_wait": 0});
        json!({"event": "report", "at": at, "api": "acme", "enforced": true, "waiting": 0, "day_began": 0,
            "today": none, "yesterday": none,
            "errors": {"level": "fine", "share": 0.0, "warn": 0.03, "breach": 0.05, "least_requests": 100},
            "limits": [], "daily": [], "tokens": [], "refused_tokens": [], "routes": [], "concurrency": [],
            "history": history})
    }

    fn interval(began: u64, requests: u64) -> Value {
        json!({"began": began, "requests": requests, "errors": 0, "rate_limited": 0, "daily": requests})
    }

    fn take(board: &mut Board, line: &Value) {
        for line in Reader::new(std::io::Cursor::new(line.to_string()), "test") {
            board.take(line.expect("a line").entry, None);
        }
    }

    fn requests(board: &Board) -> Vec<u64> {
        board.history().map(|(_, sums)| sums.requests).collect()
    }

    #[test]
    fn intervals_grow_and_are_put_together_from_many_reports() {
        let mut board = Board::default();
        take(&mut board, &report(NOON, &json!([interval(NOON - 300, 5)])));
        take(
            &mut board,
            &report(
                NOON + 60,
                &json!([interval(NOON - 300, 9), interval(NOON, 1)]),
            ),
        );
        take(&mut board, &report(NOON + 120, &json!([interval(NOON, 4)])));
        assert_eq!(requests(&board), [9, 4]);
    }

    #[test]
    fn what_was_sent_before_a_program_began_again_still_counts() {
        let mut board = Board::default();
        take(
            &mut board,
            &report(NOON + 100, &json!([interval(NOON, 70)])),
        );
        take(&mut board, &report(NOON + 200, &json!([interval(NOON, 3)])));
        take(&mut board, &report(NOON + 290, &json!([interval(NOON, 8)])));
        assert_eq!(requests(&board), [78]);
    }

    #[test]
    fn no_more_than_a_day_is_kept_whatever_a_log_says() {
        let mut board = Board::default();
        let intervals: Vec<Value> = (0..3_000).map(|nth| interval(NOON - nth * 77, 1)).collect();
        take(&mut board, &report(NOON, &intervals.into()));
        let future: Vec<Value> = (1..2_000)
            .map(|nth| interval(NOON + nth * 300, 1))
            .collect();
        take(&mut board, &report(NOON, &future.into()));
        assert_eq!(board.history().count(), 289);
        take(&mut board, &report(NOON + 3 * 86_400, &json!([])));
        assert_eq!(board.history().count(), 0);
    }

    #[test]
    fn what_was_left_of_a_pool_is_known_until_it_is_filled_again() {
        let mut board = Board::default();
        let pool = |at: u64, left: u64, resets: u64| {
            let mut report = report(at, &json!([]));
            report["daily"] = json!([{"limit": "daily", "quota": 100, "used": 100 - left, "foreign": 0, "left": left,
                "resets": resets, "per_hour": 0.0}]);
            report
        };
        let left = |board: &Board| {
            let report = board.report.as_ref().expect("a report");
            board.left(&report.daily[0])
        };
        take(&mut board, &pool(NOON, 90, NOON + 600));
        take(&mut board, &pool(NOON + 60, 80, NOON + 600));
        take(&mut board, &pool(NOON + 300, 70, NOON + 600));
        assert_eq!(
            left(&board),
            [(NOON as f64 + 60.0, 80), (NOON as f64 + 300.0, 70)]
        );
        take(&mut board, &pool(NOON + 660, 100, NOON + 87_000));
        assert_eq!(left(&board), [(NOON as f64 + 660.0, 100)]);
        take(&mut board, &report(NOON + 700, &json!([])));
        assert!(board.pools.is_empty(), "nobody uses it any more");
    }

    #[test]
    fn events_that_repeat_themselves_are_one_and_those_that_matter_stay_longest() {
        let mut board = Board::default();
        let paused = |at| json!({"at": at, "event": "paused", "limit": "burst", "class": "general", "status": 429, "lasts": 1.0});
        let limit = |at: u64, limit: &str| json!({"at": at, "event": "batch_limit", "route": limit, "most": 1});
        take(&mut board, &paused(1));
        take(&mut board, &limit(2, "a"));
        take(&mut board, &paused(3));
        let kinds: Vec<(&str, u64)> = board.events.iter().map(|it| (it.kind, it.times)).collect();
        assert_eq!(kinds, [("paused", 2), ("batch_limit", 1)]);
        take(&mut board, &paused(1_000));
        assert_eq!(board.events[0].times, 1, "long after, it is another");
        for nth in 0..2 * EVENTS {
            take(&mut board, &limit(2_000, &nth.to_string()));
        }
        assert_eq!(board.events.len(), EVENTS);
        let paused = board.events.iter().filter(|it| it.kind == "paused").count();
        assert_eq!(paused, 2);
    }
}
