use http::StatusCode;

use super::fields::{AGE, NAMES, StandardFields};
use super::retry_after::retry_after;
use super::service_time::service_time;
use super::{Outcome, Refusal, ResponseHead, SignalReader, Signals};
use crate::plan::RouteClass;

/// Reads what is standard: the status, `Retry-After`, and the time the server worked. Never needs the body.
///
/// | status | outcome |
/// |---|---|
/// | 429 | refused; the token pauses |
/// | 425 | refused; only this request waits |
/// | 408, 500, 502, 503, 504, 521, 523, 524, 529 | failed |
/// | all others | answered |
///
/// **`Retry-After`** is read as seconds (`120`, `2.0`, `0.250`) or as an HTTP-date. A date counts from the response's own
/// `Date` plus one second for the resolution of both; without a usable `Date` it is unknown, because the local clock may be
/// wrong. A date in the past is zero. Sent twice, the longer wait counts. Waits of more than 366 days are unknown.
///
/// **Service time** comes from `x-envoy-upstream-service-time` (ms), `openai-processing-ms` (ms), `x-runtime` (s) and
/// `server-timing` (the largest single `dur`, ms, of those that no proxy measured); of several the smallest counts, and more
/// than one hour is unknown.
///
/// A response with an `Age` above zero comes from a cache: only its status is believed.
///
/// What is malformed is unknown, never zero. Nothing is allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandardSignals;

impl SignalReader for StandardSignals {
    fn wants_body(&self, _: &ResponseHead<'_>) -> bool {
        false
    }

    fn read(&self, response: &ResponseHead<'_>, _: RouteClass, _: &[u8]) -> Signals {
        read(response).0
    }
}

/// What is standard, and whether the response comes from a cache, so that nothing else in it is to be believed either.
pub(crate) fn read(response: &ResponseHead<'_>) -> (Signals, bool) {
    let mut signals = Signals::new(outcome(response.status));
    let fields = NAMES.find(response.headers);
    let cached = is_cached(&fields);
    if !cached {
        signals.retry_after = retry_after(&fields, response.headers);
        signals.service_time = service_time(&fields);
    }
    (signals, cached)
}

/// What the status alone means.
fn outcome(status: StatusCode) -> Outcome {
    match status.as_u16() {
        429 => Outcome::Refused(Refusal::Token),
        425 => Outcome::Refused(Refusal::Request),
        // 521, 523 and 524 are an edge that cannot reach its origin, or waited too long for it. Its other codes (522, 525,
        // 526, 530) are a wrong set-up that a repetition does not mend. 529 is some vendors' word for overload.
        408 | 500 | 502 | 503 | 504 | 521 | 523 | 524 | 529 => Outcome::Failed,
        _ => Outcome::Answered,
    }
}

/// Whether the response comes from a cache. An `Age` that is not a number is ignored, as RFC 9111 section 5.1 asks.
fn is_cached(fields: &StandardFields<'_>) -> bool {
    fields.values(AGE).any(|age| {
        let age = age.as_bytes().trim_ascii();
        age.iter().all(u8::is_ascii_digit) && age.iter().any(|digit| *digit != b'0')
    })
}
