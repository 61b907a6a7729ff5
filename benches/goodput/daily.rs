//! A daily pool of 1,000 of which a fifth is kept for interactive calls, through days of 23, 24 and 25 hours.

use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::task::JoinSet;
use tower::{Service, ServiceExt};
use tower_quota::Quota;
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Lane, Reserve, Zone};
use tower_quota::quota::DailyExhausted;
use tower_quota::sim::{Latency, Sim};

use crate::drive::{Api, MILLISECOND, TOKEN, client, general, grid, simulate};
use crate::{Table, support};

const POOL: u32 = 1_000;
const KEPT: f64 = 0.2;
/// What each lane gets of a day, and what it asks for: twice as much, so that a whole day's worth is parked.
const BULK: usize = 800;
const INTERACTIVE: usize = 200;
/// The first request after midnight is counted this much later at most.
const SOON: Duration = Duration::from_secs(5);
/// No next day here is shorter.
const ONE_DAY: Duration = Duration::from_secs(24 * 3_600);

struct Day {
    zone: &'static str,
    /// As the calendar in the zone says.
    date: &'static str,
    /// Its first instant and that of the next day.
    begins: &'static str,
    ends: &'static str,
    /// Requests that somebody else makes while bulk is at work.
    others: u64,
}

impl Day {
    const fn new(
        zone: &'static str,
        date: &'static str,
        begins: &'static str,
        ends: &'static str,
    ) -> Self {
        Self {
            zone,
            date,
            begins,
            ends,
            others: 0,
        }
    }

    const fn beside(mut self, others: u64) -> Self {
        self.others = others;
        self
    }

    fn name(&self) -> String {
        let name = format!("{}, {}, {} h", self.zone, self.date, self.hours());
        match self.others {
            0 => name,
            others => format!("{name}, others spend {others}"),
        }
    }

    fn hours(&self) -> u64 {
        let length = at(self.ends).duration_since(at(self.begins));
        length.expect("a day ends after it begins").as_secs() / 3_600
    }
}

const DAYS: [Day; 6] = [
    Day::new(
        "Europe/Berlin",
        "2026-03-29",
        "2026-03-28T23:00:00Z",
        "2026-03-29T22:00:00Z",
    ),
    Day::new(
        "Europe/Berlin",
        "2026-10-25",
        "2026-10-24T22:00:00Z",
        "2026-10-25T23:00:00Z",
    ),
    Day::new(
        "America/New_York",
        "2026-03-08",
        "2026-03-08T05:00:00Z",
        "2026-03-09T04:00:00Z",
    ),
    Day::new(
        "America/New_York",
        "2026-11-01",
        "2026-11-01T04:00:00Z",
        "2026-11-02T05:00:00Z",
    ),
    Day::new(
        "Asia/Kolkata",
        "2026-06-15",
        "2026-06-14T18:30:00Z",
        "2026-06-15T18:30:00Z",
    ),
    Day::new(
        "Asia/Kolkata",
        "2026-06-15",
        "2026-06-14T18:30:00Z",
        "2026-06-15T18:30:00Z",
    )
    .beside(100),
];

fn at(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>()
        .expect("the instant is sound")
        .into()
}

#[derive(Default)]
struct Seen {
    refused: u64,
    /// Answered before midnight, by lane.
    bulk: usize,
    interactive: usize,
    /// From midnight until the first and the last request of the new day were counted.
    resumed: Duration,
    done: Duration,
    next_day: usize,
}

pub(crate) fn table() -> Table {
    let seen = grid((DAYS.len(), 1), 1..2, |row, _, seed| run(&DAYS[row], seed));
    report(&Vec::from_iter(seen.into_iter().flatten().flatten()))
}

fn run(day: &Day, seed: u64) -> Seen {
    simulate(seed, async {
        // Half an hour into the day: whatever the clocks do this day is still to come.
        let start = at(day.begins) + Duration::from_secs(30 * 60);
        let midnight = at(day.ends)
            .duration_since(start)
            .expect("the day has begun");
        let clock = Clock::starting_at(start);
        let sim = Sim::builder()
            .daily(POOL.into())
            .zone(day.zone)
            .clock(clock.clone())
            .latency(Latency::WAN)
            .service_time(Latency::uniform(200 * MILLISECOND, 600 * MILLISECOND))
            .record(true)
            .seed(seed)
            .build()
            .expect("the simulator is set up soundly");
        let zone = Zone::named(day.zone).expect("the zone is known");
        let quota = Quota::builder(hubspot::api(Tier::Professional, zone))
            .clock(clock.clone())
            .daily_exhausted(DailyExhausted::Park)
            .build();
        quota
            .set_quota(hubspot::DAILY, POOL)
            .expect("the plan has the limit");
        quota
            .set_reserve(hubspot::DAILY, Reserve::Share(KEPT))
            .expect("the plan has the limit");
        let client = client(&sim, hubspot::stack(&quota));
        let mut calls = JoinSet::new();
        let mut call = |lane, times| {
            for _ in 0..times {
                calls.spawn(make(client.clone(), lane, clock.clone()));
            }
        };
        call(Lane::Bulk, BULK);
        // Early enough: what comes while the last ones are on their way cannot be known.
        tokio::time::sleep(Duration::from_secs(15)).await;
        sim.spend(TOKEN, day.others);
        // Bulk has had all that it may have.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        call(Lane::Bulk, BULK);
        call(Lane::Interactive, 2 * INTERACTIVE);
        let mut seen = Seen::default();
        while let Some(call) = calls.join_next().await {
            match call.expect("no call fails") {
                (_, answered) if answered >= midnight => {}
                (Lane::Bulk, _) => seen.bulk += 1,
                (Lane::Interactive, _) => seen.interactive += 1,
            }
        }
        let log = sim.log();
        let next_day = log
            .iter()
            .filter_map(|entry| entry.at.checked_sub(midnight))
            .filter(|&after| after < ONE_DAY);
        seen.refused = sim.stats().refused();
        seen.next_day = next_day.clone().count();
        seen.resumed = next_day.clone().min().unwrap_or(Duration::MAX);
        seen.done = next_day.max().unwrap_or(Duration::MAX);
        seen
    })
}

/// Gives the lane, and when the answer was there.
async fn make(mut client: Api, lane: Lane, clock: Clock) -> (Lane, Duration) {
    let mut request = general();
    request.extensions_mut().insert(lane);
    let client = client.ready().await.expect("the client is ready");
    client.call(request).await.expect("the server answers");
    (lane, clock.elapsed())
}

fn report(seen: &[Seen]) -> Table {
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    for (day, seen) in DAYS.iter().zip(seen) {
        let name = day.name();
        rows.push(vec![
            name.clone(),
            seen.refused.to_string(),
            seen.bulk.to_string(),
            seen.interactive.to_string(),
            format!("{:.3} s", seen.resumed.as_secs_f64()),
            format!("{} in {:.0} s", seen.next_day, seen.done.as_secs_f64()),
        ]);
        json_rows.push(json!({
            "day": name,
            "refused": seen.refused,
            "bulk": seen.bulk,
            "interactive": seen.interactive,
            "resumed_seconds": seen.resumed.as_secs_f64(),
            "next_day": seen.next_day,
            "next_day_seconds": seen.done.as_secs_f64(),
        }));
        if seen.refused > 0 {
            failures.push(format!("daily: {name}: {} refused", seen.refused));
        }
        if (seen.bulk, seen.interactive) != (BULK - day.others as usize, INTERACTIVE) {
            let (bulk, interactive) = (seen.bulk, seen.interactive);
            failures.push(format!(
                "daily: {name}: {bulk} bulk and {interactive} interactive"
            ));
        }
        if seen.next_day != BULK + INTERACTIVE || seen.resumed > SOON {
            let (n, resumed) = (seen.next_day, seen.resumed);
            failures.push(format!(
                "daily: {name}: {n} on the next day, from {resumed:.1?} after midnight"
            ));
        }
    }
    let header = [
        "pool of 1,000 a day",
        "refused",
        "bulk",
        "interactive",
        "goes on after midnight by",
        "parked",
    ];
    let text = format!(
        "daily: 1,600 bulk and 400 interactive calls, a fifth of the pool is kept for the latter\n\n{}",
        support::table(&header, &rows)
    );
    Table {
        text,
        json: json!({ "rows": json_rows }),
        failures,
    }
}
