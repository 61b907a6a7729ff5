//! News as they come, for many readers, fast ones and slow ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use crate::http::{read_head, send};
use crate::program::{Dashboard, report_with};
use crate::shared::interrupt;

/// Somebody who reads the news.
struct News(BufReader<TcpStream>);

impl News {
    fn open(dashboard: &Dashboard) -> Result<Self, u16> {
        let mut stream = BufReader::new(send(&dashboard.address, "GET", "/events", &[], b""));
        match read_head(&mut stream) {
            (200, head) => {
                assert!(head.contains("content-type: text/event-stream"), "{head}");
                Ok(Self(stream))
            }
            (status, _) => Err(status),
        }
    }

    /// The parts of the next message.
    fn next(&mut self) -> BTreeMap<String, String> {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("news"), 0, "they end");
            if let Some(json) = line.strip_prefix("data: {") {
                return serde_json::from_str(&format!("{{{json}")).expect("JSON");
            }
        }
    }

    /// The next message in which this part has `text`.
    fn until(&mut self, part: &str, text: &str) -> BTreeMap<String, String> {
        loop {
            let next = self.next();
            if next.get(part).is_some_and(|html| html.contains(text)) {
                return next;
            }
        }
    }
}

fn requests(number: u64) -> String {
    report_with(|report| report["today"]["requests"] = number.into())
}

#[test]
fn what_changes_is_told_and_no_more() {
    let dashboard = Dashboard::start(&[]);
    let mut news = News::open(&dashboard).expect("news");
    let first = news.next();
    assert_eq!(first.len(), 11, "all of it: {:?}", first.keys());
    assert!(first["counters"].contains("No report yet"));
    dashboard.post("/log", &requests(1_000));
    assert!(news.until("counters", "1,000").contains_key("limits"));
    dashboard.post("/log", &requests(2_000));
    let second = news.until("counters", "2,000");
    assert!(
        !second.contains_key("limits") && !second.contains_key("events"),
        "{:?}",
        second.keys()
    );
}

#[test]
fn who_comes_late_or_again_gets_all_of_it() {
    let dashboard = Dashboard::start(&[]);
    dashboard.post("/log", &requests(1_000));
    for _ in 0..2 {
        let first = News::open(&dashboard).expect("news").next();
        assert_eq!(first.len(), 11);
        assert!(first["counters"].contains("1,000"));
    }
}

#[test]
fn a_reader_who_does_not_read_holds_up_nobody_and_misses_nothing_that_still_holds() {
    let dashboard = Dashboard::start(&[]);
    let mut slow = News::open(&dashboard).expect("news");
    let mut fast = News::open(&dashboard).expect("news");
    for nth in 1..=5 {
        dashboard.post("/log", &requests(nth * 1_000));
        fast.until("counters", &format!("{nth},000"));
    }
    slow.until("counters", "5,000");
}

#[test]
fn readers_are_bounded_and_a_place_that_is_free_is_given_away() {
    let dashboard = Dashboard::start(&[]);
    let mut readers: Vec<News> = (0..32)
        .map(|_| News::open(&dashboard).expect("a place"))
        .collect();
    assert_eq!(News::open(&dashboard).err(), Some(503));
    assert_eq!(dashboard.get("/").status, 200, "the page itself is there");
    readers.pop();
    crate::program::until(|| News::open(&dashboard).is_ok());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it_whoever_still_reads() {
    let dashboard = Dashboard::start(&[]);
    let address = dashboard.address.clone();
    let mut news = News::open(&dashboard).expect("news");
    news.next();
    interrupt(dashboard.id());
    assert_eq!(dashboard.wait().code(), Some(130));
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
    let mut line = String::new();
    while news.0.read_line(&mut line).expect("an orderly end") > 0 {}
}
