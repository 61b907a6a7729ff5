//! The example `hubspot_sync` as its user meets it: flags, figures, messages and exit codes.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tower_quota::sim::{Fault, Latency, Script, Sim, SimBuilder, SimServer};

mod batch;
// The tests of these two run here, because cargo does not run those of examples.
#[allow(dead_code)]
#[path = "../../examples/hubspot_sync/contacts.rs"]
mod contacts;
#[allow(dead_code)]
#[path = "../../examples/hubspot_sync/pace.rs"]
mod pace;
#[path = "../common/program.rs"]
mod program;
mod verify;

const TOKEN: &str = "pat-na1-not-to-be-seen";

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::example("hubspot_sync"));

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(&*PROGRAM);
    command
        .args(arguments)
        .env("HUBSPOT_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let run = Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        };
        assert!(
            !run.out.contains(TOKEN) && !run.err.contains(TOKEN),
            "the token was printed"
        );
        run
    }
}

impl Run {
    /// The object that `--json` prints last.
    #[track_caller]
    fn json(&self) -> Value {
        let last = self.out.lines().last().expect("a line");
        serde_json::from_str(last).expect("a JSON object")
    }

    #[track_caller]
    fn figure(&self, name: &str) -> u64 {
        let json = self.json();
        json[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {json}"))
    }

    #[track_caller]
    fn fails_saying(&self, text: &str) {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert_eq!(
            self.err.matches(text).count(),
            1,
            "{text:?} once in: {}",
            self.err
        );
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

fn run(arguments: &[&str]) -> Run {
    command(arguments)
        .output()
        .expect("the program runs")
        .into()
}

/// Against a server in this process.
async fn run_against(server: &SimServer, arguments: &[&str]) -> Run {
    let url = server.url();
    let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        let mut all = vec!["--base-url", &url, "--json"];
        all.extend(arguments.iter().map(String::as_str));
        command(&all).output()
    });
    output
        .await
        .expect("no panic")
        .expect("the program runs")
        .into()
}

async fn serve(builder: SimBuilder) -> (Sim, SimServer) {
    let sim = builder.build().expect("a simulator");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = sim.serve(listener).expect("a server");
    (sim, server)
}

fn quick() -> SimBuilder {
    Sim::builder().service_time(Latency::constant(Duration::from_millis(2)))
}

/// A file that is gone when the test is over.
struct File(PathBuf);

impl File {
    fn new(name: &str, data: &[u8]) -> Self {
        let path =
            std::env::temp_dir().join(format!("hubspot-sync-{}-{name}.csv", std::process::id()));
        std::fs::write(&path, data).expect("a file");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path of text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn without_arguments_it_brings_its_own_server_and_is_never_refused() {
    // More than one window holds, so that one wait is in it.
    let run = run(&["--records", "200", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert_eq!(run.out.lines().count(), 1, "{}", run.out);
    assert_eq!(run.figure("records"), 200);
    assert_eq!(
        run.figure("records_done") + run.figure("records_failed"),
        200
    );
    assert_eq!(run.figure("http_429"), 0);
    assert_eq!(run.figure("http_5xx"), 0);
    assert_eq!(run.figure("retries"), 0);
    assert!(
        (191..=380).contains(&run.figure("http_requests")),
        "{}",
        run.out
    );
    let json = run.json();
    assert_eq!(json["ideal_s"], 10.0);
    assert!(json["elapsed_s"].as_f64() >= json["ideal_s"].as_f64());
    // A busy machine may be late; how close it comes on a quiet one is not for a test to say.
    let share = json["share_of_ideal"].as_f64().expect("a share");
    assert!((0.5..=1.0).contains(&share), "{json}");
    // Both ways of the upsert were taken.
    assert!(
        run.figure("records_created") > 50 && run.figure("records_updated") > 50,
        "{}",
        run.out
    );
    // A row of the shipped file that has no address.
    assert!(run.err.contains("line 24: "), "{}", run.err);
}

#[test]
fn the_table_fits_a_terminal() {
    let run = run(&["--records", "30"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    for word in [
        "records",
        "429",
        "5xx",
        "retries",
        "elapsed",
        "ideal",
        "broken rows",
    ] {
        assert!(run.out.contains(word), "{word}: {}", run.out);
    }
    assert!(
        run.out.lines().all(|line| line.chars().count() <= 80),
        "{}",
        run.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_rows_are_named_by_their_line_and_stop_nobody() {
    let (sim, server) = serve(quick()).await;
    let file = File::new(
        "broken",
        b"email,firstname,company\r\nada@example.org,Ada,\"Two\r\nlines\"\r\n\r\n,Nobody,None\r\nshort@example.org\r\n\
          ADA@example.org,Twice,None\r\nx@example.org,\xff,None\r\nfine@example..org,Refused,None\r\n\
          o'hara+1@example.org,Last,\xc3\x9c\r\n",
    );
    let run = run_against(&server, &["--csv", file.path()]).await;
    assert_eq!(run.code, Some(0), "{}", run.err);
    for (line, text) in [
        (5, "no e-mail address"),
        (6, "1 column instead of 3"),
        (7, "on line 2 already"),
        (8, "UTF-8"),
        (9, "fine@example..org is invalid"),
    ] {
        let found = run
            .err
            .lines()
            .find(|found| found.starts_with(&format!("line {line}: ")));
        assert!(
            found.is_some_and(|found| found.contains(text)),
            "line {line}, {text}: {}",
            run.err
        );
    }
    assert_eq!(run.figure("records"), 7);
    assert_eq!(run.figure("records_done"), 2);
    assert_eq!(run.figure("records_failed"), 5);
    assert_eq!(run.figure("broken_rows"), 4);
    assert_eq!(run.json()["share_of_ideal"], Value::Null);
    assert_eq!(sim.stats().statuses.get(&201), Some(&2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_goes_round_until_there_are_enough_records() {
    let (sim, server) = serve(quick()).await;
    let file = File::new("round", b"email\na@example.org\nb@example.org\n");
    let first = run_against(&server, &["--csv", file.path(), "--records", "5"]).await;
    assert_eq!(
        (first.code, first.figure("records_created")),
        (Some(0), 5),
        "{}",
        first.err
    );
    let again = run_against(&server, &["--csv", file.path(), "--records", "5"]).await;
    assert_eq!(
        (again.code, again.figure("records_updated")),
        (Some(0), 5),
        "{}",
        again.err
    );
    let cut = run_against(&server, &["--csv", file.path(), "--records", "1"]).await;
    assert_eq!(
        (cut.code, cut.figure("http_requests")),
        (Some(0), 1),
        "{}",
        cut.err
    );
    assert_eq!(sim.stats().arrived(), 5 * 2 + 5 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_on_the_way_is_repeated_and_counted() {
    let lost = Script::new(Fault::drop_after_counting()).times(2);
    let failing = Script::new(Fault::status(StatusCode::BAD_GATEWAY)).times(3);
    let (sim, server) = serve(quick()).await;
    let file = File::new(
        "trouble",
        b"email\na@example.org\nb@example.org\nc@example.org\nd@example.org\n",
    );
    run_against(&server, &["--csv", file.path()]).await;
    // Updates may be repeated after any trouble, even when the very first request meets it.
    sim.script(failing.method(Method::PATCH));
    let run = run_against(&server, &["--csv", file.path()]).await;
    assert_eq!(
        (run.code, run.figure("records_updated")),
        (Some(0), 4),
        "{}",
        run.err
    );
    assert_eq!((run.figure("http_5xx"), run.figure("retries")), (3, 3));
    assert_eq!(run.figure("http_requests"), 4 + 3);
    // Two in a row beyond the first request, which alone is not repeated.
    sim.script(lost.method(Method::PATCH).path("d%40example.org"));
    let run = run_against(&server, &["--csv", file.path()]).await;
    assert_eq!(
        (run.code, run.figure("records_updated")),
        (Some(0), 4),
        "{}",
        run.err
    );
    assert_eq!(
        (run.figure("retries"), run.figure("http_requests")),
        (2, 6),
        "{}",
        run.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_somebody_else_has_just_created_is_updated() {
    let (sim, server) = serve(quick()).await;
    let file = File::new("conflict", b"email\na@example.org\n");
    run_against(&server, &["--csv", file.path()]).await;
    sim.script(
        Script::new(Fault::status(StatusCode::NOT_FOUND))
            .times(1)
            .method(Method::PATCH),
    );
    let run = run_against(&server, &["--csv", file.path()]).await;
    assert_eq!(
        (run.code, run.figure("records_updated")),
        (Some(0), 1),
        "{}",
        run.err
    );
    assert_eq!(run.figure("http_requests"), 3);
    assert_eq!(sim.stats().statuses.get(&409), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_said_once() {
    let (sim, server) = serve(quick().token("another")).await;
    let run = run_against(&server, &["--records", "200"]).await;
    run.fails_saying("does not accept the token");
    assert_eq!(sim.stats().unauthorized, 1);
    assert_eq!(run.figure("records_done"), 0);
}

#[test]
fn a_host_out_of_reach_is_said_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    run(&["--base-url", &format!("http://{address}")]).fails_saying("cannot reach");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_hubspots_is_said_once() {
    let (_sim, server) = serve(quick()).await;
    let url = format!("{}/elsewhere", server.url());
    let run = tokio::task::spawn_blocking(move || run(&["--base-url", &url])).await;
    run.expect("no panic").fails_saying("is --base-url right?");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    run(&["--csv", "/does/not/exist.csv"]).fails_saying("/does/not/exist.csv");
    for (name, data, text) in [
        ("empty", &b""[..], "is empty"),
        ("head", b"email,city\n", "nothing below"),
        ("column", b"mail,city\na@example.org,X\n", "`email`"),
        ("rows", b"email\nnone\n", "line 2: "),
    ] {
        let file = File::new(name, data);
        run(&["--csv", file.path()]).fails_saying(text);
    }
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, text) in [
        (&["--tier", "gold"][..], "professional"),
        (&["--records", "0"], "--records"),
        (&["--concurrency", "0"], "--concurrency"),
        (&["--base-url", "ftp://example.org"], "https://"),
        (
            &["--base-url", "https://user:secret@example.org"],
            "password",
        ),
    ] {
        let run = run(arguments);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.err);
        assert!(run.err.contains(text), "{arguments:?}: {}", run.err);
    }
    run(&["--zone", "Mars/Olympus"]).fails_saying("--zone \"Mars/Olympus\"");
    let nobody = command(&["--base-url", "https://example.org"])
        .env_remove("HUBSPOT_TOKEN")
        .output()
        .expect("the program runs");
    Run::from(nobody).fails_saying("HUBSPOT_TOKEN");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_finishes_what_is_under_way() {
    let (sim, server) = serve(quick()).await;
    let url = server.url();
    let arguments = ["--base-url", &url, "--json", "--records", "500"];
    let child = command(&arguments).spawn().expect("the program runs");
    // It is in the middle of it when the first window is used up.
    while sim.stats().counted() < 190 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    program::interrupt(child.id());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    let run = Run::from(output.await.expect("no panic").expect("an end"));
    assert_eq!(run.code, Some(130), "{}{}", run.out, run.err);
    assert!(run.err.contains("Stopping: "), "{}", run.err);
    let (done, failed) = (run.figure("records_done"), run.figure("records_failed"));
    assert!(done > 0 && done + failed < 500, "{}", run.out);
    assert_eq!(run.json()["stopped_early"], true);
}
