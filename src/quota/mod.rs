//! [`Quota`]: a plan and its ledger behind one cheap handle. All layers that are made from one handle share its ledger.
//!
//! # What and when
//!
//! Make one for each API and set of credentials that a program uses, keep it for as long as the program runs, and make every
//! layer from it. It knows no layer; the layers ask it for permits and tell it what responses said.
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::plan::{Limit, Plan};
//! use tower_quota::{Quota, TokenLimitLayer};
//!
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::new(plan);
//! let layer = TokenLimitLayer::new(&quota);
//!
//! // Later, in the middle of things: the vendor has sold us more.
//! quota.set_quota("burst", 1_200)?;
//! # Ok::<(), tower_quota::ConfigError>(())
//! ```

mod acquire;
mod admitted;
mod alarm;
mod builder;
mod daily;
mod emit;
mod note;
mod observe;
mod patience;
mod report;
mod reserved;
#[cfg(feature = "redis")]
mod shared;
mod tell;

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

pub(crate) use self::acquire::{Acquire, Delayed, Ending, Permit};
pub(crate) use self::alarm::Alarm;
pub use self::builder::QuotaBuilder;
pub use self::daily::DailyExhausted;
#[cfg(feature = "hubspot")]
pub(crate) use self::daily::LONGEST_ORDINARY_WAIT;
use self::daily::Parked;
pub(crate) use self::note::Provisional;
pub use self::observe::PlanCheck;
pub(crate) use self::patience::Patience;
pub(crate) use self::report::Crowded;
pub(crate) use self::reserved::Reserved;
#[cfg(feature = "redis")]
pub(crate) use self::shared::Borrower;
pub(crate) use self::tell::{Sent, Waited, WouldWait};
use crate::api::Api;
use crate::clock::Clock;
use crate::core::{Denial, DenialReason, Keys, Ledger, Now, Subject, Tick, Usage};
use crate::error::{ConfigError, QuotaError};
use crate::event::{EventKind, Hub};
use crate::plan::{Lane, Limit, Plan, Reserve, RouteClass, Rule};
use crate::request::{Effect, Fingerprinter, RequestHead, TokenSource};
use crate::tally::Tally;

/// A plan and its ledger behind one cheap handle.
///
/// Clones share the ledger. See the [module docs](crate::quota) for what it is for.
#[derive(Clone)]
pub struct Quota(Arc<Shared>);

/// A handle that does not keep the quota alive.
#[cfg(feature = "record")]
#[derive(Clone)]
pub(crate) struct WeakQuota(std::sync::Weak<Shared>);

#[cfg(feature = "record")]
impl WeakQuota {
    /// `None` when the last other handle is gone.
    pub(crate) fn upgrade(&self) -> Option<Quota> {
        self.0.upgrade().map(Quota)
    }
}

struct Shared {
    /// Tells this quota from all others of the process.
    number: NonZeroU64,
    api: Api,
    clock: Clock,
    source: TokenSource,
    fingerprinter: Fingerprinter,
    ledger: Mutex<Ledger>,
    /// Whether a limit of the plan is a daily pool; a change of rule cannot make one.
    counts_days: bool,
    daily_exhausted: DailyExhausted,
    pause_jitter: f64,
    /// No pause lasts longer than this many milliseconds on the clock; lets those who only wait for pauses go without a lock.
    last_pause: AtomicU64,
    /// How many pauses have begun.
    pauses: AtomicU64,
    /// Whether others were ever seen to use any of the limits; lets the ledger alone where nobody else does.
    has_seen_others: AtomicBool,
    /// What several layers may govern, so that the first must tell the others.
    shared_classes: admitted::Shared,
    hub: Hub,
    #[cfg(feature = "metrics")]
    metrics: crate::metrics::Metrics,
    tally: Mutex<Tally>,
    /// Those who know how many requests are in flight.
    crowds: Mutex<Vec<Weak<dyn Crowded>>>,
    /// Whether requests are held up where they must be.
    enforces: AtomicBool,
    /// There if a store lends the slots.
    #[cfg(feature = "redis")]
    lent: Option<Arc<shared::Lent>>,
}

/// What the ledger must know of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) keys: Keys,
    pub(crate) class: RouteClass,
    pub(crate) lane: Lane,
    /// When it was sent, if it was and that is known.
    pub(crate) sent: Option<Tick>,
}

/// # Making one
impl Quota {
    /// A handle for `api`, which is a [`Plan`] or an [`Api`] of a preset. Tokens are taken from the `Authorization` header.
    pub fn new(api: impl Into<Api>) -> Self {
        Self::builder(api).build()
    }

    /// Starts a handle that differs from the defaults.
    pub fn builder(api: impl Into<Api>) -> QuotaBuilder {
        QuotaBuilder::new(api.into())
    }
}

/// # Reading and changing limits
impl Quota {
    /// The plan, as it was when the handle was made.
    pub fn plan(&self) -> &Plan {
        self.0.api.plan()
    }

    /// Changes how much the limit called `limit` allows, for all keys and at once. Requests in flight stay counted; the window or
    /// zone stays what [`set_rule`](Self::set_rule) made it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the plan has no such limit or `quota` is zero.
    pub fn set_quota(&self, limit: &str, quota: u32) -> Result<(), ConfigError> {
        self.change(limit, |ledger, now, index| {
            ledger.set_quota(now, index, quota)
        })
    }

    /// Changes the rule of the limit called `limit` to another of the same kind, for all keys and at once. A new window applies
    /// to requests that are in flight or still counted, too; what had left a shorter window before does not come back.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the plan has no such limit, the rule is of another kind, or it is impossible.
    pub fn set_rule(&self, limit: &str, rule: &Rule) -> Result<(), ConfigError> {
        self.change(limit, |ledger, now, index| {
            ledger.set_rule(now, index, rule)
        })
    }

    /// Keeps a part of the limit called `limit` for [`Lane::Interactive`], for all keys and at once: all other requests together
    /// never hold more than the rest. Nothing is kept at first, except by layers that say so.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the plan has no such limit or a share is not from 0 to 1.
    pub fn set_reserve(&self, limit: &str, reserve: Reserve) -> Result<(), ConfigError> {
        self.change(limit, |ledger, now, index| {
            ledger.set_reserve(now, index, reserve)
        })
    }

    /// The same for all limits that govern none but `classes`.
    pub(crate) fn reserve_of_classes(&self, classes: &[RouteClass], reserve: Reserve) {
        self.reserve_where(classes, reserve, |_, _| true);
    }

    /// The same, but only where nobody has said yet how much is kept.
    pub(crate) fn reserve_by_default(&self, classes: &[RouteClass], reserve: Reserve) {
        self.reserve_where(classes, reserve, |ledger, limit| !ledger.has_reserve(limit));
    }

    fn reserve_where(
        &self,
        classes: &[RouteClass],
        reserve: Reserve,
        wanted: impl Fn(&Ledger, usize) -> bool,
    ) {
        let is_meant = |limit: &Limit| {
            let governed = limit.classes().unwrap_or_default();
            !governed.is_empty() && governed.iter().all(|class| classes.contains(class))
        };
        self.ledger(|ledger, now| {
            for (index, limit) in self.plan().limits().iter().enumerate() {
                if is_meant(limit) && wanted(ledger, index) {
                    // Cannot fail: the limit is in the plan, and any number of slots is allowed.
                    let _ = ledger.set_reserve(now, index, reserve);
                }
            }
        });
    }

    fn change(
        &self,
        limit: &str,
        change: impl FnOnce(&mut Ledger, Now, usize) -> Result<(), ConfigError>,
    ) -> Result<(), ConfigError> {
        self.ledger(|ledger, now| match ledger.limit_index(limit) {
            Some(index) => change(ledger, now, index),
            None => Err(ConfigError::new(
                format!("limit `{limit}`"),
                "is not in the plan",
            )),
        })
    }

    /// How far the token and account of `request` have used the limit called `limit`; `None` when the plan has no such limit.
    pub fn usage<'a>(&self, limit: &str, request: impl Into<RequestHead<'a>>) -> Option<Usage> {
        let keys = self.keys(request.into());
        self.ledger(|ledger, now| ledger.usage(now, keys, ledger.limit_index(limit)?))
    }

    /// How long from now until `tick`, which comes from a [`Usage`].
    pub fn until(&self, tick: Tick) -> Duration {
        tick.since(Tick::from(self.0.clock.elapsed()))
    }

    /// How many requests wait for a slot or for the end of a pause.
    pub fn waiting(&self) -> usize {
        self.ledger(|ledger, _| ledger.waiting())
    }

    /// How many pairs of key and limit are remembered. Pairs that a fresh one would equal are forgotten bit by bit.
    pub fn remembered(&self) -> usize {
        self.ledger(|ledger, _| ledger.cells())
    }

    /// Sets whether requests are held up where they must be; so it is at first. With `false` the quota is in shadow mode: nothing is
    /// held up, sent again, asked for in pieces or gathered in batches, and what would have waited is
    /// [told](crate::event::EventKind::WouldWait) and counted ([`Counts::would_wait`](crate::report::Counts::would_wait)), each request
    /// once, with the first limit that would have held it up. It lets a program that works see what the layers would do before they do
    /// it.
    ///
    /// What is sent although it would have waited takes no slot, so shadow mode tells how often a request found none, and not how long
    /// the line would have become. Those who wait in line when it begins go at once. A repetition that has been decided on is still
    /// made.
    ///
    /// Where a store lends the slots (feature `redis`), it is asked for those who wait only. In shadow mode nobody does, so nothing
    /// is lent, and the count says nothing of what would have waited.
    pub fn set_enforce(&self, enforce: bool) {
        self.0.enforces.store(enforce, Ordering::Relaxed);
        if !enforce {
            self.ledger(|ledger, _| ledger.wake_all());
            self.crowds().iter().for_each(|crowd| crowd.wake_all());
        }
    }

    /// Whether requests are held up where they must be.
    pub fn enforces(&self) -> bool {
        self.0.enforces.load(Ordering::Relaxed)
    }

    /// Ends all pauses of the token and account of `request`: for an operator who knows better than the server.
    pub fn resume<'a>(&self, request: impl Into<RequestHead<'a>>) {
        let keys = self.keys(request.into());
        let limits = self.plan().limits().len();
        self.ledger(|ledger, now| {
            for subject in (0..limits)
                .map(Subject::Limit)
                .chain([Subject::Token, Subject::Account])
            {
                ledger.resume(now, keys, subject);
            }
        });
        self.tell_end_of_pauses(keys);
    }
}

/// # What the layers use
impl Quota {
    /// Runs `change` on the ledger, then wakes whom it concerns. Time is read before the lock is taken.
    fn ledger<T>(&self, change: impl FnOnce(&mut Ledger, Now) -> T) -> T {
        let now = self.0.clock.now(self.0.counts_days);
        let mut ledger = self.lock();
        let result = change(&mut ledger, now);
        let (wakers, retired) = (ledger.take_wakers(), ledger.take_retired());
        let notices = ledger.take_notices();
        #[cfg(feature = "redis")]
        let early = self.0.lent.as_ref().filter(|lent| lent.is_early(&ledger));
        drop(ledger);
        #[cfg(feature = "redis")]
        if let Some(lent) = early {
            lent.wake();
        }
        drop(retired);
        wakers.into_iter().for_each(std::task::Waker::wake);
        notices.into_iter().for_each(|notice| self.tell(notice));
        result
    }

    /// The ledger does not panic; should it ever, its state is still the best there is.
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keys(&self, head: RequestHead<'_>) -> Keys {
        self.0.fingerprinter.keys(&self.0.source, head)
    }

    pub(crate) fn ticket(&self, head: RequestHead<'_>) -> Ticket {
        Ticket {
            keys: self.keys(head),
            class: self.class(&head),
            lane: head.extensions.get::<Lane>().copied().unwrap_or_default(),
            sent: None,
        }
    }

    pub(crate) fn class(&self, head: &RequestHead<'_>) -> RouteClass {
        let class = head.extensions.get::<RouteClass>().copied();
        class.unwrap_or_else(|| self.0.api.routes.class(head))
    }

    pub(crate) fn effect(&self, head: &RequestHead<'_>) -> Effect {
        match self.0.api.routes.effect(head) {
            Effect::Create
                if head
                    .extensions
                    .get::<crate::request::Idempotent>()
                    .is_some() =>
            {
                Effect::IdempotentWrite
            }
            effect => effect,
        }
    }

    /// Whether those who find a daily pool exhausted wait for its reset.
    pub(crate) fn parks(&self) -> bool {
        self.0.daily_exhausted == DailyExhausted::Park
    }

    /// How many pauses have begun so far. As long as this stays the same, nobody who was granted a permit is held.
    fn pauses(&self) -> u64 {
        self.0.pauses.load(Ordering::Acquire)
    }

    pub(crate) fn now(&self) -> Tick {
        Tick::from(self.0.clock.elapsed())
    }

    #[cfg(feature = "record")]
    pub(crate) fn downgrade(&self) -> WeakQuota {
        WeakQuota(Arc::downgrade(&self.0))
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Whether anything at all may be held up by a pause.
    pub(crate) fn may_be_paused(&self) -> bool {
        let last = self.0.last_pause.load(Ordering::Acquire);
        last > 0 && self.enforces() && Duration::from_millis(last) > self.0.clock.elapsed()
    }

    pub(crate) fn error(&self, ticket: &Ticket, denial: Denial) -> QuotaError {
        let limit = self.subject_name(denial.subject);
        let mut error = self.refusal(ticket, limit, denial.reason, self.until(denial.until));
        error.paused = denial.paused;
        error
    }

    /// The error of a request that may not wait any longer for `limit`, which need not be one of the plan.
    pub(crate) fn refusal(
        &self,
        ticket: &Ticket,
        limit: &str,
        reason: DenialReason,
        retry_after: Duration,
    ) -> QuotaError {
        self.emit(
            ticket.keys,
            EventKind::Denied {
                limit: limit.to_owned().into(),
                class: ticket.class.as_str().into(),
                reason: reason.as_str().into(),
                retry_after,
            },
        );
        let wall = self.0.clock.wall();
        QuotaError {
            reason,
            limit: limit.to_owned(),
            token: ticket.keys.token,
            paused: false,
            retry_after,
            retry_at: wall.checked_add(retry_after).unwrap_or(wall),
            source: None,
        }
    }

    /// How much of the limits of a request others use: the largest share, from 0 to 1, among its rolling limits. `None` while
    /// nothing is known of others.
    pub(crate) fn foreign_share(&self, ticket: &Ticket) -> Option<f64> {
        if !self.0.has_seen_others.load(Ordering::Relaxed) {
            return None;
        }
        let Ticket { keys, class, .. } = *ticket;
        self.ledger(|ledger, now| ledger.foreign_share(now, keys, class))
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota")
            .field("plan", &self.plan().name())
            .finish_non_exhaustive()
    }
}

/// How long a request may wait when nobody says otherwise.
pub(crate) const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(60);
