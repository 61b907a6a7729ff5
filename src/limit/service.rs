use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::ResponseFuture;
use crate::body::PeekBody;
use crate::quota::Acquire;
use crate::{BoxError, Quota};

/// Lets no request reach the inner service before every limit of the plan has a slot for it.
///
/// See the [module docs](crate::limit) for an example.
#[derive(Clone, Debug)]
pub struct TokenLimit<S> {
    inner: S,
    quota: Quota,
    max_wait: Duration,
}

impl<S> TokenLimit<S> {
    pub(super) fn new(inner: S, quota: Quota, max_wait: Duration) -> Self {
        Self {
            inner,
            quota,
            max_wait,
        }
    }
}

crate::macros::inner_accessors!(TokenLimit);

impl<S, B, RB> Service<Request<B>> for TokenLimit<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    RB: Body,
{
    type Response = Response<PeekBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, Request<B>, RB>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let acquire = Acquire::once(&self.quota, &mut request, self.max_wait);
        ResponseFuture::new(acquire, self.inner.clone(), request)
    }
}
