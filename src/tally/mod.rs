//! What was sent and what became of it, counted per app and day, per token, per route. Time comes in as an argument.

mod day;
mod refusals;
mod routes;
mod share;
mod top;

use std::time::SystemTime;

use http::StatusCode;

use self::day::Day;
use self::refusals::Refusals;
pub(crate) use self::refusals::{Recovery, Resumption};
use self::routes::RouteTable;
pub(crate) use self::routes::{RouteId, Template};
pub(crate) use self::share::Thresholds;
use self::top::{Entry, Top};
use crate::core::{Fingerprint, Keys, Now, Subject, Tick};
use crate::event::{Ending, Level, Route};
use crate::plan::{RouteClass, Zone};
use crate::report::projection::Burn;
use crate::report::{Counts, ErrorShare, Interval, RouteReport, TokenReport};

/// So many tokens are counted one by one: with no more of them the counts are exact.
const TOKENS: usize = 1_024;
/// The same of those that were refused.
const REFUSED_TOKENS: usize = 128;
/// The same of daily pools, of each of which is remembered when it was used.
const POOLS: usize = 256;
/// With fewer requests than these there is nothing to foretell, and no memory is spent on it.
const FEW: u32 = 16;

/// The counters of one quota.
#[derive(Debug)]
pub(crate) struct Tally {
    zone: Zone,
    /// When counting began.
    began: SystemTime,
    thresholds: Thresholds,
    day: Day,
    level: Level,
    tokens: Top<TokenCounts>,
    refused_tokens: Top<TokenCounts>,
    pools: Top<Pool>,
    routes: RouteTable,
    /// By the position of the route.
    route_counts: Vec<Few>,
    refusals: Refusals,
}

#[derive(Clone, Copy, Debug, Default)]
struct TokenCounts {
    /// There once it was counted.
    account: Option<Fingerprint>,
    counts: Few,
}

/// How one daily pool is used.
#[derive(Clone, Debug, Default)]
struct Pool {
    /// Requests before that is remembered.
    few: u32,
    burn: Option<Box<Burn>>,
}

/// What is counted of each token and each route.
#[derive(Clone, Copy, Debug, Default)]
struct Few {
    requests: u64,
    errors: u64,
    rate_limited: u64,
}

impl Few {
    fn count(&mut self, over: &Over) {
        self.requests += 1;
        self.errors += u64::from(over.is_error());
        self.rate_limited += u64::from(over.is_rate_limited());
    }
}

/// An attempt of a request that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Over {
    pub(crate) keys: Keys,
    pub(crate) class: RouteClass,
    pub(crate) route: RouteId,
    pub(crate) sent: Tick,
    pub(crate) ending: Ending,
    /// `None` when no response came.
    pub(crate) status: Option<StatusCode>,
    /// The key whose daily pool it uses up, if it does.
    pub(crate) pool: Option<Fingerprint>,
}

impl Over {
    fn is_rate_limited(&self) -> bool {
        self.ending == Ending::Refused
    }

    /// What vendors count: every response that is an error.
    fn is_error(&self) -> bool {
        let is_error = |status: StatusCode| status.as_u16() >= 400;
        self.is_rate_limited() || self.status.is_some_and(is_error)
    }
}

/// What an attempt has changed that somebody should be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct News {
    pub(crate) recovery: Option<Recovery>,
    /// What a new day has cleared, and the counts that say so.
    pub(crate) cleared: Option<(Level, Counts)>,
    /// The level of the error share that has been reached or left since.
    pub(crate) level: Option<(Level, Counts)>,
}

impl Tally {
    /// `zone` is that of the day for which is counted, from `began` on.
    pub(crate) fn new(zone: Zone, began: SystemTime, thresholds: Thresholds) -> Self {
        let zone = match zone.is_unknown() {
            true => Zone::UTC,
            false => zone,
        };
        Self {
            zone,
            began,
            thresholds,
            day: Day::default(),
            level: Level::Fine,
            tokens: Top::new(TOKENS),
            refused_tokens: Top::new(REFUSED_TOKENS),
            pools: Top::new(POOLS),
            routes: RouteTable::default(),
            route_counts: Vec::new(),
            refusals: Refusals::default(),
        }
    }

    /// The route of a request, to be counted when it is over.
    pub(crate) fn route(&mut self, template: &Template) -> RouteId {
        self.routes.id(template.as_str())
    }

    pub(crate) fn route_name(&self, route: RouteId) -> &Route {
        self.routes.route(route)
    }

    /// Counts an attempt that is over.
    pub(crate) fn over(&mut self, now: Now, over: &Over) -> News {
        let cleared = self.advance(now.wall);
        self.day.count(now.wall, over);
        self.count_token(over);
        if let Some(pool) = over.pool {
            self.count_pool(now.wall, pool);
        }
        let index = over.route.index();
        if self.route_counts.len() <= index {
            self.route_counts.resize(index + 1, Few::default());
        }
        self.route_counts[index].count(over);
        News {
            recovery: self.refusals.over(now.tick, over),
            cleared,
            level: self.judge(over.is_error()),
        }
    }

    fn count_pool(&mut self, wall: SystemTime, key: Fingerprint) {
        let pool = &mut self.pools.add(key).value;
        if let Some(burn) = &mut pool.burn {
            return burn.note(wall, 1);
        }
        pool.few += 1;
        if pool.few >= FEW {
            let known_since = self.began.max(self.day.began()).min(wall);
            let mut burn = Box::new(Burn::new(known_since, self.day.ends()));
            burn.note(wall, pool.few);
            pool.burn = Some(burn);
        }
    }

    /// What is known of the use of a pool, after having heard that `used` requests of it have been used in all and that it is filled
    /// again at `resets`. To foretell takes a while, so it is done elsewhere.
    pub(crate) fn burn(
        &mut self,
        wall: SystemTime,
        key: Fingerprint,
        used: u32,
        resets: SystemTime,
    ) -> Option<Box<Burn>> {
        let burn = self.pools.get_mut(key)?.value.burn.as_mut()?;
        burn.hear(wall, used, resets);
        Some(burn.clone())
    }

    fn count_token(&mut self, over: &Over) {
        let token = over.keys.token;
        let known = self.tokens.add(token);
        known.value.account = Some(over.keys.account);
        let before = known.value.counts;
        known.value.counts.count(over);
        let refused = match over.is_rate_limited() {
            true => Some(self.refused_tokens.add(token)),
            // Hardly ever is anybody refused.
            false if self.refused_tokens.entries().is_empty() => None,
            false => self.refused_tokens.get_mut(token),
        };
        if let Some(refused) = refused {
            if refused.value.account.is_none() {
                // What was before its first refusal counts, too.
                refused.value.counts = before;
                refused.value.account = Some(over.keys.account);
            }
            refused.value.counts.count(over);
        }
    }

    /// A request has failed without being sent.
    pub(crate) fn denied(&mut self, wall: SystemTime) -> Option<(Level, Counts)> {
        let cleared = self.advance(wall);
        self.day.today.denied += 1;
        cleared
    }

    /// A request would have been held up.
    pub(crate) fn would_wait(&mut self, wall: SystemTime) -> Option<(Level, Counts)> {
        let cleared = self.advance(wall);
        self.day.today.would_wait += 1;
        cleared
    }

    /// A new day begins when it has come. Gives what that clears.
    fn advance(&mut self, wall: SystemTime) -> Option<(Level, Counts)> {
        if !self.day.advance(wall, &self.zone) {
            return None;
        }
        self.tokens.clear();
        self.refused_tokens.clear();
        self.route_counts.clear();
        let was = std::mem::take(&mut self.level);
        (was > Level::Fine).then_some((Level::Fine, self.day.today))
    }

    /// Without an error the share falls, which matters only where it was too high, or where only now there are enough to tell.
    fn judge(&mut self, is_error: bool) -> Option<(Level, Counts)> {
        let counts = &self.day.today;
        let begins = counts.requests == self.thresholds.least_requests.max(1);
        if !is_error && self.level == Level::Fine && !begins {
            return None;
        }
        let level = self.thresholds.next(self.level, counts);
        let was = std::mem::replace(&mut self.level, level);
        (was != level).then_some((level, *counts))
    }
}

/// # Pauses
impl Tally {
    /// A pause of a subject and a key of its kind has begun. Gives whether that is news, and not one of many responses that say the
    /// same.
    pub(crate) fn paused(
        &mut self,
        now: Tick,
        subject: (Subject, Fingerprint),
        keys: Keys,
        until: Tick,
    ) -> bool {
        self.refusals.paused(now, subject, keys, until)
    }

    /// Whether there is a pause whose end has not been told.
    pub(crate) fn has_pauses(&self) -> bool {
        self.refusals.has_pauses()
    }

    /// The pauses of `subjects`, which concern a request, that are over.
    pub(crate) fn resumed(
        &mut self,
        now: Tick,
        subjects: impl Iterator<Item = (Subject, Fingerprint)>,
    ) -> Vec<Resumption> {
        self.refusals.resumed(now, subjects)
    }

    /// Those of `subjects` are over, because somebody has ended them.
    pub(crate) fn end_pauses(
        &mut self,
        now: Tick,
        subjects: impl Iterator<Item = (Subject, Fingerprint)>,
    ) -> Vec<Resumption> {
        self.refusals.end_pauses(now, subjects)
    }
}

/// What the counters show.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) day_began: SystemTime,
    pub(crate) today: Counts,
    pub(crate) yesterday: Counts,
    pub(crate) errors: ErrorShare,
    /// The keys of the tokens that come first, in the order of `tokens`.
    pub(crate) keys: Vec<Keys>,
    pub(crate) tokens: Vec<TokenReport>,
    pub(crate) refused_tokens: Vec<TokenReport>,
    pub(crate) routes: Vec<RouteReport>,
    pub(crate) history: Vec<Interval>,
}

/// # What they show
impl Tally {
    /// The counts, with `most` tokens and routes of each kind. What it gives besides is news as of [`over`](Self::over).
    pub(crate) fn show(
        &mut self,
        wall: SystemTime,
        most: usize,
    ) -> (Shown, Option<(Level, Counts)>) {
        let cleared = self.advance(wall);
        let first = self.tokens.entries().iter().take(most);
        let keys = first.clone().map(|entry| Keys {
            token: entry.key,
            account: entry.value.account.unwrap_or(entry.key),
        });
        let shown = Shown {
            day_began: self.day.began(),
            today: self.day.today,
            yesterday: self.day.yesterday,
            errors: self.thresholds.report(self.level, &self.day.today),
            keys: keys.collect(),
            tokens: first.map(token_report).collect(),
            refused_tokens: self.refused_reports(most),
            routes: self.route_reports(most),
            history: self.day.history(),
        };
        (shown, cleared)
    }

    fn refused_reports(&self, most: usize) -> Vec<TokenReport> {
        let refused = self.refused_tokens.entries().iter().take(most);
        let report = |entry: &Entry<TokenCounts>| TokenReport {
            requests: entry.value.counts.requests,
            ..token_report(entry)
        };
        refused.map(report).collect()
    }

    fn route_reports(&self, most: usize) -> Vec<RouteReport> {
        let counts = self.route_counts.iter().enumerate();
        let mut used: Vec<_> = counts.filter(|(_, counts)| counts.requests > 0).collect();
        used.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.requests));
        let report = |(index, counts): (usize, &Few)| RouteReport {
            route: self.routes.at(index).clone(),
            requests: counts.requests,
            errors: counts.errors,
            rate_limited: counts.rate_limited,
        };
        used.into_iter().take(most).map(report).collect()
    }
}

fn token_report(entry: &Entry<TokenCounts>) -> TokenReport {
    TokenReport {
        token: entry.key,
        requests: entry.count,
        uncertain: entry.over,
        errors: entry.value.counts.errors,
        rate_limited: entry.value.counts.rate_limited,
    }
}
