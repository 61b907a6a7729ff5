//! The members, what they have, and the judge of it.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::events::{Fate, Op, Rule};
use super::*;

/// A slot, from when on and until when it is in use.
#[derive(Clone, Copy, Debug)]
struct Use {
    from: u64,
    until: Option<u64>,
    lane: Lane,
}

/// What a member has of one limit, as places in the list of all uses.
#[derive(Default)]
struct Part {
    idle: Vec<usize>,
    sent: Vec<(usize, u64)>,
    over: Vec<usize>,
    untold: Vec<Settled>,
}

struct Process {
    member: Member,
    parts: [Part; 2],
    /// Unanswered.
    pending: Option<Call>,
    /// What it said, as it was sent.
    said: Vec<Vec<Vec<u8>>>,
    /// Nothing that is idle may be used from then on.
    ends: u64,
    /// While the record may lack something: from when on it may have each of the slots that it had.
    caps: Option<[Vec<u64>; 2]>,
}

impl Process {
    fn new(name: String) -> Self {
        Self {
            member: Member::new(name),
            parts: Default::default(),
            pending: None,
            said: Vec::new(),
            ends: 0,
            caps: None,
        }
    }
}

pub(super) struct World {
    rules: [Rule; 2],
    store: Store,
    uses: [Vec<Use>; 2],
    processes: Vec<Process>,
    born: usize,
    now: u64,
    /// A record has been lost, be it long ago.
    is_lost: bool,
}

impl World {
    pub(super) fn new(rules: [Rule; 2]) -> Self {
        let mut store = Store::new();
        store.sharing.lease = micros(LEASE);
        store.sharing.request_timeout = micros(TIMEOUT);
        let processes = (0..4).map(|nth| Process::new(nth.to_string())).collect();
        Self {
            rules,
            store,
            uses: Default::default(),
            processes,
            born: 4,
            now: BEGIN,
            is_lost: false,
        }
    }

    fn lane_of(&self, limit: usize, nth: usize) -> Lane {
        self.uses[limit][nth].lane
    }

    fn sum(&self, limit: usize, list: impl Iterator<Item = usize>) -> Slots {
        list.fold(Slots::default(), |mut sum, nth| {
            match self.lane_of(limit, nth) {
                Lane::Bulk => sum.bulk += 1,
                Lane::Interactive => sum.interactive += 1,
            }
            sum
        })
    }

    /// What the member has in the window or leased.
    fn own(&self, process: usize, limit: usize) -> u32 {
        let part = &self.processes[process].parts[limit];
        let in_window = |nth: &&usize| self.uses[limit][**nth].until >= Some(self.now);
        let over = part.over.iter().filter(in_window).count();
        u32::try_from(part.idle.len() + part.sent.len() + over).unwrap()
    }

    /// From when on it may have each of the slots that it has, if the record is lost: what leaves the window soon may have been
    /// lent to others, and so may all that was not used when the lease ended.
    fn had(&self, process: usize, limit: usize) -> Vec<u64> {
        let Process { parts, ends, .. } = &self.processes[process];
        let part = &parts[limit];
        let ahead = (self.rules[limit].window / 5).min(LEASE / 2);
        let stays = |nth: &&usize| self.uses[limit][**nth].until > Some(self.now + ahead);
        let kept = part.sent.len() + part.over.iter().filter(stays).count();
        let idle = part.idle.iter().filter(|_| self.now < *ends);
        let idle = idle.map(|nth| self.uses[limit][*nth].from);
        idle.chain(std::iter::repeat_n(0, kept)).collect()
    }

    fn cap(&self, process: usize, limit: usize) -> Option<u32> {
        let caps = self.processes[process].caps.as_ref()?;
        let may = caps[limit].iter().filter(|from| **from <= self.now);
        Some(u32::try_from(may.count()).unwrap())
    }

    /// Nobody waits longer for an answer; and what is idle when a lease ends is not used, unless the store lets it be.
    fn time_out(&mut self) {
        for process in 0..self.processes.len() {
            for limit in 0..2 {
                if self.now >= self.processes[process].ends {
                    for nth in &self.processes[process].parts[limit].idle {
                        self.uses[limit][*nth].until = Some(self.now - 1);
                    }
                }
                let sent = self.processes[process].parts[limit].sent.iter();
                let late = sent.filter(|(_, at)| at + TIMEOUT <= self.now);
                let late: Vec<_> = late.copied().collect();
                for (nth, at) in late {
                    self.settle(process, limit, nth, at + TIMEOUT);
                }
            }
        }
    }

    fn settle(&mut self, process: usize, limit: usize, nth: usize, anchor: u64) {
        let lane = self.lane_of(limit, nth);
        self.uses[limit][nth].until = Some(anchor + self.rules[limit].window);
        let part = &mut self.processes[process].parts[limit];
        part.sent.retain(|(sent, _)| *sent != nth);
        part.over.push(nth);
        part.untold.push(settled(anchor, Slots::of(lane, 1)));
    }

    /// It was never used.
    fn unuse(&mut self, limit: usize, nth: usize) {
        let from = self.uses[limit][nth].from;
        self.uses[limit][nth].until = Some(from.saturating_sub(1));
    }

    fn void(&mut self, process: usize) {
        for limit in 0..2 {
            for nth in std::mem::take(&mut self.processes[process].parts[limit].idle) {
                self.unuse(limit, nth);
            }
        }
    }

    fn make_call(&mut self, process: usize, want: [Slots; 2], back: u32) -> Call {
        let join = self.processes[process].member.join;
        if join != Join::Member {
            self.void(process);
        }
        // Meanwhile there may have been another record, and others may have got what it had.
        if join == Join::Anew && self.now >= self.processes[process].ends {
            let caps = [0, 1].map(|limit| self.had(process, limit));
            self.processes[process].caps = Some(caps);
        }
        let limits = (0..2).map(|limit| self.make_limit(process, limit, want[limit], back));
        let limits = limits.collect();
        self.processes[process].member.next(self.now, limits)
    }

    fn make_limit(&mut self, process: usize, limit: usize, want: Slots, back: u32) -> LimitCall {
        let rule = self.rules[limit];
        let join = self.processes[process].member.join;
        let mut returned = Vec::new();
        for _ in 0..back {
            let Some(nth) = self.processes[process].parts[limit].idle.pop() else {
                break;
            };
            self.unuse(limit, nth);
            let Use { from, lane, .. } = self.uses[limit][nth];
            match from <= self.now {
                true => returned.push(nth),
                false => {
                    // It is free then, as if it had been counted one window before.
                    let anchor = from - rule.window;
                    let part = &mut self.processes[process].parts[limit];
                    part.untold.push(settled(anchor, Slots::of(lane, 1)));
                }
            }
        }
        let returned = self.sum(limit, returned.into_iter());
        let in_window = |nth: &usize| self.uses[limit][*nth].until >= Some(self.now);
        let history = self.processes[process].parts[limit].over.iter().copied();
        let history: Vec<_> = history.filter(in_window).collect();
        let untold = std::mem::take(&mut self.processes[process].parts[limit].untold);
        let told = match join {
            Join::Anew => history
                .into_iter()
                .map(|nth| {
                    let until = self.uses[limit][nth].until.unwrap();
                    settled(until - rule.window, Slots::of(self.lane_of(limit, nth), 1))
                })
                .collect(),
            _ => untold,
        };
        let sent = self.processes[process].parts[limit].sent.iter();
        let own = self.own(process, limit);
        LimitCall {
            limit,
            held: self.sum(limit, sent.map(|(nth, _)| *nth)),
            own,
            soon: own / 2,
            cap: self.cap(process, limit),
            want,
            returned,
            settled: told,
            ..nothing_of(SharedRule::Rolling {
                quota: rule.quota,
                unreserved: rule.unreserved(),
                window: micros(rule.window),
                first: FirstWindow::Full,
            })
        }
    }

    fn call(
        &mut self,
        process: usize,
        want: [Slots; 2],
        back: u32,
        fate: Fate,
    ) -> Result<(), TestCaseError> {
        let call = match self.processes[process].pending.take() {
            Some(call) => call,
            None => self.make_call(process, want, back),
        };
        let name = self.processes[process].member.name.clone();
        let arguments = self.store.arguments(self.now, &name, &call);
        self.processes[process].said.push(arguments.clone());
        if matches!(fate, Fate::CallLost) {
            self.processes[process].pending = Some(call);
            return Ok(());
        }
        let value = self.store.run(self.now, &arguments).unwrap();
        let answer = answer(value, &call, &self.store.names).unwrap();
        if matches!(fate, Fate::AnswerLost) {
            // Nobody can use what nobody knows of; when the answer comes again it is judged.
            self.processes[process].pending = Some(call);
            return Ok(());
        }
        self.hear(process, &call, &answer)
    }

    fn hear(&mut self, process: usize, call: &Call, answer: &Answer) -> Result<(), TestCaseError> {
        let state = &mut self.processes[process];
        prop_assert_ne!(answer.outcome, Outcome::Stale);
        state.member.hear(call, answer);
        if answer.outcome == Outcome::Rejoin {
            let is_same = answer.born == call.born;
            state.member.join = if is_same { Join::Again } else { Join::Anew };
            // It was not carried out.
            for (limit, told) in call.limits.iter().enumerate() {
                state.parts[limit].untold.extend(&told.settled);
            }
            let caps = [0, 1].map(|limit| self.had(process, limit));
            self.processes[process].caps = Some(caps);
            self.void(process);
            return Ok(());
        }
        state.ends = us(call.made.since_origin()) + LEASE;
        if self.now < state.ends {
            for limit in 0..2 {
                for nth in self.processes[process].parts[limit].idle.clone() {
                    self.uses[limit][nth].until = None;
                    let from = self.uses[limit][nth].from.max(self.now);
                    self.judge(limit, from)?;
                    if !self.is_lost {
                        self.judge_bulk(limit, from)?;
                    }
                }
            }
        }
        let state = &mut self.processes[process];
        if answer.limits.iter().all(|limit| !limit.recovering) {
            state.caps = None;
        }
        let in_time = self.now < self.processes[process].ends;
        for (limit, told) in answer.limits.iter().enumerate() {
            for Granted { ready_in, slots } in &told.granted {
                let from = self.now + us(*ready_in);
                for lane in [Lane::Bulk, Lane::Interactive] {
                    for _ in 0..slots.of_lane(lane) {
                        self.processes[process].parts[limit]
                            .idle
                            .push(self.uses[limit].len());
                        self.uses[limit].push(Use {
                            from,
                            until: (!in_time).then_some(self.now - 1),
                            lane,
                        });
                    }
                }
                // What comes too late is not used, unless the next answer says that it holds.
                if in_time {
                    self.judge(limit, from)?;
                }
                let is_known = !(self.is_lost && told.recovering);
                if in_time && is_known && slots.bulk > 0 {
                    self.judge_bulk(limit, from)?;
                }
            }
        }
        Ok(())
    }

    /// How many are in use then.
    fn in_use(&self, limit: usize, at: u64, lanes: &[Lane]) -> usize {
        let is_counted = |found: &&Use| {
            let is_over = found.until.is_some_and(|until| until < at);
            found.from <= at && !is_over && lanes.contains(&found.lane)
        };
        self.uses[limit].iter().filter(is_counted).count()
    }

    fn judge(&self, limit: usize, at: u64) -> Result<(), TestCaseError> {
        let all = self.in_use(limit, at, &[Lane::Bulk, Lane::Interactive]);
        let quota = self.rules[limit].quota;
        prop_assert!(
            all <= quota as usize,
            "{all} of {quota} at {at}, now {}",
            self.now
        );
        Ok(())
    }

    fn judge_bulk(&self, limit: usize, at: u64) -> Result<(), TestCaseError> {
        let bulk = self.in_use(limit, at, &[Lane::Bulk]);
        let unreserved = self.rules[limit].unreserved();
        prop_assert!(
            bulk <= unreserved as usize,
            "{bulk} of {unreserved} for Bulk at {at}, now {}",
            self.now
        );
        Ok(())
    }

    pub(super) fn happens(&mut self, op: Op) -> Result<(), TestCaseError> {
        self.time_out();
        match op {
            Op::Call {
                member,
                want,
                back,
                fate,
            } => self.call(member, want, back, fate)?,
            Op::Again { member, which } => {
                // The last one may be yet to be answered; the others must do nothing.
                let said = &self.processes[member].said;
                if said.len() > 1 {
                    let arguments = said[which.index(said.len() - 1)].clone();
                    self.store.run(self.now, &arguments).unwrap();
                }
            }
            Op::Send {
                member,
                limit,
                count,
            } => {
                for _ in 0..count {
                    let may = self.now < self.processes[member].ends;
                    let idle = &self.processes[member].parts[limit].idle;
                    let ready = |nth: &usize| may && self.uses[limit][*nth].from <= self.now;
                    if let Some(at) = idle.iter().position(ready) {
                        let part = &mut self.processes[member].parts[limit];
                        let nth = part.idle.swap_remove(at);
                        part.sent.push((nth, self.now));
                    }
                }
            }
            Op::Over {
                member,
                limit,
                count,
                ago,
            } => {
                for _ in 0..count {
                    if let Some((nth, sent)) =
                        self.processes[member].parts[limit].sent.first().copied()
                    {
                        let anchor = self.now.saturating_sub(ago).max(sent);
                        self.settle(member, limit, nth, anchor);
                    }
                }
            }
            Op::Die(member) => {
                // What was idle could be used until its lease ended, and all is over a time-out after that.
                let ends = self.processes[member].ends;
                for limit in 0..2 {
                    let window = self.rules[limit].window;
                    let part = &self.processes[member].parts[limit];
                    let sent: Vec<_> = part.sent.clone();
                    for nth in part.idle.clone() {
                        self.uses[limit][nth].until = Some(ends + TIMEOUT + window);
                    }
                    for (nth, at) in sent {
                        self.uses[limit][nth].until = Some(at + TIMEOUT + window);
                    }
                }
                self.processes[member] = Process::new(self.born.to_string());
                self.born += 1;
            }
            Op::Lose => {
                // No two records begin in the same microsecond.
                self.now += 1;
                self.store.lose();
                self.store.up_since = self.now;
                self.is_lost = true;
            }
            Op::SetBack(time) => self.store.skew -= i64::try_from(time).unwrap(),
            Op::Wait(time) => self.now += time,
        }
        Ok(())
    }

    /// In the end all of it can be lent again.
    pub(super) fn ends_free(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2 {
            self.time_out();
            for process in 0..4 {
                for _ in 0..4 {
                    self.call(process, Default::default(), 1_000, Fate::Heard)?;
                }
            }
            self.now += 60 * S;
        }
        let want = [Slots::of(Lane::Interactive, 1_000); 2];
        self.processes.push(Process::new("last".to_owned()));
        self.call(4, want, 0, Fate::Heard)?;
        for limit in 0..2 {
            let lent = self.processes[4].parts[limit].idle.len();
            prop_assert_eq!(lent, self.rules[limit].quota as usize);
        }
        Ok(())
    }
}
