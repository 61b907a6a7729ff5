//! `tower-quota dashboard`.

mod board;
mod body;
mod door;
mod happened;
mod html;
mod moments;
mod page;
mod pieces;
mod programs;
mod rooms;
mod server;
mod source;
mod stall;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower_quota::event::Level;

use self::door::Door;
use self::moments::Times;
use self::page::{Source, View};
use self::programs::Programs;
use self::rooms::Rooms;
use self::source::Log;
use super::error::CliError;
use super::out::{Out, Verdict};

/// What is asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Follow this log, `-` for the standard input. Without it, programs post their lines to `/log`.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// The address of the page; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8471")]
    listen: SocketAddr,
    /// Answer to this name, too (may be repeated); `localhost` and addresses it always answers to.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// The time zone in which times are shown.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// Write the page with the figures of the log to this file, and end.
    #[arg(long, value_name = "FILE", requires = "log", conflicts_with_all = ["listen", "host"])]
    once: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tower-quota dashboard --log log.jsonl
  tower-quota dashboard --log log.jsonl --once today.html
  tower-quota dashboard &
  curl -H 'content-type: application/x-ndjson' \\
       --data-binary @log.jsonl http://127.0.0.1:8471/log?from=worker-1

With --once the answer is a warning (exit code 3) where the error share is.";

pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Verdict, CliError> {
    let times = Times::new(&arguments.zone)
        .map_err(|error| CliError::argument("zone", error.to_string()))?;
    let log = arguments.log.as_deref();
    let log = log.map(|path| Log::open(path).map(|log| (path, log)));
    match (log.transpose()?, &arguments.once) {
        (Some((path, log)), Some(to)) => once(path, log, to, times, out),
        (log, _) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| CliError::Other(format!("cannot begin: {error}")))?;
            runtime.block_on(serve(arguments, log, times, out))
        }
    }
}

fn shown(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "the standard input".to_owned(),
        _ => path.display().to_string(),
    }
}

#[derive(Serialize)]
struct Written<'a> {
    written: &'a Path,
    level: Option<Level>,
}

fn once(
    from: &Path,
    log: Log,
    to: &Path,
    times: Times,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let source = Source::Once(shown(from));
    let programs = Programs::new(View { times, source });
    log.read(&programs);
    let page = programs.page("", "once", None).unwrap_or_default();
    std::fs::write(to, page).map_err(|error| CliError::file(to, error))?;
    let level = programs.look(|board| board.report.as_ref().map(|report| report.errors.level));
    let level = level.flatten();
    if out.is_json() {
        out.json(&Written { written: to, level })?;
    } else {
        out.line(&format!("The page is in {}.", to.display()))?;
        if level.is_none() {
            out.warning("the log has no report")?;
        }
    }
    Ok(match level {
        Some(Level::Fine) => Verdict::Fine,
        _ => Verdict::Warning,
    })
}

#[derive(Serialize)]
struct Listening {
    address: String,
}

async fn serve(
    arguments: &Arguments,
    log: Option<(&Path, Log)>,
    times: Times,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let cannot = |error| CliError::argument("listen", format!("{}: {error}", arguments.listen));
    let listener = TcpListener::bind(arguments.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let url = format!("http://{address}");
    let takes = log.is_none();
    let source = match &log {
        Some((path, _)) => Source::Log(shown(path)),
        None => Source::Posts(url.clone()),
    };
    let programs = Arc::new(Programs::new(View { times, source }));
    let (stop, stopped) = watch::channel(false);
    let interrupted = ctrlc::set_handler(move || {
        stop.send_replace(true);
    });
    interrupted.map_err(|error| CliError::Other(format!("cannot wait for Ctrl-C: {error}")))?;
    if let Some((_, log)) = log {
        log.follow(programs.clone());
    }

    let more = if takes { ", and post to it" } else { "" };
    let warning = format!("whoever reaches this address can read it{more}: there is no password");
    let is_wide = !address.ip().is_loopback();
    if out.is_json() {
        out.json(&Listening { address: url })?;
        if is_wide {
            out.note(&warning);
        }
    } else {
        out.line(&format!("The dashboard is at {url}/ (Ctrl-C ends it)."))?;
        if is_wide {
            out.warning(&warning)?;
        }
    }
    out.flush()?;
    let door = Door::new(arguments.host.clone());
    let rooms = Rooms::new(programs.clone(), door, takes, stopped.clone());
    tokio::select! {
        () = server::serve(listener, Arc::new(rooms), stopped) => {}
        () = programs.tell() => {}
    }
    Ok(Verdict::Stopped)
}
