//! The rule of a limit, ready for use.

use super::pool::Day;
use super::window::{Cold, Window};
use crate::plan::{Reserve, Rule};

/// The rule of a limit, ready for use.
#[derive(Debug)]
pub(super) enum Kind {
    Rolling(Window),
    Pool(Day),
    Gate,
}

impl Kind {
    /// Only a daily pool can be paced.
    pub(super) fn new(rule: &Rule, reserve: Reserve, paced: bool) -> Self {
        match rule {
            Rule::Rolling { quota, window } => {
                Kind::Rolling(Window::new(*quota, *window).with_reserve(reserve))
            }
            Rule::Calendar { quota, zone } => Kind::Pool(Day {
                quota: *quota,
                reserve,
                zone: zone.clone(),
                paced,
            }),
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
            Kind::Pool(day) => Some(day.quota),
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
            Kind::Pool(day) => Some(Rule::Calendar {
                quota,
                zone: day.zone.clone(),
            }),
            Kind::Gate => None,
        }
    }
}
