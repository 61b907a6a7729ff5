use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response, StatusCode, request, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::policy::{Attempts, Policy, Verdict};
use crate::body::{HeldBody, Hold, Peek, PeekBody};
use crate::event::{EventKind, Whose};
use crate::quota::{Acquire, Patience, Provisional, Quota, Ticket, Waited};
use crate::request::{Attempt, RequestHead, TooHeavy};
use crate::signal::{Outcome, ResponseHead, Signals};
use crate::{BoxError, QuotaError};

pin_project! {
    /// The future of [`RetryAfter`](super::RetryAfter).
    pub struct ResponseFuture<S, B, RB>
    where
        S: Service<Request<HeldBody<B>>>,
        RB: Body,
    {
        inner: S,
        original: Original<B, RB>,
        #[pin]
        state: State<S::Future, B, RB>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B, RB>
    where
        RB: Body,
    {
        /// Reads the body of the request into memory.
        Hold { #[pin] hold: Hold<B> },
        /// Waits before a repetition.
        BackOff { alarm: Pin<Box<Sleep>> },
        /// Waits for pauses to end.
        Gate { acquire: Acquire },
        /// Waits for the inner service.
        Ready,
        /// On its way.
        Sent { #[pin] future: F },
        /// The body of the response is read: for what it says, or to free the connection.
        Read { reading: Option<Box<Reading<RB>>> },
        Done,
    }
}

/// A response whose body is being read.
struct Reading<RB: Body> {
    parts: response::Parts,
    peek: Peek<RB>,
    noted: Option<Signals>,
    held: Option<Provisional>,
}

/// The request, to be sent again, and what is known about it.
struct Original<B, RB: Body> {
    policy: Arc<Policy>,
    parts: Option<request::Parts>,
    body: Option<HeldBody<B>>,
    attempt: u32,
    /// How the last attempt ended, in case there is no further one.
    last: Option<Result<Response<PeekBody<RB>>, BoxError>>,
}

impl<S, B, RB> ResponseFuture<S, B, RB>
where
    S: Service<Request<HeldBody<B>>>,
    B: Body,
    RB: Body,
{
    pub(super) fn new(inner: S, policy: Arc<Policy>, request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let hold = Hold::new(body, policy.max_body);
        let original = Original {
            policy,
            parts: Some(parts),
            body: None,
            attempt: 0,
            last: None,
        };
        Self {
            inner,
            original,
            state: State::Hold { hold },
        }
    }
}

impl<S, B, RB> Future for ResponseFuture<S, B, RB>
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    RB: Body,
{
    type Output = Result<Response<PeekBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (inner, original, mut state) = (this.inner, this.original, this.state);
        loop {
            let step = match state.as_mut().project() {
                StateProj::Hold { hold } => match ready!(hold.poll(cx)) {
                    Ok(body) => {
                        original.body = Some(body);
                        original.gate()
                    }
                    Err(error) => Step::End(Err(error.into())),
                },
                StateProj::BackOff { alarm } => {
                    ready!(alarm.as_mut().poll(cx));
                    original.gate()
                }
                StateProj::Gate { acquire } => match ready!(Pin::new(&mut *acquire).poll(cx)) {
                    Ok(permit) => {
                        if let Some(parts) = &mut original.parts {
                            permit.note_parking(&mut parts.extensions);
                            acquire.note_wait(&mut parts.extensions);
                        }
                        Step::Ready
                    }
                    Err(error) => Step::End(original.denied(error)),
                },
                StateProj::Ready => match ready!(inner.poll_ready(cx)) {
                    Ok(()) if original.is_held() => {
                        // A pause began in the meantime: nobody keeps the inner service reserved while he waits for it.
                        *inner = inner.clone();
                        original.gate()
                    }
                    Ok(()) => match original.next_request() {
                        Some(request) => {
                            // Set where it is made: to hand it around would move all of it.
                            let future = inner.call(request);
                            state.set(State::Sent { future });
                            continue;
                        }
                        None => return Poll::Pending,
                    },
                    Err(error) => Step::End(Err(error.into())),
                },
                StateProj::Sent { future } => match ready!(future.poll(cx)) {
                    Ok(response) => original.answered(response),
                    Err(error) => original.lost(error.into()),
                },
                StateProj::Read { reading } => {
                    let Some(unfinished) = reading else {
                        return Poll::Pending;
                    };
                    let Poll::Ready((body, text)) = Pin::new(&mut unfinished.peek).poll(cx) else {
                        if unfinished.noted.is_none() && unfinished.held.is_none() {
                            unfinished.held = original.hold(&ResponseHead::from(&unfinished.parts));
                        }
                        return Poll::Pending;
                    };
                    let Some(reading) = reading.take() else {
                        return Poll::Pending;
                    };
                    let response = Response::from_parts(reading.parts, body);
                    let step = original.read(response, reading.noted, &text);
                    if let Some(held) = reading.held {
                        held.end();
                    }
                    step
                }
                // Polled again after it was ready.
                StateProj::Done => return Poll::Pending,
            };
            match step {
                Step::Ready => state.set(State::Ready),
                Step::Gate(acquire) => state.set(State::Gate { acquire }),
                Step::BackOff(alarm) => state.set(State::BackOff { alarm }),
                Step::Read(reading) => state.set(State::Read {
                    reading: Some(reading),
                }),
                Step::End(answer) => {
                    state.set(State::Done);
                    return Poll::Ready(answer);
                }
            }
        }
    }
}

/// What comes next.
enum Step<RB: Body> {
    Ready,
    Gate(Acquire),
    BackOff(Pin<Box<Sleep>>),
    Read(Box<Reading<RB>>),
    End(Result<Response<PeekBody<RB>>, BoxError>),
}

impl<B: Body, RB: Body> Original<B, RB> {
    fn quota(&self) -> &Quota {
        &self.policy.quota
    }

    /// What the ledger must know; worked out only when something is paused or went wrong.
    fn ticket(&self) -> Option<Ticket> {
        self.parts
            .as_ref()
            .map(|parts| self.quota().ticket(RequestHead::from(parts)))
    }

    fn patience(&self) -> Option<Patience> {
        let head = RequestHead::from(self.parts.as_ref()?);
        Some(self.quota().patience(self.policy.max_wait, head))
    }

    /// Whether a pause holds the request up now.
    fn is_held(&self) -> bool {
        self.quota().may_be_paused()
            && self
                .ticket()
                .is_some_and(|ticket| self.quota().paused_until(&ticket).is_some())
    }

    fn gate(&self) -> Step<RB> {
        let gated = if self.quota().may_be_paused() {
            self.ticket().zip(self.patience())
        } else {
            None
        };
        match gated {
            Some((ticket, patience)) => {
                Step::Gate(Acquire::no_pause(self.quota().clone(), ticket, patience))
            }
            None => Step::Ready,
        }
    }

    /// The request for the next attempt; the original is kept while there may be a further one.
    fn next_request(&mut self) -> Option<Request<HeldBody<B>>> {
        self.attempt += 1;
        let again = match self.attempt < self.policy.max_attempts {
            true => self.body.as_ref().and_then(HeldBody::again),
            false => None,
        };
        // Without one it is the last attempt; the parts are still wanted to tell whose limits it used.
        let body = again.or_else(|| self.body.take())?;
        let mut parts = self.parts.clone()?;
        if self.attempt > 1 {
            parts.extensions.insert(Attempt(self.attempt));
        }
        // What this attempt has waited, the next one has not.
        if parts.extensions.get::<Waited>().is_some() {
            self.parts.as_mut()?.extensions.remove::<Waited>();
        }
        Some(Request::from_parts(parts, body))
    }

    /// What somebody further outside answers by asking for less: to ask the same again would only take as long again.
    fn too_heavy(&self) -> Option<&TooHeavy> {
        self.parts.as_ref()?.extensions.get()
    }

    fn can_repeat(&self) -> bool {
        self.body.is_some() && self.quota().enforces()
    }

    fn answered(&mut self, response: Response<RB>) -> Step<RB> {
        let head = ResponseHead::from(&response);
        let noted = self.quota().noted(&response);
        if let Some(signals) =
            noted.filter(|signals| self.verdict(head.status, signals) == Verdict::GiveBack)
        {
            self.earn(signals);
            return Step::End(Ok(self.finish(response.map(PeekBody::untouched))));
        }
        let noted = noted.cloned();
        let wants_body = noted.is_none() && self.quota().wants_body(&head);
        let signals = noted
            .clone()
            .or_else(|| Some(self.quota().read(&self.ticket()?, &head, &[])));
        let Some(signals) = signals else {
            return Step::End(Ok(response.map(PeekBody::untouched)));
        };
        if wants_body || self.verdict(response.status(), &signals) != Verdict::GiveBack {
            let (parts, body) = response.into_parts();
            return Step::Read(Box::new(Reading {
                parts,
                peek: Peek::new(body),
                noted,
                held: None,
            }));
        }
        self.earn(&signals);
        let mut response = response.map(PeekBody::untouched);
        if let (None, Some(ticket)) = (noted, self.ticket()) {
            self.quota().note(&ticket, signals, &mut response);
        }
        Step::End(Ok(self.finish(response)))
    }

    /// Only an answer earns: what fails, and is given back because nothing else can be done, is no sign of health.
    fn earn(&self, signals: &Signals) {
        if signals.outcome == Outcome::Answered {
            self.policy.budget.earn();
        }
    }

    /// Until the body tells more, what the head of the response says holds.
    fn hold(&self, head: &ResponseHead<'_>) -> Option<Provisional> {
        let ticket = self.ticket()?;
        Some(self.quota().hold_while_reading(&ticket, head))
    }

    fn read(
        &mut self,
        mut response: Response<PeekBody<RB>>,
        noted: Option<Signals>,
        text: &[u8],
    ) -> Step<RB> {
        let Some(ticket) = self.ticket() else {
            return Step::End(Ok(response));
        };
        let signals = noted.unwrap_or_else(|| {
            let signals = self
                .quota()
                .read(&ticket, &ResponseHead::from(&response), text);
            self.quota().note(&ticket, signals.clone(), &mut response);
            signals
        });
        let wait = match self.verdict(response.status(), &signals) {
            Verdict::GiveBack => None,
            // Where the refusal named a limit that does not govern this request, no pause holds it up.
            Verdict::AfterPause if self.quota().paused_until(&ticket).is_none() => self.allowed(
                self.policy.backoff(signals.retry_after, self.attempt),
                &ticket,
            ),
            Verdict::AfterPause => self.allowed(Duration::ZERO, &ticket),
            // A refusal is no outage.
            Verdict::After(wait) => self
                .allowed(wait, &ticket)
                .filter(|_| signals.outcome != Outcome::Failed || self.policy.budget.spend()),
        };
        let Some(wait) = wait else {
            self.earn(&signals);
            return Step::End(Ok(self.finish(response)));
        };
        self.tell_repeat(&ticket, Some(response.status()), wait);
        // What is not complete keeps a connection busy; then the answer is given up.
        self.last = response.body().is_complete().then_some(Ok(response));
        self.back_off(wait)
    }

    fn lost(&mut self, error: BoxError) -> Step<RB> {
        if error.is::<QuotaError>() {
            // It was not sent.
            self.attempt -= 1;
            return Step::End(match error.downcast::<QuotaError>() {
                Ok(error) => self.denied(*error),
                Err(error) => Err(error),
            });
        }
        let is_heavy = self.too_heavy().is_some_and(|heavy| heavy.is_error(&error));
        let effect = self
            .parts
            .as_ref()
            .map(|parts| self.quota().effect(&RequestHead::from(parts)));
        let verdict = match effect {
            Some(effect) if self.can_repeat() && !is_heavy => {
                self.policy.verdict_on_loss(effect, self.attempt)
            }
            _ => Verdict::GiveBack,
        };
        let allowed = match (verdict, self.ticket()) {
            (Verdict::After(wait), Some(ticket)) => self
                .allowed(wait, &ticket)
                .filter(|_| self.policy.budget.spend())
                .map(|wait| (wait, ticket)),
            _ => None,
        };
        let Some((wait, ticket)) = allowed else {
            return Step::End(Err(error));
        };
        // Without the error's text: many clients put the address into it, and some APIs' tokens are in the address.
        self.tell_repeat(&ticket, None, wait);
        self.last = Some(Err(error));
        self.back_off(wait)
    }

    fn tell_repeat(&self, ticket: &Ticket, status: Option<StatusCode>, wait: Duration) {
        self.quota().emit(
            Whose::token(ticket.keys.token),
            EventKind::Repeated {
                class: ticket.class.as_str().into(),
                status: status.map(|status| status.as_u16()),
                attempt: self.attempt,
                wait,
            },
        );
    }

    fn back_off(&self, wait: Duration) -> Step<RB> {
        if wait.is_zero() {
            return self.gate();
        }
        Step::BackOff(Box::pin(tokio::time::sleep(wait)))
    }

    fn verdict(&self, status: StatusCode, signals: &Signals) -> Verdict {
        // The usual case; what the request does at the server is then of no interest.
        if signals.outcome == Outcome::Answered || !self.can_repeat() {
            return Verdict::GiveBack;
        }
        if self
            .too_heavy()
            .is_some_and(|heavy| heavy.is_status(status))
        {
            return Verdict::GiveBack;
        }
        match &self.parts {
            Some(parts) => {
                let effect = self.quota().effect(&RequestHead::from(parts));
                self.policy.verdict(signals, effect, self.attempt)
            }
            None => Verdict::GiveBack,
        }
    }

    /// The wait, if it and all pauses are over before the request's deadline.
    fn allowed(&self, wait: Duration, ticket: &Ticket) -> Option<Duration> {
        let now = self.quota().now();
        let patience = self.patience()?.starting(now);
        (patience.allows(now.after(wait)) && self.quota().can_wait_for_pauses(ticket, patience))
            .then_some(wait)
    }

    /// The quota allows no further attempt: the caller gets the answer to the last one, if it is still here.
    fn denied(&mut self, mut error: QuotaError) -> Result<Response<PeekBody<RB>>, BoxError> {
        match self.last.take() {
            Some(Ok(response)) => Ok(self.finish(response)),
            Some(Err(lost)) => {
                error.source = Some(lost);
                Err(error.into())
            }
            None => Err(error.into()),
        }
    }

    fn finish(&self, mut response: Response<PeekBody<RB>>) -> Response<PeekBody<RB>> {
        if self.attempt > 1 {
            response.extensions_mut().insert(Attempts(self.attempt));
        }
        response
    }
}
