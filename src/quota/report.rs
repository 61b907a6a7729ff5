//! How quota stands at one moment.

use std::sync::{Arc, PoisonError, Weak};

use super::{Quota, tell};
use crate::core::concurrency::Concurrency;
use crate::core::{Fingerprint, Keys, Usage};
use crate::plan::{Limit, Rule, Scope};
use crate::report::projection::Projection;
use crate::report::{ConcurrencyReport, DailyReport, KeyReport, LimitReport, Report};
use crate::tally::Shown;

/// So many tokens, accounts and routes are told of if nobody says how many.
const SHOWN: usize = 10;

/// Knows how many requests are in flight.
pub(crate) trait Crowded: Send + Sync + std::fmt::Debug {
    /// `None` for a token that it has not seen.
    fn concurrency_of(&self, token: Fingerprint) -> Option<Concurrency>;

    /// Everybody who waits looks again.
    fn wake_all(&self);
}

/// # How it stands
impl Quota {
    /// How quota stands now, with the ten tokens, accounts and routes that are used most. What it costs does not depend on how
    /// many there are.
    pub fn report(&self) -> Report {
        self.report_top(SHOWN)
    }

    /// The same with `most` tokens, accounts and routes: at most the 1,024 tokens and 256 routes that are counted.
    ///
    /// The ledger is locked once for each of them and each limit, for well below a microsecond.
    pub fn report_top(&self, most: usize) -> Report {
        let at = self.0.clock.wall();
        let (shown, cleared) = self.tally().show(at, most);
        self.tell_level(cleared);
        let Shown {
            day_began,
            today,
            yesterday,
            errors,
            keys,
            tokens,
            refused_tokens,
            routes,
            history,
        } = shown;
        let limits = self.plan().limits().iter().enumerate();
        let limits = limits.map(|(index, limit)| self.limit_report(index, limit, &keys));
        let concurrency = tokens
            .iter()
            .filter_map(|it| self.concurrency_report(it.token));
        Report {
            at,
            api: self.plan().name().to_owned(),
            enforced: self.enforces(),
            waiting: self.waiting() as u64,
            day_began,
            today,
            yesterday,
            errors,
            limits: limits.collect(),
            daily: self.daily_reports(&keys),
            concurrency: concurrency.collect(),
            tokens,
            refused_tokens,
            routes,
            history,
        }
    }

    /// From now on this one is asked, as long as it lives.
    pub(crate) fn ask_for_concurrency(&self, crowded: Weak<dyn Crowded>) {
        let mut crowds = self.0.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        crowds.retain(|known| known.strong_count() > 0);
        crowds.push(crowded);
    }

    /// Those who know how many are in flight. They tell events, so nothing may be locked when they are asked.
    pub(super) fn crowds(&self) -> Vec<Arc<dyn Crowded>> {
        let crowds = self.0.crowds.lock().unwrap_or_else(PoisonError::into_inner);
        crowds.iter().filter_map(Weak::upgrade).collect()
    }

    fn concurrency_report(&self, token: Fingerprint) -> Option<ConcurrencyReport> {
        let crowds = self.crowds();
        let mut known = crowds
            .iter()
            .filter_map(|crowd| crowd.concurrency_of(token));
        let concurrency = known.next()?;
        let change = concurrency.last_change;
        Some(ConcurrencyReport {
            token,
            limit: concurrency.limit,
            in_flight: concurrency.in_flight,
            waiting: concurrency.waiting,
            last_change: change.map(|change| change.reason.as_str().into()),
        })
    }

    fn limit_report(&self, index: usize, limit: &Limit, keys: &[Keys]) -> LimitReport {
        let scope = limit.get_scope();
        let planned = self.ledger(|ledger, _| ledger.claim(index));
        let usages = self.usages(index, scope, keys).into_iter();
        let report = |(key, usage): (Fingerprint, Usage)| KeyReport {
            key: (scope != Scope::App).then_some(key),
            quota: usage.quota,
            used: usage.used,
            foreign: usage.foreign,
            waiting: usage.waiting,
            headroom: left(&usage),
            paused: usage.paused_until.map(|until| self.until(until)),
        };
        let mut keys: Vec<_> = usages.map(report).collect();
        keys.sort_by_key(|key| key.headroom);
        LimitReport {
            limit: limit.name().to_owned(),
            scope,
            quota: planned.map_or(limit.rule().quota(), |claim| claim.planned),
            window: match limit.rule() {
                Rule::Rolling { window, .. } => {
                    Some(planned.map_or(*window, |it| it.planned_window))
                }
                Rule::Calendar { .. } => None,
            },
            keys,
        }
    }

    /// How far each of the keys has used a limit; those that share it come once.
    fn usages(&self, limit: usize, scope: Scope, keys: &[Keys]) -> Vec<(Fingerprint, Usage)> {
        let mut seen = Vec::new();
        for keys in keys {
            let key = tell::key_in(scope, *keys);
            if seen.iter().any(|(known, _)| *known == key) {
                continue;
            }
            if let Some(usage) = self.ledger(|ledger, now| ledger.usage(now, *keys, limit)) {
                seen.push((key, usage));
            }
        }
        seen
    }

    fn daily_reports(&self, keys: &[Keys]) -> Vec<DailyReport> {
        let limits = self.plan().limits().iter().enumerate();
        let mut reports = Vec::new();
        for (index, limit) in limits.filter(|(_, limit)| super::daily::is_daily(limit)) {
            let scope = limit.get_scope();
            for (key, usage) in self.usages(index, scope, keys) {
                let now = self.0.clock.wall();
                let resets = usage.resets.unwrap_or(now);
                let used = usage.used.saturating_add(usage.foreign);
                let known = self.tally().burn(now, key, used, resets);
                let projection = known.map(|it| it.foretell(now, used, usage.quota, resets));
                let Projection {
                    per_hour, runs_out, ..
                } = projection.unwrap_or_default();
                reports.push(DailyReport {
                    limit: limit.name().to_owned(),
                    key: (scope != Scope::App).then_some(key),
                    quota: usage.quota,
                    used: usage.used,
                    foreign: usage.foreign,
                    left: left(&usage),
                    resets,
                    per_hour,
                    runs_out,
                });
            }
        }
        reports.sort_by_key(|report| report.left);
        reports
    }
}

fn left(usage: &Usage) -> u32 {
    let used = usage.used.saturating_add(usage.foreign);
    usage.quota.saturating_sub(used)
}
