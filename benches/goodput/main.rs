//! How much of a quota is used, and how often the server refuses: ours against other limiters, and in every situation that it is
//! made for.
//!
//! ```text
//! cargo bench --bench goodput                   all tables, and target/goodput.svg
//! cargo bench --bench goodput -- peers stack    only these; the names are in the headlines
//! cargo bench --bench goodput -- --json         the same as one JSON object
//! cargo bench --bench goodput -- --million      a million requests per scenario with the network floor on
//! ```
//!
//! Every run has its own runtime in paused time and its own simulator with true rolling windows.
//!
//! Ends with exit code 1 when ours misses one of its targets; what was missed is said on the error output.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/limiters.rs"]
mod limiters;

#[path = "../support/drive.rs"]
mod drive;

#[path = "../support/tables.rs"]
mod tables;

mod chart;
mod daily;
mod learned;
mod million;
mod mixed;
mod peers;
mod restart;
mod search;
mod stack;
mod strangers;

use std::process::ExitCode;

use tables::{Named, Table};

/// Name on the command line, and what makes the table.
const TABLES: [Named; 8] = [
    ("peers", peers::table),
    ("stack", stack::table),
    ("strangers", strangers::table),
    ("restart", restart::table),
    ("search", search::table),
    ("mixed", mixed::table),
    ("daily", daily::table),
    ("learned", learned::table),
];

fn main() -> ExitCode {
    let failures = if support::has_flag("--million") {
        million::print()
    } else {
        // The oldest table stands at the top.
        tables::print("goodput", &TABLES, "peers")
    };
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}
