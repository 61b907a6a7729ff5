//! `tower-quota logs`: the lines of a log that somebody wants to see.

mod filter;
mod text;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tower_quota::clock::Clock;
use tower_quota::record::{Line, ReadError, Reader};

use self::filter::{Condition, Filter};
use self::text::Printer;
use super::error::CliError;
use super::out::{Out, Verdict};
use super::span;

/// A log that is followed is looked at so often.
const LOOK: Duration = Duration::from_millis(250);

/// What is asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = FILTERS)]
pub(crate) struct Arguments {
    /// The log, read with its predecessors (log.jsonl.1 and so on); `-` is the
    /// standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only lines that match; may be given several times
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<Condition>,
    /// Only what happened so long before the end of the log (with --follow:
    /// before now), such as 90s, 1h or 30d
    #[arg(long, value_name = "LENGTH", value_parser = span::parse)]
    window: Option<Duration>,
    /// Lines for people, or as they stand in the log
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Go on with what is written later, until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// The zone in which times are shown, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    zone: jiff::tz::TimeZone,
}

const FILTERS: &str = "\
Filters:
  rate_limit    events whose name begins so: here rate_limited
  token=1a2b    events of tokens whose fingerprint begins so
  route=search  events of routes that contain this
  class=search  events of this class
  limit=burst   events of this limit
  status=429    events with this status; 4xx and 5xx are all of them
A line is shown if for each kind of filter given one matches.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

fn zone(name: &str) -> Result<jiff::tz::TimeZone, String> {
    jiff::tz::TimeZone::get(name).map_err(|error| error.to_string())
}

pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Verdict, CliError> {
    let is_stdin = arguments.file.as_os_str() == "-";
    if is_stdin && arguments.follow {
        let problem = "the standard input is read to its end anyway";
        return Err(CliError::argument("follow", problem));
    }
    let as_json = out.is_json() || arguments.format == Format::Json;
    let printer = Printer::new(as_json, arguments.zone.clone());
    let mut view = View {
        filter: Filter::new(&arguments.filters),
        printer,
        wrong: None,
    };
    let file_error = |error| CliError::file(&arguments.file, error);
    if arguments.follow {
        let reader = Reader::follow(&arguments.file).map_err(file_error)?;
        let since = arguments
            .window
            .and_then(|window| Clock::system().wall().checked_sub(window));
        return follow(reader, since, &mut view, out);
    }
    let mut reader = match is_stdin {
        true => Reader::new(io::BufReader::new(io::stdin()), "-"),
        false => Reader::open(&arguments.file).map_err(file_error)?,
    };
    match arguments.window {
        None => view.show_all(&mut reader, out)?,
        Some(window) => view.show_end(&mut reader, window, out)?,
    }
    view.end(&reader, out)
}

/// Shows what is there and what comes.
fn follow(
    mut reader: Reader,
    since: Option<SystemTime>,
    view: &mut View,
    out: &mut Out,
) -> Result<Verdict, CliError> {
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = stopped.clone();
    let here = std::thread::current();
    ctrlc::set_handler(move || {
        stop.store(true, Ordering::Release);
        here.unpark();
    })
    .map_err(|error| CliError::Other(format!("Ctrl-C cannot be caught: {error}")))?;
    while !stopped.load(Ordering::Acquire) {
        match reader.next() {
            Some(Err(error)) => out.note(&error.to_string()),
            Some(Ok(line)) => {
                if since.is_none_or(|since| line.entry.at() >= since) {
                    view.show(&line, out)?;
                }
            }
            None => {
                out.flush()?;
                std::thread::park_timeout(LOOK);
            }
        }
    }
    out.flush()?;
    Ok(Verdict::Stopped)
}

/// What is shown, and how.
struct View {
    filter: Filter,
    printer: Printer,
    /// The first line that made no sense, and how many did.
    wrong: Option<(ReadError, u64)>,
}

impl View {
    /// The line, if it makes sense.
    fn read(&mut self, line: Result<Line, ReadError>) -> Option<Line> {
        match line {
            Ok(line) => Some(line),
            Err(error) => {
                match &mut self.wrong {
                    Some((_, count)) => *count += 1,
                    None => self.wrong = Some((error, 1)),
                }
                None
            }
        }
    }

    fn show(&mut self, line: &Line, out: &mut Out) -> Result<(), CliError> {
        match self.filter.matches(&line.entry) {
            true => self.printer.print(line, out),
            false => Ok(()),
        }
    }

    fn show_all(&mut self, reader: &mut Reader, out: &mut Out) -> Result<(), CliError> {
        for line in reader {
            if let Some(line) = self.read(line) {
                self.show(&line, out)?;
            }
        }
        Ok(())
    }

    /// Shows what happened last. It keeps as much as it shows, because the end is known only at the end.
    fn show_end(
        &mut self,
        reader: &mut Reader,
        window: Duration,
        out: &mut Out,
    ) -> Result<(), CliError> {
        let mut kept: VecDeque<Line> = VecDeque::new();
        let mut end = SystemTime::UNIX_EPOCH;
        for line in reader {
            let Some(line) = self.read(line) else {
                continue;
            };
            end = end.max(line.entry.at());
            let since = end.checked_sub(window).unwrap_or(SystemTime::UNIX_EPOCH);
            while kept.front().is_some_and(|line| line.entry.at() < since) {
                kept.pop_front();
            }
            if line.entry.at() >= since && self.filter.matches(&line.entry) {
                kept.push_back(line);
            }
        }
        kept.iter()
            .try_for_each(|line| self.printer.print(line, out))
    }

    /// Says what was not shown.
    fn end(self, reader: &Reader, out: &mut Out) -> Result<Verdict, CliError> {
        out.flush()?;
        let skipped = [
            (reader.unknown(), "that only a later version knows"),
            (reader.torn(), "in the middle of which a program ended"),
        ];
        for (count, which) in skipped.into_iter().filter(|(count, _)| *count > 0) {
            out.note(&format!("{count} lines were skipped {which}"));
        }
        match self.wrong {
            None => Ok(Verdict::Fine),
            Some((error, count)) => {
                let others = match count {
                    1 => String::new(),
                    count => format!(" ({} more lines make no sense)", count - 1),
                };
                let problem = format!("{}{others}", error.problem());
                Err(wrong(&error, problem))
            }
        }
    }
}

fn wrong(error: &ReadError, problem: String) -> CliError {
    let line = usize::try_from(error.line()).ok();
    CliError::input(Path::new(error.file()), line, problem)
}
