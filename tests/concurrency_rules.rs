//! Promise: the limit searches as the page of `concurrency` says. Driven at the state machine, against a server that bears so many
//! requests at a time, refuses others at once, and answers in rounds.

use std::time::Duration;

use tower_quota::core::concurrency::{
    Bounds, Change, Crowds, Evidence, Left, Place, Reason, Settings, Turn,
};
use tower_quota::core::{Keys, Tick};
use tower_quota::plan::Lane;

const MS: Duration = Duration::from_millis(1);
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// As many requests as may go are always in flight.
struct Client {
    crowds: Crowds,
    now: Tick,
    share_left: Option<f64>,
    refused: Vec<Tick>,
}

impl Client {
    fn new(start: u32) -> Self {
        let bounds = Bounds::new(start, 1, 64);
        Self {
            crowds: Crowds::new(Settings {
                bounds,
                ..Settings::default()
            }),
            now: Tick::ZERO,
            share_left: None,
            refused: Vec::new(),
        }
    }

    fn enter(&mut self) -> Option<Place> {
        // With no patience, who cannot go is denied and need not be given up.
        let token = Keys::SHARED.token;
        match self
            .crowds
            .enter(self.now, token, Lane::Bulk, None, self.now)
        {
            Turn::Granted(place) => Some(place),
            Turn::Denied(_) => None,
            Turn::Waiting { .. } => unreachable!("it has no patience"),
        }
    }

    /// Sends as many as may go to a server that bears `cap`. Returns how many went.
    fn round(&mut self, cap: usize) -> usize {
        let mut at_work = Vec::new();
        let mut refused = Vec::new();
        while let Some(place) = self.enter() {
            match at_work.len() < cap {
                true => at_work.push(place),
                false => refused.push(place),
            }
        }
        let count = at_work.len() + refused.len();
        self.now = self.now.after(MS);
        for place in refused {
            self.refused.push(self.now);
            self.crowds.over(self.now, place, &Evidence::Overloaded);
        }
        self.now = self.now.after(ROUND_TRIP - MS);
        let left = self.share_left.map(|share| Left {
            share,
            window: Duration::from_secs(10),
        });
        let answered = Evidence::Answered {
            service_time: None,
            left,
        };
        for place in at_work {
            self.crowds.over(self.now, place, &answered);
        }
        count
    }

    fn rounds(&mut self, count: usize, cap: usize) -> Vec<usize> {
        (0..count).map(|_| self.round(cap)).collect()
    }

    fn limit(&self) -> u32 {
        self.crowds.concurrency(self.now, Keys::SHARED.token).limit
    }

    fn last_change(&self) -> Option<Change> {
        self.crowds
            .concurrency(self.now, Keys::SHARED.token)
            .last_change
    }
}

#[test]
fn it_doubles_until_the_first_overload_and_never_again() {
    let mut client = Client::new(4);
    assert_eq!(client.rounds(3, 12), [4, 8, 16]);
    assert_eq!(client.limit(), 8);
    let later = client.rounds(200, 12);
    assert!(later.iter().all(|count| *count <= 13), "{later:?}");
}

/// The cap is found within a second, and tried again after 2 s, 4 s, 8 s, then every 16 s.
#[test]
fn a_level_that_was_refused_is_tried_again_more_and_more_rarely() {
    let mut client = Client::new(4);
    client.rounds(12, 12);
    assert_eq!(client.limit(), 12);
    client.rounds(1_000, 12);
    let times = client.refused.iter().map(|at| at.since_origin());
    let times: Vec<Duration> = times.collect();
    // The first four came together, when 16 were sent.
    assert_eq!(client.refused[0], client.refused[3]);
    let waits: Vec<u64> = times[3..]
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64().round() as u64)
        .collect();
    assert_eq!(waits[..6], [2, 4, 8, 16, 16, 16]);
    let change = client.last_change().unwrap();
    assert!(matches!(change.reason, Reason::Recovery | Reason::Probe));
}

#[test]
fn a_server_that_bears_less_is_followed_down_and_up_again() {
    let mut client = Client::new(4);
    client.rounds(300, 40);
    assert!((39..=40).contains(&client.limit()));
    let before = client.refused.len();
    client.rounds(10, 5);
    assert!(client.limit() <= 5, "{}", client.limit());
    assert!(client.refused.len() - before < 80);
    client.rounds(200, 5);
    assert!((4..=5).contains(&client.limit()));
    // At most 16 s until it tries, then steps that double.
    client.rounds(160 + 60, 40);
    assert!(client.limit() >= 30, "{}", client.limit());
}

/// A refusal now and then, of a level that has held, is something else: a rate, a fault. It costs a moment, not the level.
#[test]
fn a_stray_failure_is_got_over() {
    let mut client = Client::new(4);
    client.rounds(8, usize::MAX);
    assert_eq!(client.limit(), 64);
    for _ in 0..20 {
        client.round(63);
        assert_eq!(client.limit(), 32);
        client.rounds(2, usize::MAX);
        assert_eq!(client.limit(), 64);
        client.rounds(50, usize::MAX);
    }
}

/// What fails although hardly anything was in flight was not too much at a time: the limit is halved and no more.
#[test]
fn a_lonely_failure_halves_and_no_more() {
    let mut client = Client::new(32);
    let place = client.enter().unwrap();
    client.now = client.now.after(ROUND_TRIP);
    client.crowds.over(client.now, place, &Evidence::Overloaded);
    assert_eq!(client.limit(), 16);
}

/// A limit that grew in better times is halved once, and then brought down to where the refusals come.
#[test]
fn a_limit_far_above_what_is_borne_comes_down_in_two_steps() {
    let mut client = Client::new(2);
    client.rounds(9, usize::MAX);
    assert_eq!(client.limit(), 64);
    for expected in [32, 7] {
        let mut held: Vec<Place> = (0..8).map(|_| client.enter().unwrap()).collect();
        client.now = client.now.after(ROUND_TRIP);
        let refused = held.pop().unwrap();
        client
            .crowds
            .over(client.now, refused, &Evidence::Overloaded);
        assert_eq!(client.limit(), expected);
        for place in held {
            client.crowds.leave(client.now, place);
        }
    }
}

#[test]
fn low_headroom_halves_once_per_window_and_little_headroom_grows_by_one() {
    let mut client = Client::new(16);
    client.share_left = Some(0.1);
    client.rounds(99, usize::MAX);
    assert_eq!(client.limit(), 8, "10 s are not over");
    let change = client.last_change().unwrap();
    assert_eq!((change.from, change.to), (16, 8));
    assert_eq!(change.reason, Reason::LowHeadroom);
    client.rounds(5, usize::MAX);
    assert_eq!(client.limit(), 4);
    client.share_left = Some(0.5);
    assert_eq!(client.rounds(4, usize::MAX), [4, 5, 6, 7]);
    client.share_left = Some(0.8);
    client.rounds(4, usize::MAX);
    assert_eq!(
        client.limit(),
        64,
        "nothing bad has come, so that it doubles"
    );
}

/// They were not out for long enough to say that a full crowd is borne.
#[test]
fn who_gives_up_at_once_does_not_raise_the_limit() {
    let mut client = Client::new(4);
    for _ in 0..10 {
        let crowd: Vec<_> = std::iter::from_fn(|| client.enter()).collect();
        assert_eq!(crowd.len(), 4);
        client.now = client.now.after(10 * MS);
        for place in crowd {
            client.crowds.leave(client.now, place);
        }
        client.now = client.now.after(2 * ROUND_TRIP);
    }
    assert_eq!((client.limit(), client.last_change()), (4, None));

    // Whoever is out for longer has been accepted, and may give up then.
    let crowd: Vec<_> = std::iter::from_fn(|| client.enter()).collect();
    client.now = client.now.after(2 * ROUND_TRIP);
    for place in crowd {
        client.crowds.leave(client.now, place);
    }
    assert_eq!(client.limit(), 8);
}
