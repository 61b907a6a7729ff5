//! What went wrong in other limiters, at the ledger: one test per line of the failure list, named after it.

use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_quota::core::{
    Admission, DenialReason, Fingerprint, Keys, Ledger, Now, Permit, Progress, Subject, Tick,
    WaiterId,
};
use tower_quota::plan::{Lane, Limit, MAX_LIMITS_PER_CLASS, Plan, RouteClass, Rule, Scope, Zone};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const GENERAL: RouteClass = RouteClass::General;
const SEARCH: RouteClass = RouteClass::Search;

fn keys(nth: u64) -> Keys {
    let token = Fingerprint::from_halves(nth, nth.wrapping_mul(0xD1B5_4A32_D192_ED03));
    Keys {
        token,
        account: token,
    }
}

fn nanos(length: u64) -> Duration {
    Duration::from_nanos(length)
}

fn at(now: u64) -> Now {
    Now {
        tick: tick(now),
        wall: UNIX_EPOCH + nanos(now),
    }
}

fn tick(now: u64) -> Tick {
    Tick::from(nanos(now))
}

fn rolling(name: &str, quota: u32, window: u64) -> Limit {
    Limit::rolling(name, quota, nanos(window))
}

fn ledger(limits: impl IntoIterator<Item = Limit>) -> Ledger {
    let plan = limits
        .into_iter()
        .fold(Plan::builder("fairness"), |plan, limit| plan.limit(limit));
    Ledger::new(&plan.build().unwrap())
}

/// For ever, or as long as `deadline`.
fn enter(ledger: &mut Ledger, now: u64, class: RouteClass) -> Result<Permit, WaiterId> {
    match ledger.admit(at(now), keys(1), class, Lane::Bulk, Tick::NEVER) {
        Admission::Granted(permit) => Ok(permit),
        Admission::Waiting(waiter) => Err(waiter),
        Admission::Denied(denial) => panic!("{denial:?}"),
    }
}

fn granted(ledger: &mut Ledger, now: u64, class: RouteClass) -> Permit {
    enter(ledger, now, class).expect("there is a slot")
}

fn sent(ledger: &mut Ledger, now: u64, class: RouteClass) -> Permit {
    let mut permit = granted(ledger, now, class);
    ledger
        .send(at(now), &mut permit, Tick::NEVER)
        .expect("nothing is paused");
    permit
}

fn waiting(ledger: &mut Ledger, now: u64, class: RouteClass) -> WaiterId {
    enter(ledger, now, class).expect_err("there is no slot")
}

/// Sent and answered at once.
fn spend(ledger: &mut Ledger, now: u64, class: RouteClass, count: u32) {
    for _ in 0..count {
        let permit = sent(ledger, now, class);
        ledger.settle(at(now), permit, None);
    }
}

fn used(ledger: &mut Ledger, now: u64, limit: usize) -> u32 {
    ledger.usage(at(now), keys(1), limit).unwrap().used
}

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waiter with a bell, asked only when it rang or its time has come.
struct Task {
    waiter: Option<WaiterId>,
    bell: Arc<Bell>,
    heard: usize,
    until: Option<u64>,
    permit: Option<Permit>,
    granted_at: u64,
    polls: usize,
}

impl Task {
    fn new(ledger: &mut Ledger, now: u64, waiter: WaiterId) -> Self {
        let mut task = Task {
            waiter: Some(waiter),
            bell: Arc::default(),
            heard: 0,
            until: None,
            permit: None,
            granted_at: 0,
            polls: 0,
        };
        task.poll(ledger, now);
        task
    }

    fn rang(&self) -> bool {
        self.bell.0.load(Ordering::Relaxed) > self.heard
    }

    fn poll(&mut self, ledger: &mut Ledger, now: u64) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        self.heard = self.bell.0.load(Ordering::Relaxed);
        self.polls += 1;
        match ledger.poll(at(now), waiter, Some(&Waker::from(self.bell.clone()))) {
            Progress::Granted(permit) => {
                self.permit = Some(permit);
                self.granted_at = now;
            }
            Progress::Waiting { waiter, until } => {
                self.waiter = Some(waiter);
                self.until =
                    until.map(|until| u64::try_from(until.since_origin().as_nanos()).unwrap());
                assert!(
                    self.until.is_none_or(|until| until > now),
                    "T44: a wait of no length"
                );
            }
            Progress::Denied(denial) => panic!("{denial:?}"),
        }
    }
}

/// Polls those who rang or are due, until none is left; gives how many polls it took.
fn drive(ledger: &mut Ledger, tasks: &mut [Task], now: u64) {
    loop {
        for waker in ledger.take_wakers() {
            waker.wake();
        }
        let due = |task: &&mut Task| {
            task.waiter.is_some() && (task.rang() || task.until.is_some_and(|until| until <= now))
        };
        let Some(task) = tasks.iter_mut().rev().find(due) else {
            return;
        };
        task.poll(ledger, now);
    }
}

fn next_alarm(tasks: &[Task]) -> Option<u64> {
    tasks
        .iter()
        .filter(|task| task.waiter.is_some())
        .filter_map(|task| task.until)
        .min()
}

fn random(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % below
}

/// A client that always has more to do, and the moments at which the server counted its requests. `service` is the least time
/// the server works; the responses say so when `credit` is set.
fn saturate(
    quota: u32,
    window: u64,
    jitter: u64,
    credit: bool,
    requests: usize,
    seed: u64,
    start: u64,
) -> Vec<u64> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    struct Arrival(std::cmp::Reverse<u64>, usize);
    let mut ledger = ledger([rolling("burst", quota, window)]);
    let mut tasks: Vec<Task> = Vec::new();
    let mut arrivals = BinaryHeap::new();
    let mut flying: Vec<Option<(Permit, u64)>> = Vec::new();
    let mut counted = Vec::new();
    let mut state = seed;
    let mut now = start;
    let mut begun = 0;
    while counted.len() < requests {
        while tasks.len() < 3 * quota as usize && begun < requests {
            begun += 1;
            match enter(&mut ledger, now, GENERAL) {
                Ok(permit) => tasks.push(Task {
                    waiter: None,
                    bell: Arc::default(),
                    heard: 0,
                    until: None,
                    permit: Some(permit),
                    granted_at: now,
                    polls: 0,
                }),
                Err(waiter) => tasks.push(Task::new(&mut ledger, now, waiter)),
            }
        }
        drive(&mut ledger, &mut tasks, now);
        for mut permit in tasks.iter_mut().filter_map(|task| task.permit.take()) {
            ledger.send(at(now), &mut permit, Tick::NEVER).unwrap();
            // Ties are as likely as not: steps of a fifth of the jitter.
            let grain = (jitter / 5).max(1);
            let up = random(&mut state, 6) * grain;
            let service = random(&mut state, 4) * grain;
            let down = random(&mut state, 6) * grain;
            counted.push(now + up);
            arrivals.push(Arrival(
                std::cmp::Reverse(now + up + service + down),
                flying.len(),
            ));
            flying.push(Some((permit, service)));
        }
        tasks.retain(|task| task.waiter.is_some());
        let alarm = next_alarm(&tasks).unwrap_or(u64::MAX);
        let arrival = arrivals.peek().map_or(u64::MAX, |arrival| arrival.0.0);
        assert!(
            alarm.min(arrival) < u64::MAX || counted.len() >= requests,
            "everybody waits for nothing"
        );
        if arrival <= alarm && arrival < u64::MAX {
            now = arrival;
            let Arrival(_, nth) = arrivals.pop().unwrap();
            let (permit, service) = flying[nth].take().unwrap();
            ledger.settle(at(now), permit, credit.then(|| nanos(service)));
        } else if alarm < u64::MAX {
            now = alarm;
        }
    }
    counted.sort_unstable();
    counted
}

fn widest(counted: &[u64], quota: u32, window: u64) -> usize {
    let most = (0..counted.len()).map(|first| {
        counted[first..]
            .iter()
            .take_while(|at| **at <= counted[first] + window)
            .count()
    });
    most.max().unwrap_or(0).max(quota as usize)
}

/// T1: requests spaced well at the client arrive compressed at the server (hubspot-api-nodejs#416; `21:1` counted for `20:1`).
#[test]
fn t1_jitter_never_squeezes_requests_together_at_the_server() {
    for (quota, window, requests) in [(5, S, 600), (190, 10 * S, 2000), (1, S, 100)] {
        for jitter in [0, MS, 300 * MS] {
            for credit in [false, true] {
                let counted = saturate(quota, window, jitter, credit, requests, 42 + jitter, 5);
                assert_eq!(
                    widest(&counted, quota, window),
                    quota as usize,
                    "{quota} per {window}, jitter {jitter}"
                );
            }
        }
    }
}

/// T2: after idle time k idle periods grant k refills; burst plus refill at the start (Airbyte CDK, RedditSharp#195, governor).
#[test]
fn t2_idle_time_earns_nothing() {
    for idle in [S, 10 * S, 10 * S + 1, 25 * S, 3600 * S] {
        let mut ledger = ledger([rolling("burst", 100, 10 * S)]);
        spend(&mut ledger, idle, GENERAL, 100);
        for later in [0, 1, 5 * S, 10 * S] {
            assert_eq!(used(&mut ledger, idle + later, 0), 100);
            let denied = ledger.admit(
                at(idle + later),
                keys(1),
                GENERAL,
                Lane::Bulk,
                tick(idle + later),
            );
            assert!(
                matches!(denied, Admission::Denied(denial) if denial.until == tick(idle + 10 * S + 1))
            );
        }
        spend(&mut ledger, idle + 10 * S + 1, GENERAL, 100);
    }
}

/// T3: check and take are two steps; two tasks pass the same check (Riven, tower-resilience#363).
#[test]
fn t3_ten_thousand_at_a_barrier_never_exceed_the_quota() {
    const THREADS: usize = 8;
    let ledger = Arc::new(Mutex::new(ledger([
        rolling("burst", 190, 10 * S),
        rolling("second", 150, S),
    ])));
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (ledger, barrier) = (ledger.clone(), barrier.clone());
            std::thread::spawn(move || {
                barrier.wait();
                (0..10_000 / THREADS)
                    .filter_map(|_| {
                        match ledger.lock().unwrap().admit(
                            at(S),
                            keys(1),
                            GENERAL,
                            Lane::Bulk,
                            Tick::NEVER,
                        ) {
                            Admission::Granted(permit) => Some(permit),
                            _ => None,
                        }
                    })
                    .count()
            })
        })
        .collect();
    let granted: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(granted, 150);
    let mut ledger = ledger.lock().unwrap();
    assert_eq!(ledger.waiting(), 10_000 - 150);
    assert_eq!(used(&mut ledger, S, 0), 150);
}

/// T4: window A is debited although window B refuses; a cancel refunds what was never debited (milvus#25597, pubky#573).
#[test]
fn t4_all_windows_or_none() {
    let mut ledger = ledger([
        rolling("wide", 10, 10 * S),
        rolling("narrow", 1, S),
        Limit::daily("day", 50, Zone::UTC),
    ]);
    let first = sent(&mut ledger, 0, GENERAL);
    for _ in 0..20 {
        let denied = ledger.admit(at(0), keys(1), GENERAL, Lane::Bulk, tick(0));
        match denied {
            Admission::Waiting(waiter) => ledger.cancel(at(0), waiter),
            Admission::Denied(_) => {}
            Admission::Granted(_) => panic!("the narrow window is full"),
        }
    }
    assert_eq!(
        [0, 1, 2].map(|limit| used(&mut ledger, 0, limit)),
        [1, 1, 1]
    );
    ledger.settle(at(0), first, None);
    assert_eq!(
        [0, 1, 2].map(|limit| used(&mut ledger, 2 * S, limit)),
        [1, 0, 1]
    );
}

/// T5: a cancelled caller keeps its slot; a request already sent gets it back (resilience4j#314, conjure#1147, twilight).
#[test]
fn t5_each_end_of_a_request_gives_back_what_it_may() {
    let mut ledger = ledger([rolling("burst", 1, S)]);
    // Before the send: at once.
    let permit = granted(&mut ledger, 0, GENERAL);
    ledger.refund(at(0), permit);
    let held = sent(&mut ledger, 0, GENERAL);
    // In the queue: nothing is left, and the next one moves up.
    let waiters: Vec<_> = (0..10).map(|_| waiting(&mut ledger, 0, GENERAL)).collect();
    for waiter in waiters {
        ledger.cancel(at(0), waiter);
    }
    assert_eq!((ledger.waiting(), used(&mut ledger, 0, 0)), (0, 1));
    // After the send: it ages from the moment of giving up, plus the second in which it may still arrive.
    ledger.abandon(at(5 * S), held);
    assert_eq!(used(&mut ledger, 7 * S, 0), 1);
    assert_eq!(used(&mut ledger, 7 * S + 1, 0), 0);
    // Granted in the queue, but nobody looks any more.
    let held = granted(&mut ledger, 8 * S, GENERAL);
    let dropped = waiting(&mut ledger, 8 * S, GENERAL);
    let next = waiting(&mut ledger, 8 * S, GENERAL);
    ledger.refund(at(8 * S), held);
    ledger.cancel(at(8 * S), dropped);
    assert!(ledger.poll(at(8 * S), next, None).is_granted());
}

/// T5: a request that takes longer than the longest so far makes the bound for late arrival longer, too.
#[test]
fn t5_what_is_given_up_may_arrive_as_late_as_the_slowest() {
    let mut ledger = ledger([rolling("burst", 2, S)]);
    let slow = sent(&mut ledger, 0, GENERAL);
    ledger.settle(at(30 * S), slow, None);
    let lost = sent(&mut ledger, 40 * S, GENERAL);
    ledger.abandon(at(41 * S), lost);
    assert_eq!(used(&mut ledger, 72 * S, 0), 1);
    assert_eq!(used(&mut ledger, 72 * S + 1, 0), 0);
}

/// T6: impossible rules mean "unlimited", an impossible wait hangs for ever (throttle-net 1.0, upstash ratelimit-js).
#[test]
fn t6_impossible_rules_and_waits_fail_at_once() {
    let bad = [
        rolling("zero", 0, S),
        rolling("instant", 1, 0),
        rolling("short", 1, MS - 1),
        Limit::daily("none", 0, Zone::UTC),
    ];
    for limit in bad {
        let name = limit.name().to_owned();
        let error = Plan::builder("bad")
            .limit(limit)
            .build()
            .unwrap_err()
            .to_string();
        assert!(error.contains(&name), "{error}");
    }
    let mut ledger = ledger([rolling("burst", 1, 10 * S)]);
    for rule in [
        Rule::Rolling {
            quota: 0,
            window: nanos(S),
        },
        Rule::Rolling {
            quota: 1,
            window: nanos(0),
        },
        Rule::Calendar {
            quota: 1,
            zone: Zone::UTC,
        },
    ] {
        assert!(ledger.set_rule(at(0), 0, &rule).is_err());
    }
    assert!(
        ledger
            .set_rule(
                at(0),
                7,
                &Rule::Rolling {
                    quota: 1,
                    window: nanos(S)
                }
            )
            .is_err()
    );
    spend(&mut ledger, 0, GENERAL, 1);
    match ledger.admit(at(S), keys(1), GENERAL, Lane::Bulk, tick(5 * S)) {
        Admission::Denied(denial) => {
            assert_eq!(
                (denial.reason, denial.subject, denial.paused),
                (DenialReason::TooLong, Subject::Limit(0), false)
            );
            assert_eq!(denial.until, tick(10 * S + 1));
        }
        other => panic!("{other:?}"),
    }
    // And a wait that ends without a slot ends in time.
    let held = sent(&mut ledger, 11 * S, GENERAL);
    let Admission::Waiting(waiter) =
        ledger.admit(at(21 * S + 1), keys(1), GENERAL, Lane::Bulk, tick(22 * S))
    else {
        panic!("nobody knows how long it takes");
    };
    let Progress::Denied(denial) = ledger.poll(at(22 * S), waiter, None) else {
        panic!("its time is over");
    };
    assert_eq!(denial.reason, DenialReason::TimedOut);
    ledger.settle(at(22 * S), held, None);
    assert_eq!(ledger.waiting(), 0);
}

/// T6: a queue has a bound.
#[test]
fn t6_a_full_queue_refuses_at_once() {
    let mut ledger = ledger([rolling("burst", 1, S)]);
    ledger.set_max_waiting(3);
    let held = granted(&mut ledger, 0, GENERAL);
    let waiters: Vec<_> = (0..3).map(|_| waiting(&mut ledger, 0, GENERAL)).collect();
    let denied = ledger.admit(at(0), keys(1), GENERAL, Lane::Bulk, Tick::NEVER);
    assert!(
        matches!(denied, Admission::Denied(denial) if denial.reason == DenialReason::QueueFull)
    );
    ledger.refund(at(0), held);
    assert_eq!(ledger.waiting(), 3);
    for waiter in waiters {
        ledger.cancel(at(0), waiter);
    }
    let _ = granted(&mut ledger, 0, GENERAL);
}

/// T7: in-flight requests vanish from the count, or shrinking below them underflows (Riven, governor#193).
#[test]
fn t7_the_limit_may_change_in_mid_flight() {
    let mut ledger = ledger([rolling("burst", 190, 10 * S)]);
    let set = |ledger: &mut Ledger, now, quota| {
        ledger
            .set_rule(
                at(now),
                0,
                &Rule::Rolling {
                    quota,
                    window: nanos(10 * S),
                },
            )
            .unwrap()
    };
    let flying: Vec<_> = (0..190).map(|_| sent(&mut ledger, 0, GENERAL)).collect();
    let mut tasks: Vec<_> = (0..200)
        .map(|_| {
            let waiter = waiting(&mut ledger, 0, GENERAL);
            Task::new(&mut ledger, 0, waiter)
        })
        .collect();
    set(&mut ledger, S, 110);
    let mut flying = flying.into_iter();
    for permit in flying.by_ref().take(100) {
        ledger.settle(at(S), permit, None);
    }
    drive(&mut ledger, &mut tasks, 11 * S + 1);
    let count = |tasks: &[Task]| tasks.iter().filter(|task| task.permit.is_some()).count();
    assert_eq!(count(&tasks), 20, "90 are in flight, 110 are allowed");
    set(&mut ledger, 11 * S + 2, 190);
    drive(&mut ledger, &mut tasks, 11 * S + 2);
    assert_eq!(count(&tasks), 100, "90 are in flight, 190 are allowed");
    for permit in flying {
        ledger.settle(at(12 * S), permit, None);
    }
    for task in &mut tasks {
        if let Some(permit) = task.permit.take() {
            ledger.refund(at(12 * S), permit);
        }
    }
    drive(&mut ledger, &mut tasks, 12 * S);
    assert_eq!(count(&tasks), 100, "all who were left");
    assert_eq!(used(&mut ledger, 12 * S, 0), 190);
}

/// T8: wall clock steps, DST and suspend break windows (Airbyte CDK, botocore, reqwest-retry).
#[test]
fn t8_the_wall_clock_does_not_move_windows() {
    let mut ledger = ledger([rolling("burst", 1, 10 * S)]);
    let walls = [0_i64, 3600, -3600, 86_400, -86_400, -1_700_000_000];
    let step = |now: u64, by: i64| {
        let wall = UNIX_EPOCH
            + Duration::from_secs(1_700_000_000_u64.saturating_add_signed(by))
            + nanos(now);
        Now {
            tick: tick(now),
            wall,
        }
    };
    let Admission::Granted(mut permit) =
        ledger.admit(step(0, 0), keys(1), GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("nothing is used");
    };
    ledger
        .send(step(0, 3600), &mut permit, Tick::NEVER)
        .unwrap();
    ledger.settle(step(S, -3600), permit, None);
    for (nth, by) in walls.into_iter().enumerate() {
        let now = 2 * S + nth as u64;
        match ledger.admit(step(now, by), keys(1), GENERAL, Lane::Bulk, tick(now)) {
            Admission::Denied(denial) => assert_eq!(denial.until, tick(11 * S + 1)),
            other => panic!("{other:?}"),
        }
    }
    let free = ledger.admit(
        Now {
            tick: tick(11 * S + 1),
            wall: SystemTime::UNIX_EPOCH,
        },
        keys(1),
        GENERAL,
        Lane::Bulk,
        Tick::NEVER,
    );
    assert!(matches!(free, Admission::Granted(_)));
}

/// T9: the oldest starves: 449 of 780 pairs inverted in tower-resilience, 361 of 780 in governor.
#[test]
fn t9_forty_waiters_none_of_780_pairs_inverted() {
    let mut ledger = ledger([rolling("burst", 4, S)]);
    let mut held: Vec<_> = (0..4).map(|_| sent(&mut ledger, 0, GENERAL)).collect();
    let mut tasks: Vec<_> = (0..40)
        .map(|_| {
            let waiter = waiting(&mut ledger, 0, GENERAL);
            Task::new(&mut ledger, 0, waiter)
        })
        .collect();
    let mut now = 0;
    let mut polls = 0;
    while tasks.iter().any(|task| task.waiter.is_some()) {
        for permit in held.drain(..) {
            ledger.settle(at(now), permit, None);
        }
        drive(&mut ledger, &mut tasks, now);
        held.extend(tasks.iter_mut().filter_map(|task| task.permit.take()));
        if held.is_empty() {
            now = next_alarm(&tasks).expect("somebody has set an alarm");
            polls += 1;
        }
    }
    let inverted = (0..40).flat_map(|older| (older + 1..40).map(move |younger| (older, younger)));
    let inverted = inverted
        .filter(|(older, younger)| tasks[*older].granted_at > tasks[*younger].granted_at)
        .count();
    assert_eq!(inverted, 0, "of 780");
    assert_eq!(
        now,
        10 * (S + 1),
        "ten rounds, and no time lost between them"
    );
    assert!(polls <= 10);
    // T56: one for the place in line, one for the grant, and the head's own.
    let polls: usize = tasks.iter().map(|task| task.polls).sum();
    assert!(polls <= 40 + 40 + 40, "{polls}");
}

/// T9: two limits free a slot at the same tick, and the head of the wrong queue looks first.
#[test]
fn t9_the_oldest_goes_first_whichever_alarm_rings_first() {
    let a = rolling("a", 1, 300 * MS).governs([GENERAL, SEARCH]);
    let b = rolling("b", 2, S).governs([GENERAL, RouteClass::Associations]);
    let mut ledger = ledger([a, b]);
    spend(&mut ledger, 500 * MS, RouteClass::Associations, 2);
    let older = waiting(&mut ledger, 600 * MS, GENERAL);
    let mut older = Task::new(&mut ledger, 600 * MS, older);
    spend(&mut ledger, 1200 * MS, SEARCH, 1);
    let younger = waiting(&mut ledger, 1300 * MS, GENERAL);
    let mut younger = Task::new(&mut ledger, 1300 * MS, younger);
    // Two slots of b and one of a are free.
    younger.poll(&mut ledger, 1500 * MS + 1);
    assert!(younger.permit.is_none(), "passed an older one");
    older.poll(&mut ledger, 1500 * MS + 1);
    assert!(older.permit.is_some());
}

/// T9: one class blocks a shared limit by waiting for one of its own.
#[test]
fn t9_a_narrow_limits_waiters_do_not_block_the_wide_limit() {
    let mut ledger = ledger([
        rolling("wide", 100, 10 * S),
        rolling("narrow", 1, 10 * S).governs([SEARCH]),
    ]);
    spend(&mut ledger, 0, SEARCH, 1);
    let searches: Vec<_> = (0..50).map(|_| waiting(&mut ledger, 0, SEARCH)).collect();
    spend(&mut ledger, 0, GENERAL, 99);
    assert_eq!(
        used(&mut ledger, 0, 0),
        100,
        "no slot lies idle for those who cannot go"
    );
    drop(searches);
}

/// T9: the other way round: those who wait for the wide limit keep nothing of the narrow one from its others.
#[test]
fn t9_a_wide_limits_waiters_do_not_block_the_narrow_limit() {
    let narrow = rolling("narrow", 5, S).governs([SEARCH, RouteClass::Associations]);
    let mut ledger = ledger([
        rolling("wide", 2, 10 * S).governs([GENERAL, SEARCH]),
        narrow,
    ]);
    spend(&mut ledger, 0, GENERAL, 2);
    let both: Vec<_> = (0..20).map(|_| waiting(&mut ledger, 0, SEARCH)).collect();
    spend(&mut ledger, 0, RouteClass::Associations, 5);
    spend(&mut ledger, S + 1, RouteClass::Associations, 5);
    drop(both);
}

/// T9: whoever needs both of two busy limits gets them, although each has a stream of its own younger requests.
#[test]
fn t9_who_needs_two_busy_limits_does_not_starve() {
    let a = rolling("a", 1, S).governs([GENERAL, SEARCH]);
    let b = rolling("b", 1, 1300 * MS).governs([GENERAL, RouteClass::Associations]);
    let mut ledger = ledger([a, b]);
    spend(&mut ledger, 0, SEARCH, 1);
    spend(&mut ledger, 0, RouteClass::Associations, 1);
    let both = waiting(&mut ledger, 0, GENERAL);
    let mut tasks = vec![Task::new(&mut ledger, 0, both)];
    let mut now = 0;
    while tasks[0].permit.is_none() {
        assert!(now < 10 * S, "starved by younger ones");
        for class in [SEARCH, RouteClass::Associations] {
            while tasks
                .iter()
                .skip(1)
                .filter(|task| task.waiter.is_some())
                .count()
                < 20
            {
                let Err(waiter) = enter(&mut ledger, now, class) else {
                    panic!("the older ones are first");
                };
                tasks.push(Task::new(&mut ledger, now, waiter));
            }
            let (_, others) = tasks.split_at_mut(1);
            for task in others {
                if let Some(permit) = task.permit.take() {
                    ledger.settle(at(now), permit, None);
                }
            }
        }
        now = next_alarm(&tasks).expect("somebody has set an alarm");
        drive(&mut ledger, &mut tasks, now);
    }
}

/// T17: the pause misses tasks already past the gate (discord.py, throttle-net TN2-009).
#[test]
fn t17_what_is_granted_and_not_sent_holds_too() {
    for subject in [Subject::Token, Subject::Account, Subject::Limit(0)] {
        let mut ledger = ledger([rolling("burst", 5, S)]);
        let mut permit = granted(&mut ledger, 0, GENERAL);
        let mut slotless =
            match ledger.admit_through_pauses(at(0), keys(1), GENERAL, Lane::Bulk, Tick::NEVER) {
                Admission::Granted(permit) => permit,
                other => panic!("{other:?}"),
            };
        ledger.pause(at(1), keys(1), subject, tick(9 * S));
        let first = ledger
            .send(at(2), &mut permit, Tick::NEVER)
            .expect_err("it is paused");
        let second = ledger
            .send(at(2), &mut slotless, Tick::NEVER)
            .expect_err("it is paused");
        assert_eq!(
            used(&mut ledger, 2, 0),
            0,
            "whoever waits for a pause keeps no slot"
        );
        let [mut first, mut second] =
            [first, second].map(|waiter| Task::new(&mut ledger, 2, waiter));
        for task in [&mut first, &mut second] {
            task.poll(&mut ledger, 9 * S - 1);
            assert!(task.permit.is_none(), "T19: too early");
        }
        for task in [&mut first, &mut second] {
            task.poll(&mut ledger, 9 * S);
            let permit = task.permit.as_mut().expect("the pause is over");
            ledger.send(at(9 * S), permit, Tick::NEVER).unwrap();
        }
    }
}

/// T18: of two overlapping pauses the older timer ends the newer (slack node SDK, go-github-ratelimit).
#[test]
fn t18_pauses_merge_by_the_later_deadline() {
    let mut ledger = ledger([rolling("burst", 5, S)]);
    for (now, until) in [(0, 10 * S), (S, 3 * S), (2 * S, 20 * S), (3 * S, 4 * S)] {
        ledger.pause(at(now), keys(1), Subject::Token, tick(until));
    }
    let waiter = waiting(&mut ledger, 3 * S, GENERAL);
    let mut task = Task::new(&mut ledger, 3 * S, waiter);
    for now in [4 * S, 10 * S, 20 * S - 1] {
        task.poll(&mut ledger, now);
        assert_eq!(task.until, Some(20 * S));
    }
    task.poll(&mut ledger, 20 * S);
    assert!(task.permit.is_some());
}

/// T19, T20, T51: nobody early, nobody forgotten, no stampede, in the order in which they came; newcomers go last.
#[test]
fn t20_a_resume_is_no_stampede() {
    for early in [false, true] {
        for subject in [Subject::Token, Subject::Account, Subject::Limit(0)] {
            let mut ledger = ledger([rolling("burst", 3, S)]);
            ledger.pause(at(0), keys(1), subject, tick(5 * S));
            let mut tasks: Vec<_> = (0..10)
                .map(|_| {
                    let waiter = waiting(&mut ledger, 0, GENERAL);
                    Task::new(&mut ledger, 0, waiter)
                })
                .collect();
            let mut now = 5 * S;
            if early {
                now = 2 * S;
                ledger.resume(at(now), keys(1), subject);
            }
            // At the very moment somebody new comes, before any alarm has rung.
            let newcomer = waiting(&mut ledger, now, GENERAL);
            tasks.push(Task::new(&mut ledger, now, newcomer));
            let mut round = 0;
            while tasks.iter().any(|task| task.waiter.is_some()) {
                drive(&mut ledger, &mut tasks, now);
                let went: Vec<_> = (0..tasks.len())
                    .filter(|nth| tasks[*nth].permit.is_some())
                    .collect();
                assert_eq!(
                    went,
                    (3 * round..(3 * round + 3).min(11)).collect::<Vec<_>>()
                );
                for task in &mut tasks {
                    if let Some(permit) = task.permit.take() {
                        ledger.settle(at(now), permit, None);
                    }
                }
                drive(&mut ledger, &mut tasks, now);
                round += 1;
                now += S + 1;
            }
            assert_eq!(round, 4);
        }
    }
}

/// T21: one 429 stops too much or too little (Jira, Slack, nango#4046).
#[test]
fn t21_a_pause_stops_what_it_names() {
    let search = rolling("search", 5, S)
        .scope(Scope::Account)
        .governs([SEARCH]);
    let mut ledger = ledger([rolling("burst", 10, S), search]);
    let sister = Keys {
        token: keys(2).token,
        account: keys(1).account,
    };
    let may = |ledger: &mut Ledger, keys, class| match ledger.admit(
        at(S),
        keys,
        class,
        Lane::Bulk,
        tick(S),
    ) {
        Admission::Granted(permit) => {
            ledger.refund(at(S), permit);
            true
        }
        _ => false,
    };
    let all = |ledger: &mut Ledger| {
        [
            (keys(1), GENERAL),
            (keys(1), SEARCH),
            (sister, GENERAL),
            (sister, SEARCH),
            (keys(3), SEARCH),
        ]
        .map(|(keys, class)| may(ledger, keys, class))
    };
    assert_eq!(all(&mut ledger), [true; 5]);
    ledger.pause(at(0), keys(1), Subject::Limit(1), tick(9 * S));
    assert_eq!(
        all(&mut ledger),
        [true, false, true, false, true],
        "searches of the account"
    );
    ledger.resume(at(0), sister, Subject::Limit(1));
    ledger.pause(at(0), keys(1), Subject::Token, tick(9 * S));
    assert_eq!(
        all(&mut ledger),
        [false, false, true, true, true],
        "the token"
    );
    ledger.resume(at(0), keys(1), Subject::Token);
    ledger.pause(at(0), sister, Subject::Account, tick(9 * S));
    assert_eq!(
        all(&mut ledger),
        [false, false, false, false, true],
        "the account"
    );
}

/// Nobody waits in vain: a pause that is longer than somebody may wait tells him at once, wherever he stands in line.
#[test]
fn who_cannot_outwait_a_pause_is_told_at_once() {
    for nth in [0, 1] {
        let mut ledger = ledger([rolling("a", 1, S), rolling("b", 1, S)]);
        let held = sent(&mut ledger, 0, GENERAL);
        let Admission::Waiting(waiter) =
            ledger.admit(at(0), keys(1), GENERAL, Lane::Bulk, tick(20 * S))
        else {
            panic!("nothing is free");
        };
        let mut task = Task::new(&mut ledger, 0, waiter);
        ledger.pause(at(1), keys(1), Subject::Limit(nth), tick(60 * S));
        for waker in ledger.take_wakers() {
            waker.wake();
        }
        assert!(task.rang(), "limit {nth}");
        let denied = ledger.poll(at(1), task.waiter.take().unwrap(), None);
        assert!(
            matches!(denied, Progress::Denied(denial) if denial.paused && denial.until == tick(60 * S))
        );
        ledger.settle(at(1), held, None);
    }
}

/// A place kept in two queues is given up when a pause begins; those behind it go on at once.
#[test]
fn whoever_waits_for_a_pause_keeps_no_slot_from_others() {
    let a = rolling("a", 1, S)
        .scope(Scope::App)
        .governs([GENERAL, SEARCH]);
    let b = rolling("b", 1, S)
        .scope(Scope::App)
        .governs([GENERAL, RouteClass::Associations]);
    let mut ledger = ledger([a, b]);
    let take = |ledger: &mut Ledger, now, class| match ledger.admit(
        at(now),
        keys(2),
        class,
        Lane::Bulk,
        Tick::NEVER,
    ) {
        Admission::Granted(mut permit) => {
            ledger.send(at(now), &mut permit, Tick::NEVER).unwrap();
            permit
        }
        other => panic!("{other:?}"),
    };
    let first_a = take(&mut ledger, 0, SEARCH);
    ledger.settle(at(0), first_a, None);
    let first_b = take(&mut ledger, 500 * MS, RouteClass::Associations);
    ledger.settle(at(500 * MS), first_b, None);
    // Waits for b, is sent back to a, and from there to b again: from then on it keeps its place in both.
    let waiter = waiting(&mut ledger, 600 * MS, GENERAL);
    let mut both = Task::new(&mut ledger, 600 * MS, waiter);
    let second_a = take(&mut ledger, S + 1, SEARCH);
    ledger.settle(at(S + 1), second_a, None);
    both.poll(&mut ledger, 1500 * MS + 1);
    let second_b = take(&mut ledger, 1500 * MS + 2, RouteClass::Associations);
    both.poll(&mut ledger, 2 * S + 2);
    let Admission::Waiting(waiter) =
        ledger.admit(at(2 * S + 3), keys(2), SEARCH, Lane::Bulk, Tick::NEVER)
    else {
        panic!("the place is kept");
    };
    let behind = Task::new(&mut ledger, 2 * S + 3, waiter);
    assert!(both.waiter.is_some() && behind.waiter.is_some());
    for subject in [Subject::Token, Subject::Account] {
        ledger.pause(at(2 * S + 4), keys(1), subject, tick(90 * S));
    }
    let mut tasks = [both, behind];
    drive(&mut ledger, &mut tasks, 2 * S + 4);
    assert!(
        tasks[1].permit.is_some(),
        "a slot lies idle for somebody who is paused"
    );
    ledger.settle(at(3 * S), second_b, None);
}

/// T43: a stale clock reading lets many pass (throttle-net 1.0: 25 to 180 times as many).
#[test]
fn t43_time_never_goes_backwards() {
    let mut ledger = ledger([rolling("burst", 1, 10 * S)]);
    let permit = sent(&mut ledger, 100 * S, GENERAL);
    // Read before the send, used after it.
    ledger.settle(at(3), permit, None);
    for stale in [0, 50 * S, 109 * S, 110 * S] {
        assert_eq!(used(&mut ledger, stale, 0), 1, "{stale}");
    }
    assert!(matches!(
        ledger.admit(at(20 * S), keys(1), GENERAL, Lane::Bulk, tick(20 * S)),
        Admission::Denied(_)
    ));
    assert_eq!(used(&mut ledger, 110 * S + 1, 0), 0);
}

/// T45: readiness takes a permit and loses it (tower-resilience: five times `ready()` and drop leave none).
#[test]
fn t45_a_permit_that_is_not_used_is_not_lost() {
    let mut ledger = ledger([rolling("burst", 5, 10 * S), rolling("second", 2, S)]);
    for now in 0..500 {
        let permit = granted(&mut ledger, now, GENERAL);
        ledger.refund(at(now), permit);
    }
    spend(&mut ledger, 500, GENERAL, 2);
}

/// T46: two releases before the first waiter runs wake only one (throttle-net 1.0: `notify(n)` is not additive).
#[test]
fn t46_k_freed_slots_wake_k_waiters() {
    for k in 1..=5 {
        let mut ledger = ledger([rolling("burst", 5, S)]);
        let mut permits: Vec<_> = (0..5).map(|_| granted(&mut ledger, 0, GENERAL)).collect();
        let tasks: Vec<_> = (0..9)
            .map(|_| {
                let waiter = waiting(&mut ledger, 0, GENERAL);
                Task::new(&mut ledger, 0, waiter)
            })
            .collect();
        for permit in permits.drain(..k) {
            ledger.refund(at(1), permit);
        }
        // Nobody has run yet.
        for waker in ledger.take_wakers() {
            waker.wake();
        }
        let rang: Vec<_> = tasks.iter().map(Task::rang).collect();
        assert_eq!(rang, (0..9).map(|nth| nth < k).collect::<Vec<_>>());
    }
}

/// T46, T51: whoever was told to wake the others and goes away passes it on.
#[test]
fn t46_a_dropped_head_passes_its_duty_on() {
    let mut ledger = ledger([rolling("burst", 2, S)]);
    spend(&mut ledger, 0, GENERAL, 2);
    let mut tasks: Vec<_> = (0..6)
        .map(|_| {
            let waiter = waiting(&mut ledger, 0, GENERAL);
            Task::new(&mut ledger, 0, waiter)
        })
        .collect();
    for nth in 0..4 {
        assert!(tasks[nth].until.is_some(), "the head has an alarm");
        ledger.cancel(at(1), tasks[nth].waiter.take().unwrap());
        drive(&mut ledger, &mut tasks, 1);
    }
    drive(&mut ledger, &mut tasks, S + 1);
    assert!(tasks[4].permit.is_some() && tasks[5].permit.is_some());
}

/// T47: the window starts at the client's first call and drifts from the server's (tower `RateLimit`).
#[test]
fn t47_the_phase_of_the_servers_window_does_not_matter() {
    for start in [0, 1, 333 * MS, 999 * MS] {
        let counted = saturate(7, S, 90 * MS, true, 300, 7 + start, start);
        for phase in (0..S).step_by(37 * MS as usize) {
            let mut windows: Vec<_> = counted.iter().map(|at| (at + phase) / S).collect();
            windows.sort_unstable();
            assert!(
                windows
                    .chunk_by(|a, b| a == b)
                    .all(|window| window.len() <= 7),
                "phase {phase}"
            );
        }
    }
}

/// T54: a dropped future is never subtracted from in-flight (vector ARC).
#[test]
fn t54_in_flight_returns_to_zero_after_any_mix() {
    let mut ledger = ledger([
        rolling("burst", 50, S),
        Limit::daily("day", 100_000, Zone::UTC),
    ]);
    let mut state = 9;
    let mut now = 0;
    for _ in 0..2_000 {
        now += random(&mut state, 50) * MS;
        match (enter(&mut ledger, now, GENERAL), random(&mut state, 3)) {
            (Err(waiter), _) => ledger.cancel(at(now), waiter),
            (Ok(permit), 0) => ledger.refund(at(now), permit),
            (Ok(mut permit), end) => {
                ledger.send(at(now), &mut permit, Tick::NEVER).unwrap();
                now += random(&mut state, 20) * MS;
                if end == 1 {
                    ledger.settle(at(now), permit, Some(nanos(random(&mut state, 40) * MS)));
                } else {
                    ledger.abandon(at(now), permit);
                }
            }
        }
    }
    assert_eq!(used(&mut ledger, now + 3 * S, 0), 0);
    let a_day = now + 24 * 3600 * S;
    assert_eq!(used(&mut ledger, a_day, 1), 0);
}

/// A gate and every limit that a class can have: each of them holds the request up in turn.
#[test]
fn a_request_may_be_sent_from_queue_to_queue_through_all_of_its_limits() {
    const NAMES: [&str; MAX_LIMITS_PER_CLASS] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let limit = |name| rolling(name, 1, S).governs([GENERAL, RouteClass::Named(name)]);
    let mut ledger = ledger(NAMES.map(limit));
    spend(&mut ledger, 0, RouteClass::Named("a"), 1);
    ledger.pause(at(0), keys(1), Subject::Token, tick(S / 2));
    let mut waiter = waiting(&mut ledger, 1, GENERAL);
    let mut now = S / 2;
    for (nth, name) in (1..).zip(&NAMES[1..]) {
        waiter = match ledger.poll(at(now), waiter, None) {
            Progress::Waiting { waiter, .. } => waiter,
            other => panic!("{other:?}"),
        };
        let next = sent(&mut ledger, now + 1, RouteClass::Named(name));
        ledger.settle(at(nth * S), next, None);
        now = nth * S + 1;
    }
    let Progress::Waiting { waiter, .. } = ledger.poll(at(now), waiter, None) else {
        panic!("the last limit is used up");
    };
    assert!(ledger.poll(at(now + S), waiter, None).is_granted());
}

/// A figure in another unit, or of another thing: nothing is credited, the slot ages from the response.
#[test]
fn a_service_time_beyond_the_round_trip_is_no_service_time() {
    for (service, free_at) in [(799 * MS, S + MS), (800 * MS, S), (800 * MS + 1, 1800 * MS)] {
        let mut ledger = ledger([rolling("burst", 1, S)]);
        let permit = sent(&mut ledger, 0, GENERAL);
        ledger.settle(at(800 * MS), permit, Some(nanos(service)));
        assert_eq!(used(&mut ledger, free_at, 0), 1, "{service}");
        assert_eq!(used(&mut ledger, free_at + 1, 0), 0, "{service}");
    }
}

/// Half of the least time on the network, once there are 128 samples, and only when asked for.
#[test]
fn the_floor_of_the_network_is_credited_when_it_is_known() {
    const TRIP: u64 = 100 * MS;
    for (samples, credits, free_at) in [
        (127, true, S + TRIP),
        (128, true, S + TRIP - 20 * MS),
        (128, false, S + TRIP),
    ] {
        let mut ledger = ledger([rolling("burst", 1, S)]);
        ledger.credit_network_floor(credits);
        for nth in 0..samples {
            let permit = sent(&mut ledger, nth * 2 * S, GENERAL);
            ledger.settle(at(nth * 2 * S + TRIP), permit, Some(nanos(60 * MS)));
        }
        let now = samples * 2 * S;
        let permit = sent(&mut ledger, now, GENERAL);
        ledger.settle(at(now + TRIP), permit, None);
        assert_eq!(
            used(&mut ledger, now + free_at, 0),
            1,
            "{samples} {credits}"
        );
        assert_eq!(
            used(&mut ledger, now + free_at + 1, 0),
            0,
            "{samples} {credits}"
        );
    }
}

/// What is given up may arrive as late as the slowest answer of the last ten to twenty minutes, at least a second.
#[test]
fn slow_round_trips_are_forgotten_after_a_while() {
    const MINUTE: u64 = 60 * S;
    for (later, late) in [
        (9 * MINUTE, 30 * S),
        (19 * MINUTE, 30 * S),
        (40 * MINUTE, S),
    ] {
        let mut ledger = ledger([rolling("burst", 1, S)]);
        let start = 100 * MINUTE;
        let slow = sent(&mut ledger, start - 30 * S, GENERAL);
        ledger.settle(at(start), slow, None);
        for minute in 1..=later / MINUTE {
            spend(&mut ledger, start + minute * MINUTE, GENERAL, 1);
        }
        let now = start + later + 2 * S;
        let given_up = sent(&mut ledger, now, GENERAL);
        ledger.abandon(at(now), given_up);
        assert_eq!(used(&mut ledger, now + S + late, 0), 1, "{later}");
        assert_eq!(used(&mut ledger, now + S + late + 1, 0), 0, "{later}");
    }
}
