//! Promise: whoever comes and goes, in whatever order, the crowds count right. No grant above the limit, nobody waits while there is
//! room, first come first served within a lane, `Interactive` before `Bulk` but never more than eight times in a row, limits stay
//! within their bounds, one decrease per round trip, and all is zero in the end. A naive model checks every step. (T36, T54)

use std::time::Duration;

use proptest::prelude::*;
use tower_quota::core::concurrency::{
    Age, Bounds, Crowds, Evidence, Headroom, Left, Place, Settings, Turn, WaiterId,
};
use tower_quota::core::{DenialReason, Fingerprint, Tick};
use tower_quota::plan::Lane;

const MS: Duration = Duration::from_millis(1);

fn token(nth: usize) -> Fingerprint {
    Fingerprint::from_halves(
        nth as u64,
        (nth as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    )
}

#[derive(Clone, Debug)]
enum Step {
    Enter {
        token: usize,
        lane: Lane,
        patience: Option<u32>,
    },
    Over {
        nth: usize,
        evidence: Evidence,
    },
    /// Still in flight, but heard of; then over.
    HearThenLeave {
        nth: usize,
        evidence: Evidence,
    },
    /// Gives its place back and stands in line again.
    BackInLine {
        nth: usize,
    },
    GiveUp {
        nth: usize,
    },
    Pass(u32),
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let share = prop_oneof![Just(0.05), Just(0.5), Just(0.9)];
    let left = proptest::option::of(share.prop_map(|share| Left {
        share,
        window: 1_000 * MS,
    }));
    let answered =
        (left, proptest::option::of(0_u32..500)).prop_map(|(left, service)| Evidence::Answered {
            service_time: service.map(|service| service * MS),
            left,
        });
    prop_oneof![6 => answered, 2 => Just(Evidence::Overloaded), 1 => Just(Evidence::Nothing)]
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop_oneof![Just(Lane::Interactive), Just(Lane::Bulk)];
    let patience = proptest::option::weighted(0.2, 0_u32..2_000);
    prop_oneof![
        8 => (0_usize..2, lane, patience)
            .prop_map(|(token, lane, patience)| Step::Enter { token, lane, patience }),
        6 => (any::<prop::sample::Index>(), evidence())
            .prop_map(|(nth, evidence)| Step::Over { nth: nth.index(1_000), evidence }),
        1 => (any::<prop::sample::Index>(), evidence())
            .prop_map(|(nth, evidence)| Step::HearThenLeave { nth: nth.index(1_000), evidence }),
        1 => any::<prop::sample::Index>().prop_map(|nth| Step::BackInLine { nth: nth.index(1_000) }),
        1 => any::<prop::sample::Index>().prop_map(|nth| Step::GiveUp { nth: nth.index(1_000) }),
        3 => (0_u32..700).prop_map(Step::Pass),
    ]
}

struct InFlight {
    token: usize,
    lane: Lane,
    arrival: u64,
    granted: u64,
    place: Place,
}

struct Waiting {
    token: usize,
    lane: Lane,
    arrival: u64,
    deadline: Tick,
    id: WaiterId,
}

/// What a token's queue must do, said as simply as possible.
#[derive(Default)]
struct Token {
    interactive_in_a_row: u32,
    decreased: u64,
    limit: u32,
}

struct Model {
    crowds: Crowds,
    settings: Settings,
    now: Tick,
    steps: u64,
    arrivals: u64,
    in_flight: Vec<InFlight>,
    /// By arrival.
    waiting: Vec<Waiting>,
    tokens: [Token; 2],
}

impl Model {
    fn new(settings: Settings) -> Self {
        let mut tokens: [Token; 2] = Default::default();
        for token in &mut tokens {
            token.limit = settings.bounds.start();
        }
        Self {
            crowds: Crowds::new(settings),
            settings,
            now: Tick::ZERO,
            steps: 0,
            arrivals: 0,
            in_flight: Vec::new(),
            waiting: Vec::new(),
            tokens,
        }
    }

    fn step(&mut self, step: Step) {
        self.steps += 1;
        match step {
            Step::Enter {
                token,
                lane,
                patience,
            } => {
                self.arrivals += 1;
                let deadline = patience.map_or(Tick::NEVER, |wait| self.now.after(wait * MS));
                self.enter(token, lane, self.arrivals, None, deadline);
            }
            Step::Over { nth, evidence } => {
                if let Some(over) = self.take(nth) {
                    self.crowds.over(self.now, over.place, &evidence);
                    self.check_decrease(over.token, over.granted);
                }
            }
            Step::HearThenLeave { nth, evidence } => {
                if let Some(over) = self.take(nth) {
                    self.crowds.hear(self.now, &over.place, &evidence);
                    self.check_decrease(over.token, over.granted);
                    self.crowds.leave(self.now, over.place);
                }
            }
            Step::BackInLine { nth } => {
                if let Some(back) = self.take(nth) {
                    let age = back.place.age();
                    self.crowds.leave(self.now, back.place);
                    self.look();
                    self.enter(back.token, back.lane, back.arrival, Some(age), Tick::NEVER);
                }
            }
            Step::GiveUp { nth } => {
                if !self.waiting.is_empty() {
                    let gone = self.waiting.remove(nth % self.waiting.len());
                    self.crowds.cancel(self.now, gone.id);
                }
            }
            Step::Pass(millis) => self.now = self.now.after(millis * MS),
        }
        self.look();
        self.check();
    }

    fn take(&mut self, nth: usize) -> Option<InFlight> {
        let count = self.in_flight.len();
        (count > 0).then(|| self.in_flight.swap_remove(nth % count))
    }

    fn enter(&mut self, nth: usize, lane: Lane, arrival: u64, age: Option<Age>, deadline: Tick) {
        let turn = self.crowds.enter(self.now, token(nth), lane, age, deadline);
        match turn {
            Turn::Granted(place) => {
                // The limit may just have risen by itself, and those before have been granted.
                self.look();
                assert!(self.queue(nth).is_empty(), "nobody is overtaken");
                self.in_flight.push(InFlight {
                    token: nth,
                    lane,
                    arrival,
                    granted: self.steps,
                    place,
                });
            }
            Turn::Waiting { waiter, .. } => {
                let at = self
                    .waiting
                    .partition_point(|waiting| waiting.arrival < arrival);
                let waiting = Waiting {
                    token: nth,
                    lane,
                    arrival,
                    deadline,
                    id: waiter,
                };
                self.waiting.insert(at, waiting);
            }
            Turn::Denied(reason) => {
                assert_eq!(reason, DenialReason::TimedOut);
                assert!(deadline <= self.now);
            }
        }
    }

    fn queue(&self, nth: usize) -> Vec<(Lane, u64)> {
        let of_token = self.waiting.iter().filter(|waiting| waiting.token == nth);
        of_token
            .map(|waiting| (waiting.lane, waiting.arrival))
            .collect()
    }

    /// Asks how all who wait are doing. Those who were granted are those whose turn it was.
    fn look(&mut self) {
        let mut queues = [self.queue(0), self.queue(1)];
        let mut granted = [Vec::new(), Vec::new()];
        for waiting in std::mem::take(&mut self.waiting) {
            match self.crowds.poll(self.now, waiting.id, None) {
                Turn::Granted(place) => {
                    granted[waiting.token].push((waiting.lane, waiting.arrival));
                    self.in_flight.push(InFlight {
                        token: waiting.token,
                        lane: waiting.lane,
                        arrival: waiting.arrival,
                        granted: self.steps,
                        place,
                    });
                }
                Turn::Waiting { waiter, .. } => self.waiting.push(Waiting {
                    id: waiter,
                    ..waiting
                }),
                Turn::Denied(reason) => {
                    assert_eq!(reason, DenialReason::TimedOut);
                    assert!(self.now >= waiting.deadline);
                }
            }
        }
        for nth in 0..2 {
            let count = granted[nth].len();
            let mut expected: Vec<_> = (0..count)
                .map(|_| self.tokens[nth].next(&mut queues[nth]))
                .collect();
            expected.sort_unstable_by_key(|(_, arrival)| *arrival);
            assert_eq!(granted[nth], expected, "whose turn it was");
            let state = self.crowds.concurrency(self.now, token(nth));
            if count > 0 {
                assert!(
                    state.in_flight <= state.limit,
                    "granted above the limit: {state:?}"
                );
            }
        }
    }

    /// A decrease must come from a request that was granted after the one before.
    fn check_decrease(&mut self, nth: usize, granted: u64) {
        let limit = self.crowds.concurrency(self.now, token(nth)).limit;
        let token = &mut self.tokens[nth];
        if limit < token.limit {
            assert!(granted >= token.decreased, "twice in one round trip");
            assert!(limit >= self.settings.bounds.min());
            token.decreased = self.steps;
        }
        token.limit = limit;
    }

    fn check(&mut self) {
        for nth in 0..2 {
            let state = self.crowds.concurrency(self.now, token(nth));
            let in_flight = self.in_flight.iter().filter(|place| place.token == nth);
            assert_eq!(state.in_flight as usize, in_flight.count());
            assert_eq!(state.waiting as usize, self.queue(nth).len());
            let bounds = self.settings.bounds;
            assert!((bounds.min()..=bounds.max()).contains(&state.limit));
            assert!(
                state.waiting == 0 || state.in_flight >= state.limit,
                "somebody waits although there is room: {state:?}"
            );
            // By itself it only rises.
            assert!(state.limit >= self.tokens[nth].limit);
            self.tokens[nth].limit = state.limit;
        }
    }
}

impl Token {
    fn next(&mut self, queue: &mut Vec<(Lane, u64)>) -> (Lane, u64) {
        let first_of = |lane| queue.iter().position(|(of, _)| *of == lane);
        let (interactive, bulk) = (first_of(Lane::Interactive), first_of(Lane::Bulk));
        let at = match (interactive, bulk) {
            (Some(interactive), Some(_)) if self.interactive_in_a_row < 8 => {
                self.interactive_in_a_row += 1;
                interactive
            }
            (_, Some(bulk)) => {
                self.interactive_in_a_row = 0;
                bulk
            }
            (interactive, None) => {
                self.interactive_in_a_row = 0;
                interactive.expect("somebody waits")
            }
        };
        queue.remove(at)
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let headroom = prop_oneof![3 => Just(Headroom::Unexplained), 1 => Just(Headroom::Literal)];
    (0_u32..10, 0_u32..4, 0_u32..40, headroom).prop_map(|(start, min, max, headroom)| Settings {
        bounds: Bounds::new(start, min, max),
        headroom,
        ..Settings::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_crowds_count_right(
        settings in settings(),
        steps in proptest::collection::vec(step(), 1..300),
        last in evidence(),
    ) {
        let mut model = Model::new(settings);
        for step in steps {
            model.step(step);
        }
        // All go home: some of those who wait give up, the others get their turn.
        for round in 0.. {
            if model.in_flight.is_empty() && model.waiting.is_empty() {
                break;
            }
            prop_assert!(round < 10_000, "somebody waits for ever");
            if round % 3 == 0 {
                model.step(Step::GiveUp { nth: round });
            }
            model.step(Step::Over { nth: round, evidence: last });
        }
    }
}
