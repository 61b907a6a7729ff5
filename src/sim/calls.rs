//! What the API does: the calls behind the desk.

use std::collections::HashMap;
use std::time::SystemTime;

use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::answer::{Problem, Reply};
use super::associations::{self, Associations};
use super::batch::{self, Rules};
use super::contacts::{Contact, Contacts, Properties, View};
use super::cost::Load;
use super::dialect::BatchDialect;
use super::routes::{Batch, Call, Query};
use super::search;

/// What the accounts hold.
#[derive(Debug)]
pub(super) struct Contents {
    known: Properties,
    search_body: usize,
    pub(super) dialect: BatchDialect,
    accounts: HashMap<u64, Contacts>,
    associations: HashMap<u64, Associations>,
}

/// One call and what is needed for it.
pub(super) struct Work<'a> {
    pub(super) account: u64,
    pub(super) call: &'a Call,
    pub(super) query: Query<'a>,
    pub(super) body: &'a [u8],
    /// When the request was counted.
    pub(super) started: SystemTime,
    pub(super) now: SystemTime,
}

impl Contents {
    pub(super) fn new(properties: Vec<String>, search_body: usize, dialect: BatchDialect) -> Self {
        Self {
            known: Properties::new(properties),
            search_body,
            dialect,
            accounts: HashMap::new(),
            associations: HashMap::new(),
        }
    }

    /// The contacts of an account, and which properties they may have.
    pub(super) fn contacts(&mut self, account: u64) -> (&mut Contacts, &Properties) {
        (open(&mut self.accounts, account), &self.known)
    }

    pub(super) fn associations(&mut self, account: u64) -> &mut Associations {
        self.associations.entry(account).or_default()
    }

    /// What a call costs. `None` for those that cannot be heavy, and for those that are refused.
    pub(super) fn load(&self, call: &Call, body: &[u8]) -> Option<Load> {
        match call {
            Call::Search => {
                fits(body, self.search_body).ok()?;
                search::load(&self.known, body).ok()
            }
            Call::Batch(Batch::Read) => batch::load(&self.dialect, body).ok(),
            Call::AssociationsRead(_) => associations::load(body).ok(),
            _ => None,
        }
    }

    pub(super) fn perform(
        &mut self,
        work: &Work<'_>,
        rng: &mut fastrand::Rng,
    ) -> Result<Reply, Problem> {
        let contacts = open(&mut self.accounts, work.account);
        let known = &self.known;
        match work.call {
            Call::List => list(contacts, known, work.query),
            Call::Create => create(contacts, known, work),
            Call::Read(key) => read(contacts, known, key, work.query),
            Call::Update(key) => update(contacts, known, key, work),
            Call::Archive(key) => archive(contacts, key, work),
            Call::Search => {
                fits(work.body, self.search_body)?;
                search::search(contacts, known, work.body)
            }
            Call::Batch(kind) => {
                let rules = Rules {
                    known,
                    dialect: &self.dialect,
                };
                batch::batch(contacts, &rules, *kind, work, rng)
            }
            Call::AssociationsRead(ends) => {
                let associations = self.associations.get(&work.account);
                associations::read(associations, ends, work, rng)
            }
            Call::Associations => Ok(batch::nothing(work)),
            Call::OtherType(name) => {
                let message = format!("Unable to infer object type from: {name}");
                Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "OBJECT_NOT_FOUND",
                    message,
                ))
            }
            Call::AccountDetails | Call::DailyUsage | Call::Stats | Call::Unknown => {
                Err(Problem::not_found())
            }
        }
    }
}

fn open(accounts: &mut HashMap<u64, Contacts>, account: u64) -> &mut Contacts {
    let contacts = accounts.entry(account);
    contacts.or_insert_with(|| Contacts::new(account))
}

/// 400 for a search whose body is longer than the server reads.
fn fits(body: &[u8], most: usize) -> Result<(), Problem> {
    if body.len() <= most {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "Search body exceeds {most} characters"
    )))
}

/// The body of a call, or 400 as the API words it.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("Invalid input JSON on line {line}, column {column}: {error}");
        Problem::invalid(message)
    })
}

#[derive(Deserialize)]
struct Write {
    properties: Map<String, Value>,
}

fn view(query: Query<'_>) -> View {
    View {
        properties: query.list("properties"),
        history: query.list("propertiesWithHistory"),
        all: false,
    }
}

fn list(contacts: &Contacts, known: &Properties, query: Query<'_>) -> Result<Reply, Problem> {
    let limit = match query.get("limit") {
        None => 10,
        Some(text) => match text.parse::<usize>() {
            Ok(limit @ 1..=100) => limit,
            _ => return Err(Problem::invalid("limit must be between 1 and 100")),
        },
    };
    let after = match query.get("after") {
        None => 0,
        Some(text) => match text.parse() {
            Ok(after) => after,
            Err(_) => return Err(Problem::invalid("after is not a valid cursor")),
        },
    };
    let view = view(query);
    let mut rest = contacts.page(after, query.flag("archived"));
    let page: Vec<&Contact> = rest.by_ref().take(limit).collect();
    let results: Vec<Value> = page
        .iter()
        .map(|contact| view.show(contact, known))
        .collect();
    let mut answer = json!({ "results": results });
    if let (Some(last), Some(_)) = (page.last(), rest.next()) {
        answer["paging"] = json!({ "next": { "after": last.id.to_string() } });
    }
    Ok(Reply::json(StatusCode::OK, &answer))
}

fn create(contacts: &mut Contacts, known: &Properties, work: &Work<'_>) -> Result<Reply, Problem> {
    let body: Write = parse(work.body)?;
    let id = contacts.create(&body.properties, known, work.now)?;
    Ok(shown(contacts, known, id, StatusCode::CREATED))
}

fn read(
    contacts: &Contacts,
    known: &Properties,
    key: &str,
    query: Query<'_>,
) -> Result<Reply, Problem> {
    let contact = if query.flag("archived") {
        key.parse().ok().and_then(|id| contacts.get_archived(id))
    } else {
        let id = contacts.find(key, query.get("idProperty").as_deref())?;
        id.and_then(|id| contacts.get(id))
    };
    let contact = contact.ok_or_else(Problem::not_found)?;
    Ok(Reply::json(
        StatusCode::OK,
        &view(query).show(contact, known),
    ))
}

fn update(
    contacts: &mut Contacts,
    known: &Properties,
    key: &str,
    work: &Work<'_>,
) -> Result<Reply, Problem> {
    let body: Write = parse(work.body)?;
    let found = contacts.find(key, work.query.get("idProperty").as_deref())?;
    let id = found.ok_or_else(Problem::not_found)?;
    contacts.update(id, &body.properties, known, work.now)?;
    Ok(shown(contacts, known, id, StatusCode::OK))
}

/// Archiving what is not there is no error.
fn archive(contacts: &mut Contacts, key: &str, work: &Work<'_>) -> Result<Reply, Problem> {
    if let Some(id) = contacts.find(key, work.query.get("idProperty").as_deref())? {
        contacts.archive(id, work.now);
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

fn shown(contacts: &Contacts, known: &Properties, id: u64, status: StatusCode) -> Reply {
    match contacts.get(id) {
        Some(contact) => Reply::json(status, &View::all().show(contact, known)),
        None => Reply::empty(status),
    }
}
