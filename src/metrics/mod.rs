//! Counters, histograms and gauges for whatever exporter of the [`metrics`](https://docs.rs/metrics) facade a program has (feature `metrics`).
//!
//! # What and when
//!
//! For dashboards and alarms that a team has already. Install the exporter's recorder before the first request: what is counted
//! is looked up once, and not again when another recorder comes. Requests are counted by [`ObserveLayer`](crate::ObserveLayer), everything
//! else by whichever layer does it. Gauges are set when somebody calls [`Report::record_metrics`](crate::report::Report::record_metrics), every 15 s say:
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::Quota;
//! use tower_quota::plan::{Limit, Plan};
//!
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::new(plan);
//! quota.report().record_metrics();
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```
//!
//! # Names
//!
//! | counter | labels besides `api` | what |
//! |---|---|---|
//! | `tower_quota_requests_total` | `class`, `outcome`, `status` | attempts of requests |
//! | `tower_quota_errors_total` | `class` | those with a status from 400 on, or rate limited |
//! | `tower_quota_rate_limited_total` | `class`, `limit`, `route` | those that were rate limited |
//! | `tower_quota_recoveries_total` | `class` | first answers after that |
//! | `tower_quota_repeats_total` | `class` | requests that were sent again |
//! | `tower_quota_denied_total` | `class`, `limit`, `reason` | requests that might not wait for quota any longer |
//! | `tower_quota_would_wait_total` | `class`, `limit` | in shadow mode, those that would have been held up |
//! | `tower_quota_pauses_total` | `limit` | pauses |
//! | `tower_quota_daily_exhausted_total` | `limit` | daily pools that were used up |
//! | `tower_quota_concurrency_changes_total` | `reason` | changes of the concurrency of a token |
//! | `tower_quota_trimmed_total` | `outcome` | requests that were asked for in pieces: `whole` or `failed` |
//! | `tower_quota_batched_calls_total` | | calls that left together with others |
//! | `tower_quota_batch_requests_total` | | requests that were sent for them |
//! | `tower_quota_store_failures_total` | | failed calls to the shared store |
//!
//! | histogram | labels besides `api` | what |
//! |---|---|---|
//! | `tower_quota_wait_seconds` | `class` | how long layers of this crate have held an attempt up |
//! | `tower_quota_request_seconds` | `class` | from the send to the head of the response, or to the end without one |
//!
//! | gauge | labels besides `api` | what |
//! |---|---|---|
//! | `tower_quota_headroom` | `limit` | what is left for us under the fullest key of those used most, in requests |
//! | `tower_quota_headroom_ratio` | `limit` | the same as a share of the quota |
//! | `tower_quota_waiting` | | requests that wait |
//! | `tower_quota_error_ratio` | | error responses among the requests of today |
//! | `tower_quota_daily_left` | `limit` | what is left of the emptiest daily pool, in requests |
//! | `tower_quota_daily_per_hour` | `limit` | how fast it will be used in the next hour |
//! | `tower_quota_daily_runs_out_seconds` | `limit` | until it is used up; infinite if it is filled again before |
//!
//! # Cardinality
//!
//! No label is a token or an account, and all are of few values: `api` is the name of the plan, `limit` one of its limits, or `token`,
//! `account`, `concurrency` or `other`; `class` one of the first 32 classes that are seen, or `other`; `route` one of the first 256
//! that are refused, or `other`; `status` one of `1xx` to `5xx`, or `none`; `outcome` and `reason` are words of this crate.

mod class;
mod first;
mod names;
mod report;

use std::sync::Once;
use std::time::Duration;

use ::metrics::{Label, SharedString, counter};

use self::class::Classes;
use self::first::First;
use crate::event::{Ending, EventKind};
use crate::plan::Plan;

/// What is no limit of a plan, and is named as one.
const NOT_LIMITS: [&str; 3] = ["token", "account", "concurrency"];
const OTHER: &str = "other";
const MOST_ROUTES: usize = 256;
/// There are fewer.
const MOST_REASONS: usize = 32;

/// What is counted of one quota.
#[derive(Debug)]
pub(crate) struct Metrics {
    api: SharedString,
    limits: Vec<SharedString>,
    classes: Classes,
    routes: First,
    reasons: First,
    described: Once,
}

/// One attempt of a request that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Over {
    pub(crate) class: &'static str,
    pub(crate) waited: Duration,
    pub(crate) took: Duration,
    pub(crate) ending: Ending,
    pub(crate) status: Option<u16>,
}

impl Metrics {
    /// Tells the recorder nothing yet: it may be installed later.
    pub(crate) fn new(plan: &Plan) -> Self {
        let names = plan.limits().iter().map(|limit| limit.name());
        let limits = names.map(shared).collect();
        Self {
            api: shared(plan.name()),
            limits,
            classes: Classes::default(),
            routes: First::new(MOST_ROUTES),
            reasons: First::new(MOST_REASONS),
            described: Once::new(),
        }
    }

    /// Tells the recorder what is what, once. One that panics shall not make every request panic.
    fn describe(&self) {
        self.described.call_once_force(|_| names::describe());
    }

    /// An attempt of a request is over.
    pub(crate) fn request(&self, over: &Over) {
        self.describe();
        let class = self.classes.get(&self.api, over.class);
        class.count(&self.api, over);
    }

    /// Something has happened.
    pub(crate) fn event(&self, kind: &EventKind) {
        self.describe();
        match kind {
            EventKind::RateLimited {
                limit,
                class,
                route,
                ..
            } => {
                let route = ("route", self.routes.get(route));
                let labels = [self.class(class), self.limit(limit), route];
                self.count(names::RATE_LIMITED, 1, labels);
            }
            EventKind::Recovered { class, .. } => {
                self.count(names::RECOVERIES, 1, [self.class(class)]);
            }
            EventKind::Repeated { class, .. } => {
                self.count(names::REPEATS, 1, [self.class(class)]);
            }
            EventKind::Denied {
                limit,
                class,
                reason,
                ..
            } => {
                let reason = ("reason", self.reasons.get(reason));
                let labels = [self.class(class), self.limit(limit), reason];
                self.count(names::DENIED, 1, labels);
            }
            EventKind::WouldWait { limit, class } => {
                let labels = [self.class(class), self.limit(limit)];
                self.count(names::WOULD_WAIT, 1, labels);
            }
            EventKind::Paused { limit, .. } => {
                self.count(names::PAUSES, 1, [self.limit(limit)]);
            }
            EventKind::DailyExhausted { limit, .. } => {
                self.count(names::DAILY_EXHAUSTED, 1, [self.limit(limit)]);
            }
            EventKind::ConcurrencyChanged { reason, .. } => {
                let reason = ("reason", self.reasons.get(reason));
                self.count(names::CONCURRENCY_CHANGES, 1, [reason]);
            }
            EventKind::Trimmed { .. } => {
                let outcome = ("outcome", "whole".into());
                self.count(names::TRIMMED, 1, [outcome]);
            }
            EventKind::TrimFailed { .. } => {
                let outcome = ("outcome", "failed".into());
                self.count(names::TRIMMED, 1, [outcome]);
            }
            EventKind::Batched {
                calls, requests, ..
            } => {
                self.count(names::BATCHED_CALLS, *calls, []);
                self.count(names::BATCH_REQUESTS, u64::from(*requests), []);
            }
            EventKind::StoreFailed { failures, .. } => {
                self.count(names::STORE_FAILURES, *failures, []);
            }
            _ => {}
        }
    }

    fn count<const N: usize>(
        &self,
        name: &'static str,
        many: u64,
        labels: [(&'static str, SharedString); N],
    ) {
        let labels = labels.map(|(key, value)| Label::new(key, value));
        let api = Label::new("api", self.api.clone());
        let labels: Vec<Label> = [api].into_iter().chain(labels).collect();
        counter!(name, labels).increment(many);
    }

    fn class(&self, name: &str) -> (&'static str, SharedString) {
        ("class", self.classes.get(&self.api, name).name.clone())
    }

    fn limit(&self, name: &str) -> (&'static str, SharedString) {
        let planned = self.limits.iter().find(|limit| &***limit == name);
        let known = planned.cloned().or_else(|| {
            let words = NOT_LIMITS.into_iter();
            words.map(SharedString::from).find(|word| &**word == name)
        });
        ("limit", known.unwrap_or(OTHER.into()))
    }
}

/// Cheap to clone.
fn shared(text: &str) -> SharedString {
    SharedString::from_shared(text.into())
}
