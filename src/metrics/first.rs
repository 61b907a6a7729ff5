use std::sync::{Arc, Mutex, PoisonError};

use ::metrics::SharedString;
use hashbrown::HashSet;

use super::OTHER;

/// The first names that are seen, so that whoever makes names up makes no more than these.
#[derive(Debug)]
pub(super) struct First {
    most: usize,
    known: Mutex<HashSet<Arc<str>>>,
}

impl First {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            known: Mutex::default(),
        }
    }

    /// The name, or `other` for one that comes late.
    pub(super) fn get(&self, name: &str) -> SharedString {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(name) {
            return SharedString::from_shared(name.clone());
        }
        if known.len() >= self.most {
            return OTHER.into();
        }
        let name: Arc<str> = name.into();
        known.insert(name.clone());
        SharedString::from_shared(name)
    }
}
