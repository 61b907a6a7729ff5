//! How a line looks.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;
use tower_quota::event::{EventKind, QuotaEvent};
use tower_quota::record::{Entry, Line, PlannedLimit, Started};
use tower_quota::report::Report;

use crate::error::CliError;
use crate::out::{self, Out};

/// What is told without its name, in this order, and before all else.
const FIRST: [&str; 6] = ["status", "limit", "level", "reason", "ending", "policy"];
/// What is told without its name, and last: it may be long.
const LAST: [&str; 3] = ["shape", "hint", "error"];
/// What is told of nearly every request, and would hide the rest: JSON lines have it.
const OF_REQUESTS: [&str; 3] = ["daily_remaining", "lane", "service_time"];
/// Of a route at least so many characters are shown; its method only where there is room for twice as many.
const LEAST_ROUTE: usize = 6;
/// What stands before what is told of an event: the time, the token and the name.
const BEFORE: usize = 12 + 1 + 8 + 1 + NAME + 1;
/// Most names are no longer.
const NAME: usize = 14;
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
        let name = line.entry.name();
        let (token, what) = match &line.entry {
            Entry::Event(event) => {
                let more = name.chars().count().saturating_sub(NAME);
                let room = usize::from(out::WIDTH) - BEFORE - more;
                (
                    event.token.map(|token| token.to_string()),
                    of_event(event, room),
                )
            }
            Entry::Started(started) => (None, of_started(started)),
            Entry::Report(report) => (None, of_report(report)),
            _ => (None, String::new()),
        };
        let time = at.strftime("%H:%M:%S%.3f");
        let token = token.unwrap_or_default();
        let text = format!("{time} {token:8} {name:<NAME$} {what}");
        out.line(out::printable(&text).trim_end())
    }
}

/// In so many characters, if that is possible.
fn of_event(event: &QuotaEvent, room: usize) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&event.kind) else {
        return String::new();
    };
    fields.remove("event");
    if let EventKind::Request { .. } = event.kind {
        for name in OF_REQUESTS {
            fields.remove(name);
        }
    }
    // The route or the limit says it, or it is what most are.
    let class = fields.get("class");
    let is_said = class == fields.get("limit") || class.and_then(Value::as_str) == Some("general");
    if is_said || fields.contains_key("route") {
        fields.remove("class");
    }
    if fields.contains_key("status") {
        fields.remove("ending");
    }
    let mut take = |names: &[&str]| {
        let taken = names.iter().filter_map(|name| fields.remove(*name));
        taken.map(|value| short(&value)).collect::<Vec<_>>()
    };
    let (mut parts, route, last) = (take(&FIRST), take(&["route"]), take(&LAST));
    for (name, value) in &fields {
        // An attempt that is the first is like all others, and so is a wait of no length.
        if (name != "attempt" || value != &Value::from(1)) && value != &Value::from(0.0) {
            parts.push(match name.as_str() {
                "attempt" => format!("#{value}"),
                "daily_remaining" => format!("daily={value}"),
                name => format!("{name}={}", short(value)),
            });
        }
    }
    parts.extend(last);
    let used: usize = parts.iter().map(|part| part.chars().count() + 1).sum();
    let room = room.saturating_sub(used).max(LEAST_ROUTE);
    parts.extend(route.iter().map(|route| shortened(route, room)));
    parts.join(" ")
}

/// The method and the end of the path, which tell most.
fn shortened(route: &str, room: usize) -> String {
    let length = route.chars().count();
    let (method, path) = route.split_once(' ').unwrap_or(("", route));
    if length <= room {
        return route.to_owned();
    }
    let before = match room >= 2 * LEAST_ROUTE {
        true => format!("{method} …"),
        false => "…".to_owned(),
    };
    let left = room.saturating_sub(before.chars().count());
    let skipped = path.chars().count().saturating_sub(left);
    path.chars()
        .skip(skipped)
        .fold(before, |mut text, character| {
            text.push(character);
            text
        })
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
