use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

/// The frames of a body, put together.
#[derive(Debug)]
pub(crate) struct Gather {
    first: Bytes,
    more: BytesMut,
    trailers: Option<Box<HeaderMap>>,
    left: u64,
}

/// What a body held.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) data: Bytes,
    /// Boxed, because they are large and hardly ever there.
    pub(crate) trailers: Option<Box<HeaderMap>>,
}

/// More than is to be gathered.
#[derive(Debug)]
pub(super) struct TooMuch;

impl Gather {
    /// At most `most` bytes.
    pub(super) fn new(most: u64) -> Self {
        Self {
            first: Bytes::new(),
            more: BytesMut::new(),
            trailers: None,
            left: most,
        }
    }

    pub(super) fn keep<D: Buf>(&mut self, frame: Frame<D>) -> Result<(), TooMuch> {
        match frame.into_data() {
            Ok(mut data) => {
                let length = data.remaining();
                self.left = self.left.checked_sub(length as u64).ok_or(TooMuch)?;
                let data = data.copy_to_bytes(length);
                // Most bodies are one frame, which then need not be copied.
                if self.first.is_empty() {
                    self.first = data;
                } else {
                    self.more.extend_from_slice(&data);
                }
            }
            Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new),
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Gathered {
        let data = if self.more.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            let mut whole = BytesMut::with_capacity(self.first.len() + self.more.len());
            whole.extend_from_slice(&self.first);
            whole.extend_from_slice(&self.more);
            whole.freeze()
        };
        Gathered {
            data,
            trailers: self.trailers.take(),
        }
    }
}
