//! One process: its ledger, those who want something of it, and what its driver knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use super::super::*;
use crate::core::lease::{Call, Sharing};
use crate::core::{Admission, Keys, Ledger, Now, Patience, Permit, Progress, WaiterId};
use crate::plan::{Limit, Plan, RouteClass, Scope};
use crate::redis::members::Membership;

pub(super) const KEYS: Keys = Keys {
    token: Fingerprint::from_halves(1, 1),
    account: Fingerprint::from_halves(2, 2),
};

#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One who sends requests, one after the other.
pub(super) struct Worker {
    pub(super) is_search: bool,
    lane: Lane,
    pub(super) stage: Stage,
    bell: Arc<Bell>,
    /// Counts its requests, so that what is meant for one does not reach the next.
    pub(super) turn: u32,
}

pub(super) enum Stage {
    Idle,
    Waiting {
        id: WaiterId,
        until: Option<Tick>,
    },
    Sent(Permit),
    /// While the stage changes.
    Moving,
}

impl Worker {
    fn class(&self) -> RouteClass {
        match self.is_search {
            true => RouteClass::Search,
            false => RouteClass::General,
        }
    }
}

pub(super) struct Process {
    pub(super) name: String,
    pub(super) ledger: Ledger,
    /// Its monotonic clock began so long before the world.
    offset: u64,
    pub(super) workers: Vec<Worker>,
    pub(super) membership: Membership,
    /// When it is to be looked at next.
    pub(super) looks_at: u64,
    /// Calls under way, by number.
    pub(super) calls: HashMap<u64, Call>,
    /// Whether a heartbeat is under way, and when the next one is due.
    pub(super) beats: bool,
    pub(super) next_beat: u64,
    pub(super) doubts: bool,
    pub(super) gone: bool,
    /// When it last sent a request or heard the store, or nobody waited.
    pub(super) lives_at: u64,
}

impl Process {
    pub(super) fn new(name: String, offset: u64, workers: usize, sharing: Option<Sharing>) -> Self {
        let plan = Plan::builder("fleet")
            .limit(Limit::rolling(NAMES[0], 100, micros(10 * S)).scope(Scope::Account))
            .limit(
                Limit::rolling(NAMES[1], 5, micros(S))
                    .scope(Scope::Token)
                    .governs([RouteClass::Search]),
            )
            .build()
            .unwrap();
        let mut ledger = Ledger::new(&plan);
        if let Some(sharing) = sharing {
            ledger.share(sharing);
            for limit in 0..2 {
                ledger.set_shared_first_window(limit, FirstWindow::Full);
            }
        }
        let worker = |nth: usize| Worker {
            is_search: nth % 4 == 0,
            lane: [Lane::Bulk, Lane::Bulk, Lane::Interactive][nth % 3],
            stage: Stage::Idle,
            bell: Arc::default(),
            turn: 0,
        };
        Self {
            name,
            ledger,
            offset,
            workers: (0..workers).map(worker).collect(),
            membership: Membership::default(),
            looks_at: u64::MAX,
            calls: HashMap::new(),
            beats: false,
            next_beat: 0,
            doubts: false,
            gone: false,
            lives_at: 0,
        }
    }

    /// What its monotonic clock shows, in our microseconds.
    pub(super) fn local(&self, now: u64) -> u64 {
        now + self.offset
    }

    pub(super) fn now(&self, now: u64) -> Now {
        Now {
            tick: tick(self.local(now)),
            wall: UNIX_EPOCH + micros(CLOCK + now - BEGIN),
        }
    }

    /// When the world will show what its clock shows then.
    pub(super) fn world(&self, at: Tick) -> u64 {
        let nanos = at.since_origin().as_nanos();
        u64::try_from(nanos.div_ceil(1_000))
            .unwrap_or(u64::MAX)
            .saturating_sub(self.offset)
    }

    /// Somebody wants to send. Whether he may at once.
    pub(super) fn admit(&mut self, now: u64, nth: usize) -> Option<Permit> {
        let at = self.now(now);
        let worker = &mut self.workers[nth];
        if !matches!(worker.stage, Stage::Idle) {
            return None;
        }
        worker.turn += 1;
        let patience = Patience::until(Tick::NEVER);
        let admission = self
            .ledger
            .admit(at, KEYS, worker.class(), worker.lane, patience);
        match admission {
            Admission::Granted(permit) => Some(permit),
            Admission::Waiting(id) => {
                worker.stage = Stage::Waiting { id, until: None };
                worker.bell.0.store(true, Ordering::Relaxed);
                None
            }
            Admission::Denied(_) => None,
        }
    }

    /// Asks for all who were woken or whose time has come; gives those who may go.
    pub(super) fn poll(&mut self, now: u64) -> Vec<(usize, Permit)> {
        let at = self.now(now);
        let mut granted = Vec::new();
        loop {
            for waker in self.ledger.take_wakers() {
                waker.wake();
            }
            drop(self.ledger.take_retired());
            let is_due = |worker: &Worker| match worker.stage {
                Stage::Waiting { until, .. } => {
                    let is_late = until.is_some_and(|until| until <= at.tick);
                    is_late || worker.bell.0.load(Ordering::Relaxed)
                }
                _ => false,
            };
            let Some(nth) = self.workers.iter().position(is_due) else {
                return granted;
            };
            let worker = &mut self.workers[nth];
            worker.bell.0.store(false, Ordering::Relaxed);
            let Stage::Waiting { id, .. } = std::mem::replace(&mut worker.stage, Stage::Moving)
            else {
                unreachable!("it waits");
            };
            let waker = Waker::from(worker.bell.clone());
            worker.stage = match self.ledger.poll(at, id, Some(&waker)) {
                Progress::Granted(permit) => {
                    granted.push((nth, permit));
                    Stage::Idle
                }
                Progress::Waiting { waiter, until } => {
                    assert!(until.is_none_or(|until| until > at.tick), "it is late");
                    Stage::Waiting { id: waiter, until }
                }
                Progress::Denied(_) => Stage::Idle,
            };
        }
    }

    /// For how long those who wait have been left alone, with the store there.
    pub(super) fn silence(&mut self, now: u64) -> u64 {
        let waits = |worker: &Worker| matches!(worker.stage, Stage::Waiting { .. });
        if self.gone || self.lives_at == 0 || !self.workers.iter().any(waits) {
            self.lives_at = now;
        }
        now - self.lives_at
    }

    /// When somebody must be asked for again.
    pub(super) fn wakes_at(&self) -> Option<Tick> {
        let until = |worker: &Worker| match worker.stage {
            Stage::Waiting { until, .. } => until,
            _ => None,
        };
        self.workers.iter().filter_map(until).min()
    }

    /// He sends; or he must wait again, because a pause has begun.
    pub(super) fn send(&mut self, now: u64, nth: usize, mut permit: Permit) -> bool {
        let patience = Patience::until(Tick::NEVER);
        let at = self.now(now);
        let worker = &mut self.workers[nth];
        match self.ledger.send(at, &mut permit, patience) {
            Ok(()) => {
                worker.stage = Stage::Sent(permit);
                true
            }
            Err(id) => {
                worker.stage = Stage::Waiting { id, until: None };
                worker.bell.0.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// Gives up waiting.
    pub(super) fn cancel(&mut self, now: u64, nth: usize) {
        let at = self.now(now);
        let worker = &mut self.workers[nth];
        worker.stage = match std::mem::replace(&mut worker.stage, Stage::Moving) {
            Stage::Waiting { id, .. } => {
                self.ledger.cancel(at, id);
                Stage::Idle
            }
            other => other,
        };
    }

    /// The request of this turn is over.
    pub(super) fn take_sent(&mut self, nth: usize, turn: u32) -> Option<Permit> {
        let worker = &mut self.workers[nth];
        if worker.turn != turn || !matches!(worker.stage, Stage::Sent(_)) {
            return None;
        }
        match std::mem::replace(&mut worker.stage, Stage::Idle) {
            Stage::Sent(permit) => Some(permit),
            _ => None,
        }
    }
}
