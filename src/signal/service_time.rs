use std::time::Duration;

use http::HeaderValue;

use super::fields::{ENVOY, OPENAI, RUNTIME, SERVER_TIMING, StandardFields};
use super::header::decimal;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// No request is worked on for longer; a larger figure has another meaning or unit.
const LONGEST: u64 = 60 * 60 * SECOND;
/// Longer `Server-Timing` fields are not worth reading on every response.
const LONGEST_FIELD: usize = 4096;

/// Metrics of `Server-Timing` that a machine in front of the API measures. They include the way to the machine that counts
/// requests, so as a credit they would be too large. Compared with the beginning of the name.
const EDGE: [&str; 6] = ["cf", "cdn", "edge", "net", "origin", "queue"];

/// How long the server worked on the request after it had counted it, as far as its headers tell.
///
/// Too small a figure costs a little speed, too large a one costs a refusal: of several headers the smallest counts, digits
/// below a nanosecond are cut, and what is malformed, doubled with another value, or above an hour is unknown.
pub(super) fn service_time(fields: &StandardFields<'_>) -> Option<Duration> {
    let field = |at, unit| fields.agreed(at, |text| decimal(text, unit, LONGEST, false));
    [
        field(ENVOY, MILLISECOND),
        field(OPENAI, MILLISECOND),
        field(RUNTIME, SECOND),
        server_timing(fields.values(SERVER_TIMING)),
    ]
    .into_iter()
    .flatten()
    .min()
    .map(Duration::from_nanos)
}

/// The largest single `dur` of `Server-Timing`, in nanoseconds.
///
/// Every metric is a part of the work, so each `dur` alone is a lower bound of it and the largest is the best one. Their sum
/// is not: metrics nest (`total` holds `db`) and run side by side.
fn server_timing<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Option<u64> {
    let mut largest = None;
    for value in values {
        if value.len() > LONGEST_FIELD {
            return None;
        }
        for metric in split(value.to_str().ok()?, b',') {
            let mut parts = split(metric, b';');
            let name = parts.next().unwrap_or_default().trim_ascii();
            let duration = parts
                .filter_map(|part| part.split_once('='))
                .find(|(key, _)| key.trim_ascii().eq_ignore_ascii_case("dur"));
            let Some((_, duration)) = duration else {
                continue;
            };
            // One broken figure makes the field doubtful as a whole.
            let duration = duration.trim_ascii();
            let duration = match duration.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"')?,
                None => duration,
            };
            let duration = decimal(duration, MILLISECOND, LONGEST, false)?;
            if !EDGE.iter().any(|edge| starts_with(name, edge)) {
                largest = largest.max(Some(duration));
            }
        }
    }
    largest
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// Splits at `separator`, but not inside a quoted string.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let ends = byte == separator && !quoted;
            quoted ^= byte == b'"' && !escaped;
            escaped = quoted && byte == b'\\' && !escaped;
            ends
        });
        // The separators are ASCII, so the cuts lie between characters.
        match end.and_then(|end| Some((text.get(..end)?, text.get(end + 1..)?))) {
            Some((head, tail)) => {
                rest = Some(tail);
                Some(head)
            }
            None => {
                rest = None;
                Some(text)
            }
        }
    })
}
