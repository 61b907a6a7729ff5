//! Where lines come from when it is not a program that posts them: a log that grows, or the standard input.

use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tower_quota::record::Reader;

use super::programs::{Lines, Programs};
use crate::error::CliError;

/// So often is looked whether a log has grown.
const LOOK: Duration = Duration::from_millis(250);

/// A log that can be read.
pub(super) struct Log {
    reader: Reader,
    /// It may grow, or another may take its place.
    grows: bool,
}

impl Log {
    /// # Errors
    ///
    /// When it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let grows = path != Path::new("-");
        let reader = if grows {
            Reader::follow(path).map_err(|error| CliError::file(path, error))?
        } else {
            Reader::new(BufReader::new(io::stdin()), path)
        };
        Ok(Self { reader, grows })
    }

    /// Reads to the end.
    pub(super) fn read(mut self, programs: &Programs) {
        self.drain(programs, false);
    }

    /// Reads to the end and then what is added, on a thread of its own that ends with the program.
    pub(super) fn follow(mut self, programs: Arc<Programs>) {
        std::thread::spawn(move || {
            // What comes through a pipe comes now; of a file only what comes after its end was reached.
            self.drain(&programs, !self.grows);
            while self.grows {
                std::thread::sleep(LOOK);
                self.drain(&programs, true);
            }
            programs.ended("");
        });
    }

    fn drain(&mut self, programs: &Programs, is_new: bool) {
        let mut lines = Lines {
            reader: &mut self.reader,
            is_new,
            is_whole: true,
        };
        programs.read("", &mut lines);
    }
}
