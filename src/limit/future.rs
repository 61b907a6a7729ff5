use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::BoxError;
use crate::body::{Peek, PeekBody};
use crate::quota::{Acquire, Ending, Permit, Provisional};
use crate::signal::{ResponseHead, Signals};

pin_project! {
    /// The future of [`TokenLimit`](super::TokenLimit).
    pub struct ResponseFuture<S, Req, RB>
    where
        S: Service<Req>,
        RB: Body,
    {
        // What is to be called, until it is.
        call: Option<(S, Req)>,
        // Dropped before the call it belongs to.
        permit: Option<Permit>,
        #[pin]
        state: State<S::Future, RB>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, RB>
    where
        RB: Body,
    {
        /// Stands in line for its slots.
        Admit { acquire: Acquire },
        /// Has its slots, or needs none; the inner service is not ready yet.
        Ready,
        /// On its way.
        Sent { #[pin] future: F },
        /// Refused or failed: the body says why.
        Read { reading: Option<Box<Reading<RB>>> },
        Done,
    }
}

/// A response whose body is being read.
struct Reading<RB: Body> {
    /// Its slots begin to cool when what the head says is noted.
    permit: Permit,
    ending: Ending,
    parts: response::Parts,
    peek: Peek<RB>,
    held: Option<Provisional>,
}

impl<S, Req, RB> ResponseFuture<S, Req, RB>
where
    S: Service<Req>,
    RB: Body,
{
    pub(crate) fn new(acquire: Acquire, inner: S, request: Req) -> Self {
        Self {
            call: Some((inner, request)),
            permit: None,
            state: State::Admit { acquire },
        }
    }

    /// For a request that needs no slot.
    pub(crate) fn pass(inner: S, request: Req) -> Self {
        Self {
            call: Some((inner, request)),
            permit: None,
            state: State::Ready,
        }
    }
}

impl<S, B, RB> Future for ResponseFuture<S, Request<B>, RB>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    RB: Body,
{
    type Output = Result<Response<PeekBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (call, permit, mut state) = (this.call, this.permit, this.state);
        loop {
            // Each state is set where it is made: to hand it around would move all of it.
            let answer = match state.as_mut().project() {
                StateProj::Admit { acquire } => match ready!(Pin::new(&mut *acquire).poll(cx)) {
                    Ok(granted) => {
                        if let Some((_, request)) = call {
                            granted.note_parking(request.extensions_mut());
                            acquire.note_wait(request.extensions_mut());
                        }
                        *permit = Some(granted);
                        state.set(State::Ready);
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
                StateProj::Ready => {
                    let Some((inner, _)) = &mut *call else {
                        return Poll::Pending;
                    };
                    match ready!(inner.poll_ready(cx)) {
                        Ok(()) => {
                            let held = permit.as_mut().map(Permit::send);
                            if let Some(Err(acquire)) = held {
                                // A pause began in the meantime: back in line, and nobody keeps the inner service reserved.
                                *inner = inner.clone();
                                state.set(State::Admit { acquire: *acquire });
                            } else if let Some((mut inner, request)) = call.take() {
                                let future = inner.call(request);
                                state.set(State::Sent { future });
                            }
                            continue;
                        }
                        Err(error) => Err(error.into()),
                    }
                }
                StateProj::Sent { future } => match ready!(future.poll(cx)) {
                    Ok(response) => match settle(permit, response) {
                        Ok(response) => Ok(response),
                        Err(reading) => {
                            let reading = Some(reading);
                            state.set(State::Read { reading });
                            continue;
                        }
                    },
                    Err(error) => Err(error.into()),
                },
                StateProj::Read { reading } => {
                    let Some(unfinished) = reading else {
                        return Poll::Pending;
                    };
                    let read = ready!(unfinished.poll(cx));
                    let Some(reading) = reading.take() else {
                        return Poll::Pending;
                    };
                    Ok(reading.finish(read))
                }
                // Polled again after it was ready.
                StateProj::Done => return Poll::Pending,
            };
            *permit = None;
            // What was not called may hold a place in the inner service, which is not kept for as long as this future is.
            *call = None;
            state.set(State::Done);
            return Poll::Ready(answer);
        }
    }
}

/// The head of the response has arrived. Gives back the response, unless its body is to be read.
///
/// What it says is noted before the slots begin to cool: a refusal may let the next one ask whether a daily pool has been filled
/// again, and that one must find the pause.
fn settle<RB: Body>(
    held: &mut Option<Permit>,
    mut response: Response<RB>,
) -> Result<Response<PeekBody<RB>>, Box<Reading<RB>>> {
    let Some(mut permit) = held.take() else {
        return Ok(response.map(PeekBody::untouched));
    };
    permit.note_delay(&response);
    if let Some(signals) = permit.quota().noted(&response) {
        permit.over(Ending::of(signals), Some(signals));
        return Ok(response.map(PeekBody::untouched));
    }
    let signals = permit.quota().read_once(&permit.ticket(), &mut response);
    let ending = Ending::of(&signals);
    if permit.quota().wants_body(&ResponseHead::from(&response)) {
        permit.observe(&signals);
        let (parts, body) = response.into_parts();
        return Err(Box::new(Reading {
            permit,
            ending,
            parts,
            peek: Peek::new(body),
            held: None,
        }));
    }
    let mut response = response.map(PeekBody::untouched);
    permit
        .quota()
        .note(&permit.ticket(), signals, &mut response);
    let signals = permit.quota().noted(&response);
    permit.over(ending, signals);
    Ok(response)
}

impl<RB: Body> Reading<RB> {
    /// The body for the caller, and what the response says, body included.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(PeekBody<RB>, Signals)> {
        let (quota, ticket) = (self.permit.quota(), self.permit.ticket());
        let head = ResponseHead::from(&self.parts);
        let Poll::Ready((body, text)) = Pin::new(&mut self.peek).poll(cx) else {
            if self.held.is_none() {
                self.held = Some(quota.hold_while_reading(&ticket, &head));
                self.permit.over(self.ending, None);
            }
            return Poll::Pending;
        };
        Poll::Ready((body, quota.read(&ticket, &head, &text)))
    }

    fn finish(mut self, (body, signals): (PeekBody<RB>, Signals)) -> Response<PeekBody<RB>> {
        let mut response = Response::from_parts(self.parts, body);
        let (quota, ticket) = (self.permit.quota(), self.permit.ticket());
        quota.note(&ticket, signals, &mut response);
        self.permit.over(self.ending, None);
        if let Some(held) = self.held {
            held.end();
        }
        response
    }
}
