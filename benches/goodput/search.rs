//! A backfill that uses up the search limit, and somebody who looks something up now and then.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use serde_json::json;
use tokio::task::JoinSet;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_quota::Quota;
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Lane, Zone};
use tower_quota::sim::{Latency, Sim};

use crate::drive::{Api, MILLISECOND, SECOND, client, gap, grid, saturate, search, simulate};
use crate::{Table, support};

const SEEDS: u64 = 5;
const LENGTH: Duration = Duration::from_secs(600);
/// Tasks of the backfill.
const TASKS: usize = 40;
const LOOKUPS_PER_SECOND: f64 = 1.0;

struct Line {
    name: &'static str,
    reserve: u32,
    lookups: bool,
}

impl Line {
    const fn new(name: &'static str, reserve: u32, lookups: bool) -> Self {
        Self {
            name,
            reserve,
            lookups,
        }
    }
}

const ALONE: usize = 1;
const TOGETHER: usize = 2;
const LINES: [Line; 4] = [
    Line::new("backfill alone, nothing reserved", 0, false),
    Line::new("backfill alone, 1 reserved", 1, false),
    Line::new("backfill and lookups, 1 reserved", 1, true),
    Line::new("backfill and lookups, nothing reserved", 0, true),
];

#[derive(Default)]
struct Seen {
    arrived: u64,
    refused: u64,
    backfill: u64,
    lookups: u64,
    /// From the call to the send.
    waits: Vec<Duration>,
    /// From the send to the answer.
    round_trips: Duration,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.arrived += other.arrived;
        self.refused += other.refused;
        self.backfill += other.backfill;
        self.lookups += other.lookups;
        self.waits.extend(other.waits);
        self.round_trips += other.round_trips;
    }

    fn round_trip(&self) -> Duration {
        self.round_trips
            .checked_div(self.waits.len() as u32)
            .unwrap_or_default()
    }

    /// The wait that so many in a hundred do not exceed; `waits` are sorted.
    fn wait(&self, percent: usize) -> Duration {
        let nth = (self.waits.len() * percent).div_ceil(100);
        self.waits
            .get(nth.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    fn per_second(requests: u64) -> f64 {
        requests as f64 / (LENGTH * SEEDS as u32).as_secs_f64()
    }
}

/// Notes when a request leaves, in the extension that wants to know.
#[derive(Clone, Debug)]
struct Stamping<S>(S);

#[derive(Clone, Debug)]
struct Sent(Clock, Arc<Mutex<Duration>>);

impl<S: Service<Request<B>>, B> Service<Request<B>> for Stamping<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        if let Some(Sent(clock, sent)) = request.extensions().get() {
            *sent.lock().expect("nobody panics") = clock.elapsed();
        }
        self.0.call(request)
    }
}

pub(crate) fn table() -> Table {
    let seen = grid((LINES.len(), 1), 1..1 + SEEDS, |row, _, seed| {
        run(&LINES[row], seed)
    });
    let sum = |row: Vec<Vec<Seen>>| {
        let mut sum = Seen::default();
        row.into_iter().flatten().for_each(|seen| sum.add(seen));
        sum.waits.sort_unstable();
        sum
    };
    report(&Vec::from_iter(seen.into_iter().map(sum)))
}

fn run(line: &Line, seed: u64) -> Seen {
    simulate(seed, async {
        let sim = Sim::builder()
            .latency(Latency::WAN)
            .service_time(Latency::uniform(200 * MILLISECOND, 600 * MILLISECOND))
            .seed(seed)
            .build()
            .expect("the simulator is set up soundly");
        let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
        let layers = ServiceBuilder::new()
            .layer(hubspot::stack(&quota).search_reserve(line.reserve))
            .layer_fn(Stamping);
        let client = client(&sim, layers);
        let mut backfill = JoinSet::new();
        saturate(&mut backfill, TASKS, &client, &search());
        let clock = Clock::system();
        let mut lookups = JoinSet::new();
        loop {
            tokio::time::sleep(gap(LOOKUPS_PER_SECOND)).await;
            if clock.elapsed() > LENGTH {
                break;
            }
            if line.lookups {
                lookups.spawn(look_up(client.clone(), clock.clone()));
            }
        }
        let stats = sim.stats();
        let mut seen = Seen {
            arrived: stats.arrived(),
            refused: stats.refused(),
            lookups: lookups.len() as u64,
            ..Seen::default()
        };
        seen.backfill = stats.search.counted.saturating_sub(seen.lookups);
        while let Some(lookup) = lookups.join_next().await {
            let (wait, round_trip) = lookup.expect("no lookup fails");
            seen.waits.push(wait);
            seen.round_trips += round_trip;
        }
        seen
    })
}

/// How long one lookup waited, and how long it then took.
async fn look_up(mut client: Api, clock: Clock) -> (Duration, Duration) {
    let called = clock.elapsed();
    let sent = Arc::new(Mutex::new(Duration::ZERO));
    let mut request = search();
    request.extensions_mut().insert(Lane::Interactive);
    request
        .extensions_mut()
        .insert(Sent(clock.clone(), sent.clone()));
    let client = client.ready().await.expect("the client is ready");
    client.call(request).await.expect("the server answers");
    let sent = *sent.lock().expect("nobody panics");
    (sent - called, clock.elapsed() - sent)
}

fn report(seen: &[Seen]) -> Table {
    let mut failures = Vec::new();
    let together = &seen[TOGETHER];
    if seen.iter().any(|seen| seen.refused > 0) {
        failures.push("search: not a single request may be refused".to_owned());
    }
    let most = SECOND + together.round_trip();
    if together.wait(99) > most {
        let wait = together.wait(99);
        failures.push(format!(
            "search: 1 % of the lookups wait {wait:.2?} > {most:.2?}"
        ));
    }
    let least = seen[ALONE].backfill.saturating_sub(together.lookups);
    if together.backfill < least {
        let done = together.backfill;
        failures.push(format!(
            "search: the backfill did {done} < {least} requests"
        ));
    }
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    let header = [
        "searches, 5 per 1 s",
        "refused",
        "backfill",
        "lookups",
        "median wait",
        "p99",
        "longest",
        "round trip",
    ];
    let mut rows = Vec::new();
    let mut json_rows = Vec::new();
    for (line, seen) in LINES.iter().zip(seen) {
        let waits = [50, 99, 100].map(|percent| seen.wait(percent));
        let mut row = vec![
            line.name.to_owned(),
            support::percent(seen.refused, seen.arrived),
            format!("{:.2}/s", Seen::per_second(seen.backfill)),
            format!("{:.2}/s", Seen::per_second(seen.lookups)),
        ];
        row.extend(
            waits
                .into_iter()
                .chain([seen.round_trip()])
                .map(|time| match line.lookups {
                    true => seconds(time),
                    false => "-".to_owned(),
                }),
        );
        rows.push(row);
        json_rows.push(json!({
            "line": line.name,
            "attempts": seen.arrived,
            "refused": seen.refused,
            "backfill_per_second": Seen::per_second(seen.backfill),
            "lookups_per_second": Seen::per_second(seen.lookups),
            "wait_seconds": waits.map(|wait| wait.as_secs_f64()),
            "round_trip_seconds": seen.round_trip().as_secs_f64(),
        }));
    }
    let losses = [(0, "with nothing reserved"), (ALONE, "with 1 reserved")].map(|(alone, name)| {
        let lost = Seen::per_second(seen[alone].backfill) - Seen::per_second(together.backfill);
        format!("beside the lookups and with 1 reserved the backfill does {lost:.2}/s less than alone {name}\n")
    });
    let text = format!(
        "search: a backfill and interactive lookups, {SEEDS} seeds of {LENGTH:?}\n\n{}\n{}",
        support::table(&header, &rows),
        losses.concat()
    );
    Table {
        text,
        json: json!({ "seeds": SEEDS, "rows": json_rows }),
        failures,
    }
}
