//! What a log's requests would have met, and whether a log's events follow from its answers.

#[path = "common/logged.rs"]
mod logged;

use std::collections::HashMap;
use std::fs;

use logged::{Directory, SECRETS, Way, output, program, run};
use serde_json::{Value, json};
use tower_quota::event::{EventKind, QuotaEvent};
use tower_quota::record::{Entry, Reader};

fn replay(log: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let log = log.to_str().unwrap();
    output(program(["replay", log]).args(arguments))
}

/// When, for which token, of which class and on which route: the refusals of a log. Tokens are told by how often they are used.
fn refusals(log: &std::path::Path) -> Vec<(u128, usize, String, String)> {
    let events = Reader::open(log)
        .unwrap()
        .filter_map(|line| match line.unwrap().entry {
            Entry::Event(event) => Some(event),
            _ => None,
        });
    let events: Vec<_> = events.collect();
    let mut uses = HashMap::new();
    let mut began = None;
    for event in &events {
        if let EventKind::Request { took, .. } = event.kind {
            *uses.entry(event.token).or_insert(0_usize) += 1;
            began.get_or_insert(event.at - took);
        }
    }
    let refusal = |event: QuotaEvent| match event.kind {
        EventKind::RateLimited { class, route, .. } => {
            let after = event.at.duration_since(began.unwrap()).unwrap();
            let route = route.as_str().to_owned();
            Some((
                after.as_millis(),
                uses[&event.token],
                class.into_owned(),
                route,
            ))
        }
        _ => None,
    };
    events.into_iter().filter_map(refusal).collect()
}

#[test]
fn a_log_of_refusals_is_refused_again_the_same_way() {
    let directory = Directory::new();
    assert_eq!(run(&directory.log(), Way::BARE).missed, 0);
    let before = refusals(&directory.log());
    assert!(before.len() > 100, "{}", before.len());
    let again = directory.0.join("again.jsonl");
    let arguments = [
        "--limiter",
        "none",
        "--attempts",
        "1",
        "--record",
        again.to_str().unwrap(),
    ];
    let (code, text, problem) = replay(&directory.log(), &arguments);
    assert_eq!((code, problem.as_str()), (Some(0), ""), "{text}");
    let after = refusals(&again);
    assert_eq!(before.len(), after.len());
    for (nth, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before, after, "the refusal with the number {nth}");
    }
}

#[test]
fn the_same_requests_are_not_refused_behind_this_crates_layers() {
    let directory = Directory::new();
    run(&directory.log(), Way::RECKLESS);
    let (code, text, problem) = replay(&directory.log(), &["--json"]);
    assert_eq!((code, problem.as_str()), (Some(0), ""), "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let row = |name: &str| {
        let rows = answer["limiters"].as_array().unwrap();
        rows.iter()
            .find(|row| row["limiter"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(row("ours")["refused"], 0);
    assert!(row("none")["refused"].as_u64() > Some(100), "{text}");
    assert!(row("token-bucket")["refused"].as_u64() > Some(0), "{text}");
    assert!(answer["in_the_log"]["refused"].as_u64() > Some(100));
    // The same seed gives the same figures.
    assert_eq!(replay(&directory.log(), &["--json"]).1, text);

    let (_, table, _) = replay(&directory.log(), &[]);
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    for name in ["ours", "token-bucket", "none"] {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        let refused = row(name)["refused"].as_u64().unwrap();
        let column = line.split_whitespace().nth(2).unwrap().replace(',', "");
        assert_eq!(column, refused.to_string(), "{table}");
    }
}

#[test]
fn another_tier_has_other_figures() {
    let directory = Directory::new();
    run(&directory.log(), Way::RECKLESS);
    let refused = |tier: &str| {
        let arguments = ["--tier", tier, "--limiter", "none", "--json"];
        let (code, text, problem) = replay(&directory.log(), &arguments);
        assert_eq!((code, problem.as_str()), (Some(0), ""), "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["limiters"][0]["refused"].as_u64().unwrap()
    };
    assert!(refused("starter") < refused("professional") + 50);
    let (code, _, problem) = replay(&directory.log(), &["--tier", "gold"]);
    assert_eq!(code, Some(2));
    assert!(problem.contains("`professional`"), "{problem}");
}

#[test]
fn no_token_address_or_id_is_in_a_log_or_in_what_is_made_of_it() {
    let directory = Directory::new();
    for way in [
        Way::RECKLESS,
        Way {
            is_polite: true,
            ..Way::RECKLESS
        },
    ] {
        run(&directory.log(), way);
    }
    let log = fs::read_to_string(directory.log()).unwrap();
    assert!(log.contains("rate_limited") && log.contains("/crm/v3/objects/contacts/"));
    let path = directory.log();
    let path = path.to_str().unwrap();
    let texts = [
        log,
        output(&mut program(["logs", path])).1,
        replay(&directory.log(), &["--playback"]).1,
        replay(&directory.log(), &["--json"]).1,
    ];
    for (nth, text) in texts.iter().enumerate() {
        for secret in SECRETS {
            assert!(
                !text.contains(secret),
                "{secret} is in the text with the number {nth}"
            );
        }
    }
}

#[test]
fn what_cannot_be_replayed_is_told_with_file_and_line() {
    let directory = Directory::new();
    fs::write(
        directory.log(),
        "{\"at\":1,\"event\":\"missed\",\"events\":1}\n{\"at\":true}\n",
    )
    .unwrap();
    let (code, text, problem) = replay(&directory.log(), &[]);
    assert_eq!((code, text.as_str()), (Some(2), ""));
    assert!(problem.contains("log.jsonl:2: "), "{problem}");
    fs::write(directory.log(), "").unwrap();
    let (code, _, problem) = replay(&directory.log(), &[]);
    assert_eq!(code, Some(2));
    assert!(
        problem.contains("log.jsonl: tells of no request"),
        "{problem}"
    );
    // Limits of a log that make no sense are its fault.
    let started = json!({"at": 1.0, "event": "started", "api": "x", "limits": [
        {"limit": "burst", "scope": "token", "quota": 1, "window": 0.0, "classes": ["general"]},
    ]});
    let asked = json!({
        "at": 2.0, "token": "0".repeat(32), "event": "request", "class": "general", "route": "GET /x", "lane": "bulk",
        "attempt": 1, "waited": 0.0, "took": 1.0, "ending": "answered", "status": 200,
    });
    fs::write(directory.log(), format!("{started}\n{asked}\n")).unwrap();
    for arguments in [&[][..], &["--playback"]] {
        let (code, _, problem) = replay(&directory.log(), arguments);
        assert_eq!(code, Some(2), "{problem}");
        assert!(problem.contains("log.jsonl: its limits"), "{problem}");
    }
    let nowhere = directory.0.join("nowhere.jsonl");
    assert_eq!(replay(&nowhere, &[]).0, Some(2));
}

/// How many events of each name that follow from answers are in a log.
fn following(log: &std::path::Path) -> HashMap<&'static str, usize> {
    let follow = [
        "rate_limited",
        "recovered",
        "paused",
        "resumed",
        "daily_exhausted",
        "daily_resumed",
        "error_share",
    ];
    let mut counts = HashMap::new();
    for line in Reader::open(log).unwrap() {
        let name = line.unwrap().entry.name();
        if follow.contains(&name) {
            *counts.entry(name).or_insert(0) += 1;
        }
    }
    counts
}

#[test]
fn the_events_of_a_log_follow_from_its_answers() {
    let polite = Way {
        is_polite: true,
        ..Way::RECKLESS
    };
    let ways = [
        Way::RECKLESS,
        Way {
            seed: 2,
            ..Way::RECKLESS
        },
        Way {
            seed: 3,
            per_second: 30.0,
            ..Way::RECKLESS
        },
        polite,
        // The daily pool is used up before midnight, and filled again. Nobody gives up: a slot that is given back is in no answer.
        Way {
            seed: 4,
            daily: 700,
            requests: 5_000,
            has_trouble: false,
            ..polite
        },
        Way::BARE,
    ];
    let mut all = HashMap::new();
    for (nth, way) in ways.into_iter().enumerate() {
        let directory = Directory::new();
        assert_eq!(run(&directory.log(), way).missed, 0);
        let counts = following(&directory.log());
        let (code, text, problem) = replay(&directory.log(), &["--playback", "--json"]);
        let answer: Value = serde_json::from_str(&text).unwrap();
        let text = serde_json::to_string_pretty(&answer).unwrap();
        assert_eq!(
            (code, problem.as_str()),
            (Some(0), ""),
            "the way with the number {nth}: {text}"
        );
        assert_eq!(answer["events"], counts.values().sum::<usize>());
        for (name, count) in counts {
            *all.entry(name).or_insert(0) += count;
        }
    }
    // All kinds have happened.
    assert_eq!(all.len(), 7, "{all:?}");
    assert!(
        all["rate_limited"] > 300 && all["paused"] > 20 && all["resumed"] > 20,
        "{all:?}"
    );
}

#[test]
fn an_event_that_does_not_follow_is_told_with_its_line() {
    let directory = Directory::new();
    run(&directory.log(), Way::RECKLESS);
    let log = fs::read_to_string(directory.log()).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let nth = |name: &str, nth: usize| {
        let name = format!("\"event\":\"{name}\"");
        let mut lines = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains(&name));
        lines.nth(nth).unwrap().0
    };
    let (changed, left_out) = (nth("recovered", 3), nth("resumed", 5));
    let mut edited: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    edited[changed] = edited[changed].replace("\"refusals\":", "\"refusals\":4");
    edited.remove(left_out);
    fs::write(directory.log(), edited.join("\n") + "\n").unwrap();
    let (code, text, problem) = replay(&directory.log(), &["--playback"]);
    assert_eq!((code, problem.as_str()), (Some(3), ""), "{text}");
    let line = changed + 1 - usize::from(left_out < changed);
    assert!(
        text.contains(&format!("log.jsonl:{line}: does not follow: recovered")),
        "{text}"
    );
    assert!(text.contains("not in the log: recovered"), "{text}");
    assert!(text.contains("not in the log: resumed"), "{text}");
    assert!(text.contains("3 differences"), "{text}");
}
