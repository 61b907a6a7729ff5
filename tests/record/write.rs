use std::fs;
use std::io::Write;
use std::time::Duration;

use tower::{Layer, ServiceExt};
use tower_quota::event::EventKind;
use tower_quota::plan::{Limit, Plan, RouteClass, Scope, Zone};
use tower_quota::record::{Entry, Reader, Recorder};
use tower_quota::{ObserveLayer, Quota, hubspot};

use super::{Directory, count, happen, is_started, lines, named, scarce};

#[tokio::test]
async fn each_event_is_one_line_in_its_order_and_the_limits_come_first() {
    let directory = Directory::new();
    let plan = Plan::builder("acme")
        .limit(Limit::rolling("burst", 1, Duration::from_secs(3600)).governs([RouteClass::General]))
        .limit(Limit::daily("day", 50_000, Zone::UTC).scope(Scope::App));
    let quota = Quota::new(plan.build().unwrap());
    let mut events = quota.events_with_requests();
    let recording = Recorder::to(directory.log()).start(&quota).unwrap();
    happen(&quota, 5).await;
    let recorded = recording.finish();
    assert_eq!((recorded.missed, recorded.failure.is_none()), (0, true));

    let lines = lines(&directory.log());
    assert_eq!(recorded.lines, lines.len() as u64);
    let text = fs::read_to_string(directory.log()).unwrap();
    assert!(text.starts_with(r#"{"event":"started","at":1"#), "{text}");
    let limits = r#""limits":[{"limit":"burst","scope":"token","quota":1,"window":3600.0,"classes":["general"]},{"limit":"day","scope":"app","quota":50000,"zone":"UTC"}]}"#;
    let first = text.lines().next().unwrap();
    assert!(
        first.contains(r#""api":"acme""#) && first.ends_with(limits),
        "{first}"
    );

    for (line, text) in lines.iter().zip(text.lines()) {
        assert_eq!(line.text, text);
    }
    let mut told = Vec::new();
    while let Some(event) = events.try_next() {
        told.push(event);
    }
    assert_eq!(told.len(), 5);
    assert_eq!(lines.last().unwrap().entry.name(), "report");
    let written = lines.iter().filter_map(|line| match &line.entry {
        Entry::Event(event) => Some(event),
        _ => None,
    });
    for (written, told) in written.zip(&told) {
        // A log tells microseconds.
        assert_eq!((&written.kind, written.token), (&told.kind, told.token));
        let between = written
            .at
            .duration_since(told.at)
            .unwrap_or_else(|error| error.duration());
        assert!(between < Duration::from_micros(2), "{between:?}");
    }
}

#[tokio::test]
async fn no_file_grows_beyond_its_size_and_no_line_is_torn() {
    let directory = Directory::new();
    let quota = scarce();
    let recorder = Recorder::to(directory.log()).max_bytes(5_000).keep(3);
    let recording = recorder.start(&quota).unwrap();
    happen(&quota, 500).await;
    let recorded = recording.finish();
    assert_eq!(recorded.missed, 0);

    assert_eq!(
        directory.names(),
        ["log.jsonl", "log.jsonl.1", "log.jsonl.2"]
    );
    for name in directory.names() {
        let text = fs::read_to_string(directory.log().with_file_name(&name)).unwrap();
        assert!(
            text.len() <= 5_000 && text.ends_with('\n'),
            "{name}: {}",
            text.len()
        );
        // The next line would not have fitted.
        let line = text.lines().map(str::len).max().unwrap();
        assert!(
            name == "log.jsonl" || text.len() + line + 1 > 5_000,
            "{name}: {}",
            text.len()
        );
        assert!(text.starts_with(r#"{"event":"started""#), "{name}");
        assert_eq!(text.matches("started").count(), 1, "{name}");
    }
    let lines = lines(&directory.log());
    assert!(
        lines
            .windows(2)
            .all(|pair| pair[0].entry.at() <= pair[1].entry.at())
    );
}

#[tokio::test]
async fn a_file_is_filled_to_the_last_byte() {
    // The length of all lines is known from a log without end.
    let lengths = {
        let directory = Directory::new();
        let quota = scarce();
        let recording = Recorder::to(directory.log()).start(&quota).unwrap();
        happen(&quota, 1).await;
        recording.finish();
        let text = fs::read_to_string(directory.log()).unwrap();
        let lengths: Vec<usize> = text.lines().map(|line| line.len() + 1).collect();
        lengths
    };
    // Times have up to six digits behind the point, so lengths differ by a few bytes: a file that is begun by hand makes up for it.
    for spare in [0, 1] {
        let directory = Directory::new();
        let size = 6_000;
        let quota = scarce();
        let started = lengths[0];
        let filler = format!("{{\"event\":\"filler\",\"x\":\"{}\"}}\n", "x".repeat(2_000));
        fs::write(directory.log(), &filler).unwrap();
        let recording = Recorder::to(directory.log())
            .max_bytes(size)
            .start(&quota)
            .unwrap();
        recording.finish();
        let length = fs::metadata(directory.log()).unwrap().len();
        assert!(length as usize <= filler.len() + started + 1 + 2_000);
        // Exactly as long as the file may be: it is full, and still itself.
        let rest = size - length - spare;
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(directory.log())
            .unwrap();
        let filler = format!(
            "{{\"event\":\"filler\",\"x\":\"{}\"}}\n",
            "x".repeat(rest as usize - 26)
        );
        file.write_all(filler.as_bytes()).unwrap();
        assert_eq!(fs::metadata(directory.log()).unwrap().len(), size - spare);
        let recording = Recorder::to(directory.log())
            .max_bytes(size)
            .start(&quota)
            .unwrap();
        recording.finish();
        assert_eq!(
            fs::metadata(directory.log().with_extension("jsonl.1"))
                .unwrap()
                .len(),
            size - spare
        );
    }
}

#[tokio::test]
async fn what_another_program_wrote_in_part_is_ended_and_skipped() {
    let directory = Directory::new();
    let quota = scarce();
    let record = async |events| {
        let recording = Recorder::to(directory.log()).start(&quota).unwrap();
        happen(&quota, events).await;
        recording.finish()
    };
    record(3).await;
    let whole = fs::read(directory.log()).unwrap();
    // The machine went down somewhere in the last event.
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap();
    for cut in [1, (whole.len() - last) / 2, whole.len() - last - 2] {
        fs::write(directory.log(), &whole[..whole.len() - cut]).unwrap();
        let before = Reader::open(directory.log()).unwrap().flatten().count();
        record(2).await;
        let mut reader = Reader::open(directory.log()).unwrap();
        let lines: Vec<_> = reader.by_ref().map(|line| line.unwrap()).collect();
        // Without its end only, it is whole.
        assert_eq!(reader.torn(), u64::from(cut > 1), "{cut}");
        assert_eq!(lines.iter().filter(|line| is_started(line)).count(), 2);
        assert_eq!(
            lines[before..]
                .iter()
                .filter(|line| line.entry.name() == "denied")
                .count(),
            2
        );
        // The healed line is still one line.
        let text = fs::read_to_string(directory.log()).unwrap();
        assert_eq!(text.lines().count(), lines.len() + reader.torn() as usize);
    }
}

#[tokio::test]
async fn a_log_does_not_keep_the_quota_and_ends_with_it() {
    let directory = Directory::new();
    let quota = scarce();
    let recording = Recorder::to(directory.log()).start(&quota).unwrap();
    happen(&quota, 2).await;
    let mut events = quota.events();
    drop(quota);
    assert!(events.next().await.is_none());
    let recorded = recording.finish();
    assert_eq!(recorded.missed, 0);
    assert_eq!(
        named(&lines(&directory.log())),
        ["started", "denied", "denied"]
    );
}

#[tokio::test]
async fn what_is_dropped_is_written() {
    let directory = Directory::new();
    let quota = scarce();
    let recording = Recorder::to(directory.log()).start(&quota).unwrap();
    happen(&quota, 100).await;
    drop(recording);
    assert_eq!(count(&lines(&directory.log()), "denied"), 100);
    // And nothing more.
    happen(&quota, 1).await;
    assert_eq!(count(&lines(&directory.log()), "denied"), 100);
}

/// A pipe that nobody reads is a disk that hangs.
#[cfg(unix)]
#[tokio::test]
async fn a_slow_disk_holds_nobody_up_and_the_log_says_what_it_missed() {
    let directory = Directory::new();
    let made = std::process::Command::new("mkfifo")
        .arg(directory.log())
        .status();
    assert!(made.unwrap().success());
    // Both ends are open: nobody waits for the other one.
    let mut pipe = fs::OpenOptions::new();
    let pipe = pipe.read(true).write(true).open(directory.log()).unwrap();
    let quota = scarce();
    let recording = Recorder::to(directory.log()).start(&quota).unwrap();
    // Far more than what a pipe, a buffer and the stream keep.
    let all = 40_000;
    happen(&quota, all).await;
    let log = std::thread::spawn({
        let path = directory.log();
        move || {
            let reader = std::io::BufReader::new(fs::File::open(&path).unwrap());
            let lines = Reader::new(reader, &path);
            let lines: Vec<_> = lines.map(|line| line.unwrap()).collect();
            lines
        }
    });
    // The reader has to be there before the other end goes.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let recorded = recording.finish();
    drop(pipe);
    let lines = log.join().unwrap();
    assert_eq!(lines.len() as u64, recorded.lines);
    let told = lines.iter().filter_map(|line| match &line.entry {
        Entry::Event(event) => match event.kind {
            EventKind::Missed { events } => Some(events),
            _ => None,
        },
        _ => None,
    });
    let told: u64 = told.sum();
    assert!(told > 0, "the pipe was fast enough for all");
    assert_eq!(
        (told, recorded.missed),
        (all as u64 - count(&lines, "denied") as u64, told)
    );
}

/// `/dev/full` is a disk without room.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_at_the_end_and_fails_nothing_else() {
    let quota = scarce();
    let recording = Recorder::to("/dev/full").start(&quota).unwrap();
    happen(&quota, 300).await;
    let recorded = recording.finish();
    assert_eq!(recorded.lines, 0);
    assert!(recorded.missed >= 300, "{}", recorded.missed);
    let failure = recorded.failure.unwrap();
    assert_eq!(failure.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_log_that_cannot_be_made_is_an_error_at_once() {
    let directory = Directory::new();
    let nowhere = directory.log().join("nowhere");
    let quota = Quota::new(hubspot::plan(hubspot::Tier::Professional, Zone::UTC));
    let error = Recorder::to(nowhere).start(&quota).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn every_minute_a_report_says_what_is_new_and_the_last_one_how_it_ended() {
    let directory = Directory::new();
    let start = std::time::UNIX_EPOCH + Duration::from_secs(1_763_800_000);
    let quota = Quota::builder(crate::common::burst(100, Duration::from_secs(10)));
    let quota = quota
        .clock(tower_quota::clock::Clock::starting_at(start))
        .build();
    let api = ObserveLayer::new(&quota).layer(crate::common::Server::fine());
    let recording = Recorder::to(directory.log()).start(&quota).unwrap();
    let mut seen = 0;
    for minute in 0..12 {
        for _ in 0..=minute {
            api.clone()
                .oneshot(crate::common::get("one"))
                .await
                .unwrap();
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        // The thread runs in real time; time stands still until it has written.
        let written = || {
            let lines = Reader::open(directory.log()).unwrap().flatten();
            lines.filter(|line| line.entry.name() == "report").count()
        };
        for _ in 0..1_000 {
            seen = written();
            if seen > minute {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(seen, minute + 1);
    }
    recording.finish();
    let lines = lines(&directory.log());
    let reports = lines.iter().filter_map(|line| match &line.entry {
        Entry::Report(report) => Some(report),
        _ => None,
    });
    let reports: Vec<_> = reports.collect();
    assert_eq!(reports.len(), 13);
    assert_eq!(reports[11].today.requests, 78);
    // What the intervals of all lines say together, each as it was said last, is what the counters say.
    let mut intervals = std::collections::BTreeMap::new();
    for report in &reports {
        assert!(report.history.len() <= 2, "{:?}", report.history);
        intervals.extend(report.history.iter().map(|it| (it.began, it.requests)));
    }
    assert_eq!(intervals.values().sum::<u32>(), 78);
    assert!(intervals.len() >= 3);
}
