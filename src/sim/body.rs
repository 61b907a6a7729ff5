use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a simulated response: bytes that are already there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimBody(Bytes);

impl SimBody {
    /// All of it, or what has not been read yet.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// All of it, without copying.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl From<Bytes> for SimBody {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for SimBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for SimBody {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&'static str> for SimBody {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
