//! Daily pools: never more than the quota counted between two midnights of the zone, whenever the server counts what was in
//! flight; and a full pool again after midnight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::Index;
use tower_quota::core::{Admission, Keys, Ledger, Now, Permit, Progress, Subject, Tick};
use tower_quota::plan::{Lane, Limit, Plan, RouteClass, Rule, Zone};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// 2026-03-28T00:00:00Z, the day before the clocks of Berlin go forward.
const START: u64 = 1_774_656_000;
const GENERAL: RouteClass = RouteClass::General;

/// The monotonic clock starts anywhere.
fn at(seconds: u64) -> Now {
    Now {
        tick: Tick::from(Duration::from_secs(77 + seconds)),
        wall: wall(seconds),
    }
}

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(START + seconds)
}

fn seconds(tick: Tick) -> u64 {
    tick.since_origin().as_secs() - 77
}

fn ledger(quota: u32, zone: Zone) -> Ledger {
    Ledger::new(
        &Plan::builder("daily")
            .limit(Limit::daily("day", quota, zone))
            .build()
            .unwrap(),
    )
}

fn admit(ledger: &mut Ledger, now: u64) -> Option<Permit> {
    match ledger.admit(at(now), Keys::SHARED, GENERAL, Lane::Bulk, at(now).tick) {
        Admission::Granted(permit) => Some(permit),
        Admission::Denied(_) => None,
        Admission::Waiting(waiter) => match ledger.poll(at(now), waiter, None) {
            Progress::Granted(permit) => Some(permit),
            _ => None,
        },
    }
}

fn send(ledger: &mut Ledger, now: u64) -> Option<Permit> {
    let mut permit = admit(ledger, now)?;
    ledger
        .send(at(now), &mut permit, Tick::NEVER)
        .expect("nothing is paused");
    Some(permit)
}

/// A response just after midnight may belong to a request that the server counted just after midnight.
#[test]
fn what_is_in_flight_across_midnight_counts_for_both_days() {
    for by_response in [true, false] {
        let mut ledger = ledger(2, Zone::UTC);
        let permits = [
            send(&mut ledger, DAY - 1).unwrap(),
            send(&mut ledger, DAY - 1).unwrap(),
        ];
        for permit in permits {
            if by_response {
                // The ledger hears nothing else in between.
                ledger.settle(at(DAY + 1), permit, None);
            } else {
                // Given up before midnight, but it may still arrive after it.
                ledger.abandon(at(DAY - 1), permit);
            }
        }
        assert!(
            admit(&mut ledger, DAY + 2).is_none(),
            "the server may have counted two today; response: {by_response}"
        );
        assert!(admit(&mut ledger, 2 * DAY).is_some());
    }
}

#[test]
fn what_was_answered_before_midnight_counts_for_one_day() {
    let mut ledger = ledger(2, Zone::UTC);
    for _ in 0..2 {
        let permit = send(&mut ledger, DAY - 10).unwrap();
        ledger.settle(at(DAY - 9), permit, None);
    }
    assert!(admit(&mut ledger, DAY - 1).is_none());
    let refunded = admit(&mut ledger, DAY).unwrap();
    ledger.refund(at(DAY), refunded);
    assert!(admit(&mut ledger, DAY).is_some());
    assert!(admit(&mut ledger, DAY).is_some());
    assert!(admit(&mut ledger, DAY).is_none());
}

#[test]
fn who_waits_for_midnight_is_told_when_it_comes() {
    let berlin = Zone::named("Europe/Berlin").unwrap();
    let mut ledger = ledger(1, berlin);
    // The 29th of March begins at 23:00Z of the 28th and has 23 hours.
    let permit = send(&mut ledger, 23 * HOUR).unwrap();
    ledger.settle(at(23 * HOUR), permit, None);
    let Admission::Waiting(waiter) = ledger.admit(
        at(23 * HOUR + 1),
        Keys::SHARED,
        GENERAL,
        Lane::Bulk,
        Tick::NEVER,
    ) else {
        panic!("the day is used up");
    };
    let Progress::Waiting { waiter, until } = ledger.poll(at(23 * HOUR + 1), waiter, None) else {
        panic!("the day is used up");
    };
    assert_eq!(until.map(seconds), Some(46 * HOUR));
    assert_eq!(
        ledger
            .next_reset(at(23 * HOUR + 1), Keys::SHARED, 0)
            .map(seconds),
        Some(46 * HOUR)
    );
    assert!(ledger.poll(at(46 * HOUR), waiter, None).is_granted());
}

/// See `Zone::UNKNOWN`: own requests are not counted, a refusal pauses until the next full hour.
#[test]
fn an_unknown_zone_counts_nothing_and_asks_again_at_the_full_hour() {
    let mut ledger = ledger(2, Zone::UNKNOWN);
    let permits: Vec<_> = (0..50).map(|_| send(&mut ledger, 10).unwrap()).collect();
    let reset = ledger.next_reset(at(10), Keys::SHARED, 0).unwrap();
    assert_eq!(seconds(reset), HOUR);
    ledger.pause(at(10), Keys::SHARED, Subject::Limit(0), reset);
    assert!(admit(&mut ledger, HOUR - 1).is_none());
    for permit in permits {
        ledger.settle(at(20), permit, None);
    }
    assert!(admit(&mut ledger, HOUR).is_some());
}

/// "…when one request may ask again": not everybody who has waited.
#[test]
fn at_the_full_hour_of_an_unknown_zone_one_request_asks() {
    let mut ledger = ledger(2, Zone::UNKNOWN);
    ledger.pause(at(10), Keys::SHARED, Subject::Limit(0), at(HOUR).tick);
    let asks = send(&mut ledger, HOUR).unwrap();
    assert!(
        admit(&mut ledger, HOUR).is_none(),
        "one asks; the others wait for its answer"
    );
    // Refused again.
    ledger.pause(
        at(HOUR + 1),
        Keys::SHARED,
        Subject::Limit(0),
        at(2 * HOUR).tick,
    );
    ledger.fail(at(HOUR + 1), asks);
    assert!(admit(&mut ledger, 2 * HOUR - 1).is_none());
    let asks = send(&mut ledger, 2 * HOUR).unwrap();
    let Admission::Waiting(waiter) =
        ledger.admit(at(2 * HOUR), Keys::SHARED, GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("one asks");
    };
    // Let through: the pool has been filled.
    ledger.settle(at(2 * HOUR + 1), asks, None);
    assert!(ledger.poll(at(2 * HOUR + 1), waiter, None).is_granted());
    assert!(admit(&mut ledger, 2 * HOUR + 1).is_some());
}

/// The clock need not have moved between the refusal and the question: it is coarse, or stands still in a test.
#[test]
fn who_asks_in_the_instant_of_the_refusal_is_heard() {
    for by_mark in [true, false] {
        let mut ledger = ledger(2, Zone::UNKNOWN);
        let before = send(&mut ledger, 10).unwrap();
        ledger.pause(at(10), Keys::SHARED, Subject::Limit(0), at(HOUR).tick);
        ledger.resume(at(10), Keys::SHARED, Subject::Limit(0));
        let mut asks = admit(&mut ledger, 10).unwrap();
        if by_mark {
            asks.mark_sent(at(10).tick);
        } else {
            ledger.send(at(10), &mut asks, Tick::NEVER).unwrap();
        }
        ledger.settle(at(11), before, None);
        assert!(admit(&mut ledger, 11).is_none(), "sent before the refusal");
        ledger.settle(at(12), asks, None);
        assert!(admit(&mut ledger, 12).is_some());
    }
}

/// Nobody waits for an answer that will not come.
#[test]
fn when_the_one_who_asks_gives_up_the_next_one_asks() {
    struct Bell(AtomicUsize);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let mut ledger = ledger(2, Zone::UNKNOWN);
    ledger.pause(at(10), Keys::SHARED, Subject::Limit(0), at(HOUR).tick);
    let asks = send(&mut ledger, HOUR).unwrap();
    let Admission::Waiting(waiter) =
        ledger.admit(at(HOUR), Keys::SHARED, GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("one asks");
    };
    let bell = Arc::new(Bell(AtomicUsize::new(0)));
    let Progress::Waiting { waiter, .. } =
        ledger.poll(at(HOUR), waiter, Some(&Waker::from(bell.clone())))
    else {
        panic!("one asks");
    };
    ledger.abandon(at(HOUR + 20), asks);
    ledger.take_wakers().into_iter().for_each(Waker::wake);
    assert_eq!(
        bell.0.load(Ordering::Relaxed),
        1,
        "the next one was not woken"
    );
    assert!(ledger.poll(at(HOUR + 20), waiter, None).is_granted());
}

/// When the zone is learnt after a refusal, requests are counted; nobody is sent alone any more.
#[test]
fn a_zone_that_is_learnt_ends_the_asking() {
    let mut ledger = ledger(1, Zone::UNKNOWN);
    ledger.pause(at(10), Keys::SHARED, Subject::Limit(0), at(HOUR).tick);
    let rule = Rule::Calendar {
        quota: 1,
        zone: Zone::UTC,
    };
    ledger.set_rule(at(20), 0, &rule).unwrap();
    let _held = send(&mut ledger, HOUR).unwrap();
    let too_late = ledger.admit(
        at(HOUR),
        Keys::SHARED,
        GENERAL,
        Lane::Bulk,
        at(DAY - 1).tick,
    );
    assert!(
        matches!(too_late, Admission::Denied(denial) if seconds(denial.until) == DAY),
        "{too_late:?}"
    );
}

/// A clock that was years ahead must not keep a pool empty for years.
#[test]
fn a_wall_clock_that_is_set_right_ends_the_day_in_time() {
    let mut ledger = ledger(1, Zone::UTC);
    let ahead = Now {
        wall: wall(400 * DAY),
        ..at(0)
    };
    let Admission::Granted(mut permit) =
        ledger.admit(ahead, Keys::SHARED, GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("it is the first request");
    };
    ledger.send(ahead, &mut permit, Tick::NEVER).unwrap();
    ledger.settle(at(1), permit, None);
    assert!(admit(&mut ledger, DAY - 1).is_none(), "counted today");
    assert!(admit(&mut ledger, DAY).is_some());
}

/// Two read the clock one after the other and come to the ledger the other way round, or the clock is set back a little: also on
/// the longest day that is the same day.
#[test]
fn a_wall_clock_that_is_set_back_a_little_does_not_end_the_day() {
    let mut ledger = ledger(1, Zone::UTC);
    let permit = send(&mut ledger, HOUR).unwrap();
    ledger.settle(at(HOUR), permit, None);
    let longest = wall(26 * HOUR);
    ledger
        .set_next_reset(at(HOUR), Keys::SHARED, 0, longest)
        .unwrap();
    let back = Now {
        wall: wall(HOUR) - Duration::from_secs(10),
        ..at(HOUR)
    };
    assert_eq!(
        ledger.next_reset(back, Keys::SHARED, 0),
        Some(at(26 * HOUR + 10).tick)
    );
    assert!(admit(&mut ledger, 26 * HOUR - 1).is_none());
    assert!(admit(&mut ledger, 26 * HOUR).is_some());
}

/// T35: the new figure applies at once; and the day goes on when its zone is learnt.
#[test]
fn the_pool_may_change_in_the_middle_of_the_day() {
    let mut ledger = ledger(2, Zone::UTC);
    for _ in 0..2 {
        let permit = send(&mut ledger, HOUR).unwrap();
        ledger.settle(at(HOUR), permit, None);
    }
    assert!(admit(&mut ledger, HOUR).is_none());
    let daily = |quota, zone| Rule::Calendar { quota, zone };
    ledger.set_rule(at(HOUR), 0, &daily(3, Zone::UTC)).unwrap();
    let permit = send(&mut ledger, HOUR).unwrap();
    ledger.settle(at(HOUR), permit, None);
    ledger.set_rule(at(HOUR), 0, &daily(1, Zone::UTC)).unwrap();
    assert!(admit(&mut ledger, 23 * HOUR).is_none());
    let permit = admit(&mut ledger, DAY).unwrap();
    ledger.refund(at(DAY), permit);

    // A zone that is learnt later: what is known of today is kept until that zone's midnight.
    let west = Zone::fixed(-5 * 3600).unwrap();
    ledger
        .set_rule(at(DAY), 0, &daily(1, Zone::UNKNOWN))
        .unwrap();
    let permit = send(&mut ledger, DAY + 6 * HOUR).unwrap();
    ledger.settle(at(DAY + 6 * HOUR), permit, None);
    ledger
        .set_rule(at(DAY + 6 * HOUR), 0, &daily(1, west))
        .unwrap();
    assert!(
        admit(&mut ledger, DAY + 7 * HOUR).is_none(),
        "the hour is over, the day is not"
    );
    assert!(admit(&mut ledger, 2 * DAY + 5 * HOUR).is_some());
}

#[derive(Clone, Debug)]
enum Op {
    Send(usize),
    Respond(Index, f64),
    Refund,
    Abandon(Index),
    Pass(u64),
    ToMidnight(i64),
}

fn op() -> impl Strategy<Value = Op> {
    let counted = prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0];
    prop_oneof![
        4 => (1..4_usize).prop_map(Op::Send),
        4 => (any::<Index>(), counted).prop_map(|(which, counted)| Op::Respond(which, counted)),
        1 => Just(Op::Refund),
        1 => any::<Index>().prop_map(Op::Abandon),
        3 => (0..2 * HOUR).prop_map(Op::Pass),
        2 => (-2..3_i64).prop_map(Op::ToMidnight),
    ]
}

/// The midnights of Berlin around the change of the clocks, and those of UTC and UTC+5:30, without asking the crate.
fn day_of(zone: usize, seconds: u64) -> u64 {
    let utc = START + seconds;
    let east = match zone {
        0 => 0,
        1 => 5 * HOUR + 30 * MINUTE,
        // Summer time begins at 2026-03-29T01:00Z.
        _ if utc < START + DAY + HOUR => HOUR,
        _ => 2 * HOUR,
    };
    (utc + east) / DAY
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_day_sees_more_than_its_quota(
        quota in 1..6_u32,
        zone in 0..3_usize,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let zones = [Zone::UTC, Zone::fixed(19_800).unwrap(), Zone::named("Europe/Berlin").unwrap()];
        let mut ledger = ledger(quota, zones[zone].clone());
        let mut now = 0;
        let mut flying: Vec<(u64, Permit)> = Vec::new();
        let mut counted: Vec<u64> = Vec::new();
        // Own count: sent today, or in flight at midnight.
        for op in ops {
            match op {
                Op::Send(count) => {
                    for _ in 0..count {
                        if let Some(permit) = send(&mut ledger, now) {
                            flying.push((now, permit));
                        }
                    }
                }
                Op::Respond(which, share) if !flying.is_empty() => {
                    let (sent, permit) = flying.swap_remove(which.index(flying.len()));
                    counted.push(sent + ((now - sent) as f64 * share) as u64);
                    ledger.settle(at(now), permit, None);
                }
                Op::Abandon(which) if !flying.is_empty() => {
                    let (_, permit) = flying.swap_remove(which.index(flying.len()));
                    counted.push(now + 1);
                    ledger.abandon(at(now), permit);
                }
                Op::Refund => {
                    if let Some(permit) = admit(&mut ledger, now) {
                        ledger.refund(at(now), permit);
                    }
                }
                Op::Pass(seconds) => now += seconds,
                Op::ToMidnight(distance) => {
                    let midnight = ((now + 3).next_multiple_of(1800)..).step_by(1800).find(|at| day_of(zone, *at) != day_of(zone, now + 2)).unwrap();
                    now = midnight.saturating_add_signed(distance).max(now);
                }
                _ => {}
            }
        }
        for (sent, permit) in flying {
            counted.push(now.max(sent));
            ledger.settle(at(now), permit, None);
        }
        let mut days: Vec<_> = counted.iter().map(|at| day_of(zone, *at)).collect();
        days.sort_unstable();
        for day in days.chunk_by(|a, b| a == b) {
            prop_assert!(day.len() <= quota as usize, "{} of {quota} on one day", day.len());
        }
        // Nothing is lost: the day after tomorrow has all of it.
        now += 2 * DAY;
        for _ in 0..quota {
            prop_assert!(admit(&mut ledger, now).is_some());
        }
        prop_assert!(admit(&mut ledger, now).is_none());
    }
}

/// The one that asks may be refused for another reason, or meet a server that fails: then the next one in line asks.
#[test]
fn whoever_asks_in_vain_leaves_it_to_the_next() {
    let mut ledger = ledger(2, Zone::UNKNOWN);
    ledger.pause(at(10), Keys::SHARED, Subject::Limit(0), at(HOUR).tick);
    let asks = send(&mut ledger, HOUR).unwrap();
    let Admission::Waiting(next) =
        ledger.admit(at(HOUR), Keys::SHARED, GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("one asks");
    };
    ledger.fail(at(HOUR + 1), asks);
    assert!(ledger.poll(at(HOUR + 1), next, None).is_granted());
}

/// And when the one that asks is never answered, another one asks at the next full hour.
#[test]
fn who_asks_and_hangs_holds_the_others_up_for_an_hour_at_most() {
    let mut ledger = ledger(2, Zone::UNKNOWN);
    ledger.pause(at(10), Keys::SHARED, Subject::Limit(0), at(HOUR).tick);
    let hangs = send(&mut ledger, HOUR).unwrap();
    let Admission::Waiting(next) =
        ledger.admit(at(HOUR), Keys::SHARED, GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("one asks");
    };
    let Progress::Waiting { waiter, until } = ledger.poll(at(HOUR), next, None) else {
        panic!("one asks");
    };
    assert_eq!(until, Some(at(2 * HOUR).tick));
    let Progress::Granted(mut asks) = ledger.poll(at(2 * HOUR), waiter, None) else {
        panic!("another one asks");
    };
    asks.mark_sent(at(2 * HOUR).tick);
    assert!(admit(&mut ledger, 2 * HOUR).is_none(), "only one");
    ledger.settle(at(2 * HOUR + 1), asks, None);
    assert!(admit(&mut ledger, 2 * HOUR + 1).is_some());
    ledger.abandon(at(2 * HOUR + 2), hangs);
}
