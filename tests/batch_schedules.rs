//! Promise: three callers of one batch, of whom some go or never look at their calls again, at every point of its way and in every
//! order: whoever stays is answered, and nothing of those who went stays behind, neither a slot nor a place in a line. (T45, T55)

mod common;
mod notes;

use std::task::Poll;
use std::time::Duration;

use common::{Hand, SECOND, burst, ms, patient};
use fastrand::Rng;
use notes::server::{Notes, bad, lines};
use notes::{Call, Outcome, add, batches, call, fetch, store};
use tokio::time::{sleep, timeout};
use tower::ServiceBuilder;
use tower_quota::clock::Clock;
use tower_quota::{Quota, QuotaError};

const WINDOW: Duration = Duration::from_millis(20);
const TAKES: Duration = Duration::from_millis(3);
/// A request that was given up may have been counted up to a second later.
const PATIENCE: Duration = Duration::from_secs(5);

/// What three callers ask for at one instant.
#[derive(Clone, Copy, Debug)]
enum Scene {
    Reads,
    /// After one that has used the quota.
    ReadsWithoutQuota,
    /// The second is bad, and the server does not say so.
    Creates,
    /// Of one record, the first two.
    Writes,
    /// The server bears two at a time.
    TooMany,
}

const SCENES: [Scene; 5] = [
    Scene::Reads,
    Scene::ReadsWithoutQuota,
    Scene::Creates,
    Scene::Writes,
    Scene::TooMany,
];

impl Scene {
    fn calls(self) -> [Call; 3] {
        match self {
            Scene::Creates => [add("one"), add("bad"), add("three")],
            Scene::Writes => [store("a0", "one"), store("a0", "two"), store("a1", "three")],
            _ => [fetch("a0"), fetch("a1"), fetch("a2")],
        }
    }

    fn check(self, nth: usize, outcome: &Outcome, context: &str) {
        let got = outcome.as_ref();
        let got = got.unwrap_or_else(|error| panic!("{context}: {nth}: {error}"));
        let ends = [
            ["one", "bad", "three"],
            ["one", "two", "three"],
            ["text"; 3],
        ];
        let (status, end) = match self {
            Scene::Creates if nth == 1 => (bad("").0, ends[0][nth]),
            Scene::Creates => (201, ends[0][nth]),
            Scene::Writes => (200, ends[1][nth]),
            _ => (200, ends[2][nth]),
        };
        assert_eq!(got.status, status, "{context}: {nth}");
        assert!(got.body.ends_with(end), "{context}: {nth}: {}", got.body);
    }
}

/// How somebody leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Drops,
    /// He keeps his call, and never looks at it again.
    Forgets,
}

/// Who of several is polled first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// All begin; then the first who is woken.
    Together,
    /// The same, but the last who is woken.
    Backwards,
    /// The first one may go his way alone before the others begin.
    Apart,
}

const ORDERS: [Order; 3] = [Order::Together, Order::Backwards, Order::Apart];

/// Who leaves when: at a point that is a poll of somebody, or a millisecond in which nobody was woken.
type Exits<'a> = &'a [(usize, usize)];

struct Caller<F> {
    hand: Hand<F>,
    is_begun: bool,
    has_left: bool,
    got: Option<Outcome>,
}

/// Plays a scene, polling nobody who is not woken. Returns how many points there were.
async fn play(scene: Scene, how: How, exits: Exits<'_>, order: Order) -> usize {
    let context = format!("{scene:?}, {how:?} {exits:?}, {order:?}");
    let notes = Notes::of("a", 3).takes(TAKES);
    let quota = Quota::new(burst(1, WINDOW));
    notes.keep_silent_about_the_bad();
    if let Scene::TooMany = scene {
        notes.set_most(2, false);
    }
    let has_quota = !matches!(scene, Scene::ReadsWithoutQuota);
    if has_quota {
        quota.set_quota("burst", 1_000).unwrap();
    }
    let api = ServiceBuilder::new()
        .layer(batches().quota(&quota).max_wait(PATIENCE))
        .layer(patient(&quota))
        .service(notes.service());
    if !has_quota {
        call(api.clone(), fetch("a0")).await.unwrap();
    }
    let before = notes.count();
    let mut callers: Vec<_> = scene
        .calls()
        .into_iter()
        .map(|one| Caller {
            hand: Hand::new(call(api.clone(), one)),
            is_begun: false,
            has_left: false,
            got: None,
        })
        .collect();
    let clock = Clock::system();
    let mut points = 0;
    let mut was_sent = false;
    while callers
        .iter()
        .any(|caller| caller.got.is_none() && !caller.has_left)
    {
        let waited = clock.elapsed();
        assert!(waited < 2 * PATIENCE, "{context}: somebody waits for ever");
        for (_, who) in exits.iter().filter(|(at, _)| *at == points) {
            if callers[*who].got.is_some() {
                continue;
            }
            callers[*who].has_left = true;
            if how == How::Drops {
                callers[*who].hand.cancel();
            }
            was_sent |= notes.count() > before;
        }
        points += 1;
        let is_next = |caller: &&mut Caller<_>| {
            let is_woken = !caller.is_begun || caller.hand.is_woken();
            is_woken && !caller.has_left && caller.got.is_none()
        };
        let is_new = |caller: &Caller<_>| !caller.is_begun && !caller.has_left;
        let are_new = order != Order::Apart && callers.iter().any(is_new);
        let is_next = |caller: &&mut Caller<_>| is_next(caller) && !(are_new && caller.is_begun);
        let next = match order {
            Order::Backwards => callers.iter_mut().rev().find(is_next),
            _ => callers.iter_mut().find(is_next),
        };
        let Some(next) = next else {
            sleep(ms(1)).await;
            continue;
        };
        next.is_begun = true;
        if let Poll::Ready(got) = next.hand.poll() {
            next.got = Some(got);
        }
    }
    // A request that was sent holds its slot for a while, whoever waits behind it. Nobody else notices that somebody has gone.
    if how == How::Drops && has_quota {
        let waited = clock.elapsed();
        assert!(waited < 10 * TAKES, "{context}: {waited:?}");
    }
    for (nth, caller) in callers.iter().enumerate() {
        match &caller.got {
            // A forgotten call may hold a record, or be the first in the line for a slot.
            Some(Err(error)) if how == How::Forgets && may_be_held_up(scene, order) => {
                assert!(error.is::<QuotaError>(), "{context}: {error}");
            }
            Some(got) => scene.check(nth, got, &context),
            None => {}
        }
    }
    if callers.iter().all(|caller| caller.has_left) && how == How::Drops && !was_sent {
        assert_eq!(notes.count(), before, "{context}: nobody wants it");
    }
    let added = |text: &str| {
        let sent = notes
            .log()
            .into_iter()
            .filter(|seen| seen.path == "/notes:add");
        let lines = sent.flat_map(|seen| lines(&seen));
        lines.filter(|line| line.ends_with(text)).count()
    };
    // The server refuses all of a batch in which there is the bad one.
    assert!(notes.added() <= 2 && added("bad") <= 3, "{context}");
    drop(callers);
    assert_eq!(quota.waiting(), 0, "{context}");
    sleep(2 * PATIENCE).await;
    let used = quota.usage("burst", &fetch("a0")).unwrap();
    assert_eq!((used.used, used.waiting), (0, 0), "{context}");
    let before = notes.count();
    let next = timeout(SECOND, call(api.clone(), fetch("a2"))).await;
    assert_eq!(next.unwrap().unwrap().told(), (200, "a2=text"), "{context}");
    let path = &notes.log()[before].path;
    assert_eq!(path, "/notes/a2", "{context}: its group is idle");
    points
}

fn may_be_held_up(scene: Scene, order: Order) -> bool {
    match scene {
        Scene::Writes => true,
        Scene::ReadsWithoutQuota => order == Order::Apart,
        _ => false,
    }
}

async fn one_at_every_point(how: How) {
    for scene in SCENES {
        for order in ORDERS {
            let points = play(scene, how, &[], order).await;
            println!("{scene:?}: {points} points");
            for at in 0..=points {
                for who in 0..3 {
                    play(scene, how, &[(at, who)], order).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_three_goes_at_every_point() {
    one_at_every_point(How::Drops).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_three_forgets_his_call_at_every_point() {
    one_at_every_point(How::Forgets).await;
}

async fn two_at_every_two_points(how: How, scenes: &[Scene]) {
    for scene in scenes {
        let points = play(*scene, how, &[], Order::Together).await;
        let pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
        // Each two points for some of the pairs, and each pair at all distances.
        for first in 0..=points {
            for second in first..=points + 4 {
                let some = pairs.iter().skip((first + second) % 3).step_by(3);
                for (one, other) in some {
                    let exits = [(first, *one), (second, *other)];
                    play(*scene, how, &exits, Order::Together).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_of_three_go_at_every_two_points() {
    two_at_every_two_points(How::Drops, &SCENES).await;
}

#[tokio::test(start_paused = true)]
async fn two_of_three_forget_their_calls_at_every_two_points() {
    // Writes of one record wait for the one that is forgotten.
    let scenes = [
        Scene::Reads,
        Scene::ReadsWithoutQuota,
        Scene::Creates,
        Scene::TooMany,
    ];
    two_at_every_two_points(How::Forgets, &scenes).await;
}

/// All go, in every order, each at any of the points.
#[tokio::test(start_paused = true)]
async fn all_go_at_random_points() {
    let mut rng = Rng::with_seed(11);
    for _ in 0..3_000 {
        let scene = SCENES[rng.usize(0..SCENES.len())];
        let mut exits: Vec<_> = (0..3).map(|who| (rng.usize(0..40), who)).collect();
        rng.shuffle(&mut exits);
        play(scene, How::Drops, &exits, ORDERS[rng.usize(0..3)]).await;
    }
}
