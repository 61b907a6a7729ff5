//! Several tables in one bench.

use serde_json::{Value, json};

use crate::support;

/// What one table has to say.
pub(crate) struct Table {
    pub(crate) text: String,
    pub(crate) json: Value,
    /// Targets that were missed.
    pub(crate) failures: Vec<String>,
}

/// Name on the command line, and what makes the table.
pub(crate) type Named = (&'static str, fn() -> Table);

/// Prints those that are named on the command line, or all; gives the targets that were missed. In JSON the fields of the table
/// called `top` stand at the top.
pub(crate) fn print(bench: &str, tables: &[Named], top: &str) -> Vec<String> {
    let named = |(name, _): &&Named| support::has_flag(name);
    let all = tables.iter().filter(named).count() == 0;
    let in_json = support::has_flag("--json");
    let mut failures = Vec::new();
    let mut gap = "";
    let mut whole = json!({ "bench": bench });
    for (name, table) in tables.iter().filter(|table| all || named(table)) {
        let table = table();
        if in_json {
            match table.json {
                Value::Object(fields) if *name == top => {
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
