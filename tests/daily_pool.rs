//! Promise: the daily pool is spent on purpose. Bulk stops where the share that is kept for Interactive begins, Interactive goes on
//! to the last request, nobody is refused, and everybody resumes at midnight of the account's zone, on days of 23 and 25 hours too.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::capture::Capture;
use common::{HOUR, SECOND, ms};
use http::{Request, StatusCode};
use http_body_util::Empty;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, DAILY, Tier};
use tower_quota::plan::{Lane, Reserve, Zone};
use tower_quota::quota::DailyExhausted;
use tower_quota::request::{AccountId, Deadline};
use tower_quota::sim::{Class, Fault, Latency, Script, Sim, SimTier};
use tower_quota::stack::{Stack, StackLayer};
use tower_quota::{BoxError, Quota, QuotaError};

const POOL: u32 = 1_000;
const EXHAUSTED: &str = "tower_quota::daily_exhausted";
const RESUMED: &str = "tower_quota::daily_resumed";

/// When the day begins, and how many minutes it has: of one without a change of the clocks, and of those on which they change.
/// From the IANA database.
const DAYS: [(&str, u64, u64); 7] = [
    ("UTC", 1_774_656_000, 24 * 60),
    ("Europe/Berlin", 1_774_738_800, 23 * 60),
    ("Europe/Berlin", 1_792_879_200, 25 * 60),
    ("America/New_York", 1_772_946_000, 23 * 60),
    ("America/New_York", 1_793_505_600, 25 * 60),
    ("Australia/Lord_Howe", 1_791_034_200, 23 * 60 + 30),
    ("Australia/Lord_Howe", 1_775_307_600, 24 * 60 + 30),
];

fn wall(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

type Api = Stack<tower_quota::sim::SimService>;

struct World {
    sim: Sim,
    quota: Quota,
    api: Api,
}

impl World {
    /// `start` is what both clocks show; `zone` is that of the account, which the program knows or not.
    fn new(start: SystemTime, zone: &str, known: bool, then: DailyExhausted) -> Self {
        Self::with_latency(start, zone, known, then, Latency::constant(ms(40)))
    }

    fn with_latency(
        start: SystemTime,
        zone: &str,
        known: bool,
        then: DailyExhausted,
        latency: Latency,
    ) -> Self {
        let clock = Clock::starting_at(start);
        let sim = Sim::builder()
            .tier(SimTier::Starter)
            .daily(POOL.into())
            .zone(zone)
            .latency(latency)
            .service_time(Latency::constant(ms(100)))
            .clock(clock.clone())
            .record(true)
            .build()
            .unwrap();
        let zone = match known {
            true => Zone::named(zone).unwrap(),
            false => Zone::UNKNOWN,
        };
        let quota = Quota::builder(hubspot::api(Tier::FreeStarter, zone))
            .clock(clock)
            .daily_exhausted(then)
            .build();
        quota.set_quota(DAILY, POOL).unwrap();
        quota.set_reserve(DAILY, Reserve::Share(0.2)).unwrap();
        let api = StackLayer::new(&quota)
            .max_wait(HOUR / 2)
            .layer(sim.service());
        Self { sim, quota, api }
    }

    async fn call(&self, lane: Lane) -> Result<StatusCode, BoxError> {
        call(self.api.clone(), request(lane)).await
    }

    /// So many at once; gives how many went through. All others were told when the pool is filled again.
    async fn go(&self, count: usize, lane: Lane, reset: SystemTime) -> usize {
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let mut request = request(lane);
            let deadline = Deadline::within(HOUR);
            request.extensions_mut().insert(deadline);
            tasks.spawn(call(self.api.clone(), request));
        }
        let mut went = 0;
        for result in tasks.join_all().await {
            match result {
                Ok(status) => {
                    assert_eq!(status, 200);
                    went += 1;
                }
                Err(error) => {
                    let error = error.downcast_ref::<QuotaError>().unwrap();
                    assert_eq!(error.limit(), DAILY);
                    assert_eq!(error.retry_at(), reset, "{error}");
                }
            }
        }
        went
    }
}

fn request(lane: Lane) -> Request<Empty<Bytes>> {
    let request =
        Request::get("http://sim/crm/v3/objects/contacts").header("authorization", "Bearer t");
    let mut request = request.body(Empty::new()).unwrap();
    request.extensions_mut().insert(lane);
    request.extensions_mut().insert(AccountId::from("4711"));
    request
}

async fn call(api: Api, request: Request<Empty<Bytes>>) -> Result<StatusCode, BoxError> {
    api.oneshot(request).await.map(|answer| answer.status())
}

#[tokio::test(start_paused = true)]
async fn bulk_stops_at_its_share_interactive_goes_on_and_all_resume_at_midnight() {
    for (zone, start, minutes) in DAYS {
        let capture = Capture::default();
        let _guard = tracing::subscriber::set_default(capture.clone());
        let reset = wall(start + minutes * 60);
        // From half past one of that day on.
        let world = World::new(wall(start + 5_400), zone, true, DailyExhausted::Park);
        let until_reset = Duration::from_secs(minutes * 60 - 5_400);

        assert_eq!(world.go(900, Lane::Bulk, reset).await, 800, "{zone}");
        assert!(capture.events(EXHAUSTED).is_empty(), "something is left");
        assert_eq!(world.go(250, Lane::Interactive, reset).await, 200, "{zone}");
        let stats = world.sim.stats();
        assert_eq!((stats.counted(), stats.refused()), (1_000, 0), "{zone}");
        assert_eq!(capture.events(EXHAUSTED).len(), 1, "{zone}");

        // A herd that has parked.
        let mut herd = JoinSet::new();
        for nth in 0..1_000 {
            let lane = match nth % 5 {
                0 => Lane::Interactive,
                _ => Lane::Bulk,
            };
            herd.spawn(call(world.api.clone(), request(lane)));
        }
        sleep(SECOND).await;
        assert_eq!(world.quota.waiting(), 1_000);
        for status in herd.join_all().await {
            assert_eq!(status.unwrap(), 200);
        }
        let stats = world.sim.stats();
        assert_eq!((stats.counted(), stats.refused()), (2_000, 0), "{zone}");
        let log = world.sim.log();
        assert_eq!(log[1_000].at, until_reset + ms(40), "{zone}");
        let last = log[1_999].at;
        assert!(last < until_reset + 95 * SECOND, "{zone}: {last:?}");
        assert_eq!(world.sim.max_in_window(Class::General, 10 * SECOND), 100);
        assert_eq!(capture.events(RESUMED).len(), 1, "{zone}");
        assert_eq!(capture.events(EXHAUSTED).len(), 2, "{zone}: again");
        println!("{zone}, {minutes} min: 800 + 200, then 1,000 after the reset, 0 refused");
    }
}

/// Those of others in the account are seen in the headers, and in nothing else.
#[tokio::test(start_paused = true)]
async fn strangers_spend_what_bulk_may_use_and_nobody_is_refused() {
    let (zone, start, minutes) = DAYS[1];
    let reset = wall(start + minutes * 60);
    let world = World::new(wall(start + 5_400), zone, true, DailyExhausted::Fail);
    assert_eq!(world.sim.spend("t", 90), 90);
    // So that the burst has room for both, here and below.
    sleep(11 * SECOND).await;
    let mut went = 0;
    while let Ok(status) = world.call(Lane::Bulk).await {
        assert_eq!(status, 200);
        went += 1;
        if went % 100 == 0 {
            sleep(11 * SECOND).await;
            assert_eq!(world.sim.spend("t", 30), 30);
        }
    }
    // 90 and five times 30 are theirs.
    assert_eq!(went, 560);
    assert_eq!(world.go(300, Lane::Interactive, reset).await, 200);
    let stats = world.sim.stats();
    assert_eq!(stats.refused(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_strangers_have_emptied_costs_one_refusal() {
    for by_headers in [true, false] {
        let capture = Capture::default();
        let _guard = tracing::subscriber::set_default(capture.clone());
        let (zone, start, minutes) = DAYS[2];
        let reset = start + minutes * 60;
        let world = World::new(wall(start + 5_400), zone, true, DailyExhausted::Park);
        let left = if by_headers { 1 } else { 0 };
        for _ in 0..10 {
            world.sim.spend("t", 100);
            sleep(11 * SECOND).await;
        }
        if by_headers {
            world.sim.set_daily(1_001);
        }
        // With one left, its answer says that it was the last.
        let mut herd = JoinSet::new();
        herd.spawn(call(world.api.clone(), request(Lane::Interactive)));
        sleep(SECOND).await;
        for _ in 0..500 {
            herd.spawn(call(world.api.clone(), request(Lane::Bulk)));
        }
        for status in herd.join_all().await {
            assert_eq!(status.unwrap(), 200);
        }
        let stats = world.sim.stats();
        assert_eq!(stats.refused(), 1 - left, "by headers: {by_headers}");
        let first = world.sim.log()[(1_000 + left) as usize].at;
        let midnight = Duration::from_secs(reset - start - 5_400);
        assert!(
            first >= midnight && first < midnight + 2 * SECOND,
            "{first:?}"
        );
        assert_eq!(capture.events(EXHAUSTED).len(), 1, "{}", capture.text());
        assert_eq!(capture.events(RESUMED).len(), 1, "{}", capture.text());
        let event = &capture.events(EXHAUSTED)[0];
        for field in ["limit=\"daily\"", "account=", "seconds="] {
            assert!(event.contains(field), "{event}");
        }
    }
}

/// T12, T32: it was sent before midnight, and its answer comes after it.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_yesterday_does_not_end_today() {
    let (zone, start, minutes) = DAYS[3];
    let slow = Latency::constant(4 * SECOND);
    let begin = wall(start + minutes * 60 - 205);
    let world = World::with_latency(begin, zone, true, DailyExhausted::Fail, slow);
    // Nobody knows of these.
    for _ in 0..10 {
        world.sim.spend("t", 100);
        sleep(20 * SECOND).await;
    }
    let refused = tokio::spawn(call(world.api.clone(), request(Lane::Bulk)));
    sleep(10 * SECOND).await;
    assert_eq!(refused.await.unwrap().unwrap(), 429);
    assert_eq!(world.call(Lane::Bulk).await.unwrap(), 200);
    let usage = world.quota.usage(DAILY, &request(Lane::Bulk)).unwrap();
    assert_eq!(usage.paused_until, None);
}

/// Hours mean the pool, even if nobody says so.
#[tokio::test(start_paused = true)]
async fn a_refusal_without_a_name_that_asks_for_hours_exhausts_the_pool_for_so_long() {
    for (hours, waits) in [(3, 3 * HOUR), (30, 22 * HOUR + HOUR / 2)] {
        let capture = Capture::default();
        let _guard = tracing::subscriber::set_default(capture.clone());
        let world = World::new(wall(DAYS[0].1 + 5_400), "UTC", true, DailyExhausted::Park);
        let refusal = Fault::status(StatusCode::TOO_MANY_REQUESTS)
            .retry_after(hours * 3_600)
            .without_quota_headers()
            .body("");
        world.sim.script(Script::new(refusal));
        assert_eq!(world.call(Lane::Bulk).await.unwrap(), 200);
        let at = world.sim.log().last().unwrap().at;
        assert!(at >= waits && at < waits + 3 * SECOND, "{at:?}");
        assert_eq!(capture.events(EXHAUSTED).len(), 1);
        assert_eq!(capture.events(RESUMED).len(), 1);
    }
}

/// A pool that is named is empty until its reset: what the response asks for is not believed.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_the_pool_holds_until_its_reset() {
    let world = World::new(wall(DAYS[0].1 + 5_400), "UTC", true, DailyExhausted::Park);
    let refusal = Fault::status(StatusCode::TOO_MANY_REQUESTS)
        .retry_after(60)
        .without_quota_headers()
        .body(common::DAILY_BODY);
    world.sim.script(Script::new(refusal));
    assert_eq!(world.call(Lane::Interactive).await.unwrap(), 200);
    let at = world.sim.log().last().unwrap().at;
    assert!(at >= 22 * HOUR + HOUR / 2, "{at:?}");
}

/// T35: the tier changes in mid-day.
#[tokio::test(start_paused = true)]
async fn a_pool_that_changes_in_mid_day_is_spent_as_it_is() {
    let (zone, start, minutes) = DAYS[4];
    let reset = wall(start + minutes * 60);
    let world = World::new(wall(start + 5_400), zone, true, DailyExhausted::Fail);
    assert_eq!(world.go(100, Lane::Bulk, reset).await, 100);
    world.sim.set_daily(500);
    assert_eq!(world.call(Lane::Bulk).await.unwrap(), 200);
    assert_eq!(world.go(900, Lane::Bulk, reset).await, 400 - 101);
    world.sim.set_daily(1_000);
    assert_eq!(world.call(Lane::Interactive).await.unwrap(), 200);
    assert_eq!(world.go(900, Lane::Bulk, reset).await, 400);
    assert_eq!(world.sim.stats().refused(), 0);
}

/// Nobody has said which zone counts: the API knows.
#[tokio::test(start_paused = true)]
async fn the_reset_and_the_use_of_today_can_be_asked_for() {
    for (zone, start, minutes) in DAYS {
        let reset = wall(start + minutes * 60);
        let world = World::new(wall(start + 5_400), zone, false, DailyExhausted::Fail);
        for _ in 0..7 {
            world.sim.spend("t", 100);
            sleep(11 * SECOND).await;
        }
        let usage =
            hubspot::daily_usage(&world.quota, world.api.clone(), request(Lane::Interactive))
                .await
                .unwrap();
        assert_eq!(
            (usage.limit, usage.used, usage.resets_at),
            (1_000, 701, reset)
        );
        // The question itself is Interactive, and counts.
        assert_eq!(world.go(200, Lane::Bulk, reset).await, 100, "{zone}");
        assert_eq!(world.go(300, Lane::Interactive, reset).await, 199, "{zone}");
        assert_eq!(world.sim.stats().refused(), 0);
        let now = world.sim.elapsed();
        sleep(Duration::from_secs(minutes * 60 - 5_400) - now).await;
        assert_eq!(world.call(Lane::Bulk).await.unwrap(), 200, "{zone}");
    }
}
