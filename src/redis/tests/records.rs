//! Members that come, go and come back; calls that are lost; records that are lost.

use super::*;

const W: u64 = 10 * S;
const LEASE: u64 = 5 * S;
const TIMEOUT: u64 = 30 * S;
const LATE: u64 = S;

fn want(slots: u32) -> LimitCall {
    rolling(100, W).wants(bulk(slots))
}

fn first(first: FirstWindow) -> LimitCall {
    nothing_of(SharedRule::Rolling {
        quota: 100,
        unreserved: 100,
        window: micros(W),
        first,
    })
}

/// A record that was begun long ago, and its first member.
fn old() -> (Store, Member) {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    assert_eq!(one.says(&mut store, BEGIN, want(40)).now(), 40);
    (store, one)
}

#[test]
fn a_call_that_comes_again_is_answered_again_and_changes_nothing() {
    let (mut store, mut one) = old();
    let over = want(100)
        .own(40)
        .soon(35)
        .settles(BEGIN + 500 * MS - W, bulk(5));
    let call = one.next(BEGIN, vec![over]);
    let answer = store.call(BEGIN, "one", &call);
    assert_eq!(answer.limits[0].now(), 60);
    assert_eq!(answer.limits[0].later(), [(500 * MS + 1, 5)]);
    let again = store.call(BEGIN + 200 * MS, "one", &call);
    assert_eq!(again.limits[0].now(), 60);
    assert_eq!(again.limits[0].later(), [(300 * MS + 1, 5)]);
    let again = store.call(BEGIN + S, "one", &call);
    assert_eq!(again.limits[0].now(), 65);
    one.hear(&call, &again);
    assert_eq!(one.says(&mut store, BEGIN + S, want(100)).used, 100);
    let stale = store.call(BEGIN + S, "one", &call);
    assert_eq!(stale.outcome, Outcome::Stale);
}

#[test]
fn a_call_that_was_given_up_leaves_nothing_behind() {
    let (mut store, mut one) = old();
    // It is carried out, but nobody hears the answer.
    let call = one.next(BEGIN, vec![want(60)]);
    store.call(BEGIN, "one", &call);
    let answer = one.asks(&mut store, BEGIN, vec![want(1)]);
    assert_eq!((answer.outcome, answer.born), (Outcome::Rejoin, one.born));
    one.join = Join::Again;
    let answer = one.asks(&mut store, BEGIN, vec![want(0).holds(bulk(40)).own(40)]);
    assert_eq!(answer.limits[0].used, 40);
}

#[test]
fn the_slots_of_a_dead_member_are_free_one_window_after_its_last_request() {
    let (mut store, _dead) = old();
    let mut two = Member::new("two");
    two.says(&mut store, BEGIN, want(60));
    let end = BEGIN + LEASE + TIMEOUT + W;
    let mut now = BEGIN;
    while now < end {
        assert_eq!(two.says(&mut store, now, want(1).own(60)).now(), 0);
        now += LEASE;
    }
    let answer = two.says(&mut store, end, want(1).own(60));
    assert_eq!((answer.now(), answer.next.map(us)), (0, Some(1)));
    let answer = two.says(&mut store, end + 1, want(100).own(60));
    assert_eq!((answer.now(), answer.used), (40, 100));
}

#[test]
fn who_comes_back_in_time_is_charged_once() {
    let (mut store, mut one) = old();
    let mut two = Member::new("two");
    let later = BEGIN + 2 * LEASE;
    two.says(&mut store, BEGIN, want(0));
    two.says(&mut store, later, want(0));
    assert_eq!(two.says(&mut store, later, want(100)).now(), 60);
    one.join = Join::Again;
    let back = want(0)
        .holds(bulk(10))
        .own(40)
        .settles(later - W + S, bulk(30));
    let answer = one.asks(&mut store, later, vec![back]);
    assert_eq!(answer.limits[0].used, 100);
    let answer = two.says(&mut store, later + S + 1, want(100).own(60));
    assert_eq!(answer.now(), 30);
}

#[test]
fn a_member_that_holds_nothing_is_forgotten_after_its_lease_and_one_that_waits_after_two() {
    for (waits, leases) in [(0, 1), (70, 2)] {
        let (mut store, mut one) = old();
        let mut two = Member::new("two");
        two.says(&mut store, BEGIN, want(60));
        one.says(&mut store, BEGIN, want(0).returns(bulk(40)));
        two.says(&mut store, BEGIN, want(40));
        one.says(&mut store, BEGIN, want(waits));
        let end = BEGIN + leases * LEASE;
        two.says(&mut store, end, want(0).own(100));
        let answer = one.asks(&mut store, end, vec![want(waits)]);
        assert_eq!(answer.outcome, Outcome::Done);
        let end = end + leases * LEASE + 1;
        two.says(&mut store, end, want(0).own(100));
        let answer = one.asks(&mut store, end, vec![want(9)]);
        assert_eq!((answer.outcome, answer.born), (Outcome::Rejoin, one.born));
        one.join = Join::Again;
        let answer = one.asks(&mut store, end, vec![want(9)]);
        assert!(!answer.limits[0].recovering);
    }
}

#[test]
fn nothing_is_done_for_a_member_of_another_record() {
    let (mut store, mut one) = old();
    store.lose();
    let answer = one.asks(&mut store, BEGIN, vec![want(9)]);
    assert_eq!((answer.outcome, answer.born), (Outcome::Rejoin, 0));
    assert_eq!(store.gone(), None);
    // Nor if it has learned nothing of the loss.
    one.join = Join::Again;
    let answer = one.asks(&mut store, BEGIN, vec![want(9)]);
    assert_eq!((answer.outcome, answer.born), (Outcome::Rejoin, 0));
}

#[test]
fn after_a_loss_each_gets_no_more_than_its_right_until_all_must_have_come() {
    let (mut store, mut one) = old();
    let lost = BEGIN + S;
    store.lose();
    one.asks(&mut store, lost, vec![want(0)]);
    let anew = |own: u32, cap| LimitCall {
        cap,
        ..first(FirstWindow::Full).own(own).wants(bulk(100))
    };
    let told = anew(40, Some(50)).settles(BEGIN, bulk(30)).holds(bulk(10));
    let answer = one.asks(&mut store, lost, vec![told]);
    assert_eq!(answer.outcome, Outcome::Done);
    let limit = &answer.limits[0];
    assert_eq!((limit.now(), limit.used, limit.recovering), (10, 50, true));
    let ends = LEASE + W + LATE;
    assert_eq!(limit.next.map(us), Some(W - S + 1));
    let mut two = Member::new("two");
    let answer = two.says(&mut store, lost + S, anew(0, None));
    assert_eq!((answer.now(), answer.recovering), (0, true));
    // The last moment, and the next one. What has cooled in the meantime does not help before.
    one.says(&mut store, lost + 10 * S, anew(50, Some(50)));
    one.says(&mut store, lost + 14 * S, anew(50, Some(50)));
    let answer = two.asks(&mut store, lost + ends - 1, vec![anew(0, None)]);
    assert_eq!(answer.outcome, Outcome::Rejoin);
    two.join = Join::Again;
    let answer = two.says(&mut store, lost + ends - 1, anew(0, None));
    assert_eq!((answer.now(), answer.next.map(us)), (0, Some(1)));
    let answer = two.says(&mut store, lost + ends, anew(0, None));
    assert!(answer.now() > 0 && !answer.recovering);
}

#[test]
fn an_answer_with_figures_ends_the_probing() {
    let probe = |own| first(FirstWindow::Probe).own(own).wants(bulk(100));
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    store.up_since = BEGIN;
    let answer = one.says(&mut store, BEGIN, probe(0));
    assert_eq!((answer.now(), answer.next.map(us)), (0, Some(LEASE)));
    // When all that live must have come, one asks.
    let now = BEGIN + LEASE;
    let known = one.says(&mut store, now, probe(0));
    assert_eq!((known.now(), known.recovering), (1, true));
    let mut two = Member::new("two");
    assert_eq!(two.says(&mut store, now, probe(0)).now(), 0);
    let over = now + 100 * MS;
    let seen = LimitCall {
        seen: Some(Seen {
            used: 31,
            expired: known.expired,
            arrived: tick(over),
        }),
        ..first(FirstWindow::Probe).own(1).settles(over, bulk(1))
    };
    let answer = one.says(&mut store, over, seen);
    assert_eq!((answer.foreign, answer.recovering), (30, false));
    assert_eq!(two.says(&mut store, over, probe(0)).now(), 69);
}

#[test]
fn where_nothing_is_assumed_of_the_time_before_only_a_lease_is_waited_for() {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    store.up_since = BEGIN;
    for early in [BEGIN + 4 * S, BEGIN + LEASE - 1] {
        let answer = one.says(&mut store, early, want(9));
        assert_eq!((answer.now(), answer.recovering), (0, true));
    }
    let answer = one.says(&mut store, BEGIN + LEASE, want(9));
    assert_eq!((answer.now(), answer.recovering), (9, false));
    // A server that has been up for long has lost nothing that anybody remembers.
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    let answer = one.says(&mut store, BEGIN, first(FirstWindow::Full).wants(bulk(100)));
    assert_eq!((answer.now(), answer.recovering), (100, false));
}

#[test]
fn a_record_that_was_not_the_first_recovers_when_somebody_remembers_another() {
    let (mut store, mut one) = old();
    store.lose();
    let mut two = Member::new("two");
    assert_eq!(two.says(&mut store, BEGIN + MS, want(10)).now(), 10);
    let answer = one.asks(&mut store, BEGIN + S, vec![want(0)]);
    assert_eq!(answer.outcome, Outcome::Rejoin);
    let answer = one.asks(&mut store, BEGIN + S, vec![want(0).holds(bulk(40)).own(40)]);
    assert_eq!(
        (answer.limits[0].used, answer.limits[0].recovering),
        (50, true)
    );
    // Those who come later still are expected now.
    let now = BEGIN + S + LEASE;
    two.says(&mut store, now, want(0).own(10));
    let mut third = Member::new("third");
    (third.join, third.born) = (Join::Anew, one.born - 1);
    let answer = third.asks(&mut store, now, vec![want(9)]);
    assert_eq!(
        (answer.limits[0].now(), answer.limits[0].recovering),
        (9, false)
    );
}

#[test]
fn lost_writes_begin_a_new_record() {
    let (mut store, mut one) = old();
    let mut two = Member::new("two");
    two.says(&mut store, BEGIN, want(10));
    let copy = store.contents();
    let born = one.born;
    one.says(&mut store, BEGIN + S, want(50).own(40));
    store.put_back(&copy);
    let answer = one.asks(&mut store, BEGIN + 2 * S, vec![want(0)]);
    assert_eq!(answer.outcome, Outcome::Rejoin);
    assert_ne!(answer.born, born);
    let told = |held| want(100).holds(bulk(held)).own(held);
    let answer = one.asks(&mut store, BEGIN + 2 * S, vec![told(90)]);
    assert_eq!(
        (answer.limits[0].used, answer.limits[0].recovering),
        (90, true)
    );
    let answer = two.asks(&mut store, BEGIN + 2 * S, vec![want(0)]);
    assert_eq!(answer.outcome, Outcome::Rejoin);
    let answer = two.asks(&mut store, BEGIN + 2 * S, vec![told(10)]);
    assert_eq!((answer.limits[0].used, answer.limits[0].now()), (100, 0));
    // The same if it is its joining that was lost.
    let mut third = Member::new("third");
    third.says(&mut store, BEGIN + 3 * S, want(0));
    store.put_back(&copy);
    third.born = born;
    let answer = third.asks(&mut store, BEGIN + 4 * S, vec![want(0)]);
    assert_eq!(answer.outcome, Outcome::Rejoin);
    assert_ne!(answer.born, born);
}

#[test]
fn after_an_outage_for_all_the_first_to_return_waits_for_the_others() {
    let (mut store, mut one) = old();
    let mut two = Member::new("two");
    two.says(&mut store, BEGIN + S, want(10));
    two.says(&mut store, BEGIN + 2 * S, want(0).own(10));
    let later = BEGIN + 12 * S;
    (one.join, one.cut_off) = (Join::Again, Some(BEGIN + 2 * S));
    let back = LimitCall {
        cap: Some(50),
        ..want(100).holds(bulk(20)).own(20)
    };
    let answer = one.asks(&mut store, later, vec![back.clone()]);
    let limit = &answer.limits[0];
    assert_eq!((limit.recovering, limit.now()), (true, 30));
    // What another one does meanwhile says nothing, unless it hears the answer.
    for heard in [false, true] {
        let (mut store, mut one) = old();
        let mut two = Member::new("two");
        two.says(&mut store, BEGIN, want(0));
        two.says(&mut store, later - 2, want(10));
        if heard {
            two.says(&mut store, later - 1, want(0).own(10));
        }
        (one.join, one.cut_off) = (Join::Again, Some(BEGIN + 2 * S));
        let answer = one.asks(&mut store, later, vec![back.clone()]);
        assert_eq!(answer.limits[0].recovering, !heard);
    }
}

#[test]
fn who_is_new_waits_too_where_all_who_had_something_to_do_are_silent() {
    let end = BEGIN + LEASE;
    for (now, waits) in [(end, false), (end + 1, true)] {
        let (mut store, _silent) = old();
        let mut two = Member::new("two");
        let answer = two.says(&mut store, now, want(9));
        assert_eq!(answer.recovering, waits);
        assert_eq!(answer.now(), if waits { 0 } else { 9 });
    }
    // Where they had nothing more to do, nobody is waited for; nor where another one is answered.
    let (mut store, mut one) = old();
    one.says(&mut store, BEGIN, want(0).settles(BEGIN, bulk(40)));
    let mut two = Member::new("two");
    let answer = two.says(&mut store, BEGIN + 3 * LEASE, want(9));
    assert_eq!((answer.now(), answer.recovering), (9, false));
    let (mut store, _dead) = old();
    let mut three = Member::new("three");
    for second in [0, 4, 6] {
        three.says(&mut store, BEGIN + second * S, want(0));
    }
    let mut two = Member::new("two");
    let answer = two.says(&mut store, BEGIN + 7 * S, want(9));
    assert_eq!((answer.now(), answer.recovering), (9, false));
}

#[test]
fn a_second_outage_begins_the_waiting_anew() {
    let (mut store, mut one) = old();
    let back = || LimitCall {
        cap: Some(50),
        ..want(100).holds(bulk(20)).own(50)
    };
    // The second one ends while the waiting for the first goes on, the third one when nobody has asked since its end.
    for outage in [10, 22, 60] {
        let now = BEGIN + outage * S;
        (one.join, one.cut_off) = (Join::Again, Some(now - S));
        let answer = one.asks(&mut store, now, vec![back()]);
        let limit = &answer.limits[0];
        assert_eq!((limit.recovering, limit.now()), (true, 0));
    }
    one.cut_off = None;
    let ends = BEGIN + 60 * S + LEASE + W + LATE;
    let full = || first(FirstWindow::Full);
    assert!(one.says(&mut store, ends - 1, full()).recovering);
    assert!(!one.says(&mut store, ends, full()).recovering);
}

#[test]
fn a_clock_that_is_set_back_frees_nothing_early_and_stops_nothing() {
    let (mut store, mut one) = old();
    let over = want(60).own(40).settles(BEGIN, bulk(40));
    one.says(&mut store, BEGIN + S, over);
    store.skew = -3_600_000_000;
    let answer = one.says(&mut store, BEGIN + 2 * S, want(1).own(100));
    // What passed since the last call is not known.
    assert_eq!(answer.next.map(us), Some(W - S + 1));
    let free = BEGIN + W + S + 1;
    for now in [BEGIN + 6 * S, BEGIN + 10 * S, free - 1] {
        assert_eq!(one.says(&mut store, now, want(0).own(100)).used, 100);
    }
    assert_eq!(one.says(&mut store, free, want(9).own(60)).now(), 9);
    // Leases last, too.
    let mut two = Member::new("two");
    two.says(&mut store, free, want(0));
    store.skew *= 2;
    two.says(&mut store, free + S, want(0));
    assert_eq!(one.says(&mut store, free + S, want(0)).used, 69);
}

#[test]
fn a_record_is_gone_when_it_says_nothing_more() {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    let mut lives_for = |now, limit| {
        one.says(&mut store, now, limit);
        // Some real time has passed.
        (store.gone().unwrap() - now).next_multiple_of(100 * MS)
    };
    // Held slots are known until their owner must be dead and they have cooled.
    assert_eq!(lives_for(BEGIN, want(1)), LEASE + TIMEOUT + W + S);
    let over = want(0).settles(BEGIN, bulk(1));
    assert_eq!(lives_for(BEGIN, over), W + S);
    assert_eq!(lives_for(BEGIN + 8 * S, want(0)), LEASE + S);
    let told = |quota| LimitCall {
        told: Some((quota, tick(BEGIN))),
        ..want(0)
    };
    assert_eq!(lives_for(BEGIN + 9 * S, told(100)), LEASE + S);
    assert_eq!(lives_for(BEGIN + 10 * S, told(90)), 59 * W + S);
}

#[test]
fn the_real_script_sets_a_time_to_live_in_real_time() {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    let fresh = RedisServer::start();
    let client = redis::Client::open(fresh.url()).unwrap();
    store.connection = client.get_connection().unwrap();
    store.script = Script::new(&crate::redis::script::source());
    let over = want(0).holds(bulk(1)).settles(BEGIN, bulk(1));
    let call = one.next(BEGIN, vec![over]);
    let arguments = store.arguments(BEGIN, "one", &call);
    let mut run = store.script.prepare_invoke();
    run.key(store.record()).arg(&arguments);
    let value: Value = run.invoke(&mut store.connection).unwrap();
    let answer = answer(value, &call, &store.names).unwrap();
    // The server has just been started.
    assert!(answer.limits[0].recovering);
    assert!(answer.time > UNIX_EPOCH + micros(CLOCK));
    let Value::Int(left) = store.command("PTTL", &[]).unwrap() else {
        unreachable!("it is a time");
    };
    assert!((45_000..=46_000).contains(&left), "{left}");
}

#[test]
fn what_is_no_record_is_refused_and_left_alone() {
    let packed = |value: &str| {
        let mut pack = redis::cmd("EVAL");
        pack.arg(format!("return cmsgpack.pack({value})")).arg(0);
        let connection = &mut Store::new().connection;
        pack.query::<Vec<u8>>(connection).unwrap()
    };
    let contents = [
        b"hello".to_vec(),
        Vec::new(),
        b"\xff\xff\xff".to_vec(),
        b"\xdd\xff\xff\xff\xff".to_vec(),
        packed("7"),
        packed("{ 1, 2, 3 }"),
        packed("{ v = 2, b = 1, t = 1, m = {}, p = {}, l = {} }"),
        packed("{ v = 1 }"),
        packed("{ v = 1, b = 1, t = 1, m = 3, p = {}, l = 'x' }"),
        packed("{ v = 1, b = 1, t = 9e99, m = { one = 5 }, p = {}, l = { rburst = {} } }"),
    ];
    for content in contents {
        let (mut store, mut one) = (Store::new(), Member::new("one"));
        store.command("SET", &[&content]).unwrap();
        let call = one.next(BEGIN, vec![want(1)]);
        let arguments = store.arguments(BEGIN, "one", &call);
        let error = store.run(BEGIN, &arguments).unwrap_err();
        assert!(error.code().is_some(), "{error}");
        assert_eq!(store.contents(), content);
    }
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    store.command("RPUSH", &[b"1"]).unwrap();
    let call = one.next(BEGIN, vec![want(1)]);
    let arguments = store.arguments(BEGIN, "one", &call);
    let error = store.run(BEGIN, &arguments).unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
}

#[test]
fn a_record_that_was_cut_short_is_refused() {
    let (mut store, mut one) = old();
    let whole = store.contents();
    for length in 0..whole.len() {
        store.command("SET", &[&whole[..length]]).unwrap();
        let call = one.next(BEGIN, vec![want(1)]);
        let arguments = store.arguments(BEGIN, "one", &call);
        assert!(store.run(BEGIN, &arguments).is_err(), "{length}");
    }
}

#[test]
fn who_was_away_for_so_long_that_a_part_of_its_slots_is_free_must_join_again() {
    let (mut store, mut one) = (Store::new(), Member::new("one"));
    let both = || {
        let search = LimitCall {
            limit: 1,
            ..rolling(5, S).wants(bulk(5))
        };
        vec![want(40), search]
    };
    one.asks(&mut store, BEGIN, both());
    // The narrow window is over.
    let later = BEGIN + LEASE + TIMEOUT + S + 1;
    let mut two = Member::new("two");
    two.asks(&mut store, later, both());
    assert_eq!(one.asks(&mut store, later, both()).outcome, Outcome::Rejoin);
}

#[test]
fn an_old_call_that_comes_when_its_member_is_forgotten_does_not_bring_it_back() {
    let (mut store, mut one, mut two) = (Store::new(), Member::new("one"), Member::new("two"));
    let first = one.next(BEGIN, vec![want(40)]);
    let heard = store.call(BEGIN, "one", &first);
    one.hear(&first, &heard);
    two.says(&mut store, BEGIN, want(0));
    let later = BEGIN + LEASE + TIMEOUT + W + 1;
    assert_eq!(two.says(&mut store, later, want(100)).now(), 100);
    store.call(later, "one", &first);
    let answer = one.asks(&mut store, later, vec![want(0).own(40)]);
    assert_eq!(answer.outcome, Outcome::Rejoin);
}
