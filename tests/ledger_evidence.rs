//! Promise: what responses say is evidence and not truth. A sole user is never blocked by it, others are left room for one window
//! at most, a lower quota is kept to, and nothing that a server says does harm.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, UNIX_EPOCH};

use tower_quota::core::{
    Admission, Claim, ForeignUse, Keys, Ledger, News, Now, Permit, Progress, Report, Tick, Usage,
};
use tower_quota::plan::{FirstWindow, Lane, Limit, Plan, Reserve, RouteClass};

const GENERAL: RouteClass = RouteClass::General;
const WINDOW: Duration = Duration::from_secs(10);

fn at(millis: u64) -> Now {
    Now {
        tick: Tick::from(Duration::from_millis(millis)),
        wall: UNIX_EPOCH + Duration::from_millis(millis),
    }
}

fn ledger(quota: u32) -> Ledger {
    let plan = Plan::builder("test").limit(Limit::rolling("burst", quota, WINDOW));
    Ledger::new(&plan.build().unwrap())
}

fn try_grant(ledger: &mut Ledger, now: u64) -> Option<Permit> {
    match ledger.admit(at(now), Keys::SHARED, GENERAL, Lane::Bulk, Tick::NEVER) {
        Admission::Granted(mut permit) => {
            permit.mark_sent(at(now).tick);
            Some(permit)
        }
        Admission::Waiting(waiter) => {
            ledger.cancel(at(now), waiter);
            None
        }
        Admission::Denied(denial) => panic!("{denial:?}"),
    }
}

fn grant(ledger: &mut Ledger, now: u64) -> Permit {
    try_grant(ledger, now).expect("there is a slot")
}

fn report(quota: u64, remaining: u64) -> Report {
    let mut report = Report::default();
    report.quota = Some(quota);
    report.remaining = Some(remaining);
    report
}

/// Sends at once, and is answered with this after 100 ms.
fn ask(ledger: &mut Ledger, now: u64, said: &Report) -> News {
    let permit = grant(ledger, now);
    answer(ledger, now + 100, permit, said)
}

fn answer(ledger: &mut Ledger, now: u64, permit: Permit, said: &Report) -> News {
    let news = ledger.observe(at(now), &permit, 0, said);
    if said.refused {
        ledger.fail(at(now), permit);
    } else {
        ledger.settle(at(now), permit, said.service_time);
    }
    news
}

fn usage(ledger: &mut Ledger, now: u64) -> Usage {
    ledger.usage(at(now), Keys::SHARED, 0).unwrap()
}

#[test]
fn what_cannot_be_ours_is_foreign() {
    let mut ledger = ledger(100);
    let news = ask(&mut ledger, 20_000, &report(100, 59));
    let Some(ForeignUse::Begun { requests }) = news.foreign else {
        panic!("40 of 41 are of others: {news:?}");
    };
    assert!((38..=42).contains(&requests), "{requests}");
    let now = usage(&mut ledger, 20_100);
    assert_eq!((now.used, now.quota), (1, 100));
    assert!((38..=42).contains(&now.foreign), "{now:?}");
    // Nothing is left, and nobody goes.
    ask(&mut ledger, 20_200, &report(100, 0));
    assert!(try_grant(&mut ledger, 20_300).is_none());
}

/// T15. Nothing more is heard. What is known of others leaves bit by bit, and is forgotten one window after the response.
#[test]
fn others_are_blocked_until_they_must_have_aged_and_no_longer() {
    for refused in [false, true] {
        let mut ledger = ledger(100);
        let mut said = report(100, 0);
        said.refused = refused;
        ask(&mut ledger, 20_000, &said);
        let mut last = 100;
        for now in (20_100..30_200).step_by(50) {
            let foreign = usage(&mut ledger, now).foreign;
            assert!(foreign <= last, "{now}: {foreign} after {last}");
            last = foreign;
        }
        assert_eq!(last, 0, "all of it is older than a window");
        // The first one looks whether they are still there; an answer that does not say so lets all others go.
        let first = grant(&mut ledger, 30_200);
        ledger.settle(at(30_300), first, None);
        let granted = (0..200).map_while(|_| try_grant(&mut ledger, 30_300));
        assert_eq!(granted.count(), 99);
    }
}

/// T12. As HubSpot's OAuth was seen to do: 45 left, and in the next moment 91.
#[test]
fn a_figure_that_jumps_up_frees_what_it_had_blocked() {
    let mut ledger = ledger(100);
    for nth in 0..20 {
        let said = report(100, 45 - nth);
        ask(&mut ledger, 20_000 + 200 * nth, &said);
    }
    let before = usage(&mut ledger, 24_000);
    assert!((45..=60).contains(&before.foreign), "{before:?}");
    for nth in 0..10 {
        let said = report(100, 91 - nth);
        ask(&mut ledger, 24_000 + 200 * nth, &said);
    }
    let after = usage(&mut ledger, 26_000);
    assert!(after.foreign <= 2, "{after:?}");
    assert_eq!(after.used, 30, "our own count is what we know");
}

/// A response that comes later than another one, but was sent before, knows less.
#[test]
fn a_late_response_does_not_undo_a_newer_one() {
    let mut ledger = ledger(100);
    let late = grant(&mut ledger, 20_000);
    for nth in 0..30 {
        ask(&mut ledger, 20_100 + 200 * nth, &report(100, 49 - nth));
    }
    let before = usage(&mut ledger, 26_200).foreign;
    answer(&mut ledger, 26_200, late, &report(100, 99));
    let after = usage(&mut ledger, 26_200).foreign;
    assert_eq!(before, after);
    assert!((40..=60).contains(&after), "{after}");
}

#[test]
fn a_window_without_others_ends_it() {
    let mut ledger = ledger(100);
    ask(&mut ledger, 20_000, &report(100, 79));
    let mut ended = None;
    for nth in 0..200 {
        let now = 21_000 + 250 * nth;
        // Ours of the last ten seconds; those of others leave.
        let ours = usage(&mut ledger, now).used + 1;
        let others = 20_u64.saturating_sub(2 * nth);
        let news = ask(
            &mut ledger,
            now,
            &report(100, 100 - u64::from(ours) - others),
        );
        if news.foreign.is_some() {
            assert_eq!(news.foreign, Some(ForeignUse::Ended));
            ended = ended.or(Some(now));
        }
    }
    let ended = ended.expect("others have gone");
    assert!((30_000..46_000).contains(&ended), "{ended}");
    assert_eq!(usage(&mut ledger, 71_000).foreign, 0);
}

/// What a server counts in true rolling windows, and says in every response.
struct Server {
    quota: usize,
    /// When each request was counted, in milliseconds.
    counted: VecDeque<u64>,
}

impl Server {
    fn count(&mut self, now: u64) -> Option<u64> {
        let window = WINDOW.as_millis() as u64;
        while self.counted.front().is_some_and(|at| at + window <= now) {
            self.counted.pop_front();
        }
        if self.counted.len() == self.quota {
            return None;
        }
        self.counted.push_back(now);
        Some((self.quota - self.counted.len()) as u64)
    }
}

/// Random demand, random times on the way, answers that overtake each other, come after their own slots have aged or do not come
/// at all, and requests that are not sent after all: nothing of that looks like others.
#[test]
fn a_sole_user_is_never_blocked() {
    let mut sent = 0;
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let quota = random.u32(1..40);
        let mut ledger = ledger(quota);
        let mut server = Server {
            quota: quota as usize,
            counted: VecDeque::new(),
        };
        let demand = random.u32(1..20);
        let slow = random.bool();
        // (when, what): 0 is counted, 1 is answered.
        let mut events: Vec<(u64, u8, usize)> = Vec::new();
        let mut requests: Vec<(Option<Permit>, Report, bool)> = Vec::new();
        for now in 0..120_000_u64 {
            while let Some(nth) = events.iter().position(|event| event.0 <= now) {
                let (_, what, request) = events.remove(nth);
                let (permit, said, is_lost) = &mut requests[request];
                if what == 0 {
                    let left = server.count(now);
                    assert!(left.is_some(), "seed {seed}: refused at {now}");
                    said.remaining = left;
                    said.quota = random.bool().then_some(u64::from(quota));
                    let work = random.u64(0..600);
                    said.service_time = random.bool().then(|| Duration::from_millis(work));
                    let back = random.u64(0..if slow { 25_000 } else { 300 });
                    events.push((now + work + back, 1, request));
                } else if let Some(permit) = permit.take() {
                    if *is_lost {
                        ledger.abandon(at(now), permit);
                    } else {
                        let news = answer(&mut ledger, now, permit, said);
                        assert_eq!(news, News::default(), "seed {seed} at {now}");
                    }
                }
            }
            if random.u32(0..1_000) < demand {
                let Some(permit) = try_grant(&mut ledger, now) else {
                    let used = usage(&mut ledger, now).used;
                    assert_eq!(used, quota, "seed {seed}: blocked at {now}");
                    continue;
                };
                if random.u32(0..10) == 0 {
                    ledger.refund(at(now), permit);
                    continue;
                }
                requests.push((Some(permit), Report::default(), random.u32(0..20) == 0));
                let way = random.u64(0..1_500);
                events.push((now + way, 0, requests.len() - 1));
            }
            if now % 100 == 0 {
                assert_eq!(usage(&mut ledger, now).foreign, 0);
            }
        }
        sent += requests.len();
    }
    assert!(sent > 5_000, "{sent}");
}

/// T10. Whatever the server says, in whatever order: no panic, our own count stays what it is, and one window after the last word
/// everybody can go who could without it.
#[test]
fn nothing_that_a_server_says_does_harm() {
    const ODD: [u64; 10] = [0, 1, 2, 5, 99, 100, 101, 1 << 31, 1 << 40, u64::MAX];
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let quota = random.u32(1..300);
        let mut ledger = ledger(quota);
        let mut held = Vec::new();
        let mut now = random.u64(0..20_000);
        for _ in 0..400 {
            let gap = [2, 100, 3_000][random.usize(0..3)];
            now += random.u64(0..gap);
            if let Some(permit) = try_grant(&mut ledger, now) {
                held.push(permit);
            }
            if held.is_empty() || random.bool() {
                continue;
            }
            let permit = held.swap_remove(random.usize(0..held.len()));
            let mut figure = || ODD[random.usize(0..ODD.len())];
            let mut said = report(figure(), figure());
            if random.bool() {
                said.quota = None;
            }
            said.refused = random.u32(0..5) == 0;
            said.service_time = random.bool().then(|| Duration::from_nanos(random.u64(..)));
            let before = usage(&mut ledger, now).used;
            ledger.observe(at(now), &permit, random.usize(0..3), &said);
            let after = usage(&mut ledger, now);
            assert_eq!(before, after.used, "seed {seed}");
            assert!((1..=quota).contains(&after.quota), "seed {seed}");
            ledger.settle(at(now), permit, said.service_time);
        }
        let ours = held.len() as u32;
        for permit in held {
            ledger.settle(at(now), permit, None);
        }
        assert!(ours <= quota);
        // A little more than a window: of large quotas slots are kept on a grid.
        now += 10_050;
        assert_eq!(usage(&mut ledger, now).foreign, 0, "seed {seed}");
        let Some(first) = try_grant(&mut ledger, now) else {
            panic!("seed {seed}: {:?}", usage(&mut ledger, now));
        };
        ledger.settle(at(now), first, None);
        let quota = usage(&mut ledger, now).quota;
        let granted = (0..quota).map_while(|_| try_grant(&mut ledger, now));
        assert_eq!(granted.count() as u32, quota - 1, "seed {seed}");
    }
}

#[test]
fn a_lower_quota_is_kept_to_until_the_server_says_otherwise() {
    let mut ledger = ledger(190);
    let early = grant(&mut ledger, 0);
    let news = ask(&mut ledger, 10, &report(100, 98));
    assert_eq!(news.learned, Some(100));
    let usage_of = |ledger: &mut Ledger, now| usage(ledger, now).quota;
    assert_eq!(usage_of(&mut ledger, 110), 100);
    let granted: Vec<Permit> = (0..200)
        .map_while(|_| try_grant(&mut ledger, 110))
        .collect();
    assert_eq!(granted.len(), 98);
    for permit in granted {
        ledger.refund(at(110), permit);
    }
    // Sent before, and so it knows less.
    answer(&mut ledger, 200, early, &report(190, 189));
    assert_eq!(usage_of(&mut ledger, 200), 100);
    let claim = ledger.claim(0).unwrap();
    assert_eq!((claim.planned, claim.planned_window), (190, WINDOW));
    // Said once for each number.
    assert_eq!(ask(&mut ledger, 300, &report(100, 97)).learned, None);
    assert_eq!(ask(&mut ledger, 500, &report(110, 106)).learned, Some(110));
    assert_eq!(usage_of(&mut ledger, 600), 110);
    assert_eq!(ask(&mut ledger, 700, &report(190, 185)).learned, None);
    assert_eq!(usage_of(&mut ledger, 800), 190);
    assert_eq!(usage(&mut ledger, 800).foreign, 0);
}

/// A share is kept of what is in force.
#[test]
fn a_reserved_share_is_one_of_the_lower_quota() {
    let mut ledger = ledger(100);
    ledger.set_reserve(at(0), 0, Reserve::Share(0.2)).unwrap();
    ask(&mut ledger, 10, &report(20, 19));
    let granted = (0..100).map_while(|_| try_grant(&mut ledger, 110)).count();
    assert_eq!(granted, 15, "one has gone already");
}

/// Somebody pays for more than the plan uses: the plan is kept to, and what others use of the rest is not taken from us.
#[test]
fn a_higher_quota_is_told_and_not_used() {
    let mut ledger = ledger(100);
    let mut said = report(250, 189);
    said.window = Some(Duration::from_secs(60));
    let news = ask(&mut ledger, 20_000, &said);
    assert_eq!((news.learned, news.foreign), (Some(250), None));
    let now = usage(&mut ledger, 20_100);
    assert_eq!((now.quota, now.foreign), (100, 0));
    let claim = ledger.claim(0).unwrap();
    let expected = (Some(250), Some(Duration::from_secs(60)));
    assert_eq!((claim.learned, claim.learned_window), expected);
    // Now the others have taken 30 more than what is there for them.
    ask(&mut ledger, 21_000, &report(250, 68));
    let foreign = usage(&mut ledger, 21_100).foreign;
    assert!((28..=32).contains(&foreign), "{foreign}");
}

/// A server that says another quota each time has no more to say after the eighth.
#[test]
fn not_every_quota_is_worth_an_event() {
    let mut ledger = ledger(190);
    let learned = (1..=100).filter(|nth| {
        let said = report(100 + nth, 90);
        ask(&mut ledger, 1_000 * nth, &said).learned.is_some()
    });
    assert_eq!(learned.count(), 8);
}

#[test]
fn a_new_key_asks_first_while_the_process_is_new() {
    for (first, granted) in [
        (FirstWindow::Empty, 100),
        (FirstWindow::Probe, 1),
        (FirstWindow::Full, 0),
    ] {
        let mut ledger = ledger(100);
        ledger.set_first_window(at(0), 0, first);
        let all: Vec<Permit> = (0..200).map_while(|_| try_grant(&mut ledger, 5)).collect();
        assert_eq!(all.len(), granted, "{first:?}");
        for permit in all {
            ledger.refund(at(5), permit);
        }
        let granted = (0..200).map_while(|_| try_grant(&mut ledger, 11_000));
        assert_eq!(
            granted.count(),
            100,
            "{first:?}: one window and a second later"
        );
    }
}

#[test]
fn nothing_is_claimed_of_what_is_not_there() {
    let mut ledger = ledger(5);
    assert_eq!(ledger.claim(1), None);
    let untouched = Claim {
        planned: 5,
        learned: None,
        planned_window: WINDOW,
        learned_window: None,
    };
    assert_eq!(ledger.claim(0), Some(untouched));
    let permit = grant(&mut ledger, 0);
    assert_eq!(
        ledger.observe(at(1), &permit, 7, &report(1, 0)),
        News::default()
    );
    assert!(!ledger.explains_refusals(at(1), Keys::SHARED, 7));
    ledger.refund(at(1), permit);
}

/// A request that is never answered keeps its own slot and nobody else's: what is known of others has aged after one window, and
/// then one of us looks whether they are still there.
#[test]
fn a_request_that_hangs_holds_nobody_up_for_longer_than_a_window() {
    let mut ledger = ledger(100);
    let hangs = grant(&mut ledger, 19_000);
    ask(&mut ledger, 20_000, &report(100, 50));
    let first = grant(&mut ledger, 30_300);
    assert!(try_grant(&mut ledger, 30_400).is_none(), "one looks");
    // It hangs, too.
    let Admission::Waiting(mut second) =
        ledger.admit(at(30_400), Keys::SHARED, GENERAL, Lane::Bulk, Tick::NEVER)
    else {
        panic!("one looks");
    };
    let mut now = at(30_400);
    let second = loop {
        match ledger.poll(now, second, None) {
            Progress::Granted(permit) => break permit,
            Progress::Waiting { waiter, until } => {
                second = waiter;
                now.tick = until.expect("somebody must look again");
                assert!(now.tick <= at(40_400).tick, "{:?}", now.tick);
            }
            Progress::Denied(denial) => panic!("{denial:?}"),
        }
    };
    for permit in [hangs, first, second] {
        ledger.abandon(at(50_000), permit);
    }
}

/// Nor does one that was given up and may arrive much later.
#[test]
fn a_request_that_was_given_up_holds_nobody_up_for_as_long_as_it_may_be_late() {
    let mut ledger = ledger(100);
    let slow = grant(&mut ledger, 0);
    ledger.settle(at(40_000), slow, None);
    let late = grant(&mut ledger, 41_000);
    ledger.abandon(at(41_500), late);
    let hangs = grant(&mut ledger, 49_000);
    ask(&mut ledger, 50_000, &report(100, 50));
    let first = grant(&mut ledger, 60_300);
    for permit in [hangs, first] {
        ledger.abandon(at(61_000), permit);
    }
}

/// Who waits for a response that tells nothing is woken by it, even if his time would be over before the next slot is free.
#[test]
fn an_answer_that_tells_nothing_wakes_who_waited_for_it() {
    let mut ledger = ledger(100);
    ask(&mut ledger, 20_000, &report(100, 50));
    let first = grant(&mut ledger, 30_300);
    let deadline = at(35_000).tick;
    let Admission::Waiting(second) =
        ledger.admit(at(30_400), Keys::SHARED, GENERAL, Lane::Bulk, deadline)
    else {
        panic!("one looks");
    };
    let Progress::Waiting { waiter, .. } = ledger.poll(at(30_400), second, Some(Waker::noop()))
    else {
        panic!("nothing has been heard");
    };
    assert_eq!(ledger.take_wakers().len(), 0);
    ledger.settle(at(30_500), first, None);
    assert_eq!(ledger.take_wakers().len(), 1);
    assert!(ledger.poll(at(30_500), waiter, None).is_granted());
}
