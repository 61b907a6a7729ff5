use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::ResponseFuture;
use super::policy::Policy;
use crate::BoxError;
use crate::body::{HeldBody, PeekBody};

/// Repeats what may be repeated, and makes everybody wait who must.
///
/// See the [module docs](crate::backoff) for an example.
#[derive(Clone, Debug)]
pub struct RetryAfter<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> RetryAfter<S> {
    pub(super) fn new(inner: S, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }
}

crate::macros::inner_accessors!(RetryAfter);

impl<S, B, RB> Service<Request<B>> for RetryAfter<S>
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    RB: Body,
{
    type Response = Response<PeekBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, RB>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ResponseFuture::new(self.inner.clone(), self.policy.clone(), request)
    }
}
