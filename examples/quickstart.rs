//! The layers on a hyper client: 400 reads at once, and none of them refused.
//!
//! ```sh
//! cargo run --release --features sim --example hubspot_sim -- --port 8787     # in one terminal
//! cargo run --release --example quickstart                                    # in another
//! ```
//!
//! An address as the first argument replaces the simulator's; the token comes from `HUBSPOT_TOKEN`.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::{BoxError, Quota};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let base = std::env::args()
        .nth(1)
        .unwrap_or("http://127.0.0.1:8787".into());
    let token = std::env::var("HUBSPOT_TOKEN").unwrap_or("any-token".into());

    let quota = Quota::new(hubspot::api(Tier::Professional, Zone::UNKNOWN));
    let api = ServiceBuilder::new()
        .layer(hubspot::stack(&quota).max_wait(Duration::from_secs(300)))
        .service(Client::builder(TokioExecutor::new()).build_http());

    let clock = Clock::system();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let request = Request::get(format!("{base}/crm/v3/objects/contacts?limit=1"))
            .header("authorization", format!("Bearer {token}"))
            .body(Full::<Bytes>::default())?;
        calls.spawn(api.clone().oneshot(request));
    }
    let mut statuses = BTreeMap::new();
    while let Some(call) = calls.join_next().await {
        *statuses.entry(call??.status()).or_insert(0) += 1;
    }
    println!("{statuses:?} in {:.1} s", clock.elapsed().as_secs_f64());
    Ok(())
}
