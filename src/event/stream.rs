//! How events reach those who read them, without holding up those who make them.

use std::sync::OnceLock;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{self, Receiver, Sender};

use super::{EventKind, QuotaEvent, Whose};
use crate::clock::Clock;

/// So many events are kept for a reader who is slow.
const EVENTS: usize = 1_024;
/// The same with those about single requests.
pub(crate) const EVENTS_WITH_REQUESTS: usize = 16_384;

/// Where events are given in.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    /// There once somebody has asked for them.
    events: OnceLock<Sender<QuotaEvent>>,
    with_requests: OnceLock<Sender<QuotaEvent>>,
}

impl Hub {
    /// From now on.
    pub(crate) fn events(&self, clock: &Clock) -> Events {
        Events::new(&self.events, EVENTS, clock)
    }

    /// From now on, with those about single requests.
    pub(crate) fn events_with_requests(&self, clock: &Clock) -> Events {
        Events::new(&self.with_requests, EVENTS_WITH_REQUESTS, clock)
    }

    /// Whether anybody reads those about single requests.
    pub(crate) fn wants_requests(&self) -> bool {
        let sender = self.with_requests.get();
        sender.is_some_and(|sender| sender.receiver_count() > 0)
    }

    pub(crate) fn send(&self, event: QuotaEvent) {
        let is_request = matches!(event.kind, EventKind::Request { .. });
        let events = self.events.get().filter(|_| !is_request);
        let with_requests = self.with_requests.get();
        // An error says that nobody reads.
        match (events, with_requests) {
            (Some(events), Some(with_requests)) => {
                let _ = events.send(event.clone());
                let _ = with_requests.send(event);
            }
            (Some(sender), None) | (None, Some(sender)) => drop(sender.send(event)),
            (None, None) => {}
        }
    }
}

/// The events of a [`Quota`](crate::Quota), in the order in which they happened.
///
/// A reader that falls behind misses the oldest, and is told how many by an event of the kind [`EventKind::Missed`]. It ends when the last handle
/// of the quota, and the last layer made from it, is gone.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<QuotaEvent>,
    clock: Clock,
}

impl Events {
    fn new(sender: &OnceLock<Sender<QuotaEvent>>, kept: usize, clock: &Clock) -> Self {
        Self {
            receiver: sender
                .get_or_init(|| broadcast::channel(kept).0)
                .subscribe(),
            clock: clock.clone(),
        }
    }

    /// The next event; `None` when there will be no more.
    ///
    /// # Cancel safety
    ///
    /// No event is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<QuotaEvent> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(self.missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event, if it has happened already.
    pub fn try_next(&mut self) -> Option<QuotaEvent> {
        match self.receiver.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Lagged(missed)) => Some(self.missed(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// The next event, waited for on a thread of its own; `None` when there will be no more.
    ///
    /// # Panics
    ///
    /// Inside a runtime of tokio, as [`blocking_recv`](Receiver::blocking_recv) does.
    pub fn blocking_next(&mut self) -> Option<QuotaEvent> {
        match self.receiver.blocking_recv() {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(self.missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    fn missed(&self, events: u64) -> QuotaEvent {
        QuotaEvent::new(self.clock.wall(), Whose::ALL, EventKind::Missed { events })
    }
}
