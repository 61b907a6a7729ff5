//! What responses say of limits, told to the ledger, and what of it is worth an event.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Permit, Quota};
use crate::core::{ForeignUse, News, Report};
use crate::plan::{Limit, Rule};
use crate::signal::{Outcome, Signals};

impl Permit {
    /// Tells the ledger what the response says of the limits that govern its request. To be called before [`over`](Self::over).
    pub(crate) fn observe(&self, signals: &Signals) {
        let Some(permit) = self.inner.as_ref().filter(|_| !signals.observed.is_empty()) else {
            return;
        };
        let (quota, token) = (&self.quota, self.ticket.keys.token);
        for observed in &signals.observed {
            let Some(index) = quota.limit_index(&observed.limit) else {
                continue;
            };
            let limit = &quota.plan().limits()[index];
            if !matches!(limit.rule(), Rule::Rolling { .. }) {
                continue;
            }
            let report = Report {
                quota: observed.quota,
                remaining: observed.remaining,
                window: observed.window,
                service_time: signals.service_time,
                refused: matches!(signals.outcome, Outcome::Refused(_)),
            };
            let News { learned, foreign } =
                quota.ledger(|ledger, now| ledger.observe(now, permit, index, &report));
            if let Some(learned) = learned {
                tracing::info!(
                    target: "tower_quota::limit_learned",
                    limit = limit.name(),
                    %token,
                    planned = limit.rule().quota(),
                    learned,
                );
            }
            let requests = match foreign {
                Some(ForeignUse::Begun { requests }) => {
                    quota.0.has_seen_others.store(true, Ordering::Relaxed);
                    Some(requests)
                }
                Some(ForeignUse::Ended) => None,
                None => continue,
            };
            tracing::info!(
                target: "tower_quota::foreign_use",
                limit = limit.name(),
                %token,
                account = %self.ticket.keys.account,
                known = requests.is_some(),
                requests = requests.unwrap_or(0),
            );
        }
    }
}

/// A limit of the plan that is not what the server says; one entry of [`Quota::plan_check`].
///
/// ```
/// # use tower_quota::{Quota, plan::{Limit, Plan}};
/// # let plan = Plan::builder("acme").limit(Limit::rolling("burst", 5, std::time::Duration::from_secs(1))).build()?;
/// # let quota = Quota::new(plan);
/// for difference in quota.plan_check() {
///     println!("{difference}");
/// }
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanCheck {
    /// The limit's name in the plan.
    pub limit: String,
    /// Requests per window, as planned.
    pub planned: u32,
    /// Requests per window, as the server said last; the same as planned if it said nothing.
    pub learned: u32,
    /// The window, as planned.
    pub planned_window: Duration,
    /// The window, as the server said last; the same as planned if it said nothing.
    pub learned_window: Duration,
}

impl fmt::Display for PlanCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            limit,
            planned,
            learned,
            planned_window,
            learned_window,
        } = self;
        write!(
            f,
            "{limit}: the plan says {planned} per {planned_window:?}, the server {learned} per {learned_window:?}"
        )
    }
}

impl Quota {
    /// Which rolling limits of the plan differ from what the server says of them, in either direction: where it allows less, the
    /// keys concerned keep to that; where it allows more, somebody may pay for more than the plan uses.
    ///
    /// It compares with the latest response that said anything of the limit. Tokens whose limits differ need plans of their own.
    pub fn plan_check(&self) -> Vec<PlanCheck> {
        let limits = self.plan().limits().iter().enumerate();
        let check = |(index, limit): (usize, &Limit)| {
            let claim = self.ledger(|ledger, _| ledger.claim(index))?;
            let check = PlanCheck {
                limit: limit.name().to_owned(),
                planned: claim.planned,
                learned: claim.learned.unwrap_or(claim.planned),
                planned_window: claim.planned_window,
                learned_window: claim.learned_window.unwrap_or(claim.planned_window),
            };
            let differs =
                check.planned != check.learned || check.planned_window != check.learned_window;
            differs.then_some(check)
        };
        limits.filter_map(check).collect()
    }
}
