//! How fast the quota lets anybody be.

use std::time::Duration;

use tower_quota::hubspot;
use tower_quota::plan::{Plan, Rule};

/// The rolling window that governs the sync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) quota: u32,
    pub(crate) window: Duration,
}

impl Pace {
    pub(crate) fn of(plan: &Plan) -> Result<Self, String> {
        match plan.limit(hubspot::BURST).map(|limit| limit.rule()) {
            Some(&Rule::Rolling { quota, window }) => Ok(Self { quota, window }),
            _ => Err("the plan has no burst limit".to_owned()),
        }
    }

    /// As people say it.
    pub(crate) fn text(&self) -> String {
        format!(
            "{} requests per {} s",
            self.quota,
            self.window.as_secs_f64()
        )
    }

    /// The least time until the last of `requests` can be sent.
    pub(crate) fn ideal(&self, requests: u64) -> Duration {
        let quota = u64::from(self.quota);
        let windows = requests.saturating_sub(quota).div_ceil(quota);
        self.window
            .saturating_mul(u32::try_from(windows).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ideal_counts_whole_windows() {
        let pace = Pace {
            quota: 190,
            window: Duration::from_secs(10),
        };
        for (requests, seconds) in [
            (0, 0),
            (190, 0),
            (191, 10),
            (380, 10),
            (381, 20),
            (1500, 70),
        ] {
            assert_eq!(
                pace.ideal(requests),
                Duration::from_secs(seconds),
                "{requests}"
            );
        }
    }
}
