//! A log of a busy day: a stack against the simulator in virtual time, as a recorder would write it.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_quota::Quota;
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, DAILY, Tier};
use tower_quota::plan::{Lane, Zone};
use tower_quota::quota::DailyExhausted;
use tower_quota::request::AccountId;
use tower_quota::sim::{Fault, Latency, Others, Script, Sim, SimService, SimTier};
use tower_quota::stack::{Stack, StackLayer};

const MINUTE: Duration = Duration::from_secs(60);
/// 22 November 2026, midnight.
const MIDNIGHT: u64 = 1_795_305_600;
const POOL: u32 = 42_000;
/// Tokens, and the accounts that they belong to.
const TOKENS: [(&str, u64); 5] = [
    ("pat-na1-orders", 4_711),
    ("pat-na1-contacts", 4_711),
    ("pat-na1-deals", 4_711),
    ("pat-eu1-orders", 9_001),
    ("pat-eu1-tickets", 9_001),
];
/// With the record that is there instead of `{}`.
const ROUTES: [(Method, &str); 6] = [
    (Method::GET, "/crm/v3/objects/contacts/{}"),
    (Method::GET, "/crm/v3/objects/contacts"),
    (Method::POST, "/crm/v3/objects/contacts/batch/read"),
    (Method::POST, "/crm/v3/objects/contacts/search"),
    (Method::PATCH, "/crm/v3/objects/contacts/{}"),
    (
        Method::POST,
        "/crm/v4/associations/contacts/companies/batch/read",
    ),
];

/// The lines from midnight until so many minutes later.
pub(crate) fn log(minutes: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(day(minutes))
}

async fn day(minutes: u64) -> Vec<String> {
    let clock = Clock::starting_at(UNIX_EPOCH + Duration::from_secs(MIDNIGHT));
    let mut sim = Sim::builder()
        .tier(SimTier::Professional)
        .daily(POOL.into())
        .zone("UTC")
        .latency(Latency::WAN)
        .service_time(Latency::uniform(
            Duration::from_millis(80),
            Duration::from_millis(400),
        ))
        .fault(0.013, Fault::status(StatusCode::INTERNAL_SERVER_ERROR))
        .fault(0.001, Fault::drop_after_counting())
        .others(Others::burst(0.1).account(4_711))
        .others(Others::burst(0.03).account(9_001))
        .clock(clock.clone())
        .seed(7);
    for (token, account) in TOKENS {
        sim = sim.account(token, account);
    }
    let sim = sim.build().expect("a simulator");
    let record = |(token, _)| {
        let made = sim
            .store(token)
            .create([("email", format!("{token}@lovelace.example"))]);
        made.expect("a record").to_string()
    };
    let records = TOKENS.map(record);
    let quota = Quota::builder(hubspot::api(Tier::Professional, Zone::UTC))
        .clock(clock)
        .daily_exhausted(DailyExhausted::Fail)
        .build();
    quota.set_quota(DAILY, POOL).expect("the pool");
    let api = StackLayer::new(&quota).layer(sim.service());

    let mut events = quota.events();
    let mut lines = vec![
        json!({"event": "started", "at": MIDNIGHT, "api": "hubspot", "limits": []}).to_string(),
    ];
    let mut tasks = JoinSet::new();
    for minute in 0..minutes {
        // An outage of half an hour, and one of the limiter.
        match minute {
            430 => sim.script(Script::new(Fault::status(StatusCode::BAD_GATEWAY)).times(90)),
            560 | 590 | 700 | 840 => {
                let refusal = Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after(4);
                sim.script(Script::new(refusal).times(70));
            }
            _ => {}
        }
        for (nth, (token, account)) in TOKENS.into_iter().enumerate() {
            for call in 0..calls(minute, nth as u64) {
                let (method, path) =
                    &ROUTES[(call as usize * 5 + nth + minute as usize) % ROUTES.len()];
                let lane = if call < 4 {
                    Lane::Interactive
                } else {
                    Lane::Bulk
                };
                let request = request(
                    method,
                    &path.replace("{}", &records[nth]),
                    token,
                    account,
                    lane,
                );
                tasks.spawn(one(api.clone(), request));
            }
        }
        // The last minute is seen in the middle of its work.
        sleep(if minute + 1 == minutes {
            MINUTE / 30
        } else {
            MINUTE
        })
        .await;
        while tasks.try_join_next().is_some() {}
        while let Some(event) = events.try_next() {
            lines.push(serde_json::to_string(&event).expect("JSON"));
        }
        if minute % 5 == 4 || minute + 1 == minutes {
            lines.push(report(&quota));
        }
    }
    lines
}

/// How many calls a token makes in a minute: a little always, more by day, and syncs.
fn calls(minute: u64, token: u64) -> u64 {
    let hour = minute / 60;
    let by_day = if (7..18).contains(&hour) { 4 } else { 1 };
    let sync = (minute + token * 3) % 15 == 0;
    let backfill = hour == 2 && token == 1 && minute % 2 == 0;
    by_day / (token + 1).min(2)
        + if sync { 90 - token * 12 } else { 0 }
        + if backfill { 150 } else { 0 }
}

fn request(
    method: &Method,
    path: &str,
    token: &str,
    account: u64,
    lane: Lane,
) -> Request<Full<Bytes>> {
    let body = match path {
        path if path.ends_with("/search") => r#"{"limit":10}"#,
        _ if method == Method::PATCH => r#"{"properties":{"firstname":"Ada"}}"#,
        path if path.ends_with("/read") => r#"{"inputs":[{"id":"1"}],"properties":["email"]}"#,
        _ => "",
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://sim{path}"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let mut request = request.body(Full::from(body)).expect("a request");
    request.extensions_mut().insert(lane);
    let account = AccountId::from(account.to_string().as_str());
    request.extensions_mut().insert(account);
    request
}

async fn one(api: Stack<SimService>, request: Request<Full<Bytes>>) {
    // Errors are what the log is about.
    let _ = api.oneshot(request).await;
}

/// A line as a recorder writes it.
fn report(quota: &Quota) -> String {
    let mut line = serde_json::to_value(quota.report()).expect("JSON");
    line["event"] = Value::from("report");
    line.to_string()
}
