//! What the user sees: the progress bar, and the figures at the end.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::pace::Pace;
use crate::verify::Verified;
use crate::wire::Wire;

/// Without a terminal there is no bar, but a line this often.
const LINE_EVERY_SECONDS: u64 = 10;

/// What became of the records.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) records: u64,
    pub(crate) created: u64,
    pub(crate) updated: u64,
    /// Refused by the server, or not answered.
    pub(crate) rejected: u64,
    /// Not sent, because the row is broken.
    pub(crate) broken: u64,
    /// Which records were rejected, by their place in the sheet.
    pub(crate) unsynced: HashSet<u64>,
    /// From the start to the last answer.
    pub(crate) elapsed: Duration,
}

impl Tally {
    pub(crate) fn new(records: u64) -> Self {
        Self {
            records,
            created: 0,
            updated: 0,
            rejected: 0,
            broken: 0,
            unsynced: HashSet::new(),
            elapsed: Duration::ZERO,
        }
    }

    pub(crate) fn settled(&self) -> u64 {
        self.created + self.updated + self.rejected + self.broken
    }
}

/// One moment of a run.
pub(crate) struct Now {
    pub(crate) done: u64,
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// Free slots of the window, of how many.
    pub(crate) free: Option<(u32, u32)>,
    pub(crate) waiting: usize,
    pub(crate) paused: Option<Duration>,
}

impl Now {
    fn text(&self) -> String {
        let seconds = self.elapsed.as_secs_f64().max(0.1);
        let rate = self.requests as f64 / seconds;
        let mut text = format!("{rate:.1} req/s");
        if let Some((free, quota)) = self.free {
            text += &format!(" | quota {free}/{quota} free");
        }
        text += &format!(" | {} wait", self.waiting);
        if let Some(paused) = self.paused {
            text += &format!(" | paused {:.0} s", paused.as_secs_f64());
        }
        text
    }
}

/// The standard error: a progress bar if it is a terminal, and lines of text.
pub(crate) struct Screen {
    bar: ProgressBar,
    records: u64,
    lines: bool,
    last_line: AtomicU64,
}

impl Screen {
    pub(crate) fn new(records: u64, json: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(records), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:16} {pos}/{len} | {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            lines: bar.is_hidden() && !json,
            bar,
            records,
            last_line: AtomicU64::new(0),
        }
    }

    /// Writes a line, above the bar.
    pub(crate) fn note(&self, text: &str) {
        self.bar.suspend(|| complain(text));
    }

    pub(crate) fn draw(&self, now: &Now) {
        self.show(now.done, now.text(), now.elapsed);
    }

    /// So many records have been found again.
    pub(crate) fn verified(&self, found: u64, elapsed: Duration) {
        self.show(found, "found again".to_owned(), elapsed);
    }

    fn show(&self, done: u64, text: String, elapsed: Duration) {
        let due = elapsed.as_secs() / LINE_EVERY_SECONDS;
        if self.lines && self.last_line.swap(due, Ordering::Relaxed) < due {
            complain(&format!("{done}/{} | {text}", self.records));
        }
        self.bar.set_position(done);
        self.bar.set_message(text);
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Writes a line to the standard error. If nobody can read it, that is no reason to stop.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The figures at the end, as `--json` prints them.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    records: u64,
    records_done: u64,
    records_failed: u64,
    records_created: u64,
    records_updated: u64,
    broken_rows: u64,
    http_requests: u64,
    http_429: u64,
    http_5xx: u64,
    retries: u64,
    elapsed_s: f64,
    last_request_s: f64,
    ideal_s: f64,
    share_of_ideal: Option<f64>,
    stopped_early: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verified: Option<Verified>,
}

impl Summary {
    pub(crate) fn new(tally: &Tally, wire: &Wire, pace: Pace, stopped_early: bool) -> Self {
        // What the server refused it did not count, so a client that is refused a lot gets no credit for it.
        let ideal = pace.ideal(wire.requests() - wire.refused()).as_secs_f64();
        let last_request = wire.last_sent().as_secs_f64();
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        Self {
            records: tally.records,
            records_done: tally.created + tally.updated,
            records_failed: tally.rejected + tally.broken,
            records_created: tally.created,
            records_updated: tally.updated,
            broken_rows: tally.broken,
            http_requests: wire.requests(),
            http_429: wire.refused(),
            http_5xx: wire.failed(),
            retries: wire.retries(),
            elapsed_s: round(tally.elapsed.as_secs_f64()),
            last_request_s: round(last_request),
            ideal_s: round(ideal),
            share_of_ideal: (ideal > 0.0).then(|| round(ideal / last_request)),
            stopped_early,
            verified: None,
        }
    }

    /// The verification has not found every record.
    pub(crate) fn misses(&self) -> bool {
        self.verified.as_ref().is_some_and(Verified::misses)
    }

    /// The verification was stopped with Ctrl-C.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.verified
            .as_ref()
            .is_some_and(|verified| verified.stopped_early)
    }

    pub(crate) fn synced_nothing(&self) -> bool {
        self.records_done == 0
    }

    /// The JSON object, or the table with what the simulator has seen, on the standard output.
    pub(crate) fn print(&self, json: bool, judged: Option<&str>) {
        let text = if json {
            serde_json::to_string(self).unwrap_or_default()
        } else if self.http_requests == 0 || self.stopped_early && self.settled() == 0 {
            return;
        } else {
            let judged = judged.map_or(String::new(), |judged| format!("\n\n{judged}"));
            format!("\n{}{judged}", self.table())
        };
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    fn settled(&self) -> u64 {
        self.records_done + self.records_failed
    }

    fn table(&self) -> String {
        let share = self.share_of_ideal.map_or_else(
            || "- (all fits into one window)".to_owned(),
            |share| format!("{:.1} %", share * 100.0),
        );
        let mut rows = vec![
            ("records", self.records.to_string()),
            (
                "  done",
                format!(
                    "{} ({} created, {} updated)",
                    self.records_done, self.records_created, self.records_updated
                ),
            ),
            (
                "  failed",
                format!(
                    "{} (broken rows: {}, refused or unanswered: {})",
                    self.records_failed,
                    self.broken_rows,
                    self.records_failed - self.broken_rows
                ),
            ),
        ];
        if self.stopped_early {
            let open = self.records - self.settled();
            rows.push(("  not done", open.to_string()));
        }
        rows.extend([
            ("requests", self.http_requests.to_string()),
            ("  429", self.http_429.to_string()),
            ("  5xx", self.http_5xx.to_string()),
            ("  retries", self.retries.to_string()),
            ("elapsed", format!("{:.1} s", self.elapsed_s)),
            (
                "  last request",
                format!("after {:.1} s", self.last_request_s),
            ),
            ("  ideal", format!("after {:.1} s", self.ideal_s)),
            ("share of ideal", share),
        ]);
        let line = |(name, value): &(&str, String)| format!("{name:<16}{value}");
        let mut table = rows.iter().map(line).collect::<Vec<_>>().join("\n");
        if let Some(verified) = &self.verified {
            table = format!("{table}\n\n{}", verified.table());
        }
        table
    }
}
