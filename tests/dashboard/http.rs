//! As much of HTTP as is needed to ask, and to say what no browser would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing here takes so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let pairs = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value.trim())
    }
}

/// Begins to ask; `headers` are lines.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|header| header.starts_with("host:")) {
        head += &format!("host: {address}\r\n");
    }
    for header in headers {
        head += &format!("{header}\r\n");
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).expect("the head is sent");
    // A server that has refused need not take the body.
    let _ = stream.write_all(body);
    stream
}

/// Asks, and waits for the whole answer.
pub(crate) fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Answer {
    let mut stream = BufReader::new(send(address, method, path, headers, body));
    let (status, head) = read_head(&mut stream);
    let mut answer = Answer {
        status,
        head,
        body: String::new(),
    };
    let mut body = vec![0; answer.header("content-length").parse().unwrap_or(0)];
    if method != "HEAD" {
        stream.read_exact(&mut body).expect("the body");
        answer.body = String::from_utf8(body).expect("text");
    }
    answer
}

pub(crate) fn read_head(stream: &mut impl BufRead) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).expect("a head"), 0, "{head:?}");
    }
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), head)
}
