//! What responses say of a pool.

use std::time::Duration;

use super::evidence::Sample;
use super::{Day, Pool};
use crate::core::tick::{Now, Tick};

/// What a response has told.
#[derive(Debug, Default)]
pub(in crate::core) struct Lesson {
    /// What the server says that the pool holds, if that can be.
    pub(in crate::core) quota: Option<u32>,
    /// The pool turns out to be used up, for so long.
    pub(in crate::core) exhausted: Option<Duration>,
    /// Nobody may send until then; where that is not known from the count.
    pub(in crate::core) pause: Option<Tick>,
}

impl Pool {
    /// The response to a request that was sent at `sent` says how much the pool holds and how much of it is left.
    pub(in crate::core) fn observe(
        &mut self,
        now: Now,
        sent: Tick,
        day: &Day,
        quota: Option<u64>,
        remaining: Option<u64>,
    ) -> Lesson {
        let mut lesson = Lesson::default();
        // What cannot be is not believed.
        let quota = quota.filter(|quota| *quota > 0 && remaining.is_none_or(|left| left <= *quota));
        if self.is_of_yesterday(sent) || (quota, remaining) == (None, None) {
            return lesson;
        }
        let evidence = self.evidence.get_or_insert_default();
        if let Some(quota) = quota {
            evidence.learn_quota(sent, saturating(quota));
            lesson.quota = Some(saturating(quota));
        }
        let quota = quota.unwrap_or(u64::from(evidence.quota().unwrap_or(day.quota)));
        if !self.counts(day) {
            if remaining == Some(0) {
                let exhausted = self.exhaust(now, day, sent, None);
                lesson.pause = exhausted.map(|(lasts, _)| now.tick.after(lasts));
                lesson.exhausted = exhausted.and_then(|(lasts, news)| news.then_some(lasts));
            }
            return lesson;
        }
        if let Some(counted) = remaining.and_then(|left| quota.checked_sub(left)) {
            self.note_counted(now, sent, saturating(counted));
        }
        self.pace_anew(now, day);
        lesson.exhausted = self.exhaust_if_used_up(now, day);
        self.reopen(now, day);
        lesson
    }

    /// So many requests of today are over, of all who share the pool. Gives for how long it turns out to be used up.
    pub(in crate::core) fn hear_of_others(
        &mut self,
        now: Now,
        day: &Day,
        counted: u32,
    ) -> Option<Duration> {
        let known = self.evidence.as_ref().map_or(0, |said| said.counted());
        if !self.counts(day) || counted <= known.max(self.used) {
            return None;
        }
        self.note_counted(now, now.tick, counted);
        self.pace_anew(now, day);
        self.exhaust_if_used_up(now, day)
    }

    /// Whether a figure in the response to a request that was sent then is certainly of today.
    pub(in crate::core) fn is_of_today(&self, sent: Tick) -> bool {
        sent >= self.dawn
    }

    fn note_counted(&mut self, now: Now, sent: Tick, counted: u32) {
        let provisional = sent < self.dawn;
        if provisional && now.tick >= self.dawn {
            // Perhaps of yesterday, and there will be others soon.
            return;
        }
        let sample = Sample {
            sent,
            arrived: now.tick,
            counted,
            own: self.used,
            in_flight: self.in_flight,
            provisional,
        };
        let evidence = self.evidence.get_or_insert_default();
        if let Some(most) = evidence.note(sample) {
            // Whose requests the server has forgotten is unknown; those of `Bulk` are the ones that must not be too few.
            self.interactive = self.interactive.saturating_sub(self.used - most);
            self.used = most;
        }
    }
}

fn saturating(figure: u64) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX)
}
