//! What has been told of refusals and pauses, and of which the end has not been told yet.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;

use super::Over;
use crate::core::{Fingerprint, Keys, Subject, Tick};
use crate::event::Ending;
use crate::plan::RouteClass;

/// The ends of so many are told. With more of them those go of which nothing was heard for the longest time: a token that was renewed
/// meanwhile never comes back.
const MOST: usize = 1_024;
/// A pause that ends later than was told by less than this share of itself is no news: many responses say the same, each with a jitter
/// of its own.
const NO_NEWS: f64 = 0.2;

/// Refusals and pauses that are not over.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    refused: HashMap<(Fingerprint, RouteClass), Refused>,
    paused: HashMap<(Subject, Fingerprint), Pause>,
}

#[derive(Debug)]
struct Refused {
    since: Tick,
    last: Tick,
    refusals: u64,
}

#[derive(Debug)]
struct Pause {
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
            make_room(&mut self.refused, &key, |refused| refused.last);
            let refused = self.refused.entry(key).or_insert(Refused {
                since: now,
                last: now,
                refusals: 0,
            });
            refused.last = now;
            refused.refusals += 1;
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
                let told = pause.until;
                pause.until = told.max(until);
                let slack = told.since(pause.began).mul_f64(NO_NEWS);
                return until > told.after(slack);
            }
        }
        // If there was one, it is over, and nobody came to see that.
        make_room(&mut self.paused, &subject, |pause| pause.until);
        let began = now;
        self.paused.insert(subject, Pause { keys, began, until });
        true
    }

    pub(super) fn has_pauses(&self) -> bool {
        !self.paused.is_empty()
    }

    /// Those of these subjects, each with its key, that are over.
    pub(super) fn resumed(
        &mut self,
        now: Tick,
        subjects: impl Iterator<Item = (Subject, Fingerprint)>,
    ) -> Vec<Resumption> {
        let mut over = Vec::new();
        for subject in subjects {
            let paused = self.paused.get(&subject);
            if paused.is_none_or(|pause| pause.until > now) {
                continue;
            }
            over.extend(self.paused.remove(&subject).map(|pause| Resumption {
                subject: subject.0,
                keys: pause.keys,
                after: now.since(pause.began),
            }));
        }
        over
    }

    /// Those of these subjects are over now.
    pub(super) fn end_pauses(
        &mut self,
        now: Tick,
        subjects: impl Iterator<Item = (Subject, Fingerprint)>,
    ) -> Vec<Resumption> {
        let mut ended = Vec::new();
        for subject in subjects {
            if let Some(pause) = self.paused.get_mut(&subject) {
                pause.until = now;
                ended.push(subject);
            }
        }
        self.resumed(now, ended.into_iter())
    }
}

/// Whoever was heard of longest ago gives way to `key`, if it needs a place and none is left.
fn make_room<K: Copy + Eq + Hash, V>(
    known: &mut HashMap<K, V>,
    key: &K,
    heard: impl Fn(&V) -> Tick,
) {
    if known.len() < MOST || known.contains_key(key) {
        return;
    }
    let oldest = known.iter().min_by_key(|(_, value)| heard(value));
    if let Some(oldest) = oldest.map(|(key, _)| *key) {
        known.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::tally::routes::RouteTable;

    const SECOND: Duration = Duration::from_secs(1);

    fn keys(number: u64) -> Keys {
        let key = Fingerprint::from_halves(number, !number);
        Keys {
            token: key,
            account: key,
        }
    }

    fn over(number: u64, sent: Tick, ending: Ending) -> Over {
        Over {
            keys: keys(number),
            class: RouteClass::General,
            route: RouteTable::default().id("GET /"),
            sent,
            ending,
            status: Some(StatusCode::OK),
            pool: None,
        }
    }

    /// Tokens are renewed: those that were refused and never come back must not cost the others their places.
    #[test]
    fn ends_are_told_however_many_tokens_have_gone_for_good() {
        let mut refusals = Refusals::default();
        let mut now = Tick::ZERO;
        for number in 0..3 * MOST as u64 {
            now = now.after(SECOND);
            let subject = (Subject::Token, keys(number).token);
            refusals.over(now, &over(number, now, Ending::Refused));
            assert!(refusals.paused(now, subject, keys(number), now.after(SECOND)));
            if number % 7 > 0 {
                continue;
            }
            now = now.after(SECOND);
            let after = SECOND;
            let recovery = refusals.over(now, &over(number, now, Ending::Answered));
            assert_eq!(recovery, Some(Recovery { refusals: 1, after }), "{number}");
            let resumed = refusals.resumed(now, [subject].into_iter());
            assert_eq!(resumed.len(), 1, "{number}");
        }
        assert!(refusals.refused.len() <= MOST && refusals.paused.len() <= MOST);
    }
}
