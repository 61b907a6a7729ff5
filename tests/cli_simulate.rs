//! What `tower-quota simulate` says: ours is not refused and uses what there is, others are, and the same seed shows the same.

#[path = "common/logged.rs"]
mod logged;

use std::fs;

use logged::{Directory, output, program};
use serde_json::Value;

fn simulate(arguments: &[&str]) -> (Option<i32>, String, String) {
    output(program(["simulate"]).args(arguments))
}

fn json_of(arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, text, problem) = simulate(&[arguments, &["--json"]].concat());
    assert_eq!(problem, "", "{text}");
    (code, serde_json::from_str(&text).expect("one JSON object"))
}

fn row<'a>(answer: &'a Value, limiter: &str) -> &'a Value {
    let rows = answer["limiters"].as_array().unwrap();
    let row = rows.iter().find(|row| row["limiter"] == limiter);
    row.unwrap_or_else(|| panic!("no {limiter} in {answer}"))
}

fn share(row: &Value, name: &str) -> f64 {
    row[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {row}"))
}

#[test]
fn ours_is_not_refused_and_uses_what_there_is_and_the_others_are() {
    let (code, answer) = json_of(&["--tier", "starter", "--duration", "2m", "--seed", "3"]);
    assert_eq!(code, Some(0));
    let ours = row(&answer, "ours");
    assert_eq!(ours["refused"], 0);
    assert!(share(ours, "burst_used") > 0.95, "{ours}");
    assert!(share(row(&answer, "token-bucket"), "refused_share") > 0.01);
    assert!(share(row(&answer, "none"), "refused_share") > 0.5);
}

#[test]
fn a_load_that_fits_is_done_whole_by_everybody() {
    let arguments = [
        "--rate",
        "2",
        "--duration",
        "1m",
        "--latency",
        "none",
        "--service-time",
        "10ms",
    ];
    let (code, answer) = json_of(&arguments);
    assert_eq!(code, Some(0));
    for limiter in ["ours", "token-bucket", "none"] {
        let row = row(&answer, limiter);
        assert_eq!((&row["refused"], &row["gave_up"]), (&0.into(), &0.into()));
        let calls = row["calls"].as_u64().unwrap();
        // 120 on average; at most one is under way at the end.
        assert!((80..160).contains(&calls), "{calls}");
        assert!(calls - row["done"].as_u64().unwrap() <= 1, "{row}");
        // 190 in each of six windows were possible.
        let used = row["sent"].as_f64().unwrap() / (6.0 * 190.0);
        assert!((share(row, "burst_used") - used).abs() < 1e-9, "{row}");
    }
}

#[test]
fn callers_of_ours_that_wait_too_long_are_told_so() {
    let arguments = [
        "--tier",
        "starter",
        "--rate",
        "30",
        "--duration",
        "1m",
        "--max-wait",
        "5s",
        "--limiter",
        "ours",
    ];
    let (code, answer) = json_of(&arguments);
    assert_eq!(code, Some(0));
    let ours = row(&answer, "ours");
    // 30 a second are asked for, 10 are there.
    assert!(share(ours, "gave_up") > 500.0, "{ours}");
    assert!(share(ours, "p99") < 7.5, "{ours}");
}

#[test]
fn callers_that_may_not_wait_at_all_do_not_hold_up_the_time() {
    let arguments = ["--max-wait", "0s", "--duration", "1m", "--limiter", "ours"];
    let (_, answer) = json_of(&arguments);
    let gave_up = row(&answer, "ours")["gave_up"].as_u64().unwrap();
    // 380 callers, each of which comes again after half a second on average.
    assert!((10_000..80_000).contains(&gave_up), "{gave_up}");
}

#[test]
fn searches_have_their_own_limit_and_bulk_leaves_one_slot() {
    let arguments = [
        "--searches",
        "10%",
        "--tasks",
        "100",
        "--duration",
        "1m",
        "--limiter",
        "ours",
    ];
    let used = |lane| {
        let (code, answer) = json_of(&[&arguments[..], &["--lane", lane]].concat());
        assert_eq!(code, Some(0));
        assert_eq!(row(&answer, "ours")["refused"], 0);
        share(row(&answer, "ours"), "search_used")
    };
    let (bulk, interactive) = (used("bulk"), used("interactive"));
    assert!((0.6..=0.8).contains(&bulk), "{bulk}");
    assert!((0.8..=1.0).contains(&interactive), "{interactive}");
}

#[test]
fn tokens_of_private_apps_have_bursts_of_their_own_and_those_of_oauth_apps_share_one() {
    let sent = |tier| {
        let arguments = [
            "--tier",
            tier,
            "--tokens",
            "2",
            "--duration",
            "30s",
            "--limiter",
            "ours",
        ];
        let (code, answer) = json_of(&arguments);
        assert_eq!(code, Some(0));
        share(row(&answer, "ours"), "sent")
    };
    // Three windows of 100 each for two, and of 110 for both.
    assert!((500.0..=600.0).contains(&sent("starter")));
    assert!((290.0..=330.0).contains(&sent("oauth")));
}

#[test]
fn refusals_of_ours_are_a_warning() {
    // Others take nearly all of it in bursts that nobody can see in time.
    let arguments = [
        "--rate",
        "6",
        "--others",
        "18",
        "--duration",
        "2m",
        "--limiter",
        "ours",
    ];
    let (code, text, problem) = simulate(&arguments);
    assert_eq!((code, problem.as_str()), (Some(3), ""), "{text}");
    assert!(text.contains("warning: "), "{text}");
}

#[test]
fn the_same_seed_shows_the_same_and_another_one_something_else() {
    let directory = Directory::new();
    let picture = directory.0.join("picture.svg");
    let with = |seed: &str| {
        let path = picture.to_str().unwrap();
        let arguments = [
            "--tier",
            "starter",
            "--duration",
            "30s",
            "--searches",
            "0.2",
        ];
        let (code, text, problem) =
            simulate(&[&arguments[..], &["--seed", seed, "--picture", path]].concat());
        assert_eq!((code, problem.as_str()), (Some(0), ""));
        (text, fs::read_to_string(&picture).unwrap())
    };
    let first = with("1");
    assert_eq!(first, with("1"));
    let second = with("2");
    assert_ne!(first.0, second.0);
    assert_ne!(first.1, second.1);
}

#[test]
fn the_picture_shows_each_limiter_its_quota_and_refusals_in_their_colour() {
    let directory = Directory::new();
    let picture = directory.0.join("picture.svg");
    let path = picture.to_str().unwrap();
    let svg_of = |limiter: &str| {
        let arguments = ["--duration", "30s", "--limiter", limiter, "--picture", path];
        assert_eq!(simulate(&arguments).0, Some(0));
        fs::read_to_string(&picture).unwrap()
    };
    const REFUSED: &str = "#C83C32";
    let bars = |svg: &str| svg.matches(REFUSED).count();
    let ours = svg_of("ours");
    assert!(ours.starts_with("<svg") && ours.trim_end().ends_with("</svg>"));
    assert!(ours.contains("ours: burst, 190 in 10 s"), "{ours}");
    // The legend alone.
    assert_eq!(bars(&ours), 1);
    assert!(bars(&svg_of("none")) > 100);
}

#[test]
fn lines_fit_a_terminal_and_each_limiter_has_a_row() {
    let arguments = [
        "--searches",
        "5%",
        "--duration",
        "20s",
        "--tokens",
        "20",
        "--tasks",
        "30",
    ];
    let (_, text, _) = simulate(&arguments);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    for limiter in ["ours", "token-bucket", "none"] {
        assert!(text.lines().any(|line| line.starts_with(limiter)), "{text}");
    }
    assert!(text.contains('█'), "{text}");
}

#[test]
fn figures_that_make_no_sense_are_named() {
    for (arguments, name) in [
        (&["--rate", "0"][..], "--rate"),
        (&["--rate", "1", "--saturate"], "--rate"),
        (&["--rate", "90000"], "--rate"),
        (&["--duration", "25h"], "--duration"),
        (&["--tokens", "100", "--duration", "24h"], "--duration"),
        (&["--latency", "far"], "--latency"),
        (&["--service-time", "9ms..2ms"], "--service-time"),
        (&["--searches", "2"], "--searches"),
        (&["--limiter", "theirs"], "--limiter"),
        (&["--tier", "gold"], "--tier"),
    ] {
        let (code, out, problem) = simulate(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(problem.contains(name), "{problem}");
    }
    let picture = [
        "--duration",
        "1s",
        "--limiter",
        "ours",
        "--picture",
        "/nowhere/picture.svg",
    ];
    let (_, _, problem) = simulate(&picture);
    assert!(problem.contains("/nowhere/picture.svg"), "{problem}");
}
