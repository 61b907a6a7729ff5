//! How long things take: the way to the server, its work, the way back.

use std::time::Duration;

/// A distribution of durations, from which every request draws anew.
///
/// The timer of tokio has steps of one millisecond and never fires early, so the real duration is up to 1 ms longer than the
/// drawn one.
///
/// ```
/// use std::time::Duration;
/// use tower_quota::sim::Latency;
///
/// let way = Latency::exponential(Duration::from_millis(20), Duration::from_millis(30))
///     .tail(0.02, Duration::from_millis(1500));
/// assert_eq!(way, Latency::WAN);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    base: Duration,
    /// Mean of an exponential addition.
    extra: Duration,
    /// Width of a uniform addition.
    spread: Duration,
    tail: f64,
    longest: Duration,
    /// A caller's mistake that could not be stored in the fields above; reported when the simulator is built.
    flaw: Option<&'static str>,
}

/// Nothing may take longer than this; it keeps sums far from overflow.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Request extension: how long this one request takes, in place of what would be drawn. For replays of what has happened.
///
/// No part is longer than a day. It holds for requests in process only; on a socket extensions do not travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Journey {
    /// From the call until the server counts it.
    pub uplink: Duration,
    /// How long the server works on it, if it does.
    pub work: Duration,
    /// From the end of the work until the caller has the head of the answer.
    pub downlink: Duration,
}

impl Journey {
    /// That of a request, if it has one.
    pub(super) fn of(extensions: &http::Extensions) -> Option<Self> {
        let journey = extensions.get::<Self>()?;
        Some(Self {
            uplink: journey.uplink.min(LONGEST),
            work: journey.work.min(LONGEST),
            downlink: journey.downlink.min(LONGEST),
        })
    }
}

impl Latency {
    /// Nothing takes any time. The default everywhere.
    pub const NONE: Latency = Latency::constant(Duration::ZERO);

    /// A machine in the same room: 200 us and an exponential addition of 300 us on average.
    pub const LAN: Latency =
        Latency::exponential(Duration::from_micros(200), Duration::from_micros(300));

    /// The open internet: 20 ms and an exponential addition of 30 ms on average; 2 % take anything up to 1.5 s.
    pub const WAN: Latency =
        Latency::exponential(Duration::from_millis(20), Duration::from_millis(30))
            .tail(0.02, Duration::from_millis(1500));

    /// Always the same.
    pub const fn constant(duration: Duration) -> Self {
        Self {
            base: duration,
            extra: Duration::ZERO,
            spread: Duration::ZERO,
            tail: 0.0,
            longest: Duration::ZERO,
            flaw: None,
        }
    }

    /// At least `base`, and an exponential addition with the mean `extra`.
    pub const fn exponential(base: Duration, extra: Duration) -> Self {
        let mut latency = Self::constant(base);
        latency.extra = extra;
        latency
    }

    /// Anything between `low` and `high`, which must not be less than `low`.
    pub const fn uniform(low: Duration, high: Duration) -> Self {
        let mut latency = Self::constant(low);
        match high.checked_sub(low) {
            Some(spread) => latency.spread = spread,
            None => {
                latency.flaw = Some("the upper end of a uniform latency is below the lower end")
            }
        }
        latency
    }

    /// A share of `probability` (0.0..=1.0) takes anything between the base and `longest` instead.
    pub const fn tail(mut self, probability: f64, longest: Duration) -> Self {
        self.tail = probability;
        self.longest = longest;
        self
    }

    /// What is wrong with it, if anything.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        if self.flaw.is_some() {
            return self.flaw;
        }
        if !(0.0..=1.0).contains(&self.tail) {
            return Some("the probability of the tail must be within 0.0..=1.0");
        }
        if self.tail > 0.0 && self.longest < self.base {
            return Some("the tail ends before the base");
        }
        let parts = [self.base, self.extra, self.spread, self.longest];
        if parts.iter().any(|&part| part > LONGEST) {
            return Some("must not reach beyond one day");
        }
        None
    }

    pub(super) fn draw(&self, rng: &mut fastrand::Rng) -> Duration {
        if self.tail > 0.0 && rng.f64() < self.tail {
            return self.base + self.longest.saturating_sub(self.base).mul_f64(rng.f64());
        }
        let mut duration = self.base;
        if !self.extra.is_zero() {
            // f64() is below 1, so the logarithm is finite: at most 37 times the mean.
            duration += self.extra.mul_f64(-(1.0 - rng.f64()).ln());
        }
        if !self.spread.is_zero() {
            duration += self.spread.mul_f64(rng.f64());
        }
        duration
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(latency: Latency) -> f64 {
        let mut rng = fastrand::Rng::with_seed(7);
        let draws = 100_000;
        let sum: f64 = (0..draws)
            .map(|_| latency.draw(&mut rng).as_secs_f64())
            .sum();
        sum / f64::from(draws)
    }

    #[test]
    fn means_are_what_they_should_be() {
        let ms = Duration::from_millis;
        assert!((mean(Latency::constant(ms(5))) - 0.005).abs() < 1e-9);
        assert!((mean(Latency::uniform(ms(200), ms(600))) - 0.4).abs() < 0.003);
        assert!((mean(Latency::exponential(ms(20), ms(30))) - 0.05).abs() < 0.001);
        // 0.98 x 50 ms + 0.02 x 760 ms.
        assert!((mean(Latency::WAN) - 0.0642).abs() < 0.002);
    }

    #[test]
    fn nonsense_is_found() {
        let ms = Duration::from_millis;
        assert!(Latency::uniform(ms(2), ms(1)).flaw().is_some());
        assert!(Latency::NONE.tail(1.5, ms(1)).flaw().is_some());
        assert!(Latency::NONE.tail(f64::NAN, ms(1)).flaw().is_some());
        assert!(Latency::constant(ms(5)).tail(0.1, ms(1)).flaw().is_some());
        assert!(Latency::constant(Duration::MAX).flaw().is_some());
        assert!(Latency::WAN.flaw().is_none());
    }
}
