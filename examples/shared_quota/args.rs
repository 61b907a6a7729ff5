//! What the program can be told.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use tower_quota::hubspot::Tier;
use tower_quota::redis::OnOutage;

/// Send requests as fast as a quota allows that is shared with other processes.
#[derive(Parser)]
pub(crate) struct Args {
    /// Where slots are lent: redis://user:password@host:port/db. Without it the quota is this process's own. A password is better
    /// set in the environment, where other users of the machine cannot see it.
    #[arg(
        long,
        env = "SHARED_QUOTA_REDIS",
        hide_env_values = true,
        value_name = "URL",
        requires = "key"
    )]
    pub(crate) redis: Option<String>,
    /// A secret, the same in all processes. Redis sees tokens only as fingerprints that are made with it.
    #[arg(
        long,
        env = "SHARED_QUOTA_KEY",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub(crate) key: Option<String>,
    /// How long slots are lent for: what a process held that has died comes back after this time, --timeout and a window.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) lease: Duration,
    /// What to do while Redis is gone.
    #[arg(long, value_enum, default_value = "share")]
    pub(crate) on_outage: Outage,
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8787")]
    pub(crate) api: String,
    /// What is asked for, over and over.
    #[arg(long, default_value = "/crm/v3/objects/contacts?limit=1")]
    pub(crate) path: String,
    /// The access token. Better set in the environment, where other users of the machine cannot see it.
    #[arg(
        long,
        env = "HUBSPOT_TOKEN",
        hide_env_values = true,
        default_value = "any-token",
        hide_default_value = true
    )]
    pub(crate) token: String,
    /// Whose limits apply: free, starter, professional or enterprise (each also with +increase or +increase2), or oauth.
    #[arg(long, value_name = "NAME", default_value = "professional")]
    pub(crate) tier: Tier,
    /// So many requests per window instead, of any API.
    #[arg(long, value_name = "N", conflicts_with = "tier")]
    pub(crate) quota: Option<u32>,
    /// The window of --quota.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) window: Duration,
    /// How many requests are under way at a time, those that wait for quota included.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// How long one attempt at a request may take.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,
    /// End after this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,
    /// End after so many requests.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) requests: u64,
    /// Set the clock of this process wrong: it changes nothing.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(crate) clock_skew: i64,
    /// Print a line every second.
    #[arg(long)]
    pub(crate) progress: bool,
    /// Print JSON objects instead of text, each on a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Outage {
    /// Use this process's part of the quota.
    Share,
    /// Fail all requests.
    Closed,
    /// Use the whole quota, whatever the others do.
    Open,
}

impl From<Outage> for OnOutage {
    fn from(outage: Outage) -> Self {
        match outage {
            Outage::Share => Self::LocalShare,
            Outage::Closed => Self::FailClosed,
            Outage::Open => Self::FailOpen,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .filter(|seconds| !seconds.is_zero())
        .ok_or_else(|| "expected a number of seconds such as 10 or 0.5".to_owned())
}
