//! Waiting for a place among those in flight, and holding one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::shared::Shared;
use crate::QuotaError;
use crate::core::Tick;
use crate::core::concurrency::{Age, Evidence, Place, Turn, WaiterId};
use crate::quota::{Alarm, Patience, Ticket};

/// What the error of a request that waited in vain calls the limit.
const NAME: &str = "concurrency";

/// Waits in line for a [`Permit`]. Asks for it when first polled.
///
/// # Cancel safety
///
/// Dropping it at any point gives up its place in the line, or the permit it was granted in the meantime, and wakes the next.
#[derive(Debug)]
pub(super) struct Enter {
    shared: Arc<Shared>,
    ticket: Ticket,
    patience: Patience,
    /// When it was first polled.
    began: Option<Tick>,
    /// Known when the wait begins.
    deadline: Tick,
    age: Option<Age>,
    /// Whether it was asked for in shadow mode: then it is not waited for.
    in_shadow: bool,
    /// Whether it has been told that the request would have been held up.
    told: bool,
    state: State,
    alarm: Alarm,
}

#[derive(Debug)]
enum State {
    New,
    Waiting(WaiterId),
    Done,
}

impl Enter {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket, patience: Patience) -> Self {
        Self {
            shared,
            ticket,
            patience,
            began: None,
            deadline: Tick::NEVER,
            age: None,
            in_shadow: false,
            told: false,
            state: State::New,
            alarm: Alarm::default(),
        }
    }

    /// A layer further outside has told that the request would have been held up.
    pub(super) fn told(mut self) -> Self {
        self.told = true;
        self
    }

    /// It has had to wait for a daily pool in the meantime.
    pub(super) fn park(&mut self) {
        self.patience = self.patience.park();
    }

    fn permit(&self, place: Option<Place>) -> Permit {
        Permit {
            shared: self.shared.clone(),
            ticket: self.ticket,
            patience: self.patience.no_later(self.deadline),
            began: self.began,
            place,
        }
    }

    /// In shadow mode whoever cannot go at once goes all the same, and that is told.
    fn would_wait(&self) -> Permit {
        if !self.told {
            self.shared.quota.tell_would_wait(&self.ticket, NAME);
        }
        self.permit(None)
    }

    fn poll_turn(&mut self, cx: &Context<'_>) -> Option<Turn> {
        let token = self.ticket.keys.token;
        let lane = self.ticket.lane;
        match std::mem::replace(&mut self.state, State::Done) {
            State::New => Some(self.shared.crowds(|crowds, now| {
                self.began.get_or_insert(now);
                self.deadline = self.patience.ends(now);
                self.in_shadow = !self.shared.quota.enforces();
                let deadline = if self.in_shadow { now } else { self.deadline };
                match crowds.enter(now, token, lane, self.age, deadline) {
                    Turn::Waiting { waiter, .. } => crowds.poll(now, waiter, Some(cx.waker())),
                    turn => turn,
                }
            })),
            State::Waiting(waiter) => Some(
                self.shared
                    .crowds(|crowds, now| crowds.poll(now, waiter, Some(cx.waker()))),
            ),
            State::Done => None,
        }
    }
}

impl Future for Enter {
    type Output = Result<Permit, QuotaError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let until = match this.poll_turn(cx) {
                Some(Turn::Granted(place)) => return Poll::Ready(Ok(this.permit(Some(place)))),
                Some(Turn::Denied(_)) if this.in_shadow || !this.shared.quota.enforces() => {
                    return Poll::Ready(Ok(this.would_wait()));
                }
                Some(Turn::Denied(reason)) => {
                    let quota = &this.shared.quota;
                    let error = quota.refusal(&this.ticket, NAME, reason, Duration::ZERO);
                    return Poll::Ready(Err(error));
                }
                Some(Turn::Waiting { waiter, .. }) if !this.shared.quota.enforces() => {
                    this.shared.crowds(|crowds, now| crowds.cancel(now, waiter));
                    return Poll::Ready(Ok(this.would_wait()));
                }
                Some(Turn::Waiting { waiter, until }) => {
                    this.state = State::Waiting(waiter);
                    until.unwrap_or(Tick::NEVER).min(this.deadline)
                }
                // Polled again after it was ready: nothing more will come.
                None => return Poll::Pending,
            };
            let instant = this.shared.quota.clock().instant(until.since_origin());
            ready!(this.alarm.poll_at(instant, cx));
        }
    }
}

impl Drop for Enter {
    fn drop(&mut self) {
        if let State::Waiting(waiter) = std::mem::replace(&mut self.state, State::Done) {
            self.shared.crowds(|crowds, now| crowds.cancel(now, waiter));
        }
    }
}

/// The right to be in flight. Dropped, it is given back and nothing is learnt.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Arc<Shared>,
    ticket: Ticket,
    /// No wait of this request lasts longer.
    patience: Patience,
    began: Option<Tick>,
    place: Option<Place>,
}

impl Permit {
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// How long the request has waited for it, pauses in between included.
    pub(super) fn waited(&self) -> Duration {
        let granted = self.place.as_ref().map(Place::granted);
        let waited = granted
            .zip(self.began)
            .map(|(granted, began)| granted.since(began));
        waited.unwrap_or_default()
    }

    /// Gives it back, to enter again later and stand where it stood.
    pub(super) fn back(mut self) -> Enter {
        let mut enter = Enter::new(self.shared.clone(), self.ticket, self.patience);
        enter.began = self.began;
        if let Some(place) = self.place.take() {
            enter.age = Some(place.age());
            self.shared.crowds(|crowds, now| crowds.leave(now, place));
        }
        enter
    }

    /// What became of the request, which is no longer in flight.
    pub(super) fn over(mut self, evidence: &Evidence) {
        if let Some(place) = self.place.take() {
            self.shared
                .crowds(|crowds, now| crowds.over(now, place, evidence));
        }
    }

    /// What became of the request, which stays in flight.
    pub(super) fn hear(&self, evidence: &Evidence) {
        if let Some(place) = &self.place {
            self.shared
                .crowds(|crowds, now| crowds.hear(now, place, evidence));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.shared.crowds(|crowds, now| crowds.leave(now, place));
        }
    }
}
