//! A toy API of numbers: `GET /numbers/3-9` answers `3 4 5 6 7 8`.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};
use tower_quota::PayloadTrimLayer;
use tower_quota::body::HeldBody;
use tower_quota::request::RequestHead;
use tower_quota::trim::{Finished, Piece, Question, Shape, Taken, TrimPolicy, Whole};

use crate::common::{Answer, PieceBody, SECOND, Seen, Server, after, at_once, request};

/// How the toy API is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) floor: usize,
    /// Where to ask when the floor fails.
    pub(crate) instead: Option<&'static str>,
    /// The other way is only for requests of more than so many.
    pub(crate) instead_above: usize,
    /// A piece can only be asked when the one before it is answered.
    pub(crate) in_order: bool,
    /// The whole needs so many rounds of questions.
    pub(crate) rounds: u32,
    /// There are only so many numbers, as the answers tell.
    pub(crate) total: Option<usize>,
    /// What a piece has in its body.
    pub(crate) body: &'static str,
    /// Never says what it wants to ask.
    pub(crate) mute: bool,
}

impl TrimPolicy for Numbers {
    fn concerns(&self, request: &RequestHead<'_>) -> bool {
        request.uri.path().starts_with("/numbers/")
    }

    fn question(&self, request: &RequestHead<'_>, _: &Bytes) -> Option<Box<dyn Question>> {
        let (from, to) = request
            .uri
            .path()
            .strip_prefix("/numbers/")?
            .split_once('-')?;
        let (first, last): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        Some(Box::new(Asked {
            how: self.clone(),
            path: "/numbers/",
            first,
            size: last.checked_sub(first)?,
            parts: BTreeMap::new(),
        }))
    }
}

struct Asked {
    how: Numbers,
    path: &'static str,
    first: usize,
    size: usize,
    parts: BTreeMap<usize, String>,
}

impl Question for Asked {
    fn shape(&self) -> Shape {
        Shape::new("GET /numbers", self.path)
    }

    fn size(&self) -> usize {
        self.size
    }

    fn floor(&self) -> usize {
        self.how.floor.max(1)
    }

    fn expected(&self) -> usize {
        match self.how.total {
            Some(total) if !self.parts.is_empty() => total.saturating_sub(self.first),
            _ => self.size,
        }
    }

    fn piece(&self, span: Range<usize>) -> Option<Piece> {
        let is_next = span.start == 0
            || self
                .parts
                .range(..span.start)
                .next_back()
                .is_some_and(|(start, text)| start + text.split(' ').count() == span.start);
        if self.how.mute || self.how.in_order && !is_next {
            return None;
        }
        let (from, to) = (self.first + span.start, self.first + span.end);
        let target = format!("{}{from}-{to}", self.path);
        let piece = Piece::new().target(target.parse().unwrap());
        Some(match self.how.body {
            "" => piece,
            body => piece.body(body),
        })
    }

    fn take(&mut self, span: Range<usize>, answer: &Response<Bytes>) -> Taken {
        if !answer.status().is_success() {
            return Taken::Foreign;
        }
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        if text == "nonsense" {
            return Taken::Unfit("it is nonsense".into());
        }
        if text.is_empty() {
            return Taken::End;
        }
        let count = text.split(' ').count();
        self.parts.insert(span.start, text);
        match count < span.len() && self.how.total.is_some() {
            true => Taken::End,
            false => Taken::UpTo(span.start + count),
        }
    }

    fn finish(mut self: Box<Self>) -> Finished {
        let text = self.parts.values().cloned().collect::<Vec<_>>().join(" ");
        if self.how.rounds > 0 {
            self.how.rounds -= 1;
            self.parts.clear();
            return Finished::Ask(self);
        }
        Finished::Answer(Whole {
            status: StatusCode::OK,
            body: text.into(),
            dropped: match self.path {
                "/kept/" => vec!["colour".to_owned(), "größe".to_owned()],
                _ => Vec::new(),
            },
        })
    }

    fn is_lossy(&self) -> bool {
        self.path == "/kept/"
    }

    fn instead(&self) -> Option<Box<dyn Question>> {
        let path = self.how.instead.filter(|path| *path != self.path)?;
        if self.size <= self.how.instead_above {
            return None;
        }
        Some(Box::new(Self {
            how: self.how.clone(),
            path,
            first: self.first,
            size: self.size,
            parts: BTreeMap::new(),
        }))
    }
}

pub(crate) fn span(seen: &Seen) -> Range<usize> {
    let (_, span) = seen.path.rsplit_once('/').unwrap();
    let (from, to) = span.split_once('-').unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

pub(crate) fn numbers(span: Range<usize>) -> String {
    span.map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn fine(seen: &Seen) -> Answer {
    at_once(200, &[("content-type", "text/plain")], &numbers(span(seen)))
}

pub(crate) const HEAVY_BODY: &str = "<html>504</html>";

pub(crate) fn heavy() -> Answer {
    after(30 * SECOND, at_once(504, &[], HEAVY_BODY))
}

/// A server for which more than `most` numbers are too heavy.
pub(crate) fn server(most: usize) -> Server {
    Server::new(move |_, seen| match span(seen).len() <= most {
        true => fine(seen),
        false => heavy(),
    })
}

pub(crate) fn ask(span: Range<usize>) -> Request<Full<Bytes>> {
    request(
        Method::GET,
        &format!("/numbers/{}-{}", span.start, span.end),
        "a",
    )
}

pub(crate) fn spans(server: &Server) -> Vec<Range<usize>> {
    server.log().iter().map(span).collect()
}

pub(crate) async fn text<B>(response: Response<B>) -> (StatusCode, String)
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

pub(crate) async fn call(
    server: &Server,
    layer: &PayloadTrimLayer,
    whole: Range<usize>,
) -> Response<HeldBody<PieceBody>> {
    let api = layer.layer(server.clone());
    api.oneshot(ask(whole)).await.unwrap()
}

pub(crate) async fn asked(server: &Server, layer: &PayloadTrimLayer, whole: Range<usize>) {
    let response = call(server, layer, whole.clone()).await;
    assert_eq!(text(response).await, (StatusCode::OK, numbers(whole)));
}
