//! What responses say of limits, told to the ledger, and what of it is worth an event.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Permit, Quota, Ticket};
use crate::core::{self, ForeignUse, Ledger, News, Now, Report};
use crate::event::{EventKind, Whose};
use crate::plan::Limit;
use crate::signal::{Outcome, Refusal, Signals};

impl Permit {
    /// Tells the ledger what the response says of the limits that govern its request, whose slots are still held.
    pub(crate) fn observe(&self, signals: &Signals) {
        if let Some(permit) = &self.inner {
            let observe = |ledger: &mut Ledger, now| self.tell(ledger, now, permit, signals);
            self.announce(self.quota.ledger(observe));
        }
    }

    /// The same with the lock held. Gives what is news, by limit; hardly ever there is any.
    pub(super) fn tell(
        &self,
        ledger: &mut Ledger,
        now: Now,
        permit: &core::Permit,
        signals: &Signals,
    ) -> Vec<(usize, News)> {
        let mut news = Vec::new();
        for observed in &signals.observed {
            let Some(limit) = self.quota.limit_index(&observed.limit) else {
                continue;
            };
            if self.quota.is_daily(limit) {
                let keys = self.ticket.keys;
                self.quota
                    .observe_daily(ledger, now, keys, permit, limit, observed);
                continue;
            }
            let report = Report {
                quota: observed.quota,
                remaining: observed.remaining,
                window: observed.window,
                service_time: signals.service_time,
                refused: refuses(&signals.outcome, &observed.limit),
            };
            let heard = ledger.observe(now, permit, limit, &report);
            if heard != News::default() {
                news.push((limit, heard));
            }
        }
        news
    }

    /// Makes events of what was news.
    pub(super) fn announce(&self, news: Vec<(usize, News)>) {
        let token = self.ticket.keys.token;
        for (limit, News { learned, foreign }) in news {
            let limit = &self.quota.plan().limits()[limit];
            if let Some(learned) = learned {
                self.quota.emit(
                    Whose::token(token),
                    EventKind::LimitLearned {
                        limit: limit.name().to_owned().into(),
                        planned: limit.rule().quota(),
                        learned,
                    },
                );
            }
            let requests = match foreign {
                Some(ForeignUse::Begun { requests }) => {
                    self.quota.0.has_seen_others.store(true, Ordering::Relaxed);
                    Some(requests)
                }
                Some(ForeignUse::Ended) => None,
                None => continue,
            };
            self.quota.emit(
                self.ticket.keys,
                EventKind::ForeignUse {
                    limit: limit.name().to_owned().into(),
                    requests,
                },
            );
        }
    }
}

/// Whether it may have been this limit that refused the request, so that it was not counted.
fn refuses(outcome: &Outcome, limit: &str) -> bool {
    match outcome {
        Outcome::Refused(Refusal::Limit(name)) => name == limit,
        Outcome::Refused(Refusal::Token) => true,
        _ => false,
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
    /// Whether a refusal by this limit is no surprise, because others are known to use it.
    pub(crate) fn explains_refusals(&self, ticket: &Ticket, limit: &str) -> bool {
        let Some(limit) = self.limit_index(limit) else {
            return false;
        };
        self.ledger(|ledger, now| ledger.explains_refusals(now, ticket.keys, limit))
    }

    /// Which limits of the plan differ from what the server says of them, in either direction: where it allows less, the
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
