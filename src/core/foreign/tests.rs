//! What the filter makes of figures that are exact, and of others who come evenly or in bursts.

use super::*;

const WINDOW: Duration = Duration::from_secs(10);

fn tick(millis: u64) -> Tick {
    Tick::from(Duration::from_millis(millis))
}

/// A request that is on its way for 100 ms and not worked on.
fn sample(sent: u64, used: u32) -> Sample {
    Sample {
        taken: tick(sent),
        sent: tick(sent),
        arrived: tick(sent + 100),
        service_time: Some(Duration::ZERO),
        used,
        refused: false,
    }
}

fn begin(sent: u64, used: u32) -> Foreign {
    let sample = sample(sent, used);
    let mut foreign = Foreign::new(WINDOW, &sample, std::iter::empty(), 1);
    foreign.observe(&sample);
    foreign
}

/// We send one request per 100 ms; `others` says when others were counted. Gives the filter after a minute.
fn beside(others: impl Fn(u64) -> u32) -> Foreign {
    let window = WINDOW.as_millis() as u64;
    let in_window = |now: u64| -> u32 { (now.saturating_sub(window) + 1..=now).map(&others).sum() };
    let ours = |now: u64| ((now - 100_000) / 100 + 1).min(100) as u32;
    let mut foreign = begin(100_000, in_window(100_000) + 1);
    for sent in (100_100..160_000).step_by(100) {
        foreign.sent(tick(sent), 190);
        foreign.observe(&sample(sent, in_window(sent) + ours(sent)));
    }
    foreign
}

#[test]
fn others_who_come_evenly_are_counted_and_expected() {
    let foreign = beside(|now| u32::from(now % 200 == 0));
    let known = foreign.known(tick(160_000));
    assert!((47.0..=52.0).contains(&known), "{known}");
    assert!((4.0..=6.0).contains(&foreign.rate()), "{}", foreign.rate());
    assert!(foreign.burst() < 2.0, "{}", foreign.burst());
    // Half a second later two or three have come, and perhaps a few more.
    let blocked = foreign.blocked(tick(160_400), 1);
    assert!((50..=60).contains(&blocked), "{blocked}");
}

#[test]
fn bursts_are_learned() {
    let foreign = beside(|now| if now % 4_000 == 0 { 20 } else { 0 });
    assert!(
        (4.0..=6.0).contains(&foreign.rate),
        "{} per second",
        foreign.rate
    );
    // A minute is not long enough to learn all of it.
    let burst = foreign.burst();
    assert!((6.0..=24.0).contains(&burst), "{burst}");
    let even = beside(|now| u32::from(now % 200 == 0));
    let margin = |foreign: &Foreign| {
        let now = tick(160_400);
        f64::from(foreign.blocked(now, 1)) - foreign.known(now)
    };
    let (more, less) = (margin(&foreign), margin(&even));
    assert!(more > 1.5 * less, "{more}, {less}");
}

#[test]
fn others_leave_one_window_after_they_came_at_the_latest() {
    let foreign = begin(20_000, 101);
    let known = |now| foreign.known(tick(now));
    // When they came is a guess, so that none is believed to have left in the meantime.
    for now in [20_000, 25_000, 30_000] {
        assert!((99.0..=101.0).contains(&known(now)), "{}", known(now));
    }
    assert_eq!(known(30_101), 0.0);
    // The same at the very beginning of the clock.
    let foreign = begin(0, 101);
    let known = |now| foreign.known(tick(now));
    assert!((99.0..=101.0).contains(&known(5_000)), "{}", known(5_000));
    assert_eq!(known(10_101), 0.0);
}

/// What a response says is believed at once, also in the first window.
#[test]
fn a_response_tells_who_has_left() {
    let mut foreign = begin(20_000, 101);
    foreign.sent(tick(24_000), 190);
    foreign.observe(&sample(24_000, 42));
    let known = foreign.known(tick(24_100));
    assert!((36.0..=46.0).contains(&known), "{known}");
}

/// Each time it says when it may block fewer, and never that it has been so already.
#[test]
fn it_says_when_to_look_again() {
    let foreign = begin(20_000, 101);
    let (mut now, mut looks) = (tick(20_100), 0);
    while let Some(next) = foreign.next_change(now) {
        assert!(next > now);
        (now, looks) = (next, looks + 1);
    }
    assert!(now >= tick(30_000), "{now:?}");
    assert!(looks < 80, "{looks}");
}

#[test]
fn memory_is_bounded_whatever_the_quota() {
    let mut foreign = begin(20_000, 1_000);
    for nth in 0..200_000_u64 {
        let sent = 20_100 + nth / 10;
        foreign.sent(tick(sent), 1_000_000);
        // The figures jump up and down.
        foreign.observe(&sample(sent, 500_000 + (nth % 7) as u32 * 50_000));
    }
    let most = GRID as usize + GRID as usize / OLDEST as usize + 16;
    assert!(foreign.own.len() <= most, "{}", foreign.own.len());
    assert!(foreign.others.len() <= most, "{}", foreign.others.len());
}
