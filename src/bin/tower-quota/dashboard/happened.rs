//! Events as the page shows them: short, and those that repeat themselves as one.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use tower_quota::core::Fingerprint;
use tower_quota::event::{EventKind, Level, QuotaEvent};

use super::super::out::{grouped, percent};
use super::moments;

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Bad,
    Warning,
    Good,
    Plain,
}

/// The fields that are lengths of time.
const LENGTHS: [&str; 8] = [
    "after",
    "lasts",
    "recovered_after",
    "retry_after",
    "service_time",
    "took",
    "wait",
    "waited",
];
/// Events of a kind are one when they are no further apart.
const SOON: Duration = Duration::from_secs(300);
/// The longest text that is kept of one field, in characters.
const LONGEST: usize = 200;

/// One event, or several of the same kind one after the other or nearly so.
#[derive(Debug)]
pub(super) struct Happened {
    /// The last time.
    pub(super) at: SystemTime,
    pub(super) times: u64,
    pub(super) kind: &'static str,
    pub(super) tone: Tone,
    pub(super) token: Option<Fingerprint>,
    /// The limit or, where there is none, the route that it is about.
    about: Option<String>,
    /// What the last one says.
    pub(super) details: String,
}

impl Happened {
    pub(super) fn new(event: &QuotaEvent) -> Self {
        let fields = match serde_json::to_value(&event.kind) {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let about = fields.get("limit").or_else(|| fields.get("route"));
        let about = about.and_then(Value::as_str).map(clipped);
        Self {
            at: event.at,
            times: 1,
            kind: event.kind.as_str(),
            tone: tone(&event.kind),
            token: event.token.or(event.account),
            about,
            details: sentence(&event.kind).unwrap_or_else(|| {
                // The name of the kind stands elsewhere.
                let said = fields.iter().filter(|(name, _)| *name != "event");
                let said: Vec<String> = said.map(|(name, value)| say(name, value)).collect();
                said.join(" · ")
            }),
        }
    }

    /// Whether `other` is the same again, and not long after.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let since = other.at.duration_since(self.at).unwrap_or_default();
        (self.kind, self.tone, &self.about) == (other.kind, other.tone, &other.about)
            && since <= SOON
    }

    /// `last` is the same again. Whose it is, is told only while it is one's.
    pub(super) fn again(self, last: Self) -> Self {
        Self {
            times: self.times + 1,
            token: self.token.filter(|token| Some(*token) == last.token),
            ..last
        }
    }

    /// Its kind in words, as in `Rate limited`.
    pub(super) fn title(&self) -> String {
        let mut title = self.kind.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        title
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// The kinds that are met most, in words.
fn sentence(kind: &EventKind) -> Option<String> {
    let length = |seconds: &Duration| moments::length(*seconds);
    let sentence = match kind {
        EventKind::RateLimited {
            limit,
            route,
            status,
            retry_after,
            ..
        } => {
            let retry_after = retry_after.as_ref().map(length);
            let retry_after = retry_after.map(|after| format!(", to be tried again after {after}"));
            let route = clipped(route);
            format!(
                "{route}: {status} by {limit}{}",
                retry_after.unwrap_or_default()
            )
        }
        EventKind::Recovered {
            route,
            refusals,
            recovered_after,
            ..
        } => format!(
            "{}: answered again after {}, {refusals} refused",
            clipped(route),
            length(recovered_after)
        ),
        EventKind::Paused {
            limit,
            status,
            lasts,
            ..
        } => format!("{limit} for {} after a {status}", length(lasts)),
        EventKind::Resumed { limit, after } => format!("{limit} after {}", length(after)),
        EventKind::DailyExhausted { limit, lasts } => {
            format!("{limit}: nothing is sent for {}", length(lasts))
        }
        EventKind::DailyResumed { limit, after } => format!("{limit} after {}", length(after)),
        EventKind::LimitLearned {
            limit,
            planned,
            learned,
        } => format!("{limit}: planned {planned}, the server says {learned}"),
        EventKind::ForeignUse {
            limit,
            requests: Some(requests),
        } => format!("{limit}: others have used {requests}"),
        EventKind::ForeignUse { limit, .. } => format!("{limit}: by nobody any more"),
        EventKind::CreditHalved { limit, percent } => {
            format!("{limit}: {percent} % of the server's own time is credited")
        }
        EventKind::ConcurrencyChanged { from, to, reason } => {
            format!("from {from} to {to} ({reason})")
        }
        EventKind::Repeated {
            class,
            status,
            attempt,
            wait,
        } => {
            let status = status.map_or("no response".to_owned(), |status| status.to_string());
            let next = match wait.is_zero() {
                true => "at once".to_owned(),
                false => format!("after {}", length(wait)),
            };
            format!("{class}: {status}, attempt {attempt}, the next one {next}")
        }
        EventKind::ErrorShare {
            level,
            requests,
            errors,
            ..
        } => {
            let share = percent(*errors as f64 / (*requests).max(1) as f64);
            let (errors, requests) = (grouped(*errors), grouped(*requests));
            format!(
                "{}: {errors} errors in {requests} requests, {share}",
                level.as_str()
            )
        }
        _ => return None,
    };
    Some(clipped(&sentence))
}

fn say(name: &str, value: &Value) -> String {
    let length = value.as_f64().filter(|_| LENGTHS.contains(&name));
    let length = length.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let shown = match (length, value) {
        (Some(length), _) => moments::length(length),
        (None, Value::String(text)) => clipped(text),
        (None, Value::Bool(true)) => "yes".to_owned(),
        (None, Value::Bool(false)) => "no".to_owned(),
        (None, Value::Null) => "none".to_owned(),
        (None, value) => clipped(&value.to_string()),
    };
    format!("{} {shown}", name.replace('_', " "))
}

fn tone(kind: &EventKind) -> Tone {
    match kind {
        EventKind::RateLimited { .. }
        | EventKind::DailyExhausted { .. }
        | EventKind::Denied { .. }
        | EventKind::TrimFailed { .. }
        | EventKind::StoreGone { .. }
        | EventKind::ErrorShare {
            level: Level::Breach,
            ..
        } => Tone::Bad,
        EventKind::Paused { .. }
        | EventKind::PauseShared { .. }
        | EventKind::CreditHalved { .. }
        | EventKind::StoreFailed { .. }
        | EventKind::TooHeavy { .. }
        | EventKind::WouldWait { .. }
        | EventKind::Missed { .. }
        | EventKind::ErrorShare {
            level: Level::Warn, ..
        } => Tone::Warning,
        EventKind::Recovered { .. }
        | EventKind::Resumed { .. }
        | EventKind::DailyResumed { .. }
        | EventKind::StoreBack { .. }
        | EventKind::ErrorShare { .. } => Tone::Good,
        _ => Tone::Plain,
    }
}
