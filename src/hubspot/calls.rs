//! What is true of HubSpot's calls, whichever layer looks at them.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::request::RequestHead;

/// "At most 100 inputs."
pub(super) const MOST_INPUTS: usize = 100;
/// With `propertiesWithHistory`.
pub(super) const MOST_WITH_HISTORY: usize = 50;

/// So many bytes of a path are shown. A longer one has a very long name of an object type in it.
pub(super) const LONGEST_PATH: usize = 64;

/// Whether the body is JSON that can be read as it is. Without a word on it, it is taken for JSON: the API speaks nothing else.
pub(super) fn is_json(request: &RequestHead<'_>) -> bool {
    let said = |name| {
        let values = request.headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap_or("unknown"))
    };
    let is_json = |value: &str| {
        let kind = value.split(';').next().unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        kind == "application/json" || kind.starts_with("application/") && kind.ends_with("+json")
    };
    said(CONTENT_TYPE).all(is_json)
        && said(CONTENT_ENCODING).all(|coding| coding.trim().eq_ignore_ascii_case("identity"))
}

/// The name of a `POST` in events and in what is remembered. The paths of these have names and versions in them, and no ids of
/// records.
pub(super) fn label(path: &str) -> String {
    let segments: Vec<_> = path.split('/').map(without_account).collect();
    format!("POST {}", clip(&segments.join("/"), LONGEST_PATH))
}

/// The full name of a custom object has the number of its account in it: `p{}_car` instead of `p4711_car`.
fn without_account(segment: &str) -> Cow<'_, str> {
    let after_p = segment.strip_prefix(['p', 'P']);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    match after_p.and_then(|rest| rest.split_once('_')) {
        Some((account, name)) if is_number(account) => format!("p{{}}_{name}").into(),
        _ => segment.into(),
    }
}

/// The beginning of the text, at most so many bytes.
pub(super) fn clip(text: &str, most: usize) -> String {
    let is_end = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=most.min(text.len())).rev().find(is_end);
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_does_not_tell_the_account() {
        for (path, shown) in [
            (
                "/crm/v3/objects/p4711_car/search",
                "/crm/v3/objects/p{}_car/search",
            ),
            ("/crm/v3/objects/P4711_my_car", "/crm/v3/objects/p{}_my_car"),
            ("/crm/v3/objects/p_car/batch", "/crm/v3/objects/p_car/batch"),
            ("/crm/v3/objects/products", "/crm/v3/objects/products"),
            (
                "/crm/v3/objects/2-4711/search",
                "/crm/v3/objects/2-4711/search",
            ),
        ] {
            assert_eq!(label(path), format!("POST {shown}"));
        }
    }
}
