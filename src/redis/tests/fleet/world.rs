//! The processes, the server and what happens to them.

use std::collections::{BinaryHeap, HashSet};

use super::super::*;
use super::events::{Due, Event, Plan};
use super::judge::Judge;
use super::outcome::Outcome;
use super::process::{KEYS, Process, Stage};
use crate::core::{Event as NoticeEvent, Permit, Report};
use crate::redis::members::{self, BEAT};

/// The most that a request may be counted after it was given up.
const LATE: u64 = 900 * MS;

pub(super) struct World {
    pub(super) plan: Plan,
    random: fastrand::Rng,
    pub(super) store: Store,
    pub(super) beat: Script,
    pub(super) now: u64,
    events: BinaryHeap<Due>,
    /// How much was to happen so far.
    count: u64,
    pub(super) processes: Vec<Option<Process>>,
    judge: Judge,
    /// The store answers nothing until then.
    pub(super) gone_until: u64,
    /// Calls that were lost once.
    pub(super) lost: HashSet<(usize, u64)>,
    last_admitted: u64,
    pub(super) outcome: Outcome,
}

impl World {
    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        // For what the ledgers leave to chance.
        fastrand::seed(seed);
        let mut world = Self {
            plan,
            random: fastrand::Rng::with_seed(seed),
            store: Store::new(),
            beat: Script::new(&with_told_time(BEAT)),
            now: BEGIN,
            events: BinaryHeap::new(),
            count: 0,
            processes: Vec::new(),
            judge: Judge::new(),
            gone_until: 0,
            lost: HashSet::new(),
            last_admitted: BEGIN,
            outcome: Outcome::default(),
        };
        for _ in 0..world.plan.processes {
            world.start();
        }
        for (every, event) in [
            (world.plan.kills, Event::Kill),
            (world.plan.outages, Event::Outage),
            (world.plan.losses, Event::Loss),
        ] {
            world.rarely(every, event);
        }
        world
    }

    pub(super) fn run(mut self) -> Outcome {
        let end = BEGIN + self.plan.seconds * S;
        while let Some(Due { at, event, .. }) = self.events.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.happens(event);
        }
        self.outcome.refused = self.judge.refused;
        self.outcome
    }

    pub(super) fn after(&mut self, time: u64, event: Event) {
        self.count += 1;
        let (at, count) = (self.now + time, self.count);
        self.events.push(Due { at, count, event });
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.random.f64() < share
    }

    /// Around `mean`, and now and then much more.
    pub(super) fn spread(&mut self, mean: u64) -> u64 {
        let tail = -(1.0 - self.random.f64()).ln();
        (mean as f64 * (0.2 + 0.8 * tail)) as u64
    }

    fn rarely(&mut self, every: u64, event: Event) {
        if every > 0 {
            let time = self.spread(every);
            self.after(time, event);
        }
    }

    pub(super) fn note(&mut self, text: String) {
        let at = (self.now - BEGIN) as f64 / S as f64;
        self.outcome.log.push(format!("{at:.3}: {text}"));
    }

    fn start(&mut self) {
        let nth = self.processes.len();
        let offset = self.random.u64(..1_000_000 * S);
        let sharing = self.plan.shared.then_some(self.store.sharing);
        let workers = 60 * if self.plan.shared { 1 } else { 4 };
        let mut process = Process::new(format!("process {nth}"), offset, workers, sharing);
        if !self.plan.searches {
            process
                .workers
                .iter_mut()
                .for_each(|worker| worker.is_search = false);
        }
        self.note(format!("process {nth} begins"));
        self.processes.push(Some(process));
        self.outcome.admitted.push(Vec::new());
        if self.plan.shared {
            self.after(0, Event::Beat { process: nth });
        }
        for worker in 0..workers {
            let time = self.random.u64(..S);
            self.after(
                time,
                Event::Admit {
                    process: nth,
                    worker,
                },
            );
        }
    }

    /// Nobody begins who cannot connect. And after an outage in which all was lost, too, nobody can know that there are others, before
    /// the first of them has noticed that it is over.
    fn cannot_start(&self) -> bool {
        let mut alive = self.processes.iter().flatten();
        self.now < self.gone_until || self.plan.losses > 0 && alive.any(|state| state.gone)
    }

    pub(super) fn with(&mut self, process: usize) -> Option<&mut Process> {
        self.processes[process].as_mut()
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Look { process } => {
                let now = self.now;
                if let Some(process) = self.with(process).filter(|is| is.looks_at <= now) {
                    process.looks_at = u64::MAX;
                } else {
                    return;
                }
                self.outcome.looks += 1;
                self.look(process);
            }
            Event::Admit { process, worker } => {
                let now = self.now;
                let Some(state) = self.with(process) else {
                    return;
                };
                let granted = state.admit(now, worker);
                let turn = state.workers[worker].turn;
                match granted {
                    Some(permit) => self.granted(process, worker, permit),
                    None if self.chance(self.plan.cancels) => {
                        let time = self.spread(3 * S);
                        self.after(
                            time,
                            Event::Cancel {
                                process,
                                worker,
                                turn,
                            },
                        );
                    }
                    None => {}
                }
                self.look(process);
            }
            Event::Cancel {
                process,
                worker,
                turn,
            } => {
                let now = self.now;
                if let Some(state) = self.with(process) {
                    if state.workers[worker].turn == turn {
                        let waits = matches!(state.workers[worker].stage, Stage::Waiting { .. });
                        state.cancel(now, worker);
                        if waits {
                            self.next_request(process, worker);
                        }
                    }
                    self.look(process);
                }
            }
            Event::Abandon {
                process,
                worker,
                turn,
            } => {
                let now = self.now;
                if let Some(state) = self.with(process) {
                    if let Some(permit) = state.take_sent(worker, turn) {
                        let at = state.now(now);
                        state.ledger.abandon(at, permit);
                        self.next_request(process, worker);
                    }
                    self.look(process);
                }
            }
            Event::Count {
                process,
                worker,
                turn,
                is_search,
                service,
                down,
            } => {
                let refused = self.judge.refused.len();
                let used = self.judge.count(self.now, is_search);
                if self.judge.refused.len() > refused {
                    self.note(format!(
                        "process {process} is refused, a search: {is_search}"
                    ));
                }
                let response = Event::Response {
                    process,
                    worker,
                    turn,
                    service,
                    used,
                };
                self.after(service + down, response);
            }
            Event::Response {
                process,
                worker,
                turn,
                service,
                used,
            } => {
                self.response(process, worker, turn, service, used);
            }
            Event::Call {
                process,
                seq,
                key,
                arguments,
            } => self.carry(process, seq, key, arguments),
            Event::Answer {
                process,
                seq,
                value,
            } => self.answer(process, seq, value),
            Event::CallLost { process, seq } => {
                let now = self.now;
                if let Some(state) = self.with(process) {
                    if let Some(call) = state.calls.remove(&seq) {
                        let at = state.now(now);
                        state.ledger.unanswered(at, call);
                        state.doubts = true;
                        state.next_beat = now;
                    }
                    self.look(process);
                }
            }
            Event::Beat { process } => self.beat(process),
            Event::BeatOver { process, value } => self.beat_over(process, value),
            Event::BeatLost { process } => {
                let (now, pause) = (self.now, self.random.u64(100 * MS..S));
                let Some(state) = self.with(process) else {
                    return;
                };
                state.beats = false;
                state.next_beat = now;
                if state.doubts {
                    state.next_beat = now + pause;
                    if !std::mem::replace(&mut state.gone, true) {
                        let at = state.now(now);
                        state.ledger.store_gone(at);
                        self.note(format!("the store is gone for process {process}"));
                    }
                } else {
                    state.doubts = true;
                }
                self.look(process);
            }
            Event::Kill => {
                let alive: Vec<_> = (0..self.processes.len())
                    .filter(|nth| self.processes[*nth].is_some())
                    .collect();
                let victim = alive[self.random.usize(..alive.len())];
                if alive.len() > 1 {
                    self.processes[victim] = None;
                    self.note(format!("process {victim} is killed"));
                }
                self.after(0, Event::Start);
                self.rarely(self.plan.kills, Event::Kill);
            }
            Event::Start if self.cannot_start() => self.after(S, Event::Start),
            Event::Start => self.start(),
            Event::Outage => {
                let time = self.spread(8 * S);
                self.gone_until = self.now + time;
                self.note(format!("the store is gone for {} ms", time / MS));
                self.rarely(self.plan.outages, Event::Outage);
            }
            Event::Loss => {
                self.note("the store has lost everything".to_owned());
                for key in [KEYS.token, KEYS.account] {
                    self.store.key = key;
                    self.store.lose();
                }
                let members = members::record(&self.store.prefix);
                self.store.forget(&members);
                self.store.up_since = self.now;
                self.gone_until = self.gone_until.max(self.now + 100 * MS);
                self.rarely(self.plan.losses, Event::Loss);
            }
        }
    }

    /// Lets a process do what is due, and sees when to look at it again.
    pub(super) fn look(&mut self, process: usize) {
        let now = self.now;
        loop {
            let Some(state) = self.with(process) else {
                return;
            };
            let granted = state.poll(now);
            let at = state.now(now);
            let is_due = state.ledger.next_call().is_some_and(|due| due <= at.tick);
            let calls = match state.gone || !is_due {
                true => Vec::new(),
                false => state.ledger.calls(at, 64),
            };
            if granted.is_empty() && calls.is_empty() {
                break;
            }
            for (worker, permit) in granted {
                self.granted(process, worker, permit);
            }
            for call in calls {
                self.send_call(process, call);
            }
        }
        let is_shared = self.plan.shared;
        let Some(state) = self.with(process) else {
            return;
        };
        let silence = state.silence(now);
        let foreign: u32 = state
            .ledger
            .take_notices()
            .iter()
            .map(|notice| match notice.event {
                NoticeEvent::ForeignUse { requests } => requests,
                _ => 0,
            })
            .sum();
        let call = state.ledger.next_call().filter(|_| !state.gone);
        let next = [call, state.wakes_at()].into_iter().flatten().min();
        let next = next.map(|next| state.world(next).max(now + MS));
        let beat = (is_shared && !state.beats).then_some(state.next_beat.max(now));
        let must_beat = beat.is_some_and(|beat| beat <= now);
        let next = [next, beat].into_iter().flatten().min();
        if let Some(next) = next.filter(|next| *next < state.looks_at) {
            state.looks_at = next;
            self.after(next - now, Event::Look { process });
        }
        self.outcome.foreign += foreign;
        self.outcome.silence = self.outcome.silence.max(silence);
        if must_beat {
            self.beat(process);
        }
    }

    fn granted(&mut self, process: usize, worker: usize, permit: Permit) {
        let now = self.now;
        let Some(state) = self.with(process) else {
            return;
        };
        let turn = state.workers[worker].turn;
        let is_search = state.workers[worker].is_search;
        if self.chance(self.plan.cancels / 4.0) {
            if let Some(state) = self.with(process) {
                let at = state.now(now);
                state.workers[worker].stage = Stage::Idle;
                state.ledger.refund(at, permit);
            }
            return self.next_request(process, worker);
        }
        let Some(state) = self.with(process) else {
            return;
        };
        if !state.send(now, worker, permit) {
            return;
        }
        if let Some(state) = self.with(process) {
            state.lives_at = now;
        }
        let gap = now - self.last_admitted;
        if gap > self.outcome.longest_gap.0 {
            self.outcome.longest_gap = (gap, now - BEGIN);
        }
        self.last_admitted = now;
        self.outcome.admitted[process].push((now - BEGIN) / S);
        let up = self.spread(20 * MS);
        let service = self.spread(80 * MS);
        let down = self.spread(20 * MS);
        self.after(
            up,
            Event::Count {
                process,
                worker,
                turn,
                is_search,
                service,
                down,
            },
        );
        if self.chance(self.plan.cancels) {
            let early = up.saturating_sub(LATE);
            let time = self.random.u64(early..=up + service + down);
            self.after(
                time,
                Event::Abandon {
                    process,
                    worker,
                    turn,
                },
            );
        }
    }

    fn response(&mut self, process: usize, worker: usize, turn: u32, service: u64, used: [u32; 2]) {
        let (tells, figures) = (self.chance(0.5), self.plan.figures && self.chance(0.7));
        let pauses = self.chance(self.plan.pauses);
        let (length, which) = (self.random.u64(..3 * S), self.random.usize(..3));
        let now = self.now;
        let Some(state) = self.with(process) else {
            return;
        };
        let Some(permit) = state.take_sent(worker, turn) else {
            return;
        };
        let at = state.now(now);
        if figures {
            for (limit, (quota, used)) in [100, 5].into_iter().zip(used).enumerate() {
                let report = Report {
                    quota: Some(quota),
                    remaining: Some(quota.saturating_sub(u64::from(used))),
                    ..Report::default()
                };
                state.ledger.observe(at, &permit, limit, &report);
            }
        }
        if pauses {
            let subject = [Subject::Token, Subject::Account, Subject::Limit(1)][which];
            let until = at.tick.after(micros(length));
            state.ledger.pause(at, KEYS, subject, until);
        }
        state
            .ledger
            .settle(at, permit, tells.then(|| micros(service)));
        self.next_request(process, worker);
        self.look(process);
    }

    fn next_request(&mut self, process: usize, worker: usize) {
        let time = match self.plan.think {
            0 => 0,
            think => self.spread(think),
        };
        self.after(time, Event::Admit { process, worker });
    }
}
