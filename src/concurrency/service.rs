use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::permit::Enter;
use super::shared::Shared;
use super::{InFlightBody, ResponseFuture};
use crate::BoxError;
use crate::core::concurrency::Concurrency;
use crate::quota::WouldWait;
use crate::request::RequestHead;

/// Sends no more requests of a token at a time than the server bears.
///
/// See the [module docs](crate::concurrency) for an example.
#[derive(Clone, Debug)]
pub struct AdaptiveConcurrency<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> AdaptiveConcurrency<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }

    /// How many requests with the token of `request` are in flight, and how many may be.
    pub fn concurrency<'a>(&self, request: impl Into<RequestHead<'a>>) -> Concurrency {
        self.shared.concurrency(request.into())
    }
}

crate::macros::inner_accessors!(AdaptiveConcurrency);

impl<S, B, RB> Service<Request<B>> for AdaptiveConcurrency<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    RB: Body,
{
    type Response = Response<InFlightBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, Request<B>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head = RequestHead::from(&request);
        let quota = &self.shared.quota;
        let ticket = quota.ticket(head);
        let patience = quota.patience(self.shared.setup.max_wait, head);
        let mut enter = Enter::new(self.shared.clone(), ticket, patience);
        if head.extensions.get::<WouldWait>().is_some() {
            enter = enter.told();
        }
        ResponseFuture::new(enter, self.inner.clone(), request)
    }
}
