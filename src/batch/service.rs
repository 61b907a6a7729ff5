use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::drain::Drain;
use super::future::ResponseFuture;
use super::shared::Shared;
use crate::BoxError;
use crate::body::HeldBody;
use crate::plan::RouteClass;
use crate::request::RequestHead;

/// Sends calls for single records as batch calls.
///
/// # Errors
///
/// A call that is sent by itself has the client's own errors. One that is in a batch has a [`QuotaError`](crate::QuotaError) when it has
/// waited as long as it may, or the batch has; and a [`BatchError`](super::BatchError) when the batch was lost, or its answer does not
/// tell what became of a create.
///
/// # Cancel safety
///
/// Dropping the future of a call takes nobody else along. Before its batch is closed the call is not sent; afterwards it is done all
/// the same, unless nobody else of the batch is left.
///
/// See the [module docs](crate::batch) for an example.
#[derive(Clone, Debug)]
pub struct Batch<S> {
    inner: S,
    shared: Option<Arc<Shared>>,
}

impl<S> Batch<S> {
    pub(super) fn new(inner: S, shared: Option<Arc<Shared>>) -> Self {
        Self { inner, shared }
    }

    /// Sends at once what is gathered, and waits until every call is answered that went through this service and has a batch form,
    /// single ones included. For the end of a program: a caller that is dropped takes its call along.
    ///
    /// Calls that come in the meantime are sent without delay, and waited for, too. Afterwards all is as before. Batches need not be
    /// polled by their callers for it; calls that are under way by themselves, and those that wait for their turn at a record, must be.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing; what is gathered from then on lingers again.
    pub fn drain(&self) -> Drain {
        Drain::new(self.shared.clone())
    }
}

crate::macros::inner_accessors!(Batch);

impl<S, B, RB> Service<Request<B>> for Batch<S>
where
    S: Service<Request<HeldBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
    RB: Body + Send + 'static,
    RB::Error: Into<BoxError>,
{
    type Response = Response<HeldBody<RB>>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let head = RequestHead::from(&request);
        // Whoever names the class of a call knows something about it that is not true of a batch.
        let concerned = |shared: &&Arc<Shared>| {
            shared.setup.policy.concerns(&head)
                && head.extensions.get::<RouteClass>().is_none()
                && shared.setup.account.enforces()
        };
        match self.shared.as_ref().filter(concerned) {
            Some(shared) => ResponseFuture::gather(self.inner.clone(), shared.clone(), request),
            None => ResponseFuture::pass(self.inner.clone(), request),
        }
    }
}
