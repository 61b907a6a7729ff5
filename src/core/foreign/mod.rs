//! What other programs spend of a rolling limit, as far as responses tell.
//!
//! A response says how many requests the server had counted in its window just after it counted this one. What of that is not
//! ours is foreign. The figure is uncertain: nobody knows when exactly the server counted, and while a response is on its way
//! others go on. So this is a filter (Kalman, 1960) for one number, the foreign requests in the window. It knows how they
//! leave, because each leaves one window after it came, and expects new ones at the rate and with the variance that it has seen
//! so far.
//!
//! A process may start in the middle of a window, and ticks do not go below zero. So all ticks that are kept here are two windows
//! later than those outside ([`Foreign::inside`]).
//!
//! All times are those of sending: the server counts one uplink later, but that is so for ours, for the others and for the
//! request that is to be sent next, and cancels out.

mod log;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::log::Log;
use super::Tick;

/// Logs have this many steps per window.
const GRID: u32 = 256;
/// Rate and variance are measured in steps of this part of a window.
const STEPS: u32 = 20;
/// The rate is averaged over so many windows, the variance over twice as many.
const MEMORY: f64 = 4.0;
/// Responses whose request is older than the newest by more than this part of a window say nothing.
const OLDEST: u32 = 4;
/// So many standard deviations are left free beyond what is expected: about 98 of 100 futures fit.
const DEVIATIONS: f64 = 2.2;
/// Requests of others come one by one or in bursts, so that more than expected is likelier than less. This corrects the
/// quantile for it, in bursts: the second term of Cornish and Fisher (1938), `(DEVIATIONS² - 1) / 6`.
const SKEW: f64 = (DEVIATIONS * DEVIATIONS - 1.0) / 6.0;
/// No more is left free for those to come than there are, or than this: when all have left, hardly anything is blocked.
const LEAST_MARGIN: f64 = 2.0;
/// A single request goes with less when none is on its way, because its response tells more than any guess.
const PROBE_DEVIATIONS: f64 = 0.25;
/// We send at most this much faster than the share that is left to us, so that there is a response to learn from all the time.
const PACE: f64 = 0.85;
/// Of what is on its way so much has not been counted yet although by its age it should have been.
const UNCOUNTED: f64 = 0.3;
/// How much the uncertainty of when others leave adds to that of how many come.
const LEAVING: f64 = 1.5;

/// What one response says of a limit, and about which request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When its slot was taken.
    pub(super) taken: Tick,
    pub(super) sent: Tick,
    pub(super) arrived: Tick,
    /// How long the server worked after it had counted the request, if that is known.
    pub(super) service_time: Option<Duration>,
    /// How many requests the server had counted in its window.
    pub(super) used: u32,
    /// The server refused the request, and has not counted it.
    pub(super) refused: bool,
}

impl Sample {
    /// Time on the network, both ways; without a service time, all of it.
    fn network(&self) -> Duration {
        let round_trip = self.arrived.since(self.sent);
        round_trip.saturating_sub(self.service_time.unwrap_or_default())
    }
}

/// What others spend of one key's quota under one rolling limit.
///
/// Made when a response proves that there are others. Until then a key costs nothing, and of a key that we use alone nothing is
/// ever kept free.
#[derive(Debug)]
pub(super) struct Foreign {
    length: Duration,
    /// When it became known that there are others.
    since: Tick,
    /// What of our own was on its way when this was made, so that the log does not have it.
    unlogged: u32,
    own: Log,
    others: Log,
    /// The newest request that was answered with figures.
    newest: Tick,
    /// The last time at which there certainly were others.
    last_seen: Tick,
    /// Mean square error of the number of foreign requests at `newest`.
    variance: f64,
    /// Foreign requests per second, and the variance of their number per second.
    rate: f64,
    spread: f64,
    /// Until when rate and spread have been measured, and in how many steps.
    measured: Tick,
    steps: f64,
    /// Time on the network, both ways: half of the responses take less. Without service times, the least.
    network: Duration,
    /// What we kept to when we last sent something.
    quota: u32,
    /// When the next request may go, so that they do not go all at once.
    next: Tick,
}

impl Foreign {
    /// `own` is what we know of our requests in the window: the latest moment at which each can have been counted. `unlogged`
    /// are on their way, that of the sample included.
    pub(super) fn new(
        length: Duration,
        sample: &Sample,
        own: impl Iterator<Item = (Tick, u32)>,
        unlogged: u32,
    ) -> Self {
        let inside = |at: Tick| at.after(length * 2);
        let mut foreign = Self {
            length,
            since: inside(sample.arrived),
            unlogged,
            own: Log::default(),
            others: Log::default(),
            newest: inside(sample.sent).before(length),
            last_seen: inside(sample.sent),
            variance: 0.0,
            rate: 0.0,
            spread: 0.0,
            // What leaves in the first window is a guess, and its corrections look like requests that come.
            measured: inside(sample.sent).after(length),
            steps: f64::from(STEPS / 2),
            network: sample.network(),
            quota: sample.used,
            next: Tick::ZERO,
        };
        for (latest, slots) in own {
            let sent = foreign.on_grid(inside(latest).before(foreign.network));
            foreign.own.add(sent, f64::from(slots));
        }
        // Nothing is known of when they came: evenly in the window before, as if they always did. Of those who come the half is
        // expected, because they may have been the process before this one.
        let seconds = length.as_secs_f64();
        let own = foreign.own.total() + f64::from(unlogged) / 2.0;
        foreign.rate = (f64::from(sample.used) - own).max(1.0) / seconds / 2.0;
        foreign.spread = foreign.rate;
        foreign.variance = f64::from(sample.used) * f64::from(sample.used);
        foreign
    }

    fn inside(&self, at: Tick) -> Tick {
        at.after(self.length * 2)
    }

    fn grain(&self) -> Duration {
        self.length / GRID
    }

    fn on_grid(&self, at: Tick) -> Tick {
        at.round_up(self.grain())
    }

    /// We send a request, or are about to. `quota` is what we keep to.
    pub(super) fn sent(&mut self, now: Tick, quota: u32) {
        self.quota = quota;
        let gap = self.gap(now);
        let now = self.inside(now);
        self.own.add(self.on_grid(now), 1.0);
        // A timer may be late, and its steps longer than the gap.
        let due = self.next.max(now.before(self.grain()));
        self.next = due.after(gap);
    }

    /// The time between two of our requests, for what is left to us.
    fn gap(&self, now: Tick) -> Duration {
        let left = (f64::from(self.quota) - self.known(now)).max(1.0);
        self.length.mul_f64(PACE / left)
    }

    /// The request whose slot was taken then was not sent after all.
    pub(super) fn unsent(&mut self, taken: Tick) {
        let taken = self.inside(taken);
        if taken < self.since {
            self.unlogged = self.unlogged.saturating_sub(1);
        } else {
            self.own.remove(self.on_grid(taken), 1.0);
        }
    }

    /// When the request of the sample was sent, had its uplink taken as long as usual, and by how much that may be wrong.
    fn place(&mut self, sample: &Sample) -> (Tick, Duration) {
        let network = sample.network();
        let usual = self.network.max(Duration::from_micros(1));
        let timed = sample.service_time.is_some();
        if sample.refused {
            // A refusal takes no time; whether the others tell theirs is not known here, so it teaches nothing.
        } else if timed && network > usual {
            self.network = usual.mul_f64(1.03);
        } else if timed {
            // The first response may have been an uncommonly slow one.
            self.network = usual
                .div_f64(1.03)
                .min(network.max(Duration::from_micros(1)) * 2);
        } else {
            self.network = network.min(usual.mul_f64(1.001));
        }
        let sent = self.inside(sample.sent);
        if !timed {
            return (sent, (self.network / 4).max(self.grain()));
        }
        let half = network.max(self.network) / 2;
        let late = (network / 2).saturating_sub(self.network / 2);
        let early = (self.network / 2).saturating_sub(network / 2);
        (sent.after(late).before(early), half.max(self.grain()))
    }

    /// Takes in what a response says.
    pub(super) fn observe(&mut self, sample: &Sample) {
        let (sent, error) = self.place(sample);
        let sent = self.on_grid(sent);
        self.unsent(sample.taken);
        if !sample.refused {
            self.own.add(sent, 1.0);
        }
        if self.newest.since(sent) > self.length / OLDEST {
            return;
        }
        if self.inside(sample.arrived).since(self.since) > self.length {
            self.unlogged = 0;
        }
        let unlogged = f64::from(self.unlogged);
        let begin = sent.before(self.length);
        let own = self.own.sum(begin, sent) + unlogged / 2.0 - UNCOUNTED;
        let entering = self.own.sum(sent.before(error), sent.after(error));
        let leaving = self.own.sum(begin.before(error), begin.after(error));
        // Each at an edge may be on either side of it; and if this one is misplaced, all of them are, to the same side.
        let mut noise = 0.25
            + (entering + leaving) / 6.0
            + (entering - leaving).powi(2) / 12.0
            + unlogged.powi(2) / 12.0;
        let newer = sent.since(self.newest).as_secs_f64();
        let older = self.newest.since(sent).as_secs_f64();
        let spread = self.spread().max(0.1);
        noise += spread * older;
        let most = f64::from(sample.used.max(1)).powi(2);
        let variance = (self.variance + LEAVING * spread * newer).min(most);
        let gain = variance / (variance + noise);
        self.variance = variance * (1.0 - gain);
        let before = self.others.sum(begin, sent);
        let expected = self.rate() * newer;
        let seen = (f64::from(sample.used) - own).max(0.0);
        let change = expected + gain * (seen - before - expected);
        if change > 0.0 {
            self.came(change, sent);
        } else {
            self.left(-change, sent);
        }
        self.newest = self.newest.max(sent);
        // So few may be an error, which a sole user must not pay for.
        if self.present() > 1.0 + 3.0 * self.variance.sqrt() {
            self.last_seen = self.newest;
        }
        self.measure();
        let forgotten = self.newest.before(self.length + self.length / OLDEST);
        self.own.forget(forgotten);
        self.others.forget(forgotten);
        // There may be much more left to us than when the gap was set.
        let next = self.inside(sample.arrived).after(self.gap(sample.arrived));
        self.next = self.next.min(next);
    }

    /// So many more are in the window at `until` than we knew of: they came evenly since we looked last.
    fn came(&mut self, requests: f64, until: Tick) {
        let gap = until.since(self.newest).min(self.length);
        let grain = self.grain().max(Duration::from_nanos(1));
        let steps = (gap.as_nanos() / grain.as_nanos()).clamp(1, u128::from(GRID)) as u32;
        for nth in 0..steps {
            let at = self.on_grid(until.before(gap / steps * nth));
            self.others.add(at, requests / f64::from(steps));
        }
    }

    /// So many fewer are in the window at `until` than we believed: those that were about to leave, or that we thought had just
    /// come, or else the oldest.
    fn left(&mut self, mut requests: f64, until: Tick) {
        let begin = until.before(self.length);
        let about_to_leave = begin.after(self.length / 100);
        let just_came = until.before(self.length / STEPS);
        while requests > 1e-9 {
            let (oldest, end) = self.others.range(begin, until);
            let (Some(first), true) = (self.others.time(oldest), oldest < end) else {
                return;
            };
            let is_new = self.others.time(end - 1) > Some(just_came);
            let nth = if is_new && first > about_to_leave {
                end - 1
            } else {
                oldest
            };
            requests -= self.others.remove_nth(nth, requests);
        }
    }

    /// Measures rate and spread up to a little before the newest sample, because late responses may still correct the rest.
    fn measure(&mut self) {
        let step = self.length / STEPS;
        let seconds = step.as_secs_f64();
        let settled = self.newest.before(self.length / 32);
        // After a long silence most of it is not worth the while.
        self.measured = self.measured.max(settled.before(self.length));
        while self.measured.after(step) <= settled {
            let end = self.measured.after(step);
            let came = self.others.sum(self.measured, end);
            self.measured = end;
            self.steps += 1.0;
            let memory = MEMORY * f64::from(STEPS);
            self.rate += (came / seconds - self.rate) / self.steps.min(memory);
            let deviation = came - self.rate * seconds;
            self.spread +=
                (deviation * deviation / seconds - self.spread) / self.steps.min(2.0 * memory);
        }
    }

    /// Foreign requests in the window at the newest sample.
    fn present(&self) -> f64 {
        self.others
            .sum(self.newest.before(self.length), self.newest)
    }

    /// How many requests of others come at once.
    fn burst(&self) -> f64 {
        (self.spread / self.rate.max(1e-3)).clamp(1.0, 1e6)
    }

    /// Foreign requests per second. Not more than can be believed from those that are there: others may have gone.
    fn rate(&self) -> f64 {
        let bursts = self.present() / self.burst();
        let most = self.burst() * (bursts + 2.0 + 2.0 * bursts.sqrt());
        self.rate.min(most / self.length.as_secs_f64())
    }

    fn spread(&self) -> f64 {
        self.rate() * self.burst()
    }

    /// How many foreign requests of those that we know of are in the window of a request that is sent now.
    pub(super) fn known(&self, now: Tick) -> f64 {
        let now = self.inside(now);
        let known = self.others.sum(now.before(self.length), Tick::NEVER);
        if now > self.since.after(self.length) {
            return known;
        }
        // When they came is a guess still: of none it is believed that he has left before a response says so.
        known.max(self.present())
    }

    /// How many slots a request that is sent now must leave to others. `held` of ours are on their way.
    pub(super) fn blocked(&self, now: Tick, held: u32) -> u32 {
        if self.inside(now) < self.next {
            return u32::MAX;
        }
        let silence = self.silence(now);
        if silence >= self.length {
            // All that we knew of has left. Whether there are new ones the next response tells; until then nobody else goes, unless
            // it does not come.
            let asks = held > 0 && self.inside(now) < self.unanswered(now);
            return if asks { u32::MAX } else { 0 };
        }
        let known = self.known(now);
        let coming = self.rate() * silence.as_secs_f64();
        let deviation = (self.variance + self.spread() * silence.as_secs_f64()).sqrt();
        let margin = coming + DEVIATIONS * deviation + SKEW * self.burst();
        let mut blocked = known + margin.min(known.max(LEAST_MARGIN));
        if held == 0 {
            let probe = if silence > self.length / 2 {
                // What was on its way when we looked last has come since.
                known + LEAST_MARGIN
            } else {
                known + coming + PROBE_DEVIATIONS * deviation
            };
            blocked = blocked.min(probe);
        }
        blocked.round() as u32
    }

    /// When fewer may be blocked although no response has arrived.
    pub(super) fn next_change(&self, now: Tick) -> Option<Tick> {
        let unanswered = self.unanswered(now);
        let now = self.inside(now);
        let (oldest, _) = self.others.range(now.before(self.length), Tick::NEVER);
        // Looking a few times per window is enough.
        let leaves = |time: Tick| {
            time.after(self.length)
                .next()
                .max(now.after(self.length / 64))
        };
        let leaves = self.others.time(oldest).map(leaves);
        let silent = self.newest.after(self.length / 2).next();
        let stale = self.newest.after(self.length);
        let later = [self.next, silent, stale, unanswered].map(Some);
        let later = later.into_iter().chain([leaves]);
        let next = later.flatten().filter(|at| *at > now).min();
        next.map(|at| at.before(self.length * 2))
    }

    /// From then on nobody waits any longer for the response to what we sent last. What was given up before others were known is in
    /// the log when it may arrive at the latest, which may be later than now.
    fn unanswered(&self, now: Tick) -> Tick {
        let last = self.own.last(self.inside(now));
        last.map_or(Tick::ZERO, |at| at.after(self.length))
    }

    /// Whether all that we knew of has left.
    pub(super) fn is_stale(&self, now: Tick) -> bool {
        self.silence(now) >= self.length
    }

    /// How long ago the newest request was sent that was answered with figures.
    pub(super) fn silence(&self, now: Tick) -> Duration {
        self.inside(now).since(self.newest)
    }

    /// Whether there have been no others for a whole window.
    pub(super) fn is_over(&self) -> bool {
        self.newest.since(self.last_seen) >= self.length
    }

    /// Whether others are known for long enough, and to be so many, that a refusal says nothing new of how requests are counted.
    pub(super) fn explains_refusals(&self, now: Tick, quota: u32) -> bool {
        self.inside(now).since(self.since) >= self.length / 10
            && self.known(now) * 32.0 >= f64::from(quota)
    }
}
