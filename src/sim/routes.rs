//! Which call a path is, and which limiter governs it.

use std::borrow::Cow;

use http::Method;
use serde::Serialize;

/// Which of the server's limiters governs a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub enum Class {
    /// The general burst window.
    General,
    /// Search of objects: a window of the account.
    Search,
    /// Associations in bulk and their schema: a window of their own.
    Associations,
    /// Outside all of this API's limits.
    Free,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    List,
    Create,
    Read(String),
    Update(String),
    Archive(String),
    Search,
    Batch(Batch),
    /// A batch read of the associations from one type of object to another.
    AssociationsRead((String, String)),
    /// Another associations call, answered with nothing.
    Associations,
    AccountDetails,
    DailyUsage,
    /// The simulator's own counters; not counted itself.
    Stats,
    /// An object type that the simulator does not keep.
    OtherType(String),
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    Read,
    Create,
    Update,
    Upsert,
    Archive,
}

/// Finds the call and its class.
pub(super) fn route(method: &Method, path: &str) -> (Class, Call) {
    let path = path.trim_matches('/');
    let mut parts = [""; 12];
    let mut count = 0;
    for part in path.split('/') {
        if count == parts.len() {
            return (Class::General, Call::Unknown);
        }
        parts[count] = part;
        count += 1;
    }
    let parts = &parts[..count];
    match parts {
        ["crm", "objects", v, object, tail @ ..] if is_version(v) => objects(method, object, tail),
        ["crm", v, "objects", object, tail @ ..] if is_version(v) => objects(method, object, tail),
        ["crm", "associations", v, from, to, "batch", "read"]
        | ["crm", v, "associations", from, to, "batch", "read"]
            if is_version(v) && method == Method::POST =>
        {
            let ends = (object_type(from), object_type(to));
            (Class::Associations, Call::AssociationsRead(ends))
        }
        ["crm", "associations", v, ..] if is_version(v) => associations(),
        ["crm", v, "associations", "usage", "high-usage-report", _] if is_version(v) => {
            associations()
        }
        ["crm", v, "associations", _, _, "batch", _, ..] if is_version(v) => associations(),
        ["crm", "v3", "associations", _, _, "types"] => associations(),
        ["oauth", _, "token"] | ["oauth", _, _, "token"] => (Class::Free, Call::Unknown),
        ["sim", "stats"] if method == Method::GET => (Class::Free, Call::Stats),
        ["account-info", v, "details"] if method == Method::GET && is_version(v) => {
            (Class::General, Call::AccountDetails)
        }
        ["account-info", v, "api-usage", "daily", "private-apps"]
            if method == Method::GET && is_version(v) =>
        {
            (Class::General, Call::DailyUsage)
        }
        _ => (Class::General, Call::Unknown),
    }
}

fn associations() -> (Class, Call) {
    (Class::Associations, Call::Associations)
}

fn objects(method: &Method, object: &str, tail: &[&str]) -> (Class, Call) {
    // The class is the same for every type of object; only contacts have contents.
    let class = match tail {
        ["search"] if method == Method::POST => Class::Search,
        _ => Class::General,
    };
    let batch = |kind| (method == Method::POST).then_some(Call::Batch(kind));
    let call = match tail {
        [] => match *method {
            Method::GET => Some(Call::List),
            Method::POST => Some(Call::Create),
            _ => None,
        },
        ["search"] if method == Method::POST => Some(Call::Search),
        ["batch", "read"] => batch(Batch::Read),
        ["batch", "create"] => batch(Batch::Create),
        ["batch", "update"] => batch(Batch::Update),
        ["batch", "upsert"] => batch(Batch::Upsert),
        ["batch", "archive"] => batch(Batch::Archive),
        [id] if !id.is_empty() => {
            let id = decode(id, false).into_owned();
            match *method {
                Method::GET => Some(Call::Read(id)),
                Method::PATCH => Some(Call::Update(id)),
                Method::DELETE => Some(Call::Archive(id)),
                _ => None,
            }
        }
        _ => None,
    };
    match call {
        Some(call) if object_type(object) == "0-1" => (class, call),
        Some(_) => (class, Call::OtherType(object.to_owned())),
        None => (class, Call::Unknown),
    }
}

/// One name for each type of object: the id of the usual ones, anything else in lower case.
pub(super) fn object_type(name: &str) -> String {
    let name = name.to_lowercase();
    match name.as_str() {
        "contact" | "contacts" => "0-1".to_owned(),
        "company" | "companies" => "0-2".to_owned(),
        "deal" | "deals" => "0-3".to_owned(),
        "ticket" | "tickets" => "0-5".to_owned(),
        _ => name,
    }
}

/// `v3`, `2026-03` or `2026-09-beta`.
fn is_version(part: &str) -> bool {
    if let Some(number) = part.strip_prefix('v') {
        return !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    }
    let date = part.strip_suffix("-beta").unwrap_or(part).as_bytes();
    date.len() == 7 && date[4] == b'-' && date[..4].iter().chain(&date[5..]).all(u8::is_ascii_digit)
}

/// Resolves percent signs and, in a query, plus signs.
pub(super) fn decode(text: &str, plus: bool) -> Cow<'_, str> {
    if !text
        .bytes()
        .any(|byte| byte == b'%' || (plus && byte == b'+'))
    {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).and_then(hex_pair);
        match (bytes[at], pair) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) if plus => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)
}

/// The part of a URI after the question mark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    pub(super) fn new(query: Option<&'a str>) -> Self {
        Self(query.unwrap_or(""))
    }

    fn pairs(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.0
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name, true), decode(value, true))
            })
    }

    pub(super) fn get(self, wanted: &str) -> Option<Cow<'a, str>> {
        self.pairs()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value)
    }

    /// A list that is given as `name=a,b` or as `name=a&name=b`.
    pub(super) fn list(self, wanted: &str) -> Vec<String> {
        let mut list = Vec::new();
        for (_, value) in self.pairs().filter(|(name, _)| name == wanted) {
            list.extend(
                value
                    .split(',')
                    .filter(|item| !item.is_empty())
                    .map(str::to_owned),
            );
        }
        list
    }

    pub(super) fn flag(self, wanted: &str) -> bool {
        self.get(wanted).is_some_and(|value| value == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_by_the_path_grammar() {
        use Class::{Associations, Free, General, Search};
        let table = [
            ("POST", "/crm/v3/objects/contacts/search", Search),
            ("POST", "/crm/objects/v3/contacts/search", Search),
            ("POST", "/crm/objects/2026-03/2-3604285/search", Search),
            ("POST", "/crm/objects/2026-09-beta/p123_car/search", Search),
            ("POST", "/crm/v3/lists/search", General),
            ("POST", "/crm/lists/2026-03/search", General),
            ("GET", "/crm/v3/objects/contacts/search", General),
            ("GET", "/files/v3/files/search", General),
            ("POST", "/crm/v3/objects/contacts/batch/read", General),
            (
                "GET",
                "/crm/v3/objects/contacts/1/associations/company",
                General,
            ),
            (
                "POST",
                "/crm/v3/associations/contacts/companies/batch/read",
                Associations,
            ),
            (
                "GET",
                "/crm/v3/associations/contacts/companies/types",
                Associations,
            ),
            (
                "POST",
                "/crm/v4/associations/a/b/batch/associate/default",
                Associations,
            ),
            (
                "POST",
                "/crm/v4/associations/usage/high-usage-report/7",
                Associations,
            ),
            ("GET", "/crm/v4/associations/a/b/labels", General),
            ("GET", "/crm/associations/2026-03/a/b/labels", Associations),
            (
                "GET",
                "/crm/limits/2026-03/associations/records/a/to",
                General,
            ),
            ("GET", "/crm/v3/limits/associations/records/a/to", General),
            (
                "POST",
                "/crm-object-schemas/v3/schemas/t/associations",
                General,
            ),
            (
                "POST",
                "/crm/objects/2026-03/deals/splits/batch/read",
                General,
            ),
            ("POST", "/crm/v3/properties/contacts/batch/read", General),
            ("POST", "/oauth/v1/token", Free),
            ("POST", "/oauth/2026-03/token", Free),
        ];
        for (method, path, class) in table {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(route(&method, path).0, class, "{method} {path}");
        }
    }

    #[test]
    fn contacts_by_any_name_and_version() {
        for path in [
            "/crm/v3/objects/contacts/a%40b.org",
            "/crm/objects/v3/contacts/a@b.org",
            "/crm/objects/2026-03/CONTACT/a%40b.org/",
            "/crm/v4/objects/0-1/a@b.org",
        ] {
            let read = Call::Read("a@b.org".to_owned());
            assert_eq!(route(&Method::GET, path), (Class::General, read), "{path}");
        }
    }

    #[test]
    fn queries() {
        let query = Query::new(Some(
            "idProperty=email&properties=a,b&properties=c&x=1%202+3%zz",
        ));
        assert_eq!(query.get("idProperty").unwrap(), "email");
        assert_eq!(query.list("properties"), ["a", "b", "c"]);
        assert_eq!(query.get("x").unwrap(), "1 2 3%zz");
        assert!(query.get("y").is_none());
    }
}
