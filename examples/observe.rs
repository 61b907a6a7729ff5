//! Sees what happens to quota: events as they happen, a report at the end, and a log to look at afterwards.
//!
//! ```sh
//! cargo run --release --features "record sim" --example observe -- quota.jsonl
//! cargo run --release --features cli --bin tower-quota -- logs quota.jsonl --filter rate_limited --window 1h
//! cargo run --release --features cli --bin tower-quota -- dashboard --log quota.jsonl
//! ```
//!
//! It reads contacts for twenty seconds, from a simulated HubSpot in which another program spends the same quota at random, so
//! that some requests are refused. Without a file name nothing is written.

use std::time::Duration;

use http::Request;
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::event::EventKind;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::record::Recorder;
use tower_quota::sim::{Latency, Others, Sim, SimBody, SimTier};
use tower_quota::{BoxError, Quota};

const LASTS: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let sim = Sim::builder()
        .tier(SimTier::Professional)
        .latency(Latency::WAN)
        .service_time(Latency::uniform(
            Duration::from_millis(50),
            Duration::from_millis(200),
        ))
        .others(Others::burst(6.0).in_bursts_of(20).token("my-token"))
        .build()?;
    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UTC));
    let log = std::env::args().nth(1);
    let recording = log
        .map(|path| Recorder::to(path).start(&quota))
        .transpose()?;

    let mut events = quota.events();
    let told = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event.kind {
                EventKind::RateLimited { route, status, .. } => println!("{status}: {route}"),
                EventKind::Paused { limit, lasts, .. } => {
                    println!("`{limit}` pauses for {lasts:?}")
                }
                EventKind::Recovered {
                    recovered_after, ..
                } => {
                    println!("answered again after {recovered_after:?}");
                }
                kind => println!("{}", kind.as_str()),
            }
        }
    });

    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota).max_wait(Duration::from_secs(60)))
        .service(sim.service());
    let clock = Clock::system();
    let mut workers = JoinSet::new();
    for _ in 0..32 {
        let (api, clock) = (api.clone(), clock.clone());
        workers.spawn(async move {
            while clock.elapsed() < LASTS {
                let uri = "https://api.hubapi.com/crm/v3/objects/contacts?limit=1";
                let request = Request::get(uri)
                    .header("authorization", "Bearer my-token")
                    .body(SimBody::default())?;
                api.clone().oneshot(request).await?;
            }
            Ok::<_, BoxError>(())
        });
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }

    println!("\n{}", quota.report());
    if let Some(recording) = recording {
        let recorded = tokio::task::spawn_blocking(|| recording.finish()).await?;
        println!(
            "{} lines written, {} missed",
            recorded.lines, recorded.missed
        );
    }
    // The stream ends with the last handle.
    drop((api, quota));
    told.await?;
    Ok(())
}
