//! The requests of a log.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use tower_quota::event::{EventKind, QuotaEvent};
use tower_quota::plan::Lane;
use tower_quota::record::{Entry, Reader};

use super::window::Demand;
use crate::error::CliError;
use crate::out::printable;

/// In the year 5138: milliseconds that were taken for seconds.
const LATEST: f64 = 1e11;

/// One attempt of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// When it wanted to be sent, in seconds since 1970.
    pub(super) at: f64,
    pub(super) kind: u32,
    pub(super) is_repeat: bool,
    lane: Lane,
}

impl Call {
    pub(super) fn demand(&self) -> Demand {
        Demand {
            at: self.at,
            requests: 1,
            lane: self.lane,
        }
    }
}

/// What calls may have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) account: String,
    pub(super) token: String,
    pub(super) class: String,
    pub(super) route: String,
}

pub(super) struct Requests {
    /// In the order of their times.
    pub(super) calls: Vec<Call>,
    pub(super) kinds: Vec<Kind>,
    /// What was observed.
    pub(super) from: f64,
    pub(super) to: f64,
    /// The minutes in which something was logged.
    seen: BTreeSet<u64>,
}

impl Requests {
    /// Whether something was logged between two moments.
    pub(super) fn is_seen(&self, from: f64, to: f64) -> bool {
        let minutes = minute(from)..=minute(to - 1e-3).max(minute(from));
        self.seen.range(minutes).next().is_some()
    }
}

fn minute(at: f64) -> u64 {
    (at / 60.0) as u64
}

pub(super) fn read(path: &Path, window: Duration) -> Result<Requests, CliError> {
    let lines = Reader::open(path).map_err(|error| CliError::file(path, error))?;
    let mut kinds: HashMap<Kind, u32> = HashMap::new();
    let mut calls = Vec::new();
    let mut seen = BTreeSet::new();
    let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
    for line in lines {
        let line = line.map_err(|error| {
            let number = usize::try_from(error.line()).ok().filter(|&line| line > 0);
            CliError::input(error.file(), number, error.problem())
        })?;
        let at = line.entry.at().duration_since(UNIX_EPOCH);
        let at = at.unwrap_or_default().as_secs_f64();
        if at > LATEST {
            let problem = format!("`at` = {at} is no moment in seconds since 1970");
            let number = usize::try_from(line.number).ok();
            return Err(CliError::input(&line.file, number, problem));
        }
        (from, to) = (from.min(at), to.max(at));
        seen.insert(minute(at));
        let Entry::Event(event) = line.entry else {
            continue;
        };
        if let Some((call, kind)) = call(event) {
            let next = kinds.len() as u32;
            let kind = *kinds.entry(kind).or_insert(next);
            from = from.min(call.at);
            calls.push(Call { kind, ..call });
        }
    }
    if calls.is_empty() {
        let problem = "there are no requests in it: record with `events_with_requests`";
        return Err(CliError::input(path, None, problem));
    }
    from = from.max(to - window.as_secs_f64());
    calls.retain(|call: &Call| call.at >= from);
    calls.sort_by(|a, b| a.at.total_cmp(&b.at));
    let mut named: Vec<(Kind, u32)> = kinds.into_iter().collect();
    named.sort_by_key(|&(_, nth)| nth);
    Ok(Requests {
        calls,
        kinds: named.into_iter().map(|(kind, _)| kind).collect(),
        from,
        to,
        seen,
    })
}

fn call(event: QuotaEvent) -> Option<(Call, Kind)> {
    let EventKind::Request {
        class,
        route,
        lane,
        attempt,
        waited,
        took,
        ..
    } = event.kind
    else {
        return None;
    };
    let ended = event.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let wanted = ended.saturating_sub(took).saturating_sub(waited);
    let call = Call {
        at: wanted.as_secs_f64(),
        kind: 0,
        is_repeat: attempt > 1,
        lane,
    };
    let unknown = || "unknown".to_owned();
    let token = event.token.map_or_else(unknown, |token| token.to_string());
    let account = event.account.or(event.token);
    let kind = Kind {
        account: account.map_or_else(unknown, |account| account.to_string()),
        token,
        class: printable(&class),
        route: printable(&route),
    };
    Some((call, kind))
}
