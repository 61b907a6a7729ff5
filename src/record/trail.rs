//! Which files a log consists of.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// What tells a file from another that has had the same name.
pub(super) type FileId = (u64, u64);

/// The `nth` predecessor of a log: `log.jsonl.1` is the youngest.
pub(super) fn predecessor(path: &Path, nth: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{nth}"));
    name.into()
}

/// A file of a log, open.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) id: FileId,
}

impl Part {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = File::open(&path)?;
        let id = id(&file.metadata()?);
        Ok(Self { path, file, id })
    }
}

/// The files of the log at `path`, oldest first: all of them, or those younger than `known`.
///
/// They are opened from the youngest on: one that is renamed meanwhile is met twice, and not missed.
pub(super) fn parts(path: &Path, known: Option<FileId>) -> io::Result<Vec<Part>> {
    let mut parts = vec![Part::open(path.to_owned())?];
    if Some(parts[0].id) == known {
        return Ok(Vec::new());
    }
    for nth in 1.. {
        let part = match Part::open(predecessor(path, nth)) {
            Ok(part) => part,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        if Some(part.id) == known {
            break;
        }
        if parts.iter().all(|met| met.id != part.id) {
            parts.push(part);
        }
    }
    parts.reverse();
    Ok(parts)
}

#[cfg(unix)]
fn id(metadata: &Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Elsewhere the standard library tells no more than when it was made.
#[cfg(not(unix))]
fn id(metadata: &Metadata) -> FileId {
    let created = metadata.created().ok();
    let since = created.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or((0, 0), |since| {
        (since.as_secs(), since.subsec_nanos().into())
    })
}
