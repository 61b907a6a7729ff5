use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::BoxError;
use crate::body::{Peek, PeekBody};
use crate::quota::{Acquire, Permit, Provisional, Quota, Ticket};
use crate::signal::{Outcome, ResponseHead, Signals};

pin_project! {
    /// The future of [`TokenLimit`](super::TokenLimit).
    pub struct ResponseFuture<S, Req, RB>
    where
        S: Service<Req>,
        RB: Body,
    {
        #[pin]
        state: State<S, Req, S::Future, RB>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F, RB>
    where
        RB: Body,
    {
        /// Stands in line for its slots.
        Admit { acquire: Acquire, call: Option<(S, Req)> },
        /// Has its slots; the inner service is not ready yet.
        Ready { permit: Option<Permit>, call: Option<(S, Req)> },
        /// On its way.
        Sent { permit: Option<Permit>, #[pin] future: F },
        /// Refused or failed: the body says why.
        Read { parts: Option<response::Parts>, peek: Peek<RB>, quota: Quota, ticket: Ticket, held: Option<Provisional> },
        Done,
    }
}

impl<S, Req, RB> ResponseFuture<S, Req, RB>
where
    S: Service<Req>,
    RB: Body,
{
    pub(super) fn new(acquire: Acquire, inner: S, request: Req) -> Self {
        Self {
            state: State::Admit {
                acquire,
                call: Some((inner, request)),
            },
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
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Admit { acquire, call } => match ready!(Pin::new(acquire).poll(cx)) {
                    Ok(permit) => State::Ready {
                        permit: Some(permit),
                        call: call.take(),
                    },
                    Err(error) => {
                        state.set(State::Done);
                        return Poll::Ready(Err(error.into()));
                    }
                },
                StateProj::Ready { permit, call } => {
                    let Some((inner, _)) = call else {
                        return Poll::Pending;
                    };
                    if let Err(error) = ready!(inner.poll_ready(cx)) {
                        state.set(State::Done);
                        return Poll::Ready(Err(error.into()));
                    }
                    let (Some(permit), Some((mut inner, request))) = (permit.take(), call.take())
                    else {
                        return Poll::Pending;
                    };
                    match permit.send() {
                        Ok(permit) => State::Sent {
                            permit: Some(permit),
                            future: inner.call(request),
                        },
                        // A pause began in the meantime: back in line, and nobody keeps the inner service reserved.
                        Err(acquire) => State::Admit {
                            acquire,
                            call: Some((inner.clone(), request)),
                        },
                    }
                }
                StateProj::Sent { permit, future } => {
                    let answer = ready!(future.poll(cx));
                    let permit = permit.take();
                    match answer {
                        Ok(response) => match settle(permit, response) {
                            Answer::Response(response) => {
                                state.set(State::Done);
                                return Poll::Ready(Ok(response));
                            }
                            Answer::Unread {
                                parts,
                                body,
                                quota,
                                ticket,
                            } => State::Read {
                                parts: Some(parts),
                                peek: Peek::new(body),
                                quota,
                                ticket,
                                held: None,
                            },
                        },
                        Err(error) => {
                            drop(permit);
                            state.set(State::Done);
                            return Poll::Ready(Err(error.into()));
                        }
                    }
                }
                StateProj::Read {
                    parts,
                    peek,
                    quota,
                    ticket,
                    held,
                } => {
                    let Some(head) = parts.as_ref().map(ResponseHead::from) else {
                        return Poll::Pending;
                    };
                    let Poll::Ready((body, text)) = Pin::new(peek).poll(cx) else {
                        if held.is_none() {
                            *held = Some(quota.hold_while_reading(ticket, &head));
                        }
                        return Poll::Pending;
                    };
                    let signals = quota.read(ticket, &head, &text);
                    let Some(parts) = parts.take() else {
                        return Poll::Pending;
                    };
                    let mut response = Response::from_parts(parts, body);
                    quota.note(ticket, signals, &mut response);
                    if let Some(held) = held.take() {
                        held.end();
                    }
                    state.set(State::Done);
                    return Poll::Ready(Ok(response));
                }
                // Polled again after it was ready.
                StateProj::Done => return Poll::Pending,
            };
            state.set(next);
        }
    }
}

enum Answer<RB: Body> {
    Response(Response<PeekBody<RB>>),
    Unread {
        parts: response::Parts,
        body: RB,
        quota: Quota,
        ticket: Ticket,
    },
}

/// The head of the response has arrived: the slots begin to cool.
fn settle<RB: Body>(permit: Option<Permit>, response: Response<RB>) -> Answer<RB> {
    let Some(permit) = permit else {
        return Answer::Response(response.map(PeekBody::untouched));
    };
    let (quota, ticket) = (permit.quota().clone(), permit.ticket());
    let head = ResponseHead::from(&response);
    let noted = quota.noted(&response).cloned();
    let is_noted = noted.is_some();
    let signals = noted.unwrap_or_else(|| quota.read(&ticket, &head, &[]));
    permit.settle(credited(&signals));
    if is_noted {
        return Answer::Response(response.map(PeekBody::untouched));
    }
    if quota.wants_body(&head) {
        let (parts, body) = response.into_parts();
        return Answer::Unread {
            parts,
            body,
            quota,
            ticket,
        };
    }
    let mut response = response.map(PeekBody::untouched);
    quota.note(&ticket, signals, &mut response);
    Answer::Response(response)
}

/// A gateway that fails says how long it waited, not how long the server worked after it had counted.
fn credited(signals: &Signals) -> Option<std::time::Duration> {
    signals
        .service_time
        .filter(|_| signals.outcome == Outcome::Answered)
}
