//! How long a request may wait.

use super::tick::Tick;

/// How long a request may wait: for its slots in general, and for a daily pool to be filled again.
///
/// A [`Tick`] alone means that it waits no longer for a daily pool than for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub(super) deadline: Tick,
    parked: Tick,
    /// Whether it has had to wait for a daily pool.
    pub(super) has_parked: bool,
}

impl Patience {
    /// Waits until `deadline`, whatever it waits for.
    pub fn until(deadline: Tick) -> Self {
        Self {
            deadline,
            parked: deadline,
            has_parked: false,
        }
    }

    /// Once it has to wait for a daily pool, it waits until `deadline`, if that is later: also for all that holds it up afterwards,
    /// because those who have waited for the same reset go one after the other.
    #[must_use]
    pub fn parking_until(self, deadline: Tick) -> Self {
        Self {
            parked: self.deadline.max(deadline),
            ..self
        }
    }

    /// It has to wait for a daily pool.
    pub(super) fn park(self) -> Self {
        Self {
            deadline: self.parked,
            has_parked: true,
            ..self
        }
    }

    /// Whether it may wait until `tick`.
    pub fn allows(self, tick: Tick) -> bool {
        tick <= self.deadline
    }
}

impl From<Tick> for Patience {
    fn from(deadline: Tick) -> Self {
        Self::until(deadline)
    }
}
