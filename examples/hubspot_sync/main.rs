//! Brings the contacts of a CSV file into HubSpot, as fast as the quota allows and never faster.
//!
//! ```text
//! cargo run --release --example hubspot_sync
//! ```
//!
//! starts a simulated HubSpot on a loopback port and syncs with that, over a real socket. With `--base-url
//! https://api.hubapi.com` and a token in `HUBSPOT_TOKEN` the same program syncs with the real one.
//!
//! Every contact is updated by its e-mail address, and created when HubSpot does not know it: one request or two. That is the
//! simplest sync there is, and it shows the layers. With `--batch` the same calls leave in batches of up to a hundred; then a contact
//! that HubSpot does not know is no error response either, of which it wants no more than 5 % a day from marketplace apps.
//!
//! [`client`] puts the layers on hyper-util's client, [`upsert`] is the work on one contact, [`run`] does it for many at a time, and
//! [`verify`] reads back by search what was synced.

mod args;
mod client;
mod contacts;
mod pace;
mod report;
mod run;
mod server;
mod upsert;
mod verify;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use tower_quota::clock::Clock;
use tower_quota::{Quota, hubspot};

use crate::args::Args;
use crate::client::Client;
use crate::contacts::Sheet;
use crate::pace::Pace;
use crate::report::{Screen, Summary};
use crate::run::End;
use crate::server::Simulated;
use crate::wire::Wire;

/// The exit code of a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    match sync(Args::parse()).await {
        Ok(code) => code,
        Err(problem) => {
            report::complain(&problem);
            ExitCode::FAILURE
        }
    }
}

async fn sync(args: Args) -> Result<ExitCode, String> {
    let sheet = Sheet::read(&args.csv)?;
    let records = args.records.unwrap_or(sheet.rows.len() as u64);
    let token = args.token()?;
    let zone = args.zone()?;
    let api = hubspot::api(args.tier, zone);
    let pace = Pace::of(api.plan())?;
    let quota = Quota::new(api);

    let simulated = match args.base_url {
        Some(_) => None,
        None => Some(Simulated::start(&args, &sheet, records).await?),
    };
    let base = match (&args.base_url, &simulated) {
        (Some(base), _) => base.clone(),
        (None, Some(simulated)) => simulated.base()?,
        (None, None) => return Err("there is no server".to_owned()),
    };
    let clock = Clock::system();
    let wire = Wire::new(clock.clone());
    let client = Client::new(&quota, base, &token, &args, &wire)?;

    let screen = Screen::new(records, args.json);
    screen.note(&format!(
        "Syncing {records} records of {} with {}{} (tier {}: {}), {} at a time.",
        args.csv.display(),
        if simulated.is_some() {
            "a simulated HubSpot at "
        } else {
            ""
        },
        client.base(),
        args.tier,
        pace.text(),
        args.concurrency,
    ));
    if args.is_in_the_clear() {
        screen.note("Warning: without https everybody on the way can read the token.");
    }
    let job = run::Job {
        sheet: &sheet,
        records,
        concurrency: args.concurrency,
        client: client.clone(),
        quota,
        wire: wire.clone(),
        clock,
    };
    let (tally, mut end) = run::run(job, &screen).await;
    screen.clear();

    let mut summary = Summary::new(&tally, &wire, pace, end != End::Complete);
    if args.verify && end == End::Complete && !summary.synced_nothing() {
        let is_synced =
            |index: &u64| !tally.unsynced.contains(index) && sheet.record(*index).1.is_ok();
        let synced: Vec<u64> = (0..records).filter(is_synced).collect();
        let screen = Screen::new(synced.len() as u64, args.json);
        let job = verify::Job {
            sheet: &sheet,
            synced,
            client,
            wire,
        };
        let verified = verify::verify(job, &screen).await;
        screen.clear();
        match verified {
            Ok(verified) => summary.verified = Some(verified),
            Err(problem) => end = End::Failed(problem),
        }
    }
    if let End::Failed(problem) = &end {
        report::complain(problem);
    }
    let judged = simulated.map(|simulated| simulated.verdict(pace.window));
    summary.print(args.json, judged.as_deref());
    Ok(match end {
        End::Complete if summary.synced_nothing() || summary.misses() => ExitCode::FAILURE,
        End::Complete if summary.was_interrupted() => ExitCode::from(INTERRUPTED),
        End::Complete => ExitCode::SUCCESS,
        End::Failed(_) => ExitCode::FAILURE,
        End::Interrupted => ExitCode::from(INTERRUPTED),
    })
}
