//! A call for one record, understood.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;

use super::call::{Call, Options};
use super::names::{By, EMAIL, ID};
use super::sent::is_plain;
use crate::batch::{Input, Single};
use crate::hubspot::calls::is_json;
use crate::hubspot::routes::{Deed, One};
use crate::json::{Object, list, quoted};
use crate::percent::{decoded, parameters};
use crate::request::RequestHead;

/// More digits are no id.
const LONGEST_ID: usize = 20;

/// `None` for what a batch cannot say, or the server would refuse; it shall say so itself.
pub(super) fn understand(request: &RequestHead<'_>, body: &Bytes) -> Option<Single> {
    let one = One::of(request.method, request.uri.path())?;
    let query = Query::parse(request.uri.query().unwrap_or_default())?;
    let has_its_body = match one.deed {
        Deed::Create | Deed::Update => is_json(request),
        Deed::Read | Deed::Archive => body.is_empty(),
    };
    if !has_its_body {
        return None;
    }
    match one.deed {
        Deed::Read => read(&one, &query),
        Deed::Create => create(&one, &query, body),
        Deed::Update => update(&one, &query, body),
        Deed::Archive => archive(&one, &query),
    }
}

fn read(one: &One<'_>, query: &Query<'_>) -> Option<Single> {
    let (by, id) = named(one, query)?;
    let added = match by.property() {
        Some(property) => {
            let is_listed = |names: &[Cow<'_, str>]| {
                names.iter().any(|name| name.eq_ignore_ascii_case(property))
            };
            let is_listed_of_usual = query.properties.is_empty() && by == By::Email;
            let added = !is_listed_of_usual && !is_listed(&query.properties);
            // Without a list, one that is added would take the place of the usual ones. And whether a property is also shown
            // because its former values are is not known.
            if added && (query.properties.is_empty() || is_listed(&query.history)) {
                return None;
            }
            added
        }
        None => false,
    };
    let mut common = String::new();
    let properties = query.properties.iter().map(Cow::as_ref);
    names(
        &mut common,
        "properties",
        properties.chain(by.property().filter(|_| added)),
    );
    let history = query.history.iter().map(Cow::as_ref);
    names(&mut common, "propertiesWithHistory", history);
    if let Some(property) = by.property() {
        common.push_str("\"idProperty\":");
        quote(&mut common, property);
        common.push(',');
    }
    let options = Options {
        archived: query.archived,
        history: !query.history.is_empty(),
        added,
        ..Options::default()
    };
    Some(about(Call::new(one, by, options, &common), &id, None))
}

fn update(one: &One<'_>, query: &Query<'_>, body: &Bytes) -> Option<Single> {
    if !query.is_only_id_property() {
        return None;
    }
    let (by, id) = named(one, query)?;
    let object = Object::parse(std::str::from_utf8(body).ok()?)?;
    let properties = writable(&object)?;
    if object.iter().count() > 1 {
        return None;
    }
    let common = by.property().unwrap_or_default().to_owned();
    let call = Call::new(one, by, Options::default(), &common);
    Some(about(call, &id, Some(properties)))
}

fn create(one: &One<'_>, query: &Query<'_>, body: &Bytes) -> Option<Single> {
    if !query.is_empty() {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let object = Object::parse(text)?;
    writable(&object)?;
    let associations = object.get("associations").ok()?;
    if associations.is_some_and(|all| list(all).is_none()) {
        return None;
    }
    if object.iter().count() > 1 + usize::from(associations.is_some()) {
        return None;
    }
    let options = Options {
        associated: associations.is_some(),
        ..Options::default()
    };
    let common = if options.associated { "associated" } else { "" };
    let call = Call::new(one, By::Id, options, common);
    let data = body.slice_ref(text.trim().as_bytes());
    Some(Single::new(call, Input::new(data)))
}

fn archive(one: &One<'_>, query: &Query<'_>) -> Option<Single> {
    if !query.is_empty() {
        return None;
    }
    let (by, id) = named(one, query)?;
    Some(about(Call::new(one, by, Options::default(), ""), &id, None))
}

/// The input for the record with this id, with the properties to write.
fn about(call: Call, id: &str, properties: Option<&str>) -> Single {
    let mut data = String::with_capacity(id.len() + properties.map_or(0, str::len) + 64);
    data.push_str("{\"id\":");
    quote(&mut data, id);
    if let Some(properties) = properties {
        if let Some(property) = call.by.property() {
            data.push_str(",\"idProperty\":");
            quote(&mut data, property);
        }
        data.push_str(",\"properties\":");
        data.push_str(properties);
    }
    data.push('}');
    let record = call.by.name(id.into()).into_owned();
    Single::new(call, Input::new(data).record(record))
}

/// What the record is named by, and its name.
fn named<'a>(one: &One<'a>, query: &Query<'_>) -> Option<(By, Cow<'a, str>)> {
    let id = decoded(one.id, false)?;
    let property = query.id_property.as_deref().filter(|name| *name != ID);
    let Some(property) = property else {
        // No record has another one. Beside those there are paths that only look like records'.
        let is_number = !id.starts_with('0') && id.bytes().all(|byte| byte.is_ascii_digit());
        let is_id = is_number && (1..=LONGEST_ID).contains(&id.len());
        return is_id.then_some((By::Id, id));
    };
    // Servers take dots for a way up. And what one makes of space around a value is not known.
    let is_value = !id.is_empty() && id.trim().len() == id.len() && id != "." && id != "..";
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_property = !property.is_empty() && property.bytes().all(is_name);
    let by = match property {
        EMAIL if one.is_of_contacts() => By::Email,
        _ => By::Property(property.to_owned()),
    };
    (is_value && is_property).then_some((by, id))
}

/// The properties of a body, if they are such as can be written, each once.
fn writable<'a>(body: &Object<'a>) -> Option<&'a str> {
    let properties = body.get("properties").ok()??.get();
    let object = Object::parse(properties)?;
    let mut names = HashSet::new();
    let mut each = object.iter();
    let all = each.all(|(name, value)| names.insert(name) && is_plain(value));
    (all && !names.is_empty()).then_some(properties)
}

/// The parameters of a query that a batch can say, too.
#[derive(Debug, Default)]
struct Query<'a> {
    properties: Vec<Cow<'a, str>>,
    history: Vec<Cow<'a, str>>,
    id_property: Option<Cow<'a, str>>,
    archived: bool,
    /// Whether there is more than an id property.
    more: bool,
}

impl<'a> Query<'a> {
    /// `None` for a parameter or a value that a batch cannot say.
    fn parse(query: &'a str) -> Option<Self> {
        let mut parsed = Self::default();
        if query.is_empty() {
            return Some(parsed);
        }
        let mut archived = None;
        for (name, value) in parameters(query) {
            let value = decoded(value, true)?;
            match &*decoded(name, true)? {
                "properties" => add(&mut parsed.properties, value)?,
                "propertiesWithHistory" => add(&mut parsed.history, value)?,
                "idProperty" if parsed.id_property.is_none() => parsed.id_property = Some(value),
                "archived" if archived.is_none() => {
                    archived = Some(match &*value {
                        "true" => true,
                        "false" => false,
                        _ => return None,
                    });
                }
                _ => return None,
            }
        }
        let lists = parsed.properties.len() + parsed.history.len();
        parsed.more = archived.is_some() || lists > 0;
        parsed.archived = archived.unwrap_or(false);
        Some(parsed)
    }

    fn is_only_id_property(&self) -> bool {
        !self.more
    }

    fn is_empty(&self) -> bool {
        !self.more && self.id_property.is_none()
    }
}

/// Adds the names of a list. What a server makes of an empty name, or of space around one, is not known.
fn add<'a>(names: &mut Vec<Cow<'a, str>>, list: Cow<'a, str>) -> Option<()> {
    let first = names.len();
    match list {
        Cow::Borrowed(list) => names.extend(list.split(',').map(Cow::Borrowed)),
        Cow::Owned(list) => names.extend(list.split(',').map(|name| Cow::Owned(name.to_owned()))),
    }
    let is_name = |name: &Cow<'_, str>| !name.is_empty() && name.trim().len() == name.len();
    names[first..].iter().all(is_name).then_some(())
}

/// Adds a member that is a list of names, and a comma, unless there are none.
fn names<'a>(out: &mut String, member: &str, all: impl Iterator<Item = &'a str>) {
    let mut all = all.peekable();
    if all.peek().is_none() {
        return;
    }
    quote(out, member);
    let mut sign = ":[";
    for name in all {
        out.push_str(sign);
        quote(out, name);
        sign = ",";
    }
    out.push_str("],");
}

/// Adds a text as a JSON string. Most need no escapes.
fn quote(out: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    match text.bytes().all(is_plain) {
        true => out.extend(["\"", text, "\""]),
        false => out.push_str(&quoted(text)),
    }
}
