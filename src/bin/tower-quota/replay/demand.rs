//! What was asked for, and when.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tower_quota::event::{Ending, EventKind, QuotaEvent, Route};
use tower_quota::plan::Lane;
use tower_quota::record::{Entry, ReadError, Reader, Started};
use tower_quota::sim::{Class, Journey};

use crate::error::CliError;

/// All requests of a log, in the order in which they were asked for.
pub(super) struct Demand {
    /// When the first one was.
    pub(super) began: SystemTime,
    pub(super) requests: Vec<Asked>,
    /// The names of tokens and accounts: fingerprints.
    pub(super) names: Vec<String>,
    pub(super) routes: Vec<Route>,
    pub(super) started: Option<Started>,
    /// Requests of classes that the simulator does not know.
    pub(super) left_out: u64,
    pub(super) before: Before,
}

/// What became of the requests when they were made.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Before {
    /// Attempts.
    pub(super) sent: u64,
    pub(super) refused: u64,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Since the first one.
    pub(super) after: Duration,
    pub(super) token: usize,
    pub(super) account: usize,
    pub(super) class: Class,
    pub(super) lane: Lane,
    pub(super) route: usize,
    pub(super) journey: Journey,
}

/// A line that makes no sense ends a command that reckons with every line.
pub(super) fn wrong_line(error: &ReadError) -> CliError {
    let line = usize::try_from(error.line()).ok();
    CliError::input(error.file(), line, error.problem())
}

#[derive(Default)]
struct Names {
    list: Vec<String>,
    known: HashMap<String, usize>,
}

impl Names {
    fn id(&mut self, name: &str) -> usize {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let id = self.list.len();
        self.list.push(name.to_owned());
        self.known.insert(name.to_owned(), id);
        id
    }
}

impl Demand {
    pub(super) fn read(path: &Path, seed: u64) -> Result<Self, CliError> {
        let reader = Reader::open(path).map_err(|error| CliError::file(path, error))?;
        let mut reading = Reading::default();
        for line in reader {
            match line.map_err(|error| wrong_line(&error))?.entry {
                Entry::Started(started) => {
                    reading.started.get_or_insert(started);
                }
                Entry::Event(event) => reading.event(&event),
                _ => {}
            }
        }
        reading
            .finish(seed)
            .ok_or_else(|| CliError::input(path, None, "tells of no request that can be replayed"))
    }

    /// From the first to the last.
    pub(super) fn length(&self) -> Duration {
        self.requests
            .last()
            .map_or(Duration::ZERO, |last| last.after)
    }
}

#[derive(Default)]
struct Reading {
    started: Option<Started>,
    requests: Vec<(SystemTime, Asked, Ending)>,
    names: Names,
    routes: Names,
    left_out: u64,
    before: Before,
}

impl Reading {
    fn event(&mut self, event: &QuotaEvent) {
        let EventKind::Request {
            class,
            route,
            lane,
            attempt,
            waited,
            took,
            ending,
            service_time,
            ..
        } = &event.kind
        else {
            return;
        };
        self.before.sent += 1;
        self.before.refused += u64::from(*ending == Ending::Refused);
        if *attempt > 1 {
            return;
        }
        let class = match &**class {
            "general" => Class::General,
            "search" => Class::Search,
            "associations" => Class::Associations,
            _ => {
                self.left_out += 1;
                return;
            }
        };
        let name = |key: Option<tower_quota::core::Fingerprint>| {
            key.map_or_else(|| "none".to_owned(), tower_quota::core::Fingerprint::to_hex)
        };
        let token = name(event.token);
        let asked = event.at.checked_sub(*took + *waited).unwrap_or(event.at);
        let work = service_time.unwrap_or_default().min(*took);
        let way = (*took - work) / 2;
        let request = Asked {
            after: Duration::ZERO,
            token: self.names.id(&token),
            account: self
                .names
                .id(&event.account.map_or(token, |account| name(Some(account)))),
            class,
            lane: *lane,
            route: self.routes.id(route),
            journey: Journey {
                uplink: way,
                work,
                downlink: way,
            },
        };
        self.requests.push((asked, request, *ending));
    }

    /// What was refused or lost takes as long as one of its class that was not, drawn from the seed.
    fn finish(mut self, seed: u64) -> Option<Demand> {
        // Of those that were asked for at one moment the ones that were refused came last. Stable, for the others.
        self.requests
            .sort_by_key(|(asked, _, ending)| (*asked, *ending == Ending::Refused));
        let began = self.requests.first()?.0;
        let is_telling =
            |ending: Ending| !matches!(ending, Ending::Refused | Ending::Lost | Ending::Dropped);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut journeys: HashMap<Class, Vec<Journey>> = HashMap::new();
        for (_, request, _) in self
            .requests
            .iter()
            .filter(|(.., ending)| is_telling(*ending))
        {
            journeys
                .entry(request.class)
                .or_default()
                .push(request.journey);
        }
        let settle = |(asked, mut request, ending): (SystemTime, Asked, Ending)| {
            request.after = asked.duration_since(began).unwrap_or_default();
            if let (false, Some(known)) = (is_telling(ending), journeys.get(&request.class)) {
                request.journey = known[rng.usize(..known.len())];
            }
            request
        };
        Some(Demand {
            began,
            requests: self.requests.into_iter().map(settle).collect(),
            names: self.names.list,
            routes: self
                .routes
                .list
                .iter()
                .map(|route| route.as_str().into())
                .collect(),
            started: self.started,
            left_out: self.left_out,
            before: self.before,
        })
    }
}
