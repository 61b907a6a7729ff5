//! Credit where nobody tells the service time: a share of the round trip, learned by being refused.

use std::time::Duration;

use super::Tick;
use super::window::Window;

/// The share that one key has learned under one limit.
///
/// It grows by a step per window while nothing is refused. A refusal halves it and marks a ceiling just below where it was, up to
/// which it grows back; every further refusal doubles the time until it is tried again to go beyond.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Learned {
    /// In 1/1024.
    share: u32,
    grown: Tick,
    ceiling: Option<Ceiling>,
}

#[derive(Clone, Copy, Debug)]
struct Ceiling {
    share: u32,
    set: Tick,
    /// Windows until the next try beyond it.
    patience: u32,
}

/// The whole round trip.
const WHOLE: u32 = 1024;
/// How much the share grows per window.
const STEP: u32 = 16;
/// Windows until the first ceiling is tried again, and until any is.
const FIRST_PATIENCE: u32 = 256;
const LONGEST_PATIENCE: u32 = 1 << 14;

impl Learned {
    /// The time that is credited of this round trip.
    pub(super) fn credit(&mut self, now: Tick, round_trip: Duration, window: &Window) -> Duration {
        if now.since(self.grown) >= window.length {
            self.grown = now;
            let beyond = self.ceiling.as_ref().is_none_or(|ceiling| {
                now.since(ceiling.set) >= window.length.saturating_mul(ceiling.patience)
            });
            let most = match &self.ceiling {
                Some(ceiling) if !beyond => ceiling.share,
                _ => WHOLE,
            };
            self.share = (self.share + STEP).min(most);
        }
        round_trip.saturating_mul(self.share) / WHOLE
    }

    /// A limit that should have been respected has refused a request.
    pub(super) fn refused(&mut self, now: Tick, window: &Window) {
        let recent = |ceiling: &Ceiling| now.since(ceiling.set) < window.length;
        if self.ceiling.as_ref().is_some_and(recent) {
            return;
        }
        let patience = self
            .ceiling
            .map_or(FIRST_PATIENCE, |ceiling| ceiling.patience * 2);
        self.ceiling = Some(Ceiling {
            share: self.share.saturating_sub(2 * STEP),
            set: now,
            patience: patience.min(LONGEST_PATIENCE),
        });
        self.share /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tick(seconds: u32) -> Tick {
        Tick::from(seconds * SECOND)
    }

    #[test]
    fn the_share_grows_slowly_and_is_halved_by_a_refusal() {
        let window = Window::new(5, SECOND);
        let mut learned = Learned::default();
        assert_eq!(
            learned.credit(tick(0), SECOND, &window),
            Duration::ZERO,
            "nothing is credited at first"
        );
        for second in 1..=32 {
            learned.credit(tick(second), SECOND, &window);
            // A second answer in the same window lets nothing grow.
            learned.credit(tick(second), SECOND, &window);
        }
        assert_eq!(learned.credit(tick(32), SECOND, &window), SECOND / 2);
        learned.refused(tick(32), &window);
        learned.refused(tick(32), &window);
        assert_eq!(learned.credit(tick(32), SECOND, &window), SECOND / 4);
    }

    #[test]
    fn what_was_refused_is_tried_again_ever_more_rarely() {
        let window = Window::new(5, SECOND);
        let mut learned = Learned::default();
        let mut refusals = Vec::new();
        for second in 0..100_000 {
            if learned.credit(tick(second), SECOND, &window) > SECOND / 2 {
                learned.refused(tick(second), &window);
                refusals.push(second);
            }
        }
        assert!(refusals.len() <= 12, "{refusals:?}");
        let gaps: Vec<u32> = refusals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted(), "{gaps:?}");
    }

    #[test]
    fn no_more_than_the_round_trip_is_ever_credited() {
        let window = Window::new(5, SECOND);
        let mut learned = Learned::default();
        for second in 0..1_000 {
            assert!(learned.credit(tick(second), 3 * SECOND, &window) <= 3 * SECOND);
        }
    }
}
