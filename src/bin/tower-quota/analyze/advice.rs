//! What brings headroom back, and how much, in order of what it costs.

use tower_quota::hubspot::Tier;
use tower_quota::plan::{Lane, Plan};

use super::answer::{Advice, totals};
use super::declared::{Alone, Declared};
use super::draw::{self, Day, p99};
use super::syncs::{DAY, Sync, When};
use super::work::{MOST_BATCHED, Work};
use crate::out::grouped;
use crate::span;

/// Of each kind only the best are given.
const MOST_OF_A_KIND: usize = 3;
/// What saves less than this share of all calls is not worth a change.
const LEAST_SHARE: f64 = 0.01;
/// Right after the daily reset.
const AFTER_RESET: f64 = 300.0;

/// An account whose headroom is too small.
pub(super) struct Needy<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tier: Tier,
    /// Of the daily pool.
    pub(super) quota: u64,
    pub(super) calls_per_day: f64,
    pub(super) p99_calls: u64,
    pub(super) warn_below: f64,
}

impl Needy<'_> {
    fn headroom(&self, p99_calls: u64) -> f64 {
        1.0 - p99_calls as f64 / self.quota as f64
    }

    fn is_worth_it(&self, calls: f64) -> bool {
        calls >= LEAST_SHARE * self.calls_per_day
    }

    /// The best of a kind.
    fn best(mut advice: Vec<Advice>) -> Vec<Advice> {
        advice.sort_by(|a, b| b.calls_per_day.total_cmp(&a.calls_per_day));
        advice.truncate(MOST_OF_A_KIND);
        advice
    }

    /// More quota: the least that is enough, or the most that there is.
    pub(super) fn ask_for_more(&self) -> Option<Advice> {
        let mut found = None;
        for packs in [1, 2] {
            let Ok(tier) = self.tier.with_increase(packs) else {
                continue;
            };
            let quota = daily_quota(tier).filter(|&quota| quota > self.quota);
            let Some(quota) = quota else { continue };
            let headroom = 1.0 - self.p99_calls as f64 / quota as f64;
            let text = format!(
                "ask for more: with the API Limit Increase (`{tier}`) there are {} calls a day",
                grouped(quota)
            );
            found = Some(Advice {
                kind: "ask_for_more",
                name: None,
                text,
                calls_per_day: (quota - self.quota) as f64,
                p99_headroom: headroom,
            });
            if headroom >= self.warn_below {
                break;
            }
        }
        found
    }

    /// Routes of a log whose calls could have left as batch calls: the series, its name, and by which share that is fewer.
    pub(super) fn batch_routes(
        &self,
        days: &[Day],
        mine: &[usize],
        routes: impl Iterator<Item = (usize, String, f64, f64)>,
    ) -> Vec<Advice> {
        let advice = routes.filter_map(|(series, name, calls_per_day, share_saved)| {
            let saved = calls_per_day * share_saved;
            if !self.is_worth_it(saved) {
                return None;
            }
            let totals = totals(days, mine).zip(days).map(|(total, day)| {
                total - (day.calls[series] as f64 * share_saved).floor() as u64
            });
            Some(Advice {
                kind: "batch",
                text: format!(
                    "batch `{name}`: calls that come within the same second leave as one"
                ),
                name: Some(name),
                calls_per_day: saved,
                p99_headroom: self.headroom(p99(totals).unwrap_or(0)),
            })
        });
        Self::best(advice.collect())
    }
}

fn daily_quota(tier: Tier) -> Option<u64> {
    let plan = tower_quota::hubspot::plan(tier, tower_quota::plan::Zone::UTC);
    let limit = plan.limit(tower_quota::hubspot::DAILY)?;
    Some(u64::from(limit.rule().quota()))
}

/// Changes of one account's syncs, tried on the same days.
pub(super) struct Trial<'a> {
    pub(super) needy: Needy<'a>,
    pub(super) account: &'a str,
    pub(super) syncs: &'a [Sync],
    /// As they are without any change.
    pub(super) days: &'a [Day],
    pub(super) seed: u64,
}

impl Trial<'_> {
    /// All of it, in order of what it costs.
    pub(super) fn advice(&self) -> Vec<Advice> {
        let mine = self.syncs.iter().enumerate();
        let mine = || {
            mine.clone()
                .filter(|(_, sync)| sync.account == self.account)
        };
        let batch = mine().filter_map(|(nth, sync)| self.batch(nth, sync));
        let less_often = mine().filter_map(|(nth, sync)| self.less_often(nth, sync));
        let after_reset = mine().filter_map(|(nth, sync)| self.after_reset(nth, sync));
        let mut advice = Needy::best(batch.collect());
        advice.extend(Needy::best(less_often.collect()));
        advice.extend(Needy::best(after_reset.collect()));
        advice.extend(self.needy.ask_for_more());
        advice
    }

    /// The 99th percentile of the account's calls with another sync in this place. The other syncs do what they have done on the days
    /// already drawn.
    fn p99_with(&self, nth: usize, sync: &Sync) -> u64 {
        let mine: Vec<usize> = (0..self.syncs.len())
            .filter(|&nth| self.syncs[nth].account == self.account)
            .collect();
        let alone = Alone(sync);
        let then = draw::days(&alone, self.days.len(), self.seed);
        let totals = totals(self.days, &mine).zip(self.days).zip(&then);
        p99(totals.map(|((total, day), then)| total - day.calls[nth] + then.calls[0])).unwrap_or(0)
    }

    /// How many calls a day of the sync in this place come when the pool is used up.
    fn late(&self, nth: usize, days: &[Day]) -> f64 {
        let late: u64 = days.iter().map(|day| day.late[nth]).sum();
        late as f64 / days.len() as f64
    }

    fn saving(
        &self,
        kind: &'static str,
        nth: usize,
        (now, then): (&Sync, &Sync),
        text: String,
    ) -> Option<Advice> {
        let saved = now.calls_per_day() - then.calls_per_day();
        if !self.needy.is_worth_it(saved) {
            return None;
        }
        let p99_calls = self.p99_with(nth, then);
        Some(Advice {
            kind,
            name: Some(now.name.clone()),
            text,
            calls_per_day: saved,
            p99_headroom: self.needy.headroom(p99_calls),
        })
    }

    fn batch(&self, nth: usize, sync: &Sync) -> Option<Advice> {
        let mut then = sync.clone();
        then.work.batch = MOST_BATCHED;
        then.work.collected = MOST_BATCHED;
        let text = match sync.work.singles {
            0 => format!(
                "batch `{}`: {MOST_BATCHED} records per call instead of {}",
                sync.name, sync.work.batch
            ),
            _ => format!(
                "batch `{}`: {MOST_BATCHED} records per call instead of one",
                sync.name
            ),
        };
        self.saving("batch", nth, (sync, &then), text)
    }

    fn less_often(&self, nth: usize, sync: &Sync) -> Option<Advice> {
        if sync.lane == Lane::Interactive {
            return None;
        }
        let lengths: Vec<f64> = match sync.when {
            When::Every { length, .. } => [2.0, 3.0, 4.0, 6.0, 12.0]
                .iter()
                .map(|times| times * length)
                .filter(|&length| length <= DAY)
                .collect(),
            When::PerDay(_) => vec![60.0, 300.0, 900.0, 3_600.0],
            When::At(_) => Vec::new(),
        };
        let mut given: Option<Advice> = None;
        for length in lengths {
            let then = sync.every(length);
            let how = match sync.when {
                When::PerDay(_) => "collect what `{}` has to do, and do it",
                _ => "run `{}` less often:",
            };
            let what = match (&sync.when, sync.full) {
                (When::PerDay(_), _) => "".to_owned(),
                (_, true) => " (each run does all records)".to_owned(),
                (_, false) => " (each run finds more records)".to_owned(),
            };
            let text = format!(
                "{} every {}{what}",
                how.replace("{}", &sync.name),
                span::text(length)
            );
            let Some(advice) = self.saving("less_often", nth, (sync, &then), text) else {
                continue;
            };
            let is_enough = advice.p99_headroom >= self.needy.warn_below;
            if is_enough || given.is_none() {
                given = Some(advice);
            }
            if is_enough {
                break;
            }
        }
        given
    }

    fn after_reset(&self, nth: usize, sync: &Sync) -> Option<Advice> {
        if sync.lane == Lane::Interactive || sync.runs_per_day() > 1.0 {
            return None;
        }
        let late = self.late(nth, self.days);
        if !self.needy.is_worth_it(late) {
            return None;
        }
        let mut then = sync.clone();
        then.when = match sync.when {
            When::Every { length, .. } => When::Every {
                length,
                from: Some(AFTER_RESET),
            },
            _ => When::At(vec![AFTER_RESET]),
        };
        then.hours = None;
        let p99_calls = self.p99_with(nth, &then);
        let mut syncs = self.syncs.to_vec();
        syncs[nth] = then;
        let declared = Declared::new(self.needy.plan, &syncs, false);
        let days = draw::days(&declared, self.days.len(), self.seed);
        let moved = late - self.late(nth, &days);
        if !self.needy.is_worth_it(moved) {
            return None;
        }
        let text = format!(
            "run `{}` at 00:05, after the reset: so many of its calls come when the pool is used up, \
             which then is left to others",
            sync.name
        );
        Some(Advice {
            kind: "after_reset",
            name: Some(sync.name.clone()),
            text,
            calls_per_day: moved,
            p99_headroom: self.needy.headroom(p99_calls),
        })
    }
}

impl Sync {
    pub(super) fn calls_per_day(&self) -> f64 {
        self.runs_per_day() * self.work.calls(1.0).all() as f64
    }

    /// The same sync with so much time between its runs.
    fn every(&self, length: f64) -> Sync {
        let mut then = self.clone();
        then.when = When::Every {
            length,
            from: match self.when {
                When::Every { from, .. } => from,
                _ => None,
            },
        };
        let more = self.runs_per_day() / then.runs_per_day();
        let grown = |count: u64| (count as f64 * more).ceil() as u64;
        if !self.full {
            then.work = Work {
                records: grown(self.work.records),
                singles: grown(self.work.singles),
                found: grown(self.work.found),
                associations: grown(self.work.associations),
                ..then.work
            };
        }
        if let When::PerDay(_) = self.when {
            then.work.collected = MOST_BATCHED;
        }
        then
    }
}
