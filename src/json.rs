//! JSON that is passed on: what is where in a text. Values are borrowed and stay as they are written.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Lists and objects with more members are not read: two bytes of text would take a hundred in memory.
pub(crate) const MOST_MEMBERS: usize = 100_000;

/// An object, one level deep.
#[derive(Debug, Default)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// An object has a member twice. Readers do not agree on which of them counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubled;

impl<'a> Object<'a> {
    /// `None` when the text is no object, or a very large one. Deep nesting needs no deep stack: the parser skips values without recursion.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The member `name` as it is written, null too.
    pub(crate) fn get(&self, name: &str) -> Result<Option<&'a RawValue>, Doubled> {
        let mut found = self.0.iter().filter(|(member, _)| member == name);
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Doubled),
            (first, _) => Ok(first.map(|(_, value)| *value)),
        }
    }

    /// Whether there is a member `name`, or several.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.iter().any(|(member, _)| member == name)
    }

    /// All members, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if members.len() == MOST_MEMBERS {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push((name.0, value));
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A string, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct List<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;

        impl<'de> Visitor<'de> for Elements {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<'de>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if elements.len() == MOST_MEMBERS {
                        return Err(A::Error::custom("too many elements"));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(Elements)
    }
}

/// The elements of a list; `None` when it is none, or a very long one.
pub(crate) fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    let list: Option<List<'_>> = serde_json::from_str(value.get()).ok();
    list.map(|list| list.0)
}

/// The text of a string; `None` when it is none.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let text: Option<Text<'_>> = serde_json::from_str(value.get()).ok();
    text.map(|text| text.0)
}

pub(crate) fn is_number(value: &RawValue) -> bool {
    value
        .get()
        .starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// The text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn values_stay_as_they_are_written() {
        let object = Object::parse("{ \"a\" : {\"x\" : 1e400}, \"b\\n\":[1, 2 ], \"c\":null}");
        let object = object.unwrap();
        let members: Vec<_> = object
            .iter()
            .map(|(name, value)| (name, value.get()))
            .collect();
        let expected = [("a", r#"{"x" : 1e400}"#), ("b\n", "[1, 2 ]"), ("c", "null")];
        assert_eq!(members, expected);
        assert!(object.has("c") && !object.has("d"));
        assert_eq!(object.get("c").unwrap().unwrap().get(), "null");
        assert!(object.get("d").unwrap().is_none());
    }

    #[test]
    fn a_doubled_member_is_none_of_both() {
        let object = Object::parse(r#"{"a":1,"b":2,"\u0061":1}"#).unwrap();
        assert_eq!(object.get("a").unwrap_err(), Doubled);
        assert!(object.has("a"));
        assert_eq!(object.get("b").unwrap().unwrap().get(), "2");
    }

    #[test]
    fn what_is_no_object_or_has_something_behind_it_is_not_read() {
        for text in ["", "[]", "null", "7", "{", "{} {}", "{\"a\"}", "\u{feff}{}"] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn lists_and_objects_are_read_up_to_their_bound() {
        let list_of = |many: usize| format!("[{}0]", "0,".repeat(many - 1));
        let object_of = |many: usize| format!("{{{}\"a\":0}}", "\"a\":0,".repeat(many - 1));
        let most = list(raw(&list_of(MOST_MEMBERS))).map(|list| list.len());
        assert_eq!(most, Some(MOST_MEMBERS));
        assert!(list(raw(&list_of(MOST_MEMBERS + 1))).is_none());
        let most = Object::parse(&object_of(MOST_MEMBERS)).map(|object| object.iter().count());
        assert_eq!(most, Some(MOST_MEMBERS));
        assert!(Object::parse(&object_of(MOST_MEMBERS + 1)).is_none());
    }

    #[test]
    fn deep_nesting_needs_no_deep_stack() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        let body = format!("{{\"a\":{deep}}}");
        let object = Object::parse(&body).unwrap();
        let value = object.get("a").unwrap().unwrap();
        assert_eq!(list(value).map(|list| list.len()), Some(1));
    }

    #[test]
    fn a_text_is_borrowed_unless_it_has_escapes() {
        assert!(matches!(text(raw(r#""a×""#)), Some(Cow::Borrowed("a×"))));
        assert_eq!(text(raw(r#""a\u00d7\"\n""#)).as_deref(), Some("a×\"\n"));
        for json in ["1", "null", "[\"a\"]", "{}", r#""\ud800""#] {
            assert_eq!(text(raw(json)), None, "{json}");
        }
    }

    #[test]
    fn a_text_is_quoted_so_that_it_is_read_as_it_was() {
        for written in ["", "a", "\"\\\n\u{0}", "×\u{1f980}\u{2028}"] {
            let quoted = quoted(written);
            assert_eq!(text(raw(&quoted)).as_deref(), Some(written));
        }
    }

    #[test]
    fn a_number_is_told_by_how_it_begins() {
        for (json, expected) in [
            ("0", true),
            ("-1.5e400", true),
            ("\"1\"", false),
            ("null", false),
            ("[1]", false),
        ] {
            assert_eq!(is_number(raw(json)), expected, "{json}");
        }
    }
}
