//! What stands in a line.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::event::{EventKind, QuotaEvent};
use crate::plan::{Limit, Plan, Rule, Scope};
use crate::report::Report;

/// `event` of the line that begins a log.
pub(super) const STARTED: &str = "started";
/// `event` of a line with a report.
pub(super) const REPORT: &str = "report";
/// What is said of a line that makes no sense is no longer, in characters: it may quote the line.
const LONGEST_PROBLEM: usize = 200;

/// One line of a log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Line {
    /// The file it stands in; `-` for what is no file.
    pub file: Arc<Path>,
    /// Its number in the file, from 1.
    pub number: u64,
    /// The line as it stands there, without its end.
    pub text: String,
    /// What it says.
    pub entry: Entry,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Entry {
    /// A program has begun to write, or goes on in a new file.
    Started(Started),
    /// Something has happened.
    Event(QuotaEvent),
    /// How quota stood.
    Report(Box<Report>),
}

impl Entry {
    /// When.
    pub fn at(&self) -> SystemTime {
        match self {
            Self::Started(started) => started.at,
            Self::Event(event) => event.at,
            Self::Report(report) => report.at,
        }
    }

    /// `event` of the line: the name of the kind of an event, `started` or `report`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started(_) => STARTED,
            Self::Event(event) => event.kind.as_str(),
            Self::Report(_) => REPORT,
        }
    }

    /// All names that a line may have.
    pub fn names() -> impl Iterator<Item = &'static str> {
        EventKind::NAMES.into_iter().chain([STARTED, REPORT])
    }
}

/// What a log says first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Started {
    /// When.
    #[serde(with = "crate::serial::since_1970")]
    pub at: SystemTime,
    /// Whether the same program has written the file before, and only goes on in this one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
    /// The name of the plan.
    pub api: String,
    /// The limits of the plan, in its order.
    pub limits: Vec<PlannedLimit>,
}

impl Started {
    pub(super) fn new(at: SystemTime, plan: &Plan) -> Self {
        Self {
            at,
            continued: false,
            api: plan.name().to_owned(),
            limits: plan.limits().iter().map(PlannedLimit::from).collect(),
        }
    }
}

/// One limit of a plan, as a log tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedLimit {
    /// Its name.
    pub limit: String,
    /// Who shares it.
    pub scope: Scope,
    /// Requests per window or day.
    pub quota: u32,
    /// The length of the window; `None` for a daily pool.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::serial::maybe_seconds"
    )]
    pub window: Option<Duration>,
    /// The zone at whose midnight a daily pool is filled again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Which classes of requests it governs; `None` means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<Cow<'static, str>>>,
}

impl From<&Limit> for PlannedLimit {
    fn from(limit: &Limit) -> Self {
        let (window, zone) = match limit.rule() {
            Rule::Rolling { window, .. } => (Some(*window), None),
            Rule::Calendar { zone, .. } => (None, Some(zone.to_string())),
        };
        let names = |classes: &[crate::plan::RouteClass]| {
            let names = classes.iter().map(|class| class.as_str().into());
            names.collect()
        };
        Self {
            limit: limit.name().to_owned(),
            scope: limit.get_scope(),
            quota: limit.rule().quota(),
            window,
            zone,
            classes: limit.classes().map(names),
        }
    }
}

/// A line, or a file, that could not be read.
#[derive(Debug)]
pub struct ReadError {
    pub(super) file: Arc<Path>,
    pub(super) line: u64,
    pub(super) problem: String,
    pub(super) source: Option<io::Error>,
}

impl ReadError {
    /// The file; `-` for what is no file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The number of the line in the file, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What is wrong with it. Of the line itself no more than 200 characters are quoted, and those that steer a terminal never.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.problem)
    }
}

impl Error for ReadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_ref()?;
        Some(source)
    }
}

/// What a line turned out to be.
pub(super) enum Parsed {
    Entry(Entry),
    /// An event of a later version.
    Unknown,
    /// The program ended in the middle of it.
    Torn,
    Wrong(String),
}

pub(super) fn parse(line: &[u8]) -> Parsed {
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && line.starts_with(b"{") => {
            return Parsed::Torn;
        }
        Err(_) => return Parsed::Wrong("is not UTF-8".to_owned()),
    };
    // Nearly all lines are events.
    let error = match serde_json::from_str(text) {
        Ok(event) => return Parsed::Entry(Entry::Event(event)),
        Err(error) => error,
    };
    match error.classify() {
        Category::Eof if text.starts_with('{') => return Parsed::Torn,
        Category::Data if !text.trim_start().starts_with('{') => {
            return Parsed::Wrong("is no JSON object".to_owned());
        }
        Category::Data => {}
        Category::Eof | Category::Io | Category::Syntax => return wrong(text, &error),
    }

    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        event: Cow<'a, str>,
    }
    let read = match serde_json::from_str::<Head<'_>>(text) {
        Ok(head) if head.event == STARTED => serde_json::from_str(text).map(Entry::Started),
        Ok(head) if head.event == REPORT => serde_json::from_str(text).map(Entry::Report),
        Ok(head) if !EventKind::NAMES.contains(&&*head.event) => return Parsed::Unknown,
        Ok(_) => Err(error),
        Err(error) => Err(error),
    };
    read.map_or_else(|error| wrong(text, &error), Parsed::Entry)
}

fn wrong(text: &str, error: &serde_json::Error) -> Parsed {
    let whole = error.to_string();
    // The line that is meant is the first of one.
    let problem = whole
        .rsplit_once(" at line ")
        .map_or(&*whole, |(problem, _)| problem);
    let printable = |character: char| match character.is_control() {
        true => '\u{fffd}',
        false => character,
    };
    let problem: String = problem
        .chars()
        .map(printable)
        .take(LONGEST_PROBLEM)
        .collect();
    Parsed::Wrong(match error.column() {
        column if (1..text.len()).contains(&column) => format!("{problem}, at column {column}"),
        _ => problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &[u8]) -> String {
        match parse(line) {
            Parsed::Wrong(problem) => problem,
            Parsed::Entry(entry) => panic!("is read as {entry:?}"),
            Parsed::Unknown => panic!("is skipped"),
            Parsed::Torn => panic!("is taken for torn"),
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_a_few_printable_words() {
        let missing =
            br#"{"at":1.5,"event":"paused","limit":"burst","class":"general","status":429}"#;
        assert_eq!(problem(missing), "missing field `lasts`");
        assert_eq!(problem(b"[]"), "is no JSON object");
        let type_of = br#"{"event":"started","at":"noon","api":"x","limits":[]}"#;
        let text = problem(type_of);
        assert!(
            text.contains("\"noon\"") && text.contains("column"),
            "{text}"
        );
        let long = format!(
            r#"{{"event":"started","at":1,"api":2,"limits":"{}"}}"#,
            "\u{1b}[2J".repeat(9)
        );
        assert!(
            problem(long.as_bytes())
                .chars()
                .all(|character| !character.is_control())
        );
        let long = format!(r#"{{"event":"started","at":"{}"}}"#, "x".repeat(100_000));
        assert!(problem(long.as_bytes()).len() < 300);
        assert_eq!(
            problem(b"{\"event\":\"missed\",\"at\":1,\"events\":\"\xff\xff\"}"),
            "is not UTF-8"
        );
        assert!(problem(&b"{\"a\":".repeat(1_000)).contains("recursion limit"));
    }

    #[test]
    fn an_event_of_a_later_version_is_told_from_a_known_one_that_is_wrong() {
        assert!(matches!(
            parse(br#"{"at":1,"event":"tunnelled","depth":3}"#),
            Parsed::Unknown
        ));
        assert!(problem(br#"{"at":1,"event":"missed","depth":3}"#).contains("events"));
        assert!(problem(br#"{"at":1}"#).contains("event"));
    }

    #[test]
    fn a_line_is_torn_wherever_it_ends() {
        let line = r#"{"at":1.5,"token":"00112233445566778899aabbccddeeff","event":"heavy_hint","route":"s","hint":"für"}"#;
        for end in 1..line.len() {
            assert!(
                matches!(parse(&line.as_bytes()[..end]), Parsed::Torn),
                "{end}"
            );
        }
        assert!(matches!(parse(line.as_bytes()), Parsed::Entry(_)));
    }
}
