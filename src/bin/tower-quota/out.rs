//! How answers are printed: tables for people, in colours only on a terminal, or JSON for programs.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use serde::Serialize;

use super::error::CliError;

/// Tables are no wider.
pub(crate) const WIDTH: u16 = 80;

const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const HEADING: Style = Style::new().bold();

/// What the answer means for a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    Warning,
    /// Stopped with Ctrl-C.
    Stopped,
}

/// Where answers go.
pub(crate) struct Out {
    json: bool,
    stream: anstream::AutoStream<io::Stdout>,
}

impl Out {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            stream: anstream::AutoStream::auto(io::stdout()),
        }
    }

    /// Whether the answer is for a program.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The answer for a program, on one line.
    pub(crate) fn json(&mut self, answer: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.stream, answer).map_err(io::Error::from)?;
        Ok(writeln!(self.stream)?)
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<(), CliError> {
        Ok(writeln!(self.stream, "{text}")?)
    }

    pub(crate) fn heading(&mut self, text: &str) -> Result<(), CliError> {
        for line in wrapped(text, usize::from(WIDTH)) {
            writeln!(self.stream, "{HEADING}{line}{HEADING:#}")?;
        }
        Ok(())
    }

    /// Sentences, on as many lines as they need.
    pub(crate) fn paragraph(&mut self, text: &str) -> Result<(), CliError> {
        for line in wrapped(text, usize::from(WIDTH)) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// Sentences that belong to a mark such as `1.`, which stands before the first line alone.
    pub(crate) fn item(&mut self, mark: &str, text: &str) -> Result<(), CliError> {
        self.marked(mark, Style::new(), text)
    }

    /// What must not be overlooked.
    pub(crate) fn warning(&mut self, text: &str) -> Result<(), CliError> {
        self.marked("warning:", WARNING, text)
    }

    fn marked(&mut self, mark: &str, style: Style, text: &str) -> Result<(), CliError> {
        let indent = mark.chars().count() + 1;
        let lines = wrapped(text, usize::from(WIDTH) - indent);
        for (nth, line) in lines.iter().enumerate() {
            match nth {
                0 => writeln!(self.stream, "{style}{mark}{style:#} {line}")?,
                _ => writeln!(self.stream, "{:indent$}{line}", "")?,
            }
        }
        Ok(())
    }

    pub(crate) fn table(&mut self, table: &Table) -> Result<(), CliError> {
        // Without the spaces at the ends of lines.
        let text = table.to_string();
        for line in text.lines() {
            writeln!(self.stream, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// Something beside the answer, on the error stream.
    pub(crate) fn note(&mut self, text: &str) {
        // There is nowhere left to say that this fails.
        let _ = writeln!(anstream::AutoStream::auto(io::stderr()), "note: {text}");
    }

    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.stream.flush()?)
    }

    /// Why there is no answer: for people on the error stream, for programs as the answer.
    pub(crate) fn failed(&mut self, error: &CliError) {
        #[derive(Serialize)]
        struct Failed {
            error: String,
        }
        // There is nowhere left to say that this fails.
        if self.json {
            let error = error.to_string();
            let _ = self.json(&Failed { error });
            return;
        }
        let mut stream = anstream::AutoStream::auto(io::stderr());
        let _ = writeln!(stream, "{ERROR}error:{ERROR:#} {error}");
    }
}

/// A table with these headings. Columns whose heading begins with a space are numbers, and stand at the right.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset("     --            ")
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(headings.iter().map(|heading| heading.trim_start()));
    for (nth, heading) in headings.iter().enumerate() {
        let Some(column) = table.column_mut(nth) else {
            continue;
        };
        column.set_padding((0, 2));
        if heading.starts_with(' ') {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::ContentWidth);
        } else if nth == 0 {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(36)));
        }
    }
    table
}

/// The text in lines of at most `width` characters, broken between words, and within those that are longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for word in text.split(' ') {
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        } else if used > 0 {
            line.push(' ');
            used += 1;
        }
        for letter in word.chars() {
            if used == width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(letter);
            used += 1;
        }
    }
    lines.push(line);
    lines
}

/// A number with its thousands apart, as in `29,376`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share from 0 to 1 in per cent, as in `4.7 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 1_000.0 {
        return format!("{percent:.1} %");
    }
    let sign = if percent < 0.0 { "-" } else { "" };
    format!("{sign}{} %", grouped(percent.abs().round() as u64))
}

/// Text from elsewhere without what steers a terminal.
pub(crate) fn printable(text: &str) -> String {
    let shown = |character: char| match character.is_control() {
        true => '\u{fffd}',
        false => character,
    };
    text.chars().map(shown).collect()
}
