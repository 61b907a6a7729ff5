//! Heads and bodies: of the requests for pieces, and of the answer that the caller gets.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderValue,
    LAST_MODIFIED, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderName, Response, Uri, request, response};

use super::policy::{Piece, Whole};
use super::{DROPPED_HEADER, Dropped, Trimmed};
use crate::body::HeldBody;
use crate::plan::RouteClass;

/// What speaks of the very bytes of a body, and is not true of another one.
const OF_THE_BYTES: [HeaderName; 11] = [
    CONTENT_ENCODING,
    TRANSFER_ENCODING,
    ETAG,
    LAST_MODIFIED,
    ACCEPT_RANGES,
    TRAILER,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    CONTENT_LENGTH,
];

/// Makes the head of the original the head of a piece, and its body. `None` when the piece has no valid target.
pub(super) fn piece<B>(
    parts: &mut request::Parts,
    piece: Piece,
    original: &HeldBody<B>,
) -> Option<HeldBody<B>> {
    // The pieces are read here, whatever the caller can decode.
    parts.headers.remove(ACCEPT_ENCODING);
    if let Some(target) = piece.target {
        if target.path() != parts.uri.path() {
            // It was said of the original's path.
            parts.extensions.remove::<RouteClass>();
        }
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.path_and_query = Some(target);
        parts.uri = Uri::from_parts(uri).ok()?;
    }
    let Some(data) = piece.body else {
        return original.again();
    };
    for name in OF_THE_BYTES {
        if name == CONTENT_LENGTH && parts.headers.contains_key(&name) {
            parts.headers.insert(name, data.len().into());
        } else {
            parts.headers.remove(name);
        }
    }
    Some(HeldBody::held(data, None))
}

/// The answer that the caller gets; `parts` is the head of the answer to the last piece.
pub(super) fn whole<RB>(
    mut parts: response::Parts,
    whole: Whole,
    trimmed: Trimmed,
) -> Response<HeldBody<RB>> {
    for name in OF_THE_BYTES {
        parts.headers.remove(name);
    }
    parts.status = whole.status;
    parts
        .headers
        .insert(CONTENT_LENGTH, whole.body.len().into());
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
