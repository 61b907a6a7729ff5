//! Heads of messages whose target or body is made anew.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, LAST_MODIFIED, TRAILER,
    TRANSFER_ENCODING,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Uri, request};

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

/// The answer is read by a layer, whatever the caller can decode.
pub(crate) fn for_a_layer(headers: &mut HeaderMap) {
    headers.remove(ACCEPT_ENCODING);
}

/// Gives the request another path and query; scheme and host stay. `None` when they make no valid target.
pub(crate) fn retarget(parts: &mut request::Parts, target: PathAndQuery) -> Option<()> {
    if target.path() != parts.uri.path() {
        // It was said of the original's path.
        parts.extensions.remove::<RouteClass>();
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target);
    parts.uri = Uri::from_parts(uri).ok()?;
    Some(())
}

/// Removes what was true of a body that is no more.
pub(crate) fn forget_body(headers: &mut HeaderMap) {
    for name in OF_THE_BYTES {
        headers.remove(name);
    }
}

/// The same, and says how long the new one is.
pub(crate) fn rebody(headers: &mut HeaderMap, length: usize) {
    forget_body(headers);
    headers.insert(CONTENT_LENGTH, length.into());
}
