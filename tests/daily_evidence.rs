//! Promise: what responses say of a daily pool is used and never trusted too far. Others who spend it are noticed; nobody who spends
//! it alone loses a single request; yesterday's figures are not taken for today's; and nothing blocks beyond the reset.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::Index;
use tower_quota::core::{
    Admission, Event, Keys, Ledger, Notice, Now, Permit, Progress, Subject, Tick,
};
use tower_quota::plan::{Lane, Limit, Plan, Reserve, RouteClass, Zone};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// 2026-03-28T00:00:00Z.
const START: u64 = 1_774_656_000;

fn at(seconds: u64) -> Now {
    Now {
        tick: Tick::from(Duration::from_secs(77 + seconds)),
        wall: UNIX_EPOCH + Duration::from_secs(START + seconds),
    }
}

fn wall(seconds: u64) -> SystemTime {
    at(seconds).wall
}

/// Nothing was sent before noon, so that no figure can be of yesterday.
const NOON: u64 = 12 * HOUR;

struct Pool(Ledger);

impl Pool {
    fn new(quota: u32, reserve: u32, zone: Zone) -> Self {
        let plan = Plan::builder("daily").limit(Limit::daily("day", quota, zone));
        let mut ledger = Ledger::new(&plan.build().unwrap());
        let reserve = Reserve::Slots(reserve);
        ledger.set_reserve(at(0), 0, reserve).unwrap();
        Self(ledger)
    }

    fn send(&mut self, now: u64, lane: Lane) -> Option<Permit> {
        let admission = self.0.admit(
            at(now),
            Keys::SHARED,
            RouteClass::General,
            lane,
            at(now).tick,
        );
        let mut permit = match admission {
            Admission::Granted(permit) => permit,
            Admission::Denied(_) => return None,
            Admission::Waiting(waiter) => match self.0.poll(at(now), waiter, None) {
                Progress::Granted(permit) => permit,
                _ => return None,
            },
        };
        self.0.send(at(now), &mut permit, Tick::NEVER).unwrap();
        Some(permit)
    }

    /// The response arrives and says so much.
    fn answer(&mut self, now: u64, permit: Permit, quota: u64, remaining: u64) {
        let pause = self
            .0
            .observe_daily(at(now), &permit, 0, Some(quota), Some(remaining));
        if let Some(until) = pause {
            self.0
                .pause(at(now), Keys::SHARED, Subject::Limit(0), until);
        }
        self.0.settle(at(now), permit, None);
    }

    /// One request, answered in the same second.
    fn call(&mut self, now: u64, lane: Lane, quota: u64, remaining: u64) -> bool {
        let permit = self.send(now, lane);
        permit.is_some_and(|permit| {
            self.answer(now, permit, quota, remaining);
            true
        })
    }

    /// How many requests of this lane may go now; they are given back.
    fn free(&mut self, now: u64, lane: Lane) -> u32 {
        let mut permits = Vec::new();
        while let Some(permit) = self.send(now, lane) {
            permits.push(permit);
        }
        let free = permits.len() as u32;
        for permit in permits {
            self.0.refund(at(now), permit);
        }
        free
    }

    fn notices(&mut self) -> Vec<Event> {
        let notices = self.0.take_notices();
        notices.iter().map(|notice: &Notice| notice.event).collect()
    }
}

#[test]
fn what_others_spend_counts_against_bulk_and_leaves_interactive_its_share() {
    let mut pool = Pool::new(1_000, 200, Zone::UTC);
    assert!(pool.call(NOON, Lane::Bulk, 1_000, 400));
    assert_eq!(pool.free(NOON + 1, Lane::Bulk), 200, "600 of 800 are used");
    assert_eq!(pool.free(NOON + 1, Lane::Interactive), 400);
    let usage = pool.0.usage(at(NOON + 1), Keys::SHARED, 0).unwrap();
    assert_eq!((usage.used, usage.foreign, usage.quota), (1, 599, 1_000));
}

#[test]
fn what_the_server_allows_beyond_the_plan_is_for_others_first() {
    let mut pool = Pool::new(800, 0, Zone::UTC);
    assert!(pool.call(NOON, Lane::Bulk, 1_000, 850));
    assert_eq!(pool.free(NOON + 1, Lane::Bulk), 799);
    assert!(pool.call(NOON + 2, Lane::Bulk, 1_000, 300));
    assert_eq!(pool.free(NOON + 3, Lane::Bulk), 300);
}

#[test]
fn an_answer_that_says_nothing_is_left_exhausts_the_pool_until_its_reset() {
    let mut pool = Pool::new(1_000, 200, Zone::UTC);
    assert!(pool.call(NOON, Lane::Interactive, 1_000, 0));
    assert_eq!(pool.free(DAY - 1, Lane::Interactive), 0);
    let lasts = Duration::from_secs(DAY - NOON);
    assert_eq!(pool.notices(), [Event::Exhausted { lasts }]);
    assert_eq!(pool.free(DAY, Lane::Bulk), 800);
    let events = pool.notices();
    assert!(
        matches!(events[..], [Event::Resumed { after }, ..] if after == lasts),
        "{events:?}"
    );
}

/// Without a zone nothing is counted; the same word then holds until the full hour, when one asks.
#[test]
fn an_empty_pool_without_a_zone_is_asked_again_at_the_full_hour() {
    let mut pool = Pool::new(1_000, 0, Zone::UNKNOWN);
    assert!(pool.call(NOON + 10, Lane::Bulk, 1_000, 0));
    assert!(pool.send(NOON + HOUR - 1, Lane::Bulk).is_none());
    let asks = pool.send(NOON + HOUR, Lane::Bulk).unwrap();
    assert!(pool.send(NOON + HOUR, Lane::Bulk).is_none(), "one asks");
    pool.answer(NOON + HOUR + 1, asks, 1_000, 999);
    assert!(pool.send(NOON + HOUR + 1, Lane::Bulk).is_some());
}

/// T35.
#[test]
fn a_lower_figure_of_the_server_is_in_force_at_once_and_told_once() {
    let mut pool = Pool::new(1_000, 0, Zone::UTC);
    pool.0.set_reserve(at(0), 0, Reserve::Share(0.2)).unwrap();
    for second in 0..10 {
        let second = NOON + second;
        assert!(pool.call(second, Lane::Bulk, 500, 490 - (second - NOON)));
    }
    assert_eq!(pool.notices(), [Event::Learned { quota: 500 }]);
    // 19 are used: 9 by others.
    assert_eq!(pool.free(NOON + 20, Lane::Bulk), 400 - 19);
    assert_eq!(pool.free(NOON + 20, Lane::Interactive), 500 - 19);
    pool.notices();
    // Up again, and no further than the plan.
    assert!(pool.call(NOON + 30, Lane::Bulk, 9_000, 8_980));
    assert_eq!(pool.notices(), [Event::Learned { quota: 9_000 }]);
    // A late response to an older request.
    let late = pool.send(NOON + 40, Lane::Bulk).unwrap();
    assert!(pool.call(NOON + 41, Lane::Bulk, 800, 770));
    pool.answer(NOON + 42, late, 1_000, 979);
    let usage = pool.0.usage(at(NOON + 43), Keys::SHARED, 0).unwrap();
    assert_eq!(usage.quota, 800);
}

/// T12, T32.
#[test]
fn a_figure_of_yesterday_does_not_empty_the_pool_of_today() {
    let mut pool = Pool::new(1_000, 200, Zone::UTC);
    let late = pool.send(DAY - 1, Lane::Bulk).unwrap();
    let refused = pool.send(DAY - 1, Lane::Bulk).unwrap();
    pool.answer(DAY + 1, late, 1_000, 3);
    let until = pool
        .0
        .exhaust(at(DAY + 1), Keys::SHARED, 0, at(DAY - 1).tick, None);
    assert_eq!(until, None, "that was about yesterday");
    pool.0.fail(at(DAY + 1), refused);
    // The two may have been counted today.
    assert_eq!(pool.free(DAY + 2, Lane::Bulk), 798);
    assert_eq!(pool.notices(), []);
}

/// A server whose clock is late shows yesterday's figures to today's requests, for a while.
#[test]
fn a_server_whose_clock_is_late_costs_minutes_and_not_the_day() {
    for by_refusal in [true, false] {
        let mut pool = Pool::new(1_000, 200, Zone::UTC);
        assert!(pool.call(DAY - 10, Lane::Bulk, 1_000, 1));
        let early = pool.send(DAY + 1, Lane::Bulk).unwrap();
        if by_refusal {
            let sent = at(DAY + 1).tick;
            let until = pool.0.exhaust(at(DAY + 2), Keys::SHARED, 0, sent, None);
            let until = until.unwrap();
            assert_eq!(until, at(DAY + 5 * MINUTE).tick);
            pool.0
                .pause(at(DAY + 2), Keys::SHARED, Subject::Limit(0), until);
            pool.0.fail(at(DAY + 2), early);
        } else {
            pool.answer(DAY + 2, early, 1_000, 0);
        }
        assert_eq!(pool.free(DAY + 3, Lane::Interactive), 0);
        assert_eq!(pool.free(DAY + 5 * MINUTE, Lane::Bulk), 799);
        // Whoever waited was told when to look again.
        assert!(pool.call(DAY + 5 * MINUTE, Lane::Bulk, 1_000, 990));
        assert_eq!(pool.free(DAY + 6 * MINUTE, Lane::Bulk), 790);
    }
}

/// The zone is wrong: the server's midnight comes in the middle of our day.
#[test]
fn a_day_that_begins_anew_is_noticed() {
    let mut pool = Pool::new(1_000, 200, Zone::UTC);
    for nth in 0..700 {
        assert!(pool.call(NOON, Lane::Bulk, 1_000, 999 - nth));
    }
    assert_eq!(pool.free(NOON + 1, Lane::Bulk), 100);
    let straggler = pool.send(NOON + HOUR, Lane::Bulk).unwrap();
    assert!(pool.call(NOON + HOUR + 1, Lane::Bulk, 1_000, 998));
    // One that was counted before the new day and arrives after it.
    pool.answer(NOON + HOUR + 2, straggler, 1_000, 299);
    let free = pool.free(NOON + HOUR + 3, Lane::Bulk);
    // Two are used for sure; those that were on their way when the figures changed may be.
    assert!((795..=798).contains(&free), "{free}");
}

/// The figure that somebody has asked for may be minutes old: what we have counted ourselves since is used all the same.
#[test]
fn a_figure_that_was_asked_for_gives_nothing_back() {
    let mut pool = Pool::new(1_000, 0, Zone::UTC);
    for nth in 0..900 {
        assert!(pool.call(NOON, Lane::Bulk, 1_000, 999 - nth));
    }
    let tell = |pool: &mut Pool, now, used| {
        pool.0
            .observe_daily_usage(at(now), Keys::SHARED, 0, 1_000, used)
            .unwrap();
    };
    tell(&mut pool, NOON + 1, 600);
    assert_eq!(pool.free(NOON + 2, Lane::Bulk), 100);
    // More than our own count is of others.
    tell(&mut pool, NOON + 1, 950);
    assert_eq!(pool.free(NOON + 2, Lane::Bulk), 50);
    // So old it cannot be: the server's day has begun anew.
    tell(&mut pool, NOON + HOUR, 3);
    assert_eq!(pool.free(NOON + HOUR, Lane::Bulk), 997);
}

#[test]
fn a_figure_that_is_overtaken_is_no_new_day() {
    let mut pool = Pool::new(1_000, 0, Zone::UTC);
    let permits: Vec<_> = (0..100)
        .map(|_| pool.send(NOON, Lane::Bulk).unwrap())
        .collect();
    for (nth, permit) in permits.into_iter().enumerate().rev() {
        pool.answer(NOON + 1, permit, 1_000, 499 - nth as u64);
    }
    assert_eq!(pool.free(NOON + 2, Lane::Bulk), 400);
}

#[test]
fn a_reset_that_is_told_counts_where_no_zone_is_known() {
    let mut pool = Pool::new(3, 0, Zone::UNKNOWN);
    let tell =
        |pool: &mut Pool, now, reset| pool.0.set_next_reset(at(now), Keys::SHARED, 0, wall(reset));
    assert!(tell(&mut pool, NOON, NOON).is_err(), "that is over");
    assert!(tell(&mut pool, NOON, NOON - 1).is_err());
    assert!(tell(&mut pool, NOON, NOON + 25 * HOUR + 1).is_err());
    assert!(tell(&mut pool, NOON, NOON + 25 * HOUR).is_ok());
    assert!(tell(&mut pool, NOON, NOON + 3 * HOUR).is_ok());
    let mut reset = NOON + 3 * HOUR;
    let mut now = NOON;
    for _ in 0..3 {
        for _ in 0..3 {
            let permit = pool.send(now, Lane::Bulk).expect("the pool is full");
            pool.0.settle(at(now), permit, None);
        }
        assert!(pool.send(reset - 1, Lane::Bulk).is_none());
        let told = pool.0.next_reset(at(reset - 1), Keys::SHARED, 0);
        assert_eq!(told, Some(at(reset).tick));
        now = reset;
        reset += DAY;
    }
    // Nobody has used it for a whole day: it is forgotten, and nothing is counted.
    for second in [reset, reset + DAY, reset + 2 * DAY] {
        let _ = pool.0.usage(at(second), Keys::SHARED, 0);
    }
    assert!((0..10).all(|_| pool.send(reset + 2 * DAY + 1, Lane::Bulk).is_some()));
}

#[test]
fn after_a_reset_that_is_told_the_zone_tells_again() {
    let mut pool = Pool::new(1, 0, Zone::UTC);
    let permit = pool.send(NOON, Lane::Bulk).unwrap();
    pool.0.settle(at(NOON), permit, None);
    // Refused, too: the pause ends with the reset.
    let until = at(DAY).tick;
    pool.0
        .pause(at(NOON), Keys::SHARED, Subject::Limit(0), until);
    pool.0
        .set_next_reset(at(NOON), Keys::SHARED, 0, wall(NOON + HOUR))
        .unwrap();
    assert!(pool.send(NOON + HOUR - 1, Lane::Bulk).is_none());
    let permit = pool.send(NOON + HOUR, Lane::Bulk).unwrap();
    pool.0.settle(at(NOON + HOUR), permit, None);
    assert!(pool.send(DAY - 1, Lane::Bulk).is_none());
    assert!(pool.send(DAY, Lane::Bulk).is_some());
}

/// Bulk is spread over what is left of the day; Interactive is not.
#[test]
fn the_pace_spreads_bulk_over_the_rest_of_the_day_and_is_never_a_burst() {
    let mut pool = Pool::new(100, 20, Zone::UTC);
    pool.0.set_pace(at(0), 0, true).unwrap();
    let mut sent = Vec::new();
    let mut now = NOON;
    while now < DAY {
        // Idle for four hours in the middle.
        let idle = (16 * HOUR..20 * HOUR).contains(&now);
        while !idle && pool.call(now, Lane::Bulk, 100, 100 - sent.len() as u64 - 1) {
            sent.push(now);
        }
        now += 1;
    }
    assert!((79..=80).contains(&sent.len()), "{}", sent.len());
    let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let spacing = (DAY - NOON) / 80;
    assert!(
        gaps[..20].iter().all(|gap| gap.abs_diff(spacing) <= 10),
        "{gaps:?}"
    );
    let shortest = *gaps.iter().min().unwrap();
    assert!(shortest >= spacing / 3, "{shortest}");
    assert!(gaps.last().unwrap() < &spacing, "it catches up: {gaps:?}");
    // Nobody of Interactive waits for that.
    pool.0
        .set_next_reset(at(DAY - 1), Keys::SHARED, 0, wall(DAY + HOUR))
        .unwrap();
    assert_eq!(
        pool.free(DAY - 1, Lane::Interactive),
        100 - sent.len() as u32
    );
}

/// What changes the day changes the pace: more requests, an earlier reset, a server that has begun anew, one that was not sent.
#[test]
fn the_pace_follows_what_is_left() {
    let spent = || {
        let mut pool = Pool::new(10, 0, Zone::UTC);
        pool.0.set_pace(at(0), 0, true).unwrap();
        let mut now = NOON;
        for left in (1..10).rev() {
            while !pool.call(now, Lane::Bulk, 20_000, 19_990 + left) {
                now += MINUTE;
            }
        }
        // One is left, until midnight.
        assert!(pool.send(now + MINUTE, Lane::Bulk).is_none());
        (pool, now)
    };

    let (mut more, now) = spent();
    more.0.set_quota(at(now), 0, 10_000).unwrap();
    assert!(more.send(now + 2 * MINUTE, Lane::Bulk).is_some());

    let (mut earlier, now) = spent();
    let reset = wall(now + MINUTE);
    earlier
        .0
        .set_next_reset(at(now), Keys::SHARED, 0, reset)
        .unwrap();
    assert!(earlier.send(now + MINUTE, Lane::Bulk).is_some());

    let (mut anew, now) = spent();
    assert!(anew.call(now + 1, Lane::Interactive, 20_000, 19_999));
    assert!(anew.send(now + HOUR, Lane::Bulk).is_some());

    let mut unsent = Pool::new(2, 0, Zone::UTC);
    unsent.0.set_pace(at(0), 0, true).unwrap();
    let permit = unsent.send(NOON, Lane::Bulk).unwrap();
    unsent.0.refund(at(NOON), permit);
    assert!(unsent.send(NOON, Lane::Bulk).is_some());
    assert!(unsent.send(NOON, Lane::Bulk).is_none());
}

#[test]
fn who_waits_for_his_turn_is_told_when_it_comes() {
    let mut pool = Pool::new(12, 0, Zone::UTC);
    pool.0.set_pace(at(0), 0, true).unwrap();
    assert!(pool.call(NOON, Lane::Bulk, 12, 11));
    // 11 in 12 hours.
    let turn = NOON + 12 * HOUR / 11;
    let admission = pool.0.admit(
        at(NOON + 1),
        Keys::SHARED,
        RouteClass::General,
        Lane::Bulk,
        Tick::NEVER,
    );
    let Admission::Waiting(waiter) = admission else {
        panic!("{admission:?}");
    };
    let Progress::Waiting { until, .. } = pool.0.poll(at(NOON + 1), waiter, None) else {
        panic!("not yet");
    };
    let until = until.unwrap();
    assert!(until >= at(turn).tick && until <= at(turn + 1).tick);
    let denied = pool.0.admit(
        at(NOON + 1),
        Keys::SHARED,
        RouteClass::General,
        Lane::Bulk,
        at(turn + 10).tick,
    );
    assert!(
        matches!(denied, Admission::Denied(denial) if denial.until > at(turn + HOUR).tick),
        "there is one before him: {denied:?}"
    );
}

#[test]
fn a_pool_that_is_used_up_is_told_once_a_day() {
    let mut pool = Pool::new(3, 0, Zone::UTC);
    for day in 0..3 {
        let now = day * DAY + NOON;
        for left in [2, 1, 0] {
            assert!(pool.call(now, Lane::Bulk, 3, left));
        }
        assert!(!pool.call(now, Lane::Bulk, 3, 0));
        let events = pool.notices();
        let exhausted = events
            .iter()
            .filter(|event| matches!(event, Event::Exhausted { .. }));
        assert_eq!(exhausted.count(), 1, "{events:?}");
        assert_eq!(events.len(), if day == 0 { 1 } else { 2 }, "{events:?}");
    }
}

/// A permit that is given back, and taken again, is no end of the exhaustion.
#[test]
fn a_refund_is_no_resumption() {
    let mut pool = Pool::new(1, 0, Zone::UTC);
    for _ in 0..5 {
        let permit = pool.send(NOON, Lane::Bulk).unwrap();
        pool.0.refund(at(NOON), permit);
    }
    assert_eq!(pool.notices().len(), 1);
}

#[derive(Clone, Debug)]
enum Op {
    Send(bool),
    Count(Index),
    Arrive(Index),
    Lose(Index),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => any::<bool>().prop_map(Op::Send),
        4 => any::<Index>().prop_map(Op::Count),
        4 => any::<Index>().prop_map(Op::Arrive),
        1 => any::<Index>().prop_map(Op::Lose),
        1 => (0..60_u64).prop_map(Op::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in flight, late, overtaken or lost: no false alarm.
    #[test]
    fn who_spends_a_pool_alone_spends_it_to_its_last_request(
        quota in 5..40_u32,
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let reserve = quota / 5;
        let mut pool = Pool::new(quota, reserve, Zone::UTC);
        let (mut now, mut server, mut bulk, mut all) = (NOON, 0, 0, 0);
        // Sent and not counted; counted, with what was left then.
        let (mut flying, mut counted): (Vec<Permit>, Vec<(Permit, u64)>) = (Vec::new(), Vec::new());
        for op in ops {
            match op {
                Op::Send(is_bulk) => {
                    let lane = if is_bulk { Lane::Bulk } else { Lane::Interactive };
                    let expected = all < quota && (!is_bulk || bulk < quota - reserve);
                    let permit = pool.send(now, lane);
                    prop_assert_eq!(permit.is_some(), expected);
                    if let Some(permit) = permit {
                        all += 1;
                        bulk += u32::from(is_bulk);
                        flying.push(permit);
                    }
                }
                Op::Count(which) if !flying.is_empty() => {
                    server += 1;
                    let permit = flying.swap_remove(which.index(flying.len()));
                    counted.push((permit, u64::from(quota - server)));
                }
                Op::Arrive(which) if !counted.is_empty() => {
                    let (permit, left) = counted.swap_remove(which.index(counted.len()));
                    pool.answer(now, permit, u64::from(quota), left);
                }
                Op::Lose(which) if !flying.is_empty() => {
                    let permit = flying.swap_remove(which.index(flying.len()));
                    pool.0.abandon(at(now), permit);
                }
                Op::Pass(seconds) => now += seconds,
                _ => {}
            }
        }
        prop_assert!(server <= quota);
    }

    /// With others: what we and they have used together is never more than the pool, as far as responses had told.
    #[test]
    fn one_after_the_other_nobody_is_refused_beside_strangers(
        strangers in prop::collection::vec(0..8_u32, 1..100),
    ) {
        let quota = 200;
        let mut pool = Pool::new(quota, 40, Zone::UTC);
        let (mut used, mut bulk) = (0_u32, 0);
        for (nth, foreign) in strangers.into_iter().enumerate() {
            let now = NOON + nth as u64;
            let Some(permit) = pool.send(now, Lane::Bulk) else {
                // Bulk leaves what is kept, but for what strangers took since they were last seen.
                prop_assert!(used >= quota - 40, "{used} are used");
                break;
            };
            bulk += 1;
            used += 1;
            pool.answer(now, permit, u64::from(quota), u64::from(quota.saturating_sub(used)));
            prop_assert!(used <= quota - 40 + 8);
            used += foreign;
        }
        prop_assert!(bulk > 0);
    }

    /// Nothing that a server sends panics or blocks beyond the reset.
    #[test]
    fn hostile_figures_do_no_harm_beyond_the_reset(
        figures in prop::collection::vec((any::<Option<u64>>(), any::<Option<u64>>(), 0..3_u64), 1..50),
        small in any::<bool>(),
    ) {
        for zone in [Zone::UTC, Zone::UNKNOWN] {
            let mut pool = Pool::new(100, 20, zone);
            let mut now = NOON;
            for (quota, left, pass) in &figures {
                let limit = |figure: &u64| if small { figure % 150 } else { *figure };
                now += pass;
                if let Some(permit) = pool.send(now, Lane::Bulk) {
                    let (quota, left) = (quota.as_ref().map(limit), left.as_ref().map(limit));
                    let pause = pool.0.observe_daily(at(now), &permit, 0, quota, left);
                    if let Some(until) = pause {
                        pool.0.pause(at(now), Keys::SHARED, Subject::Limit(0), until);
                    }
                    pool.0.settle(at(now), permit, None);
                }
                let quota = quota.unwrap_or_default();
                pool.0.observe_daily_usage(at(now), Keys::SHARED, 0, quota, left.unwrap_or_default()).unwrap();
            }
            prop_assert!(pool.send(DAY, Lane::Bulk).is_some());
        }
    }
}
