//! The state of all limits: who holds slots, who waits, what is paused.

mod daily;
mod limits;
mod line;
mod observe;
mod pause;
mod permit;
mod share;

use std::task::Waker;
use std::time::Duration;

use self::line::Turn;
pub use self::observe::{News, Report};
pub use self::permit::{Admission, Permit, Progress};
use super::cell::Credit;
use super::keys::Keys;
use super::lease::Leases;
use super::network::Network;
use super::notice::Notice;
use super::patience::Patience;
use super::place::{CellId, Cells};
use super::queue::{Rank, State, Waiter, WaiterId, Waiters};
use super::table::Table;
use super::tick::{Now, Tick};
use crate::plan::{Lane, Plan, RouteClass};

/// Default for the number of waiters in one queue.
const MAX_WAITING: u32 = 65_536;

/// What is credited for an answer that does not tell its service time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Nothing, so that no refusal is possible.
    #[default]
    Proven,
    /// A share of the round trip. It grows slowly while nothing is refused, is halved by a refusal, and then stays below what was
    /// refused for ever longer times. It trades a few refusals for throughput: at 5 requests per 1 s and 400 ms of work 71 % to
    /// 73 % of the quota is used instead of 65 %, and 0.3 % of the first 300 requests are refused, 0.05 % of 20,000 (table "learned
    /// credit" of `cargo bench --bench goodput`).
    Learned,
}

/// Nobody need ask for what has happened; no more of it is kept.
const MOST_NEWS: usize = 1_024;

/// The state of all limits of one plan, for all keys.
///
/// See the [module docs](crate::core) for what it promises and for an example. Every method takes the present time; time that
/// seems to go backwards is taken for the latest time seen.
#[derive(Debug)]
pub struct Ledger {
    table: Table,
    waiters: Waiters,
    network: Network,
    /// Whether the floor of the network is credited; see [`Ledger::credit_network_floor`].
    credit_floor: bool,
    guard: Guard,
    max_waiting: u32,
    admissions: u64,
    latest: Tick,
    /// Cells whose queue may have to move.
    dirty: Vec<CellId>,
    /// Cells whose queue may have a new head, or a head with a new alarm to set.
    changed: Vec<CellId>,
    wake: Vec<Waker>,
    /// Wakers that nobody needs any more; see [`Ledger::take_retired`].
    retired: Vec<Waker>,
    /// What has happened that somebody should be told.
    news: Vec<Notice>,
    /// Counts the pumps, so that a queue takes part in each only once.
    pumps: u64,
    /// Empty between two pumps; kept for its allocation.
    turns: Vec<Turn>,
    /// What a store lends, if slots are shared with other processes.
    leases: Option<Box<Leases>>,
    /// Cells whose lease something has happened to.
    touched: Vec<CellId>,
}

impl Ledger {
    /// A ledger in which nothing has been used yet.
    pub fn new(plan: &Plan) -> Self {
        Self {
            table: Table::new(plan),
            waiters: Waiters::default(),
            network: Network::default(),
            credit_floor: false,
            guard: Guard::Proven,
            max_waiting: MAX_WAITING,
            admissions: 0,
            latest: Tick::ZERO,
            dirty: Vec::new(),
            changed: Vec::new(),
            wake: Vec::new(),
            retired: Vec::new(),
            news: Vec::new(),
            pumps: 0,
            turns: Vec::new(),
            leases: None,
            touched: Vec::new(),
        }
    }

    /// Asks for a slot under every limit that governs `class`, all at once or none. `patience` is how long it may wait.
    pub fn admit(
        &mut self,
        now: Now,
        keys: Keys,
        class: RouteClass,
        lane: Lane,
        patience: impl Into<Patience>,
    ) -> Admission {
        let now = self.advance(now);
        self.table.sweep(now, &mut self.news);
        let cells = self.table.open_all(class, &keys);
        if self.leases.is_some() {
            self.unlease();
            self.lease(now, &cells);
        }
        let rank = Rank::new(lane, self.admissions);
        self.enter(now, Waiter::new(rank, keys, cells, patience.into()))
    }

    /// Waits for pauses only: as [`admit`](Self::admit), but takes no slot. For layers that govern no window.
    pub fn admit_through_pauses(
        &mut self,
        now: Now,
        keys: Keys,
        class: RouteClass,
        lane: Lane,
        patience: impl Into<Patience>,
    ) -> Admission {
        let now = self.advance(now);
        let rank = Rank::new(lane, self.admissions);
        let mut waiter = Waiter::new(rank, keys, Cells::default(), patience.into());
        waiter.slotless = Some(class);
        self.enter(now, waiter)
    }

    fn enter(&mut self, now: Now, mut waiter: Waiter) -> Admission {
        let gates = self.table.gates(&waiter.keys);
        let needed = self.needed(&waiter.keys, waiter.cells, waiter.slotless);
        for cell in needed.iter().chain(gates) {
            if self.table.cell(cell).waiting() > 0 {
                self.dirty.push(cell);
            }
        }
        self.pump(now, None);
        match self.obstacle(now, &waiter.keys, &needed, waiter.rank) {
            None => {
                self.admissions += 1;
                self.grant(now, &waiter.cells, waiter.rank.lane());
                waiter.taken = now.tick;
                Admission::Granted(self.permit(now, waiter))
            }
            Some(obstacle) => self.line_up(now, waiter, obstacle),
        }
    }

    /// The cells that may hold up a request. Pauses of limits may have begun since it came, so for one that needs no slot they
    /// are looked up every time.
    fn needed(&self, keys: &Keys, cells: Cells, slotless: Option<RouteClass>) -> Cells {
        match slotless {
            Some(class) => self.table.find_gates(class, keys),
            None => cells,
        }
    }

    /// Asks how a waiter is doing, and leaves a waker to be told when that changes.
    ///
    /// Everybody must come back at `until`: the head of a queue acts for all behind it, and is woken when it becomes the head; the
    /// others come back when they may not wait any longer.
    pub fn poll(&mut self, now: Now, waiter: WaiterId, waker: Option<&Waker>) -> Progress {
        let now = self.advance(now);
        let queued = self.waiters.get(&waiter).queued;
        self.dirty.extend(queued.iter());
        self.pump(now, Some(&waiter));
        match self.waiters.get(&waiter).state {
            State::Waiting => self.keep_waiting(now, waiter, waker),
            State::Granted => {
                let waiter = self.waiters.remove(waiter);
                Progress::Granted(self.permit(now, waiter))
            }
            State::Denied(denial) => {
                self.waiters.remove(waiter);
                Progress::Denied(denial)
            }
        }
    }

    /// Gives up waiting. If the waiter was granted in the meantime, its slots go to the next in line.
    pub fn cancel(&mut self, now: Now, waiter: WaiterId) {
        let now = self.advance(now);
        self.leave_queues(&waiter);
        let mut waiter = self.waiters.remove(waiter);
        self.retired.extend(waiter.waker.take());
        match waiter.state {
            State::Granted => {
                let permit = self.permit(now, waiter);
                self.refund(now, permit);
            }
            State::Waiting => {
                self.release(&waiter.cells);
                self.pump(now, None);
            }
            State::Denied(_) => {}
        }
    }

    /// The request is about to be sent. If a pause has begun since the grant, the permit's slots are given back and the request
    /// stands in line again, with the age it had.
    ///
    /// # Errors
    ///
    /// The waiter to go on with, when a pause holds the request back. The permit is then empty.
    pub fn send(
        &mut self,
        now: Now,
        permit: &mut Permit,
        patience: impl Into<Patience>,
    ) -> Result<(), WaiterId> {
        let now = self.advance(now);
        let gate = self
            .table
            .closed_gate(now.tick, &permit.keys)
            .map(|(gate, _)| gate);
        let needed = self.needed(&permit.keys, permit.cells, permit.slotless);
        let is_paused = |id: &CellId| self.table.cell(*id).paused_until(now.tick).is_some();
        let Some(paused) = gate.or_else(|| needed.iter().find(is_paused)) else {
            permit.sent = Some(now.tick);
            return Ok(());
        };
        let cells = std::mem::take(&mut permit.cells);
        let mut patience = patience.into();
        if permit.has_parked {
            patience = patience.park();
        }
        let mut waiter = Waiter::new(permit.rank, permit.keys, cells, patience);
        waiter.slotless = permit.slotless;
        waiter.queued.push(paused);
        waiter.visited.push(paused);
        let waiter = self.waiters.insert(waiter);
        for id in cells.iter() {
            self.table.cell_mut(id).0.refund(
                now.tick,
                permit.taken,
                permit.granted,
                permit.rank.lane(),
            );
            self.dirty.push(id);
            self.touch(id);
        }
        let cell = self.table.cell_mut(paused).0;
        cell.refs += 1;
        cell.enqueue(permit.rank, waiter.again());
        self.deny_hopeless(now, paused, &[waiter.again()]);
        self.pump(now, Some(&waiter));
        Err(waiter)
    }

    /// The request was not sent: its slots are free at once.
    pub fn refund(&mut self, now: Now, permit: Permit) {
        let now = self.advance(now);
        for id in permit.cells.iter() {
            self.table.cell_mut(id).0.refund(
                now.tick,
                permit.taken,
                permit.granted,
                permit.rank.lane(),
            );
            self.dirty.push(id);
            self.touch(id);
        }
        self.release(&permit.cells);
        self.pump(now, None);
    }

    /// The answer has arrived. `service_time` is what it says of the time the server worked after counting the request; more than
    /// the whole round trip took is another figure or in another unit, and is taken for nothing.
    pub fn settle(&mut self, now: Now, permit: Permit, service_time: Option<Duration>) {
        let now = self.advance(now);
        let round_trip = permit.round_trip(now.tick);
        let service_time = service_time.filter(|time| *time <= round_trip);
        self.network.observe(now.tick, round_trip, service_time);
        let floor = if self.credit_floor {
            self.network.floor()
        } else {
            Duration::ZERO
        };
        let credit = match (service_time, self.guard) {
            (None, Guard::Learned) => Credit::Share { round_trip, floor },
            _ => Credit::Time(service_time.unwrap_or_default().saturating_add(floor)),
        };
        self.cool(now, &permit, now.tick, credit);
    }

    /// A response has arrived, but it refuses the request or says that the server failed: no time is credited, because a gateway
    /// that gives up tells how long it waited, not how long the server worked after it had counted.
    pub fn fail(&mut self, now: Now, permit: Permit) {
        let now = self.advance(now);
        self.network
            .observe(now.tick, permit.round_trip(now.tick), None);
        // It may have been the one that asked whether a daily pool has been filled again; then the next one asks, unless a pause
        // begins.
        self.dirty.extend(permit.cells.iter());
        self.cool(now, &permit, now.tick, Credit::NoAnswer);
    }

    /// The request was sent and will not be answered any more: it failed, timed out or was dropped. The server may still count
    /// it, at the latest when the longest round trip seen of late has passed (at least 1 s).
    pub fn abandon(&mut self, now: Now, permit: Permit) {
        let now = self.advance(now);
        let latest = now.tick.after(self.network.late_arrival());
        // As for a failure.
        self.dirty.extend(permit.cells.iter());
        self.cool(now, &permit, latest, Credit::NoAnswer);
    }

    fn cool(&mut self, now: Now, permit: &Permit, latest: Tick, credit: Credit) {
        let sent = permit.began();
        for id in permit.cells.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            let frees = cell.cool(now, sent, latest, credit, permit.rank.lane(), kind);
            let is_leased = cell.lease.is_some();
            if cell.waiting() > 0 {
                let list = if frees {
                    &mut self.dirty
                } else {
                    &mut self.changed
                };
                list.push(id);
            }
            if is_leased {
                self.touched.push(id);
            }
        }
        self.release(&permit.cells);
        self.pump(now, None);
    }

    /// Everybody who waits is to look again, whatever has happened.
    pub fn wake_all(&mut self) {
        self.wake.extend(self.waiters.take_wakers());
    }

    /// The wakers of all who must be polled after what has happened. Wake them when the ledger is no longer locked.
    pub fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wake)
    }

    /// Wakers that have been replaced or given up. Drop them when the ledger is no longer locked: the last waker of a task may
    /// take the task with it, and that the next waiter of this ledger.
    pub fn take_retired(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.retired)
    }

    /// What has happened since this was asked last: the first 1,024 of it.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.news)
    }

    fn advance(&mut self, now: Now) -> Now {
        self.latest = self.latest.max(now.tick);
        self.news.truncate(MOST_NEWS);
        Now {
            tick: self.latest,
            wall: now.wall,
        }
    }

    /// Takes a slot in every cell.
    fn grant(&mut self, now: Now, cells: &Cells, lane: Lane) {
        for id in cells.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            cell.take(now, kind, lane, &mut self.news);
            cell.refs += 1;
            if cell.lease.is_some() {
                self.touched.push(id);
            }
        }
    }

    fn permit(&self, now: Now, waiter: Waiter) -> Permit {
        let expired = self.table.expired(&waiter.cells);
        Permit::new(waiter, now.tick, expired)
    }

    fn release(&mut self, cells: &Cells) {
        for id in cells.iter() {
            self.table.cell_mut(id).0.refs -= 1;
        }
    }
}
