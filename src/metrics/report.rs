//! Gauges: how quota stands at the moment of a report.

use std::time::Duration;

use ::metrics::{SharedString, gauge};

use super::{names, shared};
use crate::report::Report;

/// # Metrics
impl Report {
    /// Sets the gauges of [`metrics`](crate::metrics) to what it says. Of each limit only the key with the least headroom is told, so the
    /// number of labels does not grow with tokens.
    pub fn record_metrics(&self) {
        // Each time, because nothing tells whether the recorder is still the same.
        names::describe();
        let api = shared(&self.api);
        gauge!(names::WAITING, "api" => api.clone()).set(self.waiting as f64);
        gauge!(names::ERROR_RATIO, "api" => api.clone()).set(self.errors.share);
        for limit in &self.limits {
            let fullest = limit.keys.iter().min_by_key(|key| key.headroom);
            let (headroom, quota) =
                fullest.map_or((limit.quota, limit.quota), |key| (key.headroom, key.quota));
            let set = |name, value| set(name, &api, &limit.limit, value);
            set(names::HEADROOM, f64::from(headroom));
            let ratio = f64::from(headroom) / f64::from(quota.max(1));
            set(names::HEADROOM_RATIO, ratio);
        }
        for (nth, pool) in self.daily.iter().enumerate() {
            // The emptiest of a limit is the first.
            if self.daily[..nth].iter().any(|it| it.limit == pool.limit) {
                continue;
            }
            let set = |name, value| set(name, &api, &pool.limit, value);
            set(names::DAILY_LEFT, f64::from(pool.left));
            set(names::DAILY_PER_HOUR, pool.per_hour);
            let after = pool
                .runs_out
                .map(|at| at.duration_since(self.at).unwrap_or_default());
            let seconds = after.as_ref().map_or(f64::INFINITY, Duration::as_secs_f64);
            set(names::DAILY_RUNS_OUT, seconds);
        }
    }
}

fn set(name: &'static str, api: &SharedString, limit: &str, value: f64) {
    gauge!(name, "api" => api.clone(), "limit" => limit.to_owned()).set(value);
}
