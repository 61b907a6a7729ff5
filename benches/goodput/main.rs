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

mod chart;
mod daily;
mod drive;
mod learned;
mod million;
mod mixed;
mod peers;
mod restart;
mod search;
mod stack;
mod strangers;

use std::process::ExitCode;

use serde_json::{Value, json};

/// What one table has to say.
struct Table {
    text: String,
    json: Value,
    /// Targets that were missed.
    failures: Vec<String>,
}

type Make = fn() -> Table;

/// Name on the command line, and what makes the table.
const TABLES: [(&str, Make); 8] = [
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
        print_tables()
    };
    for failure in &failures {
        eprintln!("FAILED: {failure}");
    }
    ExitCode::from(u8::from(!failures.is_empty()))
}

fn print_tables() -> Vec<String> {
    let named = |(name, _): &&(&str, _)| support::has_flag(name);
    let all = TABLES.iter().filter(named).count() == 0;
    let in_json = support::has_flag("--json");
    let mut failures = Vec::new();
    let mut gap = "";
    let mut whole = json!({ "bench": "goodput" });
    for (name, table) in TABLES.iter().filter(|table| all || named(table)) {
        let table = table();
        if in_json {
            match table.json {
                // The oldest table stands at the top.
                Value::Object(fields) if *name == "peers" => {
                    fields
                        .into_iter()
                        .for_each(|(field, value)| whole[field] = value);
                }
                json => whole[*name] = json,
            }
        } else {
            print!("{gap}{}", table.text);
            gap = "\n\n";
        }
        failures.extend(table.failures);
    }
    if in_json {
        whole["passed"] = failures.is_empty().into();
        println!("{whole}");
    }
    failures
}
