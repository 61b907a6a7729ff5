//! One at a time: the lines of calls about the same record.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

/// The records that are busy, and who waits for each.
#[derive(Debug, Default)]
pub(super) struct Records {
    busy: HashMap<String, Line>,
    next: u64,
    /// Wakers that were replaced or given up.
    retired: Vec<Waker>,
}

#[derive(Debug, Default)]
struct Line {
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    /// Whose turn it is, until he knows.
    granted: Option<u64>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    waker: Option<Waker>,
}

impl Records {
    pub(super) fn is_empty(&self) -> bool {
        self.busy.is_empty()
    }

    /// `None` when the record was free and is the caller's now; otherwise his number in its line.
    pub(super) fn enter(&mut self, record: &str) -> Option<u64> {
        let Some(line) = self.busy.get_mut(record) else {
            self.busy.insert(record.to_owned(), Line::default());
            return None;
        };
        let id = self.next;
        self.next += 1;
        line.waiting.push_back(Waiting { id, waker: None });
        Some(id)
    }

    /// Whether the turn has come; then the record is the caller's.
    pub(super) fn poll(&mut self, record: &str, id: u64, waker: &Waker) -> bool {
        let Some(line) = self.busy.get_mut(record) else {
            return true;
        };
        if line.granted == Some(id) {
            line.granted = None;
            return true;
        }
        if let Ok(place) = line.waiting.binary_search_by_key(&id, |waiting| waiting.id) {
            let known = &mut line.waiting[place].waker;
            if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                self.retired.extend(known.replace(waker.clone()));
            }
        }
        false
    }

    /// Leaves the line. Whoever gets the turn instead is to be woken.
    #[must_use]
    pub(super) fn leave(&mut self, record: &str, id: u64) -> Option<Waker> {
        let line = self.busy.get_mut(record)?;
        if line.granted == Some(id) {
            return self.release(record);
        }
        if let Ok(place) = line.waiting.binary_search_by_key(&id, |waiting| waiting.id) {
            let waiting = line.waiting.remove(place);
            self.retired
                .extend(waiting.and_then(|waiting| waiting.waker));
        }
        None
    }

    /// To be dropped where no lock is held: the last waker of a task may drop another call about a record.
    #[must_use]
    pub(super) fn take_retired(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.retired)
    }

    /// The record is free for the next one, who is to be woken.
    #[must_use]
    pub(super) fn release(&mut self, record: &str) -> Option<Waker> {
        let line = self.busy.get_mut(record)?;
        match line.waiting.pop_front() {
            Some(next) => {
                line.granted = Some(next.id);
                next.waker
            }
            None => {
                self.busy.remove(record);
                None
            }
        }
    }
}
