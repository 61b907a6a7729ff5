//! The ledger against a naive model that shares none of its arithmetic: lists of every request with the time it was sent, the
//! time at which the server counted it (which the ledger never sees) and the time of its answer.
//!
//! Random plans, keys, lanes, reserves, latencies, cancellations, refunds, give-ups, pauses and changes of the limits; after every
//! step:
//!
//! * a slot is in use exactly as long as the model says, so nothing is granted too early and no slot is ever lost;
//! * all of `Bulk` together hold no more than is not reserved;
//! * waiters with the same keys, class and lane are granted in the order of their admission, and nobody of `Bulk` who comes while one
//!   of `Interactive` waits for the same goes before it;
//! * nothing is granted or sent under a pause;
//! * nobody waits who can go, although a waiter is polled only when its waker fired or its own time has come;
//!
//! and at the end no window at the server has seen more than its quota, and every slot can be taken again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::Index;
use tower_quota::core::{
    Admission, Denial, DenialReason, Fingerprint, Keys, Ledger, Now, Permit, Progress, Subject,
    Tick, WaiterId,
};
use tower_quota::plan::{Lane, Limit, Plan, Reserve, RouteClass, Rule, Scope};

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const CLASSES: [RouteClass; 4] = [
    RouteClass::General,
    RouteClass::Search,
    RouteClass::Associations,
    RouteClass::Named("bulk"),
];

fn key(nth: u64) -> Fingerprint {
    Fingerprint::from_halves(
        nth.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        nth.wrapping_mul(0xD1B5_4A32_D192_ED03),
    )
}

/// Three tokens of which two share an account.
fn keys(nth: usize) -> Keys {
    let account = [10, 10, 20][nth];
    Keys {
        token: key(nth as u64 + 1),
        account: key(account),
    }
}

fn duration(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn now(nanos: u64) -> Now {
    Now {
        tick: Tick::from(duration(nanos)),
        wall: wall(nanos),
    }
}

fn wall(nanos: u64) -> SystemTime {
    UNIX_EPOCH + duration(nanos)
}

fn nanos(tick: Tick) -> u64 {
    u64::try_from(tick.since_origin().as_nanos()).unwrap()
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
struct LimitSpec {
    quota: u32,
    window: u64,
    scope: Scope,
    /// Which of `CLASSES` it governs; `None` means all.
    classes: Option<Vec<usize>>,
    reserve: u32,
}

impl LimitSpec {
    fn governs(&self, class: usize) -> bool {
        self.classes
            .as_ref()
            .is_none_or(|classes| classes.contains(&class))
    }

    /// What all of this lane may use together.
    fn allows(&self, lane: Lane) -> u32 {
        match lane {
            Lane::Interactive => self.quota,
            Lane::Bulk => self.quota - self.reserve.min(self.quota - 1),
        }
    }

    /// Beyond 256 the times are rounded up to a 256th of the window.
    fn longest_cooling(&self) -> u64 {
        if self.quota > 256 {
            self.window + self.window / 256
        } else {
            self.window
        }
    }

    fn key(&self, keys: &Keys) -> Option<Fingerprint> {
        match self.scope {
            Scope::Token => Some(keys.token),
            Scope::Account => Some(keys.account),
            _ => None,
        }
    }
}

fn plan_of(limits: &[LimitSpec]) -> Plan {
    let mut builder = Plan::builder("oracle");
    for (nth, spec) in limits.iter().enumerate() {
        let mut limit =
            Limit::rolling(format!("l{nth}"), spec.quota, duration(spec.window)).scope(spec.scope);
        if let Some(classes) = &spec.classes {
            limit = limit.governs(classes.iter().map(|class| CLASSES[*class]));
        }
        builder = builder.limit(limit);
    }
    builder.build().unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Admit {
        key: usize,
        class: usize,
        lane: Lane,
        wait: Option<u64>,
        through: bool,
    },
    Burst {
        key: usize,
        class: usize,
        lane: Lane,
        count: usize,
    },
    Send(Index),
    SendAll,
    Refund(Index),
    Respond {
        which: Index,
        counted: f64,
        service: Option<f64>,
    },
    Abandon {
        which: Index,
        counted: f64,
    },
    Cancel(Index),
    Pause {
        key: usize,
        subject: usize,
        length: u64,
    },
    Resume {
        key: usize,
        subject: usize,
    },
    SetQuota {
        limit: Index,
        quota: u32,
    },
    SetReserve {
        limit: Index,
        slots: u32,
    },
    Wait(u64),
    /// To the next moment at which a slot of the model ages out, plus this many nanoseconds less one.
    WaitForRelease(u64),
    Idle(u64),
}

impl Op {
    /// In a quiet case nobody leaves the queue and nothing is paused; limits change only where that is the point.
    fn fits(&self, quiet: bool, changes: bool) -> bool {
        match self {
            Op::Refund(_) | Op::Cancel(_) | Op::Pause { .. } | Op::Resume { .. } => !quiet,
            Op::SetQuota { .. } | Op::SetReserve { .. } => changes,
            _ => true,
        }
    }
}

fn fraction() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0]
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![1 => Just(Lane::Interactive), 2 => Just(Lane::Bulk)]
}

fn op() -> impl Strategy<Value = Op> {
    let wait = prop_oneof![3 => Just(None), 1 => (0..3000_u64).prop_map(|wait| Some(wait * MS))];
    let subject = 0..6_usize;
    prop_oneof![
        12 => (0..3_usize, 0..4_usize, lane(), wait, prop::bool::weighted(0.08))
            .prop_map(|(key, class, lane, wait, through)| Op::Admit { key, class, lane, wait, through }),
        3 => (0..3_usize, 0..4_usize, lane(), 1..8_usize)
            .prop_map(|(key, class, lane, count)| Op::Burst { key, class, lane, count }),
        5 => any::<Index>().prop_map(Op::Send),
        5 => Just(Op::SendAll),
        2 => any::<Index>().prop_map(Op::Refund),
        10 => (any::<Index>(), fraction(), prop::option::of(fraction()))
            .prop_map(|(which, counted, service)| Op::Respond { which, counted, service }),
        1 => (any::<Index>(), fraction()).prop_map(|(which, counted)| Op::Abandon { which, counted }),
        2 => any::<Index>().prop_map(Op::Cancel),
        3 => (0..3_usize, subject.clone(), 0..3000_u64)
            .prop_map(|(key, subject, length)| Op::Pause { key, subject, length: length * MS }),
        1 => (0..3_usize, subject).prop_map(|(key, subject)| Op::Resume { key, subject }),
        2 => (any::<Index>(), 1..8_u32).prop_map(|(limit, quota)| Op::SetQuota { limit, quota }),
        1 => (any::<Index>(), 0..5_u32).prop_map(|(limit, slots)| Op::SetReserve { limit, slots }),
        8 => (0..400_u64).prop_map(|wait| Op::Wait(wait * MS)),
        4 => (0..3_u64).prop_map(Op::WaitForRelease),
        1 => (0..100_u64).prop_map(|windows| Op::Idle(windows * S / 5)),
    ]
}

fn limit_spec(most: u32) -> impl Strategy<Value = LimitSpec> {
    let window = prop::sample::select(vec![100 * MS, 250 * MS, S, 2 * S]);
    let scope = prop::sample::select(vec![Scope::Token, Scope::Account, Scope::App]);
    let classes = prop::option::of(prop::sample::subsequence(vec![0, 1, 2, 3], 1..=3));
    let reserve = prop_oneof![2 => Just(0), 1 => 1..4_u32];
    (1..=most, window, scope, classes, reserve).prop_map(
        |(quota, window, scope, classes, reserve)| LimitSpec {
            quota,
            window,
            scope,
            classes,
            reserve,
        },
    )
}

#[derive(Clone, Debug)]
struct Case {
    limits: Vec<LimitSpec>,
    ops: Vec<Op>,
    /// Timers fire at multiples of this only.
    timer: u64,
    /// Whether woken waiters are polled after every step, or only before time goes on.
    prompt: bool,
    /// Whether `usage` is asked after every step, which makes the ledger tidy up more often than it would.
    ask: bool,
    seed: u64,
    quiet: bool,
    changes: bool,
}

fn case(
    limits: impl Strategy<Value = Vec<LimitSpec>>,
    quiet: bool,
    changes: bool,
) -> impl Strategy<Value = Case> {
    let ops = prop::collection::vec(op(), 1..120).prop_map(move |mut ops| {
        ops.retain(|op| op.fits(quiet, changes));
        ops
    });
    let timer = prop::sample::select(vec![1, 1, MS]);
    (
        limits,
        ops,
        timer,
        any::<bool>(),
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(move |(limits, ops, timer, prompt, ask, seed)| Case {
            limits,
            ops,
            timer,
            prompt,
            ask,
            seed,
            quiet,
            changes,
        })
}

enum Stage {
    Waiting {
        id: WaiterId,
        until: Option<u64>,
        bell: Arc<Bell>,
        heard: usize,
    },
    Granted(Permit),
    Sent {
        permit: Permit,
        sent: u64,
    },
    /// `counted` is what the server did, `latest` what the client may conclude.
    Over {
        counted: Option<u64>,
        latest: Option<u64>,
    },
    /// While the stage changes.
    Moving,
}

struct Request {
    keys: Keys,
    key: usize,
    class: usize,
    lane: Lane,
    through: bool,
    deadline: Option<u64>,
    stage: Stage,
    /// The step at which its waker was first heard since it was polled.
    rung: usize,
    /// The step at which it came to stand in line.
    lined_up: usize,
    not_before: u64,
}

impl Request {
    fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. })
    }

    fn is_like(&self, other: &Request) -> bool {
        self.key == other.key && self.class == other.class && self.through == other.through
    }

    /// Whether it goes before `other`, if both wait.
    fn precedes(&self, other: &Request) -> bool {
        self.is_like(other) && (self.lane == other.lane || self.lane == Lane::Interactive)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PauseKey {
    Token(Fingerprint),
    Account(Fingerprint),
    Limit(usize, Option<Fingerprint>),
}

#[derive(Clone, Copy, Default)]
struct Paused {
    until: u64,
    /// The step in which it began.
    since: usize,
}

struct World {
    case: Case,
    ledger: Ledger,
    now: u64,
    step: usize,
    requests: Vec<Request>,
    /// Those that are not over, so that a long case does not take for ever.
    live: Vec<usize>,
    pauses: HashMap<PauseKey, Paused>,
    longest_trip: u64,
    random: u64,
    polls: usize,
    /// Things that may move somebody: what the number of polls is measured by.
    events: usize,
}

impl World {
    fn new(case: Case) -> Self {
        let mut ledger = Ledger::new(&plan_of(&case.limits));
        // Not the origin, so that a time of zero cannot pass for a real one.
        let begin = 7 * S + 3;
        for (nth, limit) in case.limits.iter().enumerate() {
            let reserve = Reserve::Slots(limit.reserve);
            ledger.set_reserve(now(begin), nth, reserve).unwrap();
        }
        let random = case.seed | 1;
        Self {
            case,
            ledger,
            now: begin,
            step: 0,
            requests: Vec::new(),
            live: Vec::new(),
            pauses: HashMap::new(),
            longest_trip: 0,
            random,
            polls: 0,
            events: 0,
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below.max(1)
    }

    fn pause_keys(&self, request: &Request) -> Vec<PauseKey> {
        let mut keys = vec![
            PauseKey::Token(request.keys.token),
            PauseKey::Account(request.keys.account),
        ];
        for (nth, limit) in self.case.limits.iter().enumerate() {
            if limit.governs(request.class) {
                keys.push(PauseKey::Limit(nth, limit.key(&request.keys)));
            }
        }
        keys
    }

    /// The pause under which the request is.
    fn pause_of(&self, request: &Request) -> Option<Paused> {
        let pauses = self
            .pause_keys(request)
            .into_iter()
            .filter_map(|key| self.pauses.get(&key).copied());
        pauses
            .filter(|pause| pause.until > self.now)
            .max_by_key(|pause| pause.until)
    }

    /// The earliest and the latest moment at which a settled request stops being counted, under a limit.
    fn naive_used(&self, limit: usize, key: Option<Fingerprint>, window: u64) -> u32 {
        let lanes = [Lane::Interactive, Lane::Bulk];
        let used = lanes.map(|lane| self.used_by(lane, limit, key, window));
        used.iter().sum()
    }

    fn used_by(&self, lane: Lane, limit: usize, key: Option<Fingerprint>, window: u64) -> u32 {
        let spec = &self.case.limits[limit];
        let concerned = |request: &&Request| {
            !request.through
                && request.lane == lane
                && spec.governs(request.class)
                && spec.key(&request.keys) == key
        };
        let counts = |request: &&Request| match request.stage {
            Stage::Granted(_) | Stage::Sent { .. } => true,
            Stage::Over {
                latest: Some(latest),
                ..
            } => latest + window >= self.now,
            _ => false,
        };
        self.requests
            .iter()
            .filter(concerned)
            .filter(counts)
            .count() as u32
    }

    /// Waiters that the ledger may have granted already, without their owner having looked.
    fn unheard(&self, limit: usize, key: Option<Fingerprint>) -> u32 {
        let spec = &self.case.limits[limit];
        let concerned = |request: &&Request| {
            !request.through && spec.governs(request.class) && spec.key(&request.keys) == key
        };
        self.requests
            .iter()
            .filter(concerned)
            .filter(|request| self.has_rung(request))
            .count() as u32
    }

    fn has_rung(&self, request: &Request) -> bool {
        match &request.stage {
            Stage::Waiting { bell, heard, .. } => bell.0.load(Ordering::Relaxed) != *heard,
            _ => false,
        }
    }

    fn is_due(&self, request: &Request) -> bool {
        let timer = self.case.timer;
        match &request.stage {
            Stage::Waiting { until, .. } => {
                self.has_rung(request)
                    || until.is_some_and(|until| until.next_multiple_of(timer) <= self.now)
                    || request
                        .deadline
                        .is_some_and(|deadline| deadline.next_multiple_of(timer) <= self.now)
            }
            _ => false,
        }
    }

    fn ring(&mut self) {
        for waker in self.ledger.take_wakers() {
            waker.wake();
        }
        for nth in self.live.clone() {
            if self.requests[nth].is_waiting()
                && self.requests[nth].rung == usize::MAX
                && self.has_rung(&self.requests[nth])
            {
                self.requests[nth].rung = self.step;
            }
        }
    }

    fn admit(
        &mut self,
        key: usize,
        class: usize,
        lane: Lane,
        wait: Option<u64>,
        through: bool,
    ) -> Result<(), TestCaseError> {
        let deadline = wait.map(|wait| self.now + wait);
        let tick = deadline.map_or(Tick::NEVER, |deadline| Tick::from(duration(deadline)));
        let mut request = Request {
            keys: keys(key),
            key,
            class,
            lane,
            through,
            deadline,
            stage: Stage::Moving,
            rung: usize::MAX,
            lined_up: self.step,
            not_before: 0,
        };
        let at = now(self.now);
        let admission = if through {
            self.ledger
                .admit_through_pauses(at, request.keys, CLASSES[class], lane, tick)
        } else {
            self.ledger
                .admit(at, request.keys, CLASSES[class], lane, tick)
        };
        self.events += 1;
        self.ring();
        match admission {
            Admission::Granted(permit) => {
                prop_assert!(self.pause_of(&request).is_none(), "granted under a pause");
                request.stage = Stage::Granted(permit);
                self.live.push(self.requests.len());
                self.requests.push(request);
                self.after_grant(self.requests.len() - 1, self.step, true)
            }
            Admission::Waiting(id) => {
                if through {
                    prop_assert!(
                        self.pause_of(&request).is_some(),
                        "waits although nothing is paused"
                    );
                }
                request.stage = Stage::Waiting {
                    id,
                    until: None,
                    bell: Arc::default(),
                    heard: 0,
                };
                self.live.push(self.requests.len());
                self.requests.push(request);
                self.poll(self.requests.len() - 1)
            }
            Admission::Denied(denial) => {
                prop_assert_eq!(denial.reason, DenialReason::TooLong);
                let Some(deadline) = deadline else {
                    return Err(TestCaseError::fail(
                        "denied although it would wait for ever",
                    ));
                };
                prop_assert!(
                    nanos(denial.until) > deadline,
                    "denied although it could go in time"
                );
                self.check_pause_denial(&request, denial)?;
                if self.case.quiet && self.case.limits.len() == 1 {
                    return self.wait_as_denied(key, class, lane, denial);
                }
                Ok(())
            }
        }
    }

    /// When nobody gives up and nothing is paused or changed, the time in a denial is a lower bound.
    fn wait_as_denied(
        &mut self,
        key: usize,
        class: usize,
        lane: Lane,
        denial: Denial,
    ) -> Result<(), TestCaseError> {
        let nth = self.requests.len();
        self.admit(key, class, lane, None, false)?;
        prop_assert!(
            self.requests[nth].is_waiting(),
            "the same request was denied a moment ago"
        );
        self.requests[nth].not_before = nanos(denial.until);
        Ok(())
    }

    fn check_pause_denial(&self, request: &Request, denial: Denial) -> Result<(), TestCaseError> {
        if denial.paused {
            let until = self
                .pause_keys(request)
                .into_iter()
                .filter_map(|key| self.pauses.get(&key));
            let longest = until.map(|pause| pause.until).max().unwrap_or(0);
            prop_assert!(longest > self.now, "denied for a pause that is none");
        }
        Ok(())
    }

    /// Somebody was granted: what must have been true a moment ago, and who must have been granted before.
    fn after_grant(
        &mut self,
        nth: usize,
        granted: usize,
        at_once: bool,
    ) -> Result<(), TestCaseError> {
        self.events += 1;
        let request = &self.requests[nth];
        prop_assert!(
            self.now >= request.not_before,
            "{} ns before the time in the denial",
            request.not_before - self.now
        );
        if !request.through {
            for (limit, spec) in self.case.limits.iter().enumerate() {
                // After a shrink more may be held than allowed, but nobody new.
                if spec.governs(request.class) && at_once {
                    let used = self.naive_used(limit, spec.key(&request.keys), spec.window);
                    prop_assert!(
                        used <= spec.quota,
                        "limit {limit}: {used} of {} in use",
                        spec.quota
                    );
                    let key = spec.key(&request.keys);
                    let used = self.used_by(request.lane, limit, key, spec.window);
                    let most = spec.allows(request.lane);
                    prop_assert!(used <= most, "limit {limit}: {used} of {most} in use");
                }
            }
        }
        // Everybody older of the same kind must be able to go at the same moment, and must know it.
        for older in self
            .live
            .clone()
            .into_iter()
            .take_while(|older| *older < nth)
        {
            let goes_first = if at_once {
                self.requests[older].precedes(&self.requests[nth])
            } else {
                // After eight of `Interactive` one of `Bulk` has its turn.
                self.requests[older].is_like(&self.requests[nth])
                    && self.requests[older].lane == self.requests[nth].lane
            };
            if self.requests[older].is_waiting() && goes_first {
                if granted < self.requests[older].lined_up {
                    // Granted long ago; the older one was held back by a pause since.
                    continue;
                }
                prop_assert!(
                    self.is_due(&self.requests[older]) || self.case.timer > 1,
                    "{nth} overtook {older}, which was not woken"
                );
                self.poll(older)?;
                prop_assert!(!self.requests[older].is_waiting(), "{nth} overtook {older}");
            }
        }
        Ok(())
    }

    fn poll(&mut self, nth: usize) -> Result<(), TestCaseError> {
        let request = &mut self.requests[nth];
        let Stage::Waiting { id, bell, .. } = std::mem::replace(&mut request.stage, Stage::Moving)
        else {
            return Ok(());
        };
        let rung = std::mem::replace(&mut request.rung, usize::MAX);
        let heard = bell.0.load(Ordering::Relaxed);
        let waker = Waker::from(bell.clone());
        self.polls += 1;
        let progress = self.ledger.poll(now(self.now), id, Some(&waker));
        match progress {
            Progress::Granted(permit) => {
                if let Some(pause) = self.pause_of(&self.requests[nth]) {
                    prop_assert!(rung < pause.since, "granted under a pause");
                }
                self.requests[nth].stage = Stage::Granted(permit);
                self.ring();
                self.after_grant(nth, rung, false)
            }
            Progress::Waiting { waiter, until } => {
                let until = until.map(nanos);
                prop_assert!(
                    until.is_none_or(|until| until > self.now),
                    "told to look again at once"
                );
                self.requests[nth].stage = Stage::Waiting {
                    id: waiter,
                    until,
                    bell,
                    heard,
                };
                self.ring();
                Ok(())
            }
            Progress::Denied(denial) => {
                let Some(deadline) = self.requests[nth].deadline else {
                    return Err(TestCaseError::fail(
                        "denied although it would wait for ever",
                    ));
                };
                match denial.reason {
                    DenialReason::TimedOut => {
                        prop_assert!(self.now >= deadline, "timed out before its time")
                    }
                    DenialReason::TooLong => prop_assert!(nanos(denial.until) > deadline),
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                }
                self.requests[nth].stage = Stage::Over {
                    counted: None,
                    latest: None,
                };
                self.events += 1;
                self.ring();
                Ok(())
            }
        }
    }

    /// Polls everybody who was woken or whose time has come, in any order, until nobody is left.
    fn settle_down(&mut self) -> Result<(), TestCaseError> {
        let requests = &self.requests;
        self.live
            .retain(|nth| !matches!(requests[*nth].stage, Stage::Over { .. }));
        loop {
            let due: Vec<_> = self
                .live
                .iter()
                .copied()
                .filter(|nth| self.is_due(&self.requests[*nth]))
                .collect();
            if due.is_empty() {
                break;
            }
            let nth = due[self.random(due.len())];
            self.poll(nth)?;
        }
        self.nobody_idles()
    }

    /// Whoever waits although there is room for all who wait was forgotten.
    fn nobody_idles(&self) -> Result<(), TestCaseError> {
        if self.case.timer > 1 || !self.live.iter().any(|nth| self.requests[*nth].is_waiting()) {
            return Ok(());
        }
        let mut room: HashMap<(usize, Option<Fingerprint>, Lane), bool> = HashMap::new();
        for nth in &self.live {
            let request = &self.requests[*nth];
            if !request.is_waiting() || self.pause_of(request).is_some() {
                continue;
            }
            prop_assert!(!request.through, "{nth} waits although nothing is paused");
            let mut blocked = false;
            let lane = request.lane;
            for (limit, spec) in self.case.limits.iter().enumerate() {
                if !spec.governs(request.class) {
                    continue;
                }
                let key = spec.key(&request.keys);
                blocked |= !*room.entry((limit, key, lane)).or_insert_with(|| {
                    let cooling = spec.longest_cooling();
                    let used = self.naive_used(limit, key, cooling);
                    let in_lane = self.used_by(lane, limit, key, cooling);
                    // With several limits the others may keep a place; with one they must not.
                    let rivals = match self.case.limits.len() {
                        1 => 1,
                        _ => self.rivals(limit, key),
                    };
                    used + rivals <= spec.quota && in_lane + rivals <= spec.allows(lane)
                });
            }
            prop_assert!(blocked, "{nth} waits although it could go");
        }
        Ok(())
    }

    fn rivals(&self, limit: usize, key: Option<Fingerprint>) -> u32 {
        let spec = &self.case.limits[limit];
        let requests = self.live.iter().map(|nth| &self.requests[*nth]);
        let rivals = requests.filter(|rival| {
            rival.is_waiting()
                && !rival.through
                && spec.governs(rival.class)
                && spec.key(&rival.keys) == key
        });
        rivals.count() as u32
    }

    /// Lets time pass; timers fire on the way.
    fn pass(&mut self, until: u64) -> Result<(), TestCaseError> {
        self.settle_down()?;
        loop {
            let timer = self.case.timer;
            let alarms =
                self.live.iter().map(|nth| &self.requests[*nth]).filter_map(
                    |request| match &request.stage {
                        Stage::Waiting { until, .. } => {
                            let alarm = [*until, request.deadline].into_iter().flatten().min()?;
                            Some(alarm.next_multiple_of(timer))
                        }
                        _ => None,
                    },
                );
            let Some(next) = alarms.min().filter(|alarm| *alarm <= until) else {
                break;
            };
            prop_assert!(next > self.now, "a timer that does not advance time");
            self.now = next;
            self.events += 1;
            self.settle_down()?;
        }
        self.now = self.now.max(until);
        self.settle_down()
    }

    fn chosen(&self, which: &Index, wanted: impl Fn(&Stage) -> bool) -> Option<usize> {
        let candidates: Vec<_> = self
            .live
            .iter()
            .copied()
            .filter(|nth| wanted(&self.requests[*nth].stage))
            .collect();
        (!candidates.is_empty()).then(|| candidates[which.index(candidates.len())])
    }

    fn send(&mut self, nth: usize) -> Result<(), TestCaseError> {
        let request = &mut self.requests[nth];
        let Stage::Granted(mut permit) = std::mem::replace(&mut request.stage, Stage::Moving)
        else {
            unreachable!("chosen because it is granted");
        };
        let tick = request
            .deadline
            .map_or(Tick::NEVER, |deadline| Tick::from(duration(deadline)));
        let sent = self.ledger.send(now(self.now), &mut permit, tick);
        self.events += 1;
        let paused = self.pause_of(&self.requests[nth]);
        match sent {
            Ok(()) => {
                prop_assert!(paused.is_none(), "sent under a pause");
                prop_assert!(permit.is_sent());
                self.requests[nth].stage = Stage::Sent {
                    permit,
                    sent: self.now,
                };
                Ok(())
            }
            Err(id) => {
                prop_assert!(paused.is_some(), "held back without a pause");
                self.requests[nth].stage = Stage::Waiting {
                    id,
                    until: None,
                    bell: Arc::default(),
                    heard: 0,
                };
                self.requests[nth].rung = usize::MAX;
                self.requests[nth].lined_up = self.step;
                self.ring();
                self.poll(nth)
            }
        }
    }

    fn respond(&mut self, nth: usize, counted: f64, service: Option<f64>) {
        let Stage::Sent { permit, sent } =
            std::mem::replace(&mut self.requests[nth].stage, Stage::Moving)
        else {
            unreachable!("chosen because it is sent");
        };
        let trip = self.now - sent;
        self.longest_trip = self.longest_trip.max(trip);
        let service = service.map(|share| (trip as f64 * share) as u64);
        let latest = self.now - service.unwrap_or(0).min(trip);
        let counted = sent + ((latest - sent) as f64 * counted) as u64;
        self.ledger
            .settle(now(self.now), permit, service.map(duration));
        self.requests[nth].stage = Stage::Over {
            counted: Some(counted.min(latest)),
            latest: Some(latest),
        };
        self.events += 1;
        self.ring();
    }

    fn abandon(&mut self, nth: usize, counted: f64) {
        let Stage::Sent { permit, sent } =
            std::mem::replace(&mut self.requests[nth].stage, Stage::Moving)
        else {
            unreachable!("chosen because it is sent");
        };
        let latest = self.now + self.longest_trip.max(S);
        let counted = sent + ((latest - sent) as f64 * counted) as u64;
        self.ledger.abandon(now(self.now), permit);
        self.requests[nth].stage = Stage::Over {
            counted: Some(counted.min(latest)),
            latest: Some(latest),
        };
        self.events += 1;
        self.ring();
    }

    fn subject(&self, subject: usize, keys: &Keys) -> Option<(Subject, PauseKey)> {
        match subject {
            0 => Some((Subject::Token, PauseKey::Token(keys.token))),
            1 => Some((Subject::Account, PauseKey::Account(keys.account))),
            other => {
                let limit = other - 2;
                let spec = self.case.limits.get(limit)?;
                Some((
                    Subject::Limit(limit),
                    PauseKey::Limit(limit, spec.key(keys)),
                ))
            }
        }
    }

    fn run_op(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let at = now(self.now);
        match op {
            Op::Admit {
                key,
                class,
                lane,
                wait,
                through,
            } => {
                // Finite waits make a queue unpredictable; a quiet case only has those that are over at once.
                let wait = if self.case.quiet {
                    wait.map(|_| 0)
                } else {
                    *wait
                };
                self.admit(*key, *class, *lane, wait, *through)?;
            }
            Op::Burst {
                key,
                class,
                lane,
                count,
            } => {
                for _ in 0..*count {
                    self.admit(*key, *class, *lane, None, false)?;
                }
            }
            Op::Send(which) => {
                if let Some(nth) = self.chosen(which, |stage| matches!(stage, Stage::Granted(_))) {
                    self.send(nth)?;
                }
            }
            Op::SendAll => {
                for nth in 0..self.requests.len() {
                    if matches!(self.requests[nth].stage, Stage::Granted(_)) {
                        self.send(nth)?;
                    }
                }
            }
            Op::Refund(which) => {
                if let Some(nth) = self.chosen(which, |stage| matches!(stage, Stage::Granted(_))) {
                    let over = Stage::Over {
                        counted: None,
                        latest: None,
                    };
                    if let Stage::Granted(permit) =
                        std::mem::replace(&mut self.requests[nth].stage, over)
                    {
                        self.ledger.refund(at, permit);
                        self.events += 1;
                        self.ring();
                    }
                }
            }
            Op::Respond {
                which,
                counted,
                service,
            } => {
                if let Some(nth) = self.chosen(which, |stage| matches!(stage, Stage::Sent { .. })) {
                    self.respond(nth, *counted, *service);
                }
            }
            Op::Abandon { which, counted } => {
                if let Some(nth) = self.chosen(which, |stage| matches!(stage, Stage::Sent { .. })) {
                    self.abandon(nth, *counted);
                }
            }
            Op::Cancel(which) => {
                if let Some(nth) =
                    self.chosen(which, |stage| matches!(stage, Stage::Waiting { .. }))
                {
                    let over = Stage::Over {
                        counted: None,
                        latest: None,
                    };
                    if let Stage::Waiting { id, .. } =
                        std::mem::replace(&mut self.requests[nth].stage, over)
                    {
                        self.ledger.cancel(at, id);
                        self.events += 1;
                        self.ring();
                    }
                }
            }
            Op::Pause {
                key,
                subject,
                length,
            } => {
                if let Some((subject, pause)) = self.subject(*subject, &keys(*key)) {
                    let until = self.now + length;
                    self.ledger
                        .pause(at, keys(*key), subject, Tick::from(duration(until)));
                    let paused = self.pauses.entry(pause).or_default();
                    if paused.until <= self.now {
                        paused.since = self.step;
                    }
                    paused.until = paused.until.max(until);
                    self.events += self.requests.len();
                    self.ring();
                }
            }
            Op::Resume { key, subject } => {
                if let Some((subject, pause)) = self.subject(*subject, &keys(*key)) {
                    self.ledger.resume(at, keys(*key), subject);
                    self.pauses.remove(&pause);
                    self.events += self.requests.len();
                    self.ring();
                }
            }
            Op::SetQuota { limit, quota } => {
                let limit = limit.index(self.case.limits.len());
                self.case.limits[limit].quota = *quota;
                let window = duration(self.case.limits[limit].window);
                self.ledger
                    .set_rule(
                        at,
                        limit,
                        &Rule::Rolling {
                            quota: *quota,
                            window,
                        },
                    )
                    .unwrap();
                self.events += self.requests.len();
                self.ring();
            }
            Op::SetReserve { limit, slots } => {
                let limit = limit.index(self.case.limits.len());
                self.case.limits[limit].reserve = *slots;
                let reserve = Reserve::Slots(*slots);
                self.ledger.set_reserve(at, limit, reserve).unwrap();
                self.events += self.requests.len();
                self.ring();
            }
            Op::Wait(length) => self.pass(self.now + length)?,
            Op::Idle(length) => {
                // The longest round trip is remembered for ten minutes at least.
                if self.now < 500 * S {
                    self.pass(self.now + length)?;
                }
            }
            Op::WaitForRelease(plus) => {
                let releases = self
                    .requests
                    .iter()
                    .filter_map(|request| match request.stage {
                        Stage::Over {
                            latest: Some(latest),
                            ..
                        } => Some(latest),
                        _ => None,
                    });
                let windows = self.case.limits.iter().map(|limit| limit.window);
                let releases = releases
                    .flat_map(|latest| windows.clone().map(move |window| latest + window + plus));
                if let Some(release) = releases.filter(|release| *release >= self.now).min() {
                    self.pass(release)?;
                }
            }
        }
        Ok(())
    }

    fn check_usage(&mut self) -> Result<(), TestCaseError> {
        for limit in 0..self.case.limits.len() {
            for nth in 0..3 {
                let spec = self.case.limits[limit].clone();
                let keys = keys(nth);
                let key = spec.key(&keys);
                let usage = self.ledger.usage(now(self.now), keys, limit).unwrap();
                prop_assert_eq!(usage.quota, spec.quota);
                let least = self.naive_used(limit, key, spec.window);
                let most = self.naive_used(limit, key, spec.longest_cooling());
                let unheard = self.unheard(limit, key);
                prop_assert!(
                    usage.used >= least && usage.used <= most + unheard,
                    "limit {} of key {}: {} used, the model says {}..={} and {} not told yet",
                    limit,
                    nth,
                    usage.used,
                    least,
                    most,
                    unheard
                );
            }
        }
        Ok(())
    }

    fn run(mut self) -> Result<(), TestCaseError> {
        for op in self.case.ops.clone() {
            self.step += 1;
            self.run_op(&op)?;
            if self.case.prompt {
                self.settle_down()?;
            }
            if self.case.ask {
                self.check_usage()?;
            }
        }
        self.finish()
    }

    /// Everything is answered: nobody may be left behind, and every slot must come back.
    fn finish(mut self) -> Result<(), TestCaseError> {
        let waiters = self
            .requests
            .iter()
            .filter(|request| request.is_waiting())
            .count() as u64;
        let longest = self
            .case
            .limits
            .iter()
            .map(|limit| limit.window)
            .max()
            .unwrap_or(0);
        let pauses = self
            .pauses
            .values()
            .map(|pause| pause.until)
            .max()
            .unwrap_or(0);
        let late = self.longest_trip.max(S);
        let end = self.now.max(pauses) + late + (waiters + 2) * (longest + 150 * MS);
        loop {
            self.step += 1;
            self.settle_down()?;
            for nth in 0..self.requests.len() {
                if matches!(self.requests[nth].stage, Stage::Granted(_)) {
                    self.send(nth)?;
                }
            }
            self.settle_down()?;
            if self
                .requests
                .iter()
                .all(|request| matches!(request.stage, Stage::Over { .. }))
            {
                break;
            }
            prop_assert!(self.now < end, "somebody waits for ever");
            self.pass(self.now + 37 * MS)?;
            for nth in 0..self.requests.len() {
                if matches!(self.requests[nth].stage, Stage::Sent { .. }) {
                    let counted = self.random(3) as f64 / 2.0;
                    self.respond(nth, counted, None);
                }
            }
        }
        prop_assert_eq!(self.ledger.waiting(), 0);
        self.check_usage()?;
        self.check_server()?;
        prop_assert!(
            self.polls <= 4 * self.events + self.requests.len(),
            "{} polls for {} events",
            self.polls,
            self.events
        );
        self.pass(self.now.max(pauses) + self.longest_trip.max(S) + longest + longest / 256 + 2)?;
        self.all_slots_are_back()
    }

    /// No window of any limit may have seen more than its quota, not even when both its edges count.
    fn check_server(&self) -> Result<(), TestCaseError> {
        if self.case.changes {
            return Ok(());
        }
        for (limit, spec) in self.case.limits.iter().enumerate() {
            let mut counted: HashMap<Option<Fingerprint>, Vec<u64>> = HashMap::new();
            for request in &self.requests {
                if let Stage::Over {
                    counted: Some(at), ..
                } = request.stage
                {
                    if !request.through && spec.governs(request.class) {
                        counted.entry(spec.key(&request.keys)).or_default().push(at);
                    }
                }
            }
            for times in counted.values_mut() {
                times.sort_unstable();
                for pair in times.windows(spec.quota as usize + 1) {
                    let width = pair[pair.len() - 1] - pair[0];
                    prop_assert!(
                        width > spec.window,
                        "limit {limit}: one too many within {width} ns"
                    );
                }
            }
        }
        Ok(())
    }

    /// A permit for one who would rather give up than wait.
    fn grant_at_once(&mut self, keys: Keys, class: RouteClass, lane: Lane) -> Option<Permit> {
        let at = now(self.now);
        match self.ledger.admit(at, keys, class, lane, Tick::NEVER) {
            Admission::Granted(permit) => Some(permit),
            Admission::Waiting(waiter) => {
                self.ledger.cancel(at, waiter);
                None
            }
            Admission::Denied(_) => None,
        }
    }

    fn all_slots_are_back(&mut self) -> Result<(), TestCaseError> {
        for nth in 0..3 {
            for (class, route) in CLASSES.into_iter().enumerate() {
                // First as many of `Bulk` as may, then all that is left for `Interactive`.
                let governing = self.case.limits.iter().filter(|limit| limit.governs(class));
                let Some(all) = governing.clone().map(|limit| limit.quota).min() else {
                    continue;
                };
                let bulk = governing.map(|limit| limit.allows(Lane::Bulk)).min();
                let mut permits = Vec::new();
                for (lane, most) in [(Lane::Bulk, bulk.unwrap_or(all)), (Lane::Interactive, all)] {
                    while let Some(permit) = self.grant_at_once(keys(nth), route, lane) {
                        permits.push(permit);
                    }
                    prop_assert_eq!(permits.len(), most as usize, "slots for {}", lane);
                }
                for permit in permits {
                    self.ledger.refund(now(self.now), permit);
                }
            }
            for limit in 0..self.case.limits.len() {
                prop_assert_eq!(
                    self.ledger
                        .usage(now(self.now), keys(nth), limit)
                        .unwrap()
                        .used,
                    0
                );
            }
        }
        Ok(())
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(cases),
        max_shrink_iters: 3_000,
        // What failed once is a named test in one of the other ledger files.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn one_limit(case in case(prop::collection::vec(limit_spec(5), 1), false, false)) {
        World::new(case).run()?;
    }

    #[test]
    fn several_limits(case in case(prop::collection::vec(limit_spec(4), 2..=4), false, false)) {
        World::new(case).run()?;
    }

    #[test]
    fn limits_that_change(case in case(prop::collection::vec(limit_spec(6), 1..=3), false, true)) {
        World::new(case).run()?;
    }

    #[test]
    fn the_time_in_a_denial_is_a_lower_bound(case in case(prop::collection::vec(limit_spec(4), 1), true, false)) {
        World::new(case).run()?;
    }
}

proptest! {
    #![proptest_config(config(12))]

    #[test]
    fn a_quota_beyond_the_grid(case in case(
        prop::collection::vec((257..262_u32, limit_spec(1)).prop_map(|(quota, spec)| LimitSpec { quota, ..spec }), 1..=2),
        false,
        false,
    )) {
        let mut case = case;
        // Bursts of a few would never fill it.
        for op in &mut case.ops {
            if let Op::Burst { count, .. } = op {
                *count *= 30;
            }
        }
        World::new(case).run()?;
    }
}
