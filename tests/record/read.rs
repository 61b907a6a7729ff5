use std::fs::{self, OpenOptions};
use std::io::{Cursor, Write};
use std::path::Path;

use tower_quota::record::{Entry, Reader, Recorder};

use super::{Directory, count, happen, scarce};

fn missed(events: u64) -> String {
    format!("{{\"at\":{events}.5,\"event\":\"missed\",\"events\":{events}}}\n")
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new();
    let mut file = file.append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The numbers of the `missed` lines that are there now.
fn news(reader: &mut Reader) -> Vec<u64> {
    let number = |line: tower_quota::record::Line| match line.entry {
        Entry::Event(event) => event
            .at
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
        entry => panic!("{entry:?}"),
    };
    reader.map(|line| number(line.unwrap())).collect()
}

#[test]
fn predecessors_come_first_and_lines_are_counted_in_each_file() {
    let directory = Directory::new();
    for (name, events) in [("jsonl.2", [1, 2]), ("jsonl.1", [3, 4]), ("jsonl", [5, 6])] {
        append(
            &directory.log().with_extension(name),
            &events.map(missed).concat(),
        );
    }
    // Not one of them: there is a gap.
    append(&directory.log().with_extension("jsonl.4"), &missed(99));
    let lines: Vec<_> = Reader::open(directory.log())
        .unwrap()
        .map(|line| line.unwrap())
        .collect();
    let places = lines.iter().map(|line| {
        let name = line.file.file_name().unwrap().to_str().unwrap();
        (name, line.number)
    });
    let expected = [
        ("log.jsonl.2", 1),
        ("log.jsonl.2", 2),
        ("log.jsonl.1", 1),
        ("log.jsonl.1", 2),
        ("log.jsonl", 1),
        ("log.jsonl", 2),
    ];
    assert!(places.eq(expected));
    assert_eq!(
        news(&mut Reader::open(directory.log()).unwrap()),
        [1, 2, 3, 4, 5, 6]
    );
}

#[test]
fn hostile_lines_are_named_with_file_and_line_and_the_others_are_read() {
    let long = format!("{{\"at\":1,\"event\":\"{}\"}}\n", "x".repeat(10 << 20));
    let deep = "{\"a\":".repeat(10_000) + "\n";
    let huge_time = "{\"at\":1e300,\"event\":\"missed\",\"events\":1}\n";
    let negative = "{\"at\":-1,\"event\":\"missed\",\"events\":1}\n";
    let wrong_type = "{\"at\":1,\"event\":\"missed\",\"events\":\"many\"}\n";
    let token = "{\"at\":1,\"token\":\"Bearer secret\",\"event\":\"missed\",\"events\":1}\n";
    let pieces: [&[u8]; 11] = [
        missed(1).as_bytes(),
        long.as_bytes(),
        b"\xff\xfe\x00binary\n",
        deep.as_bytes(),
        huge_time.as_bytes(),
        negative.as_bytes(),
        wrong_type.as_bytes(),
        token.as_bytes(),
        b"not json at all\n",
        b"\r\n",
        missed(2).as_bytes(),
    ]
    .map(|piece| Box::leak(piece.to_vec().into_boxed_slice()) as &[u8]);
    let mut reader = Reader::new(Cursor::new(pieces.concat()), "some.jsonl");
    let mut read = 0;
    let mut problems = Vec::new();
    for line in reader.by_ref() {
        match line {
            Ok(_) => read += 1,
            Err(error) => problems.push(error.to_string()),
        }
    }
    assert_eq!(read, 2);
    let expected = [
        "some.jsonl:2: is longer than 1048576 bytes",
        "some.jsonl:3: is not UTF-8",
        "some.jsonl:4: recursion limit exceeded",
        "some.jsonl:5: ",
        "some.jsonl:6: ",
        "some.jsonl:7: invalid type: string \"many\"",
        "some.jsonl:8: a fingerprint is written as 32 hexadecimal digits",
        "some.jsonl:9: ",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem} is not {expected}");
        assert!(
            problem.len() < 300 && !problem.contains("secret"),
            "{problem}"
        );
    }
    assert_eq!((reader.unknown(), reader.torn()), (0, 0));
}

#[test]
fn events_of_later_versions_are_skipped_and_counted() {
    let text = missed(1) + "{\"at\":1,\"event\":\"teleported\",\"from\":{\"x\":1}}\n" + &missed(2);
    let mut reader = Reader::new(Cursor::new(text), "-");
    assert_eq!(news(&mut reader), [1, 2]);
    assert_eq!(reader.unknown(), 1);
    let later = "{\"at\":1.5,\"event\":\"missed\",\"events\":1,\"mood\":\"fine\"}";
    assert_eq!(news(&mut Reader::new(Cursor::new(later), "-")), [1]);
}

#[test]
fn a_reader_that_follows_gets_what_comes_line_by_line() {
    let directory = Directory::new();
    append(&directory.log(), &missed(1));
    let mut reader = Reader::follow(directory.log()).unwrap();
    assert_eq!(news(&mut reader), [1]);
    assert!(reader.next().is_none());
    let line = missed(2);
    let (half, rest) = line.split_at(9);
    append(&directory.log(), half);
    assert!(reader.next().is_none());
    append(&directory.log(), rest);
    append(&directory.log(), &missed(3));
    assert_eq!(news(&mut reader), [2, 3]);
    assert!(reader.next().is_none());
}

#[test]
fn a_reader_that_follows_misses_nothing_when_files_change_their_names() {
    let directory = Directory::new();
    let rotate = |most: u32| {
        for nth in (0..most).rev() {
            let name = |nth| match nth {
                0 => directory.log(),
                nth => directory.log().with_extension(format!("jsonl.{nth}")),
            };
            let _ = fs::rename(name(nth), name(nth + 1));
        }
    };
    append(&directory.log(), &missed(1));
    let mut reader = Reader::follow(directory.log()).unwrap();
    assert_eq!(news(&mut reader), [1]);
    // Written after the last look, and before the new name.
    append(&directory.log(), &missed(2));
    rotate(3);
    // Between two names there is none.
    assert_eq!(news(&mut reader), [2]);
    append(&directory.log(), &missed(3));
    rotate(3);
    append(&directory.log(), &missed(4));
    rotate(3);
    append(&directory.log(), &missed(5));
    assert_eq!(news(&mut reader), [3, 4, 5]);
    // So often that what was being read is gone: what is still there is read, oldest first.
    for number in 6..12 {
        rotate(3);
        append(&directory.log(), &missed(number));
    }
    assert_eq!(news(&mut reader), [8, 9, 10, 11]);
    assert!(reader.next().is_none());
}

#[tokio::test]
async fn a_reader_that_follows_a_recorder_over_rotations_sees_every_line() {
    let directory = Directory::new();
    let quota = scarce();
    let recorder = Recorder::to(directory.log()).max_bytes(4_096).keep(1_000);
    let recording = recorder.start(&quota).unwrap();
    let path = directory.log();
    let (stop, stopped) = std::sync::mpsc::channel();
    let follower = std::thread::spawn(move || {
        let mut reader = Reader::follow(path).unwrap();
        let mut lines = Vec::new();
        loop {
            let is_over = stopped.try_recv().is_ok();
            lines.extend(reader.by_ref().map(|line| line.unwrap()));
            if is_over {
                return lines;
            }
            std::thread::yield_now();
        }
    });
    for _ in 0..50 {
        happen(&quota, 40).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let recorded = recording.finish();
    stop.send(()).unwrap();
    let lines = follower.join().unwrap();
    assert_eq!(recorded.missed, 0);
    assert_eq!(count(&lines, "denied"), 2_000);
    assert_eq!(lines.len() as u64, recorded.lines);
    assert!(directory.names().len() > 50);
}
