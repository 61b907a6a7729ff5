//! Logs that are followed, and a page that is written once.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tower::{Layer, ServiceExt};
use tower_quota::Quota;
use tower_quota::hubspot::{self, Tier};
use tower_quota::plan::Zone;
use tower_quota::record::Recorder;
use tower_quota::sim::{Fault, Script, Sim};
use tower_quota::stack::StackLayer;

use crate::program::{Dashboard, command, file, report_with, run};

fn append(path: &std::path::Path, text: &str) {
    let mut file: File = OpenOptions::new().append(true).open(path).expect("the log");
    file.write_all(text.as_bytes()).expect("written");
}

fn requests(number: u64) -> String {
    report_with(|report| report["today"]["requests"] = number.into())
}

#[test]
fn a_log_is_followed_line_by_line_and_into_the_next_file() {
    let path = file("followed.jsonl");
    append(&path, &requests(1_000));
    let name = path.to_str().expect("a name");
    let dashboard = Dashboard::start(&["--log", name]);
    dashboard.page_with("1,000");
    // A line is one when it has its end.
    let line = requests(2_000);
    let (begin, end) = line.split_at(100);
    append(&path, begin);
    append(&path, end);
    dashboard.page_with("2,000");
    let old = path.with_extension("jsonl.1");
    std::fs::rename(&path, &old).expect("renamed");
    std::fs::write(&path, requests(3_000)).expect("written");
    dashboard.page_with("3,000");
    append(&path, "nonsense\n");
    let page = dashboard.page_with("Lines skipped: 1");
    assert!(
        page.contains("followed.jsonl:2: "),
        "the file and the line are named"
    );
    std::fs::remove_file(old).expect("removed");
    assert_eq!(
        dashboard.post("/log", &requests(4_000)).status,
        404,
        "it takes nothing else"
    );
}

#[test]
fn the_standard_input_is_a_log_too() {
    let mut command = command(&["--log", "-", "--listen", "127.0.0.1:0"]);
    command.stdin(Stdio::piped());
    let mut dashboard = Dashboard::start_with(command);
    let mut input = dashboard.input();
    input
        .write_all(requests(1_000).as_bytes())
        .expect("written");
    dashboard.page_with("1,000");
    drop(input);
    dashboard.page_with("The log has ended.");
}

#[test]
fn a_page_that_is_written_once_needs_nobody() {
    let (log, page) = (file("once.jsonl"), file("once.html"));
    let (from, to) = (
        log.to_str().expect("a name"),
        page.to_str().expect("a name"),
    );
    let once = |json: &[&str]| {
        let mut arguments = vec!["--log", from, "--once", to];
        arguments.extend(json);
        run(&arguments)
    };
    let fine = report_with(|report| report["errors"]["level"] = "fine".into());
    std::fs::write(&log, fine).expect("written");
    assert_eq!(once(&[]).status.code(), Some(0));
    let written = std::fs::read_to_string(&page).expect("the page");
    assert!(written.contains("12,345") && written.contains("Content-Security-Policy"));
    assert!(!written.contains("<script") && !written.contains("data-events"));
    // A warning is one for scripts, too.
    std::fs::write(&log, report_with(|_| ())).expect("written");
    let output = once(&["--json"]);
    assert_eq!(output.status.code(), Some(3));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (answer["written"].as_str(), answer["level"].as_str()),
        (Some(to), Some("warn"))
    );
    std::fs::write(&log, "").expect("written");
    let output = once(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no report"));
}

/// From the requests to the page, and nobody is named on the way.
#[tokio::test]
async fn a_run_that_is_recorded_is_shown_and_nobody_is_named() {
    const TOKEN: &str = "pat-na1-not-to-be-seen";
    const EMAIL: &str = "ada@lovelace.example";
    let sim = Sim::builder()
        .burst(20, Duration::from_secs(1))
        .build()
        .expect("a simulator");
    let id = sim
        .store(TOKEN)
        .create([("email", EMAIL)])
        .expect("a record");
    let refusal = Fault::status(StatusCode::TOO_MANY_REQUESTS).retry_after(1);
    sim.script(Script::new(refusal).times(3));
    let quota = Quota::new(hubspot::api(Tier::FreeStarter, Zone::UTC));
    let path = file("recorded.jsonl");
    let recording = Recorder::to(&path).start(&quota).expect("a recording");
    let dashboard = Dashboard::start(&["--log", path.to_str().expect("a name")]);
    let api = StackLayer::new(&quota).layer(sim.service());
    for _ in 0..12 {
        let request = Request::get(format!(
            "http://sim/crm/v3/objects/contacts/{EMAIL}?idProperty=email&id={id}"
        ));
        let request = request.header("authorization", format!("Bearer {TOKEN}"));
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        api.clone().oneshot(request).await.expect("an answer");
    }
    recording.finish();
    // 12 requests, and one of them 3 times more.
    let page = dashboard.page_with("<dd>15</dd>");
    assert!(page.contains("GET /crm/v3/objects/contacts/{}"));
    assert!(page.contains("Rate limited") && page.contains("Recovered"));
    let log = std::fs::read_to_string(&path).expect("the log");
    for text in [page, log] {
        assert!(!text.contains("not-to-be-seen") && !text.contains("lovelace"));
    }
}
