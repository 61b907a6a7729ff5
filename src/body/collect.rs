use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::Body;
use tokio::time::Sleep;

use super::gather::{Gather, Gathered};

/// Reads a body to its end, if that is neither too far nor too long away.
pub(crate) struct Collect<B> {
    body: Pin<Box<B>>,
    gather: Gather,
    longest: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// Why a body could not be read to its end.
#[derive(Debug)]
pub(crate) enum CollectError<E> {
    Body(E),
    TooLarge,
    TooSlow,
}

impl<B: Body> Collect<B> {
    /// At most `most` bytes, within `longest` after the first wait.
    pub(crate) fn new(body: B, most: u64, longest: Duration) -> Self {
        Self {
            body: Box::pin(body),
            gather: Gather::new(most),
            longest,
            alarm: None,
        }
    }
}

impl<B> Unpin for Collect<B> {}

impl<B: Body> Future for Collect<B> {
    type Output = Result<Gathered, CollectError<B::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while !this.body.is_end_stream() {
            let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
                let longest = this.longest;
                let alarm = this
                    .alarm
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(longest)));
                ready!(alarm.as_mut().poll(cx));
                return Poll::Ready(Err(CollectError::TooSlow));
            };
            let Some(frame) = frame else {
                break;
            };
            let frame = frame.map_err(CollectError::Body)?;
            this.gather
                .keep(frame)
                .map_err(|_| CollectError::TooLarge)?;
        }
        Poll::Ready(Ok(this.gather.finish()))
    }
}
