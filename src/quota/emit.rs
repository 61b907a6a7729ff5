//! What has happened, told to whoever wants to know.

use super::Quota;
use crate::event::{EventKind, Events, QuotaEvent, Whose};

/// # Events
impl Quota {
    /// What happens to this quota from now on, except for single requests; see [`event`](crate::event).
    ///
    /// Any number of readers may ask; each gets all events. 1,024 are kept for a reader that is slow.
    pub fn events(&self) -> Events {
        self.0.hub.events(&self.0.clock)
    }

    /// The same with an event for each attempt of a request that [`ObserveLayer`](crate::ObserveLayer) has seen: what a log needs that is to be
    /// replayed. 16,384 are kept for a reader that is slow.
    pub fn events_with_requests(&self) -> Events {
        self.0.hub.events_with_requests(&self.0.clock)
    }

    /// Tells `tracing`, and whoever reads the events.
    pub(crate) fn emit(&self, whose: impl Into<Whose>, kind: EventKind) {
        let wall = self.0.clock.wall();
        let cleared = match kind {
            EventKind::Denied { .. } => self.tally().denied(wall),
            EventKind::WouldWait { .. } => self.tally().would_wait(wall),
            _ => None,
        };
        self.tell_level(cleared);
        let event = QuotaEvent::new(wall, whose.into(), kind);
        event.trace();
        #[cfg(feature = "metrics")]
        self.0.metrics.event(&event.kind);
        self.0.hub.send(event);
    }
}
