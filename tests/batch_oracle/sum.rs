//! How many requests it took.

use std::collections::HashMap;

use crate::ask::Mood;
use crate::drive::{Outcome, Ran};
use crate::same::outcomes;
use crate::scenario::Scenario;
use crate::wire::Counts;

/// What all scenarios of a property came to.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) calls: usize,
    pub(crate) requests: usize,
    pub(crate) batches: usize,
    pub(crate) inputs: usize,
    pub(crate) fruitless: usize,
    pub(crate) gone: usize,
    pub(crate) failed: usize,
    pub(crate) by_status: HashMap<u16, usize>,
}

impl Sum {
    pub(crate) fn add(&mut self, scenario: &Scenario, ran: &[Ran], counts: &Counts) {
        self.requests += counts.requests();
        self.batches += counts.batches;
        self.inputs += counts.inputs;
        self.fruitless += counts.fruitless;
        for (_, outcome) in outcomes(&scenario.chains, ran) {
            self.calls += 1;
            self.gone += usize::from(outcome == &Outcome::Gone);
            self.failed += usize::from(outcome.is_injected());
        }
        for (status, count) in &counts.by_status {
            *self.by_status.entry(*status).or_default() += count;
        }
    }
}

impl Sum {
    /// All that is to be tried was tried, and it was worth it.
    pub(crate) fn check(&self, mood: Mood) {
        assert!(self.requests < self.calls, "{self:?}");
        // Others are rare where tasks end with the first failure.
        let always = [200, 201, 207, 400, 404];
        let calm = [204, 409].into_iter().filter(|_| mood == Mood::Calm);
        for status in always.into_iter().chain(calm) {
            assert!(self.by_status.contains_key(&status), "{status}: {self:?}");
        }
        assert!(self.fruitless > 0, "{self:?}");
        let is_rough = mood == Mood::Rough;
        assert_eq!(
            (self.gone > 0, self.failed > 0),
            (is_rough, is_rough),
            "{self:?}"
        );
    }
}

/// No caller sends his own call twice, and a batch call that tells nobody anything is all that can be in vain. Where the server does
/// what is usual, no call that is good is the cause of one.
pub(crate) fn check_economy(scenario: &Scenario, ran: &[Ran], counts: &Counts) {
    let calls = outcomes(&scenario.chains, ran).count();
    if scenario.is_usual() {
        let is_good = |outcome: &Outcome| (200..300).contains(&outcome.status());
        let causes = outcomes(&scenario.chains, ran)
            .filter(|(ask, outcome)| ask.is_odd || !is_good(outcome))
            .count();
        assert!(counts.fruitless <= causes, "{causes} causes: {counts:?}");
    }
    assert!(counts.singles <= calls, "{calls} calls: {counts:?}");
    let most = calls + counts.fruitless;
    assert!(counts.requests() <= most, "{calls} calls: {counts:?}");
}
