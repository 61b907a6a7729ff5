//! The task that carries calls to the store and answers back. Requests never wait for it, only for slots.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Value;
use tokio::select;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::count::{Count, count};
use super::error::{RedisError, RedisErrorKind};
use super::health::Health;
use super::ledger::{RedisLedger, Store, middle};
use super::members::{Beat, Membership};
use super::script;
use crate::Quota;
use crate::clock::Clock;
use crate::core::lease::Call;
use crate::event::EventKind;
use crate::quota::Borrower;

/// So many calls are under way at a time, on one connection.
const MOST_CALLS: usize = 64;

/// The clock of timers has no finer steps.
const GRAIN: Duration = Duration::from_millis(1);

impl RedisLedger {
    /// Begins to carry the calls of a quota, until its last handle is gone.
    pub(crate) fn serve(self, quota: &Quota) {
        if let Some(borrower) = Borrower::of(quota) {
            let runtime = self.runtime.clone();
            runtime.spawn(Driver::new(self.store, borrower).run());
        }
    }
}

type Answered = Result<(Value, bool), RedisError>;

/// What is under way.
struct Message {
    began: Instant,
    /// That, or else a heartbeat.
    call: Option<Call>,
}

struct Driver {
    store: Arc<Store>,
    borrower: Borrower,
    tasks: JoinSet<Answered>,
    under_way: HashMap<Id, Message>,
    /// Whether a heartbeat is among them.
    beats: bool,
    last_beat: Instant,
    /// How long after that the next one is due.
    pause: Duration,
    health: Health,
    membership: Membership,
    trouble: Trouble,
}

/// Calls that fail although heartbeats are answered.
#[derive(Default)]
struct Trouble {
    failures: u64,
    last: Option<RedisError>,
    told: Option<Instant>,
}

/// What goes on is told again after so long.
const SILENCE: Duration = Duration::from_secs(60);

impl Trouble {
    fn add(&mut self, error: RedisError) {
        self.failures += 1;
        self.last = Some(error);
    }

    /// A heartbeat was answered: so it is not the whole store. Gives what there is to tell.
    fn news(&mut self, now: Instant) -> Option<EventKind> {
        let is_news = self.told.is_none_or(|told| now >= told + SILENCE);
        let error = self.last.take_if(|_| is_news)?;
        self.told = Some(now);
        Some(EventKind::StoreFailed {
            failures: std::mem::take(&mut self.failures),
            error: error.to_string().into(),
        })
    }
}

impl Driver {
    fn new(store: Arc<Store>, borrower: Borrower) -> Self {
        Self {
            store,
            borrower,
            tasks: JoinSet::new(),
            under_way: HashMap::new(),
            beats: false,
            last_beat: Clock::instant_now(),
            pause: Duration::ZERO,
            health: Health::Fine,
            membership: Membership::default(),
            trouble: Trouble::default(),
        }
    }

    async fn run(mut self) {
        while !self.borrower.has_left() {
            let next = self.send();
            let event = {
                let wake_at = sleep_until(next);
                select! {
                    done = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => done,
                    () = self.borrower.woken() => None,
                    () = wake_at => None,
                }
            };
            if let Some(done) = event {
                self.done(done);
            }
        }
        self.leave().await;
    }

    /// Sends what is due. Gives when to look again if nothing happens.
    fn send(&mut self) -> Instant {
        let now = Clock::instant_now();
        let beat_at = self.last_beat + self.pause;
        if !self.beats && beat_at <= now {
            self.send_beat(now);
        }
        let calls = self.under_way.len() - usize::from(self.beats);
        let most = match self.health.is_gone() {
            true => 0,
            false => MOST_CALLS.saturating_sub(calls),
        };
        let Some((calls, next)) = self.borrower.calls(most) else {
            // The ledger is on its way.
            return now + GRAIN;
        };
        calls.into_iter().for_each(|call| self.send_call(now, call));
        let next = next.map(|next| self.borrower.instant(next).max(now + GRAIN));
        let beat_at = match self.beats {
            true => None,
            false => Some(self.last_beat + self.pause),
        };
        let earliest = [next, beat_at].into_iter().flatten().min();
        earliest.unwrap_or(now + self.store.sharing.lease)
    }

    fn send_call(&mut self, now: Instant, call: Call) {
        count(&self.count().calls);
        let store = self.store.clone();
        let Store {
            member,
            sharing,
            prefix,
            ..
        } = &*store;
        let names = self.borrower.names();
        let args = script::arguments(&call, member, sharing, names, self.borrower.now());
        let record = script::record(prefix, call.key);
        let store = self.store.clone();
        let call = Message {
            began: now,
            call: Some(call),
        };
        let task = async move { store.connection.run(&store.step, &record, &args).await };
        self.under_way.insert(self.tasks.spawn(task).id(), call);
    }

    fn send_beat(&mut self, now: Instant) {
        count(&self.count().heartbeats);
        let (store, joined) = (self.store.clone(), self.membership.joined);
        let is_gone = self.health.is_gone();
        let task = async move {
            if is_gone {
                store.connection.establish().await?;
            }
            store.beat(joined, false).await
        };
        self.beats = true;
        self.last_beat = now;
        let beat = Message {
            began: now,
            call: None,
        };
        self.under_way.insert(self.tasks.spawn(task).id(), beat);
    }

    fn done(&mut self, done: Result<(Id, Answered), JoinError>) {
        // That it panicked is not known to happen; the call must come back all the same.
        let (id, answered) = done.unwrap_or_else(|error| {
            let lost = RedisError::malformed("the client broke off");
            (error.id(), Err(lost))
        });
        let Some(Message { began, call }) = self.under_way.remove(&id) else {
            return;
        };
        if matches!(answered, Ok((_, true))) {
            count(&self.count().scripts);
        }
        let answered = answered.map(|(value, _)| value);
        match call {
            Some(call) => self.call_done(began, call, answered),
            None => self.beat_done(began, answered),
        }
        self.pause = self.health.pause(self.store.sharing.lease, fastrand::f64());
    }

    fn call_done(&mut self, began: Instant, call: Call, answered: Result<Value, RedisError>) {
        let read = |value| {
            let answer = script::answer(value, &call, self.borrower.names());
            answer.map_err(|_| RedisError::malformed("a call for slots"))
        };
        match answered.and_then(read) {
            Ok(answer) => {
                self.borrower.answered(call, answer);
                self.answered(false, began);
            }
            Err(error) => {
                self.borrower.unanswered(call);
                self.failed(false, began, &error);
                if !self.health.is_gone() {
                    self.trouble.add(error);
                }
            }
        }
    }

    fn beat_done(&mut self, began: Instant, answered: Result<Value, RedisError>) {
        self.beats = false;
        match answered.and_then(Beat::read) {
            Ok(beat) => {
                let arrived = Clock::instant_now();
                self.borrower.set_wall(beat.time, middle(began, arrived));
                if let Some(members) = self.membership.hear(&beat) {
                    self.borrower.set_members(members);
                }
                self.answered(true, began);
                if !self.health.is_gone() {
                    if let Some(news) = self.trouble.news(arrived) {
                        self.borrower.emit(news);
                    }
                }
            }
            Err(error) => self.failed(true, began, &error),
        }
    }

    fn answered(&mut self, is_beat: bool, began: Instant) {
        let now = Clock::instant_now();
        if let Some(gone_for) = self.health.answered(is_beat, began, now) {
            self.count().is_gone.store(false, Ordering::Relaxed);
            self.borrower.store_back();
            self.borrower.emit(EventKind::StoreBack { after: gone_for });
        }
    }

    fn failed(&mut self, is_beat: bool, began: Instant, error: &RedisError) {
        count(&self.count().failures);
        let now = Clock::instant_now();
        if self.health.failed(is_beat, began, now) {
            self.store_gone(error);
            // That says it all.
            self.trouble = Trouble::default();
        }
        if self.health.is_gone() && is_beat {
            self.last_beat = now;
            self.store.connection.forget();
        }
    }

    fn store_gone(&self, error: &RedisError) {
        count(&self.count().outages);
        self.count().is_gone.store(true, Ordering::Relaxed);
        self.borrower.store_gone();
        self.borrower.emit(EventKind::StoreGone {
            policy: format!("{:?}", self.store.sharing.on_outage).into(),
            error: error.to_string().into(),
        });
    }

    fn count(&self) -> &Count {
        self.borrower.count()
    }

    /// What is under way comes to its end, and what is lent and not used goes back, as far as that is possible in short time.
    async fn leave(mut self) {
        let end = Clock::instant_after(self.store.bound * 4);
        let _ = timeout_at(end, self.say_farewell()).await;
    }

    async fn say_farewell(&mut self) {
        self.drain(0).await;
        if self.health.is_gone() {
            return;
        }
        for call in self.borrower.farewell() {
            self.drain(MOST_CALLS - 1).await;
            self.send_call(Clock::instant_now(), call);
        }
        self.drain(0).await;
        count(&self.count().heartbeats);
        // Nobody is left to be told that it failed.
        let _ = self.store.beat(self.membership.joined, true).await;
    }

    /// Until no more than so many messages are under way.
    async fn drain(&mut self, most: usize) {
        while self.tasks.len() > most {
            if let Some(done) = self.tasks.join_next_with_id().await {
                self.done(done);
            }
        }
    }
}

impl Drop for Driver {
    /// Without the runtime nobody reaches the store any more, and whoever has a handle must not wait for it.
    fn drop(&mut self) {
        if !self.borrower.has_left() && !self.health.is_gone() {
            let error = RedisError::new(RedisErrorKind::Unreachable, "the runtime has ended");
            self.store_gone(&error);
        }
    }
}
