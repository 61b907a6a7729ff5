//! Who may read and post.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::http::{ask, read_head};
use crate::program::{Dashboard, report_with, run};

const LINES: &str = "content-type: application/x-ndjson";

#[test]
fn a_page_elsewhere_can_neither_read_nor_post() {
    let dashboard = Dashboard::start(&[]);
    let (address, report) = (&*dashboard.address, report_with(|_| ()));
    let post = |headers: &[&str]| ask(address, "POST", "/log", headers, report.as_bytes()).status;
    // A name that points here, as DNS rebinding makes one.
    assert_eq!(post(&["host: evil.example:80", LINES]), 421);
    assert_eq!(
        ask(address, "GET", "/", &["host: evil.example"], b"").status,
        421
    );
    assert_eq!(
        ask(address, "GET", "/events", &["host: evil.example"], b"").status,
        421
    );
    // A page that is open in the same browser.
    assert_eq!(post(&["origin: http://evil.example", LINES]), 403);
    assert_eq!(post(&["origin: null", LINES]), 403);
    assert_eq!(post(&["sec-fetch-site: cross-site", LINES]), 403);
    // What a form can send, or a script without asking first; and asking does not help.
    assert_eq!(post(&["content-type: text/plain"]), 415);
    assert_eq!(
        post(&["content-type: application/x-www-form-urlencoded"]),
        415
    );
    assert_eq!(post(&[]), 415);
    let asked = ask(
        address,
        "OPTIONS",
        "/log",
        &["access-control-request-method: POST"],
        b"",
    );
    assert_eq!(
        (asked.status, asked.head.contains("access-control")),
        (405, false)
    );
    assert!(
        dashboard.get("/").body.contains("No report yet"),
        "nothing has come in"
    );
    assert_eq!(post(&[LINES]), 200);
    assert!(dashboard.get("/").body.contains("12,345"));
}

#[test]
fn it_answers_to_names_it_was_told() {
    let dashboard = Dashboard::start(&["--host", "ops.example"]);
    let asks = |host: &str| ask(&dashboard.address, "GET", "/", &[host], b"").status;
    assert_eq!(asks("host: ops.example:8471"), 200);
    assert_eq!(asks("host: localhost"), 200);
    assert_eq!(asks("host: other.example"), 421);
}

#[test]
fn what_is_posted_is_bounded() {
    let dashboard = Dashboard::start(&[]);
    let address = &*dashboard.address;
    let length = "content-length: 268435457";
    let head = format!("POST /log HTTP/1.1\r\nhost: {address}\r\n{LINES}\r\n{length}\r\n\r\n");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(head.as_bytes()).expect("sent");
    let (answer, _) = read_head(&mut BufReader::new(stream));
    assert_eq!(answer, 413);
    // A line of 3 MiB is skipped, those around it are not.
    let report = report_with(|_| ());
    let lines = format!("{report}{}\nno JSON\n{report}", " ".repeat(3 << 20));
    let answer = dashboard.post("/log", &lines);
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .body
            .starts_with("{\"lines\":4,\"skipped\":2,\"problem\":\"is longer than"),
        "{}",
        answer.body
    );
    let page = dashboard.get("/").body;
    assert!(page.contains("12,345") && page.contains("Lines skipped: 2"));
}

#[test]
fn programs_are_told_apart_and_are_not_many() {
    let dashboard = Dashboard::start(&[]);
    let named = |name: &str| report_with(|report| report["api"] = name.into());
    assert_eq!(
        dashboard.post("/log?from=worker-1", &named("first")).status,
        200
    );
    assert_eq!(
        dashboard
            .post("/log?from=worker-2", &named("second"))
            .status,
        200
    );
    let page = dashboard.get("/?from=worker-2").body;
    assert!(
        page.contains("<h1>second</h1>") && page.contains("data-events=\"/events?from=worker-2\"")
    );
    assert!(page.contains("href=\"/?from=worker-1\">worker-1</a>"));
    assert!(page.contains("href=\"/?from=worker-2\" aria-current=\"page\">worker-2</a>"));
    let statuses: Vec<u16> = (3..=17)
        .map(|nth| {
            dashboard
                .post(&format!("/log?from=worker-{nth}"), &named("more"))
                .status
        })
        .collect();
    assert_eq!(
        (statuses[13], statuses[14]),
        (200, 507),
        "16 and no more: {statuses:?}"
    );
    assert_eq!(dashboard.post("/log?from=a/b", &named("odd")).status, 400);
    assert_eq!(dashboard.get("/?from=worker-99").status, 404);
}

#[test]
fn what_is_not_there_is_said() {
    let dashboard = Dashboard::start(&[]);
    assert_eq!(dashboard.get("/nothing").status, 404);
    assert_eq!(ask(&dashboard.address, "DELETE", "/", &[], b"").status, 405);
    let head = ask(&dashboard.address, "HEAD", "/", &[], b"");
    assert_eq!(head.status, 200);
}

/// On the error stream, where the answer is for a program.
#[test]
fn a_wider_address_is_warned_of() {
    let mut command = crate::program::command(&["--json", "--listen", "0.0.0.0:0"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut text = String::new();
    let mut said = BufReader::new(child.stderr.take().expect("what it says"));
    said.read_line(&mut text).expect("a line");
    child.kill().expect("it ends");
    child.wait().expect("it ends");
    assert!(
        text.contains("can read it, and post to it: there is no password"),
        "{text}"
    );
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    for (arguments, expected) in [
        (&["--listen", "nowhere"][..], "--listen"),
        (&["--zone", "Mars/Olympus"], "--zone"),
        (&["--log", "/no/such/log.jsonl"], "/no/such/log.jsonl"),
        (&["--once", "page.html"], "--log"),
    ] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{text}");
    }
}
