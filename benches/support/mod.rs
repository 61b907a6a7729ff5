//! What the benches share.

// Every bench compiles its own copy and uses a part of it.
#![allow(dead_code)]

use std::path::PathBuf;

/// Whether `flag` was given after `cargo bench --bench name --`.
pub(crate) fn has_flag(flag: &str) -> bool {
    std::env::args().skip(1).any(|argument| argument == flag)
}

/// Cargo's target directory, wherever it is: a bench lies in `target/release/deps`.
pub(crate) fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().ok();
    exe.as_deref()
        .and_then(|exe| exe.ancestors().nth(3))
        .map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// A table for people: the first column to the left, all others to the right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let first = format!("{:<1$}", cells[0], widths[0]);
        let others = cells.iter().zip(&widths).skip(1);
        let line = others.fold(first, |line, (cell, width)| {
            format!("{line}  {cell:>width$}")
        });
        line + "\n"
    };
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1)) + "\n";
    let lines = rows.iter().map(|row| line(row));
    [line(&header), rule].into_iter().chain(lines).collect()
}

/// The same, printed.
pub(crate) fn print_table(header: &[&str], rows: &[Vec<String>]) {
    print!("{}", table(header, rows));
}

/// A share in percent, in which not a single one is told from nearly none.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    match part {
        0 => "0 %".to_owned(),
        _ => format!("{:.2} %", 100.0 * part as f64 / whole as f64),
    }
}

/// Bytes in memory, where the system tells.
pub(crate) fn resident() -> Option<u64> {
    /// Of every Linux that this is likely to run on.
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<u64>().ok()? * PAGE)
}

/// What this program prints as JSON when it is started once more with `flag`: memory is measured in a process of its own, because an
/// allocator gives little back, and what one row has freed would be used by the next.
pub(crate) fn of_new_process(flag: &str) -> serde_json::Value {
    let exe = std::env::current_exe().expect("this is a program");
    let output = std::process::Command::new(exe).arg(flag).output();
    let output = output.expect("it can be started again");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}
