//! Events for `tracing`: one target and one list of fields for each kind.

use std::fmt;
use std::time::Duration;

use tracing::field::DisplayValue;

use super::{EventKind, Level, QuotaEvent};
use crate::core::Fingerprint;

/// What is not known is no field.
fn shown<T: fmt::Display>(value: Option<T>) -> Option<DisplayValue<T>> {
    value.map(tracing::field::display)
}

fn seconds(length: Option<Duration>) -> Option<f64> {
    length.map(|length| length.as_secs_f64())
}

impl QuotaEvent {
    /// Hands it over to `tracing`.
    pub(crate) fn trace(&self) {
        let (token, account) = (shown(self.token), shown(self.account));
        match &self.kind {
            EventKind::Request {
                class,
                route,
                lane,
                attempt,
                waited,
                took,
                ending,
                status,
                ..
            } => tracing::trace!(
                target: "tower_quota::request",
                token,
                account,
                class = %class,
                route = %route,
                lane = %lane,
                attempt,
                waited = waited.as_secs_f64(),
                seconds = took.as_secs_f64(),
                ending = ?ending,
                status,
            ),
            EventKind::RateLimited {
                limit,
                class,
                route,
                status,
                attempt,
                retry_after,
                daily_remaining,
            } => tracing::warn!(
                target: "tower_quota::rate_limited",
                limit = &**limit,
                token,
                account,
                class = %class,
                route = %route,
                status,
                attempt,
                retry_after = seconds(*retry_after),
                daily_remaining,
            ),
            EventKind::Recovered {
                class,
                route,
                attempt,
                refusals,
                recovered_after,
            } => tracing::info!(
                target: "tower_quota::recovered",
                token,
                account,
                class = %class,
                route = %route,
                attempt,
                refusals,
                recovered_after = recovered_after.as_secs_f64(),
            ),
            EventKind::Paused {
                limit,
                class,
                status,
                lasts,
            } => tracing::warn!(
                target: "tower_quota::paused",
                limit = &**limit,
                token,
                account,
                class = %class,
                status,
                seconds = lasts.as_secs_f64(),
            ),
            EventKind::Resumed { limit, after } => tracing::info!(
                target: "tower_quota::resumed",
                limit = &**limit,
                token,
                account,
                seconds = after.as_secs_f64(),
            ),
            EventKind::DailyExhausted { limit, lasts } => tracing::warn!(
                target: "tower_quota::daily_exhausted",
                limit = &**limit,
                token,
                account,
                seconds = lasts.as_secs_f64(),
            ),
            EventKind::DailyResumed { limit, after } => tracing::info!(
                target: "tower_quota::daily_resumed",
                limit = &**limit,
                token,
                account,
                seconds = after.as_secs_f64(),
            ),
            EventKind::LimitLearned {
                limit,
                planned,
                learned,
            } => tracing::info!(
                target: "tower_quota::limit_learned",
                limit = &**limit,
                token,
                account,
                planned,
                learned,
            ),
            EventKind::ForeignUse { limit, requests } => tracing::info!(
                target: "tower_quota::foreign_use",
                limit = &**limit,
                token,
                account,
                known = requests.is_some(),
                requests = requests.unwrap_or(0),
            ),
            EventKind::CreditHalved { limit, percent } => tracing::info!(
                target: "tower_quota::credit_halved",
                limit = &**limit,
                token,
                percent,
            ),
            EventKind::ConcurrencyChanged { from, to, reason } => tracing::info!(
                target: "tower_quota::concurrency_changed",
                token,
                from,
                to,
                reason = &**reason,
            ),
            EventKind::Repeated {
                class,
                status,
                attempt,
                wait,
            } => tracing::debug!(
                target: "tower_quota::repeated",
                token,
                class = %class,
                status,
                attempt,
                seconds = wait.as_secs_f64(),
            ),
            EventKind::Denied {
                limit,
                class,
                reason,
                retry_after,
            } => tracing::debug!(
                target: "tower_quota::denied",
                limit = &**limit,
                token,
                account,
                class = %class,
                reason = &**reason,
                retry_after = retry_after.as_secs_f64(),
            ),
            EventKind::WouldWait { limit, class } => tracing::debug!(
                target: "tower_quota::would_wait",
                limit = &**limit,
                token,
                account,
                class = %class,
            ),
            EventKind::ErrorShare {
                level,
                requests,
                errors,
                rate_limited,
            } => {
                macro_rules! tell {
                    ($how:ident) => {
                        tracing::$how!(
                            target: "tower_quota::error_share",
                            level = level.as_str(),
                            requests,
                            errors,
                            rate_limited,
                        )
                    };
                }
                match level {
                    Level::Breach => tell!(error),
                    Level::Warn => tell!(warn),
                    Level::Fine => tell!(info),
                }
            }
            EventKind::PauseShared { limit, lasts } => tracing::info!(
                target: "tower_quota::pause_shared",
                limit = &**limit,
                token,
                account,
                seconds = lasts.as_secs_f64(),
            ),
            EventKind::Missed { events } => {
                tracing::warn!(target: "tower_quota::missed", events);
            }
            kind => trace_of_layer(kind, account),
        }
    }
}

/// The events of the layers that ask for less or for more at a time, and of the shared store.
fn trace_of_layer(kind: &EventKind, account: Option<DisplayValue<Fingerprint>>) {
    match kind {
        EventKind::TooHeavy {
            route,
            status,
            asked,
            goes_on,
            took,
        } => tracing::debug!(
            target: "tower_quota::too_heavy",
            account,
            route = %route,
            status,
            timeout = status.is_none(),
            asked,
            goes_on,
            seconds = took.as_secs_f64(),
        ),
        EventKind::HeavyHint { route, hint } => tracing::info!(
            target: "tower_quota::heavy_hint",
            account,
            route = %route,
            hint = &**hint,
        ),
        EventKind::Trimmed {
            route,
            shape,
            asked,
            worked,
            way,
            pieces,
            too_heavy,
            dropped,
            took,
        } => tracing::info!(
            target: "tower_quota::trimmed",
            account,
            route = %route,
            shape = %shape,
            asked,
            worked,
            way = %way,
            pieces,
            too_heavy,
            dropped,
            seconds = took.as_secs_f64(),
        ),
        EventKind::TrimFailed {
            route,
            shape,
            asked,
            tried,
            way,
            pieces,
            too_heavy,
            status,
            took,
        } => tracing::info!(
            target: "tower_quota::trim_failed",
            account,
            route = %route,
            shape = %shape,
            asked,
            tried,
            way = %way,
            pieces,
            too_heavy,
            status,
            seconds = took.as_secs_f64(),
        ),
        EventKind::Batched {
            route,
            calls,
            requests,
            refused,
            took,
        } => tracing::debug!(
            target: "tower_quota::batched",
            account,
            route = %route,
            calls,
            requests,
            refused,
            seconds = took.as_secs_f64(),
        ),
        EventKind::BatchLimit { route, most } => tracing::info!(
            target: "tower_quota::batch_limit",
            account,
            route = %route,
            most,
        ),
        EventKind::StoreFailed { failures, error } => tracing::warn!(
            target: "tower_quota::store_failed",
            failures,
            error = %error,
        ),
        EventKind::StoreGone { policy, error } => tracing::warn!(
            target: "tower_quota::store_gone",
            policy = %policy,
            error = %error,
        ),
        EventKind::StoreBack { after } => tracing::info!(
            target: "tower_quota::store_back",
            after = after.as_secs_f64(),
        ),
        _ => {}
    }
}
