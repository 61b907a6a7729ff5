//! What a caller can attach to a request, and how an API's routes are told apart.
//!
//! Extensions on the request: [`AccountId`], [`Idempotent`], and [`RouteClass`] itself when the caller knows better than the
//! path. [`Routes`] is what an API says about its paths.

use http::{Extensions, HeaderMap, Method, Request, Uri};

use crate::plan::RouteClass;

/// The head of a request, without its body.
#[derive(Clone, Copy, Debug)]
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

/// Request extension: the tenant at the API whose limits the request uses.
///
/// Several tokens may share one account. Without this extension the token itself counts as the account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountId(pub String);

/// Request extension: the caller vouches that repeating this request does no harm, whatever its method says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idempotent;

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
