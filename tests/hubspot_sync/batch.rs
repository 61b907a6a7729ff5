//! `--batch`: the same work in fewer requests.

use http::StatusCode;
use tower_quota::sim::{Fault, Script};

use super::{Run, quick, run, run_against, serve};

/// What became of the records, and what is said of those that failed.
fn told(run: &Run) -> (Vec<u64>, Vec<&str>) {
    let names = [
        "records_done",
        "records_failed",
        "records_created",
        "records_updated",
        "broken_rows",
    ];
    let mut lines: Vec<&str> = run
        .err
        .lines()
        .filter(|line| line.starts_with("line "))
        .collect();
    lines.sort_unstable();
    (names.map(|name| run.figure(name)).to_vec(), lines)
}

#[test]
fn every_record_fares_as_without_it_and_few_requests_are_made() {
    let plain = run(&["--records", "110", "--json"]);
    let batched = run(&[
        "--records",
        "110",
        "--json",
        "--batch",
        "--concurrency",
        "200",
    ]);
    assert_eq!((plain.code, batched.code), (Some(0), Some(0)));
    assert_eq!(told(&batched), told(&plain));
    assert!(plain.figure("http_requests") > 110, "{}", plain.out);
    assert!(batched.figure("http_requests") <= 12, "{}", batched.out);
    assert_eq!(batched.figure("http_429"), 0);
}

#[test]
fn what_was_synced_in_batches_is_found_again() {
    let run = run(&["--records", "300", "--json", "--batch", "--verify"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    let verified = &run.json()["verified"];
    assert_eq!(verified["found"], run.figure("records_done"));
    assert_eq!(verified["different"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_a_batch_is_told_of_each_of_its_records() {
    let broken = Fault::status(StatusCode::INTERNAL_SERVER_ERROR);
    let script = Script::new(broken).path("batch/create").times(1_000);
    let (_sim, server) = serve(quick().script(script)).await;
    let run = run_against(&server, &["--batch", "--records", "6"]).await;
    // The first record goes alone and is created, and perhaps another one; the others share a batch, which is not sent again.
    assert_eq!(run.code, Some(0), "{}", run.err);
    let failed = run.figure("records_failed");
    assert!((4..=5).contains(&failed), "{}", run.out);
    assert_eq!(run.figure("records_created"), 6 - failed);
    // On several threads not all of them need come in time for the first batch.
    assert!((1..=2).contains(&run.figure("http_5xx")), "{}", run.out);
    let told = run.err.matches("(status 500)").count() as u64;
    assert_eq!(told, failed, "{}", run.err);
}
