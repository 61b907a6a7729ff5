//! A report as people read it: tables of at most 80 columns.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use super::{Counts, DailyReport, KeyReport, LimitReport, Report, TokenReport};
use crate::core::Fingerprint;

const WIDTH: usize = 80;
/// Between two columns.
const GAP: usize = 2;
/// Names are not cut to fewer columns than these; then the end of the line is.
const SHORTEST: usize = 8;
const CUT: char = '\u{2026}';

impl fmt::Display for Report {
    /// Tables of at most 80 columns, without those that would be empty. Times are of UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = [
            self.counts(),
            self.limits(),
            self.daily(),
            tokens("token", &self.tokens),
            tokens("refused most", &self.refused_tokens),
            self.routes(),
            self.concurrency(),
        ];
        let mut text = format!("{} at {} UTC", self.api, clock(self.at));
        if !self.enforced {
            text.push_str(", not enforced");
        }
        if self.waiting > 0 {
            let _ = write!(text, ", {} waiting", number(self.waiting));
        }
        writeln!(f, "{}", cut(&text, WIDTH))?;
        let errors = &self.errors;
        let share = format!(
            "errors {} of today: {} (warn from {}, breach from {})",
            percent(errors.share),
            errors.level.as_str(),
            percent(errors.warn),
            percent(errors.breach),
        );
        writeln!(f, "{}", cut(&share, WIDTH))?;
        let tables = tables.iter().filter(|table| !table.rows.is_empty());
        for table in tables {
            writeln!(f)?;
            table.fmt(f)?;
        }
        Ok(())
    }
}

impl Report {
    fn counts(&self) -> Table {
        let mut table = Table::new(&[
            "",
            "requests",
            "errors",
            "share",
            "rate limited",
            "lost",
            "denied",
            "would wait",
        ]);
        let days = [("today", &self.today), ("yesterday", &self.yesterday)];
        for (day, counts) in days {
            if *counts == Counts::default() {
                continue;
            }
            table.row([
                day.to_owned(),
                number(counts.requests),
                number(counts.errors),
                percent(counts.error_share()),
                number(counts.rate_limited),
                number(counts.lost),
                number(counts.denied),
                number(counts.would_wait),
            ]);
        }
        table
    }

    fn limits(&self) -> Table {
        let mut table = Table::new(&[
            "limit", "quota", "per", "key", "used", "others", "headroom", "waiting", "paused",
        ]);
        for limit in &self.limits {
            let LimitReport {
                limit: name,
                quota,
                window,
                keys,
                ..
            } = limit;
            let window = window.map_or("day".to_owned(), length);
            let mut first = [name.clone(), number((*quota).into()), window];
            for KeyReport {
                key,
                used,
                foreign,
                waiting,
                headroom,
                paused,
                ..
            } in keys
            {
                let [name, quota, window] = std::mem::take(&mut first);
                table.row([
                    name,
                    quota,
                    window,
                    whose(*key),
                    number((*used).into()),
                    number((*foreign).into()),
                    number((*headroom).into()),
                    number((*waiting).into()),
                    paused.map(length).unwrap_or_default(),
                ]);
            }
            if keys.is_empty() {
                let none = || [const { String::new() }; 6].into_iter();
                table.rows.push(first.into_iter().chain(none()).collect());
            }
        }
        table
    }

    fn daily(&self) -> Table {
        let mut table = Table::new(&[
            "daily pool",
            "key",
            "left",
            "used",
            "per hour",
            "runs out",
            "resets",
        ]);
        for pool in &self.daily {
            let DailyReport {
                limit,
                key,
                used,
                left,
                resets,
                per_hour,
                runs_out,
                ..
            } = pool;
            table.row([
                limit.clone(),
                whose(*key),
                number((*left).into()),
                number((*used).into()),
                number(per_hour.round() as u64),
                runs_out.map_or("no".to_owned(), |at| self.until(at)),
                clock(*resets),
            ]);
        }
        table
    }

    /// When, and how long from now.
    fn until(&self, at: SystemTime) -> String {
        match at.duration_since(self.at) {
            Ok(after) if !after.is_zero() => format!("{} ({})", clock(at), length(after)),
            _ => "has run out".to_owned(),
        }
    }

    fn routes(&self) -> Table {
        let mut table = Table::new(&["route", "requests", "errors", "rate limited"]);
        for route in &self.routes {
            table.row([
                route.route.as_str().to_owned(),
                number(route.requests),
                number(route.errors),
                number(route.rate_limited),
            ]);
        }
        table
    }

    fn concurrency(&self) -> Table {
        let mut table = Table::new(&["concurrency", "in flight", "limit", "waiting", "changed"]);
        for token in &self.concurrency {
            table.row([
                token.token.to_string(),
                number(token.in_flight.into()),
                number(token.limit.into()),
                number(token.waiting.into()),
                token.last_change.as_deref().unwrap_or_default().to_owned(),
            ]);
        }
        table
    }
}

fn tokens(heading: &'static str, tokens: &[TokenReport]) -> Table {
    let mut table = Table::new(&[heading, "requests", "errors", "rate limited"]);
    for token in tokens {
        let about = if token.uncertain > 0 { "<= " } else { "" };
        table.row([
            token.token.to_string(),
            format!("{about}{}", number(token.requests)),
            number(token.errors),
            number(token.rate_limited),
        ]);
    }
    table
}

/// The first column stands at the left and may be cut, all others stand at the right.
struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|nth| {
                let cells = self.rows.iter().map(|row| width(&row[nth]));
                cells.fold(width(self.headings[nth]), usize::max)
            })
            .collect();
        let [first, others @ ..] = &widths[..] else {
            return Ok(());
        };
        let others_width: usize = others.iter().map(|width| width + GAP).sum();
        let left = WIDTH.saturating_sub(others_width).max(SHORTEST);
        let first = (*first).min(left);
        let headings = self.headings.iter().map(|heading| (*heading).to_owned());
        let headings: Vec<String> = headings.collect();
        for cells in [&headings].into_iter().chain(&self.rows) {
            let mut line = cut(&cells[0], first);
            line.extend(std::iter::repeat_n(' ', first - width(&line)));
            for (cell, wide) in cells[1..].iter().zip(others) {
                let gap = GAP + wide - width(cell);
                line.extend(std::iter::repeat_n(' ', gap));
                line.push_str(cell);
            }
            writeln!(f, "{}", cut(line.trim_end(), WIDTH))?;
        }
        Ok(())
    }
}

/// Columns in a terminal: none is wider, some are narrower.
fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(char: char) -> usize {
    // From the first Hangul letters on there are wide ones; the ellipsis and some others are not.
    match char {
        '\u{1100}'..='\u{1fff}' | '\u{2600}'.. => 2,
        _ => 1,
    }
}

/// Without what would not be shown as it is, and shorter where it must be.
fn cut(text: &str, most: usize) -> String {
    let shown = |char: char| if char.is_control() { '?' } else { char };
    if width(text) <= most {
        return text.chars().map(shown).collect();
    }
    let mut used = 0;
    let fits = |char: &char| {
        used += columns(*char);
        used < most
    };
    let kept = text.chars().map(shown).take_while(fits);
    kept.chain([CUT]).collect()
}

/// As in `29,376`; from ten millions on, as in `12.3 M`.
fn number(number: u64) -> String {
    const UNITS: [&str; 5] = ["M", "G", "T", "P", "E"];
    if number < 10_000_000 {
        let (millions, thousands, ones) =
            (number / 1_000_000, number / 1_000 % 1_000, number % 1_000);
        return match (millions, thousands) {
            (0, 0) => ones.to_string(),
            (0, _) => format!("{thousands},{ones:03}"),
            _ => format!("{millions},{thousands:03},{ones:03}"),
        };
    }
    let mut value = number as f64 / 1e6;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 999.95 {
        value /= 1e3;
        unit = units.next();
    }
    format!("{value:.1} {}", unit.unwrap_or(&"E"))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// As in `10 s` or `4 h 40 min`.
fn length(length: Duration) -> String {
    let seconds = length.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ if minutes == 0 || hours >= 100 => format!("{hours} h"),
        _ => format!("{hours} h {minutes} min"),
    }
}

/// The time of day, UTC.
fn clock(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    let minutes = since.unwrap_or_default().as_secs() / 60;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

fn whose(key: Option<Fingerprint>) -> String {
    key.map_or("all".to_owned(), |key| key.to_string())
}
