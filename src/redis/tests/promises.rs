//! What is lent, when it is free again, and to whom it goes.

use super::*;

const W: u64 = 10 * S;

fn want(slots: u32) -> LimitCall {
    rolling(100, W).wants(bulk(slots))
}

#[test]
fn no_more_is_lent_than_the_quota() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    assert_eq!(one.says(&mut store, BEGIN, want(70)).now(), 70);
    let answer = two.says(&mut store, BEGIN, want(70));
    assert_eq!((answer.now(), answer.used), (30, 100));
    assert_eq!(one.says(&mut store, BEGIN, want(70).own(70)).now(), 0);
}

#[test]
fn bulk_keeps_off_what_is_reserved() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    let SharedRule::Rolling { window, .. } = rule(5, W) else {
        unreachable!("it is a rolling limit");
    };
    let limit = || {
        nothing_of(SharedRule::Rolling {
            quota: 5,
            unreserved: 3,
            window,
            first: FirstWindow::Empty,
        })
    };
    assert_eq!(one.says(&mut store, BEGIN, limit().wants(bulk(9))).now(), 3);
    assert_eq!(two.says(&mut store, BEGIN, limit().wants(bulk(9))).now(), 0);
    let answer = two.says(&mut store, BEGIN, limit().wants(interactive(2)));
    assert_eq!(answer.granted[0].slots, interactive(2));
    // What of Bulk cools counts as well, and its slots are those that Bulk gets ahead.
    let over = limit()
        .wants(bulk(9))
        .own(3)
        .settles(BEGIN - 9 * S, bulk(2));
    let answer = one.says(&mut store, BEGIN, over);
    assert_eq!(answer.later(), [(S + 1, 2)]);
    assert_eq!(answer.granted[0].slots, bulk(2));
}

#[test]
fn what_bulk_has_used_counts_as_its_own_until_it_is_free_whoever_gets_it() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    let limit = || {
        nothing_of(SharedRule::Rolling {
            quota: 2,
            unreserved: 1,
            window: micros(W),
            first: FirstWindow::Empty,
        })
    };
    one.says(&mut store, BEGIN, limit().wants(bulk(1)));
    two.says(&mut store, BEGIN, limit().wants(interactive(1)));
    let over = limit().own(1).settles(BEGIN - 9 * S, bulk(1));
    let answer = one.says(&mut store, BEGIN, over.wants(interactive(1)));
    assert_eq!(answer.later(), [(S + 1, 1)]);
    assert_eq!(answer.granted[0].slots, interactive(1));
    // That of two is free, but is kept for Interactive.
    let instead = limit().returns(interactive(1)).wants(bulk(1));
    let answer = two.says(&mut store, BEGIN, instead);
    assert_eq!((answer.now(), answer.next.map(us)), (0, Some(S + 1)));
    let asks = || limit().wants(bulk(1));
    assert_eq!(two.says(&mut store, BEGIN + S, asks()).now(), 0);
    let answer = two.says(&mut store, BEGIN + S + 1, asks());
    assert_eq!((answer.now(), answer.used), (1, 2));
}

#[test]
fn a_slot_is_free_strictly_after_its_window() {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    one.says(&mut store, BEGIN, rolling(1, W).wants(bulk(1)));
    let answered = BEGIN + 300 * MS;
    let over = || rolling(1, W).settles(answered, bulk(1));
    let told = one.says(&mut store, answered + 2 * S, over());
    assert_eq!(told.next.map(us), Some(W - 2 * S + 1));
    store.sharing.lease = Duration::ZERO;
    let asks = || rolling(1, W).wants(bulk(1));
    assert_eq!(one.says(&mut store, answered + W, asks()).now(), 0);
    assert_eq!(one.says(&mut store, answered + W + 1, asks()).now(), 1);
}

#[test]
fn what_is_told_late_is_free_when_it_would_have_been() {
    for late in [0, 1, 37, 5 * S, W - 1, W + 1, 3 * W] {
        let (mut store, mut one) = (Store::new(), Member::new("one"));
        one.says(&mut store, BEGIN, want(100));
        let over = want(1).settles(BEGIN, bulk(100));
        let answer = one.says(&mut store, BEGIN + late, over);
        match late > W {
            true => assert_eq!(answer.now(), 1),
            false => assert_eq!(answer.next.map(us), Some(W - late + 1), "{late}"),
        }
    }
}

#[test]
fn what_was_given_up_cools_from_a_time_to_come() {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    one.says(&mut store, BEGIN, want(100));
    let over = want(1).settles(BEGIN + S, bulk(100));
    let answer = one.says(&mut store, BEGIN, over);
    assert_eq!((answer.now(), answer.next.map(us)), (0, Some(W + S + 1)));
}

#[test]
fn a_slot_that_is_free_soon_is_lent_before_and_never_twice() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    store.sharing.lease = micros(20 * S);
    one.says(&mut store, BEGIN, want(100));
    one.says(
        &mut store,
        BEGIN + S,
        want(0)
            .settles(BEGIN, bulk(60))
            .settles(BEGIN + S, bulk(40)),
    );
    let early = two.says(&mut store, BEGIN + 7 * S, want(10));
    assert_eq!((early.now(), early.later()), (0, vec![]));
    assert_eq!(early.next.map(us), Some(3 * S + 1));
    let first = two.says(&mut store, BEGIN + 8 * S + MS, want(10));
    assert_eq!(first.later(), [(2 * S - MS + 1, 10)]);
    let later = BEGIN + 9 * S + MS;
    let rest = one.says(&mut store, later, want(200).own(90).soon(0));
    assert_eq!(rest.later(), [(S - MS + 1, 50), (2 * S - MS + 1, 40)]);
    assert_eq!(rest.used, 100);
    // Who gives back what is not ready yet says when it is.
    let ready = BEGIN + W + 1;
    let back = want(0).settles(ready - W, bulk(10));
    assert_eq!(two.says(&mut store, later, back).used, 100);
    let again = one.says(&mut store, later, want(200).own(90).soon(90));
    assert_eq!(again.later(), [(S - MS + 2, 10)]);
}

#[test]
fn what_is_used_beyond_a_lower_quota_must_be_free_first() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    let over = [1, 2, 3, 4].map(|nth| (BEGIN - W + nth * 100 * MS, bulk(25)));
    one.says(&mut store, BEGIN, want(100));
    let over = over
        .into_iter()
        .fold(want(0), |call, (anchor, slots)| call.settles(anchor, slots));
    one.says(&mut store, BEGIN, over);
    // The server says that it is 40 only: 60 must go first.
    let told = LimitCall {
        told: Some((40, tick(BEGIN))),
        ..want(100)
    };
    let answer = two.says(&mut store, BEGIN, told);
    assert_eq!(answer.now(), 0);
    assert_eq!(answer.later(), [(300 * MS + 1, 15), (400 * MS + 1, 25)]);
    // An older word changes nothing, a newer one does.
    let word = |quota, sent| LimitCall {
        told: Some((quota, tick(sent))),
        ..want(100)
    };
    let later = BEGIN + 2 * W;
    let old = two.says(&mut store, later, word(90, BEGIN - S).returns(bulk(40)));
    assert_eq!(old.now(), 40);
    let new = two.says(&mut store, later, word(90, BEGIN + S).own(40));
    assert_eq!(new.now(), 50);
    let all = two.says(&mut store, later, word(100, later).own(90));
    assert_eq!(all.now(), 10);
}

#[test]
fn a_large_quota_is_kept_on_a_grid_that_only_delays() {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    let big = || rolling(10_000, W);
    one.says(&mut store, BEGIN, big().wants(bulk(10_000)));
    let mut now = BEGIN;
    for _ in 0..100 {
        let over = (0..100).fold(big(), |call, nth| call.settles(now + nth * MS, bulk(1)));
        now += 100 * MS;
        one.says(&mut store, now, over);
    }
    let bytes = store.command("STRLEN", &[]).unwrap();
    let Value::Int(bytes) = bytes else {
        unreachable!("it is a length");
    };
    assert!(bytes < 257 * 16, "{bytes}");
    store.sharing.lease = Duration::ZERO;
    for (after, least, most) in [
        (0, 0, 0),
        (W / 2, 4_900, 5_001),
        (W + 40 * MS, 10_000, 10_000),
    ] {
        let at = BEGIN + W + after;
        let free = one.says(&mut store, at, big().wants(bulk(10_000)));
        assert!(
            (least..=most).contains(&free.now()),
            "{after}: {}",
            free.now()
        );
        one.says(&mut store, at, big().returns(bulk(free.now())));
    }
}

#[test]
fn all_members_get_what_they_want_up_to_one_level() {
    let mut store = Store::new();
    let mut members: Vec<_> = (0..4).map(|nth| Member::new(nth.to_string())).collect();
    // The first one had all of it, and the others come.
    members[0].says(&mut store, BEGIN, want(100));
    let wants = [500, 500, 500, 10];
    for (member, wanted) in members.iter_mut().zip(wants).skip(1) {
        assert_eq!(member.says(&mut store, BEGIN, want(wanted)).now(), 0);
    }
    let over = want(500).own(100).soon(0).settles(BEGIN - 9 * S, bulk(100));
    let answer = members[0].says(&mut store, BEGIN, over);
    // 10 for the modest one, 30 for each of the others.
    assert_eq!((answer.now(), answer.later()), (0, vec![(S + 1, 30)]));
    assert!(answer.contended);
    let later = BEGIN + S + 1;
    for (member, level) in members.iter_mut().zip([30, 30, 30, 10]).skip(1) {
        assert_eq!(
            member
                .says(&mut store, later, want(500.min(level * 20)))
                .now(),
            level
        );
    }
}

#[test]
fn nobody_is_held_back_for_those_who_want_nothing() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    assert_eq!(two.says(&mut store, BEGIN, want(10)).now(), 10);
    let answer = one.says(&mut store, BEGIN, want(500));
    assert_eq!((answer.now(), answer.contended), (90, false));
    // Nor for the dead, who are remembered for two leases where they only waited.
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    one.says(&mut store, BEGIN, want(100));
    two.says(&mut store, BEGIN, want(100));
    one.says(&mut store, BEGIN + S, want(0).returns(bulk(100)));
    assert_eq!(one.says(&mut store, BEGIN + S, want(100)).now(), 50);
    assert_eq!(
        one.says(&mut store, BEGIN + 10 * S + 1, want(100).own(50))
            .now(),
        50
    );
}

#[test]
fn what_is_asked_for_in_advance_is_lent_only_if_nobody_else_wants_it() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    let spare = |slots| LimitCall {
        spare: 20,
        ..want(slots)
    };
    assert_eq!(one.says(&mut store, BEGIN, spare(5)).now(), 25);
    // Of what is free, only half.
    two.says(&mut store, BEGIN, want(65));
    assert_eq!(one.says(&mut store, BEGIN, spare(0).own(25)).now(), 5);
    two.says(&mut store, BEGIN, want(65).own(65));
    one.says(&mut store, BEGIN, want(0).own(30).returns(bulk(10)));
    assert_eq!(one.says(&mut store, BEGIN, spare(0).own(20)).now(), 0);
}

#[test]
fn two_limits_of_one_key_are_lent_by_one_call() {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    let search = LimitCall {
        limit: 1,
        ..rolling(5, S).wants(bulk(9))
    };
    let answer = one.asks(&mut store, BEGIN, vec![search, want(9)]);
    let now: Vec<_> = answer.limits.iter().map(LimitAnswer::now).collect();
    assert_eq!(now, [5, 9]);
}

#[test]
fn pauses_are_told_to_all_and_the_later_end_counts() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    let pause = |member: &mut Member, store: &mut Store, subject, length: Option<u64>| {
        let mut call = member.next(BEGIN, vec![want(0)]);
        call.pauses.push((subject, length.map(micros)));
        let answer = store.call(BEGIN, &member.name, &call);
        member.hear(&call, &answer);
    };
    pause(&mut one, &mut store, Subject::Token, Some(3 * S));
    pause(&mut one, &mut store, Subject::Limit(1), Some(S));
    pause(&mut two, &mut store, Subject::Token, Some(2 * S));
    let mut answer = two.asks(&mut store, BEGIN + S / 2, vec![want(0)]);
    answer.pauses.sort_by_key(|(_, length)| *length);
    let expected = [
        (Subject::Limit(1), micros(S / 2)),
        (Subject::Token, micros(3 * S - S / 2)),
    ];
    assert_eq!(answer.pauses, expected);
    pause(&mut one, &mut store, Subject::Token, None);
    let answer = two.asks(&mut store, BEGIN + S, vec![want(0)]);
    assert_eq!(answer.pauses, []);
}

#[test]
fn what_the_server_counts_beyond_all_members_is_of_others() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    one.says(&mut store, BEGIN, want(20));
    let known = two.says(&mut store, BEGIN, want(10));
    let seen = |used, arrived| LimitCall {
        seen: Some(Seen {
            used,
            expired: known.expired,
            arrived: tick(arrived),
        }),
        ..want(0)
    };
    // All of it can be ours.
    assert_eq!(
        two.says(&mut store, BEGIN + S, seen(30, BEGIN + S)).foreign,
        0
    );
    let answer = two.says(&mut store, BEGIN + 2 * S, seen(42, BEGIN + S));
    assert_eq!((answer.foreign, answer.used), (12, 42));
    // What is known already is not counted again.
    assert_eq!(
        two.says(&mut store, BEGIN + 2 * S, seen(42, BEGIN + 2 * S))
            .foreign,
        0
    );
    assert_eq!(
        one.says(&mut store, BEGIN + 2 * S, want(100).own(20)).now(),
        58
    );
    // It is free one window after the response.
    let answer = one.says(&mut store, BEGIN + 10 * S, want(100).own(78));
    assert_eq!(answer.later(), [(S + 1, 12)]);
}

#[test]
fn what_was_ours_when_the_server_counted_is_not_of_others() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    let known = one.says(&mut store, BEGIN, want(1));
    two.says(&mut store, BEGIN, want(60));
    two.says(&mut store, BEGIN + S, want(0).settles(BEGIN + S, bulk(60)));
    // 60 have expired before the answer comes; and 20 more are told so late that they never cooled here.
    two.says(&mut store, BEGIN + S, want(20));
    let later = BEGIN + S + W + 1;
    two.says(&mut store, later, want(0).settles(BEGIN + S, bulk(20)));
    let seen = LimitCall {
        seen: Some(Seen {
            used: 81,
            expired: known.expired,
            arrived: tick(later),
        }),
        ..want(0)
    };
    assert_eq!(one.says(&mut store, later, seen).foreign, 0);
}
