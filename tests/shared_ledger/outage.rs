//! While the store is gone, when it is back, and when it has lost the record.

use super::process::*;

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

#[test]
fn nobody_goes_while_the_process_joins_and_what_is_refunded_meanwhile_is_not_lost() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(1))]);
    let Admission::Granted(permit) = process.admit(Lane::Bulk) else {
        panic!("there is a slot");
    };
    let waiter = process.wait(Lane::Bulk);
    let call = process.call();
    process.rejoin(call);
    let call = process.call();
    assert_eq!(call.limits[0].held, bulk(1));
    let now = process.now();
    process.ledger.refund(now, permit);
    let now = process.now();
    let Progress::Waiting { waiter, .. } = process.ledger.poll(now, waiter, None) else {
        panic!("what is held must not change");
    };
    process.answer(call, grant(&[]), &[]);
    let now = process.now();
    let progress = process.ledger.poll(now, waiter, None);
    assert!(matches!(progress, Progress::Granted(_)), "{progress:?}");
}

#[test]
fn in_an_outage_a_process_keeps_to_what_it_had_and_then_to_its_part() {
    for (had, at_first, then) in [(80, 50, 50), (10, 10, 50)] {
        let mut process = Process::new(rolling(100), OnOutage::LocalShare);
        process.lend(&[(0, bulk(had))]);
        process.store_gone();
        let since = process.now;
        assert_eq!(all_that_go(&mut process).len(), at_first);
        // One lease, one window, and the second by which a request may be late.
        process.now = since + 16 * S - 1;
        assert_eq!(all_that_go(&mut process).len(), 0);
        process.now = since + 16 * S;
        assert_eq!(all_that_go(&mut process).len(), then - at_first);
    }
}

#[test]
fn what_may_have_been_leased_to_others_is_not_used_in_an_outage() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(10))]);
    for _ in 0..10 {
        let permit = process.sent();
        process.settle(permit);
        process.pass(400 * MS);
    }
    let call = process.call();
    process.answer(call, grant(&[]), &[]);
    // The first five are free within the two seconds for which the store leases in advance.
    process.now = S + 9_700 * MS;
    process.store_gone();
    process.now = S + 10_500 * MS;
    let before = all_that_go(&mut process).len();
    process.now = S + 13_700 * MS;
    let after = all_that_go(&mut process).len();
    assert_eq!((before, before + after), (0, 5));
}

#[test]
fn an_outage_that_goes_on_gives_nothing_anew() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(30))]);
    let waiters: Vec<_> = all_that_go(&mut process);
    assert_eq!(waiters.len(), 30);
    process.wait(Lane::Bulk);
    for _ in 0..2 {
        let call = process.call();
        unanswered(&mut process, call);
    }
    let since = process.now;
    for _ in 0..5 {
        let call = process.call();
        unanswered(&mut process, call);
    }
    assert!(process.now < since + 16 * S);
    process.now = since + 16 * S;
    assert_eq!(all_that_go(&mut process).len(), 19, "one was in line");
}

#[test]
fn fail_closed_fails_those_in_line() {
    let mut process = Process::new(rolling(100), OnOutage::FailClosed);
    process.lend(&[(0, bulk(1))]);
    let permit = process.sent();
    let waiter = process.wait(Lane::Bulk);
    process.store_gone();
    let now = process.now();
    let progress = process.ledger.poll(now, waiter, None);
    assert!(
        matches!(progress, Progress::Denied(denial) if denial.reason == DenialReason::StoreGone)
    );
    process.settle(permit);
    process.store_back();
    let call = process.call();
    assert_eq!(settled(&call), 1);
}

#[test]
fn a_record_that_is_recovering_is_asked_for_no_more_than_a_part_until_it_is_whole() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(20))]);
    let permits = all_that_go(&mut process);
    process.wait(Lane::Bulk);
    let call = process.call();
    process.rejoin(call);
    let since = process.now;
    let call = process.call();
    assert_eq!((call.join, call.limits[0].held), (Join::Anew, bulk(20)));
    assert_eq!(call.limits[0].cap, Some(20));
    let mut recovering = grant(&[]);
    recovering.recovering = true;
    process.answer(call, recovering.clone(), &[]);
    process.now = since + 16 * S;
    let call = process.call();
    assert_eq!(call.limits[0].cap, Some(50));
    process.answer(call, grant(&[]), &[]);
    let call = process.call();
    assert_eq!(call.limits[0].cap, None);
    drop(permits);
}

#[test]
fn a_right_to_what_a_process_had_before_a_loss_ends_with_its_lease_if_it_does_not_come() {
    for (comes_after, right) in [(4, 20), (30, 0)] {
        let mut process = Process::new(rolling(100), OnOutage::LocalShare);
        process.lend(&[(0, bulk(20))]);
        let lent = process.now;
        let permits = all_that_go(&mut process);
        process.wait(Lane::Bulk);
        let call = process.call();
        process.rejoin(call);
        permits
            .into_iter()
            .for_each(|permit| process.settle(permit));
        // There may be another record by then, and another loss.
        process.now = lent + comes_after * S;
        let call = process.call();
        assert_eq!(call.join, Join::Anew);
        assert_eq!(call.limits[0].cap, Some(right), "after {comes_after} s");
        let mut recovering = grant(&[]);
        recovering.recovering = true;
        process.answer(call, recovering, &[]);
        let since = process.now;
        process.now = since + 17 * S;
        assert_eq!(process.call().limits[0].cap, Some(50));
    }
}

#[test]
fn what_was_leased_and_not_used_in_time_is_not_used_in_an_outage() {
    for (silent, goes) in [(4, 20), (5, 0)] {
        let mut process = Process::new(rolling(100), OnOutage::LocalShare);
        process.lend(&[(0, bulk(20))]);
        process.pass(silent * S);
        process.store_gone();
        assert_eq!(all_that_go(&mut process).len(), goes);
    }
}

#[test]
fn a_part_of_a_pool_counts_what_was_used_today() {
    let day = Limit::daily("day", 100, Zone::UTC);
    let mut process = Process::new(day, OnOutage::LocalShare);
    process.lend(&[(0, bulk(10))]);
    for _ in 0..10 {
        let permit = process.sent();
        process.settle(permit);
    }
    let call = process.call();
    let mut answer = grant(&[]);
    answer.used = 40;
    process.answer(call, answer, &[]);
    process.store_gone();
    process.store_back();
    let permit = process.sent();
    process.settle(permit);
    let call = process.call();
    // Half of the 60 that were left for all; one of them is used.
    assert_eq!(call.limits[0].cap, Some(29));
}

#[test]
fn all_parts_together_are_the_quota_and_a_newcomer_has_none() {
    let mut sum = 0;
    for rank in 0..3 {
        let mut process = Process::new(rolling(100), OnOutage::LocalShare);
        let members = |known| Members {
            count: 3,
            rank,
            known,
        };
        let now = process.now();
        process.ledger.set_members(now, members(true));
        process.store_gone();
        process.pass(30 * S);
        sum += all_that_go(&mut process).len();
        let mut newcomer = Process::new(rolling(100), OnOutage::LocalShare);
        let now = newcomer.now();
        newcomer.ledger.set_members(now, members(false));
        newcomer.store_gone();
        newcomer.pass(30 * S);
        assert_eq!(all_that_go(&mut newcomer).len(), 0);
    }
    assert_eq!(sum, 100);
}

#[test]
fn a_call_that_was_to_be_made_again_when_the_store_went_is_not_lost() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    process.lend(&[(0, bulk(1))]);
    let permit = process.sent();
    process.settle(permit);
    let call = process.call();
    unanswered(&mut process, call);
    process.store_gone();
    process.store_back();
    let call = process.call();
    assert_eq!((call.join, settled(&call)), (Join::Again, 1));
}

#[test]
fn a_key_that_is_gone_alone_has_its_part_when_it_is_known_how_many_there_are() {
    let mut process = Process::new(rolling(100), OnOutage::LocalShare);
    let members = |known| Members {
        count: 4,
        rank: 0,
        known,
    };
    process.ledger.set_members(process.now(), members(false));
    process.wait(Lane::Bulk);
    for _ in 0..2 {
        let call = process.call();
        unanswered(&mut process, call);
    }
    let since = process.now;
    process.now = since + 20 * S;
    assert_eq!(all_that_go(&mut process).len(), 0);
    process.ledger.set_members(process.now(), members(true));
    // The one that waits has gone, too.
    assert_eq!(all_that_go(&mut process).len(), 24);
}
