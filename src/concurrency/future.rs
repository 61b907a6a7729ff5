use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::InFlightBody;
use super::Release;
use super::evidence;
use super::permit::{Enter, Permit};
use crate::BoxError;
use crate::quota::{Acquire, Delayed, Waited};
use crate::request::TooHeavy;

pin_project! {
    /// The future of [`AdaptiveConcurrency`](super::AdaptiveConcurrency).
    pub struct ResponseFuture<S, Req>
    where
        S: Service<Req>,
    {
        // What is to be called, until it is.
        call: Option<(S, Req)>,
        // Dropped before the call it belongs to.
        permit: Option<Permit>,
        // What is the request's own weight, and no sign of load.
        heavy: Option<TooHeavy>,
        #[pin]
        state: State<S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        /// Stands in line for a place.
        Enter { enter: Enter },
        /// Has a place; the inner service is not ready yet.
        Ready,
        /// Has given its place back, because a pause holds it up.
        Paused { paused: Box<Paused> },
        /// On its way.
        Sent { #[pin] future: F },
        Done,
    }
}

/// Waits for a pause to end before it stands in line again.
struct Paused {
    acquire: Acquire,
    enter: Option<Enter>,
}

impl<S, Req> ResponseFuture<S, Req>
where
    S: Service<Req>,
{
    pub(super) fn new(enter: Enter, inner: S, request: Req) -> Self {
        Self {
            call: Some((inner, request)),
            permit: None,
            heavy: None,
            state: State::Enter { enter },
        }
    }
}

impl<S, B, RB> Future for ResponseFuture<S, Request<B>>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    RB: Body,
{
    type Output = Result<Response<InFlightBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (call, permit, mut state) = (this.call, this.permit, this.state);
        let heavy = this.heavy;
        loop {
            // Each state is set where it is made: to hand it around would move all of it.
            let answer = match state.as_mut().project() {
                StateProj::Enter { enter } => match ready!(Pin::new(enter).poll(cx)) {
                    Ok(granted) => {
                        *permit = Some(granted);
                        state.set(State::Ready);
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
                StateProj::Paused { paused } => {
                    match ready!(Pin::new(&mut paused.acquire).poll(cx)) {
                        Ok(waited) => {
                            let Some(mut enter) = paused.enter.take() else {
                                return Poll::Pending;
                            };
                            if waited.has_parked() {
                                enter.park();
                            }
                            state.set(State::Enter { enter });
                            continue;
                        }
                        Err(error) => Err(error.into()),
                    }
                }
                StateProj::Ready => {
                    let Some((inner, _)) = call else {
                        return Poll::Pending;
                    };
                    match ready!(inner.poll_ready(cx)) {
                        Ok(()) => {
                            if let Some(paused) = hold(permit) {
                                // Nobody keeps the inner service reserved while he waits.
                                *inner = inner.clone();
                                state.set(State::Paused { paused });
                            } else if let Some((mut inner, mut request)) = call.take() {
                                *heavy = request.extensions().get().copied();
                                if let Some(permit) = permit {
                                    Waited::add(permit.waited(), request.extensions_mut());
                                }
                                let future = inner.call(request);
                                state.set(State::Sent { future });
                            }
                            continue;
                        }
                        Err(error) => Err(error.into()),
                    }
                }
                StateProj::Sent { future } => match ready!(future.poll(cx)) {
                    Ok(response) => Ok(settle(permit.take(), *heavy, response)),
                    Err(error) => {
                        let error = error.into();
                        if let Some(permit) = permit.take() {
                            permit.over(&evidence::of_error(&error, *heavy));
                        }
                        Err(error)
                    }
                },
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

/// A pause may have begun while the request waited. Whoever is outside has asked before, and cannot know.
fn hold(permit: &mut Option<Permit>) -> Option<Box<Paused>> {
    let quota = permit.as_ref()?.shared().quota.clone();
    if !quota.may_be_paused() {
        return None;
    }
    let ticket = *permit.as_ref()?.ticket();
    quota.paused_until(&ticket)?;
    let permit = permit.take()?;
    let acquire = Acquire::no_pause(quota, ticket, permit.patience());
    let enter = Some(permit.back());
    Some(Box::new(Paused { acquire, enter }))
}

/// The head of the response has arrived.
fn settle<RB: Body>(
    permit: Option<Permit>,
    heavy: Option<TooHeavy>,
    mut response: Response<RB>,
) -> Response<InFlightBody<RB>> {
    let Some(permit) = permit else {
        return response.map(|body| InFlightBody::new(body, None));
    };
    let waited = permit.waited();
    if !waited.is_zero() {
        response.extensions_mut().insert(Delayed(waited));
    }
    let shared = permit.shared();
    let headroom = shared.setup.settings.headroom;
    let (quota, ticket) = (&shared.quota, permit.ticket());
    let evidence = evidence::of_response(quota, ticket, headroom, heavy, &mut response);
    match shared.setup.release {
        Release::Head => {
            permit.over(&evidence);
            response.map(|body| InFlightBody::new(body, None))
        }
        Release::Body => {
            permit.hear(&evidence);
            response.map(|body| InFlightBody::new(body, Some(permit)))
        }
    }
}
