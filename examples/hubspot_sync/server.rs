//! The simulated HubSpot that the program starts when it is given no address.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_quota::hubspot::{Packs, Tier};
use tower_quota::sim::{Class, Cost, Latency, Sim, SimBody, SimServer, SimTier};

use crate::args::Args;
use crate::contacts::Sheet;

/// How many inputs a batch call takes.
const BATCH: usize = 100;

/// A search for so many records times out, times its properties and one more: with the eight of the data that comes with the
/// program 33 records can be found at a time.
const HEAVY: u64 = 300;

/// The real one takes half a minute and more until it gives up.
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Simulated {
    sim: Sim,
    server: SimServer,
}

impl Simulated {
    /// Starts it on a free loopback port, with every other contact in it.
    pub(crate) async fn start(args: &Args, sheet: &Sheet, records: u64) -> Result<Self, String> {
        let (tier, packs) = tier(args.tier)?;
        let ms = Duration::from_millis;
        let sim = Sim::builder()
            .tier(tier)
            .limit_increase(packs)
            .zone(args.zone_name())
            // A server on the same continent: 10 ms each way at the least, 25 ms on average, and now and then half a second.
            .latency(Latency::exponential(ms(10), ms(15)).tail(0.01, ms(500)))
            .service_time(Latency::uniform(ms(50), ms(200)))
            .record(true);
        let sim = match args.verify {
            true => sim.cost(Cost::new(HEAVY).wait(GATEWAY_TIMEOUT)),
            false => sim,
        };
        let sim = sim.build().map_err(|error| error.to_string())?;
        know_half(&sim, sheet, records).await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| {
            format!("cannot open a local port for the simulated HubSpot: {error}")
        })?;
        let server = sim
            .serve(listener)
            .map_err(|error| format!("cannot start the simulated HubSpot: {error}"))?;
        Ok(Self { sim, server })
    }

    pub(crate) fn base(&self) -> Result<Uri, String> {
        self.server
            .url()
            .parse()
            .map_err(|error| format!("{error}"))
    }

    /// What the simulator has seen, which the client cannot know.
    pub(crate) fn verdict(&self, window: Duration) -> String {
        let stats = self.sim.stats();
        format!(
            "The simulated HubSpot refused {} requests and counted at most {} in any {} s.",
            stats.refused(),
            self.sim.max_in_window(Class::General, window),
            window.as_secs_f64()
        )
    }
}

fn tier(tier: Tier) -> Result<(SimTier, u8), String> {
    let packs = |packs| match packs {
        Packs::One => 1,
        Packs::Two => 2,
    };
    Ok(match tier {
        Tier::FreeStarter => (SimTier::Starter, 0),
        Tier::Professional => (SimTier::Professional, 0),
        Tier::Enterprise => (SimTier::Enterprise, 0),
        Tier::FreeStarterIncreased(more) => (SimTier::Starter, packs(more)),
        Tier::ProfessionalIncreased(more) => (SimTier::Professional, packs(more)),
        Tier::EnterpriseIncreased(more) => (SimTier::Enterprise, packs(more)),
        Tier::PublicOauth => (SimTier::PublicOAuth, 0),
        other => return Err(format!("the simulator does not know the tier {other}")),
    })
}

/// Creates every other contact. Each call has a token of its own, so that the sync finds its burst untouched.
async fn know_half(sim: &Sim, sheet: &Sheet, records: u64) -> Result<(), String> {
    let known: Vec<Value> = (0..records)
        .step_by(2)
        .filter_map(|index| sheet.record(index).1.ok())
        // Those that only the server refuses would fail the whole batch.
        .filter(|contact| !contact.email.contains("..") && !contact.email.contains(' '))
        .map(|contact| json!({ "properties": { "email": contact.email } }))
        .collect();
    let mut calls = JoinSet::new();
    for (number, inputs) in known.chunks(BATCH).enumerate() {
        let request = Request::post("/crm/v3/objects/contacts/batch/create")
            .header("authorization", format!("Bearer import-{number}"))
            .header("content-type", "application/json")
            .body(SimBody::from(Bytes::from(
                json!({ "inputs": inputs }).to_string(),
            )))
            .map_err(|error| error.to_string())?;
        calls.spawn(sim.service().oneshot(request));
    }
    while let Some(call) = calls.join_next().await {
        let answer = call.map_err(|error| error.to_string())?;
        let status = answer.map_err(|error| error.to_string())?.status();
        if !status.is_success() {
            return Err(format!(
                "the simulated HubSpot took no contacts: status {status}"
            ));
        }
    }
    Ok(())
}
