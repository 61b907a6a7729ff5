//! Percent-encoding, as it is in paths and queries.

/// Whether `text` is `name` after percent-decoding, as `alike` compares bytes. What is wrongly encoded is nothing.
pub(crate) fn is(text: &[u8], name: &str, alike: impl Fn(&u8, &u8) -> bool) -> bool {
    let mut rest = text;
    for expected in name.bytes() {
        let (byte, tail) = match rest {
            [b'%', high, low, tail @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, tail),
                _ => return false,
            },
            [byte, tail @ ..] => (*byte, tail),
            [] => return false,
        };
        if !alike(&byte, &expected) {
            return false;
        }
        rest = tail;
    }
    rest.is_empty()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// The text with all but the unreserved characters of RFC 3986 encoded, so that it can stand anywhere in a query.
pub(crate) fn encoded(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.extend([
                '%',
                char::from(DIGITS[usize::from(byte >> 4)]),
                char::from(DIGITS[usize::from(byte & 15)]),
            ]),
        }
    }
    out
}
