//! Of a file of syncs.

use std::fs;

use serde_json::{Value, json};

use crate::logged::{Directory, output, program};
use crate::{fits, near};

/// What it says to a file of syncs.
fn analyze(text: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let directory = Directory::new();
    let file = directory.0.join("syncs.toml");
    fs::write(&file, text).unwrap();
    let plan = ["analyze", "--plan", file.to_str().unwrap()];
    let tier = match arguments.contains(&"--tier") {
        true => vec![],
        false => vec!["--tier", "professional"],
    };
    output(program(plan).args(tier).args(arguments))
}

fn json_of(text: &str, arguments: &[&str]) -> Value {
    let (code, out, problem) = analyze(text, &[arguments, &["--json"]].concat());
    assert!(matches!(code, Some(0 | 3)), "{problem}");
    serde_json::from_str(&out).expect("one JSON object")
}

const CONTACTS: &str = r#"
[[sync]]
name = "contacts"
every = "5m"
records = 10_000
reads = 2
"#;

#[test]
fn the_well_known_example_comes_out_computed() {
    let answer = json_of(CONTACTS, &[]);
    let row = &answer["accounts"][0]["series"][0];
    assert_eq!(row["run"]["calls"], 102);
    near(&row["run"]["per_day"], 288.0);
    near(&row["calls_per_day"], 29_376.0);
    near(&row["daily_share"], 29_376.0 / 625_000.0);
    let (code, text, _) = analyze(CONTACTS, &[]);
    assert_eq!(code, Some(0));
    let line = text.lines().find(|line| line.starts_with("contacts"));
    let cells: Vec<&str> = line.expect("a row").split_whitespace().collect();
    assert_eq!(
        cells,
        ["contacts", "288", "102", "29,376", "4.7", "%", "95.3", "%"]
    );
}

#[test]
fn the_example_file_has_that_figure_and_is_fine() {
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/syncs.toml");
    let arguments = ["analyze", "--plan", plan, "--tier", "professional"];
    let (code, text, problem) = output(program(arguments).args(["--draws", "20"]));
    assert_eq!((code, problem.as_str()), (Some(0), ""));
    assert!(text.contains("29,376"), "{text}");
}

#[test]
fn without_variance_the_worst_days_are_like_all_others() {
    // Of 250,000 calls a day: 9,000, and three times 51 x 8 pages and 3 association calls at 01:00, 02:00 and 03:00.
    let syncs = r#"
        [[sync]]
        name = "reads"
        every = "24h"
        reads = 9_000
        over = "2h"
        [[sync]]
        name = "searches"
        at = ["01:00", "02:00", "03:00"]
        searches = 8
        found = 10_001
        associations = 2_001
        "#;
    let answer = json_of(syncs, &["--tier", "starter"]);
    let account = &answer["accounts"][0];
    let searches = 3 * (8 * 51 + 3);
    near(
        &account["total"]["calls_per_day"],
        f64::from(9_000 + searches),
    );
    assert_eq!(account["total"]["p99_calls"], 9_000 + searches);
    near(
        &account["total"]["p99_headroom"],
        1.0 - f64::from(9_000 + searches) / 250_000.0,
    );
    near(
        &account["series"][1]["p99_headroom"],
        1.0 - f64::from(searches) / 250_000.0,
    );
    near(&account["days_run_dry"], 0.0);
    let limit = |name: &str| {
        let limits = answer["limits"].as_array().unwrap();
        let limit = limits.iter().find(|limit| limit["limit"] == name);
        limit.unwrap_or_else(|| panic!("no {name}"))
    };
    // 408 pages at once, 5 in 1 s: the last three go when 81 windows are over.
    assert_eq!(limit("search")["p99_wanted"], 408);
    near(&limit("search")["p99_wait"]["bulk"], 81.0);
    assert_eq!(limit("associations")["most_wanted"], 3);
    // 9,000 in 2 hours are 1.25 a second; a window of 10 s has at most 10 groups of 1 or 2.
    let burst = limit("burst")["most_wanted"].as_u64().unwrap();
    assert!((12..=13).contains(&burst), "{burst}");
}

#[test]
fn headroom_on_the_worst_days_agrees_with_the_distribution() {
    // A Poisson number with mean 10,000: 99 % are not above 10,000 + 2.326 x 100, give or take what 1,000 draws leave open.
    let answer = json_of("[[sync]]\nname = \"a\"\nper_day = 10_000\nreads = 1\n", &[]);
    let p99 = answer["accounts"][0]["total"]["p99_calls"]
        .as_u64()
        .unwrap();
    assert!((10_180..10_290).contains(&p99), "{p99}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let syncs = "[[sync]]\nname = \"a\"\nper_day = 200\nsingles = 9\nvary = 0.5\njitter = \"1m\"\n";
    for format in [&["--seed", "4"][..], &["--seed", "4", "--json"]] {
        let directory = Directory::new();
        let file = directory.0.join("syncs.toml");
        fs::write(&file, syncs).unwrap();
        let file = file.to_str().unwrap();
        let again = || {
            let arguments = ["analyze", "--plan", file, "--tier", "oauth"];
            output(program(arguments).args(format))
        };
        assert_eq!(again(), again());
    }
    let with =
        |seed| json_of(syncs, &["--seed", seed])["accounts"][0]["total"]["p99_calls"].clone();
    assert_ne!(with("4"), with("5"));
}

/// Above the threshold in every way that advice is for.
const TIGHT: &str = r#"
[[sync]]
name = "one by one"
every = "5m"
singles = 1_000
full = true
[[sync]]
name = "small batches"
every = "1h"
records = 24_000
batch = 10
[[sync]]
name = "all of it"
every = "10s"
reads = 12
full = true
[[sync]]
name = "export"
at = "23:00"
reads = 300_000
over = "30m"
"#;

#[test]
fn too_little_headroom_is_a_warning_with_advice_that_was_tried() {
    let answer = json_of(TIGHT, &["--draws", "100"]);
    let total = 288_000.0 + 57_600.0 + 103_680.0 + 300_000.0;
    let headroom = |calls: f64| 1.0 - calls / 625_000.0;
    near(
        &answer["accounts"][0]["total"]["p99_headroom"],
        headroom(total),
    );
    near(&answer["accounts"][0]["days_run_dry"], 1.0);
    let advice = answer["advice"].as_array().unwrap();
    let kinds: Vec<(&str, Option<&str>)> = advice
        .iter()
        .map(|advice| (advice["kind"].as_str().unwrap(), advice["name"].as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            ("batch", Some("one by one")),
            ("batch", Some("small batches")),
            ("less_often", Some("one by one")),
            ("less_often", Some("all of it")),
            ("after_reset", Some("export")),
            ("ask_for_more", None),
        ]
    );
    for (advice, saved) in advice.iter().zip([
        288.0 * 990.0,
        24.0 * 2_160.0,
        // Half of the runs: no multiple alone is enough.
        288_000.0 / 2.0,
        103_680.0 / 2.0,
    ]) {
        near(&advice["calls_per_day"], saved);
        near(&advice["p99_headroom"], headroom(total - saved));
    }
    near(&advice[5]["calls_per_day"], 1_000_000.0);
    near(&advice[5]["p99_headroom"], 1.0 - total / 1_625_000.0);
    // What does not fit comes at the end of the day, where the export is: that is 124,280 of its calls, give or take those of an hour.
    let late = advice[4]["calls_per_day"].as_f64().unwrap();
    assert!((100_000.0..130_000.0).contains(&late), "{late}");
    let (code, text, _) = analyze(TIGHT, &["--draws", "20"]);
    assert_eq!(code, Some(3));
    assert!(
        text.contains("warning: account `main` has -19.9 %"),
        "{text}"
    );
    assert!(text.contains("-285,120"), "{text}");
}

#[test]
fn advice_that_would_not_help_is_not_given() {
    // Changes accumulate, whole batches, and nothing else to save: only more quota helps.
    let syncs = "[[sync]]\nname = \"a\"\nevery = \"5m\"\nrecords = 200_000\n";
    let answer = json_of(syncs, &["--draws", "20"]);
    let kinds: Vec<&Value> = answer["advice"]
        .as_array()
        .unwrap()
        .iter()
        .map(|advice| &advice["kind"])
        .collect();
    assert_eq!(kinds, [&json!("ask_for_more")]);
    // And where there is enough, there is none at all.
    assert_eq!(json_of(CONTACTS, &[])["advice"], json!([]));
}

#[test]
fn the_threshold_can_be_set() {
    for (percent, code) in [("95", 0), ("96", 3)] {
        let arguments = ["--warn-below", percent, "--draws", "20"];
        assert_eq!(analyze(CONTACTS, &arguments).0, Some(code), "{percent}");
    }
}

#[test]
fn lines_fit_a_terminal_whatever_syncs_are_called() {
    let long = TIGHT.replace("one by one", &"a name without end ".repeat(8));
    let long = long.replace("small batches", &"unbroken".repeat(24));
    let long = long.replace("full = true", "full = true\naccount = \"an account of a very long name indeed, longer than lines are, by far\"");
    let (_, text, _) = analyze(&long, &["--draws", "10"]);
    fits(&text);
    fits(&output(&mut program(["analyze", "--help"])).1);
}

#[test]
fn json_and_the_table_agree() {
    let answer = json_of(TIGHT, &["--draws", "10"]);
    let (_, text, _) = analyze(TIGHT, &["--draws", "10"]);
    for row in answer["accounts"][0]["series"].as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no row of {name}: {text}"));
        let headroom = 100.0 * row["p99_headroom"].as_f64().unwrap();
        assert!(line.ends_with(&format!("{headroom:.1} %")), "{line}");
        let share = 100.0 * row["daily_share"].as_f64().unwrap();
        assert!(line.contains(&format!("{share:.1} %")), "{line}");
    }
}

#[test]
fn each_mistake_names_file_line_field_and_value() {
    let sync = |line: &str| format!("[[sync]]\nname = \"a\"\nevery = \"5m\"\nreads = 1\n{line}\n");
    let cases = [
        (sync("batch = 500"), 5, "batch", "500"),
        (sync("batch = 0"), 5, "batch", "0"),
        (sync("page = 201"), 5, "page", "201"),
        (sync("records = -1"), 5, "records", "-1"),
        (sync("records = \"many\""), 5, "records", "many"),
        (sync("vary = 9.0"), 5, "vary", "9"),
        (sync("vary = nan"), 5, "vary", "NaN"),
        (sync("jitter = \"soon\""), 5, "jitter", "soon"),
        (sync("over = \"25h\""), 5, "over", "25h"),
        (sync("from = \"24:30\""), 5, "from", "24:30"),
        (sync("hours = \"8 to 6\""), 5, "hours", "8 to 6"),
        (sync("lane = \"fast\""), 5, "lane", "fast"),
        (sync("recods = 5"), 5, "recods", ""),
        (
            sync("searches = 1_000_000\nfound = 1_000_000\npage = 1"),
            1,
            "makes",
            "1000000000001",
        ),
        (sync("at = \"02:00\""), 1, "at", ""),
        (sync("account = \"b\\u001b\""), 5, "account", ""),
        (
            "[[sync]]\nname = \"a\"\nreads = 1\n".to_owned(),
            1,
            "every",
            "",
        ),
        (
            "[[sync]]\nname = \"a\"\nevery = \"1h\"\n".to_owned(),
            1,
            "records",
            "",
        ),
        (
            "[[sync]]\nevery = \"1h\"\nreads = 1\n".to_owned(),
            1,
            "name",
            "",
        ),
        (sync("") + &sync(""), 7, "name", "a"),
        ("[[sync\n".to_owned(), 1, "", ""),
        (
            "[[sync]]\nname = \"a\"\nat = \"3:00\"\nfrom = \"1:00\"\nreads = 1\n".to_owned(),
            4,
            "from",
            "",
        ),
        (
            "[[sync]]\nname = \"a\"\nat = \"3:00\"\nhours = \"4:00-5:00\"\nreads = 1\n".to_owned(),
            1,
            "hours",
            "",
        ),
        (
            "[[sync]]\nname = \"a\"\nat = [\"3:00\", \"5\"]\nreads = 1\n".to_owned(),
            3,
            "at",
            "\"5\"",
        ),
        (
            "[[sync]]\nname = \"a\"\nevery = \"1s\"\nover = \"24h\"\nreads = 90_000\n".to_owned(),
            1,
            "over",
            "",
        ),
        ("".to_owned(), 1, "[[sync]]", ""),
    ];
    for (text, line, field, value) in cases {
        let (code, out, problem) = analyze(&text, &[]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{text}");
        let place = format!("syncs.toml:{line}: ");
        assert!(problem.contains(&place), "{text}\n{problem}");
        let said = problem.split(&place).nth(1).unwrap();
        assert!(
            said.contains(field) && said.contains(value),
            "{text}\n{problem}"
        );
    }
}

#[test]
fn a_token_in_place_of_its_name_is_refused_and_not_repeated() {
    let syncs = "[[sync]]\nname = \"a\"\nevery = \"5m\"\nreads = 1\ntoken = \"pat-na1-0badcafe\"\n";
    let (code, out, problem) = analyze(syncs, &[]);
    assert_eq!(code, Some(2));
    assert!(problem.contains("syncs.toml:5: `token`"), "{problem}");
    assert!(!out.contains("0badcafe") && !problem.contains("0badcafe"));
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    for (arguments, name) in [
        (["--zone", "Mars/Olympus"], "--zone"),
        (["--window", "5s"], "--window"),
        (["--window", "soon"], "--window"),
        (["--tier", "gold"], "--tier"),
        (["--draws", "0"], "--draws"),
    ] {
        let (code, _, problem) = analyze(CONTACTS, &arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(problem.contains(name), "{problem}");
    }
    let missing = ["analyze", "--plan", "/nowhere/syncs.toml", "--tier", "free"];
    let (code, _, problem) = output(&mut program(missing));
    assert_eq!(code, Some(2));
    assert!(problem.contains("/nowhere/syncs.toml"), "{problem}");
}

#[test]
fn the_largest_figures_are_counted() {
    let syncs = "[[sync]]\nname = \"a\"\nat = \"2:00\"\nrecords = 1_000_000_000\nbatch = 1\nvary = 5.0\nover = \"24h\"\n";
    let answer = json_of(syncs, &["--draws", "20"]);
    near(&answer["accounts"][0]["total"]["calls_per_day"], 1e9);
}

#[test]
fn more_runs_than_can_be_drawn_are_refused_where_they_are_too_many() {
    let sync = |nth| format!("[[sync]]\nname = \"{nth}\"\nper_day = 1_000_000\nreads = 1\n");
    let syncs: String = (0..6).map(sync).collect();
    let (code, _, problem) = analyze(&syncs, &[]);
    assert_eq!(code, Some(2), "{problem}");
    assert!(problem.contains("syncs.toml:21: sync \"5\""), "{problem}");
}
