//! How a day goes on.
//!
//! Times are quarters of an hour since the day began, as floating point numbers.

use super::{Counts, QUARTERS};

/// Half hours are compared.
const BLOCK: usize = 2;
/// A change of level is believed where chance would make one as large less often than this.
const CHANCE: f64 = 0.2;
/// The same for a day that is compared with the day before, which explains most changes.
const CHANCE_BESIDE_YESTERDAY: f64 = 0.02;
/// A change is not looked at when it is smaller than this share of the level.
const SMALL_CHANGE: f64 = 0.1;
/// Of fewer half hours no level is made.
const LEAST_BLOCKS: usize = 3;
/// What was used before it was counted is of the same level, if it differs by less than this: as a logarithm.
const SAME_LEVEL: f64 = 0.2;
/// In this time a level has gone half of the way back to the mean of the day.
const HALF_LIFE: f64 = 48.0;
/// So much must be known of a day before its level is what was counted, in quarters of the mean; until then the day before fills
/// what is missing, or nothing does.
const KNOWN: f64 = 4.0;
const KNOWN_WITH_YESTERDAY: f64 = 8.0;
/// On a day before with fewer requests nothing can be seen.
const LEAST_REQUESTS: f64 = 100.0;
/// Where nothing was sent yesterday, something may be sent today: as a share of the mean.
const LEAST_SHARE: f64 = 0.02;

/// How far ahead models are tried on what has been, from how long ago, and how much less older trials count per quarter.
const TRIAL: usize = 12;
const TRIALS: usize = 32;
const TRIAL_FADES: f64 = 0.88;
/// Before any trial: the mean square of the error, as a logarithm, and how many trials that is worth. The day before is half as
/// wrong, if nothing else is known.
const PRIOR: f64 = 0.05;
const PRIOR_WITH_YESTERDAY: f64 = 0.025;
const PRIOR_WEIGHT: f64 = 1.0;

/// Something for each quarter of a day.
pub(super) struct Rates([f64; QUARTERS]);

impl Rates {
    const EVEN: Self = Self([1.0; QUARTERS]);

    pub(super) fn between(&self, from: f64, to: f64) -> f64 {
        let mut sum = 0.0;
        let mut at = from;
        while at < to {
            let quarter = (at as usize).min(QUARTERS - 1);
            let next = (at.floor() + 1.0).min(to);
            sum += self.0[quarter] * (next - at);
            at = next;
        }
        sum
    }

    /// When `left` requests have been sent from `from` on; `None` if not before `end`.
    pub(super) fn when(&self, from: f64, end: f64, mut left: f64) -> Option<f64> {
        let mut at = from;
        while at < end {
            let rate = self.0[(at as usize).min(QUARTERS - 1)];
            let next = (at.floor() + 1.0).min(end);
            let sent = rate * (next - at);
            if sent >= left {
                let share = if rate > 0.0 { left / rate } else { 0.0 };
                return Some(at + share);
            }
            left -= sent;
            at = next;
        }
        None
    }

    /// What the day before is like, with a mean of 1, and its mean. Smoothed a little, because bursts do not come at the same minute.
    fn like(counts: &Counts, first: usize) -> Option<(Self, f64)> {
        const AROUND: usize = 2;
        // Most days end here, and a longer one need not be followed to the hour.
        const END: usize = 96;
        let known = counts.get(first..END)?;
        let sum: f64 = known.iter().copied().map(f64::from).sum();
        if sum < LEAST_REQUESTS {
            return None;
        }
        let mean = sum / known.len() as f64;
        let mut shape = Self::EVEN;
        for (at, share) in shape.0.iter_mut().enumerate() {
            let at = at.clamp(first, END - 1);
            let around = &counts[at.saturating_sub(AROUND).max(first)..(at + AROUND + 1).min(END)];
            let sum: f64 = around.iter().copied().map(f64::from).sum();
            *share = (sum / around.len() as f64 / mean).max(LEAST_SHARE);
        }
        Some((shape, mean))
    }
}

/// What is known of a day up to a moment.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) counts: &'a Counts,
    /// From when on it was counted, in seconds.
    pub(super) from: u32,
    pub(super) until: f64,
    /// Requests before that, as far as is known.
    pub(super) before: f64,
}

impl Seen<'_> {
    /// The first quarter that was counted as a whole.
    fn first(&self) -> usize {
        (self.from.div_ceil(15 * 60) as usize).min(QUARTERS)
    }

    /// Requests from the beginning of one quarter to the beginning of another, or until now.
    fn sum(&self, first: usize, end: usize) -> f64 {
        let counts = self.counts.get(first..end.min(QUARTERS));
        let counts = counts.unwrap_or_default();
        counts.iter().copied().map(f64::from).sum()
    }

    /// The quarter that has just ended or is about to end, and one more.
    fn end(&self) -> usize {
        (self.until.ceil() as usize).min(QUARTERS)
    }

    /// The same as it was seen earlier.
    fn at(&self, until: usize) -> Self {
        Self {
            until: until as f64,
            ..*self
        }
    }

    /// The same without what was before a quarter.
    fn since(&self, quarter: usize) -> Self {
        Self {
            from: self.from.max(quarter as u32 * 15 * 60),
            before: 0.0,
            ..*self
        }
    }
}

/// Requests, and how many they are if the level is 1.
#[derive(Clone, Copy, Default)]
struct Block {
    requests: f64,
    share: f64,
}

impl Block {
    fn level(self) -> f64 {
        match self.share > 0.0 {
            true => self.requests / self.share,
            false => 0.0,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            share: self.share + other.share,
        }
    }
}

fn sum(blocks: &[Block]) -> Block {
    blocks.iter().copied().fold(Block::default(), Block::plus)
}

/// A shape of the day, and when its level is thought to have changed.
struct Model {
    shape: Rates,
    chance: f64,
    /// What is expected of a day of which nothing is known yet, and how much must be known before that is of no matter.
    expected: f64,
    known: f64,
}

impl Model {
    /// Half hours, the newest first; what is left over of a quarter belongs to the newest.
    fn blocks(&self, seen: &Seen<'_>) -> Vec<Block> {
        let first = seen.first();
        let mut end = seen.until;
        let mut blocks = Vec::new();
        let mut next = (end.ceil() as usize).saturating_sub(BLOCK);
        while next >= first && end > next as f64 {
            blocks.push(Block {
                requests: seen.sum(next, end.ceil() as usize),
                share: self.shape.between(next as f64, end),
            });
            end = next as f64;
            let Some(older) = next.checked_sub(BLOCK) else {
                break;
            };
            next = older;
        }
        blocks
    }

    /// How the day goes on from what has been seen.
    fn forecast(&self, seen: &Seen<'_>) -> Rates {
        let mean = self.mean(seen);
        let level = self.level(seen).unwrap_or(mean);
        let mut rates = Rates([0.0; QUARTERS]);
        for (at, rate) in rates.0.iter_mut().enumerate() {
            let ahead = (at as f64 + 0.5 - seen.until).max(0.0);
            let stays = 0.5_f64.powf(ahead / HALF_LIFE);
            *rate = self.shape.0[at] * (stays * level + (1.0 - stays) * mean);
        }
        rates
    }

    /// The level of the whole day, as far as it is known.
    fn mean(&self, seen: &Seen<'_>) -> f64 {
        let from = f64::from(seen.from) / (15.0 * 60.0);
        let counted = seen.sum(seen.from as usize / (15 * 60), seen.end());
        let since = match seen.before > 0.0 {
            true => 0.0,
            false => from,
        };
        self.filled(Block {
            requests: seen.before + counted,
            share: self.shape.between(since, seen.until),
        })
    }

    /// The level of what is known, and of what is expected where that is little.
    fn filled(&self, known: Block) -> f64 {
        let share = (self.known - known.share).max(0.0);
        let expected = Block {
            requests: share * self.expected,
            share,
        };
        known.plus(expected).level()
    }

    /// The level since it has changed last.
    fn level(&self, seen: &Seen<'_>) -> Option<f64> {
        let blocks = self.blocks(seen);
        let mut recent = &blocks[..];
        while let Some(newer) = self.change(recent) {
            recent = &recent[..newer];
        }
        if recent.is_empty() {
            return None;
        }
        let now = self.filled(sum(recent));
        let mean = self.mean(seen);
        let is_same = (now / mean).ln().abs() < SAME_LEVEL;
        let is_whole = recent.len() == blocks.len();
        match is_whole && seen.before > 0.0 && is_same {
            true => Some(mean),
            false => Some(now),
        }
    }

    /// How many of the blocks are newer than the change of the level, if there is one: Pettitt's test.
    fn change(&self, blocks: &[Block]) -> Option<usize> {
        let levels: Vec<f64> = blocks.iter().map(|block| block.level()).collect();
        let mut best = (0.0, 0);
        let mut statistic = 0.0;
        for (nth, level) in levels.iter().enumerate() {
            let sign = |other: &f64| match other.total_cmp(level) {
                std::cmp::Ordering::Less => -1.0,
                std::cmp::Ordering::Equal => 0.0,
                std::cmp::Ordering::Greater => 1.0,
            };
            statistic += levels.iter().map(sign).sum::<f64>();
            if f64::abs(statistic) > best.0 {
                best = (f64::abs(statistic), nth + 1);
            }
        }
        let (most, newer) = best;
        let count = levels.len() as f64;
        let chance = 2.0 * (-6.0 * most * most / (count.powi(3) + count.powi(2))).exp();
        if newer < LEAST_BLOCKS || newer >= blocks.len() || chance >= self.chance {
            return None;
        }
        let (now, then) = (sum(&blocks[..newer]).level(), sum(&blocks[newer..]).level());
        ((now - then).abs() > SMALL_CHANGE * now.max(then)).then_some(newer)
    }

    /// The mean square of the error with which it would have foretold the last hours, as a logarithm.
    fn error(&self, seen: &Seen<'_>, prior: f64) -> f64 {
        let now = seen.until as usize;
        let first = (seen.first() + 4).max(now.saturating_sub(TRIALS));
        let mut sum = (PRIOR_WEIGHT * prior, PRIOR_WEIGHT);
        for origin in (first..now.saturating_sub(3)).rev().step_by(2) {
            let end = (origin + TRIAL).min(now);
            let foretold = self
                .forecast(&seen.at(origin))
                .between(origin as f64, end as f64);
            let sent = seen.sum(origin, end);
            // A few requests more or less are no error.
            let few = 0.02 * (foretold + sent) + f64::MIN_POSITIVE;
            let error = ((foretold + few) / (sent + few)).ln();
            let weight = TRIAL_FADES.powi((now - end) as i32);
            sum = (sum.0 + weight * error * error, sum.1 + weight);
        }
        sum.0 / sum.1
    }
}

/// How many requests are sent in each quarter, from now on. Of the day before, it is known from when on it was counted, in seconds.
pub(super) fn forecast(seen: &Seen<'_>, yesterday: Option<(&Counts, u32)>) -> Rates {
    let mut even = Model {
        shape: Rates::EVEN,
        chance: CHANCE,
        expected: 0.0,
        known: KNOWN,
    };
    let yesterday = yesterday.and_then(|(counts, from)| {
        let first = from.div_ceil(15 * 60) as usize;
        Some((first, Rates::like(counts, first)?))
    });
    let Some((first, (shape, expected))) = yesterday else {
        return even.forecast(seen);
    };
    (even.expected, even.known) = (expected, KNOWN_WITH_YESTERDAY);
    let alike = Model {
        shape,
        chance: CHANCE_BESIDE_YESTERDAY,
        ..even
    };
    let known = if first > 0 { seen.since(first) } else { *seen };
    let weight = 1.0 / even.error(seen, PRIOR);
    let weight_alike = 1.0 / alike.error(&known, PRIOR_WITH_YESTERDAY);
    let mut rates = alike.forecast(&known);
    for (rate, even) in rates.0.iter_mut().zip(&even.forecast(seen).0) {
        *rate = (*rate * weight_alike + even * weight) / (weight + weight_alike);
    }
    rates
}
