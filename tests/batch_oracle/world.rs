//! What there is before the first call, and who may touch what.
//!
//! Shared contacts are only read. Of the others each chain owns four, the last of which is merged into the one before it, and
//! writes no others than these and those that it makes itself.

use tower_quota::sim::{Sim, SimBuilder};

pub(crate) const TOKEN: &str = "pat-1";
pub(crate) const SHARED: u64 = 120;
const FIRST: u64 = 101;
const OWN: u64 = 4;

/// How many contacts a chain can name as its own: two plain ones, one into which another was merged, and the last one it made.
pub(crate) const SLOTS: usize = 4;
/// The slot of the last one made.
pub(crate) const MADE: usize = 3;
/// Stands in a path for the id of the contact that the chain made last.
pub(crate) const MADE_ID: &str = "{made}";

/// Without limits.
pub(crate) fn builder() -> SimBuilder {
    with_limits().no_burst().no_search().no_associations()
}

/// With those of a Professional account.
pub(crate) fn with_limits() -> SimBuilder {
    Sim::builder().property("rank")
}

/// Fills a simulator for so many chains, always in the same way.
pub(crate) fn fill(sim: &Sim, chains: usize) {
    let store = sim.store(TOKEN);
    for n in 0..SHARED {
        let mut values = vec![("city", "Ulm".to_owned()), ("rank", format!("s{n}"))];
        if n % 5 != 4 {
            values.push(("email", shared_email(n)));
        }
        assert_eq!(store.create(values).unwrap(), shared(n));
    }
    for chain in 0..chains {
        for slot in 0..OWN as usize {
            let values = [
                ("email", own_email(chain, slot)),
                ("lastname", format!("L{slot}")),
            ];
            assert_eq!(store.create(values).unwrap(), own(chain, slot));
        }
        store.merge(own(chain, 2), own(chain, 3)).unwrap();
    }
    for (primary, other) in [(20, 21), (22, 23), (24, 22)] {
        store.merge(shared(primary), shared(other)).unwrap();
    }
    for n in [25, 26] {
        assert!(store.archive(shared(n)));
    }
}

pub(crate) fn shared(n: u64) -> u64 {
    FIRST + n % SHARED
}

pub(crate) fn shared_email(n: u64) -> String {
    format!("shared{}@example.com", n % SHARED)
}

fn own(chain: usize, slot: usize) -> u64 {
    FIRST + SHARED + chain as u64 * OWN + slot as u64
}

/// The chain that owns a contact, if one did so from the start.
pub(crate) fn owner(id: u64) -> Option<usize> {
    let beyond = id.checked_sub(FIRST + SHARED)?;
    Some((beyond / OWN) as usize)
}

fn own_email(chain: usize, slot: usize) -> String {
    format!("own+{chain}.{slot}@example.com")
}

/// The e-mail that a chain gives to one of its own, now and then.
pub(crate) fn new_email(chain: usize, slot: usize) -> String {
    format!("new{chain}.{slot}@example.com")
}

/// What a contact can be called in a path.
#[derive(Clone, Debug)]
pub(crate) enum Name {
    Id(String),
    Email(String),
}

/// One of the names of an own contact. Names of the same `way` are the same but for case.
pub(crate) fn name(chain: usize, slot: usize, way: u8, upper: bool) -> Name {
    let email = |email: String| Name::Email(if upper { email.to_uppercase() } else { email });
    match (slot, way % 5) {
        (MADE, 0..=3) => Name::Id(MADE_ID.to_owned()),
        (_, 4) => email(new_email(chain, slot)),
        (2, 0) => Name::Id(own(chain, 2).to_string()),
        (2, 1) => Name::Id(own(chain, 3).to_string()),
        (2, 2) => email(own_email(chain, 2)),
        (2, _) => email(own_email(chain, 3)),
        (_, 0 | 1) => Name::Id(own(chain, slot).to_string()),
        _ => email(own_email(chain, slot)),
    }
}

impl Name {
    /// The path, with a query that names the id property, if it must, and says what else is asked for.
    pub(crate) fn target(&self, asked: &str) -> String {
        let (id, by) = match self {
            Self::Id(id) => (id.clone(), ""),
            Self::Email(email) => (email.replace('@', "%40"), "idProperty=email"),
        };
        target(&id, by, asked)
    }
}

/// The path of a contact, with a query of two parts, each of which may be empty.
pub(crate) fn target(id: &str, by: &str, asked: &str) -> String {
    let (sign, and) = match (by.is_empty(), asked.is_empty()) {
        (true, true) => ("", ""),
        (false, false) => ("?", "&"),
        _ => ("?", ""),
    };
    format!("{CONTACTS}/{id}{sign}{by}{and}{asked}")
}

pub(crate) const CONTACTS: &str = "/crm/v3/objects/contacts";
