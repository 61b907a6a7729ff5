//! Bodies, frame by frame.

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::{HOUR, TestError};

#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Data(Bytes),
    Trailers(HeaderMap),
    Error(TestError),
    /// Nothing came for an hour.
    Nothing,
}

/// All frames, checking on the way that what the body says of itself is true.
pub(crate) async fn frames<B: Body<Data = Bytes, Error = TestError> + Unpin>(
    mut body: B,
    context: &str,
) -> Vec<Got> {
    let mut hints: Vec<(SizeHint, u64)> = Vec::new();
    let mut read = 0;
    let mut got = Vec::new();
    loop {
        hints.push((body.size_hint(), read));
        let ended = body.is_end_stream();
        let frame = tokio::time::timeout(HOUR, body.frame()).await;
        if ended {
            assert!(
                matches!(frame, Ok(None)),
                "{context}: there is more after the end"
            );
        }
        match frame.map(|frame| frame.map(|frame| frame.map(Frame::into_data))) {
            Ok(None) => break,
            Ok(Some(Ok(Ok(data)))) => {
                read += data.len() as u64;
                got.push(Got::Data(data));
            }
            Ok(Some(Ok(Err(frame)))) => got.push(Got::Trailers(frame.into_trailers().unwrap())),
            Ok(Some(Err(error))) => {
                got.push(Got::Error(error));
                return got;
            }
            Err(_) => {
                got.push(Got::Nothing);
                return got;
            }
        }
    }
    for (hint, before) in hints {
        let left = read - before;
        assert!(hint.lower() <= left, "{context}: {hint:?}, {left} came");
        assert!(
            hint.upper().is_none_or(|upper| upper >= left),
            "{context}: {hint:?}, {left} came"
        );
    }
    got
}
