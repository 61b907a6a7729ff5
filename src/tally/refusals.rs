//! What has been told of refusals and pauses, and of which the end has not been told yet.

use std::time::Duration;

use hashbrown::HashMap;

use super::Over;
use crate::core::{Fingerprint, Keys, Subject, Tick};
use crate::event::Ending;
use crate::plan::RouteClass;

/// The ends of so many are told; of more nobody reads.
const MOST: usize = 1_024;
/// A pause that ends later than was told by less than this share of itself is no news: many responses say the same, each with a jitter
/// of its own.
const NO_NEWS: f64 = 0.2;

/// Refusals and pauses that are not over.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    refused: HashMap<(Fingerprint, RouteClass), Refused>,
    paused: Vec<Pause>,
}

#[derive(Debug)]
struct Refused {
    since: Tick,
    refusals: u64,
}

#[derive(Debug)]
struct Pause {
    subject: Subject,
    /// Whose, of those for which the subject is.
    key: Fingerprint,
    /// Whose request was refused.
    keys: Keys,
    began: Tick,
    until: Tick,
}

/// A token is answered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recovery {
    pub(crate) refusals: u64,
    pub(crate) after: Duration,
}

/// A pause is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resumption {
    pub(crate) subject: Subject,
    pub(crate) keys: Keys,
    pub(crate) after: Duration,
}

impl Refusals {
    pub(super) fn over(&mut self, now: Tick, over: &Over) -> Option<Recovery> {
        let key = (over.keys.token, over.class);
        if over.is_rate_limited() {
            if self.refused.len() < MOST || self.refused.contains_key(&key) {
                let begun = Refused {
                    since: now,
                    refusals: 0,
                };
                self.refused.entry(key).or_insert(begun).refusals += 1;
            }
            return None;
        }
        if self.refused.is_empty() || over.ending != Ending::Answered {
            return None;
        }
        // What was sent before the refusal tells nothing of the time after it.
        let refused = self.refused.get(&key)?;
        if over.sent < refused.since {
            return None;
        }
        let refused = self.refused.remove(&key)?;
        Some(Recovery {
            refusals: refused.refusals,
            after: now.since(refused.since),
        })
    }

    pub(super) fn paused(
        &mut self,
        now: Tick,
        (subject, key): (Subject, Fingerprint),
        keys: Keys,
        until: Tick,
    ) -> bool {
        let is_it = |pause: &&mut Pause| pause.subject == subject && pause.key == key;
        match self.paused.iter_mut().find(is_it) {
            Some(pause) if pause.until > now => {
                let told = pause.until;
                pause.until = told.max(until);
                let slack = told.since(pause.began).mul_f64(NO_NEWS);
                until > told.after(slack)
            }
            Some(pause) => {
                // It was over, and nobody came to see that.
                (pause.began, pause.until) = (now, until);
                true
            }
            None => {
                if self.paused.len() < MOST {
                    self.paused.push(Pause {
                        subject,
                        key,
                        keys,
                        began: now,
                        until,
                    });
                }
                true
            }
        }
    }

    pub(super) fn has_pauses(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Those that are over, whose key `key_of` gives for their subject.
    pub(super) fn resumed(
        &mut self,
        now: Tick,
        key_of: impl Fn(Subject) -> Option<Fingerprint>,
    ) -> Vec<Resumption> {
        let mut over = Vec::new();
        self.paused.retain(|pause| {
            let is_over = pause.until <= now && key_of(pause.subject) == Some(pause.key);
            if is_over {
                over.push(Resumption {
                    subject: pause.subject,
                    keys: pause.keys,
                    after: now.since(pause.began),
                });
            }
            !is_over
        });
        over
    }

    /// Those whose key `key_of` gives for their subject are over now.
    pub(super) fn end_pauses(
        &mut self,
        now: Tick,
        key_of: impl Fn(Subject) -> Option<Fingerprint>,
    ) -> Vec<Resumption> {
        for pause in &mut self.paused {
            if key_of(pause.subject) == Some(pause.key) {
                pause.until = now;
            }
        }
        self.resumed(now, key_of)
    }
}
