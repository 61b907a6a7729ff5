//! The same over a real socket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_quota::sim::{Fault, Script};

use crate::{LIST, SECOND, small};

/// One request over a plain stream; `None` if the connection is closed without an answer.
async fn over_socket(stream: &mut tokio::net::TcpStream, path: &str) -> Option<String> {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: sim\r\nauthorization: Bearer pat-1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
    }
}

#[tokio::test]
async fn the_same_over_a_socket() {
    let sim = small().burst(2, 10 * SECOND).build().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = sim.serve(listener).unwrap();
    assert_eq!(server.url(), format!("http://{}", server.address()));
    let mut stream = tokio::net::TcpStream::connect(server.address())
        .await
        .unwrap();
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(over_socket(&mut stream, LIST).await.unwrap());
    }
    assert!(answers[0].starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(answers[1].contains("x-hubspot-ratelimit-remaining: 0\r\n"));
    assert!(answers[2].starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
    assert!(answers[2].contains("TEN_SECONDLY_ROLLING"));
    let stats = over_socket(&mut stream, "/sim/stats").await.unwrap();
    assert!(
        stats.contains(r#""general":{"arrived":3,"counted":2,"refused_window":1"#),
        "{stats}"
    );
    sim.script(Script::new(Fault::drop_before_counting()));
    assert_eq!(over_socket(&mut stream, LIST).await, None);
    let address = server.address();
    server.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
