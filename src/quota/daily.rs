//! The daily pools: what happens when one is exhausted, how it is spent, and what the server says of it.

use std::time::{Duration, SystemTime};

use super::{Quota, Ticket};
use crate::core::{self, Event, Keys, Ledger, Notice, Now, Subject};
use crate::error::ConfigError;
use crate::event::{EventKind, Whose};
#[cfg(doc)]
use crate::plan::{Lane, Zone};
use crate::plan::{Limit, Rule, Scope};
#[cfg(doc)]
use crate::request::Deadline;
use crate::request::RequestHead;
use crate::signal::Observed;

/// A refusal that names no limit and says to wait for longer than this is meant of a daily pool.
pub(crate) const LONGEST_ORDINARY_WAIT: Duration = Duration::from_secs(60);

/// What becomes of requests that find a daily pool exhausted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DailyExhausted {
    /// They wait for its reset no longer than for anything else: where that is later than the layer's `max_wait` they fail at
    /// once, and the error says when the pool is filled again.
    #[default]
    Fail,
    /// They wait for its reset until their own [`Deadline`], or as long as it takes if they have none, whatever `max_wait` is.
    /// Neither does `max_wait` end the wait for other limits that follows, because all who have waited for the same reset go one
    /// after the other.
    Park,
}

/// Request extension: it has waited for a daily pool further outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked;

/// # Daily pools
impl Quota {
    /// Whether requests of [`Lane::Bulk`] under the daily pool `limit` are spread over the rest of the day, for all keys and at
    /// once: after each of them the next one waits for the time to the reset, divided by the number of those that may still go.
    /// [`Lane::Interactive`] never waits for that. Off at first.
    ///
    /// Whoever would wait longer than `max_wait` for his turn fails; give a backfill a long one, or let it
    /// [park](DailyExhausted::Park).
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the plan has no such limit or it is no daily pool.
    pub fn set_pace(&self, limit: &str, paced: bool) -> Result<(), ConfigError> {
        self.change(limit, |ledger, now, index| {
            ledger.set_pace(now, index, paced)
        })
    }

    /// Tells when the daily pool `limit` of the token and account of `request` is filled again next: because the server has said so, or
    /// somebody knows. From there on the zone of the plan tells. Where that is [`Zone::UNKNOWN`], requests are counted from now
    /// on and the pool is filled every 24 h, until it is told anew or nobody has used it for a whole day.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the plan has no such limit, it is no daily pool, or `reset` is in the past or more than 25 h away.
    pub fn set_next_reset<'a>(
        &self,
        limit: &str,
        request: impl Into<RequestHead<'a>>,
        reset: SystemTime,
    ) -> Result<(), ConfigError> {
        let keys = self.keys(request.into());
        self.change(limit, |ledger, now, index| {
            ledger.set_next_reset(now, keys, index, reset)
        })
    }

    /// Tells how much of the daily pool `limit` of the token and account of `request` has been used today, and how much it holds: because
    /// somebody has asked the server. What that is more than our own count has been used by others, or before this process
    /// began. It may be five minutes old: it gives nothing back of what has been heard or counted since, and what is told in the
    /// first ten minutes of a day may be passed over. A `quota` of zero is not believed.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the plan has no such limit or it is no daily pool.
    pub fn note_daily_usage<'a>(
        &self,
        limit: &str,
        request: impl Into<RequestHead<'a>>,
        quota: u64,
        used: u64,
    ) -> Result<(), ConfigError> {
        let keys = self.keys(request.into());
        self.change(limit, |ledger, now, index| {
            ledger.observe_daily_usage(now, keys, index, quota, used)
        })
    }

    /// What a response says of a daily pool. It is told while the permit is still held, so that the count is that of the moment.
    pub(super) fn observe_daily(
        &self,
        ledger: &mut Ledger,
        now: Now,
        keys: Keys,
        permit: &core::Permit,
        limit: usize,
        observed: &Observed,
    ) {
        let (quota, remaining) = (observed.quota, observed.remaining);
        let pause = ledger.observe_daily(now, permit, limit, quota, remaining);
        if let Some(until) = pause {
            self.pause_until(ledger, now, keys, Subject::Limit(limit), until);
        }
    }

    pub(super) fn is_daily(&self, limit: usize) -> bool {
        self.plan().limits().get(limit).is_some_and(is_daily)
    }

    /// The daily pool that a refusal without a name must mean, because nothing else is empty for so long.
    pub(super) fn meant_pool(&self, ticket: &Ticket, wait: Option<Duration>) -> Option<usize> {
        let wait = wait.filter(|wait| *wait > LONGEST_ORDINARY_WAIT)?;
        let window = self.ledger(|ledger, _| ledger.longest_window(ticket.class));
        if window.is_some_and(|window| wait <= window) {
            return None;
        }
        let mut limits = self.plan().limits().iter();
        limits.position(|limit| is_daily(limit) && limit.governs_class(ticket.class))
    }

    /// Tells what has happened in the ledger.
    pub(super) fn tell(&self, notice: Notice) {
        let Notice { limit, key, event } = notice;
        let name = self.subject_name(Subject::Limit(limit));
        let planned = self.plan().limit(name);
        let whose = match planned.map(Limit::get_scope) {
            Some(Scope::Token) => Whose::token(key),
            Some(Scope::Account) => Whose::account(key),
            Some(Scope::App) | None => Whose::ALL,
        };
        let planned = planned.map(|limit| limit.rule().quota());
        let limit = name.to_owned().into();
        let kind = match event {
            Event::Exhausted { lasts } => EventKind::DailyExhausted { limit, lasts },
            Event::Resumed { after } => EventKind::DailyResumed { limit, after },
            Event::Learned { quota } => EventKind::LimitLearned {
                limit,
                planned: planned.unwrap_or_default(),
                learned: quota,
            },
            Event::ForeignUse { requests } => {
                let requests = Some(requests);
                EventKind::ForeignUse { limit, requests }
            }
        };
        self.emit(whose, kind);
    }
}

pub(super) fn is_daily(limit: &Limit) -> bool {
    matches!(limit.rule(), Rule::Calendar { .. })
}
