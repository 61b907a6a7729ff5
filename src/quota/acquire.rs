//! Waiting for a permit, and holding one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::{Quota, Ticket};
use crate::core::{self, Admission, Progress, Tick, WaiterId};
use crate::error::QuotaError;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// A slot under every limit.
    Slots,
    /// The end of all pauses.
    NoPause,
}

/// Waits in line for a [`Permit`]. Asks for it when first polled.
///
/// # Cancel safety
///
/// Dropping it at any point gives up its place in the line, or the permit it was granted in the meantime, and wakes whom that
/// concerns.
#[derive(Debug)]
pub(crate) struct Acquire {
    quota: Quota,
    ticket: Ticket,
    wanted: Wanted,
    deadline: Tick,
    state: State,
    /// Made only when there is something to wait for.
    alarm: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum State {
    New,
    Waiting(WaiterId),
    Done,
}

impl Acquire {
    /// A slot under every limit that governs the request.
    pub(crate) fn slots(quota: Quota, ticket: Ticket, deadline: Tick) -> Self {
        Self {
            quota,
            ticket,
            wanted: Wanted::Slots,
            deadline,
            state: State::New,
            alarm: None,
        }
    }

    /// No slot, but the end of every pause that holds the request up.
    pub(crate) fn no_pause(quota: Quota, ticket: Ticket, deadline: Tick) -> Self {
        let mut acquire = Self::slots(quota, ticket, deadline);
        acquire.wanted = Wanted::NoPause;
        acquire
    }

    fn ask(&mut self) -> Admission {
        let (Ticket { keys, class }, deadline) = (self.ticket, self.deadline);
        match self.wanted {
            Wanted::Slots => self
                .quota
                .ledger(|ledger, now| ledger.admit(now, keys, class, deadline)),
            Wanted::NoPause => self
                .quota
                .ledger(|ledger, now| ledger.admit_through_pauses(now, keys, class, deadline)),
        }
    }

    fn granted(&mut self, permit: core::Permit) -> Permit {
        Permit {
            quota: self.quota.clone(),
            ticket: self.ticket,
            deadline: self.deadline,
            inner: Some(permit),
        }
    }
}

impl Future for Acquire {
    type Output = Result<Permit, QuotaError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if matches!(this.state, State::New) {
            this.state = State::Done;
            match this.ask() {
                Admission::Granted(permit) => return Poll::Ready(Ok(this.granted(permit))),
                Admission::Denied(denial) => {
                    return Poll::Ready(Err(this.quota.error(&this.ticket, denial)));
                }
                Admission::Waiting(waiter) => this.state = State::Waiting(waiter),
            }
        }
        loop {
            let State::Waiting(waiter) = std::mem::replace(&mut this.state, State::Done) else {
                // Polled again after it was ready: nothing more will come.
                return Poll::Pending;
            };
            let until = match this
                .quota
                .ledger(|ledger, now| ledger.poll(now, waiter, Some(cx.waker())))
            {
                Progress::Granted(permit) => return Poll::Ready(Ok(this.granted(permit))),
                Progress::Denied(denial) => {
                    return Poll::Ready(Err(this.quota.error(&this.ticket, denial)));
                }
                Progress::Waiting { waiter, until } => {
                    this.state = State::Waiting(waiter);
                    until.unwrap_or(Tick::NEVER).min(this.deadline)
                }
            };
            let instant = this.quota.clock().instant(until.since_origin());
            let alarm = this
                .alarm
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(instant)));
            if alarm.deadline() != instant || alarm.is_elapsed() {
                alarm.as_mut().reset(instant);
            }
            ready!(alarm.as_mut().poll(cx));
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let State::Waiting(waiter) = std::mem::replace(&mut self.state, State::Done) {
            self.quota.ledger(|ledger, now| ledger.cancel(now, waiter));
        }
    }
}

/// The right to send one request now. Dropped before the send, its slots are free at once; dropped after the send, they age.
#[derive(Debug)]
pub(crate) struct Permit {
    quota: Quota,
    ticket: Ticket,
    deadline: Tick,
    inner: Option<core::Permit>,
}

impl Permit {
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Marks the request as sent.
    ///
    /// # Errors
    ///
    /// The line to stand in again, when a pause has begun since the permit was granted.
    pub(crate) fn send(mut self) -> Result<Self, Acquire> {
        let Some(mut permit) = self.inner.take() else {
            return Ok(self);
        };
        let deadline = self.deadline;
        match self
            .quota
            .ledger(|ledger, now| ledger.send(now, &mut permit, deadline))
        {
            Ok(()) => {
                self.inner = Some(permit);
                Ok(self)
            }
            Err(waiter) => {
                let mut acquire = Acquire::slots(self.quota.clone(), self.ticket, deadline);
                acquire.state = State::Waiting(waiter);
                Err(acquire)
            }
        }
    }

    /// A response has arrived that refuses the request or says that the server failed.
    pub(crate) fn fail(mut self) {
        if let Some(permit) = self.inner.take() {
            self.quota.ledger(|ledger, now| ledger.fail(now, permit));
        }
    }

    /// The answer has arrived.
    pub(crate) fn settle(mut self, service_time: Option<Duration>) {
        if let Some(permit) = self.inner.take() {
            self.quota
                .ledger(|ledger, now| ledger.settle(now, permit, service_time));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(permit) = self.inner.take() else {
            return;
        };
        if permit.is_sent() {
            self.quota.ledger(|ledger, now| ledger.abandon(now, permit));
        } else if !permit.is_empty() {
            self.quota.ledger(|ledger, now| ledger.refund(now, permit));
        }
    }
}
