use http::Method;

use super::names;
use super::{DAILY_ONLY, EXEMPT, OAUTH};
use crate::percent;
use crate::plan::RouteClass;
use crate::request::{Effect, RequestHead, Routes};

/// HubSpot's path grammar: which limiter governs a request, and when it may be repeated.
///
/// Every style of version is understood (`v3`, `2026-03`, `2026-09-beta`), in both positions (`/crm/v3/objects/…`,
/// `/crm/objects/v3/…`), and any segment may be an object type. Empty segments, a trailing slash, a query and
/// percent-encoding do not matter, nor does case. What is not known is [`General`](RouteClass::General).
///
/// | class | requests |
/// |---|---|
/// | [`Search`](RouteClass::Search) | `POST …/objects/{type}/search` of CRM objects; not `lists/search`, not a `GET` |
/// | [`Associations`](RouteClass::Associations) | all of `/crm/associations/{version}/…`; batch calls, `types` and the high-usage report under `/crm/{version}/associations/…` |
/// | [`OAUTH`] | `/oauth/{version}/token…` |
/// | [`EXEMPT`] | event completions, transactional and single-send e-mail, the webhooks journal |
/// | [`DAILY_ONLY`] | CMS source code, automation flow writes, publishing marketing e-mail |
/// | [`General`](RouteClass::General) | all else, associations of a single record (`…/objects/{type}/{id}/associations/…`) and their labels included |
///
/// The effect follows the method ([`Effect::of_method`]) except that `search`, `lists/search` and every `batch/read` are
/// reads although they are POSTs, and that a `PATCH`, `batch/update`, `batch/upsert`, `batch/archive` and `gdpr-delete` leave
/// the same state when done twice. Creates, `merge`, new associations and unknown POSTs are never repeated blindly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubspotRoutes;

impl Routes for HubspotRoutes {
    fn class(&self, request: &RequestHead<'_>) -> RouteClass {
        let path = request.uri.path();
        // Most requests are of these, and every layer asks.
        if *request.method != Method::POST && path.starts_with("/crm/v3/objects/") {
            return RouteClass::General;
        }
        class(request.method, &Path::new(path))
    }

    fn effect(&self, request: &RequestHead<'_>) -> Effect {
        match *request.method {
            Method::POST => posted(&Path::new(request.uri.path())),
            // HubSpot's PATCH sets the named properties to the given values.
            Method::PATCH => {
                let path = Path::new(request.uri.path());
                match path.is(0, "crm") || path.is(0, "crm-object-schemas") {
                    true => Effect::IdempotentWrite,
                    false => Effect::Create,
                }
            }
            ref method => Effect::of_method(method),
        }
    }

    fn is_name(&self, segment: &str) -> bool {
        names::is_name(segment)
    }
}

fn class(method: &Method, path: &Path<'_>) -> RouteClass {
    let post = method == Method::POST;
    if path.is(0, "crm") {
        return crm(post, path);
    }
    if path.is(0, "oauth") {
        return match path.version(1) && path.is(2, "token") {
            true => OAUTH,
            false => RouteClass::General,
        };
    }
    if path.is(0, "webhooks-journal") {
        return EXEMPT;
    }
    if path.is(0, "events") && post && (path.ends(&["send"]) || path.ends(&["send", "batch"])) {
        return EXEMPT;
    }
    if path.is(0, "marketing") && post {
        if path.ends(&["single-send"]) || path.ends(&["single-email", "send"]) {
            return EXEMPT;
        }
        let emails = path.head("emails").is_some();
        if emails && (path.ends(&["publish"]) || path.ends(&["unpublish"])) {
            return DAILY_ONLY;
        }
    }
    if path.is(0, "cms") {
        // `{environment}/content/{path}`, likewise metadata and validate; extracting an archive is not exempt.
        let file = |at| {
            ["content", "metadata", "validate"]
                .iter()
                .any(|name| path.is(at, name))
        };
        if path.head("source-code").is_some_and(|tail| file(tail + 1)) {
            return DAILY_ONLY;
        }
    }
    if path.is(0, "automation") && flow_write(method, path) {
        return DAILY_ONLY;
    }
    RouteClass::General
}

fn crm(post: bool, path: &Path<'_>) -> RouteClass {
    if let Some(object) = path.head("objects") {
        let search = post && path.len == object + 2 && path.is(object + 1, "search");
        return match search {
            true => RouteClass::Search,
            false => RouteClass::General,
        };
    }
    // The dated spelling is exempt as a whole, the older one only in parts.
    if path.is(1, "associations") && path.version(2) {
        return RouteClass::Associations;
    }
    if path.version(1) && path.is(2, "associations") {
        let report = path.is(3, "usage") && path.is(4, "high-usage-report");
        if report || path.is(5, "batch") || path.is(5, "types") {
            return RouteClass::Associations;
        }
    }
    RouteClass::General
}

/// The marks of the published specification are on creating and updating a flow, in `/automation/v4/flows` and
/// `/automation/v4/{version}/flows`; reads of flows carry none and count as ordinary requests.
fn flow_write(method: &Method, path: &Path<'_>) -> bool {
    let flows = match path.version(2) {
        true => 3,
        false => 2,
    };
    let after = path.len.saturating_sub(flows + 1);
    path.version(1)
        && path.is(flows, "flows")
        && (method == Method::POST && after == 0 || method == Method::PUT && after == 1)
}

fn posted(path: &Path<'_>) -> Effect {
    let batch = |last| path.ends(&["batch", last]);
    if batch("read") || class(&Method::POST, path) == RouteClass::Search {
        return Effect::Read;
    }
    if path.is(0, "crm")
        && path
            .head("lists")
            .is_some_and(|list| path.is(list, "search"))
    {
        return Effect::Read;
    }
    let settles = ["update", "upsert", "archive", "purge", "delete"];
    let labels = path.ends(&["batch", "labels", "archive"]);
    if settles.into_iter().any(batch) || labels || path.ends(&["gdpr-delete"]) {
        return Effect::IdempotentWrite;
    }
    Effect::Create
}

/// The reads that ask for many records at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Many {
    /// A search for objects.
    Search,
    /// A batch read of objects.
    Objects,
    /// A batch read of associations.
    Associations,
}

impl Many {
    /// What a `POST` to this path is. Other paths end with another letter, mostly, and are told by that.
    pub(super) fn of(path: &str) -> Option<Self> {
        let end = path.trim_end_matches('/').as_bytes();
        match end {
            // `search`, `read`, or the last letter is written as `%` and two digits.
            [.., b'h' | b'H' | b'd' | b'D'] | [.., b'%', _, _] => Self::among(&Path::new(path)),
            _ => None,
        }
    }

    fn among(path: &Path<'_>) -> Option<Self> {
        if !path.is(0, "crm") {
            return None;
        }
        if crm(true, path) == RouteClass::Search {
            return Some(Self::Search);
        }
        let batch = path.ends(&["batch", "read"]);
        if batch
            && path
                .head("objects")
                .is_some_and(|object| path.len == object + 3)
        {
            return Some(Self::Objects);
        }
        let from = path.head("associations").filter(|_| batch);
        from.filter(|from| path.len == from + 4)
            .map(|_| Self::Associations)
    }
}

/// A call for one record of CRM objects that has a batch form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct One<'a> {
    pub(super) deed: Deed,
    /// The path up to the object type, as it is written.
    pub(super) objects: &'a str,
    /// The id as it is written; empty for a create.
    pub(super) id: &'a str,
}

/// What is done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Read,
    Create,
    Update,
    Archive,
}

impl<'a> One<'a> {
    /// What a request to this path is.
    pub(super) fn of(method: &Method, path: &'a str) -> Option<Self> {
        /// They stand where ids do.
        const NO_IDS: [&str; 4] = ["search", "batch", "merge", "gdpr-delete"];
        let deed = match *method {
            Method::GET => Deed::Read,
            Method::POST => Deed::Create,
            Method::PATCH => Deed::Update,
            Method::DELETE => Deed::Archive,
            _ => return None,
        };
        let segments = Path::new(path);
        let object = segments.head("objects").filter(|_| segments.is(0, "crm"))?;
        let path = path.trim_end_matches('/');
        if deed == Deed::Create {
            let objects = path;
            return (segments.len == object + 1).then_some(Self {
                deed,
                objects,
                id: "",
            });
        }
        let is_id = |at| !NO_IDS.iter().any(|name| segments.is(at, name));
        if segments.len != object + 2 || !is_id(object + 1) {
            return None;
        }
        let (objects, id) = path.rsplit_once('/')?;
        let objects = objects.trim_end_matches('/');
        Some(Self { deed, objects, id })
    }

    /// Whether the object type is that of contacts.
    pub(super) fn is_of_contacts(&self) -> bool {
        let (_, object) = self.objects.rsplit_once('/').unwrap_or_default();
        let names = ["contacts", "contact", "0-1"];
        names.iter().any(|name| same(object.as_bytes(), name))
    }
}

/// The first segments of a path and its last ones, without the empty ones.
struct Path<'a> {
    first: [&'a [u8]; Path::FIRST],
    last: [&'a [u8]; Path::LAST],
    len: usize,
}

impl<'a> Path<'a> {
    const FIRST: usize = 8;
    const LAST: usize = 3;

    fn new(path: &'a str) -> Self {
        let mut first: [&[u8]; Path::FIRST] = Default::default();
        let mut last: [&[u8]; Path::LAST] = Default::default();
        let mut len = 0;
        // Bytes, because that is faster than characters on segments as short as these.
        let segments = path.as_bytes().split(|byte| *byte == b'/');
        for segment in segments.filter(|segment| !segment.is_empty()) {
            if let Some(place) = first.get_mut(len) {
                *place = segment;
            }
            last.rotate_left(1);
            last[Self::LAST - 1] = segment;
            len += 1;
        }
        Self { first, last, len }
    }

    /// Whether the segment at `position` is `name`.
    fn is(&self, position: usize, name: &str) -> bool {
        self.first
            .get(position)
            .is_some_and(|segment| same(segment, name))
    }

    /// Whether the path ends with `names`, at most three.
    fn ends(&self, names: &[&str]) -> bool {
        let last = self.last.iter().rev();
        self.len >= names.len()
            && names
                .iter()
                .rev()
                .zip(last)
                .all(|(name, segment)| same(segment, name))
    }

    /// Whether the segment at `position` is a version: `v` and digits, or a year and month, perhaps with `-beta`.
    fn version(&self, position: usize) -> bool {
        let Some(segment) = self.first.get(position) else {
            return false;
        };
        match *segment {
            [b'v' | b'V', digits @ ..] if !digits.is_empty() => {
                digits.iter().all(u8::is_ascii_digit)
            }
            [y1, y2, y3, y4, b'-', m1, m2, beta @ ..] => {
                let digits = [y1, y2, y3, y4, m1, m2];
                digits.into_iter().all(u8::is_ascii_digit)
                    && (beta.is_empty() || beta.eq_ignore_ascii_case(b"-beta"))
            }
            _ => false,
        }
    }

    /// Where the path goes on after `/x/{version}/{name}` or `/x/{name}/{version}`, if it begins so.
    fn head(&self, name: &str) -> Option<usize> {
        let found = self.version(1) && self.is(2, name) || self.is(1, name) && self.version(2);
        found.then_some(3)
    }
}

/// Whether a segment is `name` after percent-decoding, whatever the case.
fn same(segment: &[u8], name: &str) -> bool {
    percent::is(segment, name, u8::eq_ignore_ascii_case)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(method: &Method, path: &str) -> Option<(Deed, String, String)> {
        let one = One::of(method, path)?;
        Some((one.deed, one.objects.to_owned(), one.id.to_owned()))
    }

    #[test]
    fn a_call_for_one_record_is_told_by_method_and_path() {
        for (path, objects) in [
            ("/crm/v3/objects/contacts", "/crm/v3/objects/contacts"),
            ("/crm/objects/2026-03/0-1", "/crm/objects/2026-03/0-1"),
            ("/crm/objects/v3/p1_car", "/crm/objects/v3/p1_car"),
            ("//CRM/v4//Objects/2-36", "//CRM/v4//Objects/2-36"),
            (
                "/crm/2026-09-beta/objects/x%2Fy",
                "/crm/2026-09-beta/objects/x%2Fy",
            ),
        ] {
            let expected = |deed, id: &str| Some((deed, objects.to_owned(), id.to_owned()));
            for end in ["", "/", "//"] {
                let path = format!("{path}{end}");
                assert_eq!(one(&Method::POST, &path), expected(Deed::Create, ""));
                assert_eq!(one(&Method::GET, &path), None, "{path}");
                assert_eq!(one(&Method::DELETE, &path), None, "{path}");
            }
            for (method, deed) in [
                (Method::GET, Deed::Read),
                (Method::PATCH, Deed::Update),
                (Method::DELETE, Deed::Archive),
            ] {
                for (tail, id) in [("/12", "12"), ("//a%40b.c/", "a%40b.c")] {
                    let path = format!("{path}{tail}");
                    assert_eq!(one(&method, &path), expected(deed, id), "{path}");
                }
            }
            assert_eq!(one(&Method::POST, &format!("{path}/12")), None);
            assert_eq!(one(&Method::PUT, &format!("{path}/12")), None);
        }
    }

    #[test]
    fn other_calls_are_for_no_single_record() {
        for path in [
            "/crm/v3/objects/contacts/search",
            "/crm/v3/objects/contacts/SEARCH",
            "/crm/v3/objects/contacts/batch",
            "/crm/v3/objects/contacts/b%61tch",
            "/crm/v3/objects/contacts/merge",
            "/crm/v3/objects/contacts/gdpr-delete",
            "/crm/v3/objects/contacts/batch/read",
            "/crm/v3/objects/contacts/1/associations",
            "/crm/v3/objects/contacts/1/associations/companies/2",
            "/crm/objects/contacts/1",
            "/crm/v3/lists/1/2",
            "/crm/v3/owners/1",
            "/crm/v3/properties/contacts/email",
            "/automation/v3/objects/contacts/1",
            "/crm/objects",
            "/",
            "",
        ] {
            for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
                assert_eq!(one(&method, path), None, "{method} {path}");
            }
        }
    }

    #[test]
    fn contacts_are_told_by_each_of_their_names() {
        for (path, expected) in [
            ("/crm/v3/objects/contacts", true),
            ("/crm/objects/v3/CONTACT", true),
            ("/crm/objects/2026-03/0-1", true),
            ("/crm/v3/objects/0-2", false),
            ("/crm/v3/objects/mycontacts", false),
        ] {
            let one = One::of(&Method::POST, path).unwrap();
            assert_eq!(one.is_of_contacts(), expected, "{path}");
        }
    }
}
