//! Promise: what the layer cannot ask in pieces passes it as it is, byte for byte, in one request, and so does every answer that is
//! not too heavy, unread. Who repeats what else is not changed: a gateway timeout is repeated inside, except of a request that the
//! layer makes smaller instead. (T39)

mod common;
mod crm;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::frames::{Got, frames};
use common::{
    Fate, Hand, Piece, PieceBody, SECOND, Server, TestError, at_once, get, lock, response,
};
use crm::{ASSOCIATIONS, BATCH_READ, Crm, SEARCH, Store, call, post, unlimited};
use http::{Extensions, HeaderMap, Method, Request, Response, Uri, Version};
use http_body::{Body, SizeHint};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_quota::body::HeldBody;
use tower_quota::hubspot::SearchPages;
use tower_quota::stack::StackLayer;
use tower_quota::{PayloadTrimLayer, RetryAfterLayer};

fn trim() -> PayloadTrimLayer {
    PayloadTrimLayer::new(SearchPages::default())
}

/// An extension of somebody else's.
#[derive(Clone, Debug, PartialEq)]
struct Tag(&'static str);

/// What came out on the other side of the layer.
struct Wire {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: Extensions,
    frames: Vec<Got>,
}

struct Case {
    name: &'static str,
    method: Method,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: fn() -> PieceBody,
}

const PLAIN: &[(&str, &str)] = &[("content-type", "application/json")];

fn whole(text: impl Into<Bytes>) -> PieceBody {
    PieceBody::whole(text)
}

fn json_body(body: &Value) -> PieceBody {
    PieceBody::whole(body.to_string())
}

fn in_pieces(text: &str) -> impl Iterator<Item = Piece> {
    let pieces = text.as_bytes().chunks(7);
    pieces.map(|piece| Piece::Data(Bytes::copy_from_slice(piece)))
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "17".parse().unwrap());
    trailers
}

const PAGE: &str = r#"{"limit": 200 , "properties":["p1","p2"]}"#;

fn search(name: &'static str, body: fn() -> PieceBody) -> Case {
    post_to(name, SEARCH, body)
}

fn post_to(name: &'static str, path: &'static str, body: fn() -> PieceBody) -> Case {
    Case {
        name,
        method: Method::POST,
        path,
        headers: PLAIN,
        body,
    }
}

fn cases() -> Vec<Case> {
    let of_type = |name, headers, body| Case {
        headers,
        ..search(name, body)
    };
    vec![
        Case {
            method: Method::GET,
            ..post_to("a list", "/crm/v3/objects/contacts?limit=100", || whole(""))
        },
        Case {
            method: Method::GET,
            ..post_to("a search that is none", SEARCH, || whole(PAGE))
        },
        post_to("a create", "/crm/v3/objects/contacts", || {
            json_body(&json!({"properties": {"email": "a@b.org"}}))
        }),
        post_to("an update", "/crm/v3/objects/contacts/batch/update", || {
            json_body(
                &json!({"inputs": [{"id": "1", "properties": {}}, {"id": "2", "properties": {}}]}),
            )
        }),
        post_to("lists", "/crm/v3/lists/search", || whole(PAGE)),
        search("nothing", || whole("")),
        search("no JSON", || whole("limit=200")),
        search("broken JSON", || whole(r#"{"limit":200,"#)),
        search("more than JSON", || whole(r#"{"limit":200} {}"#)),
        search("an array", || whole("[1,2]")),
        search("a number", || whole("200")),
        search("not UTF-8", || {
            whole(&b"{\"query\":\"\xff\",\"limit\":200}"[..])
        }),
        of_type("text", &[("content-type", "text/plain")], || whole(PAGE)),
        of_type(
            "multipart",
            &[("content-type", "multipart/form-data; boundary=x")],
            || whole("--x\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n"),
        ),
        of_type(
            "encoded",
            &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
            || whole(PAGE),
        ),
        search("201 records", || json_body(&json!({"limit": 201}))),
        search("no records", || json_body(&json!({"limit": 0}))),
        search("less than none", || json_body(&json!({"limit": -5}))),
        search("half a record", || json_body(&json!({"limit": 20.5}))),
        search("beyond the end", || {
            json_body(&json!({"limit": 200, "after": "9801"}))
        }),
        search("far beyond", || {
            whole(r#"{"limit":200,"after":"18446744073709551615"}"#)
        }),
        search("from nowhere", || {
            json_body(&json!({"limit": 200, "after": "x"}))
        }),
        search("larger than 1 MiB", || {
            let padding = " ".repeat(1024 * 1024);
            PieceBody::whole(format!("{PAGE}{padding}"))
        }),
        search("of unknown size", || PieceBody::new(in_pieces(PAGE))),
        search("of unknown size, with trailers", || {
            PieceBody::new(in_pieces(PAGE).chain([Piece::Trailers(trailers())]))
        }),
        search("slow, of unknown size", || {
            PieceBody::new(in_pieces(PAGE).flat_map(|piece| [piece, Piece::Wait(SECOND)]))
        }),
        post_to("too many inputs", BATCH_READ, || {
            json_body(&json!({"inputs": vec![json!({"id": "1"}); 101]}))
        }),
        post_to("too many inputs with history", BATCH_READ, || {
            let inputs: Vec<_> = (0..51).map(|id| json!({"id": id.to_string()})).collect();
            json_body(&json!({"inputs": inputs, "propertiesWithHistory": ["p1"]}))
        }),
        post_to("no inputs", BATCH_READ, || {
            json_body(&json!({"properties": ["p1"]}))
        }),
        post_to("too many associations", ASSOCIATIONS, || {
            let inputs: Vec<_> = (0..1_001).map(|id| json!({"id": id.to_string()})).collect();
            json_body(&json!({"inputs": inputs}))
        }),
    ]
}

fn request_of(case: &Case) -> Request<PieceBody> {
    let mut request = Request::builder()
        .method(case.method.clone())
        .uri(format!("https://api.example.com{}", case.path))
        .version(Version::HTTP_2)
        .header("authorization", "Bearer t")
        .header("accept-encoding", "gzip, br")
        .header("x-a", "1")
        .header("x-a", "2");
    for (name, value) in case.headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body((case.body)()).unwrap();
    request.extensions_mut().insert(Tag("of the request"));
    request
}

/// The frames as one, for bodies that are looked at.
fn joined(frames: Vec<Got>) -> (Vec<u8>, Vec<Got>) {
    let (mut bytes, mut rest) = (Vec::new(), Vec::new());
    for frame in frames {
        match frame {
            Got::Data(data) => bytes.extend_from_slice(&data),
            other => rest.push(other),
        }
    }
    (bytes, rest)
}

/// A server that is told nothing but to fail, so that whoever could be asked in pieces would be.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_split_goes_once_and_as_it_is() {
    for case in cases() {
        let name = case.name;
        let wires = Arc::new(Mutex::new(Vec::new()));
        let seen = wires.clone();
        let client = service_fn(move |request: Request<HeldBody<PieceBody>>| {
            let seen = seen.clone();
            async move {
                let (head, body) = request.into_parts();
                let frames = frames(body, name).await;
                lock(&seen).push(Wire {
                    method: head.method,
                    uri: head.uri,
                    version: head.version,
                    headers: head.headers,
                    extensions: head.extensions,
                    frames,
                });
                let pieces = in_pieces("upstream request timeout");
                let body = PieceBody::new(pieces.chain([Piece::Trailers(trailers())]));
                let mut response = response(504, &[("x-b", "1"), ("x-b", "2")], body);
                *response.version_mut() = Version::HTTP_3;
                response.extensions_mut().insert(Tag("of the response"));
                Ok::<_, TestError>(response)
            }
        });
        let sent = request_of(&case);
        let (method, uri, headers) = (
            case.method.clone(),
            sent.uri().clone(),
            sent.headers().clone(),
        );
        let response = trim().layer(client).oneshot(sent).await.unwrap();

        assert_eq!(response.status(), 504, "{name}");
        assert_eq!(response.version(), Version::HTTP_3, "{name}");
        assert_eq!(
            response.headers().get_all("x-b").iter().count(),
            2,
            "{name}"
        );
        assert_eq!(
            response.extensions().get(),
            Some(&Tag("of the response")),
            "{name}"
        );
        let pieces = in_pieces("upstream request timeout");
        let expected = PieceBody::new(pieces.chain([Piece::Trailers(trailers())]));
        assert_eq!(
            frames(response.into_body(), name).await,
            frames(expected, name).await,
            "{name}"
        );

        let mut wires = std::mem::take(&mut *lock(&wires));
        assert_eq!(wires.len(), 1, "{name}");
        let wire = wires.remove(0);
        assert_eq!((wire.method, wire.uri), (method, uri), "{name}");
        assert_eq!(
            (wire.version, wire.headers),
            (Version::HTTP_2, headers),
            "{name}"
        );
        assert_eq!(
            wire.extensions.get(),
            Some(&Tag("of the request")),
            "{name}"
        );
        let is_held = (case.body)().size_hint().exact().is_some();
        let expected = frames((case.body)(), name).await;
        if is_held {
            assert_eq!(joined(wire.frames), joined(expected), "{name}");
        } else {
            assert_eq!(wire.frames, expected, "{name}");
        }
    }
}

/// Requests that could be asked in pieces, and need not: nothing of them is changed either.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_too_heavy_is_not_changed() {
    for body in [
        || whole(PAGE),
        // In frames, with a trailer, of a size that is told.
        || {
            let pieces = in_pieces(PAGE).chain([Piece::Trailers(trailers())]);
            PieceBody::new(pieces).hint(SizeHint::with_exact(0))
        },
    ] {
        let case = search("a page", body);
        let server = Server::fine();
        let sent = request_of(&case);
        let headers = sent.headers().clone();
        trim().layer(server.clone()).oneshot(sent).await.unwrap();
        let seen = server.log().remove(0);
        assert_eq!(server.count(), 1);
        assert_eq!(seen.headers, headers);
        assert_eq!(seen.extensions.get(), Some(&Tag("of the request")));
        assert_eq!(seen.body.unwrap(), PAGE);
        assert_eq!(
            seen.trailers,
            frames(body(), "a page")
                .await
                .into_iter()
                .find_map(|frame| match frame {
                    Got::Trailers(trailers) => Some(trailers),
                    _ => None,
                })
        );
    }
}

/// The head is given on before there is a body at all, and each frame as it comes.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_too_heavy_passes_unread() {
    for status in [200, 207, 400, 401, 403, 404, 429, 500, 503] {
        let fate = Fate::default();
        let shown = fate.clone();
        let server = Server::new(move |_, _| {
            let pieces = [
                Piece::Data("{\"results\": [".into()),
                Piece::Wait(SECOND),
                Piece::Data("tor".into()),
                Piece::Trailers(trailers()),
            ];
            let response = response(status, &[("x-b", "1")], PieceBody::new(pieces).fate(&shown));
            Box::pin(async { Ok(response) })
        });
        let call = post(SEARCH, &json!({"limit": 200}));
        let mut answer = Hand::new(trim().layer(server.clone()).oneshot(call));
        let std::task::Poll::Ready(response) = answer.poll() else {
            panic!("{status}: something else is waited for");
        };
        let response = response.unwrap();
        assert!(!fate.is_read() && !fate.is_dropped(), "{status}");
        assert_eq!((response.status().as_u16(), server.count()), (status, 1));
        let got = frames(response.into_body(), "an answer").await;
        let expected = [
            Got::Data("{\"results\": [".into()),
            Got::Data("tor".into()),
            Got::Trailers(trailers()),
        ];
        assert_eq!(got, expected, "{status}");
    }
    // An answer that never ends is nobody's business but the caller's.
    let server = Server::new(|_, _| {
        let body = PieceBody::new([Piece::Data("[".into()), Piece::Hang]);
        Box::pin(async { Ok(response(200, &[], body)) })
    });
    let mut response = trim()
        .layer(server)
        .oneshot(post(SEARCH, &json!({})))
        .await
        .unwrap();
    assert!(response.body_mut().frame().await.is_some());
}

/// Errors that have nothing to do with weight are the caller's.
#[tokio::test(start_paused = true)]
async fn an_error_that_is_no_timeout_passes() {
    let server = Server::new(|_, _| common::lost());
    let call = post(SEARCH, &json!({"limit": 200}));
    let error = trim()
        .layer(server.clone())
        .oneshot(call)
        .await
        .unwrap_err();
    assert_eq!(
        error.downcast_ref(),
        Some(&TestError("the connection is lost"))
    );
    assert_eq!(server.count(), 1);
}

/// A server for which nothing is light enough.
fn overloaded() -> Crm {
    let crm = Crm::new(Store::of(400));
    crm.set_budget(0);
    crm
}

fn page() -> Request<Full<Bytes>> {
    post(SEARCH, &json!({"limit": 200}))
}

#[tokio::test(start_paused = true)]
async fn without_the_layer_a_search_is_repeated_as_any_read() {
    let crm = overloaded();
    let off = ServiceBuilder::new()
        .layer(PayloadTrimLayer::off())
        .layer(RetryAfterLayer::new(&unlimited()))
        .service(crm.clone());
    let plain = RetryAfterLayer::new(&unlimited()).layer(crm.clone());
    let stack = StackLayer::new(&unlimited()).layer(crm.clone());
    for got in [
        call(&off, page()).await,
        call(&plain, page()).await,
        call(&stack, page()).await,
    ] {
        assert_eq!(got.unwrap().status, 504);
    }
    assert_eq!(crm.sizes(), [200; 15], "five attempts each");
}

/// Each size is asked for once, until there is nothing smaller; that is repeated as any read.
#[tokio::test(start_paused = true)]
async fn with_the_layer_it_is_not_repeated_before_it_is_made_smaller() {
    let crm = overloaded();
    let api = ServiceBuilder::new()
        .layer(trim())
        .layer(RetryAfterLayer::new(&unlimited()))
        .service(crm.clone());
    let got = call(&api, page()).await.unwrap();
    assert_eq!(got.status, 504);
    assert_eq!(crm.sizes(), [200, 100, 50, 25, 13, 7, 4, 2, 1, 1, 1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_timeout_of_anything_else_is_repeated_inside() {
    let server = Server::new(|_, _| at_once(504, &[], "upstream request timeout"));
    let api = ServiceBuilder::new()
        .layer(trim())
        .layer(RetryAfterLayer::new(&unlimited()))
        .service(server.clone());
    let response: Response<_> = api.clone().oneshot(get("t")).await.unwrap();
    assert_eq!((response.status().as_u16(), server.count()), (504, 5));
    // And so is a search that the layer cannot make smaller.
    let call = post(SEARCH, &json!({"limit": 201}));
    let response = api.clone().oneshot(call).await.unwrap();
    assert_eq!((response.status().as_u16(), server.count()), (504, 10));
    let call = post(SEARCH, &json!({"limit": 1}));
    let response = api.oneshot(call).await.unwrap();
    assert_eq!((response.status().as_u16(), server.count()), (504, 15));
}

/// Refusals and trouble of other kinds are repeated inside for pieces, too.
#[tokio::test(start_paused = true)]
async fn other_failures_of_pieces_are_repeated_inside() {
    let crm = Crm::new(Store::of(400));
    crm.set_budget(100);
    let mut failed = std::collections::HashSet::new();
    crm.set_hook(move |nth, asked, _| {
        let fails = asked.size <= 100 && failed.insert(asked.body.clone());
        fails.then_some(crm::Fault::Status([500, 503, 429][nth % 3]))
    });
    let api = ServiceBuilder::new()
        .layer(trim())
        .layer(RetryAfterLayer::new(&unlimited()))
        .service(crm.clone());
    let got = call(&api, page()).await.unwrap();
    assert_eq!((got.status, got.ids()), (200, (1..=200).collect()));
    assert_eq!(crm.sizes(), [200, 100, 100, 100, 100]);
}
