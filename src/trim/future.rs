use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::shared::Shared;
use super::trimming::Trimming;
use crate::BoxError;
use crate::body::HeldBody;

pin_project! {
    /// The future of [`PayloadTrim`](super::PayloadTrim).
    pub struct ResponseFuture<S, B, RB>
    where
        S: Service<Request<HeldBody<B>>>,
        RB: Body,
    {
        #[pin]
        state: State<S, B, RB>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B, RB>
    where
        S: Service<Request<HeldBody<B>>>,
        RB: Body,
    {
        /// A request that is no concern of this layer.
        Passed { #[pin] future: S::Future },
        Trim { trimming: Box<Trimming<S, B, RB>> },
    }
}

impl<S, B, RB> ResponseFuture<S, B, RB>
where
    S: Service<Request<HeldBody<B>>>,
    B: Body,
    RB: Body,
{
    pub(super) fn passed(future: S::Future) -> Self {
        Self {
            state: State::Passed { future },
        }
    }

    /// `ready` is ready.
    pub(super) fn trim(ready: S, shared: Arc<Shared>, request: Request<B>) -> Self
    where
        S: Clone,
    {
        let trimming = Box::new(Trimming::new(ready, shared, request));
        Self {
            state: State::Trim { trimming },
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
    RB::Error: Into<BoxError>,
{
    type Output = Result<Response<HeldBody<RB>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passed { future } => {
                let response = ready!(future.poll(cx)).map_err(Into::into)?;
                Poll::Ready(Ok(response.map(HeldBody::stream)))
            }
            StateProj::Trim { trimming } => trimming.poll(cx),
        }
    }
}
