//! Whatever answers in Redis' place, and however it does: requests end as soon as the documentation says, nothing panics, and memory
//! stays small. In real time, over real sockets, with servers that only look like Redis.

mod common;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_quota::clock::Clock;
use tower_quota::core::DenialReason;
use tower_quota::plan::{Limit, Plan, Zone};
use tower_quota::redis::{OnOutage, RedisErrorKind, RedisLedger, RedisOptions};
use tower_quota::{BoxError, Quota, QuotaError, TokenLimitLayer};

use common::capture::Capture;
use common::{SECOND, get, lock, ms};

const LEASE: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(100);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);

/// What becomes of a call for slots.
#[derive(Clone, Debug)]
enum Then {
    /// These bytes are sent.
    Say(Vec<u8>),
    /// The same, and the connection is closed.
    SayAndClose(Vec<u8>),
    /// One of these bytes in a millisecond, for ever.
    Drip(u8),
    Nothing,
}

/// Looks like Redis: heartbeats are answered as they should be, calls for slots as is said.
struct Impostor {
    port: u16,
    beat: Arc<Mutex<Then>>,
    call: Arc<Mutex<Then>>,
    calls: Arc<AtomicUsize>,
}

impl Impostor {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let impostor = Self {
            port: listener.local_addr().unwrap().port(),
            beat: Arc::new(Mutex::new(Then::Say(beat([
                NOW, 1, 0, NOW, NOW, 400_000, 0,
            ])))),
            call: Arc::new(Mutex::new(Then::Nothing)),
            calls: Arc::default(),
        };
        let answers = [impostor.beat.clone(), impostor.call.clone()];
        let calls = impostor.calls.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, answers.clone(), calls.clone()));
            }
        });
        impostor
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn beats(&self, then: Then) {
        *lock(&self.beat) = then;
    }

    fn answers(&self, then: Then) {
        *lock(&self.call) = then;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Microseconds since 1970.
const NOW: i64 = 1_700_000_000_000_000;

fn beat(figures: [i64; 7]) -> Vec<u8> {
    ints(&figures)
}

fn ints(figures: &[i64]) -> Vec<u8> {
    let figures: String = figures.iter().map(|int| format!(":{int}\r\n")).collect();
    format!("*{}\r\n{figures}", figures.matches(':').count()).into_bytes()
}

async fn converse(stream: TcpStream, answers: [Arc<Mutex<Then>>; 2], calls: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    while let Some(words) = command(&mut stream).await {
        let then = match words[0].as_slice() {
            b"EVAL" | b"EVALSHA" if words[3].ends_with(b"{members}") => lock(&answers[0]).clone(),
            b"EVAL" | b"EVALSHA" => {
                calls.fetch_add(1, Ordering::Relaxed);
                lock(&answers[1]).clone()
            }
            _ => Then::Say(b"+OK\r\n".to_vec()),
        };
        let sent = match then {
            Then::Say(bytes) => stream.write_all(&bytes).await,
            Then::SayAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Then::Drip(byte) => loop {
                if let Err(error) = stream.write_all(&[byte]).await {
                    break Err(error);
                }
                tokio::time::sleep(ms(1)).await;
            },
            Then::Nothing => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// `None` at the end of the connection.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let count = header(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; header(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

async fn header(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().get(1..)?.parse().ok()
}

fn options() -> RedisOptions {
    RedisOptions::new()
        .key("a key for tests")
        .lease(LEASE)
        .timeout(TIMEOUT)
}

fn plan() -> Plan {
    let plan = Plan::builder("test")
        .limit(Limit::rolling("burst", 10, SECOND))
        .limit(Limit::daily("day", 1_000, Zone::UTC));
    plan.build().unwrap()
}

async fn shared(server: &Impostor, options: RedisOptions) -> Quota {
    let ledger = RedisLedger::connect(server.url(), options).await.unwrap();
    Quota::shared(plan(), ledger)
}

async fn send(quota: &Quota, max_wait: Duration) -> Result<(), BoxError> {
    let client = tower::service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = TokenLimitLayer::new(quota).max_wait(max_wait).layer(client);
    service.oneshot(get("token")).await.map(drop)
}

/// The most memory that this process has had, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: String = peak.unwrap().chars().filter(char::is_ascii_digit).collect();
    kib.parse::<u64>().unwrap() / 1024
}

fn says(text: impl Into<Vec<u8>>) -> Then {
    Then::Say(text.into())
}

/// What no script gives.
fn nonsense() -> Vec<(&'static str, Then)> {
    let limit = |granted: &[i64]| {
        let mut figures = vec![0, NOW, NOW, 0, 2];
        for _ in 0..2 {
            figures.extend(granted);
            figures.extend([-1, 0, 0, 0, 0, 0]);
        }
        Then::Say(ints(&figures))
    };
    vec![
        ("nothing", says("*0\r\n")),
        ("null", says("$-1\r\n")),
        ("a word", says("+OK\r\n")),
        ("no RESP", says("HTTP/1.1 400 Bad Request\r\n\r\n")),
        ("a list that does not end", says("*4294967295\r\n")),
        ("the longest list", says("*9223372036854775807\r\n:0\r\n")),
        ("a list of less than nothing", says("*-7\r\n")),
        ("a long text that does not come", says("$536870911\r\nx")),
        ("the longest text", says("$9223372036854775807\r\nx")),
        ("deep lists", says("*1\r\n".repeat(100_000))),
        (
            "four billion pauses",
            Then::Say(ints(&[0, NOW, NOW, 4_294_967_295])),
        ),
        (
            "four billion limits",
            Then::Say(ints(&[0, NOW, NOW, 0, 4_294_967_295])),
        ),
        ("no such outcome", Then::Say(ints(&[7, NOW, NOW, 0, 0]))),
        ("no limits", Then::Say(ints(&[0, NOW, NOW, 0, 0]))),
        ("a time before 1970", Then::Say(ints(&[0, -1, -1, 0, 0]))),
        ("figures below zero", limit(&[1, -5, -5, -5])),
        (
            "four billion slots",
            limit(&[1, 0, 4_294_967_295, 4_294_967_295]),
        ),
        (
            "many times many slots",
            limit(&[3, 0, 9, 9, 0, 9, 9, i64::MAX, 9, 9]),
        ),
        ("far too many of them", limit(&[1, 0, 0, i64::MAX])),
        (
            "half of an answer",
            Then::SayAndClose(b"*12\r\n:0\r\n:1".to_vec()),
        ),
        ("an error", says("-ERR \x1b[2J no such thing\r\n")),
        ("an error without text", says("-\r\n")),
        (
            "never a known script",
            says("-NOSCRIPT No matching script.\r\n"),
        ),
        ("elsewhere", says("-MOVED 1234 127.0.0.1:1\r\n")),
        ("later", says("-TRYAGAIN\r\n")),
        (
            "a wrong type",
            says("-WRONGTYPE Operation against a key\r\n"),
        ),
        ("a bit, for ever", Then::Drip(b'*')),
        ("a digit, for ever", Then::Drip(b'1')),
        ("silence", Then::Nothing),
    ]
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_counts_as_none() {
    let mut cases = JoinSet::new();
    for (name, then) in nonsense() {
        cases.spawn(async move {
            let server = Impostor::start().await;
            let quota = shared(&server, options().on_outage(OnOutage::FailOpen)).await;
            server.answers(then);
            let clock = Clock::system();
            for _ in 0..10 {
                let sent = send(&quota, 10 * SECOND).await;
                sent.unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            let took = clock.elapsed();
            assert!(took < 2 * TIMEOUT + SLACK, "{name}: {took:?}");
            // The eleventh waits for a slot of the window.
            assert!(send(&quota, ms(200)).await.is_err(), "{name}");
            assert!(quota.shared_calls().failures > 0, "{name}");
            assert!(server.calls() < 30, "{name}: {} calls", server.calls());
            let beats = quota.shared_calls().heartbeats;
            tokio::time::sleep(2 * LEASE).await;
            assert!(quota.shared_calls().heartbeats > beats, "{name}: it ends");
        });
    }
    cases.join_all().await;
    assert!(memory() < 200, "{} MiB", memory());
}

#[tokio::test]
async fn a_heartbeat_that_makes_no_sense_counts_as_none() {
    let far = i64::MAX;
    for (name, then, is_gone) in [
        ("nothing", says("*0\r\n"), true),
        ("a long list", says("*4294967295\r\n:1\r\n"), true),
        ("a long text", says("$536870911\r\n1"), true),
        ("below zero", Then::Say(beat([-1; 7])), true),
        ("the end of time", Then::Say(beat([far; 7])), false),
        (
            "more than all",
            Then::Say(beat([NOW, 1 << 40, 1 << 41, NOW, NOW, far, 1])),
            false,
        ),
        ("nobody", Then::Say(beat([0; 7])), false),
    ] {
        let server = Impostor::start().await;
        let quota = shared(&server, options()).await;
        server.beats(then);
        tokio::time::sleep(2 * LEASE + 2 * TIMEOUT).await;
        let calls = quota.shared_calls();
        assert_eq!(calls.is_gone, is_gone, "{name}: {calls:?}");
        let clock = Clock::system();
        let _ = send(&quota, SECOND).await;
        assert!(clock.elapsed() < SECOND + SLACK, "{name}");
        server.beats(Then::Say(beat([NOW, 1, 0, NOW, NOW, 400_000, 0])));
        let clock = Clock::system();
        while quota.shared_calls().is_gone {
            assert!(
                clock.elapsed() < 2 * SECOND + SLACK,
                "{name} is not got over"
            );
            tokio::time::sleep(ms(10)).await;
        }
    }
    assert!(memory() < 200, "{} MiB", memory());
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up_when_connecting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let clock = Clock::system();
    let error = RedisLedger::connect(url, options()).await.unwrap_err();
    assert_eq!(error.kind(), RedisErrorKind::TimedOut, "{error}");
    assert!(
        clock.elapsed() < SECOND + TIMEOUT + SLACK,
        "{:?}",
        clock.elapsed()
    );
}

#[tokio::test]
async fn a_server_that_closes_after_each_answer_is_no_outage() {
    let server = Impostor::start().await;
    server.beats(Then::SayAndClose(beat([NOW, 1, 0, NOW, NOW, 400_000, 0])));
    let quota = shared(&server, options()).await;
    tokio::time::sleep(5 * LEASE).await;
    let calls = quota.shared_calls();
    assert_eq!((calls.is_gone, calls.outages), (false, 0), "{calls:?}");
    assert!(calls.heartbeats < 30, "{calls:?}");
}

#[tokio::test]
async fn what_a_server_says_when_it_refuses_does_not_fill_the_log() {
    let capture = Capture::default();
    let _guard = tracing::subscriber::set_default(capture.clone());
    let server = Impostor::start().await;
    let quota = shared(&server, options().on_outage(OnOutage::FailClosed)).await;
    let text = "x".repeat(1_000_000);
    server.beats(says(format!("-ERR {text}\x1b[2J\r\n")));
    tokio::time::sleep(2 * LEASE + 2 * TIMEOUT).await;
    let events = capture.events("tower_quota::store_gone");
    assert_eq!(events.len(), 1);
    assert!(events[0].len() < 1_000, "{} bytes", events[0].len());
    assert!(!events[0].contains('\x1b'));
    let error = send(&quota, 10 * SECOND).await.unwrap_err();
    let error = error.downcast_ref::<QuotaError>().unwrap();
    assert_eq!(error.reason(), DenialReason::StoreGone);
}
