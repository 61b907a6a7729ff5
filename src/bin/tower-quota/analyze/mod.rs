//! `tower-quota analyze`: what syncs, or the requests of a log, use of the quota, and how much is left on a bad day.

mod advice;
mod answer;
mod declared;
mod draw;
mod ground;
mod observed;
mod print;
mod requests;
mod singles;
mod syncs;
mod values;
mod window;
mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::{Plan, Zone};

use self::advice::{Needy, Trial};
use self::answer::{Account, Advice, Answer, Basis, Figures, Limit, Row, Runs};
use self::declared::Declared;
use self::observed::Observed;
use crate::error::CliError;
use crate::out::{Out, Verdict, grouped, percent};
use crate::span;

/// How long a request waits if nobody has said otherwise, as `StackLayer` has it.
const PATIENCE: f64 = 60.0;
const MOST_DRAWS: i64 = 10_000;

/// What is asked for.
#[derive(Debug, clap::Args)]
#[command(after_long_help = syncs::FORMAT, group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct Arguments {
    /// A file that says what syncs do and when, in TOML; `--help` tells how
    #[arg(long, value_name = "FILE", group = "source")]
    plan: Option<PathBuf>,
    /// A log of events with requests
    #[arg(long, value_name = "FILE", group = "source")]
    log: Option<PathBuf>,
    /// free, starter, professional, enterprise (each also with +increase or
    /// +increase2) or oauth
    #[arg(long, value_name = "NAME")]
    tier: Tier,
    /// How much of the log counts, back from its end; of a plan, how many days
    /// are looked ahead
    #[arg(long, value_name = "LENGTH", default_value = "30d", value_parser = span::parse)]
    window: Duration,
    /// The account's time zone, whose midnight fills the daily pool
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// How many days are drawn at random
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=MOST_DRAWS))]
    draws: u32,
    /// The same seed gives the same answer
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// The daily headroom in per cent below which the answer is a warning
    #[arg(long, value_name = "PERCENT", default_value_t = 25, value_parser = clap::value_parser!(u8).range(0..=100))]
    warn_below: u8,
}

pub(crate) fn run(arguments: &Arguments, out: &mut Out) -> Result<Verdict, CliError> {
    let zone = Zone::named(&arguments.zone)
        .map_err(|error| CliError::argument("zone", format!("{error}")))?;
    let days = arguments.window.as_secs_f64() / syncs::DAY;
    if !(1.0 / 24.0..=366.0).contains(&days) {
        return Err(CliError::argument("window", "must be 1h to 366d"));
    }
    let plan = hubspot::plan(arguments.tier, zone.clone());
    let answer = match (&arguments.plan, &arguments.log) {
        (Some(file), _) => of_plan(arguments, &plan, &zone, file)?,
        (_, Some(file)) => of_log(arguments, &plan, &zone, file)?,
        (None, None) => return Err(CliError::argument("plan", "is missing")),
    };
    if out.is_json() {
        out.json(&answer)?;
    } else {
        print::print(&answer, out)?;
    }
    out.flush()?;
    Ok(match answer.warnings.is_empty() {
        true => Verdict::Fine,
        false => Verdict::Warning,
    })
}

fn of_plan(
    arguments: &Arguments,
    plan: &Plan,
    zone: &Zone,
    file: &Path,
) -> Result<Answer, CliError> {
    let syncs = syncs::read(file)?;
    let declared = Declared::new(plan, &syncs, true);
    let days = draw::days(&declared, arguments.draws as usize, arguments.seed);
    let quota = declared.ground.pool().map(|(_, quota)| quota);
    let mut answer = Answer::begin(
        arguments,
        Basis::Plan {
            file: file.display().to_string(),
        },
    );
    answer.longest_day = Some(longest_day(zone)).filter(|&hours| hours > 24);
    for (account, name) in declared.ground.accounts.iter().enumerate() {
        let mine: Vec<usize> = (0..declared.series.len())
            .filter(|&series| declared.series[series].account == account)
            .collect();
        let rows = mine.iter().map(|&series| {
            let sync = declared.series[series].sync;
            let calls = sync.work.calls(1.0);
            let run = Runs {
                per_day: sync.runs_per_day(),
                calls: calls.all(),
                general: calls.general,
                search: calls.search,
                associations: calls.associations,
                lane: sync.lane.to_string(),
                token: sync.token.clone(),
            };
            (Row::new(&sync.name, Some(run), None), sync.calls_per_day())
        });
        let rows = rows.collect();
        let account = answer::account(name, quota, &days, answer.window_days, &mine, rows);
        if let Some(needy) = answer.is_needy(arguments, plan, &account) {
            let trial = Trial {
                needy,
                account: name,
                syncs: &syncs,
                days: &days,
                seed: arguments.seed,
            };
            answer.advice.extend(trial.advice());
        }
        answer.accounts.push(account);
    }
    answer.add_limits(answer::limits(&declared.ground, &days));
    Ok(answer)
}

/// In hours, of a year's days.
fn longest_day(zone: &Zone) -> u64 {
    // Midday of 2026-01-01, so that the answer does not depend on when it is asked for.
    let mut at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_268_800);
    let days = std::iter::from_fn(|| {
        let ends = zone.next_reset(at);
        let begins = std::mem::replace(&mut at, ends);
        at.duration_since(begins).ok()
    });
    let longest = days.take(366).max().unwrap_or_default();
    longest.as_secs() / 3_600
}

fn of_log(
    arguments: &Arguments,
    plan: &Plan,
    zone: &Zone,
    file: &Path,
) -> Result<Answer, CliError> {
    let observed = Observed::read(plan, zone, file, arguments.window)?;
    let days = draw::days(&observed, arguments.draws as usize, arguments.seed);
    let quota = observed.ground.pool().map(|(_, quota)| quota);
    let mut answer = Answer::begin(arguments, observed.basis(file));
    for (account, name) in observed.ground.accounts.iter().enumerate() {
        let mine = observed.series_of(account);
        let rows = mine.iter().map(|&series| {
            let route = &observed.series[series];
            let row = Row::new(&route.name, None, Some(route.repeats_per_day));
            (row, route.calls_per_day)
        });
        let rows = rows.collect();
        let account = answer::account(name, quota, &days, answer.window_days, &mine, rows);
        if let Some(needy) = answer.is_needy(arguments, plan, &account) {
            let routes = observed.batchable(&mine);
            let batch = needy.batch_routes(&days, &mine, routes);
            let more = needy.ask_for_more();
            answer.advice.extend(batch.into_iter().chain(more));
        }
        answer.accounts.push(account);
    }
    answer.add_limits(answer::limits(&observed.ground, &days));
    Ok(answer)
}

impl Row {
    /// What stands in the figures is counted later.
    fn new(name: &str, run: Option<Runs>, repeats_per_day: Option<f64>) -> Self {
        Row {
            name: name.to_owned(),
            run,
            repeats_per_day,
            figures: Figures {
                calls_per_day: 0.0,
                daily_share: None,
                p99_calls: 0,
                p99_headroom: None,
            },
        }
    }
}

impl Answer {
    fn begin(arguments: &Arguments, source: Basis) -> Self {
        Answer {
            source,
            tier: arguments.tier.to_string(),
            zone: arguments.zone.clone(),
            longest_day: None,
            window_days: arguments.window.as_secs_f64() / syncs::DAY,
            draws: arguments.draws as usize,
            seed: arguments.seed,
            warn_below: f64::from(arguments.warn_below) / 100.0,
            accounts: Vec::new(),
            limits: Vec::new(),
            warnings: Vec::new(),
            advice: Vec::<Advice>::new(),
        }
    }

    /// Warns of an account that has too little headroom, and tells what its advice is made from.
    fn is_needy<'a>(
        &mut self,
        arguments: &Arguments,
        plan: &'a Plan,
        account: &Account,
    ) -> Option<Needy<'a>> {
        let headroom = account.total.p99_headroom?;
        if headroom >= self.warn_below {
            return None;
        }
        self.warnings.push(format!(
            "account `{}` has {} headroom on the worst 1 % of days, less than {}",
            account.account,
            percent(headroom),
            percent(self.warn_below)
        ));
        Some(Needy {
            plan,
            tier: arguments.tier,
            quota: account.daily_quota?,
            calls_per_day: account.total.calls_per_day,
            p99_calls: account.total.p99_calls,
            warn_below: self.warn_below,
        })
    }

    fn add_limits(&mut self, limits: Vec<Limit>) {
        for limit in &limits {
            let wait = limit.p99_wait.interactive;
            if wait > PATIENCE {
                self.warnings.push(format!(
                    "interactive requests wait up to {} for `{}` {}; if not told otherwise they fail after {}",
                    span::text(wait),
                    limit.limit,
                    limit.whose(),
                    span::text(PATIENCE)
                ));
            }
            if limit.p99_wait.bulk > syncs::DAY {
                self.warnings.push(format!(
                    "more is asked of `{}` {} in a day than its {} in {} let through",
                    limit.limit,
                    limit.whose(),
                    grouped(limit.quota),
                    span::text(limit.window)
                ));
            }
        }
        self.limits = limits;
    }
}
