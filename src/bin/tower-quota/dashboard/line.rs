//! The lines of a log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use tower_quota::event::QuotaEvent;
use tower_quota::report::Report;

/// Longer lines are skipped.
pub(super) const LONGEST: usize = 1024 * 1024;

/// A line that the page can use.
#[derive(Debug)]
pub(super) enum Line {
    /// A file begins.
    Started { at: SystemTime, api: String },
    /// How quota stands.
    Report(Box<Report>),
    /// Something that happened.
    Event(QuotaEvent),
}

#[derive(Deserialize)]
struct Head {
    event: String,
    at: f64,
    #[serde(default)]
    api: String,
}

impl Line {
    /// `None` for a line that says nothing about quota as a whole.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn read(line: &[u8]) -> Result<Option<Self>, String> {
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        let head: Head = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let line = match &*head.event {
            "request" => return Ok(None),
            "started" => {
                let since = Duration::try_from_secs_f64(head.at).ok();
                let at = since.and_then(|since| UNIX_EPOCH.checked_add(since));
                let at = at.ok_or("`at` is no time")?;
                let api = head.api;
                return Ok(Some(Self::Started { at, api }));
            }
            "report" => serde_json::from_slice(line).map(|report| Self::Report(Box::new(report))),
            _ => serde_json::from_slice(line).map(Self::Event),
        };
        line.map(Some).map_err(|error| error.to_string())
    }
}

/// Puts lines together from pieces. It keeps at most one line of [`LONGEST`] bytes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    /// The line is too long; the rest of it is thrown away.
    is_lost: bool,
}

impl Lines {
    /// Hands each line that ends in `piece` to `take`; `None` stands for one that is too long.
    pub(super) fn feed(&mut self, piece: &[u8], mut take: impl FnMut(Option<&[u8]>)) {
        let mut parts = piece.split(|byte| *byte == b'\n');
        let mut part = parts.next().unwrap_or_default();
        for next in parts {
            self.add(part);
            self.end(&mut take);
            part = next;
        }
        self.add(part);
    }

    /// There is no more: the last line may lack its end.
    pub(super) fn finish(&mut self, mut take: impl FnMut(Option<&[u8]>)) {
        if self.is_lost || !self.begun.is_empty() {
            self.end(&mut take);
        }
    }

    fn add(&mut self, part: &[u8]) {
        self.is_lost |= self.begun.len() + part.len() > LONGEST;
        if self.is_lost {
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    fn end(&mut self, take: &mut impl FnMut(Option<&[u8]>)) {
        take((!self.is_lost).then_some(&*self.begun));
        self.begun.clear();
        self.is_lost = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_whatever_the_pieces_are() {
        let text = b"one\ntwo\n\nthree";
        for size in 1..=text.len() {
            let (mut lines, mut got) = (Lines::default(), Vec::new());
            let mut take = |line: Option<&[u8]>| got.push(line.map(<[u8]>::to_vec));
            for piece in text.chunks(size) {
                lines.feed(piece, &mut take);
            }
            lines.finish(&mut take);
            let expected = ["one", "two", "", "three"].map(|line| Some(line.as_bytes().to_vec()));
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_alone() {
        let (mut lines, mut got) = (Lines::default(), Vec::new());
        let mut take = |line: Option<&[u8]>| got.push(line.map(<[u8]>::len));
        lines.feed(&vec![b'x'; LONGEST], &mut take);
        lines.feed(b"\n", &mut take);
        lines.feed(&vec![b'x'; LONGEST], &mut take);
        lines.feed(b"x\nshort\n", &mut take);
        assert_eq!(got, [Some(LONGEST), None, Some(5)]);
    }
}
