use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::ResponseFuture;
use super::future::Watch;
use crate::Quota;
use crate::request::RequestHead;

/// Counts what is sent and what comes back, and tells of what somebody should know.
///
/// See the [module docs](crate::observe) for an example.
#[derive(Clone, Debug)]
pub struct Observe<S> {
    inner: S,
    quota: Quota,
}

impl<S> Observe<S> {
    pub(super) fn new(inner: S, quota: Quota) -> Self {
        Self { inner, quota }
    }

    /// The quota for whose reports it counts.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }
}

crate::macros::inner_accessors!(Observe);

impl<S, B, RB> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let sent = self.quota.sends(RequestHead::from(&request));
        // Before the call, which may panic.
        let watch = Watch::new(self.quota.clone(), sent);
        ResponseFuture::new(self.inner.call(request), watch)
    }
}
