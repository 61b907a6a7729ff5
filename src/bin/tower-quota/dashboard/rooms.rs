//! What is answered: the page, its news, and lines that are posted.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, mpsc, watch};
use tower_quota::record::Reader;

use super::body::Answer;
use super::door::{Closed, Door};
use super::page;
use super::pieces::Pieces;
use super::programs::{Lines, Parts, Programs, Refused, Taken};

/// So many readers of news at a time.
const READERS: usize = 32;
/// A reader is told so often that the dashboard is there.
const BEAT: Duration = Duration::from_secs(15);
/// The most that is taken in one post, in bytes.
const LONGEST: u64 = 256 * 1024 * 1024;
/// Who posts goes on within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers requests.
#[derive(Debug)]
pub(super) struct Rooms {
    programs: Arc<Programs>,
    door: Door,
    /// Whether lines may be posted.
    takes: bool,
    readers: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    nonces: Nonces,
}

/// Words that nobody guesses: a keyed hash, with a key of this process, of a number that is never the same.
#[derive(Debug, Default)]
struct Nonces {
    key: [RandomState; 2],
    next: AtomicU64,
}

impl Nonces {
    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let [high, low] = self.key.each_ref().map(|key| key.hash_one(number));
        format!("{high:016x}{low:016x}")
    }
}

impl Rooms {
    pub(super) fn new(
        programs: Arc<Programs>,
        door: Door,
        takes: bool,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            programs,
            door,
            takes,
            readers: Arc::new(Semaphore::new(READERS)),
            stopped,
            nonces: Nonces::default(),
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let mut answer = match self.door.enter(request.headers()) {
            Ok(()) => self.inside(request).await,
            Err(closed) => Err(closed),
        }
        .unwrap_or_else(refuse);
        let headers = answer.headers_mut();
        for (name, value) in [
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let own = HeaderValue::from_static("same-origin");
        headers.insert("cross-origin-resource-policy", own.clone());
        headers.insert("cross-origin-opener-policy", own);
        answer
    }

    async fn inside(&self, request: Request<Incoming>) -> Result<Response<Answer>, Closed> {
        let query = request.uri().query().unwrap_or_default();
        let name = query.split('&').find_map(|pair| pair.strip_prefix("from="));
        let name = name.unwrap_or_default().to_owned();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/" if reads => self.page(&name),
            "/events" if *request.method() == Method::GET => self.news(&name),
            "/log" if self.takes && *request.method() == Method::POST => {
                Door::post(request.headers())?;
                self.post(&name, request.into_body()).await
            }
            "/log" if !self.takes => Err((
                StatusCode::NOT_FOUND,
                "This dashboard follows a log, and takes no lines.\n",
            )),
            "/" | "/events" | "/log" => {
                Err((StatusCode::METHOD_NOT_ALLOWED, "Not with this method.\n"))
            }
            _ => Err((StatusCode::NOT_FOUND, "There is nothing here.\n")),
        }
    }

    fn page(&self, name: &str) -> Result<Response<Answer>, Closed> {
        let nonce = self.nonces.next();
        let events = match name {
            "" => "/events".to_owned(),
            name => format!("/events?from={name}"),
        };
        let page = self.programs.page(name, &nonce, Some(&events));
        let page = page.ok_or(UNKNOWN)?;
        let mut answer = whole(StatusCode::OK, "text/html; charset=utf-8", page);
        let policy = format!("{}; frame-ancestors 'none'", page::policy(&nonce));
        if let Ok(policy) = HeaderValue::try_from(policy) {
            let name = header::CONTENT_SECURITY_POLICY;
            answer.headers_mut().insert(name, policy);
        }
        Ok(answer)
    }

    fn news(&self, name: &str) -> Result<Response<Answer>, Closed> {
        let parts = self.programs.watch(name).ok_or(UNKNOWN)?;
        let place = self.readers.clone().try_acquire_owned();
        let place = place.map_err(|_| {
            let why = "There are too many readers; try again later.\n";
            (StatusCode::SERVICE_UNAVAILABLE, why)
        })?;
        // One piece at a time: a slow reader gets what is new when it takes the next, and holds nobody up.
        let (pieces, body) = mpsc::channel(1);
        let stopped = self.stopped.clone();
        tokio::spawn(async move {
            tell(parts, pieces, stopped).await;
            drop(place);
        });
        let mut answer = Response::new(Answer::Pieces(body));
        let kind = HeaderValue::from_static("text/event-stream");
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(answer)
    }

    async fn post(&self, name: &str, body: Incoming) -> Result<Response<Answer>, Closed> {
        self.programs.admit(name).map_err(|refused| match refused {
            Refused::Name => (
                StatusCode::BAD_REQUEST,
                "`from` is at most 64 letters, digits, `.`, `_` and `-`.\n",
            ),
            Refused::Many => (
                StatusCode::INSUFFICIENT_STORAGE,
                "There are 16 programs already.\n",
            ),
        })?;
        let too_much = (
            StatusCode::PAYLOAD_TOO_LARGE,
            "No more than 256 MiB at a time.\n",
        );
        if body.size_hint().lower() > LONGEST {
            return Err(too_much);
        }
        let (mut body, mut read) = (body, 0u64);
        let (mut pieces, mut taken) = (Pieces::default(), Taken::default());
        loop {
            let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let Ok(next) = tokio::time::timeout(PATIENCE, next).await else {
                return Err((StatusCode::REQUEST_TIMEOUT, "Nothing has come for long.\n"));
            };
            let Some(frame) = next else { break };
            let frame = frame.map_err(|_| (StatusCode::BAD_REQUEST, "It is cut off.\n"))?;
            let Ok(piece) = frame.into_data() else {
                continue;
            };
            read += piece.len() as u64;
            if read > LONGEST {
                return Err(too_much);
            }
            if let Some(reader) = pieces.feed(&piece) {
                taken.add(self.read(name, reader));
            }
            // Readers want to be told meanwhile.
            tokio::task::yield_now().await;
        }
        taken.add(self.read(name, pieces.finish()));
        // It cannot fail: these are numbers and text.
        let json = serde_json::to_string(&taken).unwrap_or_default();
        Ok(whole(StatusCode::OK, "application/json", json + "\n"))
    }
}

impl Rooms {
    fn read(&self, name: &str, mut reader: Reader) -> Taken {
        let mut lines = Lines {
            reader: &mut reader,
            is_new: true,
            is_whole: false,
        };
        self.programs.read(name, &mut lines)
    }
}

const UNKNOWN: Closed = (StatusCode::NOT_FOUND, "No program of this name.\n");

/// Sends what has changed since the reader was told last, all of it at first.
async fn tell(
    mut parts: watch::Receiver<Parts>,
    pieces: mpsc::Sender<Bytes>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut told: Parts = Arc::from([]);
    loop {
        let now = parts.borrow_and_update().clone();
        let piece = changes(&told, &now);
        told = now;
        let mut next = piece.map(Bytes::from);
        loop {
            if let Some(piece) = next.take() {
                tokio::select! {
                    sent = pieces.send(piece) => if sent.is_err() { return },
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                }
            }
            tokio::select! {
                changed = parts.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = tokio::time::sleep(BEAT) => next = Some(Bytes::from_static(b"event: beat\ndata: 1\n\n")),
                () = pieces.closed() => return,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }
}

/// A message of server-sent events; `None` where nothing has changed.
fn changes(told: &Parts, now: &Parts) -> Option<String> {
    let is_told = |part: &Arc<page::Section>| told.iter().any(|known| Arc::ptr_eq(known, part));
    let mut changed = serde_json::Map::new();
    for part in now.iter().filter(|part| !is_told(part)) {
        changed.insert(part.id.to_owned(), part.html.clone().into());
    }
    // In JSON there are no line ends, which would end the message.
    let json = serde_json::to_string(&changed).ok();
    let json = json.filter(|_| !changed.is_empty());
    json.map(|json| format!("retry: 3000\ndata: {json}\n\n"))
}

fn refuse((status, why): Closed) -> Response<Answer> {
    whole(status, "text/plain; charset=utf-8", why)
}

fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Answer> {
    let mut answer = Response::new(Answer::Whole(Some(body.into())));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
