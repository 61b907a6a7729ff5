//! Reading a log.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::line::{Line, Parsed, ReadError, parse};
use super::trail::{FileId, Part, parts};

/// Nothing that is written by a [`Recorder`](super::Recorder) is longer, in bytes.
const LONGEST_LINE: usize = 1 << 20;

/// Reads a log, line by line: an iterator over [`Line`]s, each in the order in which it was written.
///
/// * A line that makes no sense is an error that names file and line; reading goes on with the next one. A line of more than
///   1 MiB is one of them, and not kept in memory.
/// * Events that only later versions know are skipped and [counted](Self::unknown), and so are lines in the middle of
///   which a program [ended](Self::torn).
/// * A file that cannot be read any further is an error, too; the next one is then read.
///
/// It blocks the thread while it reads.
pub struct Reader {
    /// The file that is being read.
    part: Option<Source>,
    /// Those after it.
    others: VecDeque<Source>,
    /// The log to go on with.
    follows: Option<PathBuf>,
    /// What has been read of a line so far.
    line: Vec<u8>,
    is_too_long: bool,
    unknown: u64,
    torn: u64,
}

struct Source {
    file: Arc<Path>,
    input: Box<dyn BufRead + Send>,
    id: Option<FileId>,
    lines: u64,
}

/// How far reading came.
enum Reached {
    EndOfLine,
    EndOfFile,
}

impl Reader {
    /// Reads the log at `path`, with the predecessors of the file that are still there (`log.jsonl.2`, `log.jsonl.1`,
    /// then `log.jsonl`).
    ///
    /// # Errors
    ///
    /// When one of the files cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let parts = parts(path.as_ref(), None)?;
        Ok(Self::from_sources(parts.into_iter().map(Source::from)))
    }

    /// Reads what is no file, or a part of one; `name` is what errors call it.
    pub fn new(input: impl BufRead + Send + 'static, name: impl AsRef<Path>) -> Self {
        let source = Source {
            file: name.as_ref().into(),
            input: Box::new(input),
            id: None,
            lines: 0,
        };
        Self::from_sources([source])
    }

    /// The same as [`open`](Self::open), and goes on with what is written later: [`None`] then says that there is nothing new, and
    /// asking again later gives what has come since, also in the files that have come after this one. A line whose end is not yet
    /// written is not given before it is.
    ///
    /// # Errors
    ///
    /// When one of the files cannot be opened.
    pub fn follow(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut reader = Self::open(&path)?;
        reader.follows = Some(path.as_ref().to_owned());
        Ok(reader)
    }

    fn from_sources(sources: impl IntoIterator<Item = Source>) -> Self {
        Self {
            part: None,
            others: sources.into_iter().collect(),
            follows: None,
            line: Vec::new(),
            is_too_long: false,
            unknown: 0,
            torn: 0,
        }
    }

    /// How many lines were skipped because only later versions know their events.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// How many lines were skipped because a program ended in the middle of them.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Reads to the end of the line or of the file.
    fn read(&mut self) -> io::Result<Reached> {
        let Some(source) = &mut self.part else {
            return Ok(Reached::EndOfFile);
        };
        loop {
            let piece = match source.input.fill_buf() {
                Ok(piece) => piece,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = piece.iter().position(|byte| *byte == b'\n');
            let text = &piece[..end.unwrap_or(piece.len())];
            if self.line.len() + text.len() > LONGEST_LINE {
                self.is_too_long = true;
                self.line = Vec::new();
            }
            if !self.is_too_long {
                self.line.extend_from_slice(text);
            }
            let read = text.len() + usize::from(end.is_some());
            source.input.consume(read);
            match end {
                Some(_) => return Ok(Reached::EndOfLine),
                None if read == 0 => return Ok(Reached::EndOfFile),
                None => {}
            }
        }
    }

    /// What the line says that has been read; `None` for one that is skipped.
    fn take_line(&mut self) -> Option<Result<Line, ReadError>> {
        let line = std::mem::take(&mut self.line);
        let is_too_long = std::mem::take(&mut self.is_too_long);
        let source = self.part.as_mut()?;
        source.lines += 1;
        let problem = if is_too_long {
            format!("is longer than {LONGEST_LINE} bytes")
        } else if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        } else {
            match parse(&line) {
                Parsed::Entry(entry) => {
                    // The parser has looked at it already: nothing is replaced.
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    return Some(Ok(Line {
                        file: source.file.clone(),
                        number: source.lines,
                        text,
                        entry,
                    }));
                }
                Parsed::Unknown => {
                    self.unknown += 1;
                    return None;
                }
                Parsed::Torn => {
                    self.torn += 1;
                    return None;
                }
                Parsed::Wrong(problem) => problem,
            }
        };
        Some(Err(source.error(source.lines, problem, None)))
    }

    /// Looks for files that have come after the last one. Whether there is nothing to be read at present.
    fn is_waiting(&mut self) -> io::Result<bool> {
        let Some(path) = &self.follows else {
            return Ok(false);
        };
        let known = self.part.as_ref().and_then(|source| source.id);
        let parts = match parts(path, known) {
            Ok(parts) => parts,
            // Between two names.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        self.others.extend(parts.into_iter().map(Source::from));
        Ok(self.others.is_empty())
    }
}

impl Iterator for Reader {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.part.is_none() {
                self.part = Some(self.others.pop_front()?);
            }
            let reached = match (self.read(), &self.others) {
                (Ok(Reached::EndOfFile), others) if others.is_empty() => match self.is_waiting() {
                    Ok(true) => return None,
                    // The last one may have grown before it was renamed: it is read to its end once more.
                    Ok(false) if !self.others.is_empty() => continue,
                    Ok(false) => Ok(Reached::EndOfFile),
                    Err(error) => Err(error),
                },
                (reached, _) => reached,
            };
            let line = match reached {
                Ok(Reached::EndOfLine) => self.take_line(),
                Ok(Reached::EndOfFile) => {
                    let line = match self.line.is_empty() && !self.is_too_long {
                        true => None,
                        false => self.take_line(),
                    };
                    self.part = None;
                    line
                }
                Err(error) => {
                    (self.line, self.is_too_long) = (Vec::new(), false);
                    let source = self.part.take()?;
                    let problem = format!("cannot be read: {error}");
                    Some(Err(source.error(source.lines + 1, problem, Some(error))))
                }
            };
            if line.is_some() {
                return line;
            }
        }
    }
}

impl Source {
    fn error(&self, line: u64, problem: String, source: Option<io::Error>) -> ReadError {
        ReadError {
            file: self.file.clone(),
            line,
            problem,
            source,
        }
    }
}

impl From<Part> for Source {
    fn from(part: Part) -> Self {
        Self {
            file: part.path.into(),
            input: Box::new(BufReader::with_capacity(64 << 10, part.file)),
            id: Some(part.id),
            lines: 0,
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("file", &self.part.as_ref().map(|source| &source.file))
            .field("unknown", &self.unknown)
            .field("torn", &self.torn)
            .finish_non_exhaustive()
    }
}
