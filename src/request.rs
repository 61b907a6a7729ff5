//! What a caller can attach to a request, and how an API's routes are told apart.
//!
//! Extensions on the request: [`AccountId`], [`Attempt`], [`Deadline`], [`Idempotent`], [`Lane`], [`RouteName`], [`Token`], and [`RouteClass`] itself when the
//! caller knows better than the path. [`Routes`] is what an API says about its paths; [`TokenSource`] says where a request
//! carries its token.
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::request::{AccountId, Deadline};
//!
//! let mut request = http::Request::get("https://api.example.com/v1/things").body(()).unwrap();
//! request.extensions_mut().insert(AccountId("4711".into()));
//! request.extensions_mut().insert(Deadline::within(Duration::from_secs(5)));
//! ```

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderName, Method, Request, StatusCode, Uri, request};
use tokio::time::Instant;

use crate::BoxError;
use crate::clock::Clock;
use crate::core::{Fingerprint, Keys};
use crate::event::Route;
pub use crate::plan::Lane;
use crate::plan::RouteClass;

/// The head of a request, without its body.
///
/// `Debug` shows the method only: the token may be in a header, in the query, even in the path.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target; usually absolute on the client's side.
    pub uri: &'a Uri,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// What the caller attached.
    pub extensions: &'a Extensions,
}

impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method)
            .finish_non_exhaustive()
    }
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

impl<'a> From<&'a request::Parts> for RequestHead<'a> {
    fn from(parts: &'a request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }
}

/// Request extension: the tenant at the API whose limits the request uses.
///
/// Several tokens may share one account. Without this extension the token itself counts as the account, so attach it to all
/// requests of an account or to none: those with it and those without are counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountId(pub String);

impl From<&str> for AccountId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Request extension: by when the request must be under way, all waiting and repeating included.
///
/// It ends waits; a request that need not wait is sent even when its deadline has passed. It does not cut off a request that has
/// been sent, nor the time until an inner service is ready; a timeout layer does that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// A deadline so far from now; about a year from now when `within` is longer.
    pub fn within(within: Duration) -> Self {
        Self(Clock::instant_after(within))
    }

    pub(crate) fn has_passed(self) -> bool {
        self.0 <= Clock::instant_now()
    }
}

/// Request extension: the token, for programs that add the `Authorization` header further inside. Used with
/// [`TokenSource::extension`].
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Where a request carries its token.
///
/// A request without a token uses one key that it shares with all others without one.
#[derive(Clone)]
pub struct TokenSource(Source);

type TokenFn = dyn for<'a> Fn(RequestHead<'a>) -> Option<Cow<'a, [u8]>> + Send + Sync;

#[derive(Clone)]
enum Source {
    Header(HeaderName),
    With(Arc<TokenFn>),
}

impl TokenSource {
    /// The value of a header. Of `Authorization` only the credentials count, not the name of the scheme.
    ///
    /// It must be the same for all requests that share a limit. A signature that is new with every request (Digest, OAuth 1, AWS
    /// SigV4) makes every request a token of its own, and nothing is limited; find the stable part with [`with`](Self::with).
    pub fn header(name: HeaderName) -> Self {
        Self(Source::Header(name))
    }

    /// The extension [`Token`].
    pub fn extension() -> Self {
        Self::with(|head| {
            head.extensions
                .get::<Token>()
                .map(|token| Cow::Borrowed(token.0.as_bytes()))
        })
    }

    /// Whatever a closure finds, for example a parameter of the query.
    pub fn with(
        find: impl for<'a> Fn(RequestHead<'a>) -> Option<Cow<'a, [u8]>> + Send + Sync + 'static,
    ) -> Self {
        Self(Source::With(Arc::new(find)))
    }

    fn find<'a>(&self, head: RequestHead<'a>) -> Option<Cow<'a, [u8]>> {
        match &self.0 {
            Source::Header(name) if name == AUTHORIZATION => head
                .headers
                .get(name)
                .map(|value| Cow::Borrowed(credentials(value.as_bytes()))),
            Source::Header(name) => head
                .headers
                .get(name)
                .map(|value| Cow::Borrowed(value.as_bytes())),
            Source::With(find) => find(head),
        }
    }
}

impl Default for TokenSource {
    /// The `Authorization` header.
    fn default() -> Self {
        Self::header(AUTHORIZATION)
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Source::With(_) => f.write_str("With(..)"),
        }
    }
}

/// `Bearer x` and `bearer  x` are one token.
fn credentials(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    match value.iter().position(u8::is_ascii_whitespace) {
        Some(end_of_scheme) => value[end_of_scheme..].trim_ascii_start(),
        None => value,
    }
}

/// Makes fingerprints with keys that are random in every process and never leave it, unless processes share a ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fingerprinter {
    high: RandomState,
    low: RandomState,
    /// With this one instead, tokens and accounts have the same in all processes.
    #[cfg(feature = "redis")]
    shared: Option<crate::redis::SharedSecret>,
}

impl Fingerprinter {
    #[cfg(feature = "redis")]
    pub(crate) fn shared(secret: crate::redis::SharedSecret) -> Self {
        Self {
            shared: Some(secret),
            ..Self::default()
        }
    }

    pub(crate) fn keys(&self, source: &TokenSource, head: RequestHead<'_>) -> Keys {
        let token = source
            .find(head)
            .map_or(Keys::SHARED.token, |token| self.fingerprint(b't', &token));
        let account = head.extensions.get::<AccountId>();
        Keys {
            token,
            account: account.map_or(token, |account| {
                self.fingerprint(b'a', account.0.as_bytes())
            }),
        }
    }

    /// `domain` keeps a token and an account of the same name apart.
    fn fingerprint(&self, domain: u8, secret: &[u8]) -> Fingerprint {
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            return shared.fingerprint(domain, secret);
        }
        self.of(|hasher| {
            hasher.write_u8(domain);
            hasher.write(secret);
        })
    }

    /// The fingerprint of whatever `write` gives to a hasher, in this process only; it is called twice and must do the same each time.
    pub(crate) fn of(&self, write: impl Fn(&mut DefaultHasher)) -> Fingerprint {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            write(&mut hasher);
            hasher.finish()
        };
        Fingerprint::from_halves(half(&self.high), half(&self.low))
    }
}

/// Request extension: the caller vouches that repeating this request does no harm, whatever its method says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idempotent;

/// Request extension: which endings of the request a layer further outside answers by asking for less. Nobody further inside
/// repeats a request that ended so.
///
/// [`PayloadTrimLayer`](crate::PayloadTrimLayer) attaches it to what it can still make smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooHeavy {
    /// The statuses that mean it.
    pub statuses: &'static [u16],
    /// Whether errors of the client that say that the time is over mean it, too.
    pub timeouts: bool,
}

impl TooHeavy {
    /// 502, 504, Cloudflare's 524, and timeouts on the client's side.
    pub const GATEWAY_TIMEOUT: Self = Self {
        statuses: &[502, 504, 524],
        timeouts: true,
    };

    /// Nothing means it.
    pub(crate) const NEVER: Self = Self {
        statuses: &[],
        timeouts: false,
    };

    /// Whether a response with this status means it.
    pub fn is_status(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }

    /// Whether this error means it.
    pub fn is_error(&self, error: &BoxError) -> bool {
        self.timeouts && crate::error::is_timeout(&**error)
    }
}

/// Request extension: what reports, events and metrics call the route of this request, instead of its method and path.
///
/// It must be one of a few, and must contain no id and no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteName(pub Route);

impl From<&str> for RouteName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// Request extension: how often the request has been sent, this time included. One without it is sent for the first time.
///
/// [`RetryAfterLayer`](crate::RetryAfterLayer) attaches it to repetitions; a program that repeats requests itself can do the same, so that
/// events tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// What a request does at the server, which decides when it may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Changes nothing. Repeated after a refusal and after an unknown outcome.
    Read,
    /// A write that leaves the same state when done twice. Repeated like a read.
    IdempotentWrite,
    /// A write that must not be done twice (a create, a merge). Repeated only when the server certainly did nothing.
    Create,
}

impl Effect {
    /// What RFC 9110 section 9.2 says of the method: safe methods read, `PUT` and `DELETE` are idempotent, all else is not.
    pub fn of_method(method: &Method) -> Effect {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE => Effect::Read,
            Method::PUT | Method::DELETE => Effect::IdempotentWrite,
            _ => Effect::Create,
        }
    }
}

/// What an API says about its paths. Implemented by a preset; [`StandardRoutes`] when there is none.
pub trait Routes: Send + Sync + 'static {
    /// Which of the server's limiters governs the request. Called once per request, on the fast path.
    fn class(&self, request: &RequestHead<'_>) -> RouteClass;

    /// What the request does at the server.
    fn effect(&self, request: &RequestHead<'_>) -> Effect;

    /// Whether a segment of a path is one of the API's own names (`crm`, `v3`, `objects`) and no id. Only names are shown in the
    /// [`Route`] of reports, events and metrics; everything else becomes `{}`. If not said, nothing is a name.
    ///
    /// Called for each segment of each request, on the fast path. What it says yes to must be one of a few, whatever callers ask for.
    fn is_name(&self, segment: &str) -> bool {
        let _ = segment;
        false
    }
}

/// Routes of an API about which nothing is known: every path is [`RouteClass::General`], the method tells the effect.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardRoutes;

impl Routes for StandardRoutes {
    fn class(&self, _: &RequestHead<'_>) -> RouteClass {
        RouteClass::General
    }

    fn effect(&self, request: &RequestHead<'_>) -> Effect {
        Effect::of_method(request.method)
    }
}
