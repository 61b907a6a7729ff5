//! What has been told of refusals and pauses, and of which the end has not been told yet.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;

use super::Over;
use crate::core::{Fingerprint, Keys, Subject, Tick};
use crate::event::Ending;
use crate::plan::RouteClass;

/// Of so many refusals, and as many pauses, the end is told. Where there are more, that of the oldest is not: nobody may ever come to
/// see it, because tokens are renewed.
const MOST: usize = 1_024;
/// A pause that ends later than was told by less than this share of itself is no news: many responses say the same, each with a jitter
/// of its own.
const NO_NEWS: f64 = 0.2;

/// Refusals and pauses that are not over.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    refused: HashMap<(Fingerprint, RouteClass), Refused>,
    /// By what is paused, and whose, of those for which that is.
    paused: HashMap<(Subject, Fingerprint), Pause>,
}

#[derive(Debug)]
struct Refused {
    since: Tick,
    refusals: u64,
}

#[derive(Debug)]
struct Pause {
    /// Whose request was refused.
    keys: Keys,
    began: Tick,
    until: Tick,
    /// Until when it was said to last.
    told: Tick,
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
            let begun = Refused {
                since: now,
                refusals: 0,
            };
            make_room(&mut self.refused, &key, |refused| refused.since);
            self.refused.entry(key).or_insert(begun).refusals += 1;
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
        subject: (Subject, Fingerprint),
        keys: Keys,
        until: Tick,
    ) -> bool {
        if let Some(pause) = self.paused.get_mut(&subject) {
            if pause.until > now {
                pause.until = pause.until.max(until);
                let slack = pause.told.since(pause.began).mul_f64(NO_NEWS);
                let is_news = until > pause.told.after(slack);
                if is_news {
                    pause.told = until;
                }
                return is_news;
            }
        }
        make_room(&mut self.paused, &subject, |pause| pause.until);
        let pause = Pause {
            keys,
            began: now,
            until,
            told: until,
        };
        // Where there was one, it was over, and nobody came to see that.
        self.paused.insert(subject, pause);
        true
    }

    pub(super) fn has_pauses(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Those of `subjects` that are over.
    pub(super) fn resumed(
        &mut self,
        now: Tick,
        subjects: impl Iterator<Item = (Subject, Fingerprint)>,
    ) -> Vec<Resumption> {
        self.end(now, subjects, |pause| pause.until <= now)
    }

    /// Those of `subjects` are over now.
    pub(super) fn end_pauses(
        &mut self,
        now: Tick,
        subjects: impl Iterator<Item = (Subject, Fingerprint)>,
    ) -> Vec<Resumption> {
        self.end(now, subjects, |_| true)
    }

    fn end(
        &mut self,
        now: Tick,
        subjects: impl Iterator<Item = (Subject, Fingerprint)>,
        is_over: impl Fn(&Pause) -> bool,
    ) -> Vec<Resumption> {
        let mut ended = Vec::new();
        for subject in subjects {
            if self.paused.get(&subject).is_some_and(&is_over) {
                ended.extend(self.paused.remove(&subject).map(|pause| Resumption {
                    subject: subject.0,
                    keys: pause.keys,
                    after: now.since(pause.began),
                }));
            }
        }
        ended
    }
}

/// Forgets the oldest, if there is no place for one more.
fn make_room<K: Copy + Eq + Hash, V>(map: &mut HashMap<K, V>, next: &K, age: impl Fn(&V) -> Tick) {
    if map.len() < MOST || map.contains_key(next) {
        return;
    }
    let oldest = map.iter().min_by_key(|(_, value)| age(value));
    if let Some(oldest) = oldest.map(|(key, _)| *key) {
        map.remove(&oldest);
    }
}
