//! What calls may share a batch.

use std::hash::{Hash, Hasher};

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, USER_AGENT,
};

use super::policy::Operation;
use crate::core::{Fingerprint, Keys};
use crate::request::{AccountId, Fingerprinter, Idempotent, Lane, RequestHead, Token};

/// Headers that may differ within a batch: they speak of the body or the program, or trace a single call.
const OF_ONE_CALL: [HeaderName; 18] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    DATE,
    USER_AGENT,
    HeaderName::from_static("b3"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("sentry-trace"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("uber-trace-id"),
    HeaderName::from_static("x-amzn-trace-id"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("x-request-id"),
];

/// The group of a call. It is a keyed hash, because there are tokens in what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Group(Fingerprint);

impl Group {
    pub(super) fn of(
        fingerprinter: &Fingerprinter,
        head: &RequestHead<'_>,
        keys: Keys,
        operation: &dyn Operation,
    ) -> Self {
        let key = operation.key();
        let lane = head.extensions.get::<Lane>().copied().unwrap_or_default();
        Self(fingerprinter.of(|hasher| {
            keys.hash(hasher);
            (lane == Lane::Interactive).hash(hasher);
            head.extensions
                .get::<AccountId>()
                .map(|account| &account.0)
                .hash(hasher);
            head.extensions
                .get::<Token>()
                .map(|token| &token.0)
                .hash(hasher);
            head.extensions.get::<Idempotent>().is_some().hash(hasher);
            head.uri.scheme_str().hash(hasher);
            let authority = head.uri.authority().map(http::uri::Authority::as_str);
            authority.hash(hasher);
            key.hash(hasher);
            for (name, value) in head.headers {
                if !OF_ONE_CALL.contains(name) {
                    name.hash(hasher);
                    value.as_bytes().hash(hasher);
                }
            }
            hasher.write_u8(0);
        }))
    }
}
