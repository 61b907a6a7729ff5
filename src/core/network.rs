//! What has been seen of the network: how late a request may still arrive, and how fast the fastest one was.

use std::time::Duration;

use super::Tick;

/// A request given up may still be on its way for at least this long.
pub(super) const LEAST_LATE_ARRIVAL: Duration = Duration::from_secs(1);
/// Round trips older than one to two of these are forgotten.
const GENERATION: Duration = Duration::from_secs(600);
/// So many round trips must have been seen before the floor is used.
const FLOOR_SAMPLES: u32 = 128;

#[derive(Debug)]
pub(super) struct Network {
    /// Longest round trip of the present and of the last generation.
    longest: [Duration; 2],
    generation_began: Tick,
    /// Least time on the network, both ways, of all responses that told their service time.
    least: Duration,
    samples: u32,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            longest: [Duration::ZERO; 2],
            generation_began: Tick::ZERO,
            least: Duration::MAX,
            samples: 0,
        }
    }
}

impl Network {
    pub(super) fn observe(
        &mut self,
        now: Tick,
        round_trip: Duration,
        service_time: Option<Duration>,
    ) {
        if now.since(self.generation_began) >= GENERATION {
            self.longest = [Duration::ZERO, self.longest[0]];
            self.generation_began = now;
        }
        self.longest[0] = self.longest[0].max(round_trip);
        if let Some(service_time) = service_time {
            self.least = self.least.min(round_trip.saturating_sub(service_time));
            self.samples = self.samples.saturating_add(1);
        }
    }

    /// How much later than the moment of giving up a request may still reach the server.
    pub(super) fn late_arrival(&self) -> Duration {
        self.longest[0].max(self.longest[1]).max(LEAST_LATE_ARRIVAL)
    }

    /// A time that every request certainly spends on the network: half of the least that was ever seen.
    pub(super) fn floor(&self) -> Duration {
        if self.samples < FLOOR_SAMPLES {
            Duration::ZERO
        } else {
            self.least / 2
        }
    }
}
