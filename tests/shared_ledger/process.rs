//! A process whose store is played by hand.

pub(crate) use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use tower_quota::core::lease::{
    Answer, Call, Granted, Join, LimitAnswer, Members, OnOutage, Outcome, Sharing, Slots,
};
pub(crate) use tower_quota::core::{
    Admission, DenialReason, Fingerprint, Keys, Ledger, Now, Permit, Progress, Report, Subject,
    Tick, WaiterId,
};
pub(crate) use tower_quota::plan::{Lane, Limit, Plan, Reserve, RouteClass, Zone};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000 * MS;
pub(crate) const BORN: u64 = 7;
/// Some noon.
pub(crate) const NOON: Duration = Duration::from_secs(43_200);
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

pub(crate) fn key() -> Fingerprint {
    Fingerprint::from_halves(1, 2)
}

pub(crate) fn keys() -> Keys {
    Keys {
        token: key(),
        account: key(),
    }
}

pub(crate) fn tick(at: u64) -> Tick {
    Tick::from(Duration::from_nanos(at))
}

pub(crate) fn ms(at: u64) -> Duration {
    Duration::from_nanos(at * MS)
}

pub(crate) fn rolling(quota: u32) -> Limit {
    Limit::rolling("burst", quota, WINDOW)
}

/// One process. It has been told that there are two.
pub(crate) struct Process {
    pub(crate) ledger: Ledger,
    pub(crate) now: u64,
}

impl Process {
    pub(crate) fn new(limit: Limit, on_outage: OnOutage) -> Self {
        let plan = Plan::builder("shared").limit(limit).build().unwrap();
        let mut ledger = Ledger::new(&plan);
        ledger.share(Sharing {
            lease: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            on_outage,
        });
        let mut process = Self { ledger, now: S };
        let members = Members {
            count: 2,
            rank: 0,
            known: true,
        };
        process.ledger.set_members(process.now(), members);
        process
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            tick: tick(self.now),
            wall: UNIX_EPOCH + NOON + Duration::from_nanos(self.now),
        }
    }

    pub(crate) fn pass(&mut self, time: u64) {
        self.now += time;
    }

    pub(crate) fn admit(&mut self, lane: Lane) -> Admission {
        let now = self.now();
        self.ledger
            .admit(now, keys(), RouteClass::General, lane, Tick::NEVER)
    }

    pub(crate) fn wait(&mut self, lane: Lane) -> WaiterId {
        match self.admit(lane) {
            Admission::Waiting(waiter) => waiter,
            other => panic!("nobody can go yet: {other:?}"),
        }
    }

    pub(crate) fn sent(&mut self) -> Permit {
        match self.admit(Lane::Bulk) {
            Admission::Granted(mut permit) => {
                let now = self.now();
                self.ledger.send(now, &mut permit, Tick::NEVER).unwrap();
                permit
            }
            other => panic!("there is a slot: {other:?}"),
        }
    }

    pub(crate) fn settle(&mut self, permit: Permit) {
        let now = self.now();
        self.ledger.settle(now, permit, None);
    }

    /// Leaves somebody in line behind so many who go.
    pub(crate) fn wait_after(&mut self, going: u32) {
        for _ in 0..going {
            drop(self.sent());
        }
        self.wait(Lane::Bulk);
    }

    /// The next call, whenever it is due.
    pub(crate) fn call(&mut self) -> Call {
        let due = self.ledger.next_call().expect("there is something to say");
        let due = u64::try_from(due.since_origin().as_nanos()).unwrap();
        self.now = self.now.max(due);
        let mut calls = self.ledger.calls(self.now(), 8);
        assert_eq!(calls.len(), 1, "one key has one call under way");
        calls.remove(0)
    }

    pub(crate) fn answer(
        &mut self,
        call: Call,
        limit: LimitAnswer,
        pauses: &[(Subject, Duration)],
    ) {
        let answer = Answer {
            born: BORN,
            outcome: Outcome::Done,
            time: SystemTime::UNIX_EPOCH,
            limits: call.limits.iter().map(|_| limit.clone()).collect(),
            pauses: pauses.to_vec(),
        };
        let now = self.now();
        for (keys, subject, until) in self.ledger.answered(now, call, answer) {
            self.ledger.pause(now, keys, subject, until);
        }
    }

    pub(crate) fn rejoin(&mut self, call: Call) {
        let answer = Answer {
            born: 0,
            outcome: Outcome::Rejoin,
            time: SystemTime::UNIX_EPOCH,
            limits: Vec::new(),
            pauses: Vec::new(),
        };
        let now = self.now();
        self.ledger.answered(now, call, answer);
    }

    /// Becomes a member that has these slots.
    pub(crate) fn lend(&mut self, granted: &[(u64, Slots)]) {
        let waiter = self.wait(Lane::Interactive);
        let call = self.call();
        let now = self.now();
        self.ledger.cancel(now, waiter);
        self.answer(call, grant(granted), &[]);
    }

    pub(crate) fn store_gone(&mut self) {
        let now = self.now();
        self.ledger.store_gone(now);
    }

    pub(crate) fn store_back(&mut self) {
        let now = self.now();
        self.ledger.store_back(now);
    }
}

pub(crate) fn grant(granted: &[(u64, Slots)]) -> LimitAnswer {
    let granted = granted.iter().map(|(ready, slots)| Granted {
        ready_in: ms(*ready),
        slots: *slots,
    });
    LimitAnswer {
        granted: granted.collect(),
        ..LimitAnswer::default()
    }
}

pub(crate) fn bulk(slots: u32) -> Slots {
    Slots::of(Lane::Bulk, slots)
}

pub(crate) fn settled(call: &Call) -> u32 {
    let settled = call.limits.iter().flat_map(|limit| &limit.settled);
    settled.map(|settled| settled.slots.all()).sum()
}

pub(crate) fn both(bulk: u32, interactive: u32) -> Slots {
    Slots { bulk, interactive }
}

/// How many go now; they are sent and not answered.
pub(crate) fn all_that_go(process: &mut Process) -> Vec<Permit> {
    let mut permits = Vec::new();
    loop {
        match process.admit(Lane::Bulk) {
            Admission::Granted(permit) => permits.push(permit),
            Admission::Waiting(waiter) => {
                let now = process.now();
                process.ledger.cancel(now, waiter);
                return permits;
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn unanswered(process: &mut Process, call: Call) {
    let now = process.now();
    process.ledger.unanswered(now, call);
}
