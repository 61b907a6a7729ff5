//! A log holds what has happened, whatever happens to the disk and to the program, and is read back whatever stands in it.

#[path = "../common/mod.rs"]
mod common;
mod read;
mod write;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tower::{Layer, ServiceExt};
use tower_quota::record::{Entry, Line, Reader};
use tower_quota::{Quota, TokenLimitLayer};

/// A directory of its own for each test, removed at its end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower-quota-record-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let names = entries.map(|entry| name(entry).into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A quota with one slot an hour.
pub(crate) fn scarce() -> Quota {
    Quota::new(common::burst(1, common::HOUR))
}

/// Makes so many events, one after the other: requests that may not wait.
pub(crate) async fn happen(quota: &Quota, events: usize) {
    let api = TokenLimitLayer::new(quota).max_wait(Duration::ZERO);
    let api = api.layer(common::Server::fine());
    for _ in 0..events {
        let answer = api.clone().oneshot(common::get("one")).await;
        if answer.is_ok() {
            // The first one has taken the slot.
            let answer = api.clone().oneshot(common::get("one")).await;
            assert!(answer.is_err());
        }
    }
}

pub(crate) fn lines(path: &Path) -> Vec<Line> {
    let lines = Reader::open(path).unwrap();
    lines.map(|line| line.unwrap()).collect()
}

/// The names of the lines.
pub(crate) fn named(lines: &[Line]) -> Vec<&'static str> {
    lines.iter().map(|line| line.entry.name()).collect()
}

pub(crate) fn count(lines: &[Line], name: &str) -> usize {
    lines
        .iter()
        .filter(|line| line.entry.name() == name)
        .count()
}

pub(crate) fn is_started(line: &Line) -> bool {
    matches!(line.entry, Entry::Started(_))
}
