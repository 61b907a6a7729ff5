//! The contacts of one account, in memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::answer::Problem;
use super::day::iso;

/// What contacts may have from the start.
const USUAL: &[&str] = &[
    "email",
    "firstname",
    "lastname",
    "phone",
    "mobilephone",
    "fax",
    "company",
    "jobtitle",
    "industry",
    "website",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "salutation",
    "date_of_birth",
    "gender",
    "message",
    "numemployees",
    "annualrevenue",
    "lifecyclestage",
    "hs_lead_status",
    "hs_language",
    "hs_timezone",
    MORE_EMAILS,
    "hubspot_owner_id",
];

/// What the server sets itself.
const READ_ONLY: &[&str] = &["hs_object_id", "createdate", "lastmodifieddate"];

/// What the server sets of a contact into which others were merged: their ids and their e-mails. Callers may write the second.
const MERGED_IDS: &str = "hs_merged_object_ids";
const MORE_EMAILS: &str = "hs_additional_emails";

/// What a read shows if no properties are asked for.
const SHOWN: &[&str] = &[
    "createdate",
    "email",
    "firstname",
    "hs_object_id",
    "lastmodifieddate",
    "lastname",
];

/// The names of all properties.
#[derive(Debug)]
pub(super) struct Properties(HashSet<String>);

impl Properties {
    pub(super) fn new(more: Vec<String>) -> Self {
        let usual = USUAL.iter().chain(READ_ONLY).chain([&MERGED_IDS]);
        Self(usual.map(|&name| name.to_owned()).chain(more).collect())
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// Values by property; never an empty value.
pub(super) type Values = BTreeMap<String, String>;

#[derive(Clone, Debug)]
pub(super) struct Contact {
    pub(super) id: u64,
    values: Values,
    created: SystemTime,
    updated: SystemTime,
    archived: Option<SystemTime>,
    /// The ids of those that were merged into it, and their e-mails, by which it is found.
    merged_ids: Vec<u64>,
    merged_emails: Vec<String>,
}

impl Contact {
    /// The value of any property, those of the server included.
    pub(super) fn value(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "hs_object_id" => Some(self.id.to_string().into()),
            "createdate" => Some(iso(self.created).into()),
            "lastmodifieddate" => Some(iso(self.updated).into()),
            _ => self.values.get(name).map(|value| value.as_str().into()),
        }
    }

    pub(super) fn email(&self) -> Option<&str> {
        self.values.get("email").map(String::as_str)
    }
}

/// Which properties of a contact are shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// Empty for the usual ones.
    pub(super) properties: Vec<String>,
    pub(super) history: Vec<String>,
    /// All that have a value, as answers to writes do.
    pub(super) all: bool,
}

impl View {
    pub(super) const fn all() -> Self {
        Self {
            properties: Vec::new(),
            history: Vec::new(),
            all: true,
        }
    }

    /// As the API shows it. Unknown properties are left out, known ones without a value are null.
    pub(super) fn show(&self, contact: &Contact, known: &Properties) -> Value {
        let mut shown = Map::new();
        let mut show = |name: &str| {
            if known.contains(name) {
                shown.insert(name.to_owned(), json!(contact.value(name)));
            }
        };
        if self.all {
            contact.values.keys().for_each(|name| show(name));
            READ_ONLY.iter().for_each(|name| show(name));
        } else if self.properties.is_empty() {
            SHOWN.iter().for_each(|name| show(name));
        } else {
            READ_ONLY.iter().for_each(|name| show(name));
            self.properties.iter().for_each(|name| show(name));
        }
        let mut whole = Map::new();
        whole.insert("id".to_owned(), contact.id.to_string().into());
        whole.insert("properties".to_owned(), shown.into());
        whole.insert("createdAt".to_owned(), iso(contact.created).into());
        whole.insert("updatedAt".to_owned(), iso(contact.updated).into());
        whole.insert("archived".to_owned(), contact.archived.is_some().into());
        if let Some(archived) = contact.archived {
            whole.insert("archivedAt".to_owned(), iso(archived).into());
        }
        if !self.history.is_empty() {
            // Only the last version of a value is kept.
            let versions = self.history.iter().filter_map(|name| {
                let value = contact.value(name)?;
                let version = json!({
                    "value": value,
                    "timestamp": iso(contact.updated),
                    "sourceType": "INTEGRATION",
                });
                Some((name.clone(), json!([version])))
            });
            whole.insert(
                "propertiesWithHistory".to_owned(),
                Value::Object(versions.collect()),
            );
        }
        Value::Object(whole)
    }
}

#[derive(Debug)]
pub(super) struct Contacts {
    pub(super) account: u64,
    live: BTreeMap<u64, Contact>,
    archived: BTreeMap<u64, Contact>,
    by_email: HashMap<String, u64>,
    /// Into which contact those are merged that are no more.
    merged: HashMap<u64, u64>,
    next_id: u64,
}

impl Contacts {
    pub(super) fn new(account: u64) -> Self {
        Self {
            account,
            live: BTreeMap::new(),
            archived: BTreeMap::new(),
            by_email: HashMap::new(),
            merged: HashMap::new(),
            next_id: 101,
        }
    }

    /// The values of a write, checked one by one; the first one that is wrong is named.
    pub(super) fn check(
        &self,
        properties: &Map<String, Value>,
        known: &Properties,
    ) -> Result<Values, Problem> {
        let mut values = Values::new();
        for (name, value) in properties {
            let wrong = |code, message| Err(Problem::property(code, name, message, self.account));
            if !known.contains(name) {
                let message = format!("Property \"{name}\" does not exist");
                return wrong("PROPERTY_DOESNT_EXIST", message);
            }
            if READ_ONLY.contains(&name.as_str()) || name == MERGED_IDS {
                let message =
                    format!("\"{name}\" is a read only property; its value cannot be set.");
                return wrong("READ_ONLY_VALUE", message);
            }
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    return wrong("INVALID_VALUE", format!("{name} was not a valid value"));
                }
            };
            let text = if name == "email" {
                text.trim().to_lowercase()
            } else {
                text
            };
            if name == "email" && !text.is_empty() && !is_email(&text) {
                return wrong("INVALID_EMAIL", format!("Email address {text} is invalid"));
            }
            values.insert(name.clone(), text);
        }
        Ok(values)
    }

    /// Finds a record by its id or by a unique property; `Ok(None)` if there is none. The id of one that was merged finds the one
    /// into which it was merged.
    pub(super) fn find(
        &self,
        key: &str,
        id_property: Option<&str>,
    ) -> Result<Option<u64>, Problem> {
        if let (None | Some("hs_object_id"), Ok(id)) = (id_property, key.parse()) {
            if let Some(primary) = self.merged.get(&id) {
                return Ok(Some(*primary).filter(|id| self.live.contains_key(id)));
            }
        }
        self.find_unmerged(key, id_property)
    }

    /// The same, but the id of one that was merged finds nothing.
    pub(super) fn find_unmerged(
        &self,
        key: &str,
        id_property: Option<&str>,
    ) -> Result<Option<u64>, Problem> {
        match id_property {
            None | Some("hs_object_id") => {
                let id = key.parse().ok();
                Ok(id.filter(|id| self.live.contains_key(id)))
            }
            Some("email") => Ok(self
                .by_email
                .get(key.trim().to_lowercase().as_str())
                .copied()),
            Some(other) => Err(Problem::invalid(format!(
                "{other} is not a unique identifier property for object type 0-1"
            ))),
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Contact> {
        self.live.get(&id)
    }

    pub(super) fn get_archived(&self, id: u64) -> Option<&Contact> {
        self.archived.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Contact> {
        self.live.values()
    }

    /// Records with a greater id than `after`, in the order of their ids.
    pub(super) fn page(&self, after: u64, archived: bool) -> impl Iterator<Item = &Contact> {
        let records = if archived { &self.archived } else { &self.live };
        records
            .range(after.saturating_add(1)..)
            .map(|(_, contact)| contact)
    }

    /// Who else has the email of `values`: a conflict for the contact `own`, or for a new one.
    pub(super) fn conflict(&self, values: &Values, own: Option<u64>) -> Result<(), Problem> {
        let holder = values
            .get("email")
            .and_then(|email| self.by_email.get(email))
            .copied();
        match holder {
            Some(id) if Some(id) != own => Err(Problem::conflict(id)),
            _ => Ok(()),
        }
    }

    /// Makes a contact, if its values are good, and returns its id.
    pub(super) fn create(
        &mut self,
        properties: &Map<String, Value>,
        known: &Properties,
        now: SystemTime,
    ) -> Result<u64, Problem> {
        let values = self.check(properties, known)?;
        self.conflict(&values, None)?;
        Ok(self.insert(values, now))
    }

    /// Changes a contact, if there is one and the values are good.
    pub(super) fn update(
        &mut self,
        id: u64,
        properties: &Map<String, Value>,
        known: &Properties,
        now: SystemTime,
    ) -> Result<(), Problem> {
        if !self.live.contains_key(&id) {
            return Err(Problem::not_found());
        }
        let values = self.check(properties, known)?;
        self.conflict(&values, Some(id))?;
        self.change(id, values, now);
        Ok(())
    }

    /// Makes a contact of values that were checked and are free of conflict.
    pub(super) fn insert(&mut self, mut values: Values, now: SystemTime) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        values.retain(|_, value| !value.is_empty());
        if let Some(email) = values.get("email") {
            self.by_email.insert(email.clone(), id);
        }
        let contact = Contact {
            id,
            values,
            created: now,
            updated: now,
            archived: None,
            merged_ids: Vec::new(),
            merged_emails: Vec::new(),
        };
        self.live.insert(id, contact);
        id
    }

    /// Changes a contact; values were checked and are free of conflict. An empty value removes what was there.
    pub(super) fn change(&mut self, id: u64, values: Values, now: SystemTime) {
        let Some(contact) = self.live.get_mut(&id) else {
            return;
        };
        if let Some(email) = values.get("email") {
            if let Some(old) = contact.email() {
                if !contact.merged_emails.iter().any(|email| email == old) {
                    self.by_email.remove(old);
                }
            }
            if !email.is_empty() {
                self.by_email.insert(email.clone(), id);
            }
        }
        for (name, value) in values {
            if value.is_empty() {
                contact.values.remove(&name);
            } else {
                contact.values.insert(name, value);
            }
        }
        contact.updated = now;
    }

    /// Makes one contact of two.
    pub(super) fn merge(
        &mut self,
        primary: u64,
        other: u64,
        now: SystemTime,
    ) -> Result<(), Problem> {
        if primary == other {
            return Err(Problem::invalid("A contact cannot be merged with itself"));
        }
        if !self.live.contains_key(&primary) {
            return Err(Problem::not_found());
        }
        let mut gone = self.live.remove(&other).ok_or_else(Problem::not_found)?;
        let Some(kept) = self.live.get_mut(&primary) else {
            return Err(Problem::not_found());
        };
        gone.merged_ids.push(other);
        let email = gone.values.remove("email");
        for email in email.iter().chain(&gone.merged_emails) {
            self.by_email.insert(email.clone(), primary);
        }
        match email {
            Some(email) if kept.email().is_none() => {
                kept.values.insert("email".to_owned(), email);
            }
            email => gone.merged_emails.extend(email),
        }
        kept.merged_emails.append(&mut gone.merged_emails);
        for id in &gone.merged_ids {
            self.merged.insert(*id, primary);
        }
        kept.merged_ids.append(&mut gone.merged_ids);
        for (name, value) in gone.values {
            kept.values.entry(name).or_insert(value);
        }
        let ids: Vec<String> = kept.merged_ids.iter().map(u64::to_string).collect();
        kept.values.insert(MERGED_IDS.to_owned(), ids.join(";"));
        if !kept.merged_emails.is_empty() {
            let emails = kept.merged_emails.join(";");
            kept.values.insert(MORE_EMAILS.to_owned(), emails);
        }
        kept.updated = now;
        Ok(())
    }

    /// Moves a contact out of sight. Its emails are free again.
    pub(super) fn archive(&mut self, id: u64, now: SystemTime) {
        if let Some(mut contact) = self.live.remove(&id) {
            for email in contact
                .email()
                .into_iter()
                .chain(contact.merged_emails.iter().map(String::as_str))
            {
                self.by_email.remove(email);
            }
            contact.archived = Some(now);
            self.archived.insert(id, contact);
        }
    }
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let plain = !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',');
    let labels = domain.split('.').count() >= 2 && domain.split('.').all(|label| !label.is_empty());
    plain && labels && !local.is_empty() && !domain.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails() {
        for good in ["a@b.org", "maría.o'neil+x@sub.example.com"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "a",
            "a@",
            "@b.org",
            "a@b",
            "a@@b.org",
            "a b@c.org",
            "a@b..org",
            "a@b.",
            "a@b@c.d",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
