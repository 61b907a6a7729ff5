//! What the server says of a limit, beside what the plan says.

use std::time::Duration;

/// So many different quotas of one limit are announced; a server that says more of them has no more to say.
const MOST_ANNOUNCED: usize = 8;

/// What a limit allows: as planned, and as the server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Requests per window, as planned.
    pub planned: u32,
    /// Requests per window, as the latest response said that said anything of it.
    pub learned: Option<u32>,
    /// The window, as planned.
    pub planned_window: Duration,
    /// The window, as the latest response said that said anything of it.
    pub learned_window: Option<Duration>,
}

/// What responses have said of one limit, whatever the key.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) quota: Option<u32>,
    pub(super) window: Option<Duration>,
    announced: Vec<u32>,
}

impl Claims {
    /// Gives whether this quota differs from the plan's and has not been announced yet.
    pub(super) fn hear(
        &mut self,
        quota: Option<u32>,
        window: Option<Duration>,
        planned: u32,
    ) -> bool {
        self.quota = quota.or(self.quota);
        self.window = window.or(self.window);
        let Some(quota) = quota.filter(|quota| *quota != planned) else {
            return false;
        };
        let is_new = !self.announced.contains(&quota) && self.announced.len() < MOST_ANNOUNCED;
        if is_new {
            self.announced.push(quota);
        }
        is_new
    }
}
