//! A quota whose slots are lent by Redis.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::{Quota, QuotaBuilder, Shared};
use crate::api::Api;
use crate::clock::Clock;
use crate::core::lease::{Answer, Call, Members};
use crate::core::{Ledger, Now, Tick};
use crate::event::{EventKind, Whose};
use crate::redis::{Count, RedisLedger, SharedCalls};
use crate::request::Fingerprinter;

/// # Sharing one with other processes
impl Quota {
    /// A handle for `api` whose limits are shared with all processes whose ledger has the same server, prefix and key.
    ///
    /// All layers work as with [`Quota::new`]. See [`redis`](crate::redis) for what is promised. When the last handle is dropped,
    /// slots that are lent and not used are given back, if the runtime lasts that long.
    pub fn shared(api: impl Into<Api>, ledger: RedisLedger) -> Self {
        Self::builder(api).shared(ledger).build()
    }

    /// How often the store was asked that lends the slots; all zero where none does.
    pub fn shared_calls(&self) -> SharedCalls {
        let lent = self.0.lent.as_ref();
        lent.map(|lent| lent.count.read()).unwrap_or_default()
    }
}

impl QuotaBuilder {
    /// Sets who lends the slots of all limits: they are shared with other processes.
    ///
    /// What the [clock](Self::clock) says of the time of day then gives way to Redis' clock, which is the same for all.
    /// [`cold_start`](Self::cold_start) tells how a limit is used that Redis knows nothing of, because it has been started or has
    /// lost its data.
    #[must_use]
    pub fn shared(mut self, ledger: RedisLedger) -> Self {
        self.shared = Some(ledger);
        self
    }
}

/// Tells the ledger that its slots are lent, if they are. Gives the clock of the quota.
pub(super) fn prepare(from: Option<&RedisLedger>, ledger: &mut Ledger, clock: Clock) -> Clock {
    let Some(from) = from else {
        return clock;
    };
    ledger.share(from.sharing());
    let (wall, at) = from.wall();
    clock.beside_store(wall, at)
}

/// Fingerprints are the same in all processes that share a ledger.
pub(super) fn fingerprinter(from: Option<&RedisLedger>) -> Fingerprinter {
    match from {
        Some(from) => Fingerprinter::shared(from.secret().clone()),
        None => Fingerprinter::default(),
    }
}

/// What a quota and whoever carries its calls to the store know of each other.
#[derive(Debug)]
pub(super) struct Lent {
    /// Who carries the calls sleeps until this tick (in nanoseconds); zero if he looks by himself.
    armed: AtomicU64,
    wake: Notify,
    /// The ledger of a quota that is no more.
    left: Mutex<Option<Ledger>>,
    count: Arc<Count>,
}

impl Lent {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            armed: AtomicU64::new(0),
            wake: Notify::new(),
            left: Mutex::new(None),
            count: Arc::default(),
        })
    }

    /// Whether the ledger, which is locked, has a call earlier than the carrier thinks. True once.
    pub(super) fn is_early(&self, ledger: &Ledger) -> bool {
        let armed = self.armed.load(Ordering::Relaxed);
        let is_early = armed > 0 && ledger.next_call().is_some_and(|next| nanos(next) < armed);
        if is_early {
            self.armed.store(0, Ordering::Relaxed);
        }
        is_early
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The last handle is gone.
    pub(super) fn leave(&self, ledger: Ledger) {
        *self.left() = Some(ledger);
        self.wake();
    }

    fn left(&self) -> MutexGuard<'_, Option<Ledger>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(tick: Tick) -> u64 {
    u64::try_from(tick.since_origin().as_nanos()).unwrap_or(u64::MAX)
}

/// A quota, as whoever carries its calls to the store sees it. Does not keep it alive.
#[derive(Debug)]
pub(crate) struct Borrower {
    quota: Weak<Shared>,
    lent: Arc<Lent>,
    clock: Clock,
    names: Vec<String>,
}

impl Borrower {
    /// `None` where no store lends the slots.
    pub(crate) fn of(quota: &Quota) -> Option<Self> {
        let limits = quota.plan().limits().iter();
        Some(Self {
            quota: Arc::downgrade(&quota.0),
            lent: quota.0.lent.clone()?,
            clock: quota.0.clock.clone(),
            names: limits.map(|limit| limit.name().to_owned()).collect(),
        })
    }

    /// The names of the plan's limits.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn now(&self) -> Tick {
        Tick::from(self.clock.elapsed())
    }

    pub(crate) fn instant(&self, tick: Tick) -> Instant {
        self.clock.instant(tick.since_origin())
    }

    /// The store's clock showed `wall` at that instant.
    pub(crate) fn set_wall(&self, wall: SystemTime, at: Instant) {
        self.clock.set_store(wall, at);
    }

    pub(crate) fn count(&self) -> &Arc<Count> {
        &self.lent.count
    }

    /// Ready when there may be a call earlier than was said, or the last handle is gone.
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.lent.wake.notified()
    }

    fn quota(&self) -> Option<Quota> {
        self.quota.upgrade().map(Quota)
    }

    /// The calls that are due, `most` at most, and when the next one is, as far as that is known. After that,
    /// [`woken`](Self::woken) tells of earlier ones, unless there were `most`. `None` when the last handle is gone.
    pub(crate) fn calls(&self, most: usize) -> Option<(Vec<Call>, Option<Tick>)> {
        let quota = self.quota()?;
        Some(quota.ledger(|ledger, now| {
            let calls = match most {
                0 => Vec::new(),
                most => ledger.calls(now, most),
            };
            let next = ledger.next_call().filter(|_| calls.len() < most);
            let armed = match next {
                _ if calls.len() == most => 0,
                Some(next) => nanos(next),
                None => u64::MAX,
            };
            self.lent.armed.store(armed, Ordering::Relaxed);
            (calls, next)
        }))
    }

    /// The store has answered.
    pub(crate) fn answered(&self, call: Call, answer: Answer) {
        let Some(quota) = self.quota() else {
            self.with_left(|ledger, now| drop(ledger.answered(now, call, answer)));
            return;
        };
        let pauses = quota.ledger(|ledger, now| {
            let pauses = ledger.answered(now, call, answer);
            for (keys, subject, until) in &pauses {
                quota.pause_until(ledger, now, *keys, *subject, *until);
            }
            pauses
        });
        for (keys, subject, until) in pauses {
            quota.emit(
                keys,
                EventKind::PauseShared {
                    limit: quota.subject_name(subject).to_owned().into(),
                    lasts: quota.until(until),
                },
            );
        }
    }

    /// The store has not answered in time, or not with an answer.
    pub(crate) fn unanswered(&self, call: Call) {
        self.with_ledger(|ledger, now| ledger.unanswered(now, call));
    }

    /// Tells something that concerns everybody; nobody when the quota is gone.
    pub(crate) fn emit(&self, kind: EventKind) {
        if let Some(quota) = self.quota() {
            quota.emit(Whose::ALL, kind);
        }
    }

    /// The store is gone.
    pub(crate) fn store_gone(&self) {
        self.with_ledger(Ledger::store_gone);
    }

    /// The store is back.
    pub(crate) fn store_back(&self) {
        self.with_ledger(Ledger::store_back);
    }

    /// So many share the store.
    pub(crate) fn set_members(&self, members: Members) {
        self.with_ledger(|ledger, now| ledger.set_members(now, members));
    }

    /// Whether the last handle is gone, and the ledger left to whoever carries its calls.
    pub(crate) fn has_left(&self) -> bool {
        self.lent.left().is_some()
    }

    /// What is said last.
    pub(crate) fn farewell(&self) -> Vec<Call> {
        let calls = self.with_left(|ledger, now| ledger.farewell(now));
        calls.unwrap_or_default()
    }

    fn with_ledger(&self, change: impl FnOnce(&mut Ledger, Now)) {
        match self.quota() {
            Some(quota) => quota.ledger(change),
            None => drop(self.with_left(change)),
        }
    }

    fn with_left<T>(&self, change: impl FnOnce(&mut Ledger, Now) -> T) -> Option<T> {
        let now = self.clock.now(true);
        self.lent.left().as_mut().map(|ledger| change(ledger, now))
    }
}

impl Drop for Shared {
    /// What is lent must be given back by somebody.
    fn drop(&mut self) {
        if let Some(lent) = &self.lent {
            let ledger = self.ledger.get_mut();
            let ledger = ledger.unwrap_or_else(PoisonError::into_inner);
            lent.leave(std::mem::replace(ledger, Ledger::new(self.api.plan())));
        }
    }
}
