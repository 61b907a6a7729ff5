//! `--verify`: what was synced is read back by search.

use std::time::Duration;

use http::{Method, StatusCode};
use tower_quota::sim::{Cost, Fault, Script};

#[cfg(unix)]
use super::program::interrupt;
use super::{File, quick, run, run_against, serve};
#[cfg(unix)]
use super::{Run, command};

#[test]
fn every_record_is_found_although_the_server_times_out_on_big_pages() {
    // The simulated HubSpot that the program brings along gives up on searches for more than 33 records.
    let run = run(&["--records", "90", "--verify", "--json"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let verified = &run.json()["verified"];
    let done = run.figure("records_done");
    assert!(done > 80, "{}", run.out);
    assert_eq!(verified["looked_for"], done);
    assert_eq!(verified["found"], done);
    assert_eq!(verified["missing"], 0);
    assert_eq!(verified["different"], 0);
    assert_eq!(verified["searches"], 1);
    assert_eq!(verified["trimmed"], 1);
    assert_eq!(verified["http_429"], 0);
    // The whole and its half are too heavy, the quarter is not.
    assert_eq!(verified["http_5xx"], 2);
    assert_eq!(verified["http_requests"], 2 + 4);
}

#[test]
fn the_table_tells_what_was_found() {
    let run = run(&["--records", "10", "--verify"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    assert!(run.out.contains("10 of 10 found by search"), "{}", run.out);
    let fits = |line: &str| line.chars().count() <= 80;
    assert!(run.out.lines().all(fits), "{}", run.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_there_is_named() {
    let file = File::new(
        "verify",
        b"email,city\nada@example.org,Paris\nlost@example.org,Rome\nGrace@Example.org,Oslo\n",
    );
    // The update is answered as if it were done.
    let lie = Fault::status(StatusCode::OK).body("{}");
    let lie = Script::new(lie).method(Method::PATCH).path("lost");
    // Cheaper pages would do, too; the answer must not depend on it.
    let cost = Cost::new(4).wait(Duration::from_millis(50));
    let (sim, server) = serve(quick().script(lie).cost(cost)).await;
    let run = run_against(&server, &["--csv", file.path(), "--verify"]).await;
    assert_eq!(run.code, Some(1), "{}", run.err);
    let verified = &run.json()["verified"];
    assert_eq!(verified["looked_for"], 3);
    assert_eq!(verified["found"], 2);
    assert_eq!(verified["missing"], 1);
    // HubSpot keeps addresses in lower case, which makes no other value of them.
    assert_eq!(verified["different"], 0);
    assert!(
        run.err.contains("lost@example.org: not found"),
        "{}",
        run.err
    );
    // It was looked for again, because an index may be late.
    assert!(verified["searches"].as_u64() > Some(1), "{verified}");
    assert!(sim.stats().too_heavy() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_fails_for_good_ends_the_run_with_the_servers_words() {
    let file = File::new("verify-fails", b"email\nada@example.org\n");
    let forbidden = Fault::status(StatusCode::FORBIDDEN).body(r#"{"message":"no searching here"}"#);
    let forbidden = Script::new(forbidden).times(100).path("/search");
    let (_, server) = serve(quick().script(forbidden)).await;
    let run = run_against(&server, &["--csv", file.path(), "--verify"]).await;
    run.fails_saying("no searching here");
    // What was synced is told all the same.
    assert_eq!(run.figure("records_done"), 1);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_reading_back_and_says_what_is_open() {
    // So heavy that nothing is ever found.
    let cost = Cost::new(1).wait(Duration::from_secs(600));
    let (sim, server) = serve(quick().cost(cost)).await;
    let url = server.url();
    let arguments = ["--base-url", &url, "--records", "10", "--verify"];
    let child = command(&arguments).spawn().expect("the program runs");
    while sim.stats().search.counted == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    interrupt(child.id());
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    let run = Run::from(output.await.expect("no panic").expect("an end"));
    assert_eq!(run.code, Some(130), "{}{}", run.out, run.err);
    assert!(run.err.contains("Reading 10 records back"), "{}", run.err);
    for line in ["0 of 10 found by search", "  not done      10"] {
        assert!(run.out.contains(line), "{line}: {}", run.out);
    }
}
