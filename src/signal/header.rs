//! Reading single header fields: what is missing, doubled or malformed is unknown.

use http::HeaderMap;
use http::header::HeaderName;

/// Longer values than this are hostile or broken: the longest honest one, an HTTP-date, has 33 bytes.
const LONGEST: usize = 64;

/// The field's value without surrounding white space, when it is short visible ASCII.
pub(crate) fn text(value: &http::HeaderValue) -> Option<&str> {
    let bytes = value.as_bytes();
    if bytes.len() > LONGEST {
        return None;
    }
    value.to_str().ok().map(str::trim_ascii)
}

/// What all fields of this name agree on, each read with `parse`. One that cannot be read, or that disagrees, makes it unknown.
pub(crate) fn agreed<T: PartialEq>(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let mut values = headers.get_all(name).iter();
    let first = parse(text(values.next()?)?)?;
    values
        .all(|value| text(value).and_then(&parse).as_ref() == Some(&first))
        .then_some(first)
}

/// A count of requests or milliseconds: plain decimal digits, nothing else.
///
/// `-1`, `5,000`, `598.0`, `1e308`, an empty field, fields that disagree and overlong ones are unknown.
#[cfg(feature = "hubspot")]
pub(crate) fn counter(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    /// A thousand million million requests: no honest quota has more digits.
    const DIGITS: usize = 15;
    agreed(headers, name, |text| {
        let plain =
            !text.is_empty() && text.len() <= DIGITS && text.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    })
}

/// A non-negative decimal number, `12` or `12.034`, in units of `unit` nanoseconds. Exact; below a nanosecond it rounds up
/// when `up` says so, else down. `None` when it is not such a number or more than `most` nanoseconds.
pub(crate) fn decimal(text: &str, unit: u64, most: u64, up: bool) -> Option<u64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let mut nanos = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let mut place = unit;
    let mut lost = false;
    for digit in fraction.bytes().map(|b| u64::from(b - b'0')) {
        place /= 10;
        lost |= place == 0 && digit != 0;
        nanos = nanos.checked_add(digit * place)?;
    }
    if lost && up {
        nanos = nanos.checked_add(1)?;
    }
    (nanos <= most).then_some(nanos)
}
