//! What can go wrong, and where.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) enum CliError {
    /// A file could not be read or written.
    File { path: PathBuf, error: io::Error },
    /// A file makes no sense.
    Input {
        path: PathBuf,
        /// Counted from 1; `None` where it is no single line's fault.
        line: Option<usize>,
        problem: String,
    },
    /// An argument makes no sense.
    Argument { name: &'static str, problem: String },
    /// The answer could not be printed.
    Output(io::Error),
    /// Something else failed.
    Other(String),
}

impl CliError {
    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            error,
        }
    }

    pub(crate) fn input(path: &Path, line: Option<usize>, problem: impl Into<String>) -> Self {
        Self::Input {
            path: path.to_owned(),
            line,
            problem: problem.into(),
        }
    }

    pub(crate) fn argument(name: &'static str, problem: impl Into<String>) -> Self {
        Self::Argument {
            name,
            problem: problem.into(),
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::File { error, .. } if error.kind() == io::ErrorKind::NotFound => 2,
            Self::Input { .. } | Self::Argument { .. } => 2,
            Self::File { .. } | Self::Output(_) | Self::Other(_) => 1,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Input {
                path,
                line: Some(line),
                problem,
            } => write!(f, "{}:{line}: {problem}", path.display()),
            Self::Input {
                path,
                line: None,
                problem,
            } => write!(f, "{}: {problem}", path.display()),
            Self::Argument { name, problem } => write!(f, "--{name}: {problem}"),
            Self::Output(error) => write!(f, "cannot print: {error}"),
            Self::Other(problem) => f.write_str(problem),
        }
    }
}

impl From<io::Error> for CliError {
    /// Of printing, which is what fails without a path.
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
