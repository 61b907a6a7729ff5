//! Of a log.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::logged::{Directory, SECRETS, Way, output, program, run};
use crate::{fits, near};

/// A log with so many requests of a route at these times: day, hour, minute.
fn log_of(requests: &[(u64, u64, &str, u64)], days: u64) -> (Directory, PathBuf) {
    // A midnight in UTC.
    const BEGINS: u64 = 1_767_571_200;
    let mut lines: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for &(day, hour, route, count) in requests {
        for nth in 0..count {
            // Half a minute before the request ended, it was wanted; one of ten is a repeat.
            let wanted = (day * 24 + hour) * 3_600 + 60 + nth % 300;
            let at = BEGINS + wanted + 30;
            lines.entry(at).or_default().push(json!({
                "at": at, "token": "0".repeat(31) + "1", "account": "0".repeat(31) + "2", "event": "request",
                "class": if route.ends_with("/search") { "search" } else { "general" },
                "route": route, "lane": "bulk", "attempt": if nth % 10 == 9 { 2 } else { 1 },
                "waited": 29.0, "took": 1.0, "ending": "answered", "status": 200,
            }));
        }
    }
    // Something is seen in every hour.
    for hour in 0..=days * 24 {
        let at = BEGINS + hour * 3_600;
        let seen = json!({"at": at, "event": "missed", "events": 1});
        lines.entry(at).or_default().push(seen);
    }
    let directory = Directory::new();
    let file = directory.log();
    let lines = lines.into_values().flatten();
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    fs::write(&file, text).unwrap();
    (directory, file)
}

fn analyze_log(file: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let log = [
        "analyze",
        "--tier",
        "starter",
        "--log",
        file.to_str().unwrap(),
    ];
    output(program(log).args(arguments))
}

const OWNERS: &str = "GET /crm/v3/owners";
const SEARCH: &str = "POST /crm/v3/objects/contacts/search";

#[test]
fn a_log_of_equal_days_is_told_exactly_route_by_route() {
    let days = (0..12).flat_map(|day| [(day, 8, OWNERS, 1_000), (day, 9, SEARCH, 100)]);
    let (_directory, file) = log_of(&days.collect::<Vec<_>>(), 12);
    let (code, text, problem) = analyze_log(&file, &["--json"]);
    assert_eq!((code, problem.as_str()), (Some(0), ""));
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["source"]["requests"], 12 * 1_100);
    assert_eq!(answer["source"]["whole_days"], 12);
    assert_eq!(answer["source"]["resampled"], "days");
    let account = &answer["accounts"][0];
    assert_eq!(account["series"][0]["name"], OWNERS);
    near(&account["series"][0]["calls_per_day"], 1_000.0);
    near(&account["series"][0]["repeats_per_day"], 100.0);
    near(&account["series"][1]["calls_per_day"], 100.0);
    assert_eq!(account["total"]["p99_calls"], 1_100);
    near(&account["total"]["p99_headroom"], 1.0 - 1_100.0 / 250_000.0);
    fits(&analyze_log(&file, &[]).1);
}

#[test]
fn the_worst_days_of_a_log_are_those_observed() {
    // Of 20 days one is five times as busy; 1 in 20 is more than 1 in 100.
    let days: Vec<_> = (0..20)
        .map(|day| (day, 8, OWNERS, if day == 7 { 5_000 } else { 1_000 }))
        .collect();
    let (_directory, file) = log_of(&days, 20);
    let (_, text, _) = analyze_log(&file, &["--json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["accounts"][0]["total"]["p99_calls"], 5_000);
    near(&answer["accounts"][0]["total"]["calls_per_day"], 1_200.0);
    // The busy day is out of the window of the last ten.
    let (_, text, _) = analyze_log(&file, &["--json", "--window", "10d"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["accounts"][0]["total"]["p99_calls"], 1_000);
}

#[test]
fn with_few_days_hours_are_drawn_at_their_time_of_day() {
    let hours = [
        (0, 8, OWNERS, 1_000),
        (1, 8, OWNERS, 3_000),
        (1, 20, SEARCH, 10),
    ];
    let (_directory, file) = log_of(&hours, 2);
    let (_, text, _) = analyze_log(&file, &["--json"]);
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["source"]["resampled"], "hours");
    let total = &answer["accounts"][0]["total"];
    near(&total["calls_per_day"], 2_000.0 + 5.0);
    assert_eq!(total["p99_calls"], 3_010);
}

#[test]
fn single_calls_of_a_log_that_could_leave_together_are_advice() {
    let single = "GET /crm/v3/objects/contacts/{}";
    // 300 seconds with 7 each: as batches one call each.
    let days: Vec<_> = (0..10).map(|day| (day, 8, single, 2_100)).collect();
    let (_directory, file) = log_of(&days, 10);
    let (code, text, _) = analyze_log(&file, &["--json", "--warn-below", "100"]);
    assert_eq!(code, Some(3));
    let answer: Value = serde_json::from_str(&text).unwrap();
    let advice = &answer["advice"][0];
    assert_eq!(
        (&advice["kind"], &advice["name"]),
        (&json!("batch"), &json!(single))
    );
    near(&advice["calls_per_day"], 2_100.0 - 300.0);
    near(&advice["p99_headroom"], 1.0 - 300.0 / 250_000.0);
}

#[test]
fn a_log_of_a_real_run_is_read_and_names_nobody() {
    let directory = Directory::new();
    run(&directory.log(), Way::RECKLESS);
    for format in [&[][..], &["--json"]] {
        let (code, text, problem) = analyze_log(&directory.log(), format);
        assert!(matches!(code, Some(0 | 3)), "{problem}");
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    fits(&analyze_log(&directory.log(), &[]).1);
}

#[test]
fn a_log_that_makes_no_sense_names_file_and_line() {
    let directory = Directory::new();
    let missed = json!({"at": 1_767_571_200.5, "event": "missed", "events": 1});
    for (line, problem) in [
        ("nonsense\n".to_owned(), ":2: "),
        (
            json!({"at": 1.0, "event": "request"}).to_string() + "\n",
            ":2: ",
        ),
        (
            json!({"at": 1e12, "event": "missed", "events": 1}).to_string() + "\n",
            ":2: ",
        ),
        (String::new(), "no requests in it"),
    ] {
        fs::write(directory.log(), format!("{missed}\n{line}")).unwrap();
        let (code, out, said) = analyze_log(&directory.log(), &[]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}{said}");
        assert!(said.contains(problem), "{said}");
    }
}

#[test]
fn the_day_of_a_log_is_that_of_the_account() {
    // 23:30 in UTC is after midnight in Berlin; the first and the last day are not whole there.
    let days: Vec<_> = (0..13).map(|day| (day, 23, OWNERS, 500)).collect();
    let (_directory, file) = log_of(&days, 13);
    let whole = |zone: &str| {
        let (_, text, _) = analyze_log(&file, &["--json", "--zone", zone]);
        let answer: Value = serde_json::from_str(&text).unwrap();
        near(&answer["accounts"][0]["total"]["calls_per_day"], 500.0);
        answer["source"]["whole_days"].clone()
    };
    assert_eq!(whole("UTC"), 13);
    assert_eq!(whole("Europe/Berlin"), 12);
}
