//! Heads and bodies: of the requests for pieces, and of the answer that the caller gets.

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Response, request, response};

use super::policy::{Piece, Whole};
use super::{DROPPED_HEADER, Dropped, Trimmed};
use crate::body::HeldBody;
use crate::head;

/// Makes the head of the original the head of a piece, and its body. `None` when the piece has no valid target.
pub(super) fn piece<B>(
    parts: &mut request::Parts,
    piece: Piece,
    original: &HeldBody<B>,
) -> Option<HeldBody<B>> {
    head::for_a_layer(&mut parts.headers);
    if let Some(target) = piece.target {
        head::retarget(parts, target)?;
    }
    let Some(data) = piece.body else {
        return original.again();
    };
    // A client that counts for itself is left to it.
    match parts.headers.contains_key(CONTENT_LENGTH) {
        true => head::rebody(&mut parts.headers, data.len()),
        false => head::forget_body(&mut parts.headers),
    }
    Some(HeldBody::held(data, None))
}

/// The answer that the caller gets; `parts` is the head of the answer to the last piece.
pub(super) fn whole<RB>(
    mut parts: response::Parts,
    whole: Whole,
    trimmed: Trimmed,
) -> Response<HeldBody<RB>> {
    head::rebody(&mut parts.headers, whole.body.len());
    parts.status = whole.status;
    parts.extensions.insert(trimmed);
    if !whole.dropped.is_empty() {
        // A name that no header can hold is in the extension all the same.
        if let Ok(names) = HeaderValue::try_from(whole.dropped.join(",")) {
            parts.headers.insert(DROPPED_HEADER, names);
        }
        parts.extensions.insert(Dropped(whole.dropped));
    }
    Response::from_parts(parts, HeldBody::held(whole.body, None))
}
