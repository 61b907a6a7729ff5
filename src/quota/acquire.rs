//! Waiting for a permit, and holding one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Extensions, Request, Response};

use super::alarm::Alarm;
use super::{Parked, Patience, Quota, Reserved, Ticket, Waited, WouldWait};
use crate::core::{self, Admission, Denial, Progress, Tick, WaiterId};
use crate::error::QuotaError;
use crate::request::RequestHead;
use crate::signal::{Outcome, Signals};

/// Response extension: a layer further inside has held the request up for so long before it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delayed(pub(crate) Duration);

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
    patience: Patience,
    /// Known when the wait begins.
    limits: core::Patience,
    /// When the wait began, if it had to wait.
    began: Option<Tick>,
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
    /// Somebody further outside has stood in line.
    Handed(Box<Permit>),
    Waiting(WaiterId),
    Done,
}

impl Acquire {
    /// A slot under every limit that governs the request, unless a layer further outside has taken them: then only the end of
    /// every pause, because the request may wait for the inner service while one begins.
    pub(crate) fn once<B>(quota: &Quota, request: &mut Request<B>, max_wait: Duration) -> Self {
        let is_admitted = quota.is_admitted(request);
        let head = RequestHead::from(&*request);
        let (ticket, patience) = (quota.ticket(head), quota.patience(max_wait, head));
        let told = head.extensions.get::<WouldWait>().is_some();
        if is_admitted {
            let mut acquire = Self::no_pause(quota.clone(), ticket, patience);
            acquire.told = told;
            return acquire;
        }
        let reserved = request.extensions().get::<Reserved>();
        let handed = reserved.and_then(|reserved| reserved.take(quota, ticket.class));
        quota.mark_admitted(ticket.class, request.extensions_mut());
        let mut acquire = Self::slots(quota.clone(), ticket, patience);
        acquire.told = told;
        if let Some(mut permit) = handed {
            // Should a pause hold it up, this request's patience counts, not that of whoever took the slots.
            permit.patience = patience;
            permit.limits = patience.starting(quota.now());
            acquire.state = State::Handed(Box::new(permit));
        }
        acquire
    }

    /// A slot under every limit that governs the request.
    pub(crate) fn slots(quota: Quota, ticket: Ticket, patience: Patience) -> Self {
        Self {
            quota,
            ticket,
            wanted: Wanted::Slots,
            patience,
            limits: Tick::NEVER.into(),
            began: None,
            in_shadow: false,
            told: false,
            state: State::New,
            alarm: Alarm::default(),
        }
    }

    /// Tells the layers further inside how long it has waited, now that it is over, or that it would have.
    pub(crate) fn note_wait(&self, extensions: &mut Extensions) {
        if self.told {
            extensions.insert(WouldWait);
        }
        if let Some(began) = self.began {
            Waited::add(self.quota.now().since(began), extensions);
        }
    }

    /// No slot, but the end of every pause that holds the request up.
    pub(crate) fn no_pause(quota: Quota, ticket: Ticket, patience: Patience) -> Self {
        let mut acquire = Self::slots(quota, ticket, patience);
        acquire.wanted = Wanted::NoPause;
        acquire
    }

    /// A slot under every limit if there is one now, `None` if it must be waited for.
    ///
    /// # Errors
    ///
    /// The wait is known to be longer than `patience`.
    pub(crate) fn at_once(
        quota: &Quota,
        ticket: Ticket,
        patience: Patience,
    ) -> Result<Option<Permit>, QuotaError> {
        let mut acquire = Self::slots(quota.clone(), ticket, patience);
        let pauses = quota.pauses();
        match acquire.ask() {
            Admission::Granted(permit) => Ok(Some(acquire.granted(permit, Some(pauses)))),
            Admission::Denied(denial) => acquire.denied(denial).map(Some),
            Admission::Waiting(waiter) => {
                acquire.state = State::Waiting(waiter);
                Ok(None)
            }
        }
    }

    fn ask(&mut self) -> Admission {
        let Ticket {
            keys, class, lane, ..
        } = self.ticket;
        self.in_shadow = !self.quota.enforces();
        self.quota.ledger(|ledger, now| {
            self.limits = self.patience.starting(now.tick);
            let limits = match self.in_shadow {
                // What cannot go at once is told, and goes all the same.
                true => Patience::NONE.starting(now.tick),
                false => self.limits,
            };
            match self.wanted {
                Wanted::Slots => ledger.admit(now, keys, class, lane, limits),
                Wanted::NoPause => ledger.admit_through_pauses(now, keys, class, lane, limits),
            }
        })
    }

    fn granted(&self, permit: core::Permit, pauses: Option<u64>) -> Permit {
        self.permit(Some(permit), pauses)
    }

    /// In shadow mode a permit without slots.
    fn denied(&mut self, denial: Denial) -> Result<Permit, QuotaError> {
        if !self.in_shadow && self.quota.enforces() {
            return Err(self.quota.error(&self.ticket, denial));
        }
        if !self.told {
            self.told = true;
            let limit = self.quota.subject_name(denial.subject);
            self.quota.tell_would_wait(&self.ticket, limit);
        }
        Ok(self.permit(None, None))
    }

    fn permit(&self, inner: Option<core::Permit>, pauses: Option<u64>) -> Permit {
        Permit {
            quota: self.quota.clone(),
            ticket: self.ticket,
            patience: self.patience,
            limits: self.limits,
            pauses,
            inner,
        }
    }
}

impl Acquire {
    /// Whether it is the first time, or shadow mode has begun since: then it stands in line no longer.
    fn must_ask(&mut self) -> bool {
        let is_first = matches!(self.state, State::New);
        let is_over = matches!(self.state, State::Waiting(_)) && !self.in_shadow;
        if !is_first && (!is_over || self.quota.enforces()) {
            return false;
        }
        self.leave();
        true
    }

    /// Gives up its place in the line.
    fn leave(&mut self) {
        if let State::Waiting(waiter) = std::mem::replace(&mut self.state, State::Done) {
            self.quota.ledger(|ledger, now| ledger.cancel(now, waiter));
        }
    }
}

impl Future for Acquire {
    type Output = Result<Permit, QuotaError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            if this.must_ask() {
                let pauses = this.quota.pauses();
                match this.ask() {
                    Admission::Granted(permit) => {
                        return Poll::Ready(Ok(this.granted(permit, Some(pauses))));
                    }
                    Admission::Denied(denial) => return Poll::Ready(this.denied(denial)),
                    Admission::Waiting(waiter) => {
                        this.began.get_or_insert(this.quota.now());
                        this.state = State::Waiting(waiter);
                    }
                }
            }
            let waiter = match std::mem::replace(&mut this.state, State::Done) {
                State::Waiting(waiter) => waiter,
                State::Handed(permit) => return Poll::Ready(Ok(*permit)),
                // Polled again after it was ready: nothing more will come.
                State::New | State::Done => return Poll::Pending,
            };
            let until = match this
                .quota
                .ledger(|ledger, now| ledger.poll(now, waiter, Some(cx.waker())))
            {
                Progress::Granted(permit) => return Poll::Ready(Ok(this.granted(permit, None))),
                Progress::Denied(denial) => return Poll::Ready(this.denied(denial)),
                Progress::Waiting { waiter, until } => {
                    this.state = State::Waiting(waiter);
                    until.unwrap_or(Tick::NEVER)
                }
            };
            let instant = this.quota.clock().instant(until.since_origin());
            ready!(this.alarm.poll_at(instant, cx));
        }
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The right to send one request now. Dropped before the send, its slots are free at once; dropped after the send, they age.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(super) quota: Quota,
    pub(super) ticket: Ticket,
    patience: Patience,
    limits: core::Patience,
    /// How many pauses there had been when it was granted; unknown if that was before its owner knew.
    pauses: Option<u64>,
    pub(super) inner: Option<core::Permit>,
}

impl Permit {
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Whether it was ready to wait for a daily pool to be filled again.
    pub(crate) fn has_parked(&self) -> bool {
        self.inner.as_ref().is_some_and(core::Permit::has_parked)
    }

    /// Whoever has waited for a daily pool here may wait for what else he needs further inside as long as it takes.
    pub(crate) fn note_parking(&self, extensions: &mut Extensions) {
        if self.has_parked() {
            extensions.insert(Parked);
        }
    }

    /// What a layer further inside says of the time for which it held the request up.
    pub(crate) fn note_delay<B>(&mut self, response: &Response<B>) {
        if let (Some(permit), Some(Delayed(delay))) = (&mut self.inner, response.extensions().get())
        {
            permit.note_delay(*delay);
        }
    }

    /// Marks the request as sent.
    ///
    /// # Errors
    ///
    /// The line to stand in again, when a pause has begun since the permit was granted. The permit is then empty.
    pub(crate) fn send(&mut self) -> Result<(), Box<Acquire>> {
        let Some(permit) = &mut self.inner else {
            return Ok(());
        };
        if self.pauses == Some(self.quota.pauses()) || !self.quota.enforces() {
            // No pause has begun since: the ledger need not be asked.
            let now = self.quota.now();
            permit.mark_sent(now);
            self.ticket.sent = Some(now);
            return Ok(());
        }
        let limits = self.limits;
        let sent = self.quota.ledger(|ledger, now| {
            self.ticket.sent = Some(now.tick);
            ledger.send(now, permit, limits)
        });
        sent.map_err(|waiter| {
            self.inner = None;
            let mut acquire = Acquire::slots(self.quota.clone(), self.ticket, self.patience);
            acquire.limits = limits;
            acquire.began = self.ticket.sent;
            acquire.state = State::Waiting(waiter);
            Box::new(acquire)
        })
    }

    /// A response has arrived: the slots begin to cool. What it says is observed before, if that has not been done yet. Does nothing
    /// the second time.
    pub(crate) fn over(&mut self, ending: Ending, unobserved: Option<&Signals>) {
        if let Some(permit) = self.inner.take() {
            let news = self.quota.ledger(|ledger, now| {
                let news = unobserved.map(|signals| self.tell(ledger, now, &permit, signals));
                match ending {
                    Ending::Answer(service_time) => ledger.settle(now, permit, service_time),
                    Ending::Failure => ledger.fail(now, permit),
                }
                news
            });
            self.announce(news.unwrap_or_default());
        }
    }
}

/// What a response means for the slots of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// The service time that it tells is credited.
    Answer(Option<Duration>),
    /// A refusal or a failure; no time is credited.
    Failure,
}

impl Ending {
    pub(crate) fn of(signals: &Signals) -> Self {
        match signals.outcome {
            Outcome::Answered => Self::Answer(signals.service_time),
            _ => Self::Failure,
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
