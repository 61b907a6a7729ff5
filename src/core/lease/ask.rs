//! How much to ask of the store, and when.

use std::time::Duration;

use super::wire::{LimitAnswer, Slots};
use crate::core::tick::Tick;

/// A call asks for so many slots at first. As long as all of them are granted, the next one may ask for twice as many: processes that
/// start at the same time share the first window.
const FIRST: u32 = 16;
/// The rate is measured over at least this long.
const STEP: Duration = Duration::from_millis(100);
/// Slots are asked for in advance for so long, if nobody else wants them, and given back when they have been idle for so long.
const AHEAD: Duration = Duration::from_secs(1);
/// No more are asked for in advance.
const MOST_AHEAD: u32 = 256;
/// Where nothing is known of when a slot will be free, the store is asked again after this part of a window.
const PART: u32 = 8;
const SHORTEST_RETRY: Duration = Duration::from_millis(20);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// What others want is given back so soon.
const SOON: Duration = Duration::from_millis(100);

/// A horizon is looked at in so many steps.
const STEPS: u32 = 4;
/// A call is worth its while for so many slots, or for this part of those in use; for fewer it waits until so many steps of the
/// horizon have passed.
const WORTH: u32 = 5;
const WORTHY_PART: u32 = 3;
const MOST_STEPS: u32 = 3;

/// When so many slots of ours will have come into the horizon that the store should be asked again; `used_at` tells how many are in
/// use then of those that are now.
pub(in crate::core) fn gathers(
    now: Tick,
    horizon: Duration,
    used_at: impl Fn(Tick) -> u32,
) -> Duration {
    let before = used_at(now.after(horizon));
    let step = horizon / STEPS;
    let least = WORTH.max(used_at(now) / WORTHY_PART);
    let worth = |steps: &u32| {
        let then = used_at(now.after(horizon + step * *steps));
        before.saturating_sub(then) >= least
    };
    jittered(step * (1..MOST_STEPS).find(worth).unwrap_or(MOST_STEPS))
}

/// What was asked of the store, and under which circumstances.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Asked {
    /// So many slots, and no more than so many.
    pub(in crate::core) wanted: u32,
    pub(in crate::core) most: u32,
    /// Nothing was free there.
    pub(in crate::core) is_full: bool,
    pub(in crate::core) window: Duration,
    /// Slots are leased so long before they are free.
    pub(in crate::core) horizon: Duration,
    /// When the last leased slot is ready.
    pub(in crate::core) last_ready: Option<Tick>,
    /// See [`gathers`].
    pub(in crate::core) gathers: Duration,
}

/// How much one cell asks of the store.
#[derive(Debug, Default)]
pub(in crate::core) struct Appetite {
    /// Requests per second, of late.
    rate: f64,
    /// Since when they are counted, and how many there were.
    since: Tick,
    count: u32,
    last: Tick,
    /// The most that a call asks for; zero before the first.
    burst: u32,
    /// Not before then.
    retry: Tick,
    /// Somebody waits who is not helped by the slots that there are.
    unmet: bool,
    /// So many who stand in line for something else need a slot here, too.
    companions: u32,
    /// Others want more than they have.
    contended: bool,
    /// Nothing was free when the store was asked last.
    is_full: bool,
}

impl Appetite {
    pub(in crate::core) fn took(&mut self, now: Tick) {
        self.count += 1;
        self.last = now;
    }

    /// Somebody who needs a slot here stands in line elsewhere.
    pub(in crate::core) fn accompany(&mut self) {
        self.companions = self.companions.saturating_add(1);
    }

    /// So many slots it wants for those who wait, `missing` beyond what it has.
    pub(in crate::core) fn want(&mut self, missing: Slots, has_idle: bool) -> Slots {
        let companions = std::mem::take(&mut self.companions);
        let mut want = missing;
        if want.is_empty() && !has_idle {
            want.bulk = companions.min(FIRST);
        }
        self.unmet = !want.is_empty();
        want
    }

    /// The most that it takes at once; `alone` if no other process is known.
    pub(in crate::core) fn most(&self, alone: bool) -> u32 {
        match alone {
            true => u32::MAX,
            false => self.burst.max(FIRST),
        }
    }

    /// How many slots to ask for beyond what is wanted. What is leased before it is free costs nobody anything; so where all is in
    /// use, there may be one for each of the `callers`, who will come again.
    pub(in crate::core) fn spare(&mut self, now: Tick, quota: u32, callers: u32) -> u32 {
        let ahead = self.ahead(now, quota);
        if self.is_full {
            ahead.max(callers)
        } else {
            ahead
        }
    }

    /// How many slots should be at hand for those who will come.
    fn ahead(&mut self, now: Tick, quota: u32) -> u32 {
        let time = now.since(self.since);
        if time >= STEP {
            let rate = f64::from(self.count) / time.as_secs_f64();
            // After a long time only what is new counts.
            let old = (-(time.as_secs_f64() / AHEAD.as_secs_f64())).exp();
            self.rate = self.rate * old + rate * (1.0 - old);
            (self.since, self.count) = (now, 0);
        }
        if self.contended {
            return 0;
        }
        let wanted = (self.rate * AHEAD.as_secs_f64()).round() as u32;
        // The first one of a burst cannot be told from a lone one.
        let most = MOST_AHEAD.min(quota / 4);
        if wanted > 1 { wanted.min(most) } else { 0 }
    }

    /// The store has answered a call.
    pub(in crate::core) fn answered(&mut self, now: Tick, asked: &Asked, answer: &LimitAnswer) {
        self.contended = answer.contended;
        self.is_full = asked.is_full;
        let Asked {
            wanted, horizon, ..
        } = *asked;
        if wanted == 0 {
            return;
        }
        let granted = answer.granted.iter().map(|granted| granted.slots.all());
        let granted: u32 = granted.sum();
        // Where others want some, it has got its part.
        let most = if answer.contended {
            u32::MAX
        } else {
            asked.most
        };
        let is_short = granted < wanted.min(most);
        self.burst = match is_short {
            false if wanted >= most => granted.saturating_mul(2),
            false => self.burst,
            true => granted.saturating_mul(2),
        };
        let later = asked.last_ready.filter(|ready| *ready > now);
        let while_away = jittered((asked.window / PART).clamp(SHORTEST_RETRY, LONGEST_RETRY));
        self.retry = match (later, answer.next) {
            _ if answer.recovering => now.after(while_away),
            _ if !is_short && !asked.is_full => now,
            // There may be as many again.
            _ if granted < wanted && !is_short => now,
            // All that others have not got is on its way here; what is in flight will take a window to come back.
            (Some(ready), None) if granted > 0 && is_short => ready.after(while_away),
            // This was its part of all that becomes free within the horizon; ask for the next before that is over.
            (Some(_), _) if granted > 0 && is_short => now.after(asked.gathers),
            // Some are on their way; ask for more before the last of them is used.
            (Some(ready), _) if granted > 0 => ready.before(horizon / 4),
            _ if !is_short => now,
            // As soon as most of what becomes free together can be leased: should the store be gone before, nobody could use it.
            (_, Some(next)) if next > horizon => now.after(next - horizon / STEPS * (STEPS - 1)),
            (_, Some(_)) => now.after(horizon / 2),
            (_, None) => now.after(while_away),
        };
        if let Some(next) = answer.next.filter(|_| asked.is_full && !is_short) {
            // Those who come until then are asked for together.
            self.retry = self.retry.max(now.after(next).before(horizon / STEPS));
        }
        if is_short {
            self.retry = self.retry.max(now.after(jittered(SHORTEST_RETRY)));
        }
    }

    /// When to ask, if `missing` slots are missing.
    pub(in crate::core) fn due(&self, missing: bool, has_idle: bool) -> Option<Tick> {
        (missing || self.companions > 0 && !has_idle).then_some(self.retry)
    }

    /// When idle slots that nobody waits for should be given back: the store was asked last at `asked`, and the first of them is
    /// `ready` then.
    pub(in crate::core) fn give_back_at(&self, asked: Tick, ready: Option<Tick>) -> Tick {
        match self.contended {
            true => asked.after(SOON),
            false => self
                .last
                .max(asked)
                .max(ready.unwrap_or(asked))
                .after(AHEAD),
        }
    }

    /// How many idle slots to keep for those who will come.
    pub(in crate::core) fn keep(&mut self, now: Tick, quota: u32) -> u32 {
        let ahead = self.ahead(now, quota);
        match now.since(self.last) < AHEAD {
            true => ahead,
            false => 0,
        }
    }

    /// Whether the store has been told that somebody waits.
    pub(in crate::core) fn is_waiting(&self) -> bool {
        self.unmet
    }
}

/// Lengthened at random, so that processes do not ask all at once.
fn jittered(time: Duration) -> Duration {
    time + time.mul_f64(fastrand::f64() / 4.0)
}
