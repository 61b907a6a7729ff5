//! What responses say of one key's use of a rolling limit, where that is not what the plan and our own slots say.

use super::Tick;
use super::foreign::{Foreign, Sample};
use super::window::Window;

/// A lower quota is remembered for so many windows after it was told last, others who use the same for so many.
const QUOTA_MEMORY: u32 = 60;
const FOREIGN_MEMORY: u32 = 6;

/// What is news about the use of a quota by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignUse {
    /// A response proves that others use the same quota: about so many requests of theirs are in the window.
    Begun {
        /// Requests.
        requests: u32,
    },
    /// For a whole window there have been none.
    Ended,
}

/// Made only for keys of which something is told, so that all others need no room for it.
#[derive(Debug, Default)]
pub(super) struct Told {
    quota: Option<ToldQuota>,
    foreign: Option<Foreign>,
}

/// How many requests the server allows, and when the request was sent whose response said so.
#[derive(Clone, Copy, Debug)]
struct ToldQuota {
    quota: u32,
    sent: Tick,
}

impl Told {
    /// The quota to keep to.
    pub(super) fn quota(&self, window: &Window) -> u32 {
        self.quota
            .map_or(window.quota, |told| told.quota.clamp(1, window.quota))
    }

    /// The server says how many requests it allows. The response to the request that was sent last knows best.
    pub(super) fn tell_quota(&mut self, quota: u32, sent: Tick) {
        if self.quota.is_none_or(|told| told.sent <= sent) {
            self.quota = Some(ToldQuota { quota, sent });
        }
    }

    /// A response tells how far the quota is used. If others are not known yet, `make` begins to reckon with them.
    pub(super) fn tell_use(
        &mut self,
        now: Tick,
        sample: &Sample,
        make: impl FnOnce() -> Foreign,
    ) -> Option<ForeignUse> {
        let begins = self.foreign.is_none();
        let foreign = self.foreign.get_or_insert_with(make);
        foreign.observe(sample);
        if begins {
            let requests = foreign.known(now).round() as u32;
            return Some(ForeignUse::Begun { requests });
        }
        if foreign.is_over() {
            self.foreign = None;
            return Some(ForeignUse::Ended);
        }
        None
    }

    pub(super) fn foreign(&self) -> Option<&Foreign> {
        self.foreign.as_ref()
    }

    pub(super) fn foreign_mut(&mut self) -> Option<&mut Foreign> {
        self.foreign.as_mut()
    }

    /// An answer has come. If it has told nothing, and all that we knew of others has left, they are forgotten.
    pub(super) fn answered(&mut self, now: Tick) {
        if self
            .foreign
            .as_ref()
            .is_some_and(|foreign| foreign.is_stale(now))
        {
            self.foreign = None;
        }
    }

    /// Whether a new key would behave the same, or this is too old to matter.
    pub(super) fn is_forgotten(&self, now: Tick, window: &Window) -> bool {
        let of_quota = window.length.saturating_mul(QUOTA_MEMORY);
        let of_foreign = window.length.saturating_mul(FOREIGN_MEMORY);
        let quota_counts =
            |told: &ToldQuota| told.quota < window.quota && now.since(told.sent) < of_quota;
        let foreign_counts = |foreign: &Foreign| foreign.silence(now) < of_foreign;
        !self.quota.as_ref().is_some_and(quota_counts)
            && !self.foreign.as_ref().is_some_and(foreign_counts)
    }
}
