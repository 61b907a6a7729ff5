//! How a line looks.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;
use tower_quota::event::QuotaEvent;
use tower_quota::record::{Entry, Line, PlannedLimit, Started};
use tower_quota::report::Report;

use crate::error::CliError;
use crate::out::{self, Out};

/// What is told without its name, in this order, and before all else.
const FIRST: [&str; 6] = ["status", "limit", "level", "reason", "ending", "policy"];
/// What is told without its name, and last: it may be long.
const LAST: [&str; 4] = ["shape", "route", "hint", "error"];
/// What is hardly ever anything else need not be told.
const USUAL: [(&str, &str); 3] = [
    ("class", "general"),
    ("lane", "interactive"),
    ("ending", "answered"),
];

/// Prints lines of a log.
pub(super) struct Printer {
    as_json: bool,
    zone: TimeZone,
    /// The day of the line before.
    day: Option<Date>,
}

impl Printer {
    pub(super) fn new(as_json: bool, zone: TimeZone) -> Self {
        Self {
            as_json,
            zone,
            day: None,
        }
    }

    pub(super) fn print(&mut self, line: &Line, out: &mut Out) -> Result<(), CliError> {
        if self.as_json {
            return out.line(&line.text);
        }
        // What lies beyond jiff's calendar is shown at its end.
        let at = Timestamp::try_from(line.entry.at()).unwrap_or(Timestamp::MAX);
        let at = at.to_zoned(self.zone.clone());
        if self.day.replace(at.date()) != Some(at.date()) {
            out.heading(&at.strftime("%Y-%m-%d %Z").to_string())?;
        }
        let (token, what) = match &line.entry {
            Entry::Event(event) => (event.token.map(|token| token.to_string()), of_event(event)),
            Entry::Started(started) => (None, of_started(started)),
            Entry::Report(report) => (None, of_report(report)),
            _ => (None, String::new()),
        };
        let time = at.strftime("%H:%M:%S%.3f");
        let token = token.unwrap_or_default();
        let name = line.entry.name();
        let text = format!("{time} {token:8} {name:<14} {what}");
        out.line(out::printable(&text).trim_end())
    }
}

fn of_event(event: &QuotaEvent) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&event.kind) else {
        return String::new();
    };
    fields.remove("event");
    for (name, usual) in USUAL {
        if fields.get(name).and_then(Value::as_str) == Some(usual) {
            fields.remove(name);
        }
    }
    let mut take = |names: &[&str]| {
        let taken = names.iter().filter_map(|name| fields.remove(*name));
        taken.map(|value| short(&value)).collect::<Vec<_>>()
    };
    let (first, last) = (take(&FIRST), take(&LAST));
    let mut parts = first;
    for (name, value) in &fields {
        // An attempt that is the first is like all others.
        if name != "attempt" || value != &Value::from(1) {
            parts.push(format!("{name}={}", short(value)));
        }
    }
    parts.extend(last);
    parts.join(" ")
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // All that is not whole is a duration.
        Value::Number(number) if number.is_f64() => seconds(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// Three digits are enough to compare.
fn seconds(seconds: f64) -> String {
    let text = format!("{seconds:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}s")
}

fn of_started(started: &Started) -> String {
    let mut text = started.api.clone();
    for planned in &started.limits {
        let PlannedLimit { limit, quota, .. } = planned;
        let quota = out::grouped(u64::from(*quota));
        let window = planned
            .window
            .map_or_else(|| "day".to_owned(), |window| seconds(window.as_secs_f64()));
        let _ = write!(text, ", {limit} {quota}/{window}");
    }
    text
}

fn of_report(report: &Report) -> String {
    let today = &report.today;
    format!(
        "today {} sent, {} errors ({}), {} limited, {} wait",
        out::grouped(today.requests),
        out::grouped(today.errors),
        out::percent(today.error_share()),
        out::grouped(today.rate_limited),
        report.waiting,
    )
}
