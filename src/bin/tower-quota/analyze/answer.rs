//! What is told, for people and for programs alike.

use serde::Serialize;
use tower_quota::plan::Scope;

use super::draw::{Day, p99};
use super::ground::Ground;

#[derive(Serialize)]
pub(super) struct Answer {
    pub(super) source: Basis,
    pub(super) tier: String,
    pub(super) zone: String,
    /// In hours, where a plan's days may have more than 24 of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) longest_day: Option<u64>,
    pub(super) window_days: f64,
    pub(super) draws: usize,
    pub(super) seed: u64,
    pub(super) warn_below: f64,
    pub(super) accounts: Vec<Account>,
    pub(super) limits: Vec<Limit>,
    pub(super) warnings: Vec<String>,
    pub(super) advice: Vec<Advice>,
}

/// What it is based on.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Basis {
    Plan {
        file: String,
    },
    Log {
        file: String,
        /// Seconds since 1970.
        from: f64,
        to: f64,
        requests: u64,
        /// Requests among them that no limit governs.
        ungoverned: u64,
        /// Days of which every hour was observed.
        whole_days: usize,
        /// What was drawn from: `days`, or `hours` or `parts` of days.
        resampled: &'static str,
    },
}

#[derive(Serialize)]
pub(super) struct Account {
    pub(super) account: String,
    /// Requests per day, and what the limit is called, if there is one.
    pub(super) daily_quota: Option<u64>,
    pub(super) series: Vec<Row>,
    pub(super) total: Figures,
    /// The share of days on which more is wanted than there is.
    pub(super) days_run_dry: f64,
    /// How probable it is that at least one day of the window is such a day.
    pub(super) window_runs_dry: f64,
}

/// A sync, or a route of a log.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<Runs>,
    /// Requests among the calls that were sent before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repeats_per_day: Option<f64>,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

#[derive(Serialize)]
pub(super) struct Runs {
    pub(super) per_day: f64,
    pub(super) calls: u64,
    pub(super) general: u64,
    pub(super) search: u64,
    pub(super) associations: u64,
    pub(super) lane: String,
    pub(super) token: String,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct Figures {
    pub(super) calls_per_day: f64,
    /// Of the daily pool.
    pub(super) daily_share: Option<f64>,
    /// On 99 % of the days there are no more calls.
    pub(super) p99_calls: u64,
    /// What is left of the pool then.
    pub(super) p99_headroom: Option<f64>,
}

/// A rolling limit, and the fullest window of a day.
#[derive(Serialize)]
pub(super) struct Limit {
    pub(super) limit: String,
    pub(super) scope: Scope,
    /// Whose it is: a token or an account.
    pub(super) whose: Option<String>,
    pub(super) quota: u64,
    pub(super) window: f64,
    pub(super) p99_wanted: u64,
    pub(super) most_wanted: u64,
    pub(super) p99_headroom: f64,
    /// How long the requests of that window wait at most, in seconds.
    pub(super) p99_wait: Waits,
    pub(super) most_wait: Waits,
}

#[derive(Serialize)]
pub(super) struct Waits {
    pub(super) interactive: f64,
    pub(super) bulk: f64,
}

/// A change, and what it brings.
#[derive(Clone, Serialize)]
pub(super) struct Advice {
    /// `batch`, `less_often`, `after_reset` or `ask_for_more`.
    pub(super) kind: &'static str,
    /// The sync or route that it concerns; `None` for all.
    pub(super) name: Option<String>,
    pub(super) text: String,
    /// What it saves, moves or adds.
    pub(super) calls_per_day: f64,
    /// The headroom of the account's pool afterwards.
    pub(super) p99_headroom: f64,
}

/// The calls of one account on the drawn days, all series together.
pub(super) fn totals<'a>(days: &'a [Day], mine: &'a [usize]) -> impl Iterator<Item = u64> + 'a {
    days.iter()
        .map(|day| mine.iter().map(|&series| day.calls[series]).sum())
}

pub(super) fn figures(quota: Option<u64>, calls_per_day: f64, p99_calls: u64) -> Figures {
    let share = |calls: f64| quota.map(|quota| calls / quota as f64);
    Figures {
        calls_per_day,
        daily_share: share(calls_per_day),
        p99_calls,
        p99_headroom: share(p99_calls as f64).map(|share| 1.0 - share),
    }
}

/// The figures of one account; `rows` are its series with the names and averages.
pub(super) fn account(
    name: &str,
    quota: Option<u64>,
    days: &[Day],
    window_days: f64,
    series: &[usize],
    rows: Vec<(Row, f64)>,
) -> Account {
    let calls_per_day = rows.iter().map(|(_, calls)| calls).sum();
    let rows = series.iter().zip(rows);
    let rows = rows.map(|(&series, (row, calls))| {
        let p99_calls = p99(days.iter().map(|day| day.calls[series])).unwrap_or(0);
        Row {
            figures: figures(quota, calls, p99_calls),
            ..row
        }
    });
    let dry = |&total: &u64| quota.is_some_and(|quota| total > quota);
    let dry = totals(days, series).filter(dry).count() as f64 / days.len() as f64;
    Account {
        account: name.to_owned(),
        daily_quota: quota,
        series: rows.collect(),
        total: figures(quota, calls_per_day, p99(totals(days, series)).unwrap_or(0)),
        days_run_dry: dry,
        window_runs_dry: 1.0 - (1.0 - dry).powf(window_days),
    }
}

pub(super) fn limits(ground: &Ground<'_>, days: &[Day]) -> Vec<Limit> {
    let windows = ground.windows.iter().enumerate();
    let limits = windows.map(|(nth, window)| {
        let wait = |lane: usize| days.iter().map(move |day| day.worst[nth].waits[lane]);
        let most = |waits: &mut dyn Iterator<Item = f64>| waits.fold(0.0, f64::max);
        let wanted = || days.iter().map(move |day| day.worst[nth].wanted);
        let p99_wanted = p99(wanted()).unwrap_or(0);
        let (scope, whose) = match &window.whose {
            Some((scope, whose)) => (*scope, Some(whose.clone())),
            None => (Scope::App, None),
        };
        Limit {
            limit: window.limit.clone(),
            scope,
            whose,
            quota: window.quota,
            window: window.length,
            p99_wanted,
            most_wanted: wanted().max().unwrap_or(0),
            p99_headroom: 1.0 - p99_wanted as f64 / window.quota as f64,
            p99_wait: Waits {
                interactive: p99(wait(0)).unwrap_or(0.0),
                bulk: p99(wait(1)).unwrap_or(0.0),
            },
            most_wait: Waits {
                interactive: most(&mut wait(0)),
                bulk: most(&mut wait(1)),
            },
        }
    });
    let mut limits: Vec<Limit> = limits.collect();
    // The fullest first; equal ones stay in order.
    limits.sort_by(|a, b| a.p99_headroom.total_cmp(&b.p99_headroom));
    limits
}
