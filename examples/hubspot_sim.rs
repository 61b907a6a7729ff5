//! A quota-enforcing HubSpot on a local port, for clients in any language.
//!
//! ```text
//! cargo run --release --features sim --example hubspot_sim -- --port 8787 --tier professional
//! ```

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tower_quota::sim::{ClassStats, Cost, Latency, Others, Sim, SimTier, Stats, Windows};

/// A quota-enforcing HubSpot on a local port.
#[derive(Parser, Debug)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 picks a free one.
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Whose limits are enforced.
    #[arg(long, value_enum, default_value = "professional")]
    tier: Tier,
    /// Latency each way, on top of the socket's own.
    #[arg(long, value_enum, default_value = "none")]
    latency: Distance,
    /// Service time in milliseconds: uniform between the two.
    #[arg(long, value_name = "LO..HI", default_value = "20..80", value_parser = range)]
    service_ms: (u64, u64),
    /// Do not tell the service time in a header.
    #[arg(long)]
    no_service_header: bool,
    /// Send Retry-After with this many seconds on every 429.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    retry_after: Option<u64>,
    /// How the windows move.
    #[arg(long, value_enum, default_value = "rolling")]
    windows: Shape,
    /// Other programs that spend the same burst, requests per second.
    #[arg(long, value_name = "RATE")]
    others: Option<f64>,
    /// How many of those requests come at once.
    #[arg(long, value_name = "N", default_value_t = 1)]
    others_at_once: u32,
    /// Most that one search or batch read may cost: records x (1 + properties) x weight of the filters. One that costs more is
    /// answered with 504.
    #[arg(long, value_name = "N")]
    search_budget: Option<u64>,
    /// Share of searches and batch reads that are answered with 504 whatever they cost, 0.0 to 1.0.
    #[arg(long, value_name = "PROBABILITY")]
    heavy_chance: Option<f64>,
    /// How long such a request waits for its 504; whole seconds or a fraction.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    heavy_wait: Duration,
    /// Accept only this token (may be repeated); all tokens if left out.
    #[arg(long)]
    token: Vec<String>,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON line with the address at the start, and one with the counts at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tier {
    Starter,
    Professional,
    Enterprise,
    Oauth,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Distance {
    None,
    Lan,
    Wan,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    Rolling,
    Buckets,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) if low <= high => Ok((low, high)),
        _ => Err("expected two whole numbers such as 200..600, the smaller one first".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds such as 30 or 0.5".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("hubspot_sim: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), String> {
    let sim = simulator(&args).map_err(|error| error.to_string())?;
    let place = (args.host.as_str(), args.port);
    let listener = tokio::net::TcpListener::bind(place)
        .await
        .map_err(|error| {
            format!(
                "cannot listen on {}:{}: {error} (try --port 0 for a free port)",
                args.host, args.port
            )
        })?;
    let server = sim.serve(listener).map_err(|error| error.to_string())?;
    announce(&args, &server.url());
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| format!("cannot wait for Ctrl-C: {error}"))?;
    server.shutdown().await;
    let stats = sim.stats();
    if args.json {
        let line = serde_json::to_string(&stats).map_err(|error| error.to_string())?;
        say(&line);
    } else {
        say(&table(&stats));
    }
    Ok(())
}

fn simulator(args: &Args) -> Result<Sim, tower_quota::ConfigError> {
    let (low, high) = args.service_ms;
    let mut builder = Sim::builder()
        .tier(match args.tier {
            Tier::Starter => SimTier::Starter,
            Tier::Professional => SimTier::Professional,
            Tier::Enterprise => SimTier::Enterprise,
            Tier::Oauth => SimTier::PublicOAuth,
        })
        .latency(match args.latency {
            Distance::None => Latency::NONE,
            Distance::Lan => Latency::LAN,
            Distance::Wan => Latency::WAN,
        })
        .service_time(Latency::uniform(
            Duration::from_millis(low),
            Duration::from_millis(high),
        ))
        .windows(match args.windows {
            Shape::Rolling => Windows::TrueRolling,
            Shape::Buckets => Windows::WALL_SECONDS,
        })
        .seed(args.seed);
    if args.no_service_header {
        builder = builder.service_header(None);
    }
    if let Some(seconds) = args.retry_after {
        builder = builder.retry_after(seconds);
    }
    if let Some(rate) = args.others {
        builder = builder.others(Others::burst(rate).in_bursts_of(args.others_at_once));
    }
    if args.search_budget.is_some() || args.heavy_chance.is_some() {
        let cost = Cost::new(args.search_budget.unwrap_or(u64::MAX))
            .at_random(args.heavy_chance.unwrap_or(0.0))
            .wait(args.heavy_wait);
        builder = builder.cost(cost);
    }
    for token in &args.token {
        builder = builder.token(token);
    }
    builder.build()
}

fn announce(args: &Args, url: &str) {
    if args.json {
        say(&serde_json::json!({ "url": url }).to_string());
        return;
    }
    let token = args.token.first().map_or("any-token", String::as_str);
    say(&format!(
        "A simulated HubSpot ({:?}) listens on {url}; Ctrl-C stops it. Try:\n\n  \
         curl -i {url}/crm/v3/objects/contacts -H 'authorization: Bearer {token}' \\\n       \
         -H 'content-type: application/json' \\\n       \
         -d '{{\"properties\":{{\"email\":\"ada@example.com\",\"firstname\":\"Ada\"}}}}'\n  \
         curl -i '{url}/crm/v3/objects/contacts/ada@example.com?idProperty=email' -H 'authorization: Bearer {token}'\n  \
         curl {url}/sim/stats\n",
        args.tier
    ));
}

/// A reader that has gone away is no reason to stop serving.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn table(stats: &Stats) -> String {
    let mut text =
        String::from("\nclass         arrived  counted  refused: window    daily  too heavy\n");
    let rows: [(&str, &ClassStats); 3] = [
        ("general", &stats.general),
        ("search", &stats.search),
        ("associations", &stats.associations),
    ];
    for (name, class) in rows {
        text += &format!(
            "{name:<12} {:>8} {:>8} {:>16} {:>8} {:>10}\n",
            class.arrived,
            class.counted,
            class.refused_window,
            class.refused_daily,
            class.too_heavy
        );
    }
    text += "\nanswers by status:";
    for (status, count) in &stats.statuses {
        text += &format!("  {status}: {count}");
    }
    text += &format!(
        "\nwithout a good token: {}   other tenants: {} counted, {} refused   at most {} at a time",
        stats.unauthorized,
        stats.others_counted(),
        stats.others_refused(),
        stats.most_in_flight
    );
    text
}
