//! A search as the caller asked it, and the ways to ask it in pages.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;

use super::Settings;
use super::hints::Filters;
use crate::hubspot::calls::label;
use crate::hubspot::json::{Members, array, compact, count};
use crate::json::{Object, list, quoted, text};
use crate::request::RequestHead;
use crate::trim::Shape;

/// "default 10, max 200", and no query shows more than 10,000 results.
const DEFAULT_LIMIT: u64 = 10;
pub(super) const MOST_PER_PAGE: usize = 200;
const CAP: u64 = 10_000;
/// "If the body of your request exceeds 3,000 characters, a 400 error will be returned."
const LONGEST: usize = 3_000;
/// What a page adds to the body at most: a limit, an offset, and one property where there was a shorter one.
const ADDED: usize = 64;
/// The property that every record has.
const ID: &str = "hs_object_id";

/// Counts the length of a body.
type Length = fn(&[u8]) -> usize;

#[derive(Debug)]
pub(super) struct Search {
    pub(super) settings: Arc<Settings>,
    /// All but `limit` and `after`.
    members: Members,
    /// Empty where the caller leaves it to the server.
    pub(super) properties: Vec<String>,
    pub(super) limit: usize,
    pub(super) after: usize,
    filters: Filters,
    route: String,
    /// Where records are read by their ids.
    pub(super) read: Option<PathAndQuery>,
    /// The strictest way to count the length of a body by which the caller's is just as short as the server wants it: that of a page
    /// may be too long. `None` when there is room, and when the caller's is too long in any case.
    tight: Option<Length>,
}

/// A way to ask in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// For all that the caller asked for.
    Whole,
    /// For ids alone; the properties are read afterwards.
    Ids,
    /// For the properties that are to be kept when nothing else works.
    Kept,
}

impl Search {
    /// `None` for what the server would refuse, which it shall say itself.
    pub(super) fn understand(
        head: &RequestHead<'_>,
        body: &Bytes,
        settings: &Arc<Settings>,
    ) -> Option<Self> {
        let written = std::str::from_utf8(body).ok()?;
        let object = Object::parse(written)?;
        let limit = object.value("limit").ok()?;
        let limit = limit.map_or(Some(DEFAULT_LIMIT), count)?;
        let after = object.value("after").ok()?;
        let after = after.filter(|after| after.get() != "\"\"");
        let after = after.map_or(Some(0), count)?;
        let is_in_range =
            (1..=MOST_PER_PAGE as u64).contains(&limit) && after.saturating_add(limit) <= CAP;
        if !is_in_range {
            return None;
        }
        let properties = match object.value("properties").ok()? {
            None => Vec::new(),
            Some(names) => {
                let names = list(names)?.into_iter().map(text);
                let names = names.map(|name| name.map(Cow::into_owned));
                names.collect::<Option<Vec<_>>>()?
            }
        };
        let mut members = object.members(body);
        members.remove("limit");
        members.remove("after");
        let search = Self {
            settings: settings.clone(),
            members,
            properties,
            limit: usize::try_from(limit).ok()?,
            after: usize::try_from(after).ok()?,
            filters: Filters::of(&object),
            route: label(head.uri.path()),
            read: read(head.uri),
            tight: tight(body),
        };
        (search.fits(Way::Whole) || search.instead(Way::Whole).is_some()).then_some(search)
    }

    /// The body that asks for the records of `span`, counted from where the caller begins.
    pub(super) fn page(&self, way: Way, span: Range<usize>) -> Bytes {
        self.body(way, span.len(), self.after + span.start)
    }

    fn body(&self, way: Way, limit: usize, after: usize) -> Bytes {
        let mut members = self.members.clone();
        match way {
            Way::Whole => {}
            Way::Ids => members.set("properties", array([quoted(ID)])),
            Way::Kept => members.set("properties", array(self.kept().into_iter().map(quoted))),
        }
        members.set("limit", limit.to_string());
        if after > 0 {
            members.set("after", quoted(&after.to_string()));
        }
        let body = members.write();
        match self.is_long(&body) {
            true => compact(&body).into(),
            false => body.into(),
        }
    }

    /// Whether the server takes the bodies of all pages, if it takes the caller's.
    fn fits(&self, way: Way) -> bool {
        !self.is_long(&self.body(way, self.limit, CAP as usize))
    }

    /// Whether the server may find the body of a page too long although the caller's was not.
    fn is_long(&self, body: &[u8]) -> bool {
        self.tight.is_some_and(|length| length(body) > LONGEST)
    }

    /// Another way to ask the same.
    pub(super) fn instead(&self, way: Way) -> Option<Way> {
        // Ids alone are no less than a search that asks for nothing else.
        let has_some = !self.properties.iter().all(|name| is_id(name));
        let ids = || way == Way::Whole && self.read.is_some() && self.fits(Way::Ids);
        let kept = || way != Way::Kept && !self.settings.keep.is_empty() && self.drops();
        match has_some {
            true if ids() => Some(Way::Ids),
            true if kept() && self.fits(Way::Kept) => Some(Way::Kept),
            _ => None,
        }
    }

    /// The fewest records a page asks for before it is asked otherwise.
    pub(super) fn floor(&self, way: Way) -> usize {
        if way != Way::Whole {
            return 1;
        }
        match self.instead(way) {
            _ if !self.fits(way) => self.limit,
            Some(Way::Ids) if self.properties.len() >= self.settings.many_properties => self.limit,
            Some(Way::Ids) => self.settings.floor.min(self.limit),
            _ => 1,
        }
    }

    /// Ids are always there.
    fn is_kept(&self, name: &String) -> bool {
        is_id(name) || self.settings.keep.contains(name)
    }

    fn drops(&self) -> bool {
        !self.properties.iter().all(|name| self.is_kept(name))
    }

    /// With an empty list the server would show what it usually shows.
    fn kept(&self) -> Vec<&str> {
        let kept = self.properties.iter().filter(|name| self.is_kept(name));
        let kept: Vec<_> = kept.map(String::as_str).collect();
        if kept.is_empty() { vec![ID] } else { kept }
    }

    /// The properties that this way leaves out, each once.
    pub(super) fn dropped(&self, way: Way) -> Vec<String> {
        let mut dropped: Vec<String> = Vec::new();
        for name in &self.properties {
            if way == Way::Kept && !self.is_kept(name) && !dropped.contains(name) {
                dropped.push(name.clone());
            }
        }
        dropped
    }

    /// Whether no search shows what comes after so many records.
    pub(super) fn is_last(&self, upto: usize) -> bool {
        (self.after + upto) as u64 >= CAP
    }

    pub(super) fn shape(&self, way: Way) -> Shape {
        let (name, properties) = match way {
            Way::Whole => ("pages", self.properties.len()),
            Way::Ids => ("ids", 1),
            Way::Kept => ("kept", self.kept().len()),
        };
        Shape::new(self.route.clone(), self.filters.shape(name, properties))
    }

    pub(super) fn hints(&self) -> Vec<String> {
        self.filters.hints(self.properties.len())
    }

    /// The body that reads records with the caller's properties, without the inputs.
    pub(super) fn reading(&self) -> Members {
        let mut members = Members::default();
        if let Some(properties) = self.members.get("properties") {
            members.set("properties", properties.clone());
        }
        members
    }
}

/// The server does not mind the case of names.
fn is_id(property: &str) -> bool {
    property.eq_ignore_ascii_case(ID)
}

/// Whether bytes or characters are meant is not known.
fn tight(body: &[u8]) -> Option<Length> {
    let characters: Length = |body| String::from_utf8_lossy(body).chars().count();
    let lengths: [Length; 2] = [<[u8]>::len, characters];
    let fits = |length: &Length| length(body) <= LONGEST;
    let has_room = body.len() + ADDED <= LONGEST;
    lengths.into_iter().find(fits).filter(|_| !has_room)
}

/// Where the records of a search are read by ids: `batch/read` beside `search`, with the same query.
fn read(search: &Uri) -> Option<PathAndQuery> {
    let (parent, _) = search.path().trim_end_matches('/').rsplit_once('/')?;
    let target = match search.query() {
        Some(query) => format!("{parent}/batch/read?{query}"),
        None => format!("{parent}/batch/read"),
    };
    target.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn search(body: &str) -> Option<Search> {
        search_with(body, Settings::default())
    }

    fn search_with(body: &str, settings: Settings) -> Option<Search> {
        let request = Request::post("https://api.hubapi.com/crm/v3/objects/contacts/search?a=b");
        let request = request.body(()).unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        Search::understand(&RequestHead::from(&request), &body, &Arc::new(settings))
    }

    fn page(body: &str, way: Way, span: Range<usize>) -> String {
        let page = search(body).unwrap().page(way, span);
        String::from_utf8(page.to_vec()).unwrap()
    }

    #[test]
    fn limit_and_after_in_every_spelling() {
        for (body, expected) in [
            ("{}", Some((10, 0))),
            (r#"{"limit":"100","after":"200"}"#, Some((100, 200))),
            (r#"{"limit":200,"after":9800}"#, Some((200, 9_800))),
            (
                r#"{"limit":null,"after":null,"properties":null}"#,
                Some((10, 0)),
            ),
            (r#"{"after":""}"#, Some((10, 0))),
            (r#"{"limit":1e1}"#, Some((10, 0))),
            (r#"{"limit":0}"#, None),
            (r#"{"limit":201}"#, None),
            (r#"{"limit":-1}"#, None),
            (r#"{"limit":"many"}"#, None),
            (r#"{"limit":1,"limit":2}"#, None),
            (r#"{"limit":200,"after":9801}"#, None),
            (r#"{"after":18446744073709551615}"#, None),
            (r#"{"after":"abc"}"#, None),
            (r#"{"properties":"email"}"#, None),
            (r#"{"properties":[1]}"#, None),
            ("[]", None),
            ("", None),
            ("{} {}", None),
        ] {
            let search = search(body);
            let got = search.map(|search| (search.limit, search.after));
            assert_eq!(got, expected, "{body}");
        }
    }

    #[test]
    fn a_page_says_all_else_as_the_caller_did() {
        let body = r#"{ "query":"x  y", "limit":"100", "n":1.50e400, "after":"7", "properties":["a", "b"] }"#;
        let whole = r#"{"query":"x  y","n":1.50e400,"properties":["a", "b"],"limit":"#;
        assert_eq!(
            page(body, Way::Whole, 0..100),
            format!(r#"{whole}100,"after":"7"}}"#)
        );
        assert_eq!(
            page(body, Way::Whole, 50..75),
            format!(r#"{whole}25,"after":"57"}}"#)
        );
        let ids = r#"{"query":"x  y","n":1.50e400,"properties":["hs_object_id"],"limit":1,"after":"106"}"#;
        assert_eq!(page(body, Way::Ids, 99..100), ids);
        assert_eq!(page("{}", Way::Whole, 0..5), r#"{"limit":5}"#);
    }

    #[test]
    fn records_are_read_beside_the_search() {
        for (path, expected) in [
            (
                "/crm/v3/objects/contacts/search",
                "/crm/v3/objects/contacts/batch/read",
            ),
            (
                "/crm/objects/2026-03/0-1/search/?x=/y",
                "/crm/objects/2026-03/0-1/batch/read?x=/y",
            ),
            (
                "https://api.hubapi.com/crm/v3/objects/a%2Fb/%73earch",
                "/crm/v3/objects/a%2Fb/batch/read",
            ),
        ] {
            let target = read(&path.parse().unwrap()).unwrap();
            assert_eq!(target.as_str(), expected);
        }
    }

    #[test]
    fn a_way_is_tried_after_the_other() {
        let keeps = |names: &[&str]| Settings {
            keep: names.iter().map(|&name| name.to_owned()).collect(),
            ..Settings::default()
        };
        let some = r#"{"limit":100,"properties":["a","b","b"]}"#;
        let ways = |search: &Search| {
            (
                search.floor(Way::Whole),
                search.instead(Way::Whole),
                search.instead(Way::Ids),
            )
        };
        let plain = search(some).unwrap();
        assert_eq!(ways(&plain), (10, Some(Way::Ids), None));
        let lossy = search_with(some, keeps(&["a", "z"])).unwrap();
        assert_eq!(ways(&lossy), (10, Some(Way::Ids), Some(Way::Kept)));
        assert_eq!(lossy.dropped(Way::Kept), ["b"]);
        assert!(lossy.dropped(Way::Whole).is_empty());
        assert_eq!(lossy.instead(Way::Kept), None);
        let none_dropped = search_with(some, keeps(&["b", "a"])).unwrap();
        assert_eq!(none_dropped.instead(Way::Ids), None);
        let none_kept = search_with(some, keeps(&["z"])).unwrap();
        assert!(
            none_kept
                .page(Way::Kept, 0..1)
                .starts_with(br#"{"properties":["hs_object_id"]"#)
        );
        let usual = search_with(r#"{"limit":100,"properties":[]}"#, keeps(&["a"])).unwrap();
        assert_eq!(ways(&usual), (1, None, None));
        let ids = r#"{"limit":100,"properties":["HS_OBJECT_ID","hs_object_id"]}"#;
        let ids = search_with(ids, keeps(&["a"])).unwrap();
        assert_eq!(ways(&ids), (1, None, None));
        let with_id = search_with(r#"{"properties":["hs_object_id","a"]}"#, keeps(&["z"])).unwrap();
        assert_eq!(with_id.dropped(Way::Kept), ["a"]);
        let many: Vec<_> = (0..50).map(|nth| format!("\"p{nth}\"")).collect();
        let many = search(&format!(
            r#"{{"limit":100,"properties":[{}]}}"#,
            many.join(",")
        ))
        .unwrap();
        assert_eq!(many.floor(Way::Whole), 100);
        assert_eq!(many.floor(Way::Ids), 1);
        assert_eq!(
            search(r#"{"limit":3,"properties":["a"]}"#)
                .unwrap()
                .floor(Way::Whole),
            3
        );
    }

    /// A body of `length` characters.
    fn long(head: &str, length: usize) -> String {
        let fill = length - head.chars().count() - r#"{,"q":""}"#.len();
        format!(r#"{{{head},"q":"{}"}}"#, "ü".repeat(fill))
    }

    #[test]
    fn no_page_is_too_long_where_the_whole_was_not() {
        let characters = |body: &[u8]| std::str::from_utf8(body).unwrap().chars().count();
        // White space makes room.
        let airy = long(
            r#""filters" : [ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 ], "limit" : 200"#,
            LONGEST,
        );
        let airy = search(&airy).unwrap();
        assert!(characters(&airy.page(Way::Whole, 199..200)) <= LONGEST);
        // Without room, ids are searched at once; a list of properties is longer than their name.
        let tight = search(&long(
            r#""properties":["a_name_that_is_rather_long","b"],"limit":200"#,
            LONGEST,
        ));
        let tight = tight.unwrap();
        assert_eq!(
            (tight.floor(Way::Whole), tight.instead(Way::Whole)),
            (200, Some(Way::Ids))
        );
        assert!(characters(&tight.page(Way::Ids, 199..200)) <= LONGEST);
        assert!(search(&long(r#""limit":200"#, LONGEST)).is_none());
        // Neither in characters nor, where the whole was not, in bytes.
        let in_bytes = |spaces: usize, letters: usize| {
            let (spaces, letters) = (" ".repeat(spaces), "ü".repeat(letters));
            let body = format!(r#"{{"a":[{spaces}],"q":"{letters}","limit":200}}"#);
            assert_eq!(body.len(), LONGEST);
            search(&body)
        };
        let airy = in_bytes(31, 1_471).unwrap();
        assert!(airy.page(Way::Whole, 199..200).len() <= LONGEST);
        assert!(in_bytes(3, 1_485).is_none());
        // The server takes it, or it does not; the pages are not to blame.
        assert!(search(&long(r#""limit":200"#, LONGEST + 1)).is_some());
    }
}
