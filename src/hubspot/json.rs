//! JSON as HubSpot writes it, and the same with some of it said anew.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::json::{Doubled, Object, is_number, list, quoted, text};

impl<'a> Object<'a> {
    /// The member `name`; one that is null is as good as none.
    pub(super) fn value(&self, name: &str) -> Result<Option<&'a RawValue>, Doubled> {
        Ok(self.get(name)?.filter(|value| value.get() != "null"))
    }

    /// The object that is the member `name`, if there is one and no other.
    pub(super) fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::parse(self.get(name).ok()??.get())
    }

    /// The elements of the list that is the member `name`, if there is one and no other.
    pub(super) fn list(&self, name: &str) -> Option<Vec<&'a RawValue>> {
        list(self.get(name).ok()??)
    }

    /// The text of the member `name`, if there is one and no other.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.get(name).ok()??)
    }

    /// The members, with values that share the memory of `body`, which the object was parsed from.
    pub(super) fn members(&self, body: &Bytes) -> Members {
        let member = |(name, value): (&str, &RawValue)| (name.to_owned(), slice(body, value));
        Members(self.iter().map(member).collect())
    }
}

/// The value without a copy. `body` is what it was parsed from.
pub(super) fn slice(body: &Bytes, value: &RawValue) -> Bytes {
    body.slice_ref(value.get().as_bytes())
}

/// The text of what was sliced out of a valid text; empty for anything else.
pub(super) fn utf8(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A whole number, written as a number or as a string of digits; `None` when it is neither.
pub(super) fn count(value: &RawValue) -> Option<u64> {
    /// Beyond, a floating-point number does not say which whole number it is.
    const LARGEST: f64 = 9e15;
    if let Some(text) = text(value) {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        return digits.then(|| text.parse().ok()).flatten();
    }
    serde_json::from_str(value.get()).ok().or_else(|| {
        let number: f64 = serde_json::from_str(value.get()).ok()?;
        let whole = number.fract() == 0.0 && (0.0..=LARGEST).contains(&number);
        whole.then_some(number as u64)
    })
}

/// A string or a number as text.
pub(super) fn as_text(value: &RawValue) -> Option<Cow<'_, str>> {
    text(value).or_else(|| is_number(value).then(|| value.get().into()))
}

/// An id as text that can be compared: HubSpot writes ids as strings and as numbers, and does not mind their case.
pub(super) fn id(value: &RawValue) -> Option<String> {
    as_text(value).map(|id| id.to_lowercase())
}

/// The members of an object that is written out later, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Members(Vec<(String, Bytes)>);

impl Members {
    /// Of a doubled member the last one counts, as in most JSON readers.
    pub(super) fn get(&self, name: &str) -> Option<&Bytes> {
        let mut members = self.0.iter().rev();
        members
            .find(|(member, _)| member == name)
            .map(|(_, value)| value)
    }

    /// Gives the member `name` this value, written in JSON, in the place where it is or at the end.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Bytes>) {
        let value = value.into();
        match self.0.iter().position(|(member, _)| member == name) {
            Some(place) => {
                self.0[place].1 = value;
                let mut places = 0..;
                self.0
                    .retain(|(member, _)| places.next() == Some(place) || member != name);
            }
            None => self.push(name, value),
        }
    }

    /// Adds a member that is not there yet.
    pub(super) fn push(&mut self, name: &str, value: impl Into<Bytes>) {
        self.0.push((name.to_owned(), value.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(member, _)| member != name);
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (nth, (name, value)) in self.0.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            out.extend_from_slice(quoted(name).as_bytes());
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
        out
    }
}

/// The list of these values, which are written in JSON.
pub(super) fn array<T: AsRef<[u8]>>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut out = vec![b'['];
    for (nth, value) in values.into_iter().enumerate() {
        if nth > 0 {
            out.push(b',');
        }
        out.extend_from_slice(value.as_ref());
    }
    out.push(b']');
    out
}

/// The same JSON without the white space between its parts.
pub(super) fn compact(json: &[u8]) -> Vec<u8> {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |byte: &u8| {
        let space = !in_string && byte.is_ascii_whitespace();
        in_string ^= *byte == b'"' && !escaped;
        escaped = in_string && *byte == b'\\' && !escaped;
        !space
    };
    json.iter().copied().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_count_is_a_number_or_digits() {
        for (json, expected) in [
            ("100", Some(100)),
            ("\"100\"", Some(100)),
            ("100.0", Some(100)),
            ("1e2", Some(100)),
            ("\"\\u0031\"", Some(1)),
            ("0", Some(0)),
            ("-1", None),
            ("\"-1\"", None),
            ("\"+1\"", None),
            ("\"\"", None),
            ("1.5", None),
            ("1e400", None),
            ("1e300", None),
            ("18446744073709551616", None),
            ("\"99999999999999999999\"", None),
            ("true", None),
            ("[1]", None),
        ] {
            assert_eq!(count(raw(json)), expected, "{json}");
        }
    }

    #[test]
    fn an_id_is_a_text_or_a_number() {
        assert_eq!(id(raw("\"A@b.C\"")).as_deref(), Some("a@b.c"));
        assert_eq!(id(raw("12")).as_deref(), Some("12"));
        assert_eq!(id(raw("\"12\"")).as_deref(), Some("12"));
        for json in ["null", "true", "{}", "[]"] {
            assert_eq!(id(raw(json)), None, "{json}");
        }
    }

    #[test]
    fn members_that_are_not_set_stay_as_they_are_written() {
        let text = r#"{ "a" : {"x" : 1e400}, "b\n":[1, 2 ], "a":"\ud800", "c":null}"#;
        let body = Bytes::from_static(text.as_bytes());
        let object = Object::parse(utf8(&body)).unwrap();
        let mut members = object.members(&body);
        let same = r#"{"a":{"x" : 1e400},"b\n":[1, 2 ],"a":"\ud800","c":null}"#;
        assert_eq!(members.write(), same.as_bytes());
        members.set("a", "1");
        members.set("d", "2");
        members.remove("c");
        let other = r#"{"a":1,"b\n":[1, 2 ],"d":2}"#;
        assert_eq!(members.write(), other.as_bytes());
    }

    #[test]
    fn null_is_none_and_a_doubled_member_is_neither() {
        let text = r#"{"null":null,"list":[1],"text":"a","object":{},"two":{},"two":null}"#;
        let object = Object::parse(text).unwrap();
        assert!(matches!(object.value("null"), Ok(None)));
        assert!(matches!(object.value("other"), Ok(None)));
        assert!(matches!(object.value("text"), Ok(Some(_))));
        assert_eq!(object.value("two").unwrap_err(), Doubled);
        assert!(object.object("object").is_some() && object.object("two").is_none());
        assert!(object.list("list").is_some() && object.list("two").is_none());
        assert_eq!(object.text("text").as_deref(), Some("a"));
        for name in ["null", "other", "two"] {
            assert!(object.text(name).is_none(), "{name}");
        }
    }

    #[test]
    fn white_space_in_strings_is_no_white_space() {
        let json = "{ \"a b\" : [ 1 ,\n\t\"c\\\" d\\\\\" , \" e\" ] }";
        let expected = "{\"a b\":[1,\"c\\\" d\\\\\",\" e\"]}";
        assert_eq!(compact(json.as_bytes()), expected.as_bytes());
    }
}
