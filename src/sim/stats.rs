//! What the simulator has seen.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::routes::Class;

/// What the simulator has seen so far. Requests of other tenants are only in the `others` fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests under the general window.
    pub general: ClassStats,
    /// Searches.
    pub search: ClassStats,
    /// Association calls with a window of their own.
    pub associations: ClassStats,
    /// Requests outside all limits, such as the token endpoint.
    pub free: u64,
    /// Requests without a token that is accepted (401). They are counted nowhere.
    pub unauthorized: u64,
    /// Requests that met a fault, whatever it was.
    pub faults: u64,
    /// Connections that were dropped without an answer.
    pub dropped: u64,
    /// Requests that are never answered.
    pub hung: u64,
    /// Answers by status, including those whose caller had gone.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests that were between arrival and answer at the same time, at most.
    pub most_in_flight: u64,
    /// When the last request was admitted, since the simulator was built.
    #[serde(serialize_with = "as_seconds")]
    pub last_admitted: Option<Duration>,
}

/// What became of the requests of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClassStats {
    /// Requests that reached the server with a good token.
    pub arrived: u64,
    /// Requests that were admitted and counted.
    pub counted: u64,
    /// Requests that the window of the class refused.
    pub refused_window: u64,
    /// Requests that the daily pool refused.
    pub refused_daily: u64,
    /// Requests that were turned away because too many were in work. No limit counts them.
    pub refused_concurrency: u64,
    /// Requests among the counted ones that were too heavy for the server, by their [`Cost`](super::Cost) or by chance.
    pub too_heavy: u64,
    /// Those of them that were so by chance only.
    pub too_heavy_by_chance: u64,
    /// Requests of other tenants that were admitted and counted.
    pub others_counted: u64,
    /// Requests of other tenants that were refused, by the window or by the daily pool.
    pub others_refused: u64,
}

impl Stats {
    /// Admitted requests of all classes.
    pub fn counted(&self) -> u64 {
        self.sum(|class| class.counted)
    }

    /// Requests of all classes that reached the server with a good token.
    pub fn arrived(&self) -> u64 {
        self.sum(|class| class.arrived)
    }

    /// Refused requests of all classes, by any limit.
    pub fn refused(&self) -> u64 {
        self.sum(|class| class.refused_window + class.refused_daily + class.refused_concurrency)
    }

    /// Requests of all classes that were too heavy for the server.
    pub fn too_heavy(&self) -> u64 {
        self.sum(|class| class.too_heavy)
    }

    /// Requests of other tenants that were admitted and counted, of all classes.
    pub fn others_counted(&self) -> u64 {
        self.sum(|class| class.others_counted)
    }

    /// Requests of other tenants that were refused, of all classes and by any limit.
    pub fn others_refused(&self) -> u64 {
        self.sum(|class| class.others_refused)
    }

    fn sum(&self, figure: impl Fn(&ClassStats) -> u64) -> u64 {
        [&self.general, &self.search, &self.associations]
            .map(figure)
            .iter()
            .sum()
    }

    pub(super) fn of(&mut self, class: Class) -> Option<&mut ClassStats> {
        match class {
            Class::General => Some(&mut self.general),
            Class::Search => Some(&mut self.search),
            Class::Associations => Some(&mut self.associations),
            Class::Free => None,
        }
    }

    pub(super) fn note_others(&mut self, class: Class, counted: bool) {
        if let Some(stats) = self.of(class) {
            stats.others_counted += u64::from(counted);
            stats.others_refused += u64::from(!counted);
        }
    }
}

fn as_seconds<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

/// One line of the log: a request that was admitted. Kept only with [`SimBuilder::record`](super::SimBuilder::record).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counted {
    /// When, since the simulator was built.
    pub at: Duration,
    /// Under which window.
    pub class: Class,
    /// The caller's token; `None` for a request of another tenant.
    pub token: Option<Arc<str>>,
    /// The application, that is the scope of the general and the associations window together with the account.
    pub app: u64,
    /// The account, that is the scope of the search window.
    pub account: u64,
}

/// The most requests of one class in any `(t - window, t]` within one scope, counted without cleverness.
pub(super) fn most_in_window(log: &[Counted], class: Class, window: Duration) -> usize {
    let mut scopes: HashMap<(u64, u64), VecDeque<Duration>> = HashMap::new();
    let mut most = 0;
    for entry in log.iter().filter(|entry| entry.class == class) {
        let app = if class == Class::Search { 0 } else { entry.app };
        let times = scopes.entry((entry.account, app)).or_default();
        times.push_back(entry.at);
        times.retain(|&at| at + window > entry.at);
        most = most.max(times.len());
    }
    most
}
