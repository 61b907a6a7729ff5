//! The script against the ledger of one process, and both against a naive oracle that shares none of their arithmetic: a list of
//! slots, each with the latest moment at which the server can have counted its request.
//!
//! Random histories: admissions of both lanes under one limit or two, refunds, answers with and without service times, failures,
//! requests that are given up, limits and reserves that change, time that passes to the microsecond. After every step all three give
//! the same slots to both lanes, and the script says when the next slot is free.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::core::{Admission, Keys, Ledger, Now, Permit, Progress};
use crate::plan::{Limit, Plan, Reserve, RouteClass, Rule};

/// Windows whose grid has a step at the origin of both clocks.
const ALIGNED: [u64; 3] = [256 * MS, 2_560 * MS, 10_240 * MS];
const OTHERS: [u64; 3] = [100 * MS, S, 10 * S];

const KEYS: Keys = Keys {
    token: KEY,
    account: KEY,
};

#[derive(Clone, Debug)]
enum Op {
    Admit {
        search: bool,
        lane: Lane,
        count: usize,
    },
    Refund(Index),
    Settle {
        which: Index,
        service: Option<f64>,
    },
    SettleAll,
    Fail(Index),
    Abandon(Index),
    SetQuota {
        limit: usize,
        quota: u32,
    },
    SetReserve {
        limit: usize,
        slots: u32,
    },
    Wait(u64),
    /// To the moment at which a slot is free, but for so many microseconds less one.
    WaitForRelease {
        limit: usize,
        late: u64,
    },
}

fn quota() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 1..6_u32, 2 => 1..120_u32, 1 => 250..300_u32]
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Lane::Interactive), Just(Lane::Bulk)]
}

fn op() -> impl Strategy<Value = Op> {
    let count = prop_oneof![3 => 1..4_usize, 1 => 1..300_usize];
    prop_oneof![
        8 => (any::<bool>(), lane(), count).prop_map(|(search, lane, count)| Op::Admit { search, lane, count }),
        2 => any::<Index>().prop_map(Op::Refund),
        6 => (any::<Index>(), prop::option::of(0.0..1.2_f64)).prop_map(|(which, service)| Op::Settle { which, service }),
        2 => Just(Op::SettleAll),
        1 => any::<Index>().prop_map(Op::Fail),
        2 => any::<Index>().prop_map(Op::Abandon),
        1 => (0..2_usize, quota()).prop_map(|(limit, quota)| Op::SetQuota { limit, quota }),
        1 => (0..2_usize, 0..6_u32).prop_map(|(limit, slots)| Op::SetReserve { limit, slots }),
        6 => (0..500_000_u64).prop_map(Op::Wait),
        1 => (0..12 * S).prop_map(Op::Wait),
        4 => (0..2_usize, 0..3_u64).prop_map(|(limit, late)| Op::WaitForRelease { limit, late }),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    limits: [(u32, u64); 2],
    ops: Vec<Op>,
}

fn case(windows: [u64; 3]) -> impl Strategy<Value = Case> {
    let limit = || (quota(), prop::sample::select(windows.to_vec()));
    let limits = [limit(), limit()];
    (limits, prop::collection::vec(op(), 1..60)).prop_map(|(limits, ops)| Case { limits, ops })
}

/// One limit as the oracle sees it.
struct Naive {
    quota: u32,
    reserve: u32,
    window: u64,
    held: Vec<Lane>,
    /// The latest moment at which each was counted, and the same on the grid.
    over: Vec<(u64, u64, Lane)>,
}

impl Naive {
    fn settle(&mut self, anchor: u64, lane: Lane) {
        let at = self.held.iter().position(|held| *held == lane).unwrap();
        self.held.swap_remove(at);
        let rounded = match self.quota > 256 {
            true => anchor.next_multiple_of((self.window / 256).max(1)),
            false => anchor,
        };
        self.over.push((anchor, rounded, lane));
    }

    /// Slots of all, and of `Bulk`, that are in use `early` before now: what a grid may delay is in use a little longer.
    fn free(&self, now: u64, lane: Lane, is_exact: bool) -> u32 {
        let used = |lanes: &[Lane]| {
            let held = self.held.iter().filter(|lane| lanes.contains(lane)).count();
            let in_use = |(anchor, rounded, lane): &&(u64, u64, Lane)| {
                let anchor = if is_exact { rounded } else { anchor };
                anchor + self.window >= now && lanes.contains(lane)
            };
            u32::try_from(held + self.over.iter().filter(in_use).count()).unwrap()
        };
        let all = self
            .quota
            .saturating_sub(used(&[Lane::Bulk, Lane::Interactive]));
        let unreserved = self.quota - self.reserve.min(self.quota - 1);
        match lane {
            Lane::Interactive => all,
            Lane::Bulk => all.min(unreserved.saturating_sub(used(&[Lane::Bulk]))),
        }
    }

    /// When there is a slot although there is none now, if nothing happens but that time passes.
    fn next(&self, now: u64) -> Option<u64> {
        let mut releases: Vec<_> = self
            .over
            .iter()
            .map(|(_, at, _)| at + self.window + 1)
            .collect();
        releases.sort_unstable();
        let free = |at: &u64| self.free(*at, Lane::Interactive, true) > 0;
        releases.into_iter().filter(|at| *at > now).find(free)
    }

    fn rule(&self) -> SharedRule {
        SharedRule::Rolling {
            quota: self.quota,
            unreserved: self.quota - self.reserve.min(self.quota - 1),
            window: micros(self.window),
            first: FirstWindow::Empty,
        }
    }
}

struct InFlight {
    permit: Permit,
    search: bool,
    lane: Lane,
    sent: u64,
}

struct World {
    limits: [Naive; 2],
    ledger: Ledger,
    store: Store,
    member: Member,
    in_flight: Vec<InFlight>,
    now: u64,
    longest: u64,
    /// Whether the grids of both have the same steps.
    is_exact: bool,
}

impl World {
    fn new(case: &Case, is_exact: bool) -> Self {
        let limits = case.limits.map(|(quota, window)| Naive {
            quota,
            reserve: 0,
            window,
            held: Vec::new(),
            over: Vec::new(),
        });
        let [burst, search] = [&limits[0], &limits[1]];
        let rolling = |nth: usize, naive: &Naive| {
            Limit::rolling(NAMES[nth], naive.quota, micros(naive.window))
        };
        let plan = Plan::builder("both")
            .limit(rolling(0, burst))
            .limit(rolling(1, search).governs([RouteClass::Search]))
            .build()
            .unwrap();
        let mut store = Store::new();
        // Nothing is lent in advance, so that both give the same slots at the same time.
        store.sharing.lease = Duration::ZERO;
        store.sharing.request_timeout = Duration::from_secs(3_600);
        Self {
            limits,
            ledger: Ledger::new(&plan),
            store,
            member: Member::new("one"),
            in_flight: Vec::new(),
            now: BEGIN,
            longest: S,
            is_exact,
        }
    }

    fn at(&self) -> Now {
        Now {
            tick: tick(self.now),
            wall: UNIX_EPOCH,
        }
    }

    fn limits_of(search: bool) -> std::ops::Range<usize> {
        0..1 + usize::from(search)
    }

    /// One call about both limits.
    fn call(&mut self, change: impl Fn(usize, LimitCall) -> LimitCall) -> Vec<LimitAnswer> {
        let limit = |nth: usize| {
            let call = LimitCall {
                limit: nth,
                ..nothing_of(self.limits[nth].rule())
            };
            change(nth, call)
        };
        let limits = vec![limit(0), limit(1)];
        let answer = self.member.asks(&mut self.store, self.now, limits.clone());
        if answer.outcome == Outcome::Done {
            return answer.limits;
        }
        // The record is gone, because it said nothing more.
        for naive in &self.limits {
            assert_eq!(naive.free(self.now, Lane::Interactive, true), naive.quota);
        }
        (self.member.join, self.member.born) = (Join::Again, 0);
        let answer = self.member.asks(&mut self.store, self.now, limits);
        assert_eq!(answer.outcome, Outcome::Done);
        answer.limits
    }

    fn of(lane: Lane, search: bool, slots: u32) -> impl Fn(usize) -> Slots {
        move |nth| match Self::limits_of(search).contains(&nth) {
            true => Slots::of(lane, slots),
            false => Slots::default(),
        }
    }

    fn admit_to_ledger(&mut self, search: bool, lane: Lane) -> Result<Permit, Option<Tick>> {
        let class = match search {
            true => RouteClass::Search,
            false => RouteClass::General,
        };
        let at = self.at();
        match self.ledger.admit(at, KEYS, class, lane, Tick::NEVER) {
            Admission::Granted(permit) => Ok(permit),
            Admission::Waiting(waiter) => {
                let Progress::Waiting { waiter, until } = self.ledger.poll(at, waiter, None) else {
                    panic!("it was told to wait");
                };
                self.ledger.cancel(at, waiter);
                Err(until)
            }
            Admission::Denied(_) => panic!("it may wait for ever"),
        }
    }

    /// Whether one of them goes; all say the same.
    fn admit(&mut self, search: bool, lane: Lane) -> Result<bool, TestCaseError> {
        let want = Self::of(lane, search, 1);
        let answers = self.call(|nth, call| call.wants(want(nth)));
        let got: Vec<u32> = answers.iter().map(LimitAnswer::now).collect();
        let needed = Self::limits_of(search);
        let is_lent = needed.clone().all(|nth| got[nth] == 1);
        if !is_lent {
            self.call(|nth, call| call.returns(Slots::of(lane, got[nth])));
        }
        let permit = self.admit_to_ledger(search, lane).ok();
        if self.is_exact {
            prop_assert_eq!(permit.is_some(), is_lent);
        }
        match permit {
            Some(mut permit) if is_lent => {
                let at = self.at();
                let sent = self.ledger.send(at, &mut permit, Tick::NEVER);
                prop_assert!(sent.is_ok());
                for nth in needed {
                    self.limits[nth].held.push(lane);
                }
                let sent = self.now;
                self.in_flight.push(InFlight {
                    permit,
                    search,
                    lane,
                    sent,
                });
            }
            Some(permit) => self.ledger.refund(self.at(), permit),
            // The ledger's grid has a step a little later.
            None if is_lent => {
                let back = Self::of(lane, search, 1);
                self.call(|nth, call| call.returns(back(nth)));
            }
            None => {}
        }
        Ok(is_lent)
    }

    /// A request is over, and was counted at `anchor` at the latest.
    fn over(&mut self, request: &InFlight, anchor: u64) {
        let slots = Self::of(request.lane, request.search, 1);
        self.call(|nth, call| match slots(nth).is_empty() {
            true => call,
            false => call.settles(anchor, slots(nth)),
        });
        for nth in Self::limits_of(request.search) {
            self.limits[nth].settle(anchor, request.lane);
        }
    }

    fn take(&mut self, which: Index) -> Option<InFlight> {
        let count = self.in_flight.len();
        (count > 0).then(|| self.in_flight.swap_remove(which.index(count)))
    }

    fn settle(&mut self, request: InFlight, service: Option<f64>) {
        let trip = self.now - request.sent;
        self.longest = self.longest.max(trip);
        let service = service.map(|share| (trip as f64 * share) as u64);
        // More than the whole round trip is another figure.
        let credit = service.filter(|service| *service <= trip).unwrap_or(0);
        self.over(&request, self.now - credit);
        let service = service.map(micros);
        self.ledger.settle(self.at(), request.permit, service);
    }

    fn happens(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Admit {
                search,
                lane,
                count,
            } => {
                for _ in 0..count {
                    if !self.admit(search, lane)? {
                        break;
                    }
                }
            }
            Op::Refund(which) => {
                if let Some(request) = self.take(which) {
                    let back = Self::of(request.lane, request.search, 1);
                    self.call(|nth, call| call.returns(back(nth)));
                    for nth in Self::limits_of(request.search) {
                        let held = &mut self.limits[nth].held;
                        let at = held.iter().position(|lane| *lane == request.lane);
                        held.swap_remove(at.unwrap());
                    }
                    self.ledger.refund(self.at(), request.permit);
                }
            }
            Op::Settle { which, service } => {
                if let Some(request) = self.take(which) {
                    self.settle(request, service);
                }
            }
            Op::SettleAll => {
                for request in std::mem::take(&mut self.in_flight) {
                    self.settle(request, None);
                }
            }
            Op::Fail(which) => {
                if let Some(request) = self.take(which) {
                    self.longest = self.longest.max(self.now - request.sent);
                    self.over(&request, self.now);
                    self.ledger.fail(self.at(), request.permit);
                }
            }
            Op::Abandon(which) => {
                if let Some(request) = self.take(which) {
                    self.over(&request, self.now + self.longest);
                    self.ledger.abandon(self.at(), request.permit);
                }
            }
            Op::SetQuota { limit, quota } => {
                self.limits[limit].quota = quota;
                let window = micros(self.limits[limit].window);
                let rule = Rule::Rolling { quota, window };
                self.ledger.set_rule(self.at(), limit, &rule).unwrap();
            }
            Op::SetReserve { limit, slots } => {
                self.limits[limit].reserve = slots;
                let reserve = Reserve::Slots(slots);
                self.ledger.set_reserve(self.at(), limit, reserve).unwrap();
            }
            Op::Wait(time) => self.now += time,
            Op::WaitForRelease { limit, late } => {
                if let Some(next) = self.limits[limit].next(self.now) {
                    self.now = self.now.max((next + late).saturating_sub(1));
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        for lane in [Lane::Interactive, Lane::Bulk] {
            let all = Slots::of(lane, 1_000);
            let answers = self.call(|_, call| call.wants(all));
            let lent: Vec<u32> = answers.iter().map(LimitAnswer::now).collect();
            self.call(|nth, call| call.returns(Slots::of(lane, lent[nth])));
            for (nth, naive) in self.limits.iter().enumerate() {
                let [least, most] = self.bounds(naive, lane);
                prop_assert!(
                    (least..=most).contains(&lent[nth]),
                    "{} of {least} to {most}",
                    lent[nth]
                );
                if self.is_exact && lent[nth] == 0 && lane == Lane::Interactive {
                    let next = naive.next(self.now).map(|next| micros(next - self.now));
                    prop_assert_eq!(answers[nth].next, next);
                }
            }
            self.compare_ledger(lane)?;
        }
        Ok(())
    }

    /// As many as are free on the grid of both; or between those that are free without one, now and one step ago.
    fn bounds(&self, naive: &Naive, lane: Lane) -> [u32; 2] {
        if self.is_exact {
            return [naive.free(self.now, lane, true); 2];
        }
        let step = naive.window / 256 + 1;
        [
            naive.free(self.now - step, lane, false),
            naive.free(self.now, lane, false),
        ]
    }

    fn compare_ledger(&mut self, lane: Lane) -> Result<(), TestCaseError> {
        for search in [false, true] {
            let mut permits = Vec::new();
            let until = loop {
                match self.admit_to_ledger(search, lane) {
                    Ok(permit) => permits.push(permit),
                    Err(until) => break until,
                }
            };
            let granted = u32::try_from(permits.len()).unwrap();
            for permit in permits {
                self.ledger.refund(self.at(), permit);
            }
            let bounds = Self::limits_of(search).map(|nth| self.bounds(&self.limits[nth], lane));
            let [least, most] = bounds
                .reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1])])
                .unwrap();
            prop_assert!(
                (least..=most).contains(&granted),
                "{granted} of {least} to {most}"
            );
            let next = self.limits[0].next(self.now).map(tick);
            if self.is_exact && !search && granted == 0 && lane == Lane::Interactive {
                // A lower bound: it does not see how many must be free first.
                prop_assert!(until.is_some() || next.is_none());
                prop_assert!(next.is_none_or(|next| until <= Some(next)));
            }
        }
        Ok(())
    }
}

fn run(case: Case, is_exact: bool) -> Result<(), TestCaseError> {
    let mut world = World::new(&case, is_exact);
    world.call(|_, call| call);
    for op in case.ops {
        world.happens(op)?;
        world.compare()?;
    }
    // What is over is free in the end, to the last slot.
    for request in std::mem::take(&mut world.in_flight) {
        world.settle(request, None);
    }
    world.now += 30 * S + world.longest;
    world.compare()?;
    for naive in &world.limits {
        prop_assert_eq!(naive.free(world.now, Lane::Interactive, false), naive.quota);
    }
    Ok(())
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(48),
        max_shrink_iters: 2_000,
        // What failed once is a named test among the promises.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn to_the_microsecond(case in case(ALIGNED)) {
        run(case, true)?;
    }

    #[test]
    fn within_one_step_of_the_grid(case in case(OTHERS)) {
        run(case, false)?;
    }
}
