use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// For so many batch calls it is remembered what was learnt. The one that was of no use for longest is forgotten first.
const MOST_LABELS: usize = 1024;

/// How many inputs the server was found to take at most, by batch call.
#[derive(Debug, Default)]
pub(super) struct Caps(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    caps: HashMap<Cow<'static, str>, Cap>,
    /// Counts on with each use.
    uses: u64,
}

#[derive(Debug)]
struct Cap {
    most: usize,
    used: u64,
}

impl Caps {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `most`, or what the server takes. With 1 there are no batches.
    pub(super) fn most(&self, label: &str, most: usize) -> usize {
        let State { caps, uses } = &mut *self.lock();
        let Some(cap) = caps.get_mut(label) else {
            return most.max(1);
        };
        *uses += 1;
        cap.used = *uses;
        most.min(cap.most).max(1)
    }

    /// From now on at most `most`.
    pub(super) fn learn(&self, label: Cow<'static, str>, most: usize) {
        let State { caps, uses } = &mut *self.lock();
        if caps.len() >= MOST_LABELS && !caps.contains_key(&label) {
            let oldest = caps.iter().min_by_key(|(_, cap)| cap.used);
            let oldest = oldest.map(|(label, _)| label.clone());
            oldest.and_then(|oldest| caps.remove(&oldest));
        }
        *uses += 1;
        let cap = caps.entry(label).or_insert(Cap { most, used: *uses });
        cap.most = most.min(cap.most);
        cap.used = *uses;
    }
}
