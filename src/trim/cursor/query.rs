//! The query of a request or of a link: one parameter is looked at or replaced, all else stays as it is written.

use crate::percent::{self, parameter, parameters};

/// Whether a name as it is written is this one; brackets may be percent-encoded.
pub(super) fn is_named(written: &str, name: &str) -> bool {
    percent::is(written.as_bytes(), name, u8::eq)
}

/// What a query says of one parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Nothing,
    Once(&'a str),
    /// Servers do not agree on which of them counts.
    Twice,
}

pub(super) fn value<'a>(query: &'a str, name: &str) -> Said<'a> {
    let mut values = parameters(query).filter(|(written, _)| is_named(written, name));
    match (values.next(), values.next()) {
        (None, _) => Said::Nothing,
        (Some((_, value)), None) => Said::Once(value),
        (Some(_), Some(_)) => Said::Twice,
    }
}

/// The query with this value (as it is to be written) for a parameter, or without the parameter. `None` when it is not there.
pub(super) fn replaced(query: &str, name: &str, value: Option<&str>) -> Option<String> {
    let mut found = false;
    let mut out = String::with_capacity(query.len());
    let mut separator = "";
    for written in query.split('&') {
        let (own, _) = parameter(written);
        let is_it = is_named(own, name);
        found |= is_it;
        match value {
            Some(value) if is_it => out.extend([separator, own, "=", value]),
            None if is_it => continue,
            _ => out.extend([separator, written]),
        }
        separator = "&";
    }
    found.then_some(out)
}

/// The query with this value (as it is to be written) for a parameter, which comes last if it was not there.
pub(super) fn with(query: &str, name: &str, value: &str) -> String {
    replaced(query, name, Some(value)).unwrap_or_else(|| {
        let separator = if query.is_empty() { "" } else { "&" };
        format!("{query}{separator}{}={value}", percent::encoded(name))
    })
}

/// A URL in its parts: what is before the query, the query, the fragment with its sign.
pub(super) fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (rest, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let (before, query) = rest.split_once('?')?;
    Some((before, query, fragment))
}
