//! Where lines come from when it is not a program that posts them: a file that grows, or the standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::line::{Line, Lines};
use super::programs::Programs;
use crate::error::CliError;

/// So often is looked whether a file has grown.
const LOOK: Duration = Duration::from_millis(250);

/// A log that can be read.
pub(super) struct Log {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    /// It may grow, or another may take its place.
    is_file: bool,
}

impl Log {
    /// # Errors
    ///
    /// When it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let is_file = path != Path::new("-");
        let input: Box<dyn Read + Send> = if is_file {
            let file = File::open(path).map_err(|error| CliError::file(path, error))?;
            if file.metadata().is_ok_and(|of| of.is_dir()) {
                let error = io::Error::from(io::ErrorKind::IsADirectory);
                return Err(CliError::file(path, error));
            }
            Box::new(file)
        } else {
            Box::new(io::stdin())
        };
        Ok(Self {
            path: path.to_owned(),
            input,
            is_file,
        })
    }

    /// Reads to the end.
    ///
    /// # Errors
    ///
    /// When reading fails.
    pub(super) fn read(mut self, programs: &Programs) -> Result<(), CliError> {
        let mut lines = Lines::default();
        self.drain(&mut lines, programs, false)
            .map_err(|error| CliError::file(&self.path, error))?;
        lines.finish(|line| take(line, programs, false));
        Ok(())
    }

    /// Reads to the end and then what is added, on a thread of its own that ends with the program.
    pub(super) fn follow(self, programs: Arc<Programs>) {
        std::thread::spawn(move || self.run(&programs));
    }

    fn run(mut self, programs: &Programs) {
        let mut lines = Lines::default();
        // What comes through a pipe comes now.
        let mut is_new = !self.is_file;
        let ended = loop {
            match self.drain(&mut lines, programs, is_new) {
                Err(error) => break format!("It cannot be read any further: {error}."),
                Ok(()) if !self.is_file => break "The log has ended.".to_owned(),
                Ok(()) => {
                    is_new = true;
                    std::thread::sleep(LOOK);
                }
            }
        };
        lines.finish(|line| take(line, programs, is_new));
        programs.note("", ended);
    }

    /// Reads all that is there.
    fn drain(&mut self, lines: &mut Lines, programs: &Programs, is_new: bool) -> io::Result<()> {
        let mut piece = vec![0; 64 * 1024];
        loop {
            match self.input.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => lines.feed(&piece[..read], |line| take(line, programs, is_new)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn take(line: Option<&[u8]>, programs: &Programs, is_new: bool) {
    match line.map(Line::read) {
        Some(Ok(Some(line))) => programs.take("", line, is_new),
        Some(Ok(None)) => {}
        Some(Err(_)) | None => programs.skip(""),
    }
}
