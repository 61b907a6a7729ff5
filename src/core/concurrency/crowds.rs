//! The crowds of all tokens.

use std::task::Waker;
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use slab::Slab;

use super::control::Control;
use super::crowd::Crowd;
use super::{Age, Change, Concurrency, Evidence, Place, Settings};
use crate::core::keys::Fingerprint;
use crate::core::queue::{DenialReason, Rank};
use crate::core::tick::Tick;
use crate::plan::Lane;

/// What was learnt of a token is remembered for as long as this after its last request,
const MEMORY: Duration = Duration::from_secs(600);
/// and the token itself for as long as this if its limit never moved.
const SHORT_MEMORY: Duration = Duration::from_secs(60);
/// So many crowds are looked at for eviction with every request that comes: more than it can add.
const SWEEP: usize = 2;

/// Names a waiter of a [`Crowds`] until it is granted, denied or cancelled.
#[derive(Debug, PartialEq, Eq)]
pub struct WaiterId(u32);

/// The answer to [`Crowds::enter`] and [`Crowds::poll`].
#[derive(Debug)]
#[must_use]
pub enum Turn {
    /// The request may be sent.
    Granted(Place),
    /// Not yet. After `enter` call [`Crowds::poll`] at once to leave a waker; then when woken, and at `until` if that is known.
    Waiting {
        /// The waiter, to ask again.
        waiter: WaiterId,
        /// When something may change by itself; `None` while others see to it. Everybody must come back at his own deadline, too.
        until: Option<Tick>,
    },
    /// The request may not go.
    Denied(DenialReason),
}

#[derive(Debug)]
struct Waiter {
    crowd: u32,
    rank: Rank,
    deadline: Tick,
    granted: Option<Place>,
    waker: Option<Waker>,
    /// When its owner will look again by itself.
    armed: Tick,
}

/// How many requests of each token are in flight, how many may be, and who waits.
///
/// Every method takes the present time; time that seems to go backwards is taken for the latest time seen.
#[derive(Debug)]
pub struct Crowds {
    settings: Settings,
    crowds: Slab<Crowd>,
    index: HashTable<u32>,
    waiters: Slab<Waiter>,
    arrivals: u64,
    latest: Tick,
    hand: usize,
    wake: Vec<Waker>,
    /// Wakers that nobody needs any more.
    retired: Vec<Waker>,
    changes: Vec<(Fingerprint, Change)>,
}

impl Crowds {
    /// Nobody is in flight yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            crowds: Slab::new(),
            index: HashTable::new(),
            waiters: Slab::new(),
            arrivals: 0,
            latest: Tick::ZERO,
            hand: 0,
            wake: Vec::new(),
            retired: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Asks for a place. `age` is that of a place which was given back unused, to stand where it stood; `deadline` is how long the
    /// request may wait.
    pub fn enter(
        &mut self,
        now: Tick,
        token: Fingerprint,
        lane: Lane,
        age: Option<Age>,
        deadline: Tick,
    ) -> Turn {
        let now = self.advance(now);
        self.sweep(now);
        let id = self.open(now, token);
        self.settle(now, id);
        let rank = age.map_or_else(|| self.next_rank(lane), |Age(rank)| rank);
        let crowd = &mut self.crowds[id as usize];
        crowd.used = now;
        // Where there is room, nobody waits.
        if crowd.has_room() {
            return Turn::Granted(crowd.grant(now, id, rank));
        }
        if deadline <= now {
            return Turn::Denied(DenialReason::TimedOut);
        }
        if crowd.queue.len() >= self.settings.max_waiting as usize {
            return Turn::Denied(DenialReason::QueueFull);
        }
        let waiter = self.waiters.insert(Waiter {
            crowd: id,
            rank,
            deadline,
            granted: None,
            waker: None,
            armed: Tick::NEVER,
        });
        let waiter = u32::try_from(waiter).unwrap_or(u32::MAX);
        crowd.queue.insert(rank, waiter);
        self.turn(WaiterId(waiter))
    }

    /// Asks how a waiter is doing, and leaves a waker to be told when that changes.
    ///
    /// The first of a queue must come back at `until`, because it acts for all behind it.
    pub fn poll(&mut self, now: Tick, waiter: WaiterId, waker: Option<&Waker>) -> Turn {
        let now = self.advance(now);
        self.settle(now, self.waiters[waiter.0 as usize].crowd);
        let state = &mut self.waiters[waiter.0 as usize];
        if state.granted.is_none() && now >= state.deadline {
            self.remove(now, waiter);
            return Turn::Denied(DenialReason::TimedOut);
        }
        match (&state.waker, waker) {
            (Some(old), Some(new)) if old.will_wake(new) => {}
            _ => self
                .retired
                .extend(std::mem::replace(&mut state.waker, waker.cloned())),
        }
        self.turn(waiter)
    }

    fn turn(&mut self, waiter: WaiterId) -> Turn {
        let state = &mut self.waiters[waiter.0 as usize];
        if let Some(place) = state.granted.take() {
            self.retired.extend(state.waker.take());
            self.waiters.remove(waiter.0 as usize);
            return Turn::Granted(place);
        }
        let crowd = &self.crowds[state.crowd as usize];
        let is_first = crowd
            .queue
            .first_key_value()
            .is_some_and(|(_, first)| *first == waiter.0);
        let until = crowd.control.rises_at(&self.settings).filter(|_| is_first);
        state.armed = until.unwrap_or(Tick::NEVER);
        Turn::Waiting { waiter, until }
    }

    /// Gives up waiting. If the waiter was granted a place in the meantime, the next in line gets it.
    pub fn cancel(&mut self, now: Tick, waiter: WaiterId) {
        let now = self.advance(now);
        self.remove(now, waiter);
    }

    fn remove(&mut self, now: Tick, waiter: WaiterId) {
        let mut waiter = self.waiters.remove(waiter.0 as usize);
        self.retired.extend(waiter.waker.take());
        match waiter.granted {
            Some(place) => self.leave(now, place),
            None => {
                self.crowds[waiter.crowd as usize]
                    .queue
                    .remove(&waiter.rank);
                self.settle(now, waiter.crowd);
            }
        }
    }

    /// The request is over: its place goes to the next in line.
    pub fn over(&mut self, now: Tick, place: Place, evidence: &Evidence) {
        self.hear(now, &place, evidence);
        self.free(now, place);
    }

    /// What became of a request that keeps its place, because its response is still being read.
    pub fn hear(&mut self, now: Tick, place: &Place, evidence: &Evidence) {
        let now = self.advance(now);
        let crowd = &mut self.crowds[place.crowd as usize];
        let in_flight = crowd.in_flight;
        crowd
            .control
            .hear(now, place, in_flight, evidence, &self.settings);
        self.settle(now, place.crowd);
    }

    /// The place is free again; nothing is learnt from it.
    pub fn leave(&mut self, now: Tick, place: Place) {
        let now = self.advance(now);
        // What it has shown by being out until now counts.
        self.settle(now, place.crowd);
        self.crowds[place.crowd as usize].control.gave_up();
        self.free(now, place);
    }

    fn free(&mut self, now: Tick, place: Place) {
        let now = self.advance(now);
        let crowd = &mut self.crowds[place.crowd as usize];
        crowd.in_flight -= 1;
        crowd.used = now;
        self.settle(now, place.crowd);
    }

    /// How many requests of `token` are in flight, and how many may be.
    pub fn concurrency(&self, now: Tick, token: Fingerprint) -> Concurrency {
        self.known(now, token).unwrap_or(Concurrency {
            limit: self.settings.bounds.start,
            in_flight: 0,
            waiting: 0,
            last_change: None,
        })
    }

    /// The same; `None` for a token that is not remembered.
    pub fn known(&self, now: Tick, token: Fingerprint) -> Option<Concurrency> {
        let is_it = |id: &u32| self.crowds[*id as usize].token == token;
        let id = self.index.find(token.low(), is_it)?;
        let crowd = &self.crowds[*id as usize];
        Some(Concurrency {
            limit: crowd.control.limit(),
            in_flight: crowd.in_flight,
            waiting: u32::try_from(crowd.queue.len()).unwrap_or(u32::MAX),
            last_change: crowd.control.last_change().map(|(at, change)| Change {
                ago: now.max(self.latest).since(at),
                ..change
            }),
        })
    }

    /// What every crowd obeys.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many tokens are remembered. Idle ones are forgotten bit by bit: ten minutes after their last request, or one minute if
    /// their limit never moved.
    pub fn remembered(&self) -> usize {
        self.crowds.len()
    }

    /// Everybody who waits is to look again, whatever has happened.
    pub fn wake_all(&mut self) {
        let waiters = self.waiters.iter_mut();
        self.wake
            .extend(waiters.filter_map(|(_, it)| it.waker.take()));
    }

    /// The wakers of all who must be polled after what has happened. Wake them when this is no longer locked.
    pub fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wake)
    }

    /// Wakers that have been replaced or given up. Drop them when this is no longer locked.
    pub fn take_retired(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.retired)
    }

    /// The changes of limits since this was last called.
    pub fn take_changes(&mut self) -> Vec<(Fingerprint, Change)> {
        std::mem::take(&mut self.changes)
    }

    fn advance(&mut self, now: Tick) -> Tick {
        self.latest = self.latest.max(now);
        self.latest
    }

    fn next_rank(&mut self, lane: Lane) -> Rank {
        self.arrivals += 1;
        Rank::new(lane, self.arrivals)
    }

    /// Gives the free places to those whose turn it is, and sees to it that the first who stays sets an alarm.
    fn settle(&mut self, now: Tick, id: u32) {
        let crowd = &mut self.crowds[id as usize];
        let token = crowd.token;
        let mut told = |control: &mut Control| {
            self.changes
                .extend(control.take_news().map(|change| (token, change)));
        };
        told(&mut crowd.control);
        crowd.control.rise(now, &self.settings);
        told(&mut crowd.control);
        while crowd.has_room() {
            let Some((rank, waiter)) = crowd.next() else {
                break;
            };
            let waiter = &mut self.waiters[waiter as usize];
            waiter.granted = Some(crowd.grant(now, id, rank));
            self.wake.extend(waiter.waker.take());
        }
        if let Some((_, first)) = crowd.queue.first_key_value() {
            let first = &mut self.waiters[*first as usize];
            let rises = crowd.control.rises_at(&self.settings);
            if rises.is_some_and(|at| at < first.armed) {
                self.wake.extend(first.waker.take());
            }
        }
    }

    /// Finds or makes a crowd.
    fn open(&mut self, now: Tick, token: Fingerprint) -> u32 {
        let crowds = &self.crowds;
        let is_it = |id: &u32| crowds[*id as usize].token == token;
        let rehash = |id: &u32| crowds[*id as usize].token.low();
        match self.index.entry(token.low(), is_it, rehash) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let id = u32::try_from(crowds.vacant_key()).unwrap_or(u32::MAX);
                entry.insert(id);
                self.crowds.insert(Crowd::new(now, token, &self.settings));
                id
            }
        }
    }

    /// Forgets a few of the idle crowds. Goes round over all of them in turn.
    fn sweep(&mut self, now: Tick) {
        for _ in 0..SWEEP.min(self.crowds.len()) {
            self.hand = if self.hand >= self.crowds.capacity() {
                0
            } else {
                self.hand + 1
            };
            let Some(crowd) = self.crowds.get(self.hand) else {
                continue;
            };
            let is_idle = crowd.in_flight == 0 && crowd.queue.is_empty();
            let memory = match crowd.control.is_fresh() {
                true => SHORT_MEMORY,
                false => MEMORY,
            };
            let is_old = now.since(crowd.used) >= memory;
            if !is_idle || !is_old {
                continue;
            }
            let crowd = self.crowds.remove(self.hand);
            let is_it = |id: &u32| *id as usize == self.hand;
            if let Ok(entry) = self.index.find_entry(crowd.token.low(), is_it) {
                entry.remove();
            }
        }
    }
}
