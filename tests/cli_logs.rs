//! `tower-quota logs` shows what is asked for, and nothing else.

#[path = "common/logged.rs"]
mod logged;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use logged::{Directory, Way, output, program, run};
use tower_quota::record::{Line, Reader};

fn logs(log: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let log = log.to_str().unwrap();
    output(program(["logs", log]).args(arguments))
}

fn read(log: &Path) -> Vec<Line> {
    Reader::open(log)
        .unwrap()
        .map(|line| line.unwrap())
        .collect()
}

#[test]
fn json_lines_are_those_of_the_log_that_match() {
    let directory = Directory::new();
    run(
        &directory.log(),
        Way {
            requests: 400,
            ..Way::RECKLESS
        },
    );
    let lines = read(&directory.log());
    let end = lines.last().unwrap().entry.at();
    let token = lines
        .iter()
        .find(|line| line.entry.name() == "paused")
        .unwrap();
    let token = token.text.split("\"token\":\"").nth(1).unwrap()[..8].to_owned();
    let token_filter = format!("token={token}");
    let named = |line: &Line, text: &str| line.text.contains(text);
    type Matches<'a> = Box<dyn Fn(&Line) -> bool + 'a>;
    let table: Vec<(Vec<&str>, Matches<'_>)> = vec![
        (vec![], Box::new(|_| true)),
        (
            vec!["--filter", "rate_limit"],
            Box::new(|line| line.entry.name() == "rate_limited"),
        ),
        (
            vec!["--filter", "paused", "--filter", "resumed"],
            Box::new(|line| ["paused", "resumed"].contains(&line.entry.name())),
        ),
        (
            vec![
                "--filter",
                "re",
                "--filter",
                "status=429",
                "--filter",
                "class=search",
            ],
            Box::new(|line| {
                line.entry.name().starts_with("re")
                    && named(line, "\"status\":429")
                    && named(line, "\"class\":\"search\"")
            }),
        ),
        (
            vec!["--filter", "status=5xx", "--filter", "route=contacts/{}"],
            Box::new(|line| named(line, "\"status\":5") && named(line, "/contacts/{}\"")),
        ),
        (
            vec!["--filter", &token_filter],
            Box::new(|line| {
                named(line, &format!("\"token\":\"{token}")) && line.entry.name() != "report"
            }),
        ),
        (
            vec!["--window", "10s", "--filter", "limit=burst"],
            Box::new(|line| {
                let is_late = line.entry.at() + std::time::Duration::from_secs(10) >= end;
                is_late
                    && named(line, "\"limit\":\"burst\"")
                    && !named(line, "started")
                    && line.entry.name() != "report"
            }),
        ),
    ];
    for (arguments, matches) in table {
        let expected = lines.iter().filter(|line| matches(line));
        let expected: Vec<&str> = expected.map(|line| line.text.as_str()).collect();
        assert!(!expected.is_empty(), "{arguments:?}");
        for json in [["--format", "json"].as_slice(), &["--json"]] {
            let (code, text, problem) = logs(&directory.log(), &[&arguments, json].concat());
            assert_eq!((code, problem.as_str()), (Some(0), ""), "{arguments:?}");
            let same = text.lines().eq(expected.iter().copied());
            assert!(
                same,
                "{arguments:?}: {} lines, not {}",
                text.lines().count(),
                expected.len()
            );
        }
    }
}

#[test]
fn text_lines_are_aligned_and_fit_a_terminal() {
    let directory = Directory::new();
    run(
        &directory.log(),
        Way {
            requests: 400,
            ..Way::RECKLESS
        },
    );
    let (code, text, _) = logs(&directory.log(), &[]);
    assert_eq!(code, Some(0));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("2025-11-22 UTC"));
    let (mut count, mut long) = (0, 0);
    for line in lines {
        // A time, eight digits of a token, a name.
        let (time, rest) = line.split_at(12);
        assert!(
            time.as_bytes()[8] == b'.' && rest.starts_with(' '),
            "{line}"
        );
        assert_eq!(&rest[9..10], " ", "{line}");
        assert!(
            rest[10..].starts_with(|letter: char| letter.is_ascii_lowercase()),
            "{line}"
        );
        long += usize::from(line.chars().count() > 80);
        count += 1;
    }
    assert_eq!(count, read(&directory.log()).len());
    // What names a long limit and two waits is longer, and what a log says of its limits first.
    assert!(
        long * 50 <= count,
        "{long} of {count} lines are longer: {text}"
    );
}

#[test]
fn times_are_shown_in_the_zone_that_is_asked_for() {
    let directory = Directory::new();
    let line = "{\"at\":1763855999.5,\"event\":\"missed\",\"events\":7}\n{\"at\":1763856000,\"event\":\"missed\",\"events\":8}\n";
    fs::write(directory.log(), line).unwrap();
    let utc = "2025-11-22 UTC\n23:59:59.500          missed         events=7\n2025-11-23 UTC\n00:00:00.000          missed         events=8\n";
    assert_eq!(logs(&directory.log(), &[]).1, utc);
    let berlin = "2025-11-23 CET\n00:59:59.500          missed         events=7\n01:00:00.000          missed         events=8\n";
    assert_eq!(
        logs(&directory.log(), &["--zone", "Europe/Berlin"]).1,
        berlin
    );
}

#[test]
fn what_makes_no_sense_is_told_with_file_and_line_after_the_rest() {
    let directory = Directory::new();
    let text = "{\"at\":1,\"event\":\"missed\",\"events\":7}\n{\"at\":2,\"event\":\"missed\",\"events\":\"\\u001b[2J\"}\nnonsense\n{\"at\":3,\"event\":\"missed\",\"events\":8}\n{\"at\":4,\"event\":\"later\"}\n{\"at\":5,\"ev";
    fs::write(directory.log(), text).unwrap();
    let (code, text, problem) = logs(&directory.log(), &[]);
    assert_eq!(code, Some(2));
    assert_eq!(text.matches("missed").count(), 2, "{text}");
    assert!(
        problem.contains("log.jsonl:2: invalid type: string"),
        "{problem}"
    );
    assert!(
        problem.contains("1 more") && problem.contains("1 lines were skipped"),
        "{problem}"
    );
    assert!(
        !problem.contains('\u{1b}') && !text.contains('\u{1b}'),
        "{problem}"
    );
    // For a program the last line is an object that says so.
    let (code, text, _) = logs(&directory.log(), &["--json"]);
    assert_eq!(code, Some(2));
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(
        last["error"].as_str().unwrap().contains("log.jsonl:2: "),
        "{text}"
    );
}

#[test]
fn wrong_arguments_are_told_with_what_is_right() {
    let directory = Directory::new();
    fs::write(directory.log(), "").unwrap();
    for (arguments, told) in [
        (["--filter", "rate_limt"], "rate_limited, recovered"),
        (
            ["--filter", "colour=red"],
            "token, route, class, limit, status",
        ),
        (["--filter", "status=many"], "such as 429"),
        (["--filter", "token=xyz"], "hexadecimal"),
        (["--window", "soon"], "length of time"),
        (["--zone", "Mars/Olympus"], "Mars/Olympus"),
    ] {
        let (code, _, problem) = logs(&directory.log(), &arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(problem.contains(told), "{arguments:?}: {problem}");
    }
    let (code, _, problem) = logs(&directory.0.join("nowhere.jsonl"), &[]);
    assert_eq!(code, Some(2));
    assert!(problem.contains("nowhere.jsonl"), "{problem}");
}

#[test]
fn the_standard_input_is_read_as_a_log() {
    let mut command = program(["logs", "-", "--window", "1s"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for second in [1, 5, 6] {
        writeln!(
            input,
            "{{\"at\":{second},\"event\":\"missed\",\"events\":{second}}}"
        )
        .unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("events=5") && text.contains("events=6"),
        "{text}"
    );
    assert!(!text.contains("events=1"), "{text}");
}

/// What is written later is shown, over a rotation; Ctrl-C ends it with its own exit code.
#[cfg(unix)]
#[test]
fn a_log_is_followed_until_it_is_stopped() {
    let directory = Directory::new();
    let missed =
        |number: u32| format!("{{\"at\":9999999999,\"event\":\"missed\",\"events\":{number}}}\n");
    fs::write(directory.log(), missed(1)).unwrap();
    let path = directory.log();
    let mut child = program([
        "logs",
        path.to_str().unwrap(),
        "--follow",
        "--json",
        "--window",
        "1h",
    ])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut expect = |number: u32| {
        let line = lines.next().unwrap().unwrap();
        assert_eq!(line + "\n", missed(number));
    };
    expect(1);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(missed(2).as_bytes()).unwrap();
    expect(2);
    file.write_all(missed(3).as_bytes()).unwrap();
    fs::rename(&path, directory.0.join("log.jsonl.1")).unwrap();
    fs::write(&path, missed(4)).unwrap();
    expect(3);
    expect(4);
    let stopped = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(stopped.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
