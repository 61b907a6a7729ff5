//! `tower-quota`: plans quota, reads logs, replays them, tries out figures, and shows how quota stands.
//!
//! Exit codes: 0 when all is well, 1 when something failed on the way, 2 when an argument or a file makes no sense, 3 when the answer
//! is a warning (little headroom, an error share above the threshold, refused requests), so that a script can tell. Stopped with
//! Ctrl-C it ends with 130.

mod analyze;
mod dashboard;
mod error;
mod limiter;
mod logs;
mod out;
mod progress;
mod replay;
mod simulate;
mod span;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::error::CliError;
use self::out::{Out, Verdict};

/// Plans quota, reads logs, replays them, tries out figures, and shows how quota stands.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 80)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    all is well
  1    something failed on the way
  2    an argument or a file makes no sense
  3    the answer is a warning
  130  stopped with Ctrl-C";

/// What every command understands.
#[derive(Clone, Copy, Debug, Args)]
struct Common {
    /// Print one JSON object (of `logs`: one per line) instead of tables.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What syncs will use of the quota, from a plan of them or from a log.
    Analyze(analyze::Arguments),
    /// Events of a log that match.
    Logs(logs::Arguments),
    /// What a log's requests would have met under other limits or another limiter.
    Replay(replay::Arguments),
    /// Requests of your own figures against a simulated API.
    Simulate(Box<simulate::Arguments>),
    /// A web page that shows how quota stands.
    Dashboard(dashboard::Arguments),
}

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let mut out = Out::new(common.json);
    let done = match command {
        Command::Analyze(arguments) => analyze::run(&arguments, &mut out),
        Command::Logs(arguments) => logs::run(&arguments, &mut out),
        Command::Replay(arguments) => replay::run(&arguments, &mut out),
        Command::Simulate(arguments) => simulate::run(&arguments, &mut out),
        Command::Dashboard(arguments) => dashboard::run(&arguments, &mut out),
    };
    match done {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::Warning) => ExitCode::from(3),
        Ok(Verdict::Stopped) => ExitCode::from(130),
        // Whoever reads has had enough, as `head` does.
        Err(CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            out.failed(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
