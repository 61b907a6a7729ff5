//! `tower-quota replay`: what a log's requests would have met under other limits or another limiter, and whether what the log tells follows
//! from its answers.

mod demand;
mod drive;
mod limiter;
mod playback;
mod server;

use std::path::PathBuf;

use serde::Serialize;
use tower_quota::hubspot::Tier;

use self::demand::Demand;
use self::drive::{Figures, Run};
use self::limiter::Limiter;
use self::server::Rules;
use super::error::CliError;
use super::out::{self, Out, Verdict};
use super::span;

/// What is asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = MEANING)]
pub(crate) struct Arguments {
    /// The log, read with its predecessors (log.jsonl.1 and so on)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// HubSpot's limits of this tier, such as starter, professional+increase or
    /// oauth; the limits that the log names if not given
    #[arg(long, value_name = "NAME", conflicts_with = "playback")]
    tier: Option<Tier>,
    /// May be given several times; all three if not given
    #[arg(
        long = "limiter",
        value_enum,
        value_name = "NAME",
        conflicts_with = "playback"
    )]
    limiters: Vec<Limiter>,
    /// How often a request is sent at most that is refused or fails
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
    /// The same seed gives the same figures
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Write a log of the replay; needs a single --limiter
    #[arg(long, value_name = "FILE", conflicts_with = "playback")]
    record: Option<PathBuf>,
    /// Instead: give the log's answers to a quota at the log's times, and tell
    /// where the events that come out are not those of the log
    #[arg(long)]
    playback: bool,
}

const MEANING: &str = "\
Every request of the log is made again when it was first asked for, before it
waited, in virtual time, and takes as long as it took. The simulated server
counts true rolling windows, the strictest there are. One whose answer tells
nothing of that (refused, lost) takes as long as another one of the log.

  ours          this crate's layers
  token-bucket  waits for a token of a bucket that holds one window's quota and
                fills evenly; backs off when refused
  none          backs off when refused

The exit code is 3 if ours is refused, or if a playback differs.";

pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Verdict, CliError> {
    if arguments.playback {
        return playback::run(&arguments.file, out);
    }
    let demand = Demand::read(&arguments.file, arguments.seed)?;
    let rules = match arguments.tier {
        Some(tier) => Rules::of_tier(tier),
        None => Rules::of_log(&demand.started, &arguments.file)?,
    };
    let limiters = match arguments.limiters.as_slice() {
        [] => &Limiter::ALL[..],
        some => some,
    };
    if arguments.record.is_some() && limiters.len() != 1 {
        let problem = "needs a single --limiter, whose requests are written";
        return Err(CliError::argument("record", problem));
    }
    let mut rows = Vec::new();
    for limiter in limiters {
        let run = Run {
            demand: &demand,
            rules: &rules,
            limiter: *limiter,
            attempts: arguments.attempts,
            seed: arguments.seed,
            record: arguments.record.as_deref(),
        };
        rows.push(run.figures()?);
    }
    let answer = Answer {
        requests: demand.requests.len(),
        left_out: demand.left_out,
        hours: demand.length().as_secs_f64() / 3_600.0,
        in_the_log: demand.before,
        limits: rules.texts(),
        limiters: rows,
    };
    answer.print(out)?;
    let is_warning = |row: &Figures| row.limiter == Limiter::Ours && row.refused > 0;
    Ok(match answer.limiters.iter().any(is_warning) {
        true => Verdict::Warning,
        false => Verdict::Fine,
    })
}

#[derive(Debug, Serialize)]
struct Answer {
    requests: usize,
    /// Requests that no limiter of the simulator is for.
    left_out: u64,
    hours: f64,
    in_the_log: demand::Before,
    limits: Vec<String>,
    limiters: Vec<Figures>,
}

impl Answer {
    fn print(&self, out: &mut Out) -> Result<(), CliError> {
        if out.is_json() {
            return out.json(self);
        }
        let requests = out::grouped(self.requests as u64);
        let length = span::text(self.hours * 3_600.0);
        out.line(&format!("{requests} requests of {length} of log"))?;
        let before = &self.in_the_log;
        out.line(&format!(
            "In the log: {} sent, {} refused ({}).",
            out::grouped(before.sent),
            out::grouped(before.refused),
            out::percent(before.refused as f64 / before.sent.max(1) as f64),
        ))?;
        if self.left_out > 0 {
            let count = out::grouped(self.left_out);
            out.paragraph(&format!(
                "{count} requests of other classes are left out: the simulator has no limit for them."
            ))?;
        }
        out.line("Replayed against")?;
        for limit in &self.limits {
            out.line(&format!("  {limit}"))?;
        }
        out.line("")?;
        let headings = [
            "limiter", " sent", " refused", " share", " failed", " used", " median", " p99",
        ];
        let mut table = out::table(&headings);
        for row in &self.limiters {
            table.add_row([
                row.limiter.name().to_owned(),
                count(row.sent),
                count(row.refused),
                out::percent(row.refused_share),
                count(row.failed),
                out::percent(row.used),
                span::text(row.wait_p50),
                span::text(row.wait_p99),
            ]);
        }
        out.table(&table)?;
        out.line("")?;
        out.paragraph(
            "failed: not answered with success in the end. used: of the limit that was used most, \
             from the first request to the last. median, p99: of the waits, that is of the time \
             from asking to the answer beyond what the request took.",
        )
    }
}

/// Short enough for a table of many columns.
fn count(number: u64) -> String {
    match number {
        0..1_000_000 => out::grouped(number),
        _ => format!("{:.2} M", number as f64 / 1e6),
    }
}
