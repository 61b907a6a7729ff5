//! Readers who have stopped reading are hung up on, so that they take nobody's place.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::time::Sleep;

/// A connection whose other end must take what is written within some time.
pub(super) struct Stall<I> {
    io: I,
    most: Duration,
    /// There while the other end takes nothing.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<I> Stall<I> {
    pub(super) fn new(io: I, most: Duration) -> Self {
        Self {
            io,
            most,
            timer: None,
        }
    }

    /// Passes on what a write has come to, and loses patience.
    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let most = self.most;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: Read + Unpin> Read for Stall<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: Write + Unpin> Write for Stall<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        piece: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, piece);
        self.judge(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.judge(cx, shut)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.judge(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Takes a piece only after so long.
    struct Lazy(Pin<Box<Sleep>>);

    impl Write for Lazy {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            piece: &[u8],
        ) -> Poll<io::Result<usize>> {
            ready!(self.0.as_mut().poll(cx));
            Poll::Ready(Ok(piece.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn write(after: u64) -> io::Result<usize> {
        let sleep = tokio::time::sleep(Duration::from_secs(after));
        let mut io = Stall::new(Lazy(Box::pin(sleep)), Duration::from_secs(30));
        poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"news")).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_for_long_is_hung_up_on_and_who_is_slow_is_not() {
        assert_eq!(write(29).await.expect("slow"), 4);
        let error = write(31).await.expect_err("it has stopped");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
