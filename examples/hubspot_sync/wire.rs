//! What goes over the wire, counted where nothing is left between the count and the client.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tower::Service;
use tower_quota::clock::Clock;

/// Request extension: whether this call has been on the wire before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call(Arc<AtomicBool>);

/// What has gone over the wire so far. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Wire(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    clock: Clock,
    last_sent: Mutex<Duration>,
    requests: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    retries: AtomicU64,
}

impl Wire {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(Arc::new(Counts {
            clock,
            last_sent: Mutex::default(),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }))
    }

    pub(crate) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Answers with status 429.
    pub(crate) fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Answers with a status from 500 on.
    pub(crate) fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn retries(&self) -> u64 {
        self.0.retries.load(Ordering::Relaxed)
    }

    /// The next call does again what one before it has failed to do.
    pub(crate) fn repeats(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// When the last request was sent.
    pub(crate) fn last_sent(&self) -> Duration {
        *self
            .0
            .last_sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn sends(&self, call: Option<&Call>) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        if call.is_some_and(|Call(seen)| seen.swap(true, Ordering::Relaxed)) {
            self.0.retries.fetch_add(1, Ordering::Relaxed);
        }
        let mut last = self
            .0
            .last_sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = self.0.clock.elapsed().max(*last);
    }

    fn answered(&self, status: StatusCode) {
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.0.refused.fetch_add(1, Ordering::Relaxed);
        } else if status.is_server_error() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts what the innermost service sends and gets.
#[derive(Clone, Debug)]
pub(crate) struct Counted<S> {
    pub(crate) inner: S,
    pub(crate) wire: Wire,
}

impl<S, B, RB> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Future: Unpin,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CountedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.wire.sends(request.extensions().get::<Call>());
        CountedFuture {
            inner: self.inner.call(request),
            wire: self.wire.clone(),
        }
    }
}

/// The future of [`Counted`].
pub(crate) struct CountedFuture<F> {
    inner: F,
    wire: Wire,
}

impl<F, RB, E> Future for CountedFuture<F>
where
    F: Future<Output = Result<Response<RB>, E>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let answer = ready!(Pin::new(&mut self.inner).poll(cx));
        if let Ok(response) = &answer {
            self.wire.answered(response.status());
        }
        Poll::Ready(answer)
    }
}
