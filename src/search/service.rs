use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::layer::Settings;
use crate::body::PeekBody;
use crate::limit::ResponseFuture;
use crate::quota::Acquire;
use crate::request::RequestHead;
use crate::{BoxError, Quota};

/// Lets no request of certain classes reach the inner service before every limit of the plan has a slot for it, and lets all
/// others through.
///
/// See the [module docs](crate::search) for an example.
#[derive(Clone, Debug)]
pub struct ClassBudget<S> {
    inner: S,
    quota: Quota,
    settings: Settings,
}

impl<S> ClassBudget<S> {
    pub(super) fn new(inner: S, quota: Quota, settings: Settings) -> Self {
        Self {
            inner,
            quota,
            settings,
        }
    }
}

crate::macros::inner_accessors!(ClassBudget);

impl<S, B, RB> Service<Request<B>> for ClassBudget<S>
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
        let Settings {
            classes,
            default_lane,
            max_wait,
        } = &self.settings;
        let class = self.quota.class(&RequestHead::from(&request));
        if !classes.contains(&class) {
            return ResponseFuture::pass(self.inner.clone(), request);
        }
        request.extensions_mut().get_or_insert(*default_lane);
        let acquire = Acquire::once(&self.quota, &mut request, *max_wait);
        ResponseFuture::new(acquire, self.inner.clone(), request)
    }
}
