//! Lanes and reservations at the ledger.
//!
//! Under one limit a naive model says exactly who goes when: lists, counted anew every time. It is told every grant, refund, answer,
//! give-up, cancellation, pause and change of the quota or the reserve, and after every step the ledger must have granted the same
//! requests at the same nanosecond. Then one test per promise, with several limits: `Interactive` before `Bulk` wherever both wait
//! for the same, after eight one of `Bulk` who can go, nobody starves (T9), and what is reserved never leaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::Index;
use tower_quota::core::{
    Admission, Denial, DenialReason, Fingerprint, Keys, Ledger, Now, Permit, Progress, Subject,
    Tick, WaiterId,
};
use tower_quota::plan::Lane::{Bulk, Interactive};
use tower_quota::plan::{Lane, Limit, Plan, Reserve, RouteClass, Rule, Zone};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const ONLY_A: RouteClass = RouteClass::Search;
const ONLY_B: RouteClass = RouteClass::Associations;
const BOTH: RouteClass = RouteClass::General;

fn keys(nth: usize) -> Keys {
    let nth = nth as u64 + 1;
    let token = Fingerprint::from_halves(nth, nth.wrapping_mul(0xD1B5_4A32_D192_ED03));
    Keys {
        token,
        account: token,
    }
}

fn nanos(length: u64) -> Duration {
    Duration::from_nanos(length)
}

fn tick(at: u64) -> Tick {
    Tick::from(nanos(at))
}

fn at(now: u64) -> Now {
    Now {
        tick: tick(now),
        wall: UNIX_EPOCH + nanos(now),
    }
}

fn time_of(tick: Tick) -> u64 {
    u64::try_from(tick.since_origin().as_nanos()).unwrap()
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

enum Stage {
    Waiting {
        id: WaiterId,
        until: Option<u64>,
        bell: Arc<Bell>,
        heard: usize,
    },
    Granted(Permit),
    Sent {
        permit: Permit,
        sent: u64,
    },
    Over,
    Denied(Denial),
}

struct Request {
    key: usize,
    class: RouteClass,
    lane: Lane,
    deadline: Option<u64>,
    stage: Stage,
}

impl Request {
    fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. })
    }

    fn is_due(&self, now: u64) -> bool {
        match &self.stage {
            Stage::Waiting {
                until, bell, heard, ..
            } => {
                bell.0.load(Ordering::Relaxed) > *heard
                    || until.is_some_and(|until| until <= now)
                    || self.deadline.is_some_and(|deadline| deadline <= now)
            }
            _ => false,
        }
    }
}

/// Drives a ledger as its users must: a waiter is polled only when it was woken or its time has come.
struct Driver {
    ledger: Ledger,
    now: u64,
    requests: Vec<Request>,
}

impl Driver {
    fn new(limits: impl IntoIterator<Item = Limit>) -> Self {
        let plan = limits
            .into_iter()
            .fold(Plan::builder("lanes"), |plan, limit| plan.limit(limit));
        Self {
            ledger: Ledger::new(&plan.build().unwrap()),
            now: 7 * S + 3,
            requests: Vec::new(),
        }
    }

    fn reserve(mut self, limit: usize, slots: u32) -> Self {
        let reserve = Reserve::Slots(slots);
        self.ledger
            .set_reserve(at(self.now), limit, reserve)
            .unwrap();
        self
    }

    fn admit(&mut self, key: usize, class: RouteClass, lane: Lane, wait: Option<u64>) -> usize {
        let deadline = wait.map(|wait| self.now + wait);
        let until = deadline.map_or(Tick::NEVER, tick);
        let stage = match self
            .ledger
            .admit(at(self.now), keys(key), class, lane, until)
        {
            Admission::Granted(permit) => Stage::Granted(permit),
            Admission::Denied(denial) => Stage::Denied(denial),
            Admission::Waiting(id) => Self::in_line(id),
        };
        self.requests.push(Request {
            key,
            class,
            lane,
            deadline,
            stage,
        });
        self.ring();
        let nth = self.requests.len() - 1;
        if self.requests[nth].is_waiting() {
            self.poll(nth);
        }
        nth
    }

    fn in_line(id: WaiterId) -> Stage {
        Stage::Waiting {
            id,
            until: None,
            bell: Arc::default(),
            heard: 0,
        }
    }

    fn ring(&mut self) {
        self.ledger.take_wakers().into_iter().for_each(Waker::wake);
    }

    fn poll(&mut self, nth: usize) {
        let request = &mut self.requests[nth];
        let Stage::Waiting { id, bell, .. } = std::mem::replace(&mut request.stage, Stage::Over)
        else {
            unreachable!("only those in line are polled");
        };
        let heard = bell.0.load(Ordering::Relaxed);
        let waker = Waker::from(bell.clone());
        request.stage = match self.ledger.poll(at(self.now), id, Some(&waker)) {
            Progress::Granted(permit) => Stage::Granted(permit),
            Progress::Denied(denial) => Stage::Denied(denial),
            Progress::Waiting { waiter, until } => {
                let until = until.map(time_of);
                assert!(
                    until.is_none_or(|until| until > self.now),
                    "a wait of no length"
                );
                Stage::Waiting {
                    id: waiter,
                    until,
                    bell,
                    heard,
                }
            }
        };
        self.ring();
    }

    /// Polls all who are due, the youngest first so that order must come from the ledger.
    fn settle_down(&mut self) {
        loop {
            let due = |nth: &usize| self.requests[*nth].is_due(self.now);
            let Some(nth) = (0..self.requests.len()).rev().find(due) else {
                return;
            };
            self.poll(nth);
        }
    }

    fn next_alarm(&self) -> Option<u64> {
        let alarms = self
            .requests
            .iter()
            .filter_map(|request| match request.stage {
                Stage::Waiting { until, .. } => until.into_iter().chain(request.deadline).min(),
                _ => None,
            });
        alarms.min()
    }

    fn pass(&mut self, until: u64) {
        self.settle_down();
        while let Some(alarm) = self.next_alarm().filter(|alarm| *alarm <= until) {
            self.now = alarm;
            self.settle_down();
        }
        self.now = until;
        self.settle_down();
    }

    /// Gives false when a pause sends it back to the line.
    fn send(&mut self, nth: usize) -> bool {
        let request = &mut self.requests[nth];
        let Stage::Granted(mut permit) = std::mem::replace(&mut request.stage, Stage::Over) else {
            unreachable!("only what is granted is sent");
        };
        let deadline = request.deadline.map_or(Tick::NEVER, tick);
        match self.ledger.send(at(self.now), &mut permit, deadline) {
            Ok(()) => {
                let sent = self.now;
                request.stage = Stage::Sent { permit, sent };
                true
            }
            Err(id) => {
                request.stage = Self::in_line(id);
                self.ring();
                self.poll(nth);
                false
            }
        }
    }

    fn take_permit(&mut self, nth: usize) -> Permit {
        match std::mem::replace(&mut self.requests[nth].stage, Stage::Over) {
            Stage::Granted(permit) | Stage::Sent { permit, .. } => permit,
            _ => unreachable!("it has no permit"),
        }
    }

    fn answer(&mut self, nth: usize) {
        let permit = self.take_permit(nth);
        self.ledger.settle(at(self.now), permit, None);
        self.ring();
    }

    fn cancel(&mut self, nth: usize) {
        let stage = std::mem::replace(&mut self.requests[nth].stage, Stage::Over);
        let Stage::Waiting { id, .. } = stage else {
            unreachable!("only who waits gives up waiting");
        };
        self.ledger.cancel(at(self.now), id);
        self.ring();
    }

    fn is_granted(&self, nth: usize) -> bool {
        matches!(self.requests[nth].stage, Stage::Granted(_))
    }

    fn chosen(&self, which: &Index, wanted: impl Fn(&Stage) -> bool) -> Option<usize> {
        let fitting = |nth: &usize| wanted(&self.requests[*nth].stage);
        let fitting: Vec<_> = (0..self.requests.len()).filter(fitting).collect();
        (!fitting.is_empty()).then(|| fitting[which.index(fitting.len())])
    }

    /// So many of this lane and class who wait, at least.
    fn fill(&mut self, key: usize, class: RouteClass, lane: Lane, most: usize) {
        let alike = |request: &&Request| {
            request.is_waiting() && (request.key, request.class, request.lane) == (key, class, lane)
        };
        let waiting = self.requests.iter().filter(alike).count();
        for _ in waiting..most {
            let nth = self.admit(key, class, lane, None);
            if self.is_granted(nth) {
                self.send(nth);
                self.answer(nth);
            }
        }
    }
}

/// A slot in use: held, or cooling since `latest`.
#[derive(Clone, Copy)]
struct Slot {
    request: usize,
    lane: Lane,
    latest: Option<u64>,
}

/// What one key under one limit should do.
#[derive(Clone, Default)]
struct Model {
    quota: usize,
    reserve: usize,
    window: u64,
    slots: Vec<Slot>,
    /// Number and lane.
    line: Vec<(usize, Lane)>,
    /// How many of `Interactive` have passed those of `Bulk` who wait.
    passed: usize,
    paused_until: u64,
}

impl Model {
    fn in_use(&self, now: u64) -> impl Iterator<Item = &Slot> {
        let counts =
            move |slot: &&Slot| slot.latest.is_none_or(|latest| latest + self.window >= now);
        self.slots.iter().filter(counts)
    }

    fn may_go(&self, now: u64, lane: Lane) -> bool {
        let bulk = self.in_use(now).filter(|slot| slot.lane == Bulk).count();
        self.paused_until <= now
            && self.in_use(now).count() < self.quota
            && (lane == Interactive || bulk < self.quota - self.reserve)
    }

    /// Lets all go who may go now.
    fn serve(&mut self, now: u64) {
        // What is over is forgotten only so that a long case does not take for ever.
        let window = self.window;
        self.slots
            .retain(|slot| slot.latest.is_none_or(|latest| latest + window >= now));
        loop {
            let first = |lane| {
                let who = |(_, (_, of)): &(usize, &(usize, Lane))| *of == lane;
                let oldest = |(_, (request, _)): &(usize, &(usize, Lane))| *request;
                let line = self.line.iter().enumerate();
                line.filter(who).min_by_key(oldest).map(|(place, _)| place)
            };
            let can = |lane| first(lane).filter(|_| self.may_go(now, lane));
            let place = match (can(Interactive), can(Bulk)) {
                (_, Some(bulk)) if self.passed >= 8 => bulk,
                (Some(interactive), _) => interactive,
                (None, Some(bulk)) => bulk,
                (None, None) => return,
            };
            let (request, lane) = self.line.remove(place);
            self.take(request, lane);
        }
    }

    fn take(&mut self, request: usize, lane: Lane) {
        let bulk_waits = self.line.iter().any(|(_, lane)| *lane == Bulk);
        self.passed = if lane == Interactive && bulk_waits {
            self.passed + 1
        } else {
            0
        };
        self.slots.push(Slot {
            request,
            lane,
            latest: None,
        });
    }

    fn slot(&mut self, request: usize) -> &mut Slot {
        let slot = self.slots.iter_mut().find(|slot| slot.request == request);
        slot.expect("it holds a slot")
    }

    fn give_back(&mut self, request: usize) {
        self.slots.retain(|slot| slot.request != request);
    }

    fn leave(&mut self, gone: impl Fn(usize) -> bool) {
        self.line.retain(|(request, _)| !gone(*request));
    }

    fn next_release(&self, now: u64) -> Option<u64> {
        let releases = self.slots.iter().filter_map(|slot| slot.latest);
        let releases = releases.map(|latest| latest + self.window + 1);
        let pause = std::iter::once(self.paused_until);
        releases.chain(pause).filter(|time| *time > now).min()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Admit {
        key: usize,
        lane: Lane,
        wait: Option<u64>,
    },
    Burst {
        key: usize,
        lane: Lane,
        count: usize,
    },
    SendAll,
    Refund(Index),
    Respond(Index, f64),
    Fail(Index),
    Abandon(Index),
    Cancel(Index),
    Pause(usize, u64),
    Resume(usize),
    SetQuota(u32),
    Slots(u32),
    Eighths(u32),
    Wait(u64),
}

impl Op {
    fn is_quiet(&self) -> bool {
        matches!(
            self,
            Op::Admit { .. }
                | Op::Burst { .. }
                | Op::SendAll
                | Op::Respond(..)
                | Op::Fail(_)
                | Op::Abandon(_)
                | Op::Wait(_)
        )
    }
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Interactive), Just(Bulk)]
}

fn op() -> impl Strategy<Value = Op> {
    let wait = prop_oneof![3 => Just(None), 1 => (0..3_000_u64).prop_map(|wait| Some(wait * MS))];
    prop_oneof![
        8 => (0..2_usize, lane(), wait).prop_map(|(key, lane, wait)| Op::Admit { key, lane, wait }),
        6 => (0..2_usize, lane(), 1..14_usize).prop_map(|(key, lane, count)| Op::Burst { key, lane, count }),
        8 => Just(Op::SendAll),
        3 => any::<Index>().prop_map(Op::Refund),
        10 => (any::<Index>(), 0.0..=1.0).prop_map(|(which, service)| Op::Respond(which, service)),
        1 => any::<Index>().prop_map(Op::Fail),
        1 => any::<Index>().prop_map(Op::Abandon),
        4 => any::<Index>().prop_map(Op::Cancel),
        2 => (0..2_usize, 0..2_000_u64).prop_map(|(key, length)| Op::Pause(key, length * MS)),
        1 => (0..2_usize).prop_map(Op::Resume),
        2 => (1..8_u32).prop_map(Op::SetQuota),
        2 => (0..9_u32).prop_map(Op::Slots),
        1 => (0..=8_u32).prop_map(Op::Eighths),
        12 => (0..700_u64).prop_map(|wait| Op::Wait(wait * MS)),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    quota: u32,
    reserve: u32,
    window: u64,
    /// Whether woken waiters look after every step, or only before time goes on.
    prompt: bool,
    /// Nobody leaves the line and nothing is paused or changed.
    quiet: bool,
    ops: Vec<Op>,
}

fn case(quiet: bool) -> impl Strategy<Value = Case> {
    let window = prop::sample::select(vec![250 * MS, S, 2 * S]);
    let ops = prop::collection::vec(op(), 1..150).prop_map(move |mut ops| {
        ops.retain(|op| !quiet || op.is_quiet());
        ops
    });
    (1..8_u32, 0..5_u32, window, any::<bool>(), ops).prop_map(
        move |(quota, reserve, window, prompt, ops)| Case {
            quota,
            reserve,
            window,
            prompt,
            quiet,
            ops,
        },
    )
}

/// The ledger beside the model.
struct Pair {
    driver: Driver,
    models: [Model; 2],
    reserve: Kept,
    longest_trip: u64,
    /// Nobody leaves the line and nothing is paused or changed.
    quiet: bool,
    /// Who was denied, stood in line all the same, and when he can go at the earliest.
    denied: Vec<(usize, u64)>,
}

#[derive(Clone, Copy)]
enum Kept {
    Slots(u32),
    Eighths(u32),
}

impl Pair {
    fn new(case: &Case) -> Self {
        let limit = Limit::rolling("only", case.quota, nanos(case.window));
        let model = Model {
            quota: case.quota as usize,
            window: case.window,
            ..Model::default()
        };
        let mut pair = Self {
            driver: Driver::new([limit]),
            models: [model.clone(), model],
            reserve: Kept::Slots(0),
            longest_trip: 0,
            quiet: case.quiet,
            denied: Vec::new(),
        };
        pair.keep(Kept::Slots(case.reserve));
        pair
    }

    fn keep(&mut self, kept: Kept) {
        self.reserve = kept;
        let reserve = match kept {
            Kept::Slots(slots) => Reserve::Slots(slots),
            Kept::Eighths(eighths) => Reserve::Share(f64::from(eighths) / 8.0),
        };
        let now = at(self.driver.now);
        self.driver.ledger.set_reserve(now, 0, reserve).unwrap();
        self.changed();
    }

    /// At least one slot remains for the others.
    fn changed(&mut self) {
        for model in &mut self.models {
            let kept = match self.reserve {
                Kept::Slots(slots) => slots as usize,
                Kept::Eighths(eighths) => (model.quota * eighths as usize).div_ceil(8),
            };
            model.reserve = kept.min(model.quota - 1);
        }
        self.serve_all();
    }

    fn serve_all(&mut self) {
        let now = self.driver.now;
        self.models.iter_mut().for_each(|model| model.serve(now));
        self.driver.ring();
    }

    fn serve(&mut self, key: usize) {
        self.models[key].serve(self.driver.now);
        self.driver.ring();
    }

    fn model(&mut self, nth: usize) -> &mut Model {
        &mut self.models[self.driver.requests[nth].key]
    }

    fn admit(&mut self, key: usize, lane: Lane, wait: Option<u64>) -> Result<(), TestCaseError> {
        self.serve(key);
        let now = self.driver.now;
        let rival = |(_, of): &(usize, Lane)| *of == Interactive || lane == Bulk;
        let model = &mut self.models[key];
        // Nobody before it in line, and nobody who may go before it.
        let at_once = model.may_go(now, lane) && !model.line.iter().any(rival);
        let nth = self.driver.admit(key, BOTH, lane, wait);
        match &self.driver.requests[nth].stage {
            Stage::Granted(_) => {
                prop_assert!(at_once, "{lane} {nth} was granted at once");
                model.take(nth, lane);
            }
            Stage::Denied(denial) => {
                prop_assert!(!at_once, "{lane} {nth} was denied: {denial:?}");
                let deadline = wait.map(|wait| now + wait);
                let Some(deadline) = deadline else {
                    return Err(TestCaseError::fail("denied, but it would wait for ever"));
                };
                match denial.reason {
                    DenialReason::TooLong => prop_assert!(time_of(denial.until) > deadline),
                    DenialReason::TimedOut => prop_assert_eq!(deadline, now),
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                }
                let until = time_of(denial.until);
                if self.quiet && denial.reason == DenialReason::TooLong {
                    self.denied.push((nth + 1, until));
                    return self.admit(key, lane, None);
                }
            }
            _ => {
                prop_assert!(!at_once, "{lane} {nth} waits");
                model.line.push((nth, lane));
            }
        }
        Ok(())
    }

    fn run_op(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let now = self.driver.now;
        let is_sent = |stage: &Stage| matches!(stage, Stage::Sent { .. });
        match op {
            Op::Admit { key, lane, wait } => {
                // A wait that ends would change the line; one that is over at once does not.
                let wait = wait.map(|wait| if self.quiet { 0 } else { wait });
                self.admit(*key, *lane, wait)?;
            }
            Op::Burst { key, lane, count } => {
                for _ in 0..*count {
                    self.admit(*key, *lane, None)?;
                }
            }
            Op::SendAll => self.send_all(),
            Op::Refund(which) => {
                let is_granted = |stage: &Stage| matches!(stage, Stage::Granted(_));
                if let Some(nth) = self.driver.chosen(which, is_granted) {
                    self.model(nth).give_back(nth);
                    let permit = self.driver.take_permit(nth);
                    self.driver.ledger.refund(at(now), permit);
                    self.serve(self.driver.requests[nth].key);
                }
            }
            Op::Respond(which, service) => {
                if let Some(nth) = self.driver.chosen(which, is_sent) {
                    self.respond(nth, Some(*service));
                }
            }
            Op::Fail(which) => {
                if let Some(nth) = self.driver.chosen(which, is_sent) {
                    self.respond(nth, None);
                }
            }
            Op::Abandon(which) => {
                if let Some(nth) = self.driver.chosen(which, is_sent) {
                    self.model(nth).slot(nth).latest = Some(now + self.longest_trip.max(S));
                    let permit = self.driver.take_permit(nth);
                    self.driver.ledger.abandon(at(now), permit);
                    // A failure lets the queue move.
                    self.serve(self.driver.requests[nth].key);
                }
            }
            Op::Cancel(which) => {
                let waits = |stage: &Stage| matches!(stage, Stage::Waiting { .. });
                if let Some(nth) = self.driver.chosen(which, waits) {
                    // It may have been granted and not know it.
                    self.model(nth).give_back(nth);
                    self.model(nth).leave(|request| request == nth);
                    self.driver.cancel(nth);
                    self.serve(self.driver.requests[nth].key);
                }
            }
            Op::Pause(key, length) => {
                let until = now + length;
                let model = &mut self.models[*key];
                model.paused_until = model.paused_until.max(until);
                let until = model.paused_until;
                let requests = &self.driver.requests;
                let hopeless = |nth: usize| requests[nth].deadline.is_some_and(|end| end < until);
                if until > now {
                    model.leave(hopeless);
                }
                let subject = Subject::Limit(0);
                let ledger = &mut self.driver.ledger;
                ledger.pause(at(now), keys(*key), subject, tick(until));
                self.driver.ring();
            }
            Op::Resume(key) => {
                self.models[*key].paused_until = 0;
                let ledger = &mut self.driver.ledger;
                ledger.resume(at(now), keys(*key), Subject::Limit(0));
                self.serve(*key);
            }
            Op::SetQuota(quota) => {
                let window = nanos(self.models[0].window);
                let rule = Rule::Rolling {
                    quota: *quota,
                    window,
                };
                self.models
                    .iter_mut()
                    .for_each(|model| model.quota = *quota as usize);
                self.driver.ledger.set_rule(at(now), 0, &rule).unwrap();
                self.changed();
            }
            Op::Slots(slots) => self.keep(Kept::Slots(*slots)),
            Op::Eighths(eighths) => self.keep(Kept::Eighths(*eighths)),
            Op::Wait(length) => self.pass(now + length)?,
        }
        Ok(())
    }

    fn send_all(&mut self) {
        let now = self.driver.now;
        for nth in 0..self.driver.requests.len() {
            if !self.driver.is_granted(nth) {
                continue;
            }
            let Request { lane, deadline, .. } = self.driver.requests[nth];
            let model = self.model(nth);
            if model.paused_until > now {
                // Held back: the slot is given back, the place in line is the old one.
                model.give_back(nth);
                if deadline.is_none_or(|deadline| deadline >= model.paused_until) {
                    model.line.push((nth, lane));
                }
            }
            self.driver.send(nth);
        }
    }

    fn respond(&mut self, nth: usize, service: Option<f64>) {
        let now = self.driver.now;
        let Stage::Sent { sent, .. } = self.driver.requests[nth].stage else {
            unreachable!("chosen because it is sent");
        };
        let trip = now - sent;
        self.longest_trip = self.longest_trip.max(trip);
        let service = service.map(|share| (trip as f64 * share) as u64);
        self.model(nth).slot(nth).latest = Some(now - service.unwrap_or(0));
        let permit = self.driver.take_permit(nth);
        match service {
            Some(service) => self
                .driver
                .ledger
                .settle(at(now), permit, Some(nanos(service))),
            None => self.driver.ledger.fail(at(now), permit),
        }
        // Credit may free a slot at once; then the head is woken, and lets the others go when it looks.
        self.driver.ring();
        if service.is_none() {
            // A failure lets the queue move.
            self.serve(self.driver.requests[nth].key);
        }
    }

    fn pass(&mut self, until: u64) -> Result<(), TestCaseError> {
        self.agree()?;
        loop {
            let now = self.driver.now;
            let model = self
                .models
                .iter()
                .filter_map(|model| model.next_release(now));
            let deadlines = self.driver.next_alarm();
            let next = model.chain(deadlines).min().filter(|next| *next <= until);
            self.driver.now = next.unwrap_or(until).max(now);
            self.serve_all();
            self.agree()?;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// All who were woken look; then both must be of one mind.
    fn agree(&mut self) -> Result<(), TestCaseError> {
        self.driver.settle_down();
        self.serve_all();
        let now = self.driver.now;
        let requests = &self.driver.requests;
        for model in &mut self.models {
            model.leave(|nth| {
                requests[nth]
                    .deadline
                    .is_some_and(|deadline| deadline <= now)
            });
        }
        for (nth, request) in requests.iter().enumerate() {
            let model = &self.models[request.key];
            let lane = request.lane;
            match &request.stage {
                Stage::Granted(_) | Stage::Sent { .. } => {
                    let held = model.slots.iter().any(|slot| slot.request == nth);
                    prop_assert!(held, "{lane} {nth} was granted at {now}");
                }
                Stage::Waiting { .. } => {
                    let waits = model.line.iter().any(|(request, _)| *request == nth);
                    prop_assert!(waits, "{lane} {nth} still waits at {now}");
                }
                Stage::Over | Stage::Denied(_) => {
                    let waits = model.line.iter().any(|(request, _)| *request == nth);
                    prop_assert!(!waits, "{lane} {nth} waits no more at {now}");
                }
            }
        }
        for (nth, until) in &self.denied {
            let waits = requests[*nth].is_waiting();
            prop_assert!(
                waits || now >= *until,
                "{nth} went before the time in its denial"
            );
        }
        self.denied.retain(|(nth, _)| requests[*nth].is_waiting());
        for key in 0..2 {
            let usage = self.driver.ledger.usage(at(now), keys(key), 0).unwrap();
            let model = &self.models[key];
            prop_assert_eq!(usage.used as usize, model.in_use(now).count());
            prop_assert_eq!(usage.waiting as usize, model.line.len());
        }
        Ok(())
    }

    fn run(mut self, case: &Case) -> Result<(), TestCaseError> {
        for op in &case.ops {
            self.run_op(op)?;
            if case.prompt {
                self.agree()?;
            }
        }
        self.finish()
    }

    /// Everything is answered: everybody goes, and then all can be used again by those who may.
    fn finish(mut self) -> Result<(), TestCaseError> {
        let waiting = self.driver.ledger.waiting() as u64;
        let end = self.driver.now + (waiting + 6) * (self.models[0].window + self.longest_trip + S);
        let is_live = |request: &Request| !matches!(request.stage, Stage::Over | Stage::Denied(_));
        while self.driver.requests.iter().any(is_live) {
            prop_assert!(self.driver.now < end, "somebody waits for ever");
            self.agree()?;
            self.send_all();
            for nth in 0..self.driver.requests.len() {
                if matches!(self.driver.requests[nth].stage, Stage::Sent { .. }) {
                    self.respond(nth, Some(0.0));
                }
            }
            self.pass(self.driver.now + 37 * MS)?;
        }
        prop_assert_eq!(self.driver.ledger.waiting(), 0);
        let last = self.models.iter().flat_map(|model| &model.slots);
        let last = last.filter_map(|slot| slot.latest).max().unwrap_or(0);
        let pauses = self.models.iter().map(|model| model.paused_until);
        let last = pauses.chain([last]).max().unwrap_or(0);
        self.pass(last.max(self.driver.now) + self.models[0].window + 1)?;
        for (key, model) in self.models.iter().enumerate() {
            let (quota, reserve) = (model.quota, model.reserve);
            for (first, second) in [(Bulk, Interactive), (Interactive, Bulk)] {
                let one = take_all(&mut self.driver, key, first);
                let other = take_all(&mut self.driver, key, second);
                let expected = match first {
                    Bulk => (quota - reserve, reserve),
                    Interactive => (quota, 0),
                };
                prop_assert_eq!((one.len(), other.len()), expected);
                for nth in one.into_iter().chain(other) {
                    let permit = self.driver.take_permit(nth);
                    self.driver.ledger.refund(at(self.driver.now), permit);
                }
            }
        }
        Ok(())
    }
}

/// All slots that this lane can have now.
fn take_all(driver: &mut Driver, key: usize, lane: Lane) -> Vec<usize> {
    let mut taken = Vec::new();
    loop {
        let nth = driver.admit(key, BOTH, lane, None);
        if !driver.is_granted(nth) {
            driver.cancel(nth);
            return taken;
        }
        taken.push(nth);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(120),
        max_shrink_iters: 3_000,
        // What failed once is a named test below.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn who_goes_when_is_what_the_model_says(case in case(false)) {
        Pair::new(&case).run(&case)?;
    }

    #[test]
    fn the_time_in_a_denial_is_a_lower_bound_for_both_lanes(case in case(true)) {
        Pair::new(&case).run(&case)?;
    }
}

/// Limits `a` and `b`: [`ONLY_A`] and [`ONLY_B`] need one of them, [`BOTH`] both.
fn a_and_b(a: (u32, u64), b: (u32, u64)) -> Driver {
    Driver::new([
        Limit::rolling("a", a.0, nanos(a.1)).governs([ONLY_A, BOTH]),
        Limit::rolling("b", b.0, nanos(b.1)).governs([ONLY_B, BOTH]),
    ])
}

/// So many wait in each line that is kept full.
const LINE: usize = 10;

/// Keeps these lines full until `wanted` goes, for `most` nanoseconds at the longest; gives how long that took.
fn wait_among(driver: &mut Driver, wanted: usize, others: &[(RouteClass, Lane)], most: u64) -> u64 {
    let begin = driver.now;
    while !driver.is_granted(wanted) {
        let waited = driver.now - begin;
        assert!(waited <= most, "starved among {others:?}");
        for nth in 0..driver.requests.len() {
            if nth != wanted && driver.is_granted(nth) {
                driver.send(nth);
                driver.answer(nth);
            }
        }
        for (class, lane) in others {
            driver.fill(0, *class, *lane, LINE);
        }
        driver.settle_down();
        if !driver.is_granted(wanted) {
            let alarm = driver.next_alarm().expect("somebody has set an alarm");
            driver.pass(alarm);
        }
    }
    driver.now - begin
}

/// T9: one limit, one slot per second, and lookups without end.
#[test]
fn after_eight_of_interactive_one_of_bulk_has_its_turn() {
    let mut driver = Driver::new([Limit::rolling("only", 1, nanos(S))]);
    driver.fill(0, BOTH, Interactive, LINE);
    for _ in 0..3 {
        let bulk = driver.admit(0, BOTH, Bulk, None);
        let waited = wait_among(&mut driver, bulk, &[(BOTH, Interactive)], 20 * S);
        assert_eq!(waited / S, 9, "eight others go first, and no more");
        driver.send(bulk);
        driver.answer(bulk);
    }
}

/// T9, with every mix of lanes on two busy limits, of which one request needs both. At worst those who are before it in its own
/// lane go, then nine of the other lane for its turn in the one limit; the other limit follows at once.
#[test]
fn who_needs_two_busy_limits_does_not_starve_among_lanes() {
    for lane_a in [Interactive, Bulk] {
        for lane_b in [Interactive, Bulk] {
            for (a, b, window_b) in [(1, 1, 1_300), (5, 5, 1_300), (2, 7, 900), (1, 1, 10_000)] {
                let others = [(ONLY_A, lane_a), (ONLY_B, lane_b)];
                let window_b = window_b * MS;
                let mut driver = a_and_b((a, S), (b, window_b)).reserve(0, 1).reserve(1, 2);
                for (class, lane) in others {
                    driver.fill(0, class, lane, LINE);
                }
                let most = (LINE as u64 + 12) * window_b.max(S);
                for lane in [Interactive, Bulk, Bulk, Interactive] {
                    let both = driver.admit(0, BOTH, lane, None);
                    wait_among(&mut driver, both, &others, most);
                    driver.send(both);
                    driver.answer(both);
                }
            }
        }
    }
}

/// The first of `Bulk` waits for a limit that is used up for long; the next one needs it not.
#[test]
fn the_turn_of_bulk_goes_to_one_who_can_go() {
    let mut driver = a_and_b((1, S), (1, 3_600 * S));
    driver.fill(0, ONLY_A, Interactive, LINE);
    let blocked = driver.admit(0, BOTH, Bulk, None);
    let next = driver.admit(0, ONLY_A, Bulk, None);
    // Now that both wait, `b` is used up.
    driver.fill(0, ONLY_B, Interactive, 2);
    wait_among(&mut driver, next, &[(ONLY_A, Interactive)], 10 * S);
    assert!(driver.requests[blocked].is_waiting());
}

/// A daily pool keeps its reserve like a window does, whatever is given back, and every day anew.
#[test]
fn a_daily_pool_keeps_its_reserve() {
    let mut driver = Driver::new([Limit::daily("day", 10, Zone::UTC)]).reserve(0, 2);
    for day in 1..4 {
        for (first, most) in [(Bulk, [8, 2]), (Interactive, [10, 0])] {
            let second = if first == Bulk { Interactive } else { Bulk };
            let taken = [first, second].map(|lane| take_all(&mut driver, 0, lane));
            assert_eq!(taken.each_ref().map(Vec::len), most, "{first} first");
            for nth in taken.into_iter().flatten() {
                let permit = driver.take_permit(nth);
                driver.ledger.refund(at(driver.now), permit);
            }
        }
        let spent = take_all(&mut driver, 0, Bulk);
        assert_eq!(spent.len(), 8);
        for nth in spent {
            driver.send(nth);
            driver.answer(nth);
        }
        let bulk = driver.admit(0, BOTH, Bulk, None);
        let lookup = driver.admit(0, BOTH, Interactive, None);
        assert!(!driver.is_granted(bulk) && driver.is_granted(lookup));
        driver.send(lookup);
        driver.answer(lookup);
        driver.pass(day * 24 * 3_600 * S);
        assert!(driver.is_granted(bulk), "a new day");
        let permit = driver.take_permit(bulk);
        driver.ledger.refund(at(driver.now), permit);
    }
}

/// What `Interactive` used yesterday gives `Bulk` nothing today, also when a request is in flight across midnight.
#[test]
fn a_new_day_begins_with_the_whole_reserve() {
    let mut driver = Driver::new([Limit::daily("day", 10, Zone::UTC)]).reserve(0, 2);
    for _ in 0..5 {
        let lookup = driver.admit(0, BOTH, Interactive, None);
        driver.send(lookup);
        driver.answer(lookup);
    }
    let in_flight = driver.admit(0, BOTH, Bulk, None);
    driver.send(in_flight);
    driver.pass(24 * 3_600 * S);
    assert_eq!(take_all(&mut driver, 0, Bulk).len(), 7);
    assert_eq!(take_all(&mut driver, 0, Interactive).len(), 2);
}
