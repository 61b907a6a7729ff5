//! `tower-quota simulate`: requests of one's own figures against a simulated API, in virtual time.

mod course;
mod load;
mod numbers;
mod picture;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Lane, Zone};
use tower_quota::sim::{Class, Latency};

use self::course::{Course, bars};
use self::load::{Load, Seen, Window};
use self::picture::Panel;
use crate::error::CliError;
use crate::limiter::Limiter;
use crate::out::{Out, Verdict, grouped, percent, table};
use crate::progress::Progress;
use crate::span;

/// Steps of a picture, and letters of a row of bars.
const STEPS: usize = 240;
const LETTERS: usize = 60;
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// More take too much memory.
const MOST_CALLS: f64 = 2_000_000.0;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// free, starter, professional, enterprise (each also with +increase or
    /// +increase2) or oauth
    #[arg(long, value_name = "NAME", default_value = "professional")]
    tier: Tier,
    /// How many tokens, all of one account
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    tokens: u32,
    /// Requests per second of each token, at random moments; as many as it gets
    /// done if not said
    #[arg(long, value_name = "PER-SECOND", value_parser = numbers::rate, conflicts_with = "saturate")]
    rate: Option<f64>,
    /// As many requests as each token gets done, which is what is done without
    /// --rate
    #[arg(long)]
    saturate: bool,
    /// Requests of each token at a time when it saturates; twice its burst if
    /// not said
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=2_000), conflicts_with = "rate")]
    tasks: Option<u32>,
    /// The share of searches, such as 0.1 or 10%
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = numbers::share)]
    searches: f64,
    /// Each way: wan, lan, none, or such as 50ms, 20ms..80ms (anything between)
    /// or 20ms+30ms (exponential with that mean)
    #[arg(long, default_value = "wan", value_parser = numbers::latency)]
    latency: Latency,
    /// How long the server works, said in the same way
    #[arg(long, value_name = "LATENCY", default_value = "200ms..600ms", value_parser = numbers::latency)]
    service_time: Latency,
    /// How long, in virtual time
    #[arg(long, value_name = "LENGTH", default_value = "5m", value_parser = span::parse)]
    duration: Duration,
    /// Requests per second of others in the burst of each token
    #[arg(long, value_name = "PER-SECOND", value_parser = numbers::rate)]
    others: Option<f64>,
    /// Searches per second of others in the account
    #[arg(long, value_name = "PER-SECOND", value_parser = numbers::rate)]
    other_searches: Option<f64>,
    /// Of bulk requests, ours keeps one search slot free for interactive ones
    #[arg(long, value_enum, default_value = "bulk")]
    lane: LaneName,
    /// How long ours lets a request wait before it fails
    #[arg(long, value_name = "LENGTH", default_value = "60s", value_parser = span::parse)]
    max_wait: Duration,
    /// May be given several times; all of them if not said
    #[arg(long, value_name = "NAME", value_enum)]
    limiter: Vec<Limiter>,
    /// The same seed gives the same answer
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Writes what was admitted and refused over time as SVG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LaneName {
    Interactive,
    Bulk,
}

#[derive(Serialize)]
struct Answer {
    tier: String,
    tokens: u32,
    seconds: f64,
    seed: u64,
    limiters: Vec<Row>,
}

/// One limiter.
#[derive(Serialize)]
struct Row {
    limiter: Limiter,
    /// Calls that were begun, and those that were answered.
    calls: u64,
    done: u64,
    /// Calls that could not wait any longer. Those left are still under way.
    gave_up: u64,
    /// Requests that reached the server, repeats included.
    sent: u64,
    refused: u64,
    refused_share: f64,
    /// What was admitted, of others too, against what the limit lets through.
    burst_used: f64,
    search_used: Option<f64>,
    others_refused: u64,
    /// From a call to its answer, in seconds.
    median: f64,
    p99: f64,
}

pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Verdict, CliError> {
    let load = load(arguments)?;
    let mut limiters = Limiter::ALL.to_vec();
    if !arguments.limiter.is_empty() {
        limiters.retain(|limiter| arguments.limiter.contains(limiter));
    }
    let progress = Progress::new(limiters.len() * load::PARTS as usize, "parts");
    // Each in a runtime of its own, with time of its own.
    let seen: Vec<Result<Seen, CliError>> = std::thread::scope(|scope| {
        let (load, progress) = (&load, &progress);
        let started: Vec<_> = limiters
            .iter()
            .map(|&limiter| scope.spawn(move || load.run(limiter, progress)))
            .collect();
        let panicked = |_| Err(CliError::Other("a simulation has panicked".to_owned()));
        let joined = started.into_iter().map(|one| one.join());
        joined.map(|seen| seen.unwrap_or_else(panicked)).collect()
    });
    drop(progress);
    let mut rows = Vec::new();
    let mut courses = Vec::new();
    for (&limiter, seen) in limiters.iter().zip(seen) {
        let seen = seen?;
        courses.extend(load.courses(limiter, &seen));
        rows.push(load.row(limiter, seen));
    }
    if let Some(path) = &arguments.picture {
        let panels: Vec<Panel<'_>> = courses
            .iter()
            .map(|(title, course)| Panel {
                title: title.clone(),
                course,
            })
            .collect();
        let title = format!(
            "Requests per window, tier {}, seed {}",
            arguments.tier, arguments.seed
        );
        picture::draw(path, &title, &panels)?;
    }
    let answer = Answer {
        tier: arguments.tier.to_string(),
        tokens: arguments.tokens,
        seconds: arguments.duration.as_secs_f64(),
        seed: arguments.seed,
        limiters: rows,
    };
    if out.is_json() {
        out.json(&answer)?;
    } else {
        print(arguments, &answer, &courses, out)?;
    }
    out.flush()?;
    let ours_refused = |row: &Row| row.limiter == Limiter::Ours && row.refused > 0;
    Ok(match answer.limiters.iter().any(ours_refused) {
        true => Verdict::Warning,
        false => Verdict::Fine,
    })
}

fn load(arguments: &Arguments) -> Result<Load, CliError> {
    let duration = arguments.duration;
    if !(Duration::from_secs(1)..=LONGEST).contains(&duration) {
        return Err(CliError::argument("duration", "must be 1s to 24h"));
    }
    let plan = hubspot::plan(arguments.tier, Zone::UTC);
    let mut load = Load {
        plan,
        tier: arguments.tier,
        tokens: arguments.tokens as usize,
        rate: arguments.rate,
        tasks: 0,
        searches: arguments.searches,
        latency: arguments.latency,
        service_time: arguments.service_time,
        duration,
        others: arguments.others,
        other_searches: arguments.other_searches,
        lane: match arguments.lane {
            LaneName::Interactive => Lane::Interactive,
            LaneName::Bulk => Lane::Bulk,
        },
        max_wait: arguments.max_wait,
        seed: arguments.seed,
    };
    let burst = load.window(hubspot::BURST);
    let most = burst.map_or(0.0, |burst| load.capacity(&burst));
    let calls = match arguments.rate {
        Some(rate) => rate * f64::from(arguments.tokens) * duration.as_secs_f64(),
        None => most,
    };
    if calls > MOST_CALLS {
        let name = if arguments.rate.is_some() {
            "rate"
        } else {
            "duration"
        };
        let problem = format!(
            "makes {} calls in all, more than {}",
            grouped(calls as u64),
            grouped(MOST_CALLS as u64)
        );
        return Err(CliError::argument(name, problem));
    }
    load.tasks = match (arguments.tasks, burst) {
        (Some(tasks), _) => tasks as usize,
        (None, Some(burst)) => 2 * burst.quota as usize,
        (None, None) => 1,
    };
    Ok(load)
}

impl Load {
    /// The most requests that a rolling limit lets through in all the time.
    fn capacity(&self, window: &Window) -> f64 {
        let windows = self.duration.as_secs_f64() / window.length.as_secs_f64();
        f64::from(window.quota) * windows.ceil() * self.copies(window) as f64
    }

    /// How much of a limit was used. For callers who want all of it: the time that this needs at least, against the time until the
    /// last request was admitted; the first window is everybody's for the asking. For others: against what is possible in all.
    fn used(&self, window: &Window, admitted: &[Duration]) -> f64 {
        let (counted, Some(last)) = (admitted.len() as f64, admitted.last()) else {
            return 0.0;
        };
        if self.rate.is_some() {
            return counted / self.capacity(window);
        }
        let windows = counted / f64::from(window.quota) / self.copies(window) as f64 - 1.0;
        (windows * window.length.as_secs_f64() / last.as_secs_f64()).max(0.0)
    }

    fn row(&self, limiter: Limiter, seen: Seen) -> Row {
        let Seen {
            stats,
            admitted,
            mut calls,
            ..
        } = seen;
        let used = |name, class| {
            let window = self.window(name)?;
            let admitted = admitted.iter().filter(|counted| counted.class == class);
            let admitted: Vec<Duration> = admitted.map(|counted| counted.at).collect();
            Some(self.used(&window, &admitted))
        };
        calls.took.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let rank = (share * calls.took.len() as f64).ceil() as usize;
            calls
                .took
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or(0.0)
        };
        let is_searching = self.searches > 0.0 || self.other_searches.is_some();
        Row {
            limiter,
            calls: calls.begun,
            done: calls.done,
            gave_up: calls.gave_up,
            sent: stats.arrived(),
            refused: stats.refused(),
            refused_share: stats.refused() as f64 / stats.arrived().max(1) as f64,
            burst_used: used(hubspot::BURST, Class::General).unwrap_or(0.0),
            search_used: used(hubspot::SEARCH, Class::Search).filter(|_| is_searching),
            others_refused: stats.others_refused(),
            median: quantile(0.5),
            p99: quantile(0.99),
        }
    }

    /// What a picture shows of one limiter: the burst, and searches if there are any.
    fn courses(&self, limiter: Limiter, seen: &Seen) -> Vec<(String, Course)> {
        let of = [
            (hubspot::BURST, Class::General, self.searches < 1.0),
            (hubspot::SEARCH, Class::Search, self.searches > 0.0),
        ];
        let mut courses = Vec::new();
        for (name, class, is_wanted) in of {
            let Some(window) = self.window(name).filter(|_| is_wanted) else {
                continue;
            };
            let admitted = seen
                .admitted
                .iter()
                .filter(|counted| counted.class == class);
            let admitted: Vec<Duration> = admitted.map(|counted| counted.at).collect();
            let is_search = class == Class::Search;
            let refused = seen
                .refused
                .iter()
                .filter(|(_, search)| *search == is_search);
            let refused: Vec<Duration> = refused.map(|&(at, _)| at).collect();
            let quota = u64::from(window.quota) * self.copies(&window);
            let limit = (quota, window.length);
            let title = format!(
                "{}: {name}, {} in {}",
                limiter.name(),
                grouped(quota),
                span::text(window.length.as_secs_f64())
            );
            let course = Course::new(limit, self.duration, STEPS, &admitted, &refused);
            courses.push((title, course));
        }
        courses
    }
}

fn print(
    arguments: &Arguments,
    answer: &Answer,
    courses: &[(String, Course)],
    out: &mut Out,
) -> Result<(), CliError> {
    let what = match arguments.rate {
        Some(rate) => format!("{rate} requests per second each"),
        None => "as many requests as they get done".to_owned(),
    };
    let tokens = match arguments.tokens {
        1 => "1 token".to_owned(),
        tokens => format!("{tokens} tokens"),
    };
    out.paragraph(&format!(
        "{tokens} of tier {}, {what}, {} in virtual time, seed {}.",
        answer.tier,
        span::text(answer.seconds),
        answer.seed
    ))?;
    out.line("")?;
    let has_searches = answer.limiters.iter().any(|row| row.search_used.is_some());
    let mut headings = vec!["Limiter", " Sent", " Refused", " Share", " Used"];
    if has_searches {
        headings.push(" Search");
    }
    headings.extend([" Gave up", " p99"]);
    let mut rows = table(&headings);
    for row in &answer.limiters {
        let mut cells = vec![
            row.limiter.name().to_owned(),
            grouped(row.sent),
            grouped(row.refused),
            percent(row.refused_share),
            percent(row.burst_used),
        ];
        if has_searches {
            cells.push(row.search_used.map_or_else(|| "-".to_owned(), percent));
        }
        cells.extend([grouped(row.gave_up), span::text(row.p99)]);
        rows.add_row(cells);
    }
    out.table(&rows)?;
    out.paragraph(
        "Used: of what the burst (and the search limit) lets through. Gave up: waited too long. \
         p99: from a call to its answer, repeats included.",
    )?;
    for (title, course) in courses {
        out.line("")?;
        out.heading(title)?;
        let admitted = Course::narrowed(&course.admitted, LETTERS);
        let refused = Course::narrowed(&course.refused, LETTERS);
        let most = |values: &[u64]| grouped(values.iter().copied().max().unwrap_or(0));
        for (name, values) in [("admitted", admitted), ("refused", refused)] {
            let bars = bars(&values, course.quota);
            out.line(&format!("{name:<9}{bars} {}", most(&values)))?;
        }
    }
    let ours = answer
        .limiters
        .iter()
        .find(|row| row.limiter == Limiter::Ours);
    if let Some(row) = ours.filter(|row| row.refused > 0) {
        out.line("")?;
        out.warning(&format!(
            "{} of ours were refused{}",
            grouped(row.refused),
            match arguments.others.or(arguments.other_searches) {
                Some(_) => ": others use the same quota, and nobody can see them in time",
                None => "",
            }
        ))?;
    }
    Ok(())
}
