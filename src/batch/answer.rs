//! Heads of the answers that the callers get.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};

use super::Batched;
use crate::head;

/// The answer of one caller, out of that to the batch.
pub(super) fn own(
    batch: &Response<Bytes>,
    status: StatusCode,
    body: Bytes,
    calls: usize,
) -> Response<Bytes> {
    let mut answer = whole(batch, calls);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    if status == StatusCode::NO_CONTENT {
        head::forget_body(headers);
        headers.remove(CONTENT_TYPE);
    } else {
        head::rebody(headers, body.len());
    }
    *answer.body_mut() = body;
    answer
}

/// The answer to the batch, as it is.
pub(super) fn whole(batch: &Response<Bytes>, calls: usize) -> Response<Bytes> {
    let mut answer = batch.clone();
    answer.extensions_mut().insert(Batched { calls });
    answer
}
