//! The rule of a limit, ready for use.

use super::window::{Cold, Window};
use crate::plan::{Reserve, Rule, Zone};

/// The rule of a limit, ready for use.
#[derive(Debug)]
pub(super) enum Kind {
    Rolling(Window),
    Pool {
        quota: u32,
        /// So much of the quota is kept for `Interactive`.
        reserve: u32,
        zone: Zone,
    },
    Gate,
}

impl Kind {
    pub(super) fn new(rule: &Rule, reserve: Reserve) -> Self {
        let reserve = reserve.of(rule.quota());
        match rule {
            Rule::Rolling { quota, window } => {
                Kind::Rolling(Window::new(*quota, *window).with_reserve(reserve))
            }
            Rule::Calendar { quota, zone } => Kind::Pool {
                quota: *quota,
                reserve,
                zone: zone.clone(),
            },
        }
    }

    /// The same, for a limit of which nothing is known at the start.
    pub(super) fn with_cold(self, cold: Option<Cold>) -> Self {
        match self {
            Kind::Rolling(window) => Kind::Rolling(window.with_cold(cold)),
            kind => kind,
        }
    }

    /// Requests per window or day; a gate has none.
    pub(super) fn quota(&self) -> Option<u32> {
        match self {
            Kind::Rolling(window) => Some(window.quota),
            Kind::Pool { quota, .. } => Some(*quota),
            Kind::Gate => None,
        }
    }

    /// The rule that this obeys; a gate has none.
    pub(super) fn rule(&self) -> Option<Rule> {
        self.rule_with_quota(self.quota()?)
    }

    /// The rule that this obeys, with another quota; a gate has none.
    pub(super) fn rule_with_quota(&self, quota: u32) -> Option<Rule> {
        match self {
            Kind::Rolling(window) => Some(Rule::Rolling {
                quota,
                window: window.length,
            }),
            Kind::Pool { zone, .. } => Some(Rule::Calendar {
                quota,
                zone: zone.clone(),
            }),
            Kind::Gate => None,
        }
    }
}
