//! hyper-util's client with the layers on it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use tower::timeout::{Timeout, TimeoutLayer};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_quota::body::HeldBody;
use tower_quota::stack::BatchedStack;
use tower_quota::trim::Trimmed;
use tower_quota::{BatchLayer, BoxError, Quota, hubspot};

use crate::args::Args;
use crate::wire::{Call, Counted, Wire};

type Body = Full<Bytes>;
type Http = legacy::Client<HttpsConnector<HttpConnector>, HeldBody<Body>>;
type Api = BatchedStack<Timeout<Counted<Http>>>;

/// A pause is waited for so long; what takes longer (the daily quota is used up) ends the run.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);

/// What is shorter is nobody's secret.
const SHORTEST_SECRET: usize = 8;

/// An answer about one contact is a few kilobytes long.
const LONGEST_ANSWER: usize = 4 << 20;

/// HubSpot, as the sync sees it.
#[derive(Clone)]
pub(crate) struct Client {
    /// The layers as one is meant to use them.
    api: Api,
    /// The same without repetitions, for the first request: whether anybody is there at all shall be known at once.
    once: Api,
    base: Uri,
    authorization: HeaderValue,
    timeout: Duration,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// It was put together from the answers to smaller requests.
    pub(crate) trimmed: bool,
}

impl Client {
    pub(crate) fn new(
        quota: &Quota,
        base: Uri,
        token: &str,
        args: &Args,
        wire: &Wire,
    ) -> Result<Self, String> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "the token has characters that no token has".to_owned())?;
        authorization.set_sensitive(true);

        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(args.timeout()));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(usize::from(args.concurrency))
            .pool_timer(TokioTimer::new())
            .build(connector);

        // Innermost first: counted, limited in time, limited in number, repeated.
        let sent = ServiceBuilder::new()
            .layer(TimeoutLayer::new(args.timeout()))
            .service(Counted {
                inner: http,
                wire: wire.clone(),
            });
        // All work is alike here, and nothing need be kept for anything more urgent.
        let stack = hubspot::stack(quota).max_wait(MAX_WAIT).search_reserve(0);
        let no_repetitions = stack
            .clone()
            .max_attempts(1)
            .map_err(|error| error.to_string())?
            .batch_with(BatchLayer::off());
        let stack = match args.batch {
            true => stack.batch(hubspot::Batches::default()),
            false => stack.batch_with(BatchLayer::off()),
        };
        Ok(Self {
            api: stack.layer(sent.clone()),
            once: no_repetitions.layer(sent),
            base,
            authorization,
            timeout: args.timeout(),
        })
    }

    /// The same server without repetitions.
    pub(crate) fn once(&self) -> Self {
        Self {
            api: self.once.clone(),
            ..self.clone()
        }
    }

    pub(crate) fn base(&self) -> String {
        self.base.to_string().trim_end_matches('/').to_owned()
    }

    /// A request to look up quota with; it is never sent.
    pub(crate) fn specimen(&self) -> Request<()> {
        let mut request = Request::new(());
        request
            .headers_mut()
            .insert(AUTHORIZATION, self.authorization.clone());
        request
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Answer, BoxError> {
        let mut request = self.request(method, path, body)?;
        request.extensions_mut().insert(Call::default());
        self.answer(request).await
    }

    /// The same for a search, of which the layers may make several calls.
    pub(crate) async fn search(&self, path: &str, body: &Value) -> Result<Answer, BoxError> {
        self.answer(self.request(Method::POST, path, body)?).await
    }

    fn request(&self, method: Method, path: &str, body: &Value) -> Result<Request<Body>, BoxError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base()))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json")
            .header(
                USER_AGENT,
                concat!("tower-quota-hubspot-sync/", env!("CARGO_PKG_VERSION")),
            )
            .body(Full::from(serde_json::to_vec(body)?))?;
        Ok(request)
    }

    async fn answer(&self, request: Request<Body>) -> Result<Answer, BoxError> {
        let response = self.api.clone().oneshot(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect();
        let body = tokio::time::timeout(self.timeout, body).await??;
        Ok(Answer {
            status: head.status,
            trimmed: head.extensions.get::<Trimmed>().is_some(),
            body: body.to_bytes(),
        })
    }

    /// What the server says, without the token, should it repeat that.
    pub(crate) fn redact(&self, message: &str) -> String {
        let credentials = self.authorization.to_str().unwrap_or_default();
        match credentials.trim_start_matches("Bearer ") {
            // A made-up token of a few letters would be found in every other word.
            token if token.len() < SHORTEST_SECRET => message.to_owned(),
            token => message.replace(token, "[token]"),
        }
    }
}
