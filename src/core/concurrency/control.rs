//! How many requests of one token may be in flight, and what moves that figure.

use std::time::Duration;

use super::{Bounds, Change, Evidence, Headroom, Left, Place, Reason, Settings};
use crate::core::tick::Tick;

/// With less of a limit left than this share the concurrency is halved.
const LOW: f64 = 0.2;
/// With more left than this share it may double.
const HIGH: f64 = 0.7;

/// The first wait before a level that was refused is tried again; every further overload doubles it.
const FIRST_TRUCE: Duration = Duration::from_secs(2);
const LONGEST_TRUCE: Duration = Duration::from_secs(16);

/// A level that was refused must hold for so many round trips before the next is tried.
const PATIENCE: u32 = 16;

/// A request that is out for longer has been accepted: whoever refuses for overload does so at once. Twice the least time that a
/// response has spent on the network, within these bounds.
const SILENCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// While no response has come yet.
const FIRST_SILENCE: Duration = Duration::from_millis(150);

/// The limit of one token. Knows when it moves, not who waits.
#[derive(Debug)]
pub(super) struct Control {
    limit: u32,
    /// How often the limit was set.
    round: u64,
    /// The round that began with the last decrease.
    decreased: u64,
    /// So many round trips one after another a full crowd has been answered in since the limit was set.
    held: u32,
    /// When the limit was set, or the last of these was over.
    since: Tick,
    /// When the limit was filled in this round.
    filled: Option<Tick>,
    /// The highest level that has held.
    proven: u32,
    /// The lowest level that was refused, until it is seen to hold. `None` before the first overload, too.
    refused: Option<u32>,
    /// The level at which the last overload came that told of one.
    last_refused: Option<u32>,
    /// The next step beyond a level that was refused and holds now.
    stride: u32,
    last_overload: Option<Tick>,
    /// Whether the last decrease was an overload that told of a level.
    is_believed: bool,
    truce: Duration,
    spare: Spare,
    /// When low headroom last halved the limit.
    last_halved: Option<Tick>,
    /// Since when no headroom was seen that forbids to double.
    ample_since: Tick,
    /// The least time a response has spent on the network.
    network: Option<Duration>,
    last_change: Option<(Tick, Change)>,
    /// Whether the last change has been told.
    is_told: bool,
}

/// What the last response said of headroom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spare {
    Low,
    Middling,
    /// Or unknown.
    Ample,
}

impl Control {
    pub(super) fn new(now: Tick, bounds: &Bounds) -> Self {
        Self {
            limit: bounds.start,
            round: 0,
            decreased: 0,
            held: 0,
            since: now,
            filled: None,
            proven: 0,
            refused: None,
            last_refused: None,
            stride: 1,
            last_overload: None,
            is_believed: false,
            truce: FIRST_TRUCE,
            spare: Spare::Ample,
            last_halved: None,
            ample_since: now,
            network: None,
            last_change: None,
            is_told: true,
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// The last change, and when it was.
    pub(super) fn last_change(&self) -> Option<(Tick, Change)> {
        self.last_change
    }

    /// The last change, once.
    pub(super) fn take_news(&mut self) -> Option<Change> {
        let (_, change) = self.last_change.filter(|_| !self.is_told)?;
        self.is_told = true;
        Some(change)
    }

    /// Whether the limit never moved.
    pub(super) fn is_fresh(&self) -> bool {
        self.round == 0
    }

    /// A request was granted as the `level`th in flight.
    pub(super) fn granted(&mut self, now: Tick, level: u32) {
        if level >= self.limit {
            self.filled.get_or_insert(now);
        }
    }

    /// A request was given up: that nobody is refused from here on says nothing of a full crowd, until it is full again.
    pub(super) fn gave_up(&mut self) {
        self.filled = None;
    }

    /// When the limit will rise by itself if nothing bad comes; see [`Control::rise`].
    pub(super) fn rises_at(&self, settings: &Settings) -> Option<Tick> {
        let may = settings.headroom == Headroom::Unexplained
            && !self.is_careful()
            && self.spare == Spare::Ample
            && self.limit < settings.bounds.max;
        Some(self.filled.filter(|_| may)?.after(self.silence()))
    }

    /// Slow start does not wait for slow answers: that nobody was refused for a while is evidence enough.
    pub(super) fn rise(&mut self, now: Tick, settings: &Settings) {
        if self.rises_at(settings).is_some_and(|at| now >= at) {
            self.start_slowly(now, &settings.bounds);
        }
    }

    /// No doubling after the first overload that told of a level.
    fn is_careful(&self) -> bool {
        self.last_refused.is_some()
    }

    fn silence(&self) -> Duration {
        let (shortest, longest) = SILENCE;
        self.network.map_or(FIRST_SILENCE, |network| {
            network.saturating_mul(2).clamp(shortest, longest)
        })
    }

    pub(super) fn hear(
        &mut self,
        now: Tick,
        place: &Place,
        in_flight: u32,
        evidence: &Evidence,
        settings: &Settings,
    ) {
        let bounds = &settings.bounds;
        match *evidence {
            Evidence::Nothing => {}
            Evidence::Overloaded => self.overloaded(now, place, in_flight, bounds),
            Evidence::Answered { service_time, left } => {
                let round_trip = now.since(place.granted);
                let network = round_trip.saturating_sub(service_time.unwrap_or_default());
                self.network = Some(self.network.map_or(network, |least| least.min(network)));
                match left {
                    Some(left) => self.weigh(now, place, left, bounds),
                    None if settings.headroom == Headroom::Unexplained => self.spare = Spare::Ample,
                    // Some responses tell, others do not.
                    None => {}
                }
                if self.is_of_now(place) && place.granted >= self.since && place.level >= self.limit
                {
                    self.held = self.held.saturating_add(1);
                    self.since = now;
                    match settings.headroom {
                        Headroom::Unexplained => self.grow(now, bounds),
                        Headroom::Literal => self.double_when_ample(now, left, bounds),
                    }
                }
            }
        }
    }

    /// Whether the request was granted after the last decrease, so that it tells of the limit as it is.
    fn is_of_now(&self, place: &Place) -> bool {
        place.round >= self.decreased
    }

    /// The window is the one over which the figure is counted: only when it is over can a decrease have moved the figure.
    fn weigh(&mut self, now: Tick, place: &Place, left: Left, bounds: &Bounds) {
        if left.share > HIGH {
            self.spare = Spare::Ample;
            return;
        }
        self.ample_since = now;
        if left.share >= LOW {
            self.spare = Spare::Middling;
            return;
        }
        self.spare = Spare::Low;
        let is_due = self
            .last_halved
            .is_none_or(|last| now.since(last) >= left.window);
        if is_due && self.is_of_now(place) {
            self.last_halved = Some(now);
            self.is_believed = false;
            self.set(now, self.limit / 2, Reason::LowHeadroom, bounds);
        }
    }

    /// The plain rule, for [`Headroom::Literal`].
    fn double_when_ample(&mut self, now: Tick, left: Option<Left>, bounds: &Bounds) {
        let is_ample = |left: &Left| now.since(self.ample_since) >= left.window.saturating_mul(2);
        if self.spare == Spare::Ample && left.as_ref().is_some_and(is_ample) {
            self.ample_since = now;
            self.set(
                now,
                self.limit.saturating_mul(2),
                Reason::HighHeadroom,
                bounds,
            );
        }
    }

    fn overloaded(&mut self, now: Tick, place: &Place, in_flight: u32, bounds: &Bounds) {
        if !self.is_of_now(place) {
            // Granted before the last decrease: the same overload. It may tell a lower level at which that began.
            if place.round + 1 == self.decreased && self.is_believed {
                self.refuse(place.level.max(self.limit.saturating_add(1)));
            }
            return;
        }
        // One that was granted under a lower limit may have come to the server after those of the present one.
        let level = match place.round == self.round {
            true => place.level,
            false => place.level.max(in_flight),
        };
        let quiet = self
            .last_overload
            .is_none_or(|at| now.since(at) >= FIRST_TRUCE);
        // A level that has held is refused once: a rate, a fault, a stray. Only a second one soon after it tells that the server bears
        // less than it did.
        self.is_believed = !(quiet && level <= self.proven);
        let mut half = self.limit / 2;
        if self.is_believed {
            // A limit far above what was in flight is brought down to where the refusal came, but the first few are never blamed.
            half = half.min(level.saturating_sub(1).max(bounds.start));
        }
        let half = half.max(bounds.min);
        if self.is_believed {
            self.learn(level, half.saturating_add(1));
        }
        self.last_overload = Some(now);
        self.ample_since = now;
        if half == self.limit {
            // It cannot go lower. The next request to be granted begins a new round trip all the same.
            self.begin_round(now);
            self.mark_decrease();
        }
        self.set(now, half, Reason::Overload, bounds);
    }

    /// A `level` was refused, but no less than `least` are to blame.
    fn learn(&mut self, level: u32, least: u32) {
        // About the level that was refused before is refused again: it may be tried less often. A lower one is another matter.
        let is_known = self
            .last_refused
            .is_some_and(|refused| level > refused / 4 * 3);
        self.last_refused = Some(level);
        self.truce = match is_known {
            true => self.truce.saturating_mul(2).min(LONGEST_TRUCE),
            false => FIRST_TRUCE,
        };
        self.stride = 1;
        self.refused = None;
        self.refuse(level.max(least));
    }

    fn refuse(&mut self, level: u32) {
        let level = self.refused.map_or(level, |refused| refused.min(level));
        self.refused = Some(level);
        self.proven = self.proven.min(level - 1);
    }

    /// An answer supports the limit as it is.
    fn grow(&mut self, now: Tick, bounds: &Bounds) {
        let limit = self.limit;
        match self.spare {
            Spare::Low => return,
            _ if self.is_careful() => {}
            Spare::Middling => {
                self.proven = self.proven.max(limit);
                return self.set(now, limit.saturating_add(1), Reason::Probe, bounds);
            }
            Spare::Ample => {
                self.proven = self.proven.max(limit);
                return self.start_slowly(now, bounds);
            }
        }
        if limit < self.proven {
            let back = limit.saturating_mul(2).min(self.proven);
            return self.set(now, back, Reason::Recovery, bounds);
        }
        self.proven = limit;
        let to = match self.refused {
            Some(refused) if limit.saturating_add(1) < refused => limit + (refused - limit) / 2,
            Some(refused) if limit < refused => {
                if self
                    .last_overload
                    .is_some_and(|at| now.since(at) < self.truce)
                {
                    return;
                }
                refused
            }
            // Once may be luck.
            Some(_) if self.held < PATIENCE => return,
            // What was refused holds now, so that more may be possible: by larger and larger steps.
            _ => {
                self.refused = None;
                if self.stride > 1 {
                    self.truce = (self.truce / 2).max(FIRST_TRUCE);
                }
                let to = limit.saturating_add(self.stride);
                self.stride = self.stride.saturating_mul(2);
                to
            }
        };
        self.set(now, to, Reason::Probe, bounds);
    }

    fn start_slowly(&mut self, now: Tick, bounds: &Bounds) {
        self.set(now, self.limit.saturating_mul(2), Reason::SlowStart, bounds);
    }

    fn set(&mut self, now: Tick, to: u32, reason: Reason, bounds: &Bounds) {
        let (from, to) = (self.limit, to.clamp(bounds.min, bounds.max));
        if from == to {
            return;
        }
        self.limit = to;
        self.begin_round(now);
        if to < from {
            self.mark_decrease();
        }
        let change = Change {
            from,
            to,
            reason,
            ago: Duration::ZERO,
        };
        self.last_change = Some((now, change));
        self.is_told = false;
    }

    fn begin_round(&mut self, now: Tick) {
        self.round += 1;
        self.held = 0;
        self.since = now;
        self.filled = None;
    }

    fn mark_decrease(&mut self) {
        self.decreased = self.round;
    }
}
