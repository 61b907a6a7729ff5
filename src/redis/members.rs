//! Who shares the store: a heartbeat, as a script.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Value;

use super::error::RedisError;
use crate::core::lease::Members;

/// What the script does; it wants a clock before it.
pub(super) const BEAT: &str = include_str!("members.lua");

/// The key under which the members are. What is in braces decides of the hash slot in a cluster.
pub(super) fn record(prefix: &str) -> String {
    format!("{prefix}:{{members}}")
}

/// The arguments of the script. For `joined` see [`Membership`].
pub(super) fn arguments(member: &str, lease: Duration, joined: u64, leaves: bool) -> Vec<Vec<u8>> {
    let figures = [lease.as_micros().to_string(), joined.to_string()];
    let [lease, joined] = figures.map(String::into_bytes);
    let leaves = if leaves { b"1" } else { b"0" };
    vec![member.as_bytes().to_vec(), lease, joined, leaves.to_vec()]
}

/// What the store says of all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    /// The store's clock.
    pub(super) time: SystemTime,
    count: u32,
    rank: u32,
    /// When this member joined, in microseconds since 1970.
    joined: u64,
    /// How long this member has been one.
    known_for: Duration,
    /// How long the store has kept the list.
    kept_for: Duration,
    /// The longest lease of all members: each of them asks that often.
    lease: Duration,
    /// Whether the list may take the place of one that was lost.
    is_second: bool,
}

impl Beat {
    /// Reads what the script has answered.
    pub(super) fn read(value: Value) -> Result<Self, RedisError> {
        let figures: Option<Vec<u64>> = match value {
            Value::Array(items) => items.into_iter().map(figure).collect(),
            _ => None,
        };
        let Some(&[now, count, rank, joined, begun, lease, survivors]) = figures.as_deref() else {
            return Err(RedisError::malformed("a heartbeat"));
        };
        let since = |then: u64| Duration::from_micros(now.saturating_sub(then));
        Ok(Self {
            time: UNIX_EPOCH + Duration::from_micros(now),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            joined,
            known_for: since(joined),
            kept_for: since(begun),
            lease: Duration::from_micros(lease),
            is_second: survivors > 0,
        })
    }
}

/// What this process knows of itself as a member, from one heartbeat to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Membership {
    /// When it joined, in microseconds since 1970, if all others must know it; zero otherwise. Told to a store that has lost its list.
    pub(super) joined: u64,
    members: Option<Members>,
}

impl Membership {
    /// Gives who shares the store, if that has changed.
    ///
    /// All ask once in a lease, and a little later if one call fails: after two leases a list is whole, and all know of a member. Until
    /// a list is whole that may have been begun because the last one was lost, what was known before counts. So a member that joined
    /// meanwhile waits one lease more, for all to turn to the new list.
    pub(super) fn hear(&mut self, beat: &Beat) -> Option<Members> {
        let known_after = beat.lease * if beat.is_second { 3 } else { 2 };
        let known = beat.known_for >= known_after;
        // One that is alone on such a list is perhaps the first to come again.
        let least = if beat.is_second && !known { 2 } else { 1 };
        let present = Members {
            count: beat.count.max(least),
            rank: beat.rank,
            known,
        };
        let is_whole = beat.kept_for >= beat.lease * 2;
        let members = match self.members.filter(|before| before.known && !is_whole) {
            Some(before) => before,
            None => present,
        };
        self.joined = if members.known { beat.joined } else { 0 };
        let before = self.members.replace(members);
        Some(members).filter(|members| before != Some(*members))
    }
}

fn figure(value: Value) -> Option<u64> {
    match value {
        Value::Int(figure) => u64::try_from(figure).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::script::with_told_time;
    use crate::redis::test_server::RedisServer;

    const LEASE: Duration = Duration::from_secs(5);
    const START: i64 = 1_800_000_000;

    /// A store whose clock is set by hand.
    struct Store {
        server: RedisServer,
        script: String,
    }

    impl Store {
        fn new() -> Self {
            Self {
                server: RedisServer::start(),
                script: with_told_time(BEAT),
            }
        }

        fn ask(&self, member: &Member, seconds: f64, leaves: bool) -> Beat {
            let mut args = arguments(member.name, member.lease, member.membership.joined, leaves);
            let now = START * 1_000_000 + (seconds * 1e6) as i64;
            args.push(now.to_string().into_bytes());
            let client = redis::Client::open(self.server.url()).unwrap();
            let mut connection = client.get_connection().unwrap();
            let mut cmd = redis::cmd("EVAL");
            cmd.arg(&self.script).arg(1).arg(record("p")).arg(args);
            Beat::read(cmd.query(&mut connection).unwrap()).unwrap()
        }

        fn lose_all(&self) {
            self.server.cli(&["FLUSHALL"]);
        }
    }

    struct Member {
        name: &'static str,
        lease: Duration,
        membership: Membership,
    }

    impl Member {
        fn new(name: &'static str) -> Self {
            Self {
                name,
                lease: LEASE,
                membership: Membership::default(),
            }
        }

        /// What it believes after a heartbeat.
        fn beat(&mut self, store: &Store, seconds: f64) -> (u32, u32, bool) {
            let beat = store.ask(self, seconds, false);
            self.membership.hear(&beat);
            let members = self.membership.members.unwrap();
            (members.count, members.rank, members.known)
        }
    }

    #[test]
    fn members_are_counted_and_ranked_by_their_coming() {
        let store = Store::new();
        let [mut a, mut b] = ["b", "a"].map(Member::new);
        a.beat(&store, 0.0);
        assert_eq!(b.beat(&store, 1.0), (2, 1, false));
        assert_eq!(a.beat(&store, 5.0), (2, 0, false));
        assert_eq!(a.beat(&store, 15.0), (2, 0, true));
        assert_eq!(b.beat(&store, 15.9), (2, 1, false));
        assert_eq!(b.beat(&store, 16.0), (2, 1, true));
        store.ask(&a, 17.0, true);
        assert_eq!(b.beat(&store, 17.1), (1, 0, true));
    }

    #[test]
    fn two_leases_after_it_came_all_others_must_know_a_member() {
        let store = Store::new();
        let [mut a, mut b] = ["a", "b"].map(|name| Member {
            lease: LEASE / 50,
            ..Member::new(name)
        });
        // The server has run for so long that it cannot have lost anything that anybody remembers.
        let has_run_for_a_second = || {
            let info = store.server.cli(&["INFO", "server"]);
            !info.lines().any(|line| line == "uptime_in_seconds:0")
        };
        while !has_run_for_a_second() {
            std::thread::sleep(LEASE / 50);
        }
        assert_eq!(a.beat(&store, 0.0), (1, 0, false));
        assert_eq!(b.beat(&store, 0.05), (2, 1, false));
        assert_eq!(a.beat(&store, 0.2), (2, 0, true));
        assert_eq!(b.beat(&store, 0.2), (2, 1, false));
        assert_eq!(b.beat(&store, 0.25), (2, 1, true));
    }

    #[test]
    fn who_says_nothing_for_three_leases_is_forgotten_and_unknown_if_it_comes_back() {
        let store = Store::new();
        let [mut a, mut b] = ["a", "b"].map(Member::new);
        a.beat(&store, 0.0);
        b.beat(&store, 0.0);
        for seconds in [5.0, 10.0, 15.0] {
            assert_eq!(b.beat(&store, seconds).0, 2);
        }
        assert_eq!(b.beat(&store, 15.1), (1, 0, true));
        assert_eq!(a.beat(&store, 16.0), (2, 1, false));
    }

    #[test]
    fn after_a_loss_what_was_known_counts_until_all_have_come_again() {
        let store = Store::new();
        let [mut a, mut b, mut c] = ["a", "b", "c"].map(Member::new);
        for seconds in [-10.0, -5.0, 0.0, 5.0, 10.0] {
            a.beat(&store, seconds);
            b.beat(&store, seconds);
        }
        store.lose_all();
        assert_eq!(
            c.beat(&store, 14.0),
            (2, 0, false),
            "somebody else may come"
        );
        assert_eq!(b.beat(&store, 15.0), (2, 1, true));
        assert_eq!(a.beat(&store, 17.0), (2, 0, true));
        for seconds in [20.0, 23.9] {
            assert_eq!(b.beat(&store, seconds), (2, 1, true));
            assert_eq!(a.beat(&store, seconds), (2, 0, true));
        }
        // `c` is not known before the others have turned to the list on which it is.
        assert_eq!(b.beat(&store, 24.0), (3, 1, true));
        assert_eq!(c.beat(&store, 28.9), (3, 2, false));
        assert_eq!(a.beat(&store, 28.9), (3, 0, true));
        assert_eq!(c.beat(&store, 29.0), (3, 2, true));
    }

    #[test]
    fn parts_never_add_up_to_more_than_the_whole() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20 {
            let store = Store::new();
            let names = ["a", "b", "c", "d", "e"];
            let mut members: Vec<(Member, f64)> = Vec::new();
            let mut left = names.iter();
            for step in 0..240_u32 {
                let now = f64::from(step) / 2.0;
                match random.u32(..40) {
                    0 => members.extend(left.next().map(|name| (Member::new(name), now))),
                    // It ends without a word.
                    1 if members.len() > 1 => {
                        members.swap_remove(random.usize(..members.len()));
                    }
                    2 if random.u32(..4) == 0 => store.lose_all(),
                    _ => {}
                }
                for (member, due) in &mut members {
                    if *due <= now {
                        member.beat(&store, now);
                        *due = now + 5.0;
                    }
                }
                for quota in [1, 3, 100] {
                    let part = |(member, _): &(Member, f64)| {
                        member.membership.members.map_or(0, |is| is.share(quota))
                    };
                    let sum: u32 = members.iter().map(part).sum();
                    assert!(sum <= quota, "{sum} of {quota} at {now} s");
                }
            }
        }
    }

    #[test]
    fn a_record_that_is_nonsense_is_begun_anew() {
        let store = Store::new();
        store.server.cli(&["SET", "p:{members}", "nonsense"]);
        Member::new("a").beat(&store, 0.0);
        assert_eq!(Member::new("b").beat(&store, 0.0).0, 2);
    }

    #[test]
    fn the_record_ends_three_leases_after_the_last_heartbeat() {
        let store = Store::new();
        Member::new("a").beat(&store, 0.0);
        let left: u64 = store.server.cli(&["PTTL", "p:{members}"]).parse().unwrap();
        assert!((14_000..=15_000).contains(&left), "{left} ms");
    }
}
