//! Credit that is given less of, because the server seems to count otherwise than assumed.

use std::time::Duration;

use super::Tick;
use super::kind::Kind;
use super::window::Window;

/// How much less than the whole service time is credited.
///
/// The credit assumes that the server counts before it works. A refusal of a limit that we govern says that something is
/// not as assumed: the credited share is halved, and grows back by [`Distrust::RECOVERY`] per window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Distrust {
    /// What was missing from the whole at `since`, in 1/1024.
    missing: u32,
    since: Tick,
}

impl Distrust {
    const WHOLE: u32 = 1024;
    /// Share that comes back per window, in 1/1024.
    const RECOVERY: u32 = 16;

    fn share(&self, now: Tick, window: &Window) -> u32 {
        if self.missing == 0 {
            return Self::WHOLE;
        }
        let windows = now.since(self.since).as_nanos() / window.length.as_nanos().max(1);
        let recovered = u32::try_from(windows)
            .unwrap_or(u32::MAX)
            .saturating_mul(Self::RECOVERY);
        Self::WHOLE - self.missing.saturating_sub(recovered)
    }

    /// Refusals that come within one window are one piece of evidence: the share is halved once.
    pub(super) fn halve(&mut self, now: Tick, window: &Window) -> u32 {
        let share = self.share(now, window);
        if self.missing > 0 && now.since(self.since) < window.length {
            return share * 100 / Self::WHOLE;
        }
        *self = Self {
            missing: Self::WHOLE - share / 2,
            since: now,
        };
        share / 2 * 100 / Self::WHOLE
    }

    pub(super) fn reduce(&self, credit: Duration, now: Tick, window: &Window) -> Duration {
        credit.saturating_mul(self.share(now, window)) / Self::WHOLE
    }

    pub(super) fn is_over(&self, now: Tick, kind: &Kind) -> bool {
        match kind {
            Kind::Rolling(window) => self.share(now, window) == Self::WHOLE,
            _ => true,
        }
    }
}
