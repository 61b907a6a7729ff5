//! The file of syncs: what each does in a run, and when it runs.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use tower_quota::plan::Lane;

use super::values::{Problem, hours, lane, length, moment, number, plain, wrong};
use super::work::{MOST_ASSOCIATED, MOST_BATCHED, MOST_PAGED, Work};
use crate::error::CliError;

pub(super) const DAY: f64 = 86_400.0;

/// What a file of syncs may contain, for `--help`. The example in `examples/data/syncs.toml` has all of it.
pub(super) const FORMAT: &str = r#"A file of syncs has a part like this for each of them:

  [[sync]]
  name = "contacts"
  every = "5m"        # or at = "02:00" (or a list), or per_day = 8_000
  records = 10_000    # per run, written or read in batches
  reads = 2           # further calls per run

All that may be said:

  name               what reports call it
  every              time between runs; with from = "00:10" the first of a day
  at                 times of day, in the zone of --zone
  per_day            runs per day at random moments, as of webhooks
  hours              "08:00-18:00": no runs outside
  jitter             a run begins up to so much later: "30s"
  over               a run's calls are spread over so much time, else at once
  records, batch     records in batch calls of up to 100 (100 if not said)
  singles            records with a call each
  reads              other calls, however many records there are
  searches           searches per run, each with
  found, page        so many results (200) on pages of up to 200 (200)
  associations       records whose associations are read or written, in calls
  association_batch  of up to 2,000 (1,000 if not said)
  vary               how much the counts of a run vary: standard deviation
                     as a share of the mean, 0.3 for 30 % (0)
  full               true: each run does all records, however often it runs;
                     else records are what has changed since the last run
  lane               "interactive" or "bulk" (bulk)
  token, account     names of yours, not the token itself; syncs with the
                     same token share the burst, those with the same account
                     searches and the daily pool ("main")"#;

/// One sync, checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sync {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) account: String,
    pub(super) lane: Lane,
    pub(super) work: Work,
    pub(super) when: When,
    /// From and to, in seconds of the day; to may be before from.
    pub(super) hours: Option<(f64, f64)>,
    pub(super) jitter: f64,
    pub(super) over: f64,
    pub(super) vary: f64,
    pub(super) full: bool,
}

impl Sync {
    /// Whether runs may begin at this time of day.
    pub(super) fn runs_at(&self, at: f64) -> bool {
        match self.hours {
            None => true,
            Some((from, to)) if from < to => (from..to).contains(&at),
            Some((from, to)) => at >= from || at < to,
        }
    }

    /// When its hours begin, and how long they last.
    pub(super) fn open(&self) -> (f64, f64) {
        match self.hours {
            None => (0.0, DAY),
            Some((from, to)) if from < to => (from, to - from),
            Some((from, to)) => (from, to - from + DAY),
        }
    }

    /// At how many moments a run makes so many calls: one a second, as long as it lasts.
    pub(super) fn parts(&self, calls: u64) -> u64 {
        (self.over.ceil() as u64).min(calls).max(1)
    }

    /// At how many moments of a day calls are made.
    fn moments_per_day(&self) -> f64 {
        self.runs_per_day() * self.parts(self.work.calls(1.0).all()) as f64
    }

    /// On average.
    pub(super) fn runs_per_day(&self) -> f64 {
        match &self.when {
            When::Every { length, from: None } => self.open().1 / length,
            When::Every {
                length,
                from: Some(from),
            } => {
                let steps = (0_u32..).map(|nth| from + f64::from(nth) * length);
                let runs = steps.take_while(|&at| at < DAY);
                let runs = runs.filter(|&at| self.runs_at(at)).count() as f64;
                runs * (DAY / length).min(1.0)
            }
            When::At(times) => times.iter().filter(|&&at| self.runs_at(at)).count() as f64,
            When::PerDay(runs) => *runs,
        }
    }
}

/// When a sync runs. Times are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum When {
    Every { length: f64, from: Option<f64> },
    At(Vec<f64>),
    PerDay(f64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    sync: Vec<Spanned<Written>>,
}

/// A sync as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    every: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    at: Option<Spanned<Times>>,
    per_day: Option<Spanned<f64>>,
    hours: Option<Spanned<String>>,
    jitter: Option<Spanned<String>>,
    over: Option<Spanned<String>>,
    records: Option<Spanned<u64>>,
    batch: Option<Spanned<u64>>,
    singles: Option<Spanned<u64>>,
    reads: Option<Spanned<u64>>,
    searches: Option<Spanned<u64>>,
    found: Option<Spanned<u64>>,
    page: Option<Spanned<u64>>,
    associations: Option<Spanned<u64>>,
    association_batch: Option<Spanned<u64>>,
    vary: Option<Spanned<f64>>,
    #[serde(default)]
    full: bool,
    lane: Option<Spanned<String>>,
    token: Option<Spanned<String>>,
    account: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Times {
    One(String),
    Some(Vec<String>),
}

/// Counts beyond this are mistakes, and would only make figures overflow.
const MOST: u64 = 1_000_000_000;
/// More runs than this take long to draw.
const MOST_RUNS: f64 = 1_000_000.0;
/// So many of all syncs together take minutes and hundreds of megabytes.
const MOST_RUNS_OF_ALL: f64 = 5_000_000.0;
const LONGEST_EVERY: f64 = 31.0 * DAY;

pub(super) fn read(path: &Path) -> Result<Vec<Sync>, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| CliError::file(path, error))?;
    parse(&text).map_err(|problem| {
        let line = line_of(&text, problem.at.start);
        CliError::input(path, Some(line), problem.text)
    })
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.matches('\n').count() + 1
}

fn parse(text: &str) -> Result<Vec<Sync>, Problem> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().unwrap_or(text.len()..text.len());
        Problem {
            text: with_field(text, &at, error.message()),
            at,
        }
    })?;
    if file.sync.is_empty() {
        return Err(Problem {
            at: 0..0,
            text: "there is no [[sync]] in it".to_owned(),
        });
    }
    let mut accounts = HashMap::new();
    let mut syncs: Vec<Sync> = Vec::new();
    let mut moments = 0.0;
    for written in file.sync {
        let at = written.span();
        let written = written.into_inner();
        let (name_at, token_at) = (
            written.name.span(),
            written.token.as_ref().map(Spanned::span),
        );
        let sync = check(written, &at)?;
        moments += sync.moments_per_day();
        if moments > MOST_RUNS_OF_ALL {
            let text = format!(
                "sync {:?} and those above have too many runs to be drawn",
                sync.name
            );
            return Err(Problem { at, text });
        }
        if syncs.iter().any(|earlier| earlier.name == sync.name) {
            let text = format!("`name`: two syncs are called {:?}", sync.name);
            return Err(Problem { at: name_at, text });
        }
        let account = accounts
            .entry(sync.token.clone())
            .or_insert_with(|| sync.account.clone());
        if *account != sync.account {
            let text = format!(
                "`token`: {:?} belongs to account {account:?} above, and to {:?} here",
                sync.token, sync.account
            );
            let at = token_at.unwrap_or(name_at);
            return Err(Problem { at, text });
        }
        syncs.push(sync);
    }
    Ok(syncs)
}

/// The parser names the field only where it is unknown; elsewhere the line does.
fn with_field(text: &str, at: &Range<usize>, message: &str) -> String {
    let start = text.get(..at.start).and_then(|before| before.rfind('\n'));
    let line = text.get(start.map_or(0, |end| end + 1)..).unwrap_or("");
    let line = line.lines().next().unwrap_or("");
    // The parser's own messages may have several lines.
    let message = message.lines().collect::<Vec<_>>().join(", ");
    match line.split_once('=') {
        Some((field, value)) if !message.starts_with("unknown field") => {
            let (field, value) = (field.trim(), value.trim());
            let value: String = value.chars().take(40).collect();
            format!("`{field}` = {value}: {message}")
        }
        _ => message,
    }
}

fn check(written: Written, at: &Range<usize>) -> Result<Sync, Problem> {
    let name = plain("name", Some(written.name))?.unwrap_or_default();
    let when = when(
        &name,
        at,
        (written.every, written.from),
        written.at,
        written.per_day,
    )?;
    let main = || "main".to_owned();
    let account = plain("account", written.account)?.unwrap_or_else(main);
    let token = plain("token", written.token)?.unwrap_or_else(|| account.clone());
    let work = Work {
        records: number("records", written.records, 0, 0..=MOST)?,
        batch: number("batch", written.batch, MOST_BATCHED, 1..=MOST_BATCHED)?,
        singles: number("singles", written.singles, 0, 0..=MOST)?,
        collected: 1,
        reads: number("reads", written.reads, 0, 0..=MOST)?,
        searches: number("searches", written.searches, 0, 0..=1_000_000)?,
        found: number("found", written.found, MOST_PAGED, 0..=100_000_000)?,
        page: number("page", written.page, MOST_PAGED, 1..=MOST_PAGED)?,
        associations: number("associations", written.associations, 0, 0..=MOST)?,
        association_batch: number(
            "association_batch",
            written.association_batch,
            1_000,
            1..=MOST_ASSOCIATED,
        )?,
    };
    let calls = work.calls(1.0).all();
    if calls > MOST {
        let text = format!("sync {name:?} makes {calls} calls in a run, more than {MOST}");
        return Err(Problem {
            at: at.clone(),
            text,
        });
    }
    if calls == 0 {
        let text = format!(
            "sync {name:?} makes no calls: say `records`, `singles`, `reads`, `searches` or `associations`"
        );
        return Err(Problem {
            at: at.clone(),
            text,
        });
    }
    let vary = number("vary", written.vary, 0.0, 0.0..=5.0)?;
    let hours = match written.hours {
        None => None,
        Some(text) => Some(hours(&text)?),
    };
    let day = 0.0..=DAY;
    let sync = Sync {
        lane: lane(written.lane)?,
        jitter: length("jitter", written.jitter, day.clone())?.unwrap_or(0.0),
        over: length("over", written.over, day)?.unwrap_or(0.0),
        full: written.full,
        name,
        token,
        account,
        work,
        when,
        hours,
        vary,
    };
    if sync.runs_per_day() == 0.0 {
        let text = format!("sync {:?} never runs within its `hours`", sync.name);
        return Err(Problem {
            at: at.clone(),
            text,
        });
    }
    if sync.moments_per_day() > MOST_RUNS {
        let text = format!(
            "sync {:?} has too many runs that are spread `over` some time to be drawn",
            sync.name
        );
        return Err(Problem {
            at: at.clone(),
            text,
        });
    }
    Ok(sync)
}

fn when(
    name: &str,
    at: &Range<usize>,
    (every, from): (Option<Spanned<String>>, Option<Spanned<String>>),
    times: Option<Spanned<Times>>,
    per_day: Option<Spanned<f64>>,
) -> Result<When, Problem> {
    if let (Some(from), None) = (&from, &every) {
        return Err(wrong("from", from, "is only for syncs with `every`"));
    }
    match (every, times, per_day) {
        (Some(every), None, None) => {
            let from = from.map(|from| moment("from", &from, from.get_ref()));
            let length = length("every", Some(every), 1.0..=LONGEST_EVERY)?;
            Ok(When::Every {
                length: length.unwrap_or(DAY),
                from: from.transpose()?,
            })
        }
        (None, Some(times), None) => {
            let list = match times.get_ref() {
                Times::One(time) => std::slice::from_ref(time),
                Times::Some(times) => times,
            };
            if list.is_empty() {
                return Err(wrong("at", &times, "must name at least one time"));
            }
            let list: Result<Vec<f64>, Problem> =
                list.iter().map(|time| moment("at", &times, time)).collect();
            Ok(When::At(list?))
        }
        (None, None, Some(runs)) => {
            let runs = number("per_day", Some(runs), 0.0, 0.001..=MOST_RUNS)?;
            Ok(When::PerDay(runs))
        }
        (every, times, per_day) => {
            let said =
                u8::from(every.is_some()) + u8::from(times.is_some()) + u8::from(per_day.is_some());
            let text = match said {
                0 => format!("sync {name:?} never runs: say `every`, `at` or `per_day`"),
                _ => format!("sync {name:?}: of `every`, `at` and `per_day` only one can be said"),
            };
            Err(Problem {
                at: at.clone(),
                text,
            })
        }
    }
}
