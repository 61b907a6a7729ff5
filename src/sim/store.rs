//! The door at the back: what an account holds, looked at and changed without a request.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Shared;
use super::answer::Problem;
use super::routes::object_type;
use crate::ConfigError;

/// The contents of one account, changed from outside; made by [`Sim::store`](super::Sim::store).
///
/// For what somebody else does between two requests of the client, and for filling a simulator before a test: no request is sent,
/// no quota is used, no time passes, and nothing is drawn. Changes are seen by the next request whose work is done.
///
/// ```
/// use tower_quota::sim::Sim;
///
/// let sim = Sim::builder().build()?;
/// let store = sim.store("pat-1");
/// for n in 0..10_000 {
///     store.create([("email", format!("p{n}@example.com"))])?;
/// }
/// let ada = store.create([("email", "ada@example.com"), ("firstname", "Ada")])?;
/// store.update(ada, [("lastname", "King")])?;
/// store.associate(("contacts", ada), ("companies", 7));
/// assert!(store.archive(ada));
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    account: u64,
}

impl Store {
    pub(super) fn new(shared: Arc<Shared>, account: u64) -> Self {
        Self { shared, account }
    }

    /// Makes a contact and returns its id. Ids go up one by one, whoever makes them.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where a request would be refused: an unknown property, a wrong value, an email that another contact has.
    pub fn create<N: Into<String>, V: Into<String>>(
        &self,
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Result<u64, ConfigError> {
        let properties = collect(properties);
        let (mut desk, wall) = self.shared.desk_and_wall();
        let (contacts, known) = desk.contents.contacts(self.account);
        contacts.create(&properties, known, wall).map_err(refused)
    }

    /// Changes a contact. An empty value removes what was there.
    ///
    /// # Errors
    ///
    /// As of [`create`](Self::create), and for an id that no contact has; nothing is changed then.
    pub fn update<N: Into<String>, V: Into<String>>(
        &self,
        id: u64,
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Result<(), ConfigError> {
        let properties = collect(properties);
        let (mut desk, wall) = self.shared.desk_and_wall();
        let (contacts, known) = desk.contents.contacts(self.account);
        contacts
            .update(id, &properties, known, wall)
            .map_err(refused)
    }

    /// Archives a contact, and says whether there was one.
    pub fn archive(&self, id: u64) -> bool {
        let (mut desk, wall) = self.shared.desk_and_wall();
        let (contacts, _) = desk.contents.contacts(self.account);
        let known = contacts.get(id).is_some();
        contacts.archive(id, wall);
        known
    }

    /// Merges the contact `other` into `primary`, as a person does by hand: it is gone, and what is asked for by its id or its
    /// e-mails is answered with `primary`, which has its values where it had none itself, its id among `hs_merged_object_ids` and
    /// its e-mails among `hs_additional_emails`.
    ///
    /// A batch update by the id of `other` calls it missing, a batch read does as the
    /// [dialect](super::BatchDialect::merged_left_out) says. Associations stay as they are.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when one of them does not exist, or both are the same; nothing is changed then.
    pub fn merge(&self, primary: u64, other: u64) -> Result<(), ConfigError> {
        let (mut desk, wall) = self.shared.desk_and_wall();
        let (contacts, _) = desk.contents.contacts(self.account);
        contacts.merge(primary, other, wall).map_err(refused)
    }

    /// Associates two records, each named by its type and id, in both directions. Nothing checks that they exist, and archiving
    /// a contact leaves its associations as they are. A second time changes nothing.
    pub fn associate(&self, from: (&str, u64), to: (&str, u64)) {
        let (from_type, to_type) = (object_type(from.0), object_type(to.0));
        let mut desk = self.shared.desk();
        let associations = desk.contents.associations(self.account);
        associations.add((&from_type, from.1), (&to_type, to.1));
    }
}

fn collect<N: Into<String>, V: Into<String>>(
    properties: impl IntoIterator<Item = (N, V)>,
) -> Map<String, Value> {
    let text = |(name, value): (N, V)| (name.into(), Value::String(value.into()));
    properties.into_iter().map(text).collect()
}

fn refused(problem: Problem) -> ConfigError {
    ConfigError::new("contact", format!("is refused: {}", problem.in_words()))
}
