use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;

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
    /// Until then there are no batches.
    stopped: Option<Instant>,
    used: u64,
}

/// Where there was no batch call there may be one later; or what said so meant something else.
const STOP: Duration = Duration::from_secs(10 * 60);

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
        cap.stopped.take_if(|until| *until <= Clock::instant_now());
        match cap.stopped {
            Some(_) => 1,
            None => most.min(cap.most).max(1),
        }
    }

    /// There is no such batch call.
    pub(super) fn stop(&self, label: Cow<'static, str>) {
        let until = Clock::instant_after(STOP);
        self.change(label, |cap| cap.stopped = Some(until));
    }

    /// From now on at most `most`. That a server takes no more than one is no reason never to ask again.
    pub(super) fn learn(&self, label: Cow<'static, str>, most: usize) {
        if most <= 1 {
            return self.stop(label);
        }
        self.change(label, |cap| cap.most = most.min(cap.most));
    }

    fn change(&self, label: Cow<'static, str>, change: impl FnOnce(&mut Cap)) {
        let State { caps, uses } = &mut *self.lock();
        if caps.len() >= MOST_LABELS && !caps.contains_key(&label) {
            let oldest = caps.iter().min_by_key(|(_, cap)| cap.used);
            let oldest = oldest.map(|(label, _)| label.clone());
            oldest.and_then(|oldest| caps.remove(&oldest));
        }
        *uses += 1;
        let cap = caps.entry(label).or_insert(Cap {
            most: usize::MAX,
            stopped: None,
            used: *uses,
        });
        cap.used = *uses;
        change(cap);
    }
}
