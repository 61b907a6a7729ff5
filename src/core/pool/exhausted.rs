//! The end of a pool, and whether it has been told.

use std::time::{Duration, SystemTime};

use super::{DAWN, Day, Doubt, Pool};
use crate::core::notice::Event;
use crate::core::tick::{Now, Tick};

/// The pool was empty.
#[derive(Debug)]
pub(super) struct Exhausted {
    since: Tick,
    /// Who goes from here on ends it.
    pub(super) until: SystemTime,
}

impl Pool {
    /// The server says that the pool is empty. Where nobody knows when it is filled again, the next request is sent alone.
    pub(in crate::core) fn pause(&mut self, now: Tick, day: &Day) {
        if !self.counts(day) {
            self.rare().doubt = Some(Doubt {
                since: now,
                asking: 0,
            });
        }
    }

    /// Whether a request is out to learn if the pool has been filled again.
    pub(super) fn is_asking(&self, day: &Day) -> bool {
        let doubt = self.rare.as_ref().and_then(|rare| rare.doubt.as_ref());
        doubt.is_some_and(|doubt| doubt.asking > 0) && !self.counts(day)
    }

    /// Whether a response to what was sent then is of yesterday.
    pub(super) fn is_of_yesterday(&self, sent: Tick) -> bool {
        sent < self.dawn.before(DAWN)
    }

    pub(super) fn is_provisional(&self) -> bool {
        let evidence = self.evidence.as_ref();
        evidence.is_some_and(|evidence| evidence.is_provisional())
    }

    /// The server has refused a request that was sent at `sent`, because the pool is empty. Gives how long that holds, if it is
    /// about today, and whether that is news.
    pub(in crate::core) fn exhaust(
        &mut self,
        now: Now,
        day: &Day,
        sent: Tick,
        retry_after: Option<Duration>,
    ) -> Option<(Duration, bool)> {
        let mut lasts = self.until_reset(now);
        if self.counts(day) {
            if self.is_of_yesterday(sent) {
                return None;
            }
            if sent < self.dawn {
                lasts = lasts.min(self.dawn.since(now.tick));
            }
        }
        if let Some(retry_after) = retry_after {
            lasts = lasts.min(retry_after);
        }
        if lasts.is_zero() {
            return None;
        }
        Some((lasts, self.exhausted(now, now.wall + lasts)))
    }

    /// Gives whether it was not so before.
    fn exhausted(&mut self, now: Now, until: SystemTime) -> bool {
        match &mut self.rare().exhausted {
            Some(exhausted) => {
                exhausted.until = until;
                false
            }
            exhausted => {
                let since = now.tick;
                *exhausted = Some(Exhausted { since, until });
                true
            }
        }
    }

    /// Gives for how long, if that is news.
    pub(super) fn exhaust_if_used_up(&mut self, now: Now, day: &Day) -> Option<Duration> {
        if !self.is_used_up(day) {
            return None;
        }
        let lasts = match self.is_provisional() {
            true => self.dawn.since(now.tick),
            false => self.until_reset(now),
        };
        self.exhausted(now, now.wall + lasts).then_some(lasts)
    }

    /// There may be something left again before the reset.
    pub(in crate::core) fn reopen(&mut self, now: Now, day: &Day) {
        if self.is_used_up(day) {
            return;
        }
        if let Some(exhausted) = self.rare.as_mut().and_then(|rare| rare.exhausted.as_mut()) {
            exhausted.until = exhausted.until.min(now.wall);
        }
    }

    /// What there is to tell when the pool is forgotten.
    pub(in crate::core) fn last_event(&self, now: Tick) -> Option<Event> {
        let exhausted = self.rare.as_ref()?.exhausted.as_ref()?;
        Some(exhausted.event(now))
    }
}

impl Exhausted {
    pub(super) fn event(&self, now: Tick) -> Event {
        Event::Resumed {
            after: now.since(self.since),
        }
    }
}
