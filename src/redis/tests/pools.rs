//! Daily pools.

use super::*;

/// The day ends so long after the test began.
const DAY: u64 = 3_600 * S;
const NEXT: u64 = 24 * DAY;

fn reset(after: u64) -> SystemTime {
    UNIX_EPOCH + micros(CLOCK + after)
}

fn pool(quota: u32, reserved: u32) -> LimitCall {
    at(quota, reserved, [DAY, DAY + NEXT])
}

fn at(quota: u32, reserved: u32, resets: [u64; 2]) -> LimitCall {
    LimitCall {
        limit: 2,
        ..nothing_of(SharedRule::Pool {
            quota,
            unreserved: quota - reserved,
            resets: resets.map(reset),
        })
    }
}

fn want(slots: u32) -> LimitCall {
    pool(100, 0).wants(bulk(slots))
}

fn both() -> (Store, Member, Member) {
    (Store::new(), Member::new("one"), Member::new("two"))
}

#[test]
fn no_more_is_lent_in_a_day_than_the_pool_has() {
    let (mut store, mut one, mut two) = both();
    assert_eq!(one.says(&mut store, BEGIN, want(60)).now(), 60);
    assert_eq!(two.says(&mut store, BEGIN, want(60)).now(), 40);
    let over = want(9).settles(BEGIN, bulk(60));
    let answer = one.says(&mut store, BEGIN + S, over);
    assert_eq!((answer.now(), answer.used), (0, 60));
    let over = want(9).settles(BEGIN, bulk(30)).returns(bulk(10));
    let answer = two.says(&mut store, BEGIN + S, over);
    assert_eq!((answer.now(), answer.used), (9, 90));
    two.says(&mut store, BEGIN + S, want(0).settles(BEGIN, bulk(9)));
    let answer = one.says(&mut store, BEGIN + S, want(9));
    assert_eq!((answer.now(), answer.used, answer.next), (1, 99, None));
    let over = want(9).settles(BEGIN + S, bulk(1));
    let answer = one.says(&mut store, BEGIN + S, over);
    assert_eq!((answer.now(), answer.next), (0, Some(micros(DAY - S))));
}

#[test]
fn bulk_keeps_off_what_is_reserved_of_a_day() {
    let (mut store, mut one, mut two) = both();
    let want = |slots| pool(100, 20).wants(slots);
    assert_eq!(one.says(&mut store, BEGIN, want(bulk(200))).now(), 80);
    assert_eq!(two.says(&mut store, BEGIN, want(interactive(15))).now(), 15);
    let over = want(bulk(9)).settles(BEGIN, interactive(15));
    assert_eq!(two.says(&mut store, BEGIN, over).now(), 0);
    assert_eq!(two.says(&mut store, BEGIN, want(interactive(9))).now(), 5);
}

#[test]
fn a_pool_is_filled_again_at_its_reset_but_for_what_is_in_flight() {
    let (mut store, mut one, mut two) = both();
    store.sharing.lease = micros(2 * DAY);
    one.says(&mut store, BEGIN, want(60));
    two.says(&mut store, BEGIN, want(40));
    two.says(&mut store, BEGIN, want(0).settles(BEGIN, bulk(30)));
    // Given up shortly before, and perhaps counted after.
    let dusk = BEGIN + DAY - S / 2;
    two.says(
        &mut store,
        dusk,
        want(0).settles(BEGIN + DAY + S / 2, bulk(10)),
    );
    assert_eq!(two.says(&mut store, dusk, want(9)).now(), 0);
    let next = |slots| at(100, 0, [DAY + NEXT, DAY + 2 * NEXT]).wants(bulk(slots));
    let answer = two.says(&mut store, BEGIN + DAY, next(99));
    assert_eq!((answer.now(), answer.used), (30, 10));
    // What was over before counts for the day before; the rest is of today.
    let old = next(0).settles(BEGIN + DAY - 2 * S, bulk(20));
    assert_eq!(one.says(&mut store, BEGIN + DAY + S, old).used, 10);
    let new = next(99).settles(BEGIN + DAY + S, bulk(40));
    let answer = one.says(&mut store, BEGIN + DAY + S, new);
    assert_eq!((answer.now(), answer.used), (20, 50));
}

#[test]
fn a_clock_that_is_wrong_by_an_hour_neither_refills_a_pool_nor_keeps_it_empty() {
    for skew in [-2, -1, 1, 2, 25] {
        // The clock of two is ahead by so many hours, or behind.
        let local = |now: u64, slots| {
            let shown = i64::try_from(now - BEGIN).unwrap() + skew * i64::try_from(DAY).unwrap();
            let day = i64::try_from(DAY).unwrap();
            let next = i64::try_from(NEXT).unwrap();
            let first = day + (shown - day).div_euclid(next) * next + next;
            let [first, second] = [first, first + next].map(|reset| u64::try_from(reset).unwrap());
            at(100, 0, [first, second]).wants(bulk(slots))
        };
        let right = |now, slots| match now < BEGIN + DAY {
            true => at(100, 0, [DAY, DAY + NEXT]).wants(bulk(slots)),
            false => at(100, 0, [DAY + NEXT, DAY + 2 * NEXT]).wants(bulk(slots)),
        };
        let (mut store, mut one, mut two) = both();
        store.sharing.lease = micros(2 * DAY);
        two.says(&mut store, BEGIN, local(BEGIN, 60));
        two.says(&mut store, BEGIN, local(BEGIN, 0).settles(BEGIN, bulk(60)));
        assert_eq!(
            one.says(&mut store, BEGIN, right(BEGIN, 99)).now(),
            40,
            "{skew}"
        );
        one.says(&mut store, BEGIN, right(BEGIN, 0).settles(BEGIN, bulk(40)));
        let before = BEGIN + DAY - 1;
        assert_eq!(
            two.says(&mut store, before, local(before, 9)).now(),
            0,
            "{skew}"
        );
        assert_eq!(
            one.says(&mut store, before, right(before, 9)).now(),
            0,
            "{skew}"
        );
        assert_eq!(
            two.says(&mut store, before, local(before, 9)).now(),
            0,
            "{skew}"
        );
        let after = BEGIN + DAY;
        assert_eq!(
            two.says(&mut store, after, local(after, 60)).now(),
            60,
            "{skew}"
        );
        assert_eq!(
            one.says(&mut store, after, right(after, 99)).now(),
            40,
            "{skew}"
        );
    }
}

#[test]
fn what_the_server_counts_beyond_all_members_lessens_the_pool() {
    let (mut store, mut one, mut two) = both();
    store.sharing.lease = micros(2 * DAY);
    let dawn = BEGIN + DAY + 301 * S;
    let next = |slots| at(100, 0, [DAY + NEXT, DAY + 2 * NEXT]).wants(bulk(slots));
    let seen = |used, arrived| LimitCall {
        seen: Some(Seen {
            used,
            expired: 0,
            arrived: tick(arrived),
        }),
        ..next(0)
    };
    one.says(&mut store, BEGIN, want(0));
    // It may still be meant of the day before.
    one.asks(&mut store, BEGIN + DAY, vec![next(20)]);
    let answer = one.says(&mut store, BEGIN + DAY + S, seen(70, BEGIN + DAY + S));
    assert_eq!((answer.foreign, answer.used), (0, 0));
    one.says(&mut store, dawn, next(0).returns(bulk(20)));
    one.says(&mut store, dawn, next(20));
    let answer = one.says(&mut store, dawn, seen(70, dawn));
    assert_eq!((answer.foreign, answer.used), (50, 50));
    assert_eq!(two.says(&mut store, dawn, next(99)).now(), 30);
}

#[test]
fn a_dead_members_requests_count_for_the_day() {
    let (mut store, mut one, mut two) = both();
    one.says(&mut store, BEGIN, want(60));
    two.says(&mut store, BEGIN, want(0));
    let later = BEGIN + 36 * S;
    two.says(&mut store, later, want(0));
    let answer = two.says(&mut store, later, want(99));
    assert_eq!((answer.now(), answer.used), (40, 60));
    assert_eq!(
        store.gone().unwrap().div_ceil(S),
        (BEGIN + DAY).div_ceil(S) + 1
    );
}

#[test]
fn a_pool_that_was_lost_is_what_its_members_tell_again() {
    let (mut store, mut one, mut two) = both();
    one.says(&mut store, BEGIN, want(30));
    one.says(&mut store, BEGIN, want(0).settles(BEGIN, bulk(30)));
    two.says(&mut store, BEGIN, want(20));
    two.says(&mut store, BEGIN, want(0).settles(BEGIN, bulk(20)));
    let copy = store.contents();
    let tell = |member: &mut Member, store: &mut Store, used| {
        let lost = member.asks(store, BEGIN + S, vec![want(0)]);
        assert_eq!(lost.outcome, Outcome::Rejoin);
        let all = want(0).settles(BEGIN + S, bulk(used));
        member.asks(store, BEGIN + S, vec![all]).limits[0].used
    };
    store.lose();
    assert_eq!(tell(&mut one, &mut store, 30), 30);
    assert_eq!(tell(&mut two, &mut store, 20), 50);
    // Where only the last writes were lost, most of what is told again is known.
    let (mut store, mut one, mut two) = both();
    one.says(&mut store, BEGIN, want(0));
    two.says(&mut store, BEGIN, want(0));
    one.says(&mut store, BEGIN, want(40));
    one.says(&mut store, BEGIN, want(0).settles(BEGIN, bulk(40)));
    store.put_back(&copy);
    let answer = one.asks(&mut store, BEGIN + S, vec![want(0)]);
    assert_eq!(answer.outcome, Outcome::Rejoin);
    let all = |used| want(0).settles(BEGIN + S, bulk(used));
    assert_eq!(
        one.asks(&mut store, BEGIN + S, vec![all(40)]).limits[0].used,
        50
    );
    two.asks(&mut store, BEGIN + S, vec![want(0)]);
    assert_eq!(
        two.asks(&mut store, BEGIN + S, vec![all(20)]).limits[0].used,
        60
    );
}
