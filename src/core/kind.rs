//! The rule of a limit, ready for use.

use super::rolling::Window;
use crate::plan::{Rule, Zone};

/// The rule of a limit, ready for use.
#[derive(Debug)]
pub(super) enum Kind {
    Rolling(Window),
    Pool { quota: u32, zone: Zone },
    Gate,
}

impl Kind {
    pub(super) fn new(rule: &Rule) -> Self {
        match rule {
            Rule::Rolling { quota, window } => Kind::Rolling(Window::new(*quota, *window)),
            Rule::Calendar { quota, zone } => Kind::Pool {
                quota: *quota,
                zone: zone.clone(),
            },
        }
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
