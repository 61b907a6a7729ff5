//! What the program can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use http::Uri;
use tower_quota::hubspot::Tier;
use tower_quota::plan::Zone;

const CONTACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/contacts.csv");

/// What a server on this machine gets when nobody names a token.
const ANY_TOKEN: &str = "any-token";

/// Bring the contacts of a CSV file into HubSpot: no 429s, and no quota left unused.
///
/// Without --base-url it starts a simulated HubSpot on a free local port that knows half of the contacts already.
#[derive(Parser)]
#[command(version, after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Where HubSpot is, for example https://api.hubapi.com; left out: a simulated one.
    #[arg(long, value_name = "URL", value_parser = base_url)]
    pub(crate) base_url: Option<Uri>,
    /// The access token. Better set in the environment, where other users of the machine cannot see it. Not needed for a
    /// server on this machine.
    #[arg(
        long,
        env = "HUBSPOT_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    /// The file to read. Its first line names the properties; one of them is `email`.
    #[arg(long, value_name = "FILE", default_value = CONTACTS, hide_default_value = true)]
    pub(crate) csv: PathBuf,
    /// Take this many rows: the file cut short, or over and over with other addresses (a@b.org, a+2@b.org, ...) [default: all
    /// rows once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) records: Option<u64>,
    /// How many records are under way at a time, those that wait for quota included.
    // At 19 requests per second and a fifth of a second each, four would do in the long run. But a full window is free at the
    // start, and how long its 190 requests take to leave is how late the last ones of every later window are: with 4 at a time
    // 96 % of the ideal pace was measured over 30 s, with 16 98 %, and from 64 on 99 %. More would not make it any faster.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Send the calls for single records as batch calls. Nothing changes in the work on a record; a hundred of them are one request,
    /// so let some hundred be under way at a time.
    #[arg(long)]
    pub(crate) batch: bool,
    /// Whose limits apply: free, starter, professional or enterprise (each also with +increase or +increase2), or oauth.
    #[arg(long, value_name = "NAME", default_value = "professional")]
    pub(crate) tier: Tier,
    /// The time zone set in the HubSpot account, for example Europe/Berlin: at its midnight the daily quota is filled up
    /// [default: unknown; UTC for the simulated HubSpot]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    zone: Option<String>,
    /// How long one attempt at a request may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Read back by search what was synced, and tell what is not found. The simulated HubSpot then times out on searches for
    /// many records at once, as the real one does on heavy ones; the layers ask it for less.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print one JSON object, last on the standard output, instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

const AFTER_HELP: &str = "\
Figures at the end:
  records        rows taken; each ends up under done or failed, unless the run was stopped
  failed         broken rows, rows the server refused, and rows it did not answer for
  http_*         counted on the wire, every attempt of its own
  retries        attempts beyond the first
  ideal_s        what no client can beat: N requests go at once, N more each time the
                 window (W = 10 s) has passed: ceil((requests - N) / N) x W. Requests
                 that were refused with 429 do not count as requests here
  share_of_ideal ideal_s / the time from the start until the last request was sent.
                 It is null when N requests are enough (ideal_s = 0): then the quota was
                 no obstacle, and there is nothing to compare with
  verified       with --verify: records found again by search; `different` are those with
                 another value than was sent, which is no failure: somebody else may have
                 changed them, and HubSpot writes some values its own way

Exit codes:
  0    the sync has run to its end; rows that failed are reported on the standard error
  1    it could not begin, had to stop (token refused, server out of reach, daily quota
       used up), or has not synced a single row; or --verify has missed a record
  2    wrong arguments
  130  stopped with Ctrl-C: what was under way is finished first, a second Ctrl-C aborts it.
       The reading back of --verify stops at once";

impl Args {
    pub(crate) fn token(&self) -> Result<String, String> {
        let local = self.base_url.as_ref().is_none_or(is_local);
        match self.token.as_deref().map(str::trim) {
            Some("") => Err("the token is empty: see --token or HUBSPOT_TOKEN".to_owned()),
            Some(token) => Ok(token.to_owned()),
            None if local => Ok(ANY_TOKEN.to_owned()),
            None => Err(
                "a token is needed: set HUBSPOT_TOKEN in the environment, or use --token"
                    .to_owned(),
            ),
        }
    }

    /// Whether the token will be there to read for everybody on the way.
    pub(crate) fn is_in_the_clear(&self) -> bool {
        let plain = |base: &&Uri| base.scheme_str() == Some("http") && !is_local(base);
        self.base_url.as_ref().filter(plain).is_some()
    }

    pub(crate) fn zone(&self) -> Result<Zone, String> {
        match (&self.zone, &self.base_url) {
            (Some(name), _) => {
                Zone::named(name).map_err(|error| format!("--zone {name:?}: {error}"))
            }
            (None, None) => Ok(Zone::UTC),
            (None, Some(_)) => Ok(Zone::UNKNOWN),
        }
    }

    pub(crate) fn zone_name(&self) -> &str {
        self.zone.as_deref().unwrap_or("UTC")
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

fn is_local(base: &Uri) -> bool {
    let host = base.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

fn base_url(text: &str) -> Result<Uri, String> {
    let text = text.trim_end_matches('/');
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "https" && scheme != "http" {
        return Err("must begin with https:// or http://".to_owned());
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("must not carry a user or password".to_owned());
    }
    if uri.query().is_some() {
        return Err("must not carry a query".to_owned());
    }
    Ok(uri)
}
