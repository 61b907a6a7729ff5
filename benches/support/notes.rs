//! A toy API with batch calls, and clients for it that answer from memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{BoxError, Service};
use tower_quota::batch::{BatchPolicy, Input, Joined, Operation, Part, Single, Split, Twice};
use tower_quota::request::{Effect, RequestHead};

pub(crate) const MOST: usize = 100;

/// `GET /notes/{key}` and `PUT /notes/{key}`, of which `POST /notes:batch` does many: it has a key a line, and so has its answer.
pub(crate) struct Notes;

struct Lines {
    writes: bool,
}

impl BatchPolicy for Notes {
    fn concerns(&self, request: &RequestHead<'_>) -> bool {
        request.uri.path().starts_with("/notes/")
    }

    fn single(&self, request: &RequestHead<'_>, _: &Bytes) -> Option<Single> {
        let key = request.uri.path().strip_prefix("/notes/")?;
        let input = Input::new(key.to_owned()).record(key);
        let writes = *request.method == Method::PUT;
        Some(Single::new(Lines { writes }, input))
    }
}

impl Operation for Lines {
    fn key(&self) -> Cow<'_, str> {
        self.label()
    }

    fn label(&self) -> Cow<'static, str> {
        if self.writes { "store" } else { "fetch" }.into()
    }

    fn most(&self) -> usize {
        MOST
    }

    fn effect(&self) -> Effect {
        match self.writes {
            true => Effect::IdempotentWrite,
            false => Effect::Read,
        }
    }

    fn twice(&self) -> Twice {
        match self.writes {
            true => Twice::InOrder,
            false => Twice::Join,
        }
    }

    fn join(&self, inputs: &[Input]) -> Option<Joined> {
        let mut body = Vec::new();
        for input in inputs {
            body.extend_from_slice(input.data());
            body.push(b'\n');
        }
        Some(Joined::post("/notes:batch".parse().ok()?, body))
    }

    fn split(&self, inputs: &[Input], answer: &Response<Bytes>) -> Split {
        let lines = answer.body().split(|byte| *byte == b'\n');
        let lines: HashMap<&[u8], Bytes> = lines
            .map(|line| (line, answer.body().slice_ref(line)))
            .collect();
        let part = |input: &Input| match lines.get(&**input.data()) {
            Some(line) => Part::Answer(StatusCode::OK, line.clone()),
            None => Part::Alone,
        };
        Split::Each(inputs.iter().map(part).collect())
    }
}

/// A request such as people send.
pub(crate) fn request(method: Method, key: usize) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://api.example.com/notes/note-{key}"))
        .header(
            "authorization",
            "Bearer 11111111-2222-3333-4444-555555555555",
        )
        .header("accept", "application/json")
        .body(Full::default())
        .expect("the request is sound")
}

/// Answers after `takes` with the body of the request: at once if that is zero, never if it is the maximum.
pub(crate) fn echo<B>(
    takes: Duration,
) -> impl Service<Request<B>, Response = Response<Full<Bytes>>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ 'static
where
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Send + 'static,
{
    tower::service_fn(move |request: Request<B>| async move {
        if takes == Duration::MAX {
            std::future::pending::<()>().await;
        }
        let body = request.into_body().collect().await.expect("it is whole");
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        Ok(Response::new(Full::new(body.to_bytes())))
    })
}
