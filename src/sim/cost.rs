//! What a request costs the server, and which requests are too heavy for it.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;

use super::filter::Operator;
use super::latency;
use crate::ConfigError;

/// How heavy a search or a batch read may be. One that is heavier is answered with 504 after a long wait, however often it is sent.
///
/// The cost of a request is
///
/// > units x (1 + properties) x filters
///
/// * units: `limit` of a search (10 if it does not say), or the number of inputs of a batch read of objects or associations;
/// * properties: how many are asked for, those with history too; none for the usual ones;
/// * filters: the sum of what each filter of a search weighs, `query` being one, but at least 1.
///
/// A filter weighs by its operator: HAS_PROPERTY and NEQ 2; NOT_HAS_PROPERTY, NOT_IN, CONTAINS_TOKEN and `query` 4;
/// NOT_CONTAINS_TOKEN 8; the others nothing. HubSpot publishes nothing of the kind. The model and its figures are made up; only
/// that more of each is slower is known.
///
/// A request that is too heavy is counted by all limits like any other, and stays in work for the whole [wait](Self::wait). One
/// that is wrong gets its 400 instead. A [`Fault`](super::Fault) goes before: only where the fault lets the work be done can it be
/// too heavy.
///
/// ```
/// use std::time::Duration;
/// use tower_quota::sim::{Cost, Operator, Sim};
///
/// // 50 records with 19 properties, or 5 of them where one filter has to look into the text.
/// let cost = Cost::new(1_000)
///     .operator(Operator::ContainsToken, 10)
///     .wait(Duration::from_secs(10));
/// let sim = Sim::builder().cost(cost).build()?;
/// // From now on nothing is too heavy in itself, but one in ten times out all the same.
/// sim.set_cost(Some(Cost::new(u64::MAX).at_random(0.1)))?;
/// // And now all is well.
/// sim.set_cost(None)?;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until it is given to a simulator"]
pub struct Cost {
    budget: u64,
    pub(super) wait: Duration,
    pub(super) status: StatusCode,
    operators: HashMap<Operator, u64>,
    query: u64,
    probability: f64,
}

impl Cost {
    /// Everything up to a cost of `budget` is worked on, which must not be zero. With [`u64::MAX`] nothing is too heavy in itself.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            wait: Duration::from_secs(30),
            status: StatusCode::GATEWAY_TIMEOUT,
            operators: HashMap::from([
                (Operator::HasProperty, 2),
                (Operator::Neq, 2),
                (Operator::NotHasProperty, 4),
                (Operator::NotIn, 4),
                (Operator::ContainsToken, 4),
                (Operator::NotContainsToken, 8),
            ]),
            query: 4,
            probability: 0.0,
        }
    }

    /// How long the server works before it gives up: 30 s if not said, a day at most. The service time is not added to it.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// The answer to what is too heavy: 504 if not said, or 502 or 524. Body and headers are those of
    /// [`Fault::status`](super::Fault::status).
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// What a filter with this operator weighs; see [above](Self) for what it is if not said.
    pub fn operator(mut self, operator: Operator, weight: u64) -> Self {
        self.operators.insert(operator, weight);
        self
    }

    /// What a search with a `query` weighs for it, however long that is; 4 if not said.
    pub fn query(mut self, weight: u64) -> Self {
        self.query = weight;
        self
    }

    /// A request that is within the budget is too heavy all the same with this probability (0.0..=1.0); 0 if not said. Sent again
    /// it may work. Nothing is drawn for a probability of 0.
    pub fn at_random(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.budget == 0 {
            return Err(ConfigError::new("cost: budget", "must not be zero"));
        }
        if self.wait > latency::LONGEST {
            return Err(ConfigError::new(
                "cost: wait",
                "must not reach beyond one day",
            ));
        }
        if !matches!(self.status.as_u16(), 502 | 504 | 524) {
            return Err(ConfigError::new("cost: status", "must be 502, 504 or 524"));
        }
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(ConfigError::new(
                "cost: probability",
                "must be within 0.0..=1.0",
            ));
        }
        Ok(())
    }

    fn of(&self, load: &Load) -> u64 {
        let weight = |operator| self.operators.get(operator).copied().unwrap_or(0);
        let query = if load.query { self.query } else { 0 };
        let filters = load.operators.iter().map(weight);
        let filters = filters.fold(query, u64::saturating_add).max(1);
        let each = 1 + load.properties as u64;
        (load.units as u64)
            .saturating_mul(each)
            .saturating_mul(filters)
    }

    /// Why a request is too heavy, if it is.
    pub(super) fn judge(&self, load: &Load, rng: &mut fastrand::Rng) -> Option<TooHeavy> {
        // Drawn for every request, so that one that costs too much does not change what befalls the others.
        let unlucky = self.probability > 0.0 && rng.f64() < self.probability;
        if self.of(load) > self.budget {
            return Some(TooHeavy::ByCost);
        }
        unlucky.then_some(TooHeavy::ByChance)
    }
}

/// Why a request is too heavy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooHeavy {
    ByCost,
    ByChance,
}

/// What there is to do for a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    pub(super) units: usize,
    pub(super) properties: usize,
    /// One for each filter.
    pub(super) operators: Vec<Operator>,
    pub(super) query: bool,
}
