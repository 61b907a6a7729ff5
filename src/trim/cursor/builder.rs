use std::sync::Arc;

use super::CursorPages;
use super::api::{Api, Route, Source};
use super::document::Path;
use crate::error::ConfigError;

/// What pages otherwise than forwards by a cursor.
const OTHERWISE: [&str; 6] = [
    "page[number]",
    "page[offset]",
    "page[before]",
    "page",
    "offset",
    "ending_before",
];

/// Where an answer tells the cursor of the next page.
///
/// There is no next page where the member is missing, `null`, `false` or empty.
#[derive(Clone, Debug)]
pub struct NextCursor(Source<String>);

impl NextCursor {
    /// In a member, a text or a number: `meta.next_cursor`.
    pub fn field(path: impl Into<String>) -> Self {
        Self(Source::Field(path.into()))
    }

    /// In the query of a URL, under the name of the [cursor parameter](CursorPagesBuilder::cursor_parameter): `links.next`. The
    /// URL may be relative, and may be the `href` of an object there.
    pub fn link(path: impl Into<String>) -> Self {
        Self(Source::Link(path.into()))
    }

    /// It is the [id](CursorPagesBuilder::id) of the last record, as long as this member is `true`: `has_more`.
    pub fn last_id(more: impl Into<String>) -> Self {
        Self(Source::LastId { more: more.into() })
    }
}

/// Collects what is known of an API's pages; made by [`CursorPages::builder`].
///
/// Unless set otherwise it is what JSON:API and its cursor pagination profile say. Members are written with dots between the
/// names, `meta.page.size`; the way there leads through objects only.
///
/// | what | unless set |
/// |---|---|
/// | [`size_parameter`](Self::size_parameter) | `page[size]`, of which neither default nor maximum is known |
/// | [`cursor_parameter`](Self::cursor_parameter) | `page[cursor]` |
/// | [`not_with`](Self::not_with) | `page[number]`, `page[offset]`, `page[before]`, `page`, `offset`, `ending_before` |
/// | [`records`](Self::records) | `data` |
/// | [`id`](Self::id) | `id` |
/// | [`included`](Self::included) | `included` |
/// | [`next_cursor`](Self::next_cursor) | [`NextCursor::link("links.next")`](NextCursor::link) |
/// | [`start_of_page`](Self::start_of_page) | `links.self`, `links.first`, `links.prev`, `links.last` |
/// | [`end_of_page`](Self::end_of_page) | `links.next` |
/// | [`size_member`](Self::size_member), [`count_member`](Self::count_member) | none |
#[derive(Clone, Debug)]
#[must_use]
pub struct CursorPagesBuilder {
    paths: Vec<String>,
    size_parameter: String,
    default_size: Option<usize>,
    most: Option<usize>,
    cursor_parameter: String,
    not_with: Option<Vec<String>>,
    records: String,
    id: String,
    included: Vec<String>,
    next: NextCursor,
    start: Vec<String>,
    end: Vec<String>,
    size_member: Option<String>,
    count_member: Option<String>,
}

impl CursorPagesBuilder {
    pub(super) fn new(paths: Vec<String>) -> Self {
        let links = ["links.self", "links.first", "links.prev", "links.last"];
        Self {
            paths,
            size_parameter: "page[size]".into(),
            default_size: None,
            most: None,
            cursor_parameter: "page[cursor]".into(),
            not_with: None,
            records: "data".into(),
            id: "id".into(),
            included: vec!["included".into()],
            next: NextCursor::link("links.next"),
            start: links.map(Into::into).into(),
            end: vec!["links.next".into()],
            size_member: None,
            count_member: None,
        }
    }

    /// The parameter that says how many records a page has; how many it has without the parameter; and the most it may have. A
    /// request for more than that is not split: the server refuses it, or gives less than was asked for.
    ///
    /// Names of parameters are given here as they are read, with brackets; in a query they may be percent-encoded.
    pub fn size_parameter(mut self, name: impl Into<String>, default: usize, most: usize) -> Self {
        self.size_parameter = name.into();
        self.default_size = Some(default);
        self.most = Some(most);
        self
    }

    /// The parameter that says where a page begins.
    pub fn cursor_parameter(mut self, name: impl Into<String>) -> Self {
        self.cursor_parameter = name.into();
        self
    }

    /// The parameters that page in another way: by number, by offset, backwards. A request with one of them is not split.
    pub fn not_with<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.not_with = Some(texts(names));
        self
    }

    /// Where the list of records is. `null` counts as an empty list.
    pub fn records(mut self, path: impl Into<String>) -> Self {
        self.records = path.into();
        self
    }

    /// The member of a record that tells it from all others; of two pieces with the same record the first one's is kept. Where
    /// records have a `type`, too, it belongs to the id, as in JSON:API. A record without the member is like no other.
    pub fn id(mut self, name: impl Into<String>) -> Self {
        self.id = name.into();
        self
    }

    /// The lists of what goes with the records (JSON:API's `included`, lists that are side-loaded), told apart like records.
    pub fn included<N: Into<String>>(mut self, paths: impl IntoIterator<Item = N>) -> Self {
        self.included = texts(paths);
        self
    }

    /// Where an answer tells the cursor of the next page.
    pub fn next_cursor(mut self, next: NextCursor) -> Self {
        self.next = next;
        self
    }

    /// The members that say where a page starts. They are taken from the first piece, and a size in a URL is the caller's.
    pub fn start_of_page<N: Into<String>>(mut self, paths: impl IntoIterator<Item = N>) -> Self {
        self.start = texts(paths);
        self
    }

    /// The links that say where a page ends. They are taken from the last piece, as all else is, but a size in a URL is the
    /// caller's. The link in which the next cursor is need not be named.
    pub fn end_of_page<N: Into<String>>(mut self, paths: impl IntoIterator<Item = N>) -> Self {
        self.end = texts(paths);
        self
    }

    /// The member in which an answer repeats the size that was asked for. Changed where it is a number.
    pub fn size_member(mut self, path: impl Into<String>) -> Self {
        self.size_member = Some(path.into());
        self
    }

    /// The member in which an answer says how many records the page has. Changed where it is a number. Not for the number of all
    /// records there are, which no piece changes.
    pub fn count_member(mut self, path: impl Into<String>) -> Self {
        self.count_member = Some(path.into());
        self
    }

    /// Checks all of it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field when there is no path, a path does not begin with a slash or has an empty segment, a size
    /// is zero, the default size is above the most, a name is empty or one parameter has two meanings, or a member is inside
    /// another or has two meanings.
    pub fn build(self) -> Result<CursorPages, ConfigError> {
        let mut end = self.end;
        if let Source::Link(link) = &self.next.0 {
            if !end.contains(link) {
                end.push(link.clone());
            }
        }
        let not_with = self.not_with.unwrap_or_else(|| {
            let ours = [&self.size_parameter, &self.cursor_parameter];
            let others = OTHERWISE
                .iter()
                .filter(|name| !ours.iter().any(|ours| ours == *name));
            texts(others.copied())
        });
        let api = Api {
            routes: self
                .paths
                .into_iter()
                .map(Route::parse)
                .collect::<Result<_, _>>()?,
            default_size: self.default_size,
            most: self.most,
            records: Path::parse("records", &self.records)?,
            included: paths("included", &self.included)?,
            next: self.next.0.parse("next cursor")?,
            start: paths("start of page", &self.start)?,
            end: paths("end of page", &end)?,
            size_member: path("size member", self.size_member.as_deref())?,
            count_member: path("count member", self.count_member.as_deref())?,
            href: Path::parse("href", "href")?,
            not_with,
            size_parameter: self.size_parameter,
            cursor_parameter: self.cursor_parameter,
            id: self.id,
        };
        api.check()?;
        Ok(CursorPages { api: Arc::new(api) })
    }
}

fn texts<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Vec<String> {
    names.into_iter().map(Into::into).collect()
}

fn paths(field: &'static str, texts: &[String]) -> Result<Vec<Path>, ConfigError> {
    texts.iter().map(|text| Path::parse(field, text)).collect()
}

fn path(field: &'static str, text: Option<&str>) -> Result<Option<Path>, ConfigError> {
    text.map(|text| Path::parse(field, text)).transpose()
}

impl Source<String> {
    fn parse(&self, field: &'static str) -> Result<Source<Path>, ConfigError> {
        Ok(match self {
            Self::Field(path) => Source::Field(Path::parse(field, path)?),
            Self::Link(path) => Source::Link(Path::parse(field, path)?),
            Self::LastId { more } => Source::LastId {
                more: Path::parse(field, more)?,
            },
        })
    }
}

impl Api {
    fn check(&self) -> Result<(), ConfigError> {
        let error = |field: &str, problem: String| Err(ConfigError::new(field, problem));
        if self.routes.is_empty() {
            return error("paths", "must be at least one".into());
        }
        if self.default_size == Some(0) || self.default_size > self.most {
            return error(
                "size parameter",
                "must have a default of at least 1 and at most the most".into(),
            );
        }
        let names = [&self.size_parameter, &self.cursor_parameter, &self.id];
        if names
            .into_iter()
            .chain(&self.not_with)
            .any(String::is_empty)
        {
            return error("names", "must not be empty".into());
        }
        if self.size_parameter == self.cursor_parameter {
            return error("cursor parameter", "is the size parameter, too".into());
        }
        let ours = [&self.size_parameter, &self.cursor_parameter];
        if let Some(name) = self.not_with.iter().find(|name| ours.contains(name)) {
            return error(
                "not with",
                format!("`{name}` is what pages are asked for with"),
            );
        }
        self.check_members()
    }

    /// What is put in anew must not be put into something else, and the cursor must be the last piece's.
    fn check_members(&self) -> Result<(), ConfigError> {
        let figures = [&self.size_member, &self.count_member];
        let mut members: Vec<&Path> = vec![&self.records];
        members.extend(&self.included);
        members.extend(&self.start);
        members.extend(figures.into_iter().flatten());
        members.extend(&self.end);
        // A link that is also one of those where the page ends has been counted.
        let next = self.next.path();
        if !self.end.contains(next) {
            members.push(next);
        }
        for (nth, member) in members.iter().enumerate() {
            if let Some(other) = members[..nth].iter().find(|other| other.overlaps(member)) {
                let problem = format!("`{member}` and `{other}` are not apart");
                return Err(ConfigError::new("members", problem));
            }
        }
        Ok(())
    }
}
