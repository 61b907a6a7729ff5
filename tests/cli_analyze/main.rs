//! What `tower-quota analyze` says: figures that can be checked by hand, the same ones for people and programs, and what is wrong with
//! a file, where.

#[path = "../common/logged.rs"]
mod logged;

mod log;
mod plan;

use serde_json::Value;

#[track_caller]
pub(crate) fn near(value: &Value, expected: f64) {
    let value = value.as_f64().expect("a number");
    let far = (value - expected).abs();
    assert!(far < 1e-9, "{value} is not {expected}");
}

/// No line is wider than a terminal.
#[track_caller]
pub(crate) fn fits(text: &str) {
    for line in text.lines() {
        let wide = line.chars().count();
        assert!(wide <= 80, "{wide} columns: {line}");
    }
}
