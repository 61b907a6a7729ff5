use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

use super::HeldBody;

/// Two layers that hold bodies, one around the other, make a held body of a held body. The client need not know.
#[derive(Clone, Debug)]
pub struct Flat<S> {
    inner: S,
}

impl<S> Flat<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

crate::macros::inner_accessors!(Flat);

impl<S, B> Service<Request<HeldBody<HeldBody<B>>>> for Flat<S>
where
    S: Service<Request<HeldBody<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<HeldBody<HeldBody<B>>>) -> S::Future {
        self.inner.call(request.map(HeldBody::flatten))
    }
}
