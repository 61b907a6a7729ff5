use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::gather::{Gather, Gathered};

pin_project! {
    /// A body that is held in memory, or passed through as it streams.
    ///
    /// The layers that repeat requests hand this type to the service they wrap, so that it can be sent again. It has the frames of
    /// the original body. `Debug` does not show them: where a token is asked for, a secret is in the body.
    ///
    /// The response of a request that was asked in pieces has such a body, too.
    pub struct HeldBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B> {
        Held { data: Bytes, trailers: Option<Box<HeaderMap>> },
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

    pub(crate) fn held(data: Bytes, trailers: Option<Box<HeaderMap>>) -> Self {
        Self {
            inner: Inner::Held { data, trailers },
        }
    }

    /// The same body once more, if it is held.
    pub(crate) fn again(&self) -> Option<Self> {
        self.gathered()
            .map(|held| Self::held(held.data, held.trailers))
    }

    /// What is held, trailers included.
    pub(crate) fn gathered(&self) -> Option<Gathered> {
        match &self.inner {
            Inner::Held { data, trailers } => Some(Gathered {
                data: data.clone(),
                trailers: trailers.clone(),
            }),
            Inner::Stream { .. } => None,
        }
    }

    /// What is held.
    pub(crate) fn data(&self) -> Option<&Bytes> {
        match &self.inner {
            Inner::Held { data, .. } => Some(data),
            Inner::Stream { .. } => None,
        }
    }
}

impl<B> HeldBody<HeldBody<B>> {
    /// The same body, held once.
    pub(crate) fn flatten(self) -> HeldBody<B> {
        match self.inner {
            Inner::Held { data, trailers } => HeldBody::held(data, trailers),
            Inner::Stream { body } => body,
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
                    trailers.take().map(|trailers| Frame::trailers(*trailers))
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
        Read { #[pin] body: B, gather: Gather },
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
                gather: Gather::new(most),
            },
            _ => Hold::Stream { body: Some(body) },
        }
    }
}

impl<B: Body> Future for Hold<B> {
    type Output = Result<HeldBody<B>, HoldError<B::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (mut body, gather) = match self.project() {
            HoldProj::Stream { body } => {
                return match body.take() {
                    Some(body) => Poll::Ready(Ok(HeldBody::stream(body))),
                    None => Poll::Pending,
                };
            }
            HoldProj::Read { body, gather } => (body, gather),
        };
        while !body.is_end_stream() {
            let Some(frame) = ready!(body.as_mut().poll_frame(cx)) else {
                break;
            };
            let frame = frame.map_err(HoldError::Body)?;
            gather.keep(frame).map_err(|_| HoldError::Longer)?;
        }
        let held = gather.finish();
        Poll::Ready(Ok(HeldBody::held(held.data, held.trailers)))
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
