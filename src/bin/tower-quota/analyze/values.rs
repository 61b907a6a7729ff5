//! The values of a file of syncs, each checked, and where it stands.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use tower_quota::plan::Lane;

use super::syncs::DAY;
use crate::span;

const LONGEST_NAME: usize = 200;

/// What is wrong, and where.
pub(super) struct Problem {
    pub(super) at: Range<usize>,
    pub(super) text: String,
}

pub(super) fn wrong<T>(field: &str, value: &Spanned<T>, problem: impl Display) -> Problem {
    Problem {
        at: value.span(),
        text: format!("`{field}` {problem}"),
    }
}

pub(super) fn number<N: Copy + PartialOrd + Display>(
    field: &str,
    value: Option<Spanned<N>>,
    unsaid: N,
    range: RangeInclusive<N>,
) -> Result<N, Problem> {
    let Some(value) = value else {
        return Ok(unsaid);
    };
    let number = *value.get_ref();
    if range.contains(&number) {
        return Ok(number);
    }
    let (low, high) = range.into_inner();
    let problem = format!("must be {low} to {high}, is {number}");
    Err(wrong(field, &value, problem))
}

pub(super) fn length(
    field: &str,
    value: Option<Spanned<String>>,
    range: RangeInclusive<f64>,
) -> Result<Option<f64>, Problem> {
    let Some(value) = value else {
        return Ok(None);
    };
    let seconds = span::parse(value.get_ref()).map_err(|problem| wrong(field, &value, problem))?;
    let seconds = seconds.as_secs_f64();
    if range.contains(&seconds) {
        return Ok(Some(seconds));
    }
    let (low, high) = range.into_inner();
    let problem = format!(
        "must be {} to {}, is {:?}",
        span::text(low),
        span::text(high),
        value.get_ref()
    );
    Err(wrong(field, &value, problem))
}

/// A time of day, in seconds.
pub(super) fn moment<T>(field: &str, value: &Spanned<T>, text: &str) -> Result<f64, Problem> {
    let time = clock_time(text);
    time.ok_or_else(|| {
        let problem = format!("must be a time of day such as \"02:00\", is {text:?}");
        wrong(field, value, problem)
    })
}

fn clock_time(text: &str) -> Option<f64> {
    let (hour, minute) = text.trim().split_once(':')?;
    let part = |digits: &str, end: u32| {
        let plain = digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = plain.then(|| digits.parse().ok()).flatten()?;
        (number < end).then_some(number)
    };
    Some(f64::from(part(hour, 24)? * 3_600 + part(minute, 60)? * 60))
}

pub(super) fn hours(value: &Spanned<String>) -> Result<(f64, f64), Problem> {
    let text = value.get_ref();
    let parts = text.split_once('-');
    let times = parts.and_then(|(from, to)| {
        let to = match to.trim() {
            "24:00" => DAY,
            to => clock_time(to)?,
        };
        Some((clock_time(from)?, to))
    });
    match times {
        Some((from, to)) if from != to => Ok((from, to)),
        _ => {
            let problem = format!("must be two times such as \"08:00-18:00\", is {text:?}");
            Err(wrong("hours", value, problem))
        }
    }
}

pub(super) fn lane(value: Option<Spanned<String>>) -> Result<Lane, Problem> {
    let Some(value) = value else {
        return Ok(Lane::default());
    };
    match value.get_ref().as_str() {
        "interactive" => Ok(Lane::Interactive),
        "bulk" => Ok(Lane::Bulk),
        other => {
            let problem = format!("must be \"interactive\" or \"bulk\", is {other:?}");
            Err(wrong("lane", &value, problem))
        }
    }
}

/// A name that can be printed.
pub(super) fn plain(
    field: &str,
    value: Option<Spanned<String>>,
) -> Result<Option<String>, Problem> {
    let Some(value) = value else {
        return Ok(None);
    };
    let text = value.get_ref().trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(wrong(field, &value, "must be a name of plain characters"));
    }
    if text.chars().count() > LONGEST_NAME {
        let problem = format!("must have at most {LONGEST_NAME} characters");
        return Err(wrong(field, &value, problem));
    }
    // It would be printed.
    if text.starts_with("pat-") || text.starts_with("Bearer ") {
        let problem = "must be a name of yours; what is there looks like a token itself";
        return Err(wrong(field, &value, problem));
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read() {
        assert_eq!(clock_time("02:30"), Some(9_000.0));
        assert_eq!(clock_time("2:00"), Some(7_200.0));
        for text in ["24:00", "12:60", "12", "+1:00", "1:2:3", "", ":"] {
            assert_eq!(clock_time(text), None, "{text}");
        }
    }
}
