//! What answers look like: bodies, error bodies and headers.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde::Serialize;

use super::SimBody;
use super::quota::{Figures, Refusal};
use super::routes::Class;

const JSON: HeaderValue = HeaderValue::from_static("application/json;charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html");

const CORRELATION_ID: HeaderName = HeaderName::from_static("x-hubspot-correlation-id");
const MAX: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-max");
const REMAINING: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-remaining");
const INTERVAL: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-interval-milliseconds");
const SECONDLY: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-secondly");
const SECONDLY_REMAINING: HeaderName =
    HeaderName::from_static("x-hubspot-ratelimit-secondly-remaining");
const DAILY: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-daily");
const DAILY_REMAINING: HeaderName = HeaderName::from_static("x-hubspot-ratelimit-daily-remaining");

/// A UUID that ties header and body of one answer together.
pub(super) fn correlation_id(rng: &mut fastrand::Rng) -> String {
    let bits = rng.u128(..);
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        (bits >> 96) as u32,
        (bits >> 80) as u16,
        (bits >> 64) & 0xfff,
        (bits >> 48) & 0xfff,
        bits & 0xffff_ffff_ffff,
    )
}

/// An answer before it gets the headers that all answers have.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Bytes,
    pub(super) retry_after: Option<u64>,
    /// Whether the quota headers are sent; the edge's own answers have none.
    pub(super) quota_headers: bool,
}

impl Reply {
    fn new(status: StatusCode, content_type: Option<HeaderValue>, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            body: body.into(),
            retry_after: None,
            quota_headers: true,
        }
    }

    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        // Our own types have string keys and cannot fail; an empty body would be seen by any test.
        Self::new(
            status,
            Some(JSON),
            serde_json::to_vec(value).unwrap_or_default(),
        )
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self::new(status, None, Bytes::new())
    }

    /// The whole response. `service` is the ready-made service-time header.
    pub(super) fn into_response(
        self,
        correlation_id: &str,
        figures: &Figures,
        date: HeaderValue,
        service: Option<(HeaderName, HeaderValue)>,
    ) -> Response<SimBody> {
        let mut response = Response::new(SimBody::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.reserve(12);
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.insert(DATE, date);
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some((name, value)) = service {
            headers.insert(name, value);
        }
        if self.quota_headers {
            if let Ok(id) = HeaderValue::from_str(correlation_id) {
                headers.insert(CORRELATION_ID, id);
            }
            quota_headers(headers, figures);
        }
        response
    }
}

fn quota_headers(headers: &mut HeaderMap, figures: &Figures) {
    if let Some((quota, remaining)) = figures.daily {
        headers.insert(DAILY, quota.into());
        headers.insert(DAILY_REMAINING, remaining.into());
    }
    if let Some((rule, remaining)) = figures.burst {
        headers.insert(INTERVAL, (rule.window.as_millis() as u64).into());
        headers.insert(MAX, rule.quota.into());
        headers.insert(REMAINING, remaining.into());
        // Derived figures that nobody enforces.
        headers.insert(SECONDLY, (rule.quota / 10).into());
        headers.insert(SECONDLY_REMAINING, (remaining / 10).into());
    }
}

/// The two dialects of a 429. `ids` are the application and the account.
pub(super) fn refusal(
    refusal: Refusal,
    class: Class,
    ids: (u64, u64),
    correlation_id: &str,
    rng: &mut fastrand::Rng,
) -> Reply {
    let body = match (refusal, class) {
        (Refusal::Daily, _) => dialect_a("daily", "DAILY", "daily", ids, correlation_id, rng),
        (Refusal::Window, Class::Search) => format!(
            r#"{{"status":"error","message":"You have reached your secondly limit.","correlationId":"{correlation_id}","category":"RATE_LIMITS"}}"#
        ),
        // The associations' own body is unknown; this is the likely one.
        (Refusal::Window, _) => dialect_a(
            "ten_secondly_rolling",
            "TEN_SECONDLY_ROLLING",
            "ten-secondly",
            ids,
            correlation_id,
            rng,
        ),
    };
    Reply::new(StatusCode::TOO_MANY_REQUESTS, Some(JSON), body)
}

/// The answer to one request too many at a time. The API's own is unknown; it says of no limit that it is used up.
pub(super) fn busy(status: StatusCode, correlation_id: &str) -> Reply {
    Problem::new(status, "TOO_MANY_IN_WORK", "Too many requests are in work.").reply(correlation_id)
}

fn dialect_a(
    limit: &str,
    policy: &str,
    group: &str,
    (app, account): (u64, u64),
    correlation_id: &str,
    rng: &mut fastrand::Rng,
) -> String {
    let request_id = rng.u128(..);
    format!(
        r#"{{"status":"error","message":"You have reached your {limit} limit.","errorType":"RATE_LIMIT","correlationId":"{correlation_id}","policyName":"{policy}","groupName":"publicapi:private_app-api-calls-{group}:{app}:{account}","requestId":"{request_id:032x}"}}"#
    )
}

/// The answer of a fault that was given no body.
pub(super) fn trouble(
    status: StatusCode,
    class: Class,
    ids: (u64, u64),
    correlation_id: &str,
    rng: &mut fastrand::Rng,
) -> Reply {
    let (category, message) = match status.as_u16() {
        429 => return refusal(Refusal::Window, class, ids, correlation_id, rng),
        502 | 520..=530 => {
            let mut page = page(status);
            page.quota_headers = false;
            return page;
        }
        423 => ("LOCKED", "The resource is locked, please try again later."),
        477 => (
            "MIGRATION_IN_PROGRESS",
            "This account is being moved to another data center.",
        ),
        503 => (
            "SERVICE_UNAVAILABLE",
            "The service is temporarily unavailable.",
        ),
        504 => ("TIMEOUT", "The request timed out."),
        500..=599 => ("INTERNAL_ERROR", "There was a problem with the request."),
        _ => ("VALIDATION_ERROR", "There was a problem with the request."),
    };
    Problem::new(status, category, message).reply(correlation_id)
}

/// An answer for people.
pub(super) fn page(status: StatusCode) -> Reply {
    let title = match status.as_u16() {
        524 => "524 Origin Time-out".to_owned(),
        _ => status.to_string().replace(" <unknown status code>", ""),
    };
    let html = format!(
        "<html>\n<head><title>{title}</title></head>\n<body bgcolor=\"white\">\n\
         <center><h1>{title}</h1></center>\n<hr><center>cloudflare</center>\n</body>\n</html>\n"
    );
    Reply::new(status, Some(HTML), html)
}

/// An error in the API's own form: the answer to a call, or one item of a 207.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Problem {
    status: Failed,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Detail>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    context: BTreeMap<&'static str, Vec<String>>,
    category: &'static str,
    #[serde(skip)]
    code: StatusCode,
    /// Who has the email already; only the items of a 207 show it apart from the message.
    #[serde(skip)]
    existing: Option<u64>,
}

/// The only value that the status of an error has.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Failed {
    Error,
}

#[derive(Clone, Debug, Serialize)]
struct Detail {
    message: String,
    code: &'static str,
    context: BTreeMap<&'static str, Vec<String>>,
}

impl Problem {
    pub(super) fn new(
        code: StatusCode,
        category: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status: Failed::Error,
            message: message.into(),
            errors: Vec::new(),
            context: BTreeMap::new(),
            category,
            code,
            existing: None,
        }
    }

    /// 400.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "OBJECT_NOT_FOUND",
            "resource not found",
        )
    }

    pub(super) fn unauthorized() -> Self {
        let message = "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more \
                       details at https://developers.hubspot.com/docs/methods/auth/oauth-overview";
        Self::new(StatusCode::UNAUTHORIZED, "INVALID_AUTHENTICATION", message)
    }

    pub(super) fn conflict(existing: u64) -> Self {
        let message = format!("Contact already exists. Existing ID: {existing}");
        let mut problem = Self::new(StatusCode::CONFLICT, "CONFLICT", message);
        problem.existing = Some(existing);
        problem
    }

    /// A property whose name or value is wrong. The message carries JSON of its own, as the API's does.
    pub(super) fn property(code: &'static str, name: &str, message: String, account: u64) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Inner<'a> {
            is_valid: bool,
            message: &'a str,
            error: &'a str,
            name: &'a str,
            localized_error_message: &'a str,
            portal_id: u64,
        }
        let inner = serde_json::to_string(&[Inner {
            is_valid: false,
            message: &message,
            error: code,
            name,
            localized_error_message: &message,
            portal_id: account,
        }]);
        let outer = format!(
            "Property values were not valid: {}",
            inner.unwrap_or_default()
        );
        let mut problem = Self::invalid(outer);
        problem.errors.push(Detail {
            message,
            code,
            context: BTreeMap::from([("propertyName", vec![name.to_owned()])]),
        });
        problem
    }

    /// What is wrong, for people.
    pub(super) fn in_words(&self) -> &str {
        let detail = self.errors.first();
        detail.map_or(&self.message, |detail| &detail.message)
    }

    #[must_use]
    pub(super) fn with(mut self, key: &'static str, values: Vec<String>) -> Self {
        self.context.insert(key, values);
        self
    }

    /// As one item of a 207, which has no `errors`.
    pub(super) fn item(mut self) -> Self {
        self.errors.clear();
        match self.existing {
            Some(id) => self.with("existingId", vec![id.to_string()]),
            None => self,
        }
    }

    /// Takes the context of another error that says the same, or gives it back.
    pub(super) fn absorb(&mut self, other: Self) -> Option<Self> {
        if self.category != other.category || self.message != other.message {
            return Some(other);
        }
        for (key, values) in other.context {
            let own = self.context.entry(key).or_default();
            own.extend(values);
        }
        None
    }

    pub(super) fn reply(&self, correlation_id: &str) -> Reply {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Whole<'a> {
            #[serde(flatten)]
            problem: &'a Problem,
            correlation_id: &'a str,
        }
        let whole = Whole {
            problem: self,
            correlation_id,
        };
        Reply::json(self.code, &whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_refusal_is_148_bytes_long_as_recorded() {
        let mut rng = fastrand::Rng::with_seed(1);
        let id = correlation_id(&mut rng);
        assert_eq!(id.len(), 36);
        let reply = refusal(Refusal::Window, Class::Search, (1, 2), &id, &mut rng);
        assert_eq!(reply.body.len(), 148);
    }
}
