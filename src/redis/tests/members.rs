//! Who counts as a member, and when all know of it.

use std::time::Duration;

use super::redis_server::RedisServer;
use crate::core::lease::Members;
use crate::redis::members::{BEAT, Beat, Membership, arguments, record};
use crate::redis::script::with_told_time;

const LEASE: Duration = Duration::from_secs(5);
const START: i64 = 1_800_000_000;

/// A store whose clock is set by hand.
struct Store {
    server: RedisServer,
    script: String,
    /// In seconds.
    uptime: u32,
}

impl Store {
    fn new() -> Self {
        Self {
            server: RedisServer::start(),
            script: with_told_time(BEAT),
            uptime: 0,
        }
    }

    fn ask(&self, member: &Member, seconds: f64, leaves: bool) -> Beat {
        let mut args = arguments(member.name, LEASE, member.membership.joined, leaves);
        let now = START * 1_000_000 + (seconds * 1e6) as i64;
        args.push(self.uptime.to_string().into_bytes());
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
    membership: Membership,
    members: Option<Members>,
}

impl Member {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            membership: Membership::default(),
            members: None,
        }
    }

    /// What it believes after a heartbeat.
    fn beat(&mut self, store: &Store, seconds: f64) -> (u32, u32, bool) {
        let beat = store.ask(self, seconds, false);
        self.members = self.membership.hear(&beat).or(self.members);
        let members = self.members.unwrap();
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
    b.beat(&store, 8.0);
    assert_eq!(a.beat(&store, 15.0), (2, 0, true));
    assert_eq!(b.beat(&store, 15.9), (2, 1, false));
    assert_eq!(b.beat(&store, 16.0), (2, 1, true));
    store.ask(&a, 17.0, true);
    assert_eq!(b.beat(&store, 17.1), (1, 0, true));
}

#[test]
fn where_nothing_can_have_been_lost_all_know_a_member_after_two_leases() {
    let mut store = Store::new();
    // The least that is three leases.
    store.uptime = 15;
    let [mut a, mut b] = ["a", "b"].map(Member::new);
    assert_eq!(a.beat(&store, 0.0), (1, 0, false));
    assert_eq!(b.beat(&store, 2.5), (2, 1, false));
    assert_eq!(a.beat(&store, 10.0), (2, 0, true));
    assert_eq!(b.beat(&store, 10.0), (2, 1, false));
    assert_eq!(b.beat(&store, 12.5), (2, 1, true));
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
fn after_a_break_nobody_takes_himself_for_alone_before_the_others_can_have_come_again() {
    let store = Store::new();
    let [mut a, mut b] = ["a", "b"].map(Member::new);
    for seconds in [-10.0, -5.0, 0.0, 5.0] {
        a.beat(&store, seconds);
        b.beat(&store, seconds);
    }
    // For all the others that is an outage, too, as far as anybody knows.
    assert_eq!(a.beat(&store, 21.0), (2, 0, true));
    assert_eq!(a.beat(&store, 26.0), (2, 0, true));
    assert_eq!(a.beat(&store, 30.9), (2, 0, true));
    // It was forgotten, too, and is known again when a new one would be.
    assert_eq!(a.beat(&store, 31.0), (2, 0, false));
    assert_eq!(a.beat(&store, 36.0), (1, 0, true));
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
                let part =
                    |(member, _): &(Member, f64)| member.members.map_or(0, |is| is.share(quota));
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
    // A test's records live a thousand times longer.
    assert!((14_000_000..=15_000_000).contains(&left), "{left} ms");
}
