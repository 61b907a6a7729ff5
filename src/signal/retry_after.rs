use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::DATE;

use super::fields::{RETRY_AFTER, StandardFields};
use super::header::{agreed, decimal, text};

const SECOND: u64 = 1_000_000_000;
/// A longer wait than this is not a quota's; it is unknown.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How long `Retry-After` asks to wait.
///
/// A date is compared with the response's own `Date`, never with a local clock, which may be wrong by hours. Sent twice with
/// different values, the longer wait counts.
pub(super) fn retry_after(fields: &StandardFields<'_>, headers: &HeaderMap) -> Option<Duration> {
    fields
        .values(RETRY_AFTER)
        .filter_map(|value| {
            let value = text(value)?;
            seconds(value).or_else(|| until(value, headers))
        })
        .max()
}

fn seconds(text: &str) -> Option<Duration> {
    let most = LONGEST.as_secs() * SECOND;
    decimal(text, SECOND, most, true).map(Duration::from_nanos)
}

fn until(text: &str, headers: &HeaderMap) -> Option<Duration> {
    let end = date(text)?;
    let sent = agreed(headers.get_all(DATE), date)?;
    match end.duration_since(sent) {
        // Both dates were cut to whole seconds, so the true distance may be almost a second longer.
        Ok(wait) => (wait <= LONGEST).then_some(wait + Duration::from_secs(1)),
        Err(_) => Some(Duration::ZERO),
    }
}

fn date(text: &str) -> Option<SystemTime> {
    // Every form of HTTP-date begins with the name of a day.
    if !text.as_bytes().first()?.is_ascii_alphabetic() {
        return None;
    }
    httpdate::parse_http_date(text).ok()
}
