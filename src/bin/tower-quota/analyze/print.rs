//! The answer as tables.

use super::answer::{Account, Advice, Answer, Basis, Figures, Limit, Row};
use crate::error::CliError;
use crate::out::{Out, grouped, percent, table};
use crate::span;

/// Rows of routes; the others are summed up.
const MOST_ROUTES: usize = 20;
/// Rows of limits, the fullest first.
const MOST_LIMITS: usize = 12;
/// Accounts, those that use most first.
const MOST_ACCOUNTS: usize = 10;

pub(super) fn print(answer: &Answer, out: &mut Out) -> Result<(), CliError> {
    out.paragraph(&head(answer))?;
    if let Basis::Log {
        ungoverned: some @ 1..,
        ..
    } = answer.source
    {
        let text = format!("{} requests more are governed by no limit.", grouped(some));
        out.paragraph(&text)?;
    }
    if let Some(hours) = answer.longest_day {
        out.paragraph(&format!(
            "Days have 24 hours here; {} has one of {hours}, with so much more of what runs by the hour.",
            answer.zone
        ))?;
    }
    let mut accounts: Vec<&Account> = answer.accounts.iter().collect();
    if accounts.len() > MOST_ACCOUNTS {
        accounts.sort_by(|a, b| b.total.calls_per_day.total_cmp(&a.total.calls_per_day));
    }
    for account in accounts.iter().take(MOST_ACCOUNTS) {
        out.line("")?;
        print_account(answer, account, out)?;
    }
    if let Some(more @ 1..) = accounts.len().checked_sub(MOST_ACCOUNTS) {
        let text = format!(
            "{} more accounts use less; --json has them.",
            grouped(more as u64)
        );
        out.paragraph(&text)?;
    }
    if !answer.limits.is_empty() {
        out.line("")?;
        print_limits(&answer.limits, out)?;
    }
    for warning in &answer.warnings {
        out.line("")?;
        out.warning(warning)?;
    }
    if !answer.advice.is_empty() {
        out.line("")?;
        out.heading("What helps, each alone, in order of cost")?;
        for (nth, advice) in answer.advice.iter().enumerate() {
            out.item(&format!("{}.", nth + 1), &advice_text(advice))?;
        }
    }
    Ok(())
}

fn head(answer: &Answer) -> String {
    let drawn = format!(
        "{} {} drawn with seed {}",
        grouped(answer.draws as u64),
        plural(answer.draws, "day"),
        answer.seed
    );
    match &answer.source {
        Basis::Plan { file } => format!("{file}: tier {}, {drawn}.", answer.tier),
        Basis::Log {
            file,
            from,
            to,
            requests,
            whole_days,
            resampled,
            ..
        } => format!(
            "{file}: {} requests in {}, {} whole {}; tier {}, {drawn} from the {resampled} observed.",
            grouped(*requests),
            span::text(to - from),
            grouped(*whole_days as u64),
            plural(*whole_days, "day"),
            answer.tier
        ),
    }
}

fn plural(count: usize, what: &str) -> String {
    match count {
        1 => what.to_owned(),
        _ => format!("{what}s"),
    }
}

fn print_account(answer: &Answer, account: &Account, out: &mut Out) -> Result<(), CliError> {
    let pool = match account.daily_quota {
        Some(quota) => format!("{} calls a day", grouped(quota)),
        None => "no daily pool is published".to_owned(),
    };
    out.heading(&format!("Account {}: {pool}", account.account))?;
    let of_plan = matches!(answer.source, Basis::Plan { .. });
    let headings: &[&str] = match of_plan {
        true => &[
            "Sync",
            " Runs/day",
            " Calls/run",
            " Calls/day",
            " Daily share",
            " p99 headroom",
        ],
        false => &[
            "Route",
            " Calls/day",
            " Repeats",
            " Daily share",
            " p99 headroom",
        ],
    };
    let mut rows = table(headings);
    let mut series: Vec<&Row> = account.series.iter().collect();
    let shown = if of_plan { series.len() } else { MOST_ROUTES };
    if series.len() > shown {
        series.sort_by(|a, b| b.figures.calls_per_day.total_cmp(&a.figures.calls_per_day));
    }
    for row in series.iter().take(shown) {
        rows.add_row(cells(&row.name, row, &row.figures, of_plan));
    }
    if series.len() > shown {
        let left = &series[shown..];
        let name = format!("{} other {}", left.len(), plural(left.len(), "route"));
        let calls: f64 = left.iter().map(|row| row.figures.calls_per_day).sum();
        rows.add_row(vec![name, rate(calls)]);
    }
    let total = Row::new("Total", None, None);
    rows.add_row(cells("Total", &total, &account.total, of_plan));
    out.table(&rows)?;
    if account.days_run_dry > 0.0 {
        out.paragraph(&format!(
            "The pool is used up early on {} of days: at least once in {} with a probability of {}.",
            percent(account.days_run_dry),
            span::text(answer.window_days * 86_400.0),
            percent(account.window_runs_dry)
        ))?;
    }
    Ok(())
}

fn cells(name: &str, row: &Row, figures: &Figures, of_plan: bool) -> Vec<String> {
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    let calls = rate(figures.calls_per_day);
    let (daily, headroom) = (share(figures.daily_share), share(figures.p99_headroom));
    if of_plan {
        let (runs, per_run) = match &row.run {
            Some(run) => (rate(run.per_day), grouped(run.calls)),
            None => (String::new(), String::new()),
        };
        return vec![name.to_owned(), runs, per_run, calls, daily, headroom];
    }
    let repeats = row.repeats_per_day.map_or_else(String::new, rate);
    vec![name.to_owned(), calls, repeats, daily, headroom]
}

/// A number per day: whole where it is large.
fn rate(number: f64) -> String {
    if number >= 10.0 || number.fract() == 0.0 {
        return grouped(number.round() as u64);
    }
    format!("{number:.1}")
}

fn print_limits(limits: &[Limit], out: &mut Out) -> Result<(), CliError> {
    out.heading("p99 of the fullest window of a day")?;
    let mut rows = table(&[
        "Limit",
        " Allows",
        " Wanted",
        " Headroom",
        " Urgent waits",
        " Bulk waits",
    ]);
    for limit in limits.iter().take(MOST_LIMITS) {
        let name = match &limit.whose {
            Some(whose) => format!("{} of {whose}", limit.limit),
            None => limit.limit.clone(),
        };
        let wait = |seconds: f64| match seconds {
            0.0 => "-".to_owned(),
            wait if wait > 86_400.0 => "> 1 d".to_owned(),
            wait => span::text(wait),
        };
        rows.add_row(vec![
            name,
            format!("{} in {}", grouped(limit.quota), span::text(limit.window)),
            grouped(limit.p99_wanted),
            percent(limit.p99_headroom),
            wait(limit.p99_wait.interactive),
            wait(limit.p99_wait.bulk),
        ]);
    }
    out.table(&rows)?;
    if let Some(more @ 1..) = limits.len().checked_sub(MOST_LIMITS) {
        let text = format!(
            "{} more have more headroom; --json has them.",
            grouped(more as u64)
        );
        out.paragraph(&text)?;
    }
    if limits.iter().any(|limit| limit.p99_headroom < 0.0) {
        out.paragraph(
            "Headroom below zero means waiting, not refusals: what is wanted at the same moment \
             waits at least so long.",
        )?;
    }
    Ok(())
}

fn advice_text(advice: &Advice) -> String {
    let calls = grouped(advice.calls_per_day.round() as u64);
    let effect = match advice.kind {
        "ask_for_more" => format!("+{calls} calls/day"),
        "after_reset" => format!("{calls} calls/day"),
        _ => format!("-{calls} calls/day"),
    };
    format!(
        "{}: {effect}, p99 headroom {}",
        advice.text,
        percent(advice.p99_headroom)
    )
}

impl Limit {
    /// For sentences.
    pub(super) fn whose(&self) -> String {
        match &self.whose {
            Some(whose) => format!("of `{whose}`"),
            None => "of all".to_owned(),
        }
    }
}
