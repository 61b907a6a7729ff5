//! Whether what a log tells follows from the answers in it.
//!
//! The answers are given once more to the layers that count and note them, in virtual time at the moments of the log, and the
//! events that come out are compared with those of the log. Nothing is held up ([`enforce(false)`]): when a request was sent is
//! known from the log.
//!
//! Three things are taken from the log, because no answer in it tells them: how long a pause is, to which a jitter was added; which
//! limit the body of a refusal named; and, from whether it tells of pauses at all, whether the program had more than the layer that counts.
//! What a daily pool lost to slots that were taken and given back is not known: such a pool may be used up a little later here.
//!
//! [`enforce(false)`]: tower_quota::quota::QuotaBuilder::enforce

mod answers;
mod compare;
mod run;

use std::path::Path;

use serde::Serialize;
use tower_quota::record::{Entry, Reader};

use self::compare::{Difference, compare};
use self::run::Program;
use super::demand::wrong_line;
use crate::error::CliError;
use crate::out::{self, Out, Verdict};

/// So many differences are printed for people.
const SHOWN: usize = 20;

pub(super) fn run(path: &Path, out: &mut Out) -> Result<Verdict, CliError> {
    let mut answer = Answer::default();
    for program in programs(path)? {
        let started = program.started.clone();
        answer.begins_in_the_middle |= started.is_none_or(|started| started.continued);
        answer.answers += program.attempts.len();
        answer.events += program.told.len();
        let told = program.told.clone();
        let played = program.play(path)?;
        answer.differences.extend(compare(&told, &played));
    }
    answer.print(out)?;
    Ok(match answer.differences.is_empty() {
        true => Verdict::Fine,
        false => Verdict::Warning,
    })
}

/// The log, cut where a program began to write. Where it does not say so, it begins in the middle.
fn programs(path: &Path) -> Result<Vec<Program>, CliError> {
    let reader = Reader::open(path).map_err(|error| CliError::file(path, error))?;
    let mut programs: Vec<Program> = Vec::new();
    for line in reader {
        let line = line.map_err(|error| wrong_line(&error))?;
        let begins = matches!(&line.entry, Entry::Started(started) if !started.continued);
        if begins || programs.is_empty() {
            programs.push(Program::default());
        }
        if let Some(program) = programs.last_mut() {
            program.read(line);
        }
    }
    Ok(programs)
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    answers: usize,
    /// Events of the log that follow from answers.
    events: usize,
    begins_in_the_middle: bool,
    differences: Vec<Difference>,
}

impl Answer {
    fn print(&self, out: &mut Out) -> Result<(), CliError> {
        if out.is_json() {
            return out.json(self);
        }
        let answers = out::grouped(self.answers as u64);
        let events = out::grouped(self.events as u64);
        out.paragraph(&format!(
            "{answers} answers were played back; the log tells of {events} events that follow from them."
        ))?;
        if self.begins_in_the_middle {
            out.line("It begins in the middle of a program's life: what was before is not known.")?;
        }
        if self.differences.is_empty() {
            return out.line("The same events came out, in the same order.");
        }
        let count = out::grouped(self.differences.len() as u64);
        out.warning(&format!("{count} differences:"))?;
        for difference in self.differences.iter().take(SHOWN) {
            out.line(&out::printable(&difference.to_string()))?;
        }
        Ok(())
    }
}
