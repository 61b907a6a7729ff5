//! The state of all limits: who holds slots, who waits, what is paused.

use std::task::Waker;
use std::time::Duration;

use super::cell::{CellId, Cells, Place};
use super::keys::Keys;
use super::network::Network;
use super::queue::{Denial, DenialReason, State, Waiter, WaiterId, Waiters};
use super::table::{Kind, Subject, Table, Usage};
use super::tick::{Now, Tick};
use crate::error::ConfigError;
use crate::plan::{Plan, RouteClass, Rule};

/// Default for the number of waiters in one queue.
const MAX_WAITING: u32 = 65_536;

/// The answer to [`Ledger::admit`].
#[derive(Debug)]
#[must_use]
pub enum Admission {
    /// The request may be sent.
    Granted(Permit),
    /// The request stands in line; call [`Ledger::poll`] at once to learn until when, and [`Ledger::cancel`] to give up.
    Waiting(WaiterId),
    /// The request may not go, and may not wait either.
    Denied(Denial),
}

/// The answer to [`Ledger::poll`].
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// The request may be sent.
    Granted(Permit),
    /// Not yet. Ask again when woken, and at `until` if that is known.
    Waiting {
        /// The waiter, to ask again.
        waiter: WaiterId,
        /// When something may have changed; `None` while others see to it.
        until: Option<Tick>,
    },
    /// The request may not go.
    Denied(Denial),
}

impl Progress {
    /// Whether the request may be sent.
    pub fn is_granted(&self) -> bool {
        matches!(self, Progress::Granted(_))
    }

    /// Whether the request still stands in line.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Progress::Waiting { .. })
    }
}

/// The right to send one request now, made of one slot under each limit that governs it.
///
/// It goes from granted over sent to settled: give it to [`Ledger::refund`] if the request is not sent after all, and to
/// [`Ledger::settle`] or [`Ledger::abandon`] when it was. Dropping it loses its slots for ever, which is why the layers wrap it.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    age: u64,
    keys: Keys,
    cells: Cells,
    /// The class of a request that needs no slot and only respects pauses.
    slotless: Option<RouteClass>,
    granted: Tick,
    sent: Option<Tick>,
}

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
    /// Counts the pumps, so that a queue takes part in each only once.
    pumps: u64,
    /// Empty between two pumps; kept for its allocation.
    turns: Vec<Turn>,
}

/// How far a pump has come in the queue of one cell.
#[derive(Clone, Copy, Debug)]
struct Turn {
    cell: CellId,
    next_age: u64,
    /// Those who keep their place, and a slot with it, although they cannot go yet.
    passed: u32,
}

impl Ledger {
    /// A ledger in which nothing has been used yet.
    pub fn new(plan: &Plan) -> Self {
        Self {
            table: Table::new(plan),
            waiters: Waiters::default(),
            network: Network::default(),
            credit_floor: false,
            max_waiting: MAX_WAITING,
            admissions: 0,
            latest: Tick::ZERO,
            dirty: Vec::new(),
            changed: Vec::new(),
            wake: Vec::new(),
            retired: Vec::new(),
            pumps: 0,
            turns: Vec::new(),
        }
    }

    /// Sets how many may wait in one queue; 65,536 at first.
    pub fn set_max_waiting(&mut self, most: u32) {
        self.max_waiting = most;
    }

    /// Whether half of the least time that any response spent on the network is credited like service time; off at first.
    ///
    /// It is not proven: it takes for granted that no pair of uplink and downlink times is ever faster than half of the
    /// fastest round trip among at least 128.
    pub fn credit_network_floor(&mut self, credit: bool) {
        self.credit_floor = credit;
    }

    /// Asks for a slot under every limit that governs `class`, all at once or none. `deadline` is how long it may wait.
    pub fn admit(&mut self, now: Now, keys: Keys, class: RouteClass, deadline: Tick) -> Admission {
        let now = self.advance(now);
        self.table.sweep(now);
        let cells = self.table.open_all(class, &keys);
        self.enter(now, Waiter::new(self.admissions, keys, cells, deadline))
    }

    /// Waits for pauses only: as [`admit`](Self::admit), but takes no slot. For layers that govern no window.
    pub fn admit_through_pauses(
        &mut self,
        now: Now,
        keys: Keys,
        class: RouteClass,
        deadline: Tick,
    ) -> Admission {
        let now = self.advance(now);
        let mut waiter = Waiter::new(self.admissions, keys, Cells::default(), deadline);
        waiter.slotless = Some(class);
        self.enter(now, waiter)
    }

    fn enter(&mut self, now: Now, waiter: Waiter) -> Admission {
        let gates = self.table.gates(&waiter.keys);
        let needed = self.needed(&waiter.keys, waiter.cells, waiter.slotless);
        for cell in needed.iter().chain(gates) {
            if self.table.cell(cell).waiting() > 0 {
                self.dirty.push(cell);
            }
        }
        self.pump(now, None);
        match self.obstacle(now, &waiter.keys, &needed, waiter.age) {
            None => {
                self.admissions += 1;
                self.grant(now, &waiter.cells);
                Admission::Granted(Permit::new(waiter, now.tick))
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

    fn line_up(&mut self, now: Now, mut waiter: Waiter, obstacle: CellId) -> Admission {
        self.admissions += 1;
        let (cell, kind) = self.table.cell_mut(obstacle);
        let until = cell.earliest(now, kind, cell.seniors(waiter.age, u32::MAX));
        let paused = cell.paused_until(now.tick).is_some();
        let deny = |reason, subject| {
            Admission::Denied(Denial {
                reason,
                subject,
                paused,
                until,
            })
        };
        if until > waiter.deadline {
            return deny(DenialReason::TooLong, self.table.subject(obstacle));
        }
        if cell.waiting() >= self.max_waiting {
            return deny(DenialReason::QueueFull, self.table.subject(obstacle));
        }
        waiter.queued.push(obstacle);
        waiter.visited.push(obstacle);
        for id in waiter.cells.iter() {
            self.table.cell_mut(id).0.refs += 1;
        }
        let age = waiter.age;
        let id = self.waiters.insert(waiter);
        self.table.cell_mut(obstacle).0.enqueue(age, id.again());
        self.table.cell_mut(obstacle).0.refs += 1;
        Admission::Waiting(id)
    }

    /// Asks how a waiter is doing, and leaves a waker to be told when that changes.
    ///
    /// The head of a queue must come back at `until`, because it acts for all behind it; it is woken when it becomes the head.
    /// Everybody must come back at his own deadline, which `until` does not include.
    pub fn poll(&mut self, now: Now, waiter: WaiterId, waker: Option<&Waker>) -> Progress {
        let now = self.advance(now);
        let queued = self.waiters.get(&waiter).queued;
        self.dirty.extend(queued.iter());
        self.pump(now, Some(&waiter));
        match self.waiters.get(&waiter).state {
            State::Waiting => self.keep_waiting(now, waiter, waker),
            State::Granted => Progress::Granted(Permit::new(self.waiters.remove(waiter), now.tick)),
            State::Denied(denial) => {
                self.waiters.remove(waiter);
                Progress::Denied(denial)
            }
        }
    }

    fn keep_waiting(&mut self, now: Now, waiter: WaiterId, waker: Option<&Waker>) -> Progress {
        let Waiter {
            age,
            queued,
            deadline,
            ..
        } = *self.waiters.get(&waiter);
        let mut until = None;
        for id in queued.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            let is_head = cell
                .queue()
                .and_then(|queue| queue.first_key_value())
                .is_some_and(|(oldest, _)| *oldest == age);
            if is_head {
                until = [until, cell.next_event(now, kind)]
                    .into_iter()
                    .flatten()
                    .min();
            }
        }
        if now.tick >= deadline {
            let denial = self.denial(now, age, &queued, DenialReason::TimedOut);
            self.cancel(now, waiter);
            return Progress::Denied(denial);
        }
        let state = self.waiters.get(&waiter);
        state.armed = until.unwrap_or(Tick::NEVER);
        match (&state.waker, waker) {
            (Some(old), Some(new)) if old.will_wake(new) => {}
            _ => self
                .retired
                .extend(std::mem::replace(&mut state.waker, waker.cloned())),
        }
        Progress::Waiting { waiter, until }
    }

    /// What to tell somebody who stands in these queues.
    fn denial(&mut self, now: Now, age: u64, queued: &Cells, reason: DenialReason) -> Denial {
        let mut worst: Option<Denial> = None;
        for id in queued.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            let until = cell.earliest(now, kind, cell.seniors(age, u32::MAX));
            let paused = cell.paused_until(now.tick).is_some();
            if worst.is_none_or(|denial| until > denial.until) {
                worst = Some(Denial {
                    reason,
                    subject: self.table.subject(id),
                    paused,
                    until,
                });
            }
        }
        worst.unwrap_or(Denial {
            reason,
            subject: Subject::Token,
            paused: false,
            until: now.tick,
        })
    }

    /// Gives up waiting. If the waiter was granted in the meantime, its slots go to the next in line.
    pub fn cancel(&mut self, now: Now, waiter: WaiterId) {
        let now = self.advance(now);
        self.leave_queues(&waiter);
        let mut waiter = self.waiters.remove(waiter);
        self.retired.extend(waiter.waker.take());
        match waiter.state {
            State::Granted => self.refund(now, Permit::new(waiter, now.tick)),
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
    pub fn send(&mut self, now: Now, permit: &mut Permit, deadline: Tick) -> Result<(), WaiterId> {
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
        let mut waiter = Waiter::new(permit.age, permit.keys, cells, deadline);
        waiter.slotless = permit.slotless;
        waiter.queued.push(paused);
        waiter.visited.push(paused);
        let waiter = self.waiters.insert(waiter);
        for id in cells.iter() {
            self.table.cell_mut(id).0.refund();
            self.dirty.push(id);
        }
        let cell = self.table.cell_mut(paused).0;
        cell.refs += 1;
        cell.enqueue(permit.age, waiter.again());
        self.deny_hopeless(now, paused, &[waiter.again()]);
        self.pump(now, Some(&waiter));
        Err(waiter)
    }

    /// The request was not sent: its slots are free at once.
    pub fn refund(&mut self, now: Now, permit: Permit) {
        let now = self.advance(now);
        for id in permit.cells.iter() {
            self.table.cell_mut(id).0.refund();
            self.dirty.push(id);
        }
        self.release(&permit.cells);
        self.pump(now, None);
    }

    /// The response has arrived. `service_time` is what it says of the time the server worked after counting the request.
    pub fn settle(&mut self, now: Now, permit: Permit, service_time: Option<Duration>) {
        let now = self.advance(now);
        let sent = permit.sent.unwrap_or(permit.granted);
        self.network
            .observe(now.tick, now.tick.since(sent), service_time);
        let floor = if self.credit_floor {
            self.network.floor()
        } else {
            Duration::ZERO
        };
        let credit = service_time.unwrap_or_default().saturating_add(floor);
        self.cool(now, &permit, now.tick, credit);
    }

    /// The request was sent and will not be answered any more: it failed, timed out or was dropped. The server may still count
    /// it, at the latest when the longest round trip seen of late has passed (at least 1 s).
    pub fn abandon(&mut self, now: Now, permit: Permit) {
        let now = self.advance(now);
        let latest = now.tick.after(self.network.late_arrival());
        self.cool(now, &permit, latest, Duration::ZERO);
    }

    fn cool(&mut self, now: Now, permit: &Permit, latest: Tick, credit: Duration) {
        let sent = permit.sent.unwrap_or(permit.granted);
        for id in permit.cells.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            cell.cool(now, sent, latest, credit, kind);
            if cell.waiting() > 0 {
                self.changed.push(id);
            }
        }
        self.release(&permit.cells);
        self.set_alarms(now, None);
    }

    /// Nobody sends under `subject` of these keys before `until`. Pauses merge by the later deadline. Those who wait for it and
    /// may not wait that long are denied at once.
    pub fn pause(&mut self, now: Now, keys: Keys, subject: Subject, until: Tick) {
        let now = self.advance(now);
        let Some(place) = self.place(subject) else {
            return;
        };
        let id = self.table.open(place, &keys);
        self.table.cell_mut(id).0.pause(until);
        self.changed.push(id);
        if let Place::Limit(limit) = place {
            // Those who need no slot of a limit wait for its pauses at a gate of their own.
            let gate = self.table.open(Place::PauseOf(limit), &keys);
            self.table.cell_mut(gate).0.pause(until);
            self.changed.push(gate);
        }
        let table = &self.table;
        let concerned = self
            .waiters
            .waiting(|waiter| match (place, waiter.slotless) {
                (Place::TokenGate, _) => waiter.keys.token == keys.token,
                (Place::AccountGate, _) => waiter.keys.account == keys.account,
                (_, None) => waiter.cells.contains(id),
                (_, Some(class)) => {
                    table.governs(class, place) && table.shares(place, &waiter.keys, &keys)
                }
            });
        self.deny_hopeless(now, id, &concerned);
        for waiter in &concerned {
            let state = self.waiters.get(waiter);
            // Whoever keeps a place in several queues must not keep it through the pause: it is sent to wait for its end.
            if state.is_waiting() && state.queued.len() > 1 {
                self.dirty.extend(state.queued.iter());
            }
        }
        self.pump(now, None);
    }

    /// Ends a pause before its time.
    pub fn resume(&mut self, now: Now, keys: Keys, subject: Subject) {
        let now = self.advance(now);
        let Some(place) = self.place(subject) else {
            return;
        };
        let gate = match place {
            Place::Limit(limit) => Some(Place::PauseOf(limit)),
            _ => None,
        };
        for place in [Some(place), gate].into_iter().flatten() {
            if let Some(id) = self.table.find(place, &keys) {
                self.table.cell_mut(id).0.end_pause();
                self.dirty.push(id);
            }
        }
        self.pump(now, None);
    }

    fn place(&self, subject: Subject) -> Option<Place> {
        match subject {
            Subject::Limit(limit) => {
                self.table.kind_of_limit(limit)?;
                u8::try_from(limit).ok().map(Place::Limit)
            }
            Subject::Token => Some(Place::TokenGate),
            Subject::Account => Some(Place::AccountGate),
        }
    }

    /// Denies those who may not wait as long as `paused` is paused.
    fn deny_hopeless(&mut self, now: Now, paused: CellId, concerned: &[WaiterId]) {
        let Some(until) = self.table.cell(paused).paused_until(now.tick) else {
            return;
        };
        let denial = Denial {
            reason: DenialReason::TooLong,
            subject: self.table.subject(paused),
            paused: true,
            until,
        };
        for waiter in concerned {
            let state = self.waiters.get(waiter);
            if state.is_waiting() && state.deadline < until {
                self.deny(waiter, denial);
            }
        }
    }

    /// A limit that should have been respected refused a request: halves the share of service time that is credited for it.
    /// Gives the new share in percent, or nothing when no time is credited under this limit.
    pub fn distrust(&mut self, now: Now, keys: Keys, limit: usize) -> Option<u32> {
        let now = self.advance(now);
        let Kind::Rolling(_) = self.table.kind_of_limit(limit)? else {
            return None;
        };
        let id = self.table.open(self.place(Subject::Limit(limit))?, &keys);
        let (cell, kind) = self.table.cell_mut(id);
        match kind {
            Kind::Rolling(window) => Some(cell.distrust(now.tick, window)),
            _ => None,
        }
    }

    /// Changes how much a limit of the plan allows, for all keys, while requests are in flight.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the rule is impossible, of another kind than before, or there is no such limit.
    pub fn set_rule(&mut self, now: Now, limit: usize, rule: &Rule) -> Result<(), ConfigError> {
        let now = self.advance(now);
        self.table.set_rule(limit, rule)?;
        for id in self.table.cells_of_limit(limit) {
            let (cell, kind) = self.table.cell_mut(id);
            cell.change_rule(now, kind);
            self.dirty.push(id);
            self.changed.push(id);
        }
        self.pump(now, None);
        Ok(())
    }

    /// The position in the plan of the limit called `name`.
    pub fn limit_index(&self, name: &str) -> Option<usize> {
        self.table.limit_index(name)
    }

    /// When the daily pool `limit` is filled again; `None` when it is no daily pool.
    pub fn next_reset(&self, now: Now, limit: usize) -> Option<Tick> {
        match self.table.kind_of_limit(limit)? {
            Kind::Pool { zone, .. } => Some(now.tick_of(zone.next_reset(now.wall))),
            _ => None,
        }
    }

    /// The window of the rolling limit `limit`; `None` when it is not rolling.
    pub fn window(&self, limit: usize) -> Option<Duration> {
        match self.table.kind_of_limit(limit)? {
            Kind::Rolling(window) => Some(window.length),
            _ => None,
        }
    }

    /// The longest rolling window among the limits that govern `class`.
    pub fn longest_window(&self, class: RouteClass) -> Option<Duration> {
        self.table.longest_window(class)
    }

    /// Until when pauses hold up a request with these keys and this class; `None` when nothing does.
    pub fn paused_until(&mut self, now: Now, keys: Keys, class: RouteClass) -> Option<Tick> {
        let now = self.advance(now);
        let limits = self.table.find_gates(class, &keys);
        let gate = self
            .table
            .closed_gate(now.tick, &keys)
            .map(|(_, until)| until);
        limits
            .iter()
            .map(|id| self.table.cell(id).paused_until(now.tick))
            .fold(gate, Option::max)
    }

    /// How far these keys have used a limit; `None` when there is no such limit.
    pub fn usage(&mut self, now: Now, keys: Keys, limit: usize) -> Option<Usage> {
        let now = self.advance(now);
        let quota = match self.table.kind_of_limit(limit)? {
            Kind::Rolling(window) => window.quota,
            Kind::Pool { quota, .. } => *quota,
            Kind::Gate => return None,
        };
        let gate = self
            .table
            .closed_gate(now.tick, &keys)
            .map(|(_, until)| until);
        let Some(id) = self
            .place(Subject::Limit(limit))
            .and_then(|place| self.table.find(place, &keys))
        else {
            return Some(Usage {
                quota,
                used: 0,
                waiting: 0,
                paused_until: gate,
            });
        };
        let (cell, kind) = self.table.cell_mut(id);
        cell.expire(now, kind);
        let paused_until = gate.max(cell.paused_until(now.tick));
        Some(Usage {
            quota,
            used: cell.used(),
            waiting: cell.waiting(),
            paused_until,
        })
    }

    /// How many cells (one key under one limit) are remembered.
    pub fn cells(&self) -> usize {
        self.table.key_count()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
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

    fn advance(&mut self, now: Now) -> Now {
        self.latest = self.latest.max(now.tick);
        Now {
            tick: self.latest,
            wall: now.wall,
        }
    }

    /// The cell that holds up somebody of this age for the longest time, if any does.
    fn obstacle(&mut self, now: Now, keys: &Keys, cells: &Cells, age: u64) -> Option<CellId> {
        if let Some((gate, _)) = self.table.closed_gate(now.tick, keys) {
            return Some(gate);
        }
        let mut worst: Option<(Tick, CellId)> = None;
        for id in cells.iter() {
            let (cell, kind) = self.table.cell_mut(id);
            cell.expire(now, kind);
            let free = cell.free(now.tick, kind);
            if free > cell.seniors(age, free) {
                continue;
            }
            let until = cell.earliest(now, kind, cell.seniors(age, u32::MAX));
            if worst.is_none_or(|(latest, _)| until > latest) {
                worst = Some((until, id));
            }
        }
        worst.map(|(_, id)| id)
    }

    /// Takes a slot in every cell.
    fn grant(&mut self, now: Now, cells: &Cells) {
        for id in cells.iter() {
            let cell = self.table.cell_mut(id).0;
            cell.take(now.tick);
            cell.refs += 1;
        }
    }

    fn release(&mut self, cells: &Cells) {
        for id in cells.iter() {
            self.table.cell_mut(id).0.refs -= 1;
        }
    }

    /// Lets the queues of all dirty cells move, then makes sure that every head has set its alarm. `polling` looks by itself.
    fn pump(&mut self, now: Now, polling: Option<&WaiterId>) {
        while let Some(id) = self.dirty.pop() {
            self.pump_from(now, id);
        }
        if !self.changed.is_empty() {
            self.set_alarms(now, polling);
        }
    }

    /// Goes through the queue of a cell from the oldest, as long as there is a slot for the next one. Where somebody older
    /// stands in another queue for what the next one needs, that queue moves along, and the oldest of all goes first:
    /// otherwise it would matter whose alarm happens to ring first.
    fn pump_from(&mut self, now: Now, first: CellId) {
        self.pumps += 1;
        let mut turns = std::mem::take(&mut self.turns);
        self.join_turns(&mut turns, first);
        loop {
            let mut oldest: Option<(u64, usize, WaiterId)> = None;
            let mut at = 0;
            while at < turns.len() {
                let Some((age, waiter)) = self.next_in_turn(now, turns[at]) else {
                    self.changed.push(turns.swap_remove(at).cell);
                    continue;
                };
                if oldest.as_ref().is_none_or(|(oldest, ..)| age < *oldest) {
                    oldest = Some((age, at, waiter));
                }
                at += 1;
            }
            let Some((age, at, waiter)) = oldest else {
                break;
            };
            if self.join_older(&mut turns, &waiter) {
                continue;
            }
            turns[at].next_age = age + 1;
            let turn = turns[at].cell;
            turns[at].passed += u32::from(self.try_grant(now, turn, &waiter));
        }
        self.turns = turns;
    }

    /// Lets a queue take part in the present pump, once. Gives false when it does already or nobody waits in it.
    fn join_turns(&mut self, turns: &mut Vec<Turn>, id: CellId) -> bool {
        let joins = self.table.cell_mut(id).0.join_pump(self.pumps);
        if joins {
            turns.push(Turn {
                cell: id,
                next_age: 0,
                passed: 0,
            });
        }
        joins
    }

    /// Lets the queues take part in which somebody older waits for what `waiter` needs. Gives whether there was one.
    fn join_older(&mut self, turns: &mut Vec<Turn>, waiter: &WaiterId) -> bool {
        let Waiter {
            age, keys, cells, ..
        } = *self.waiters.get(waiter);
        let gates = self.table.gates(&keys);
        let mut joined = false;
        for id in cells.iter().chain(gates) {
            if self.table.cell(id).seniors(age, 1) > 0 {
                joined |= self.join_turns(turns, id);
            }
        }
        joined
    }

    /// Whose turn it is, if there is a slot for anybody.
    fn next_in_turn(&mut self, now: Now, turn: Turn) -> Option<(u64, WaiterId)> {
        let (cell, kind) = self.table.cell_mut(turn.cell);
        cell.expire(now, kind);
        if cell.free(now.tick, kind) <= turn.passed {
            return None;
        }
        let (age, waiter) = cell.queue()?.range(turn.next_age..).next()?;
        Some((*age, waiter.again()))
    }

    /// It is the turn of `waiter` in the queue of `turn`. Grants it, or sends it to the queue of what holds it up. Gives true
    /// when it keeps its place in this queue.
    fn try_grant(&mut self, now: Now, turn: CellId, waiter: &WaiterId) -> bool {
        let Waiter {
            age,
            keys,
            cells,
            slotless,
            deadline,
            visited,
            ..
        } = *self.waiters.get(waiter);
        let needed = self.needed(&keys, cells, slotless);
        let Some(obstacle) = self.obstacle(now, &keys, &needed, age) else {
            self.leave_queues(waiter);
            self.grant(now, &cells);
            // The waiter counted as one reference to each cell; from here on its permit does.
            self.release(&cells);
            self.finish(waiter, State::Granted);
            return false;
        };
        let (cell, kind) = self.table.cell_mut(obstacle);
        let until = cell.earliest(now, kind, cell.seniors(age, u32::MAX));
        let paused = cell.paused_until(now.tick).is_some();
        if until > deadline {
            let denial = Denial {
                reason: DenialReason::TooLong,
                subject: self.table.subject(obstacle),
                paused,
                until,
            };
            self.deny(waiter, denial);
            return false;
        }
        if obstacle == turn {
            return true;
        }
        if paused {
            // Whoever waits for a pause must not keep a slot from others.
            self.leave_queues(waiter);
            self.waiters.get(waiter).visited = Cells::default();
        } else if !visited.contains(obstacle) {
            self.leave_queue(waiter, turn);
        }
        self.join_queue(waiter, obstacle);
        !paused && visited.contains(obstacle)
    }

    fn join_queue(&mut self, waiter: &WaiterId, id: CellId) {
        let state = self.waiters.get(waiter);
        if state.queued.contains(id) {
            return;
        }
        state.queued.push(id);
        if !state.visited.contains(id) {
            state.visited.push(id);
        }
        let age = state.age;
        let cell = self.table.cell_mut(id).0;
        cell.enqueue(age, waiter.again());
        cell.refs += 1;
        self.changed.push(id);
    }

    fn leave_queue(&mut self, waiter: &WaiterId, id: CellId) {
        let state = self.waiters.get(waiter);
        state.leave(id);
        let age = state.age;
        let cell = self.table.cell_mut(id).0;
        cell.dequeue(age);
        cell.refs -= 1;
        self.changed.push(id);
    }

    /// Leaves every queue; those behind may move up.
    fn leave_queues(&mut self, waiter: &WaiterId) {
        let queued = self.waiters.get(waiter).queued;
        for id in queued.iter() {
            self.leave_queue(waiter, id);
            self.dirty.push(id);
        }
    }

    fn deny(&mut self, waiter: &WaiterId, denial: Denial) {
        self.leave_queues(waiter);
        let cells = std::mem::take(&mut self.waiters.get(waiter).cells);
        self.release(&cells);
        self.finish(waiter, State::Denied(denial));
    }

    fn finish(&mut self, waiter: &WaiterId, state: State) {
        let waiter = self.waiters.get(waiter);
        waiter.state = state;
        self.wake.extend(waiter.waker.take());
    }

    /// Wakes the head of every changed queue that would otherwise look too late.
    fn set_alarms(&mut self, now: Now, polling: Option<&WaiterId>) {
        while let Some(id) = self.changed.pop() {
            let (cell, kind) = self.table.cell_mut(id);
            let Some(head) = cell
                .queue()
                .and_then(|queue| queue.first_key_value())
                .map(|(_, head)| head.again())
            else {
                continue;
            };
            let event = cell.next_event(now, kind);
            if polling == Some(&head) {
                continue;
            }
            let state = self.waiters.get(&head);
            if event.is_some_and(|event| event < state.armed) {
                state.armed = Tick::ZERO;
                self.wake.extend(state.waker.take());
            }
        }
    }
}

impl Permit {
    fn new(waiter: Waiter, granted: Tick) -> Self {
        Self {
            age: waiter.age,
            keys: waiter.keys,
            cells: waiter.cells,
            slotless: waiter.slotless,
            granted,
            sent: None,
        }
    }

    /// Whether it holds nothing and need not be given back.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Whether [`Ledger::send`] has been called for it.
    pub fn is_sent(&self) -> bool {
        self.sent.is_some()
    }
}
