use std::collections::VecDeque;
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

/// So much of a body is read to understand a response.
const MOST: usize = 64 * 1024;
/// And so many frames: empty ones fill no memory limit in bytes.
const MOST_FRAMES: usize = 1024;
/// The rest of a slow body is left to the caller after this time.
pub(crate) const LONGEST_READ: Duration = Duration::from_secs(1);
/// A frame may be made of pieces; more than these are not looked at.
const PIECES: usize = 16;

pin_project! {
    /// The body of a response: what was read of it to understand the response, then the rest.
    ///
    /// The caller gets the frames of the original body, unchanged.
    pub struct PeekBody<B: Body> {
        peeked: VecDeque<Result<Frame<B::Data>, B::Error>>,
        #[pin]
        rest: Rest<B>,
    }
}

pin_project! {
    #[project = RestProj]
    enum Rest<B> {
        Untouched { #[pin] body: B },
        /// Once polled, a body cannot be moved; only refusals and failures are read, so the box costs the others nothing.
        Touched { body: Pin<Box<B>> },
        Ended,
    }
}

impl<B: Body> PeekBody<B> {
    /// A body that nobody needs to look at.
    pub(crate) fn untouched(body: B) -> Self {
        Self {
            peeked: VecDeque::new(),
            rest: Rest::Untouched { body },
        }
    }

    /// Whether all of the body is here, so that the connection is free.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.rest, Rest::Ended)
    }
}

impl<B: Body> Body for PeekBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        if let Some(frame) = this.peeked.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match this.rest.project() {
            RestProj::Untouched { body } => body.poll_frame(cx),
            RestProj::Touched { body } => body.as_mut().poll_frame(cx),
            RestProj::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.peeked.is_empty()
            && match &self.rest {
                Rest::Untouched { body } => body.is_end_stream(),
                Rest::Touched { body } => body.is_end_stream(),
                Rest::Ended => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = match &self.rest {
            Rest::Untouched { body } => body.size_hint(),
            Rest::Touched { body } => body.size_hint(),
            Rest::Ended => SizeHint::with_exact(0),
        };
        let frames = self
            .peeked
            .iter()
            .filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let peeked = frames.map(|data| data.remaining() as u64).sum::<u64>();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(peeked));
        }
        hint.set_lower(hint.lower().saturating_add(peeked));
        hint
    }
}

impl<B: Body> std::fmt::Debug for PeekBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeekBody")
            .field("peeked", &self.peeked.len())
            .finish_non_exhaustive()
    }
}

/// Reads the beginning of a body: at most 64 KiB, for at most one second.
pub(crate) struct Peek<B: Body> {
    body: Option<Pin<Box<B>>>,
    peeked: VecDeque<Result<Frame<B::Data>, B::Error>>,
    text: Vec<u8>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<B: Body> Peek<B> {
    pub(crate) fn new(body: B) -> Self {
        Self {
            body: Some(Box::pin(body)),
            peeked: VecDeque::new(),
            text: Vec::new(),
            alarm: None,
        }
    }

    fn finish(&mut self, rest: Rest<B>) -> (PeekBody<B>, Vec<u8>) {
        (
            PeekBody {
                peeked: std::mem::take(&mut self.peeked),
                rest,
            },
            std::mem::take(&mut self.text),
        )
    }
}

impl<B: Body> Unpin for Peek<B> {}

impl<B: Body> Future for Peek<B> {
    /// The body for the caller, and the beginning of its text.
    type Output = (PeekBody<B>, Vec<u8>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let Some(body) = &mut this.body else {
                return Poll::Pending;
            };
            if body.is_end_stream() {
                this.body = None;
                return Poll::Ready(this.finish(Rest::Ended));
            }
            let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else {
                let alarm = this
                    .alarm
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(LONGEST_READ)));
                ready!(alarm.as_mut().poll(cx));
                break;
            };
            let Some(frame) = frame else {
                this.body = None;
                return Poll::Ready(this.finish(Rest::Ended));
            };
            let ended = frame.is_err();
            if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                copy(data, &mut this.text);
            }
            this.peeked.push_back(frame);
            if ended || this.text.len() >= MOST || this.peeked.len() >= MOST_FRAMES {
                break;
            }
        }
        match this.body.take() {
            Some(body) => Poll::Ready(this.finish(Rest::Touched { body })),
            None => Poll::Pending,
        }
    }
}

/// Looks at a frame's bytes without consuming them.
fn copy(data: &impl Buf, text: &mut Vec<u8>) {
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let count = data.chunks_vectored(&mut pieces);
    for piece in &pieces[..count] {
        let room = MOST.saturating_sub(text.len()).min(piece.len());
        text.extend_from_slice(&piece[..room]);
    }
}
