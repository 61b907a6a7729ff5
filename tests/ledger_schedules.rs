//! Every order of events, exhaustively, for a few requests: whatever happens first, a waiter who is asked only when its waker
//! fired or its time has come is never forgotten, no slot is lost, and nobody passes an older one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, UNIX_EPOCH};

use tower_quota::core::{Admission, Keys, Ledger, Now, Permit, Progress, Subject, Tick, WaiterId};
use tower_quota::plan::{Lane, Limit, Plan, RouteClass};

const WINDOW: u64 = 100;
const PAUSE: u64 = 150;
const CLASSES: [RouteClass; 3] = [
    RouteClass::General,
    RouteClass::Search,
    RouteClass::Associations,
];

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that comes at once; the schedule says what becomes of it.
#[derive(Default)]
struct Request {
    class: usize,
    waiter: Option<WaiterId>,
    bell: Arc<Bell>,
    heard: usize,
    until: Option<u64>,
    permit: Option<Permit>,
    sent: bool,
    over: bool,
    /// When its owner learnt that it was granted.
    grant: Option<u64>,
    refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Poll a waiter that was woken or whose time has come.
    Poll(usize),
    Send(usize),
    Respond(usize),
    Abandon(usize),
    /// Give up in the queue, or between grant and send.
    Drop(usize),
    Pause,
    /// Nothing else happens before the next alarm.
    Timer,
}

struct World {
    ledger: Ledger,
    now: u64,
    requests: Vec<Request>,
    drops: usize,
    abandons: usize,
    pauses: usize,
    paused_until: u64,
}

fn at(now: u64) -> Now {
    let since = Duration::from_millis(now);
    Now {
        tick: Tick::from(since),
        wall: UNIX_EPOCH + since,
    }
}

/// Rounded up to the next millisecond, as a timer would.
fn millis(tick: Tick) -> u64 {
    u64::try_from(tick.since_origin().as_nanos().div_ceil(1_000_000)).unwrap()
}

impl World {
    fn new(plan: &Plan, classes: &[usize], pauses: usize) -> Self {
        let mut world = World {
            ledger: Ledger::new(plan),
            now: 1,
            requests: Vec::new(),
            drops: 1,
            abandons: 1,
            pauses,
            paused_until: 0,
        };
        for class in classes {
            let mut request = Request {
                class: *class,
                ..Request::default()
            };
            match world.ledger.admit(
                at(1),
                Keys::SHARED,
                CLASSES[*class],
                Lane::Bulk,
                Tick::NEVER,
            ) {
                Admission::Granted(permit) => {
                    request.permit = Some(permit);
                    request.grant = Some(world.now);
                }
                Admission::Waiting(waiter) => request.waiter = Some(waiter),
                Admission::Denied(denial) => panic!("{denial:?}"),
            }
            world.requests.push(request);
            world.poll(world.requests.len() - 1);
        }
        world
    }

    fn ring(&mut self) {
        for waker in self.ledger.take_wakers() {
            waker.wake();
        }
    }

    fn poll(&mut self, nth: usize) {
        let request = &mut self.requests[nth];
        let Some(waiter) = request.waiter.take() else {
            return;
        };
        request.heard = request.bell.0.load(Ordering::Relaxed);
        match self.ledger.poll(
            at(self.now),
            waiter,
            Some(&Waker::from(request.bell.clone())),
        ) {
            Progress::Granted(permit) => {
                request.permit = Some(permit);
                request.grant = Some(self.now);
            }
            Progress::Waiting { waiter, until } => {
                request.waiter = Some(waiter);
                request.until = until.map(millis);
                assert!(until.is_none_or(|until| until > at(self.now).tick));
            }
            Progress::Denied(denial) => panic!("{denial:?}"),
        }
        self.ring();
    }

    fn is_due(&self, nth: usize) -> bool {
        let request = &self.requests[nth];
        request.waiter.is_some()
            && (request.bell.0.load(Ordering::Relaxed) != request.heard
                || request.until.is_some_and(|until| until <= self.now))
    }

    fn alarm(&self) -> Option<u64> {
        let waiting = self
            .requests
            .iter()
            .filter(|request| request.waiter.is_some());
        waiting.filter_map(|request| request.until).min()
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (nth, request) in self.requests.iter().enumerate() {
            if self.is_due(nth) {
                steps.push(Step::Poll(nth));
            }
            if request.waiter.is_some() && self.drops > 0 {
                steps.push(Step::Drop(nth));
            }
            if request.permit.is_some() {
                if !request.sent {
                    steps.push(Step::Send(nth));
                    if self.drops > 0 {
                        steps.push(Step::Drop(nth));
                    }
                } else {
                    steps.push(Step::Respond(nth));
                    if self.abandons > 0 {
                        steps.push(Step::Abandon(nth));
                    }
                }
            }
        }
        if self.pauses > 0 {
            steps.push(Step::Pause);
        }
        let somebody_is_due = (0..self.requests.len()).any(|nth| self.is_due(nth));
        if !somebody_is_due && self.alarm().is_some() {
            steps.push(Step::Timer);
        }
        steps
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Poll(nth) => self.poll(nth),
            Step::Send(nth) => {
                let mut permit = self.requests[nth].permit.take().unwrap();
                match self.ledger.send(at(self.now), &mut permit, Tick::NEVER) {
                    Ok(()) => {
                        assert!(self.now >= self.paused_until, "sent under a pause");
                        self.requests[nth].sent = true;
                        self.requests[nth].permit = Some(permit);
                    }
                    Err(waiter) => {
                        assert!(self.now < self.paused_until, "held back without a pause");
                        self.requests[nth].waiter = Some(waiter);
                        self.requests[nth].refused = true;
                        self.poll(nth);
                    }
                }
            }
            Step::Respond(nth) => {
                let permit = self.requests[nth].permit.take().unwrap();
                self.requests[nth].over = true;
                self.ledger.settle(at(self.now), permit, None);
            }
            Step::Abandon(nth) => {
                self.abandons -= 1;
                let permit = self.requests[nth].permit.take().unwrap();
                self.requests[nth].over = true;
                self.ledger.abandon(at(self.now), permit);
            }
            Step::Drop(nth) => {
                self.drops -= 1;
                let request = &mut self.requests[nth];
                request.over = true;
                request.refused = true;
                if let Some(waiter) = request.waiter.take() {
                    self.ledger.cancel(at(self.now), waiter);
                } else {
                    let permit = request.permit.take().unwrap();
                    self.ledger.refund(at(self.now), permit);
                }
            }
            Step::Pause => {
                self.pauses -= 1;
                self.paused_until = self.now + PAUSE;
                self.ledger.pause(
                    at(self.now),
                    Keys::SHARED,
                    Subject::Token,
                    at(self.paused_until).tick,
                );
            }
            Step::Timer => self.now = self.alarm().unwrap(),
        }
        self.ring();
    }

    fn check(&mut self, limits: usize, quotas: &[u32]) {
        for (limit, quota) in quotas.iter().enumerate().take(limits) {
            let used = self
                .ledger
                .usage(at(self.now), Keys::SHARED, limit)
                .unwrap()
                .used;
            assert!(used <= *quota, "limit {limit}: {used} of {quota}");
        }
    }

    /// Nothing more can happen: everybody must be through, in order, and all slots must come back.
    fn check_end(&mut self, quotas: &[u32]) {
        assert!(
            self.requests.iter().all(|request| request.over),
            "somebody was forgotten"
        );
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        for request in self.requests.iter().filter(|request| !request.refused) {
            let grant = request.grant.unwrap();
            if let Some(last) = last.insert(request.class, grant) {
                assert!(last <= grant, "a younger one was granted first");
            }
        }
        assert_eq!(self.ledger.waiting(), 0);
        for limit in 0..quotas.len() {
            let later = at(self.now + 10_000);
            assert_eq!(
                self.ledger.usage(later, Keys::SHARED, limit).unwrap().used,
                0
            );
        }
    }
}

/// Walks through all schedules, each from the start, because a ledger cannot be copied. Gives how many there were.
fn explore(
    limits: &[Limit],
    quotas: &[u32],
    classes: &[usize],
    pauses: usize,
    most: usize,
) -> usize {
    let plan = limits
        .iter()
        .fold(Plan::builder("schedules"), |plan, limit| {
            plan.limit(limit.clone())
        });
    let plan = plan.build().unwrap();
    // At each depth: which of how many steps.
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut schedules = 0;
    loop {
        let mut world = World::new(&plan, classes, pauses);
        let mut taken = Vec::new();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut depth = 0;
            loop {
                let steps = world.steps();
                if steps.is_empty() {
                    break;
                }
                if depth == path.len() {
                    path.push((0, steps.len()));
                }
                taken.push(steps[path[depth].0]);
                world.run(steps[path[depth].0]);
                world.check(limits.len(), quotas);
                depth += 1;
                assert!(depth < 80, "the schedule does not end");
            }
            world.check_end(quotas);
        }));
        if let Err(panic) = outcome {
            eprintln!("after {taken:?}");
            std::panic::resume_unwind(panic);
        }
        schedules += 1;
        while path.last().is_some_and(|(step, of)| step + 1 == *of) {
            path.pop();
        }
        match path.last_mut() {
            Some((step, _)) if schedules < most => *step += 1,
            _ => return schedules,
        }
    }
}

fn rolling(name: &str, quota: u32, window: u64) -> Limit {
    Limit::rolling(name, quota, Duration::from_millis(window))
}

#[test]
fn one_slot() {
    let schedules = explore(&[rolling("a", 1, WINDOW)], &[1], &[0, 0, 0], 0, usize::MAX);
    assert!(schedules > 20, "{schedules}");
    eprintln!("{schedules} schedules");
}

#[test]
fn two_slots() {
    let schedules = explore(&[rolling("a", 2, WINDOW)], &[2], &[0, 0, 0, 0], 0, 20_000);
    assert!(schedules > 300, "{schedules}");
    eprintln!("{schedules} schedules");
}

#[test]
fn one_slot_and_a_pause_at_any_moment() {
    let schedules = explore(&[rolling("a", 1, WINDOW)], &[1], &[0, 0, 0, 0], 1, 20_000);
    assert!(schedules > 300, "{schedules}");
    eprintln!("{schedules} schedules");
}

#[test]
fn two_limits_that_overlap() {
    let a = rolling("a", 1, WINDOW).governs([CLASSES[0], CLASSES[1]]);
    let b = rolling("b", 1, WINDOW + 30).governs([CLASSES[0], CLASSES[2]]);
    let schedules = explore(&[a, b], &[1, 1], &[1, 2, 0, 1, 0], 0, 30_000);
    assert!(schedules > 300, "{schedules}");
    eprintln!("{schedules} schedules");
}

#[test]
fn two_windows_for_all() {
    let limits = [rolling("a", 1, WINDOW), rolling("b", 2, 2 * WINDOW + 1)];
    let schedules = explore(&limits, &[1, 2], &[0, 0, 0, 0], 1, 20_000);
    assert!(schedules > 300, "{schedules}");
    eprintln!("{schedules} schedules");
}
