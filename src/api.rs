use std::fmt;
use std::sync::Arc;

use crate::plan::Plan;
use crate::request::{Routes, StandardRoutes};
use crate::signal::{SignalReader, StandardSignals};

/// All that a [`Quota`](crate::Quota) must know of one API: its limits, its routes and its dialect.
///
/// A preset makes one (`hubspot::api`); a [`Plan`] alone becomes one with standard routes and signals.
#[derive(Clone)]
pub struct Api {
    pub(crate) plan: Plan,
    pub(crate) routes: Arc<dyn Routes>,
    pub(crate) signals: Arc<dyn SignalReader>,
    /// Somebody has said how responses are read.
    pub(crate) has_reader: bool,
}

impl Api {
    /// An API about which only the limits are known.
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            routes: Arc::new(StandardRoutes),
            signals: Arc::new(StandardSignals),
            has_reader: false,
        }
    }

    /// Sets how paths are told apart; [`StandardRoutes`] at first.
    #[must_use]
    pub fn routes(mut self, routes: impl Routes) -> Self {
        self.routes = Arc::new(routes);
        self
    }

    /// Sets how responses are read; [`StandardSignals`] at first. A process then asks at its start how far the limits are used; see
    /// [`ColdStart`](crate::plan::ColdStart).
    #[must_use]
    pub fn signals(mut self, signals: impl SignalReader) -> Self {
        self.signals = Arc::new(signals);
        self.has_reader = true;
        self
    }

    /// The limits.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl From<Plan> for Api {
    fn from(plan: Plan) -> Self {
        Self::new(plan)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}
