//! How long a request may wait.

use std::time::Duration;

use super::{Parked, Quota};
use crate::core::{self, Tick};
use crate::request::{Deadline, RequestHead};

/// How long a request may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    max_wait: Duration,
    /// The request's own.
    deadline: Tick,
    /// When a longer wait of the same layer ends.
    last: Tick,
    /// Whether waits for a daily pool last until the deadline.
    parks: bool,
}

impl Patience {
    /// That of a request that may not wait.
    pub(crate) const NONE: Self = Self {
        max_wait: Duration::ZERO,
        deadline: Tick::NEVER,
        last: Tick::NEVER,
        parks: false,
    };

    /// The last tick at which a wait that begins now may end, unless it is one for a daily pool.
    pub(crate) fn ends(self, now: Tick) -> Tick {
        let last = self.deadline.min(self.last);
        now.after(self.max_wait).min(last)
    }

    /// That of a wait which begins at `now`.
    pub(crate) fn starting(self, now: Tick) -> core::Patience {
        let patience = core::Patience::until(self.ends(now));
        match self.parks {
            true => patience.parking_until(self.deadline),
            false => patience,
        }
    }

    /// The same, but no wait ends later than `last`, unless it is one for a daily pool.
    pub(crate) fn no_later(self, last: Tick) -> Patience {
        Patience {
            last: self.last.min(last),
            ..self
        }
    }

    /// It has had to wait for a daily pool: if it parks, only its own deadline counts from now on.
    pub(crate) fn park(self) -> Patience {
        if !self.parks {
            return self;
        }
        Patience {
            max_wait: Duration::MAX,
            last: Tick::NEVER,
            ..self
        }
    }
}

impl Quota {
    /// How long the request may wait each time: `max_wait`, and not beyond its own deadline.
    pub(crate) fn patience(&self, max_wait: Duration, head: RequestHead<'_>) -> Patience {
        let deadline = head.extensions.get::<Deadline>();
        let patience = Patience {
            max_wait,
            deadline: deadline.map_or(Tick::NEVER, |deadline| self.0.clock.tick_of(deadline.0)),
            last: Tick::NEVER,
            parks: self.parks(),
        };
        match head.extensions.get::<Parked>() {
            Some(_) => patience.park(),
            None => patience,
        }
    }
}
