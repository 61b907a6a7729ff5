//! One process beside a store that lends its slots: what it tells, what it gives back, and whom it holds up.
//!
//! The store is played by hand: every test says what is answered.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_quota::core::lease::{
    Answer, Call, Granted, Join, LimitAnswer, Members, OnOutage, Outcome, Sharing, Slots,
};
use tower_quota::core::{
    Admission, DenialReason, Fingerprint, Keys, Ledger, Now, Permit, Progress, Subject, Tick,
};
use tower_quota::plan::{Lane, Limit, Plan, Reserve, RouteClass, Zone};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const BORN: u64 = 7;
/// Some noon.
const NOON: Duration = Duration::from_secs(43_200);
const WINDOW: Duration = Duration::from_secs(10);

fn key() -> Fingerprint {
    Fingerprint::from_halves(1, 2)
}

fn keys() -> Keys {
    Keys {
        token: key(),
        account: key(),
    }
}

fn tick(at: u64) -> Tick {
    Tick::from(Duration::from_nanos(at))
}

fn ms(at: u64) -> Duration {
    Duration::from_nanos(at * MS)
}

fn rolling(quota: u32) -> Limit {
    Limit::rolling("burst", quota, WINDOW)
}

/// One process. It has been told that there are two.
struct Process {
    ledger: Ledger,
    now: u64,
}

impl Process {
    fn new(limit: Limit, on_outage: OnOutage) -> Self {
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

    fn now(&self) -> Now {
        Now {
            tick: tick(self.now),
            wall: UNIX_EPOCH + NOON + Duration::from_nanos(self.now),
        }
    }

    fn pass(&mut self, time: u64) {
        self.now += time;
    }

    fn admit(&mut self, lane: Lane) -> Admission {
        let now = self.now();
        self.ledger
            .admit(now, keys(), RouteClass::General, lane, Tick::NEVER)
    }

    fn wait(&mut self, lane: Lane) -> tower_quota::core::WaiterId {
        match self.admit(lane) {
            Admission::Waiting(waiter) => waiter,
            other => panic!("nobody can go yet: {other:?}"),
        }
    }

    fn sent(&mut self) -> Permit {
        match self.admit(Lane::Bulk) {
            Admission::Granted(mut permit) => {
                let now = self.now();
                self.ledger.send(now, &mut permit, Tick::NEVER).unwrap();
                permit
            }
            other => panic!("there is a slot: {other:?}"),
        }
    }

    fn settle(&mut self, permit: Permit) {
        let now = self.now();
        self.ledger.settle(now, permit, None);
    }

    /// The next call, whenever it is due.
    fn call(&mut self) -> Call {
        let due = self.ledger.next_call().expect("there is something to say");
        let due = u64::try_from(due.since_origin().as_nanos()).unwrap();
        self.now = self.now.max(due);
        let mut calls = self.ledger.calls(self.now(), 8);
        assert_eq!(calls.len(), 1, "one key has one call under way");
        calls.remove(0)
    }

    fn answer(&mut self, call: Call, limit: LimitAnswer, pauses: &[(Subject, Duration)]) {
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

    fn rejoin(&mut self, call: Call) {
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
    fn lend(&mut self, granted: &[(u64, Slots)]) {
        let waiter = self.wait(Lane::Interactive);
        let call = self.call();
        let now = self.now();
        self.ledger.cancel(now, waiter);
        self.answer(call, grant(granted), &[]);
    }

    fn store_gone(&mut self) {
        let now = self.now();
        self.ledger.store_gone(now);
    }

    fn store_back(&mut self) {
        let now = self.now();
        self.ledger.store_back(now);
    }
}

fn grant(granted: &[(u64, Slots)]) -> LimitAnswer {
    let granted = granted.iter().map(|(ready, slots)| Granted {
        ready_in: ms(*ready),
        slots: *slots,
    });
    LimitAnswer {
        granted: granted.collect(),
        ..LimitAnswer::default()
    }
}

fn bulk(slots: u32) -> Slots {
    Slots::of(Lane::Bulk, slots)
}

fn settled(call: &Call) -> u32 {
    let settled = call.limits.iter().flat_map(|limit| &limit.settled);
    settled.map(|settled| settled.slots.all()).sum()
}

#[test]
fn what_was_leased_before_it_was_free_still_cools_when_the_store_is_back() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(3)), (1_500, bulk(20))]);
    let ready = process.now + 1_500 * MS;
    process.pass(100 * MS);
    process.store_gone();
    process.pass(100 * MS);
    process.store_back();
    let call = process.call();
    assert_eq!(call.join, Join::Again);
    let limit = &call.limits[0];
    let cooling = limit.settled.iter().filter(|settled| {
        // Not free before the time at which it was lent.
        settled.anchor.after(WINDOW) >= tick(ready)
    });
    let cooling: u32 = cooling.map(|settled| settled.slots.all()).sum();
    assert_eq!(limit.held.all() + cooling, 20, "{limit:?}");
}

#[test]
fn after_a_long_outage_no_more_is_told_to_be_in_the_window_than_is() {
    let mut process = Process::new(rolling(100), OnOutage::FailOpen);
    process.lend(&[(0, bulk(1))]);
    process.store_gone();
    for _ in 0..6_000 {
        let permit = process.sent();
        process.pass(150 * MS);
        process.settle(permit);
    }
    process.store_back();
    let call = process.call();
    let limit = &call.limits[0];
    assert!(limit.settled.len() <= 256);
    assert_eq!(settled(&call), 6_000);
    let cools = |settled: &&tower_quota::core::lease::Settled| {
        settled.anchor.after(WINDOW) > tick(process.now)
    };
    let cooling = limit.settled.iter().filter(cools);
    let cooling: u32 = cooling.map(|settled| settled.slots.all()).sum();
    assert!((66..=70).contains(&cooling), "66 are, {cooling} are told");
}

#[test]
fn fail_closed_opens_for_an_idle_key_when_the_store_is_back() {
    let mut process = Process::new(rolling(100), OnOutage::FailClosed);
    process.lend(&[(0, bulk(1))]);
    let permit = process.sent();
    process.settle(permit);
    let call = process.call();
    process.answer(call, grant(&[]), &[]);
    process.store_gone();
    process.pass(S);
    let denied = process.admit(Lane::Bulk);
    assert!(
        matches!(denied, Admission::Denied(denial) if denial.reason == DenialReason::StoreGone)
    );
    process.store_back();
    process.pass(S);
    process.wait(Lane::Bulk);
    let call = process.call();
    assert_eq!(call.limits[0].want.all(), 1);
}

#[test]
fn fail_closed_opens_for_a_key_that_alone_was_gone() {
    let mut process = Process::new(rolling(100), OnOutage::FailClosed);
    let waiter = process.wait(Lane::Bulk);
    for _ in 0..2 {
        let call = process.call();
        let now = process.now();
        process.ledger.unanswered(now, call);
    }
    let now = process.now();
    assert!(matches!(
        process.ledger.poll(now, waiter, None),
        Progress::Denied(denial) if denial.reason == DenialReason::StoreGone
    ));
    let call = process.call();
    process.answer(call, grant(&[]), &[]);
    process.wait(Lane::Bulk);
}

#[test]
fn who_waits_beside_slots_of_the_other_lane_looks_again_only_when_something_happens() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    let now = process.now();
    let reserve = Reserve::Slots(10);
    process.ledger.set_reserve(now, 0, reserve).unwrap();
    process.lend(&[(0, Slots::of(Lane::Interactive, 3))]);
    let waiter = process.wait(Lane::Bulk);
    let now = process.now();
    match process.ledger.poll(now, waiter, None) {
        Progress::Waiting { until, .. } => {
            let soon = tick(process.now + MS);
            assert!(until.is_none_or(|until| until > soon), "{until:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_farewell_gives_back_all_that_is_not_used() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(10)), (1_000, bulk(5))]);
    process.pass(10 * MS);
    let now = process.now();
    let calls = process.ledger.farewell(now);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].limits[0].returned.all(), 10);
    assert_eq!(settled(&calls[0]), 5);
    assert!(calls[0].limits[0].want.is_empty());
}

#[test]
fn a_pause_that_was_ended_does_not_come_back_with_an_answer_that_was_on_its_way() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(1))]);
    let now = process.now();
    let until = tick(process.now + 60 * S);
    process.ledger.pause(now, keys(), Subject::Token, until);
    let call = process.call();
    let told = [(Subject::Token, ms(60_000))];
    process.answer(call, grant(&[]), &told);
    let permit = process.admit(Lane::Bulk);
    assert!(matches!(permit, Admission::Waiting(_)), "it is paused");
    let call = process.call();
    let now = process.now();
    process.ledger.resume(now, keys(), Subject::Token);
    process.answer(call, grant(&[]), &told);
    let now = process.now();
    let paused = process
        .ledger
        .paused_until(now, keys(), RouteClass::General);
    assert_eq!(paused, None);
    let call = process.call();
    assert!(call.pauses.contains(&(Subject::Token, None)));
}

#[test]
fn a_record_that_was_lost_is_told_of_the_pauses_in_force() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(1))]);
    let now = process.now();
    let until = tick(process.now + 600 * S);
    process.ledger.pause(now, keys(), Subject::Token, until);
    let call = process.call();
    process.answer(call, grant(&[]), &[(Subject::Token, ms(600_000))]);
    let call = process.call();
    process.rejoin(call);
    let call = process.call();
    assert_eq!(call.join, Join::Anew);
    let told = call.pauses.iter().find(|(s, _)| *s == Subject::Token);
    let length = told.and_then(|(_, length)| *length).expect("still paused");
    let left = until.since(tick(process.now));
    assert!(length <= left && length + ms(1_000) >= left, "{length:?}");
}

#[test]
fn yesterdays_count_in_a_late_answer_does_not_use_up_the_new_day() {
    let day = Limit::daily("day", 100, Zone::UTC);
    let mut process = Process::new(day, OnOutage::LocalShare);
    // One second before midnight.
    process.now = 43_199 * S;
    process.lend(&[(0, bulk(5))]);
    let _permit = process.sent();
    let call = process.call();
    process.now = process.now.max(43_200 * S + MS);
    let mut answer = grant(&[(0, bulk(5))]);
    answer.used = 100;
    process.answer(call, answer, &[]);
    let now = process.now();
    let notices = process.ledger.take_notices();
    assert!(notices.is_empty(), "{notices:?} at {now:?}");
}

#[test]
fn an_outage_across_midnight_leaves_no_process_more_than_its_part_of_the_new_day() {
    let day = Limit::daily("day", 100, Zone::UTC);
    let mut process = Process::new(day, OnOutage::LocalShare);
    process.now = 43_100 * S;
    process.lend(&[(0, bulk(80))]);
    for _ in 0..80 {
        let permit = process.sent();
        process.settle(permit);
    }
    process.store_gone();
    process.now = 43_201 * S;
    let mut count = 0;
    while let Admission::Granted(_) = process.admit(Lane::Bulk) {
        count += 1;
    }
    assert_eq!(count, 50);
}

#[test]
fn a_key_first_used_in_an_outage_is_no_new_one_when_the_store_is_back() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.store_gone();
    process.pass(30 * S);
    let permits: Vec<_> = (0..50).map(|_| process.sent()).collect();
    let waiter = process.wait(Lane::Bulk);
    permits
        .into_iter()
        .for_each(|permit| process.settle(permit));
    process.store_back();
    let call = process.call();
    assert_eq!((call.join, call.born), (Join::Anew, 1));
    assert_eq!((settled(&call), call.limits[0].cap), (50, Some(50)));
    let now = process.now();
    process.ledger.cancel(now, waiter);
}

#[test]
fn so_is_a_key_first_used_soon_after_one() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.store_gone();
    process.pass(30 * S);
    process.store_back();
    process.pass(4 * S);
    process.wait(Lane::Bulk);
    let call = process.call();
    assert_eq!((call.join, call.born), (Join::Anew, 1));
    // What is certainly this process's part may be lent at once.
    assert_eq!(call.limits[0].cap, Some(50));
}

#[test]
fn nobody_waits_for_others_after_an_outage_in_which_nobody_could_use_a_new_key() {
    for (gone, back) in [(4, 0), (30, 5)] {
        let mut process = Process::new(rolling(100), OnOutage::LocalShare);
        process.store_gone();
        process.pass(gone * S);
        process.store_back();
        process.pass(back * S);
        process.wait(Lane::Bulk);
        let call = process.call();
        assert_eq!((call.join, call.born), (Join::Again, 0));
        assert_eq!(call.limits[0].cap, None);
    }
}
