use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::caller::{Caller, Turned};
use super::crew::Answer;
use super::guard::Alone;
use super::shared::Shared;
use crate::BoxError;
use crate::body::HeldBody;

pin_project! {
    /// The future of [`Batch`](super::Batch).
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<HeldBody<B>>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B>
    where
        S: Service<Request<HeldBody<B>>>,
    {
        /// Among others, or on the way there.
        Gather { caller: Box<Caller<S, B>> },
        /// Waits for the inner service.
        Ready { call: Option<(S, Request<HeldBody<B>>)>, alone: Alone },
        /// On its way, by itself.
        Sent { #[pin] future: S::Future, alone: Alone },
        Done,
    }
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<HeldBody<B>>>,
    B: Body,
{
    /// For a request that is no concern of this layer.
    pub(super) fn pass(inner: S, request: Request<B>) -> Self {
        Self {
            state: State::Ready {
                call: Some((inner, request.map(HeldBody::stream))),
                alone: Alone::default(),
            },
        }
    }

    pub(super) fn gather(inner: S, shared: Arc<Shared>, request: Request<B>) -> Self {
        let caller = Box::new(Caller::new(inner, shared, request));
        Self {
            state: State::Gather { caller },
        }
    }
}

impl<S, B, RB> Future for ResponseFuture<S, B>
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
{
    type Output = Result<Response<HeldBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let answer = match state.as_mut().project() {
                StateProj::Gather { caller } => match ready!(caller.poll(cx)) {
                    Turned::Alone(request, alone) => {
                        let call = Some((caller.inner.clone(), *request));
                        state.set(State::Ready { call, alone });
                        continue;
                    }
                    Turned::Answer(answer) => {
                        let Answer { response, trailers } = *answer;
                        Ok(response.map(|data| HeldBody::held(data, trailers)))
                    }
                    Turned::Lost(error) => Err(error),
                },
                StateProj::Ready { call, alone } => {
                    let Some((inner, _)) = call else {
                        return Poll::Pending;
                    };
                    match ready!(inner.poll_ready(cx)) {
                        Ok(()) => {
                            let Some((mut inner, request)) = call.take() else {
                                return Poll::Pending;
                            };
                            let alone = std::mem::take(alone);
                            let future = inner.call(request);
                            state.set(State::Sent { future, alone });
                            continue;
                        }
                        Err(error) => Err(error.into()),
                    }
                }
                StateProj::Sent { future, .. } => match ready!(future.poll(cx)) {
                    Ok(response) => Ok(response.map(HeldBody::stream)),
                    Err(error) => Err(error.into()),
                },
                // Polled again after it was ready.
                StateProj::Done => return Poll::Pending,
            };
            state.set(State::Done);
            return Poll::Ready(answer);
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<HeldBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
