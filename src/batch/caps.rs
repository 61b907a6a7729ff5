use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// For more batch calls than these nothing is learnt.
const MOST_LABELS: usize = 1024;

/// How many inputs the server was found to take at most, by batch call.
#[derive(Debug, Default)]
pub(super) struct Caps(Mutex<HashMap<Cow<'static, str>, usize>>);

impl Caps {
    /// `most`, or what the server takes. With 1 there are no batches.
    pub(super) fn most(&self, label: &str, most: usize) -> usize {
        let caps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        caps.get(label).map_or(most, |cap| most.min(*cap)).max(1)
    }

    /// From now on at most `most`.
    pub(super) fn learn(&self, label: Cow<'static, str>, most: usize) {
        let mut caps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if caps.len() >= MOST_LABELS && !caps.contains_key(&label) {
            return;
        }
        let cap = caps.entry(label).or_insert(most);
        *cap = most.min(*cap);
    }
}
