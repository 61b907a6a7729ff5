//! Percent-encoding, as it is in paths and queries.

#[cfg(feature = "hubspot")]
use std::borrow::Cow;

/// The names and values of the parameters of a query, as they are written; no value is an empty one.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(parameter)
}

/// The name and the value of one parameter.
pub(crate) fn parameter(written: &str) -> (&str, &str) {
    written.split_once('=').unwrap_or((written, ""))
}

/// Whether `text` is `name` after percent-decoding, as `alike` compares bytes. What is wrongly encoded is nothing.
pub(crate) fn is(text: &[u8], name: &str, alike: impl Fn(&u8, &u8) -> bool) -> bool {
    let mut rest = text;
    for expected in name.bytes() {
        let Some((byte, tail)) = first(rest) else {
            return false;
        };
        if !alike(&byte, &expected) {
            return false;
        }
        rest = tail;
    }
    rest.is_empty()
}

/// The text decoded, in which a plus sign is a space if it is of a query. `None` for what is wrongly encoded, or no UTF-8 then.
#[cfg(feature = "hubspot")]
pub(crate) fn decoded(text: &str, of_query: bool) -> Option<Cow<'_, str>> {
    let is_encoded = |byte: u8| byte == b'%' || of_query && byte == b'+';
    if !text.bytes().any(is_encoded) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let is_space = of_query && rest.starts_with(b"+");
        let (byte, tail) = first(rest)?;
        out.push(if is_space { b' ' } else { byte });
        rest = tail;
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The first byte of an encoded text, and the rest. `None` where nothing is left, or what is there is wrongly encoded.
fn first(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'%', high, low, tail @ ..] => Some((hex(*high)? << 4 | hex(*low)?, tail)),
        [b'%', ..] | [] => None,
        [byte, tail @ ..] => Some((*byte, tail)),
    }
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

#[cfg(all(test, feature = "hubspot"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (text, in_path, in_query) in [
            ("", Some(""), Some("")),
            ("a-b", Some("a-b"), Some("a-b")),
            ("a%40b+c", Some("a@b+c"), Some("a@b c")),
            ("%2B%2b+", Some("+++"), Some("++ ")),
            ("%C3%A9", Some("\u{e9}"), Some("\u{e9}")),
            ("%C3", None, None),
            ("%zz", None, None),
            ("100%", None, None),
            ("%+1", None, None),
        ] {
            assert_eq!(decoded(text, false).as_deref(), in_path, "{text}");
            assert_eq!(decoded(text, true).as_deref(), in_query, "{text}");
        }
    }

    #[test]
    fn a_text_is_encoded_so_that_it_is_decoded_as_it_was() {
        for text in ["a", "a b+c%", "\u{e9}&=?/"] {
            assert_eq!(decoded(&encoded(text), true).as_deref(), Some(text));
        }
    }

    #[test]
    fn parameters_are_told_apart() {
        let all: Vec<_> = parameters("a=1&b&c=&=d&e=f=g").collect();
        let expected = [("a", "1"), ("b", ""), ("c", ""), ("", "d"), ("e", "f=g")];
        assert_eq!(all, expected);
    }
}
