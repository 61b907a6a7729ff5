//! When the store counts as gone, and when it is asked whether it is back.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It has answered last.
    Fine,
    /// A call has failed since then: a heartbeat that begins from now on decides.
    Doubtful { since: Instant },
    /// That failed, too.
    Gone {
        since: Instant,
        /// So many heartbeats have failed since.
        tries: u32,
    },
}

/// The first heartbeat to a store that is gone comes after so long; each further one after twice as long.
const FIRST_TRY: Duration = Duration::from_millis(100);
/// But never after longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Health {
    /// A call has failed, or a heartbeat. True if the store is gone now, and was not before.
    pub(super) fn failed(&mut self, is_beat: bool, began: Instant, now: Instant) -> bool {
        match self {
            Self::Fine => *self = Self::Doubtful { since: now },
            Self::Doubtful { since } if is_beat && began >= *since => {
                *self = Self::Gone {
                    since: now,
                    tries: 0,
                };
                return true;
            }
            Self::Gone { tries, .. } if is_beat => *tries = tries.saturating_add(1),
            Self::Doubtful { .. } | Self::Gone { .. } => {}
        }
        false
    }

    /// A call was answered, or a heartbeat. For how long the store was gone if it is back now: only a heartbeat that began since
    /// then says so, because it comes by a new connection.
    pub(super) fn answered(
        &mut self,
        is_beat: bool,
        began: Instant,
        now: Instant,
    ) -> Option<Duration> {
        match *self {
            Self::Gone { since, .. } if is_beat && began >= since => {
                *self = Self::Fine;
                Some(now.saturating_duration_since(since))
            }
            Self::Gone { .. } => None,
            Self::Fine | Self::Doubtful { .. } => {
                *self = Self::Fine;
                None
            }
        }
    }

    pub(super) fn is_gone(self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// How long after the last heartbeat the next one is due: `lease` while all is well. `luck` is from 0 to 1, so that processes
    /// do not come back as one.
    pub(super) fn pause(self, lease: Duration, luck: f64) -> Duration {
        match self {
            Self::Fine => lease,
            // At once, unless one was just made: where a part of the store fails there is always a doubt.
            Self::Doubtful { .. } => FIRST_TRY.min(lease),
            Self::Gone { tries, .. } => {
                let pause = FIRST_TRY * 2_u32.saturating_pow(tries.min(10));
                pause.min(LONGEST_PAUSE).mul_f64(0.5 + luck / 2.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_a_heartbeat_that_began_after_a_failure_ends_all_doubt() {
        let zero = Clock::instant_now();
        let mut health = Health::Fine;
        assert!(!health.failed(false, zero, zero + 250 * MS));
        // They were under way when the first one failed.
        assert!(!health.failed(false, zero + MS, zero + 251 * MS));
        assert!(!health.failed(true, zero + 2 * MS, zero + 252 * MS));
        // Another call may be for a part of the store that is gone alone.
        assert!(!health.failed(false, zero + 300 * MS, zero + 301 * MS));
        assert!(health.failed(true, zero + 250 * MS, zero + 500 * MS));
        assert!(!health.failed(true, zero + 600 * MS, zero + 700 * MS));
        assert!(health.is_gone());
    }

    #[test]
    fn an_answer_in_between_ends_the_doubt() {
        let zero = Clock::instant_now();
        let mut health = Health::Fine;
        assert!(!health.failed(false, zero, zero + 250 * MS));
        assert_eq!(health.answered(false, zero, zero + 260 * MS), None);
        assert!(!health.failed(true, zero + 270 * MS, zero + 520 * MS));
        assert!(!health.is_gone());
    }

    #[test]
    fn a_late_answer_does_not_bring_the_store_back() {
        let zero = Clock::instant_now();
        let mut health = Health::Gone {
            since: zero,
            tries: 0,
        };
        assert_eq!(health.answered(false, zero + MS, zero + 2 * MS), None);
        assert!(health.is_gone());
        let back = health.answered(true, zero + MS, zero + 30 * MS);
        assert_eq!(back, Some(30 * MS));
        assert_eq!(health, Health::Fine);
    }

    #[test]
    fn a_store_that_is_gone_is_tried_after_ever_longer_pauses_up_to_a_second() {
        let since = Clock::instant_now();
        let pause = |tries, luck| Health::Gone { since, tries }.pause(5_000 * MS, luck);
        assert_eq!((pause(0, 1.0), pause(0, 0.0)), (100 * MS, 50 * MS));
        assert_eq!(
            (pause(2, 1.0), pause(1_000_000, 1.0)),
            (400 * MS, 1_000 * MS)
        );
        assert_eq!(Health::Fine.pause(5_000 * MS, 0.0), 5_000 * MS);
        let doubtful = Health::Doubtful { since };
        assert_eq!(doubtful.pause(5_000 * MS, 0.0), 100 * MS);
    }
}
