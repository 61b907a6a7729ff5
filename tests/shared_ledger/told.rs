//! While the store is there.

use super::process::*;

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
fn a_leased_slot_is_used_when_it_is_ready_and_while_the_lease_lasts() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(1)), (1_000, bulk(1)), (2_000, bulk(1))]);
    let made = process.now;
    assert_eq!(all_that_go(&mut process).len(), 1);
    process.now = made + 1_000 * MS - 1;
    assert_eq!(all_that_go(&mut process).len(), 0);
    process.now = made + 1_000 * MS;
    assert_eq!(all_that_go(&mut process).len(), 1);
    process.now = made + 5 * S;
    assert_eq!(all_that_go(&mut process).len(), 0);
}

#[test]
fn a_slot_goes_back_as_it_was_lent() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, both(2, 1))]);
    let mut permits = Vec::new();
    for _ in 0..3 {
        match process.admit(Lane::Interactive) {
            Admission::Granted(permit) => permits.push(permit),
            other => panic!("Interactive may use all: {other:?}"),
        }
    }
    for permit in permits {
        process.settle(permit);
    }
    let call = process.call();
    let mut told = Slots::default();
    for settled in &call.limits[0].settled {
        told.bulk += settled.slots.bulk;
        told.interactive += settled.slots.interactive;
    }
    assert_eq!(told, both(2, 1));
}

#[test]
fn a_call_that_was_not_answered_is_made_again_as_it_was_and_after_that_told_anew() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(2))]);
    let permit = process.sent();
    process.settle(permit);
    let now = process.now();
    let until = tick(process.now + 60 * S);
    process.ledger.pause(now, keys(), Subject::Token, until);
    let first = process.call();
    assert!(process.ledger.next_call().is_none(), "one at a time");
    let (seq, made) = (first.seq, first.made);
    process.pass(250 * MS);
    unanswered(&mut process, first);
    let again = process.call();
    assert_eq!((again.seq, again.made, settled(&again)), (seq, made, 1));
    process.pass(250 * MS);
    unanswered(&mut process, again);
    let call = process.call();
    assert!(call.seq > seq);
    assert_eq!((call.join, call.limits[0].held), (Join::Again, bulk(0)));
    assert_eq!(settled(&call), 1);
    let left = until.since(call.made);
    assert_eq!(call.pauses, [(Subject::Token, Some(left))]);
}

#[test]
fn a_process_that_holds_slots_says_so_twice_in_a_lease() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(1))]);
    let _permit = process.sent();
    let call = process.call();
    let made = process.now;
    process.answer(call, grant(&[]), &[]);
    let call = process.call();
    assert_eq!(process.now, made + 2_500 * MS);
    assert_eq!((call.limits[0].own, call.limits[0].held), (1, bulk(1)));
}

#[test]
fn nothing_is_wanted_through_a_pause() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(1))]);
    let _permit = process.sent();
    process.wait(Lane::Bulk);
    let now = process.now();
    let until = tick(process.now + 60 * S);
    process.ledger.pause(now, keys(), Subject::Limit(0), until);
    let call = process.call();
    assert!(call.limits[0].want.is_empty());
}

#[test]
fn one_call_is_under_way_for_a_key_whatever_happens_meanwhile() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(2))]);
    let permit = process.sent();
    process.wait_after(1);
    let call = process.call();
    process.settle(permit);
    process.wait(Lane::Bulk);
    assert_eq!(process.ledger.next_call(), None);
    process.answer(call, grant(&[]), &[]);
    assert!(process.ledger.next_call().is_some());
}

#[test]
fn what_is_leased_and_not_used_is_a_part_of_its_own_use() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(4)), (4_000, bulk(6))]);
    process.wait_after(4);
    let limit = &process.call().limits[0];
    assert_eq!((limit.own, limit.soon), (10, 10));
}

#[test]
fn a_key_is_not_forgotten_before_all_is_told() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(1))]);
    let permit = process.sent();
    process.settle(permit);
    process.pass(11 * S);
    let now = process.now();
    for nth in 0..20 {
        let token = Fingerprint::from_halves(nth, 9);
        let keys = Keys {
            token,
            account: token,
        };
        let patience = Tick::NEVER;
        let admission = process
            .ledger
            .admit(now, keys, RouteClass::General, Lane::Bulk, patience);
        assert!(matches!(admission, Admission::Waiting(_)));
    }
    let calls = process.ledger.calls(now, 100);
    let told: u32 = calls.iter().map(settled).sum();
    assert_eq!(told, 1);
}

#[test]
fn what_the_server_allows_is_told_until_the_store_has_heard_it() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(2))]);
    let (first, second) = (process.sent(), process.sent());
    let now = process.now();
    for (permit, quota) in [(&first, 90), (&second, 80)] {
        let mut report = Report::default();
        report.quota = Some(quota);
        process.ledger.observe(now, permit, 0, &report);
    }
    process.settle(first);
    process.settle(second);
    for _ in 0..3 {
        let call = process.call();
        let told = call.limits[0].told.map(|(quota, _)| quota);
        assert_eq!(told, Some(80));
        unanswered(&mut process, call);
    }
}
