//! The pages that came, put together.

use std::collections::HashSet;

use bytes::Bytes;
use http::StatusCode;
use serde_json::value::RawValue;

use super::api::Api;
use super::document::{Edit, Unfit};
use super::query;
use crate::json::{MOST_MEMBERS, Object, is_number, list, quoted, text};
use crate::trim::policy::Whole;

/// What makes two records the same: `type`, where they have it, and the id, as they are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    kind: Option<String>,
    id: String,
}

impl Identity {
    fn of(record: &RawValue, id: &str) -> Option<Self> {
        let record = Object::parse(record.get())?;
        let id = record.get(id).ok()??;
        if id.get() == "\"\"" || !(id.get().starts_with('"') || is_number(id)) {
            return None;
        }
        let kind = record.get("type").ok()?.map(|kind| kind.get().to_owned());
        Some(Self {
            kind,
            id: id.get().to_owned(),
        })
    }
}

/// What goes with the records, one list of it.
#[derive(Debug, Default)]
struct Included {
    /// Whether any page had the list.
    is_there: bool,
    seen: HashSet<Identity>,
    entries: Vec<(Option<Identity>, String)>,
}

/// One page, read.
pub(super) struct Page<'a> {
    pub(super) document: Object<'a>,
    pub(super) records: Vec<&'a RawValue>,
}

/// The pages so far.
#[derive(Debug, Default)]
pub(super) struct Stitched {
    /// With commas between them.
    records: String,
    count: usize,
    seen: HashSet<Identity>,
    included: Vec<Included>,
    /// What the first page says of where it starts.
    start: Option<Vec<Option<String>>>,
    last: Option<(StatusCode, Bytes)>,
}

impl Stitched {
    /// Adds a page and says how many of its records are new. A record is known when an earlier page had it; two alike on one page
    /// are both kept, because the server would have sent both.
    pub(super) fn add(
        &mut self,
        api: &Api,
        page: &Page<'_>,
        status: StatusCode,
        body: &Bytes,
    ) -> Result<usize, Unfit> {
        let ids = page
            .records
            .iter()
            .map(|record| Identity::of(record, &api.id));
        let ids: Vec<_> = ids.collect();
        let mut fresh = 0;
        for (record, id) in page.records.iter().zip(&ids) {
            if id.as_ref().is_some_and(|id| self.seen.contains(id)) {
                continue;
            }
            if self.count + fresh > 0 {
                self.records.push(',');
            }
            self.records.push_str(record.get());
            fresh += 1;
        }
        self.count += fresh;
        self.seen.extend(ids.into_iter().flatten());
        self.include(api, &page.document)?;
        if self.start.is_none() {
            let values = api.start.iter().map(|path| {
                let value = page.document.find(path)?;
                Ok(value.map(|value| value.get().to_owned()))
            });
            self.start = Some(values.collect::<Result<_, Unfit>>()?);
        }
        self.last = Some((status, body.clone()));
        Ok(fresh)
    }

    fn include(&mut self, api: &Api, document: &Object<'_>) -> Result<(), Unfit> {
        self.included
            .resize_with(api.included.len(), Included::default);
        for (path, included) in api.included.iter().zip(&mut self.included) {
            let Some(value) = document.find(path)? else {
                continue;
            };
            if value.get() == "null" {
                continue;
            }
            let entries = list(value).ok_or("what is included is no list")?;
            included.is_there = true;
            if included.entries.len() > MOST_MEMBERS {
                return Err("too much is included".into());
            }
            for entry in entries {
                let id = Identity::of(entry, &api.id);
                if id
                    .as_ref()
                    .is_none_or(|id| included.seen.insert(id.clone()))
                {
                    included.entries.push((id, entry.get().to_owned()));
                }
            }
        }
        Ok(())
    }

    /// One page of all, with `own_size` in its links as the caller wrote it, and `size` where the answer repeats it.
    pub(super) fn finish(
        self,
        api: &Api,
        size: usize,
        own_size: Option<&str>,
    ) -> Result<Whole, Unfit> {
        let (status, body) = self.last.ok_or("no page came")?;
        let text = std::str::from_utf8(&body).ok();
        let last = text
            .and_then(Object::parse)
            .ok_or("the last page is lost")?;
        let mut edits: Vec<Edit> = Vec::new();
        // Without any record the last page says itself how it writes that.
        if self.count > 0 {
            edits.push((api.records.clone(), Some(format!("[{}]", self.records))));
        }
        for (path, included) in api.included.iter().zip(&self.included) {
            if included.is_there {
                edits.push((path.clone(), Some(included.joined(&self.seen))));
            }
        }
        for (path, value) in api.start.iter().zip(self.start.into_iter().flatten()) {
            let value = value.map(|value| api.resized(&value, own_size));
            edits.push((path.clone(), value));
        }
        for path in &api.end {
            if let Some(value) = last.find(path)? {
                edits.push((path.clone(), Some(api.resized(value.get(), own_size))));
            }
        }
        for (path, figure) in [(&api.size_member, size), (&api.count_member, self.count)] {
            let Some(path) = path else { continue };
            if last.find(path)?.is_some_and(is_number) {
                edits.push((path.clone(), Some(figure.to_string())));
            }
        }
        Ok(Whole {
            status,
            body: last.edited(&edits).into(),
            dropped: Vec::new(),
        })
    }
}

impl Included {
    /// As one list. What is a record of the whole is not included once more, although it was no record of its own page. Without a
    /// `type` nobody can tell whether two of the same id are the same.
    fn joined(&self, records: &HashSet<Identity>) -> String {
        let is_record = |id: &Identity| id.kind.is_some() && records.contains(id);
        let entries = self.entries.iter();
        let kept = entries.filter(|(id, _)| !id.as_ref().is_some_and(is_record));
        let kept: Vec<_> = kept.map(|(_, entry)| entry.as_str()).collect();
        format!("[{}]", kept.join(","))
    }
}

impl Api {
    /// A member's value with the caller's size in it, if it is a URL with a size, or an object whose `href` is one.
    fn resized(&self, value: &str, own_size: Option<&str>) -> String {
        let resized = |url: &RawValue| {
            let url = text(url)?;
            let (before, query, fragment) = query::parts(&url)?;
            let query = query::replaced(query, &self.size_parameter, own_size)?;
            let mark = if query.is_empty() { "" } else { "?" };
            Some(quoted(&format!("{before}{mark}{query}{fragment}")))
        };
        let parsed: Option<&RawValue> = serde_json::from_str(value).ok();
        let of_string = parsed.and_then(resized);
        let of_object = || {
            let object = Object::parse(value)?;
            let href = object.find(&self.href).ok()??;
            Some(object.edited(&[(self.href.clone(), Some(resized(href)?))]))
        };
        of_string
            .or_else(of_object)
            .unwrap_or_else(|| value.to_owned())
    }
}
