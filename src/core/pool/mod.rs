//! A daily pool: a count that starts again at midnight of a zone, or when somebody says.

mod evidence;
mod exhausted;
mod observe;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::evidence::Evidence;
use self::exhausted::Exhausted;
pub(super) use self::observe::Lesson;
use super::lease::Slots;
use super::notice::Event;
use super::{Now, Tick};
use crate::plan::{Lane, Reserve, Zone};

/// No day is longer.
pub(super) const LONGEST_DAY: Duration = Duration::from_secs(25 * 60 * 60);
/// A reset that is further away by so much was reckoned by a wall clock that was ahead. By less, the clock has been set back a
/// little, or two have read it one after the other and come here the other way round.
const AHEAD: Duration = Duration::from_secs(60 * 60);
/// How long a day is when nobody knows, and the window of a pool where one is asked for.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The server's clock may be late by this much: what it says of requests that were sent before may still be meant of yesterday.
const DAWN: Duration = Duration::from_secs(5 * 60);

/// A reset that was told counts until so many resets have passed without any use of the pool in between.
const TOLD: u8 = 2;

/// The rule of a daily pool, ready for use.
#[derive(Clone, Debug)]
pub(super) struct Day {
    pub(super) quota: u32,
    /// So much of the quota is kept for `Interactive`.
    pub(super) reserve: Reserve,
    pub(super) zone: Zone,
    /// Whether `Bulk` is spread over the rest of the day.
    pub(super) paced: bool,
}

/// The requests of one key under one daily limit.
#[derive(Debug)]
pub(super) struct Pool {
    /// Counted today, those in flight included.
    used: u32,
    /// Those of `Interactive` among them; of those that are in flight across a reset nobody remembers it.
    interactive: u32,
    in_flight: u32,
    /// Over, but the server may count them after the reset.
    late: u32,
    /// When the count starts again.
    reset: SystemTime,
    /// When the server's day has begun, too, however late its clock is.
    dawn: Tick,
    /// What responses say. Boxed, because not every API says anything.
    evidence: Option<Box<Evidence>>,
    /// Boxed, because most pools never have it.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    doubt: Option<Doubt>,
    exhausted: Option<Exhausted>,
    /// Nobody of `Bulk` goes before, where they are spread over the day.
    paced_until: Tick,
    /// Whether the reset is one that somebody has told, and for how many idle days that holds; see [`TOLD`].
    told: u8,
}

/// It is unknown whether the pool has been filled again.
#[derive(Debug)]
struct Doubt {
    since: Tick,
    /// Requests that are out to learn it.
    asking: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            used: 0,
            interactive: 0,
            in_flight: 0,
            late: 0,
            reset: UNIX_EPOCH,
            dawn: Tick::ZERO,
            evidence: None,
            rare: None,
        }
    }
}

/// # The day
impl Pool {
    /// Starts a new day when it has come. What is in flight across midnight counts for the new day, too, because the server may
    /// count it there.
    pub(super) fn expire(&mut self, now: Now, day: &Day) {
        if now.wall >= self.reset {
            self.begin_day(now, day);
        } else if self.reset > now.wall + LONGEST_DAY + AHEAD {
            // The wall clock was far ahead when the day began, and has been set right since.
            self.reset = day.zone.next_reset(now.wall);
        }
        if now.tick >= self.dawn && self.is_provisional() {
            if let Some(evidence) = &mut self.evidence {
                evidence.forget_use();
            }
            self.reopen(now, day);
        }
        if let Some(rare) = &mut self.rare {
            rare.doubt
                .take_if(|doubt| now.tick.since(doubt.since) > LONGEST_DAY);
        }
    }

    fn begin_day(&mut self, now: Now, day: &Day) {
        let ended = self.reset;
        let is_the_first = ended == UNIX_EPOCH;
        if let Some(rare) = &mut self.rare {
            rare.paced_until = Tick::ZERO;
            if let Some(doubt) = &mut rare.doubt {
                // Whoever asked before may never be answered.
                doubt.asking = 0;
            }
            rare.told = match rare.told {
                // A zone knows its own resets.
                _ if !day.zone.is_unknown() => 0,
                told if self.used == 0 => told.saturating_sub(1),
                0 => 0,
                _ => TOLD,
            };
        }
        let is_the_day_after = !is_the_first && now.wall < self.reset_after(ended, ended, day);
        let late = std::mem::take(&mut self.late);
        self.used = self.in_flight + if is_the_day_after { late } else { 0 };
        self.interactive = 0;
        self.reset = self.reset_after(ended, now.wall, day);
        let before = now.wall.checked_sub(DAWN).unwrap_or(now.wall);
        let began = match is_the_day_after {
            true => ended,
            false => day.zone.next_reset(before),
        };
        self.dawn = match dawn(now, began) {
            Some(dawn) => dawn,
            // The process has just begun, or nobody has asked for days.
            None if is_the_first => Tick::ZERO,
            None => now.tick,
        };
        if let Some(evidence) = &mut self.evidence {
            evidence.forget_use();
        }
    }

    /// The first reset after `wall`, if there was one at `last`.
    fn reset_after(&self, last: SystemTime, wall: SystemTime, day: &Day) -> SystemTime {
        if day.zone.is_unknown() && self.is_told() {
            let days = wall.duration_since(last).unwrap_or_default().as_secs() / DAY.as_secs();
            let days = u32::try_from(days).unwrap_or(u32::MAX - 1) + 1;
            return last + DAY.saturating_mul(days);
        }
        day.zone.next_reset(wall)
    }

    /// Somebody knows when the pool is filled again.
    pub(super) fn tell_reset(&mut self, now: Now, day: &Day, reset: SystemTime) {
        if day.zone.is_unknown() {
            let began = reset.checked_sub(DAY).unwrap_or(now.wall);
            self.dawn = dawn(now, began).unwrap_or(now.tick);
        }
        self.reset = reset;
        let rare = self.rare();
        rare.told = TOLD;
        rare.doubt = None;
        if let Some(exhausted) = &mut rare.exhausted {
            exhausted.until = exhausted.until.min(reset);
        }
        self.pace_anew(now, day);
        self.reopen(now, day);
    }

    fn is_told(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.told > 0)
    }

    /// The rule has changed, perhaps to another midnight; what is known of the day stays.
    pub(super) fn change_rule(&mut self, now: Now, day: &Day) {
        if now.wall < self.reset && !self.is_told() {
            self.reset = day.zone.next_reset(now.wall);
        }
        if !day.zone.is_unknown() {
            if let Some(rare) = &mut self.rare {
                rare.doubt = None;
            }
        }
        self.pace_anew(now, day);
        self.reopen(now, day);
    }

    pub(super) fn reset_tick(&self, now: Now) -> Tick {
        now.tick_of(self.reset)
    }

    fn until_reset(&self, now: Now) -> Duration {
        self.reset.duration_since(now.wall).unwrap_or_default()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// # The count
impl Pool {
    /// Where nobody knows when the day begins, nothing is counted.
    fn counts(&self, day: &Day) -> bool {
        !day.zone.is_unknown() || self.is_told()
    }

    /// What the pool holds: as the plan says, or less if the server says so.
    pub(super) fn quota(&self, day: &Day) -> u32 {
        let learned = self.evidence.as_ref().and_then(|said| said.quota());
        learned.map_or(day.quota, |learned| learned.min(day.quota))
    }

    /// Used today by us, those in flight included.
    pub(super) fn own(&self) -> u32 {
        self.used
    }

    /// Those that are over.
    pub(super) fn over_today(&self) -> Slots {
        let over = self.used.saturating_sub(self.in_flight);
        let interactive = self.interactive.min(over);
        Slots {
            bulk: over - interactive,
            interactive,
        }
    }

    /// When the count starts again next.
    pub(super) fn reset(&self) -> SystemTime {
        self.reset
    }

    /// Used today by others, as far as the server has told.
    pub(super) fn foreign(&self, day: &Day) -> u32 {
        let foreign = self.evidence.as_ref().map(|said| said.foreign(day.quota));
        foreign.unwrap_or_default()
    }

    fn used(&self, day: &Day) -> u32 {
        self.used.saturating_add(self.foreign(day))
    }

    fn left(&self, day: &Day, lane: Lane) -> u32 {
        let (quota, used) = (self.quota(day), self.used(day));
        let left = quota.saturating_sub(used);
        match lane {
            Lane::Interactive => left,
            Lane::Bulk => {
                let unreserved = quota.saturating_sub(day.reserve.of(quota));
                left.min(unreserved.saturating_sub(used.saturating_sub(self.interactive)))
            }
        }
    }

    fn is_used_up(&self, day: &Day) -> bool {
        self.counts(day) && self.left(day, Lane::Interactive) == 0
    }

    /// Requests that somebody of this lane may make now.
    pub(super) fn free(&self, now: Tick, day: &Day, lane: Lane) -> u32 {
        let doubt = self.rare.as_ref().and_then(|rare| rare.doubt.as_ref());
        match doubt {
            _ if self.counts(day) => match lane {
                Lane::Bulk if day.paced && self.paced_until() > now => 0,
                Lane::Bulk if day.paced => self.left(day, lane).min(1),
                _ => self.left(day, lane),
            },
            Some(doubt) => 1_u32.saturating_sub(doubt.asking),
            None => u32::MAX,
        }
    }

    pub(super) fn take(&mut self, now: Now, day: &Day, lane: Lane) -> [Option<Event>; 2] {
        self.used = self.used.saturating_add(1);
        self.interactive += u32::from(lane == Lane::Interactive);
        self.in_flight = self.in_flight.saturating_add(1);
        let mut resumed = None;
        if let Some(rare) = &mut self.rare {
            if let Some(doubt) = &mut rare.doubt {
                doubt.asking += 1;
            }
            resumed = rare
                .exhausted
                .take_if(|exhausted| exhausted.until <= now.wall)
                .map(|exhausted| exhausted.event(now.tick));
        }
        if day.paced && lane == Lane::Bulk && self.counts(day) {
            let pause = self.spacing(now, day);
            self.rare().paced_until = now.tick.after(pause);
        }
        let exhausted = self.exhaust_if_used_up(now, day);
        [resumed, exhausted.map(|lasts| Event::Exhausted { lasts })]
    }

    /// A request that was granted at `granted` was not sent.
    pub(super) fn refund(&mut self, granted: Tick, lane: Lane) {
        self.used = self.used.saturating_sub(1);
        match (lane, &mut self.rare) {
            (Lane::Interactive, _) => self.interactive = self.interactive.saturating_sub(1),
            // It was his turn, and is now that of the next.
            (Lane::Bulk, Some(rare)) => rare.paced_until = Tick::ZERO,
            (Lane::Bulk, None) => {}
        }
        self.over(granted, false);
    }

    /// A request that was sent at `sent` is over; the server counted it at `latest` at the latest. Gives whether its answer ends
    /// the doubt.
    pub(super) fn settle(&mut self, sent: Tick, latest: SystemTime, answered: bool) -> bool {
        self.late += u32::from(latest >= self.reset);
        self.over(sent, answered)
    }

    fn over(&mut self, began: Tick, answered: bool) -> bool {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(rare) = &mut self.rare else {
            return false;
        };
        // What was sent before the doubt began tells nothing about it.
        let Some(doubt) = rare.doubt.as_mut().filter(|doubt| began > doubt.since) else {
            return false;
        };
        doubt.asking = doubt.asking.saturating_sub(1);
        if answered {
            rare.doubt = None;
        }
        answered
    }

    /// Whether a fresh pool would behave the same.
    pub(super) fn is_blank(&self, now: Now, day: &Day) -> bool {
        let is_quiet = |rare: &Rare| {
            let is_over = |exhausted: &Exhausted| exhausted.until <= now.wall;
            rare.doubt.is_none() && rare.told == 0 && rare.exhausted.as_ref().is_none_or(is_over)
        };
        self.used(day) == 0 && self.rare.as_deref().is_none_or(is_quiet)
    }
}

/// # When somebody can go
impl Pool {
    fn paced_until(&self) -> Tick {
        self.rare
            .as_ref()
            .map_or(Tick::ZERO, |rare| rare.paced_until)
    }

    /// How far apart those of `Bulk` go, so that the last of them goes at the end of the day.
    fn spacing(&self, now: Now, day: &Day) -> Duration {
        let left = self.left(day, Lane::Bulk);
        self.until_reset(now) / left.max(1)
    }

    /// More may be left than when the last of `Bulk` went, or for a shorter time: then the next one goes sooner.
    pub(super) fn pace_anew(&mut self, now: Now, day: &Day) {
        let spacing = self.spacing(now, day);
        if let Some(rare) = &mut self.rare {
            rare.paced_until = rare.paced_until.min(now.tick.after(spacing));
        }
    }

    /// When the pool may have something for somebody who must wait now.
    pub(super) fn next_event(&self, now: Now) -> Tick {
        let dawn = self.is_provisional().then_some(self.dawn);
        let paced = Some(self.paced_until()).filter(|until| *until > now.tick);
        let events = [dawn, paced].into_iter().flatten();
        events.fold(self.reset_tick(now), Tick::min)
    }

    /// The earliest time at which the `nth` of his lane can go. A lower bound.
    pub(super) fn earliest(&self, now: Now, day: &Day, lane: Lane, nth: u32) -> Tick {
        if self.free(now.tick, day, lane) >= nth || self.is_asking(day) {
            return now.tick;
        }
        let reset = self.reset_tick(now);
        if self.counts(day) && self.left(day, lane) >= nth {
            let before = self.spacing(now, day).saturating_mul(nth.saturating_sub(1));
            let first = self.paced_until().max(now.tick);
            return first.after(before).min(reset);
        }
        match self.is_provisional() {
            true => self.dawn.min(reset),
            false => reset,
        }
    }
}

/// When a day that began at `began` has begun for every server; `None` when it has not begun yet.
fn dawn(now: Now, began: SystemTime) -> Option<Tick> {
    let since = now.wall.duration_since(began).ok()?;
    Some(match since.checked_sub(DAWN) {
        Some(over) => now.tick.before(over),
        None => now.tick.after(DAWN - since),
    })
}
