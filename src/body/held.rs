use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a request: held in memory, so that it can be sent again, or passed through as it streams.
    ///
    /// The layers that repeat requests hand this type to the service they wrap. It has the frames of the original body.
    /// `Debug` does not show them: where a token is asked for, a secret is in the body.
    pub struct HeldBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B> {
        Held { data: Bytes, trailers: Option<HeaderMap> },
        Stream { #[pin] body: B },
    }
}

impl<B> HeldBody<B> {
    /// A body that streams through: for a client of this type that is used without a layer that holds bodies.
    pub fn stream(body: B) -> Self {
        Self {
            inner: Inner::Stream { body },
        }
    }

    fn held(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self {
            inner: Inner::Held { data, trailers },
        }
    }

    /// The same body once more, if it is held.
    pub(crate) fn again(&self) -> Option<Self> {
        match &self.inner {
            Inner::Held { data, trailers } => Some(Self::held(data.clone(), trailers.clone())),
            Inner::Stream { .. } => None,
        }
    }
}

impl<B> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = match &self.inner {
            Inner::Held { data, .. } => Some(data.len()),
            Inner::Stream { .. } => None,
        };
        f.debug_struct("HeldBody")
            .field("held", &held)
            .finish_non_exhaustive()
    }
}

impl<B: Body> Body for HeldBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().inner.project() {
            InnerProj::Held { data, trailers } => {
                let frame = if data.is_empty() {
                    trailers.take().map(Frame::trailers)
                } else {
                    Some(Frame::data(std::mem::take(data)))
                };
                Poll::Ready(frame.map(Ok))
            }
            InnerProj::Stream { body } => {
                let frame = ready!(body.poll_frame(cx));
                let into_bytes = |mut data: B::Data| data.copy_to_bytes(data.remaining());
                Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(into_bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Held { data, trailers } => data.is_empty() && trailers.is_none(),
            Inner::Stream { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Held { data, .. } => SizeHint::with_exact(data.len() as u64),
            Inner::Stream { body } => body.size_hint(),
        }
    }
}

pin_project! {
    /// Reads a body into memory if it says that it is not too large; lets it stream otherwise.
    #[project = HoldProj]
    pub(crate) enum Hold<B> {
        /// Too large, or of unknown size.
        Stream { body: Option<B> },
        Read { #[pin] body: B, first: Bytes, more: BytesMut, trailers: Option<HeaderMap>, left: u64 },
    }
}

/// Why a body could not be held.
#[derive(Debug)]
pub(crate) enum HoldError<E> {
    /// The body failed.
    Body(E),
    /// The body is longer than it said.
    Longer,
}

impl<B: Body> Hold<B> {
    /// Bodies of at most `most` bytes are held.
    pub(crate) fn new(body: B, most: u64) -> Self {
        match body.size_hint().upper() {
            Some(upper) if upper <= most => Hold::Read {
                body,
                first: Bytes::new(),
                more: BytesMut::new(),
                trailers: None,
                left: most,
            },
            _ => Hold::Stream { body: Some(body) },
        }
    }
}

impl<B: Body> Future for Hold<B> {
    type Output = Result<HeldBody<B>, HoldError<B::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (mut body, first, more, trailers, left) = match self.project() {
            HoldProj::Stream { body } => {
                return match body.take() {
                    Some(body) => Poll::Ready(Ok(HeldBody::stream(body))),
                    None => Poll::Pending,
                };
            }
            HoldProj::Read {
                body,
                first,
                more,
                trailers,
                left,
            } => (body, first, more, trailers, left),
        };
        while !body.is_end_stream() {
            let Some(frame) = ready!(body.as_mut().poll_frame(cx)) else {
                break;
            };
            match frame.map_err(HoldError::Body)?.into_data() {
                Ok(mut data) => {
                    let length = data.remaining();
                    *left = left.checked_sub(length as u64).ok_or(HoldError::Longer)?;
                    let data = data.copy_to_bytes(length);
                    // Most bodies are one frame, which then need not be copied.
                    if first.is_empty() {
                        *first = data;
                    } else {
                        more.extend_from_slice(&data);
                    }
                }
                Err(frame) => *trailers = frame.into_trailers().ok(),
            }
        }
        let data = if more.is_empty() {
            std::mem::take(first)
        } else {
            let mut whole = BytesMut::with_capacity(first.len() + more.len());
            whole.extend_from_slice(first);
            whole.extend_from_slice(more);
            whole.freeze()
        };
        Poll::Ready(Ok(HeldBody::held(data, trailers.take())))
    }
}

impl<E: Into<crate::BoxError>> From<HoldError<E>> for crate::BoxError {
    fn from(error: HoldError<E>) -> Self {
        match error {
            HoldError::Body(error) => error.into(),
            HoldError::Longer => "the body of the request is longer than its size hint said".into(),
        }
    }
}
