//! Reading single header fields: what is missing, doubled or malformed is unknown.

use http::{HeaderMap, HeaderValue};

/// Longer values than this are hostile or broken: the longest honest one, an HTTP-date, has 33 bytes.
const LONGEST: usize = 64;

/// The field's value without surrounding white space, when it is short visible ASCII.
pub(crate) fn text(value: &HeaderValue) -> Option<&str> {
    let bytes = value.as_bytes();
    if bytes.len() > LONGEST {
        return None;
    }
    value.to_str().ok().map(str::trim_ascii)
}

/// Names of fields that are wanted from every response.
pub(crate) struct Names<const N: usize> {
    names: [&'static str; N],
    /// Bit n is set when one of them has n bytes.
    lengths: u64,
}

impl<const N: usize> Names<N> {
    /// The names in lower case, each shorter than 64 bytes.
    pub(crate) const fn new(names: [&'static str; N]) -> Self {
        let mut lengths = 0;
        let mut at = 0;
        while at < N {
            lengths |= 1 << names[at].len();
            at += 1;
        }
        Self { names, lengths }
    }

    /// Finds all of them in one pass over the fields, which costs less than a look-up for each: most are not there.
    pub(crate) fn find<'a>(&'static self, headers: &'a HeaderMap) -> Fields<'a, N> {
        let mut found = [None; N];
        let mut several = false;
        for (name, value) in headers {
            let name = name.as_str();
            if name.len() >= 64 || (self.lengths >> name.len()) & 1 == 0 {
                continue;
            }
            if let Some(at) = self.names.iter().position(|wanted| *wanted == name) {
                several |= found[at].is_some();
                found[at] = found[at].or(Some(value));
            }
        }
        Fields {
            headers,
            names: self,
            found,
            several,
        }
    }
}

/// The fields that [`Names::find`] found, by the position of their names.
pub(crate) struct Fields<'a, const N: usize> {
    headers: &'a HeaderMap,
    names: &'static Names<N>,
    found: [Option<&'a HeaderValue>; N],
    /// Some name occurs more than once.
    several: bool,
}

impl<'a, const N: usize> Fields<'a, N> {
    /// All values of a field, in their order.
    pub(crate) fn values(&self, at: usize) -> impl Iterator<Item = &'a HeaderValue> + use<'a, N> {
        let first = self.found[at];
        let more = (self.several && first.is_some()).then(|| {
            let values = self.headers.get_all(self.names.names[at]);
            values.into_iter().skip(1)
        });
        first.into_iter().chain(more.into_iter().flatten())
    }

    /// What all values of a field agree on, each read with `parse`. One that cannot be read, or that disagrees, makes it unknown.
    pub(crate) fn agreed<T: PartialEq>(
        &self,
        at: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        if !self.several {
            return parse(text(self.found[at]?)?);
        }
        agreed(self.values(at), parse)
    }

    /// A count of requests or milliseconds: plain decimal digits, nothing else.
    ///
    /// `-1`, `5,000`, `598.0`, `1e308`, an empty field, fields that disagree and overlong ones are unknown.
    #[cfg(feature = "hubspot")]
    pub(crate) fn counter(&self, at: usize) -> Option<u64> {
        /// A thousand million million requests: no honest quota has more digits.
        const DIGITS: usize = 15;
        self.agreed(at, |text| {
            let plain = !text.is_empty()
                && text.len() <= DIGITS
                && text.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| text.parse().ok()).flatten()
        })
    }
}

/// What all values agree on, as [`Fields::agreed`].
pub(crate) fn agreed<'a, T: PartialEq>(
    values: impl IntoIterator<Item = &'a HeaderValue>,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let mut values = values.into_iter();
    let first = parse(text(values.next()?)?)?;
    values
        .all(|value| text(value).and_then(&parse).as_ref() == Some(&first))
        .then_some(first)
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
