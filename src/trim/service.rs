use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::ResponseFuture;
use super::shared::Shared;
use crate::BoxError;
use crate::body::HeldBody;
use crate::request::RequestHead;

/// Asks requests that are too heavy in smaller pieces.
///
/// See the [module docs](crate::trim) for an example.
#[derive(Clone, Debug)]
pub struct PayloadTrim<S> {
    inner: S,
    shared: Option<Arc<Shared>>,
}

impl<S> PayloadTrim<S> {
    pub(super) fn new(inner: S, shared: Option<Arc<Shared>>) -> Self {
        Self { inner, shared }
    }
}

crate::macros::inner_accessors!(PayloadTrim);

impl<S, B, RB> Service<Request<B>> for PayloadTrim<S>
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    type Response = Response<HeldBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, RB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head = RequestHead::from(&request);
        let concerned = |shared: &&Arc<Shared>| {
            shared.setup.policy.concerns(&head) && shared.setup.account.enforces()
        };
        let Some(shared) = self.shared.as_ref().filter(concerned) else {
            return ResponseFuture::passed(self.inner.call(request.map(HeldBody::stream)));
        };
        let shared = shared.clone();
        // The one that is ready goes along.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        ResponseFuture::trim(ready, shared, request)
    }
}
