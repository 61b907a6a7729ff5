//! What is known of an API's pages.

use std::fmt;

use serde_json::value::RawValue;

use super::document::{Path, Unfit, is_nothing};
use super::query::{self, Said};
use crate::error::ConfigError;
use crate::json::{Object, is_number, text};
use crate::percent;

/// All of it, checked.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) routes: Vec<Route>,
    pub(super) size_parameter: String,
    pub(super) default_size: Option<usize>,
    pub(super) most: Option<usize>,
    pub(super) cursor_parameter: String,
    pub(super) not_with: Vec<String>,
    pub(super) records: Path,
    pub(super) id: String,
    pub(super) included: Vec<Path>,
    pub(super) next: Source<Path>,
    pub(super) start: Vec<Path>,
    pub(super) end: Vec<Path>,
    pub(super) size_member: Option<Path>,
    pub(super) count_member: Option<Path>,
    /// Where a link that is an object has its URL.
    pub(super) href: Path,
}

/// Where the next cursor is; the path is text until it is checked.
#[derive(Clone, Debug)]
pub(super) enum Source<P> {
    Field(P),
    Link(P),
    LastId { more: P },
}

impl<P> Source<P> {
    pub(super) fn path(&self) -> &P {
        match self {
            Self::Field(path) | Self::Link(path) | Self::LastId { more: path } => path,
        }
    }
}

/// Where the next page begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is none.
    None,
    /// Here, as it is written in a query.
    Cursor(String),
    /// There is one, and no record tells where.
    Unknown,
}

impl Api {
    pub(super) fn next(&self, document: &Object<'_>, records: &[&RawValue]) -> Result<Next, Unfit> {
        let value = document.find(self.next.path())?;
        let Some(value) = value.filter(|value| !is_nothing(value)) else {
            return Ok(Next::None);
        };
        match &self.next {
            Source::Field(_) => {
                let cursor = cursor(value).ok_or("its next cursor is no text")?;
                Ok(Next::Cursor(cursor))
            }
            Source::Link(_) => self.linked(value),
            Source::LastId { .. } if value.get() != "true" => {
                Err("whether more follows is neither true nor false in it".into())
            }
            Source::LastId { .. } => {
                let last = records.last().and_then(|last| Object::parse(last.get()));
                let Some(last) = last else {
                    return Ok(Next::Unknown);
                };
                let id = last.get(&self.id)?.and_then(cursor);
                Ok(id.map_or(Next::Unknown, Next::Cursor))
            }
        }
    }

    fn linked(&self, link: &RawValue) -> Result<Next, Unfit> {
        let url = match Object::parse(link.get()) {
            Some(object) => object.find(&self.href)?.and_then(text),
            None => text(link),
        };
        let url = url.ok_or("its next link is no URL")?;
        let query = query::parts(&url).map_or("", |(_, query, _)| query);
        match query::value(query, &self.cursor_parameter) {
            Said::Once(cursor) if !cursor.is_empty() => Ok(Next::Cursor(cursor.to_owned())),
            _ => Err("its next link has no cursor".into()),
        }
    }
}

/// A text or a number, written for a query.
fn cursor(value: &RawValue) -> Option<String> {
    match text(value) {
        Some(text) => (!text.is_empty()).then(|| percent::encoded(&text)),
        None => is_number(value).then(|| percent::encoded(value.get())),
    }
}

/// A path, of which some segments may be any.
#[derive(Clone, Debug)]
pub(super) struct Route {
    text: String,
}

impl Route {
    pub(super) fn parse(text: String) -> Result<Self, ConfigError> {
        let segments = text.strip_prefix('/').map(|rest| rest.split('/'));
        let is_fine = |segment: &str| {
            let name = any(segment).unwrap_or(segment);
            !name.is_empty() && !name.contains(['{', '}', '?', '#', '%'])
        };
        if !segments.is_some_and(|mut segments| segments.all(is_fine)) {
            let problem =
                format!("must be like /v1/things or /v1/things/{{id}}/parts, is {text:?}");
            return Err(ConfigError::new("path", problem));
        }
        Ok(Self { text })
    }

    /// A trailing slash does not matter, nor does percent-encoding.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
        let mut ours = self.text.split('/');
        loop {
            match (ours.next(), segments.next()) {
                (None, None) => return true,
                (Some(ours), Some(segment)) if any(ours).is_some() => {
                    if segment.is_empty() {
                        return false;
                    }
                }
                (Some(ours), Some(segment)) if percent::is(segment.as_bytes(), ours, u8::eq) => {}
                _ => return false,
            }
        }
    }
}

/// What a segment is called that may be any.
fn any(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
