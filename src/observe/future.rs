use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use crate::Quota;
use crate::event::Ending;
use crate::quota::Sent;

pin_project! {
    /// The future of [`Observe`](super::Observe).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        watch: Watch,
    }
}

/// A request that is on its way. Dropped before it is answered, it has been given up.
#[derive(Debug)]
pub(super) struct Watch {
    quota: Quota,
    sent: Option<Sent>,
}

impl Watch {
    pub(super) fn new(quota: Quota, sent: Sent) -> Self {
        let sent = Some(sent);
        Self { quota, sent }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.quota.unanswered(&sent, Ending::Dropped);
        }
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(inner: F, watch: Watch) -> Self {
        Self { inner, watch }
    }
}

impl<F, RB, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<RB>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut answer = ready!(this.inner.poll(cx));
        let Watch { quota, sent } = this.watch;
        if let Some(sent) = sent.take() {
            match &mut answer {
                Ok(response) => quota.note_answer(&sent, response),
                Err(_) => quota.unanswered(&sent, Ending::Lost),
            }
        }
        Poll::Ready(answer)
    }
}
