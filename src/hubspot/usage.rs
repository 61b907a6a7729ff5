use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::Buf;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use serde::Deserialize;
use tower_service::Service;

use super::DAILY;
use crate::request::RequestHead;
use crate::{BoxError, ConfigError, Quota};

const PATH: &str = "/account-info/v3/api-usage/daily/private-apps";
/// What the pool is called in the answer.
const POOL: &str = "private-apps-api-calls-daily";
/// The answer has some hundred bytes.
const MOST: usize = 64 * 1024;
/// Empty frames fill no limit in bytes.
const MOST_FRAMES: usize = 1024;
/// A `Date` has whole seconds, and the answer takes some time: what differs by less is no difference between two clocks.
const LEAST_SKEW: Duration = Duration::from_secs(3);

/// What HubSpot says of the daily pool of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DailyUsage {
    /// Requests per day.
    pub limit: u64,
    /// Requests since the last reset, of all private apps together. HubSpot may be some minutes late with it.
    pub used: u64,
    /// When the pool is filled again, by HubSpot's clock.
    pub resets_at: SystemTime,
}

/// HubSpot has not said how the daily pool is used, or that makes no sense.
#[derive(Debug)]
#[non_exhaustive]
pub enum UsageError {
    /// The service could not send the request.
    Service(BoxError),
    /// The answer has another status than 200: 401 and 403, say, for a token without the right to ask.
    Status(StatusCode),
    /// The answer does not tell what it should; with what is wrong.
    Answer(String),
    /// What it tells cannot be: the reset is over, say, or the plan has no daily pool.
    Reset(ConfigError),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the use of the daily pool is unknown: ")?;
        match self {
            UsageError::Service(_) => f.write_str("the request failed"),
            UsageError::Status(status) => write!(f, "the answer is {status}"),
            UsageError::Answer(problem) => write!(f, "the answer {problem}"),
            UsageError::Reset(error) => error.fmt(f),
        }
    }
}

impl StdError for UsageError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            UsageError::Service(error) => Some(&**error),
            UsageError::Reset(error) => Some(error),
            UsageError::Status(_) | UsageError::Answer(_) => None,
        }
    }
}

/// Asks HubSpot how much of the daily pool is used and when it is filled again, and tells `quota`, which then counts from there:
/// also where the plan's zone is [unknown](crate::plan::Zone::UNKNOWN).
///
/// `service` may be the stack itself, or the client under it, which can ask even when the pool is exhausted. `template` gives the address, the credentials and the extensions
/// (the [`AccountId`](crate::request::AccountId), say); its method, path and query are replaced, its body is sent as it is and should
/// be empty. The request counts as one of the day. Ask once when a process starts, and from time to time where the zone is
/// unknown. Works for private apps; others have no daily pool.
///
/// # Errors
///
/// [`UsageError`] says whether the request failed, the status is not 200, a field is missing or wrong, or the reset is over or
/// more than 25 h away. Nothing has then been told to `quota`.
///
/// # Cancel safety
///
/// Dropped before it is ready, nothing has been told to `quota`; the request may have been sent.
///
/// ```no_run
/// # async fn example<S>(quota: &tower_quota::Quota, api: S) -> Result<(), tower_quota::BoxError>
/// # where
/// #     S: tower::Service<http::Request<String>, Response = http::Response<String>>,
/// #     S::Error: Into<tower_quota::BoxError>,
/// # {
/// use tower_quota::hubspot;
///
/// let template = http::Request::get("https://api.hubapi.com").header("authorization", "Bearer my-token");
/// let usage = hubspot::daily_usage(quota, api, template.body(String::new())?).await?;
/// println!("{} of {} are used", usage.used, usage.limit);
/// # Ok(())
/// # }
/// ```
pub async fn daily_usage<S, B, RB>(
    quota: &Quota,
    mut service: S,
    template: Request<B>,
) -> Result<DailyUsage, UsageError>
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: Into<BoxError>,
    RB: Body,
    RB::Error: Into<BoxError>,
{
    let (mut head, body) = template.into_parts();
    head.method = Method::GET;
    head.uri = at_path(head.uri)?;
    let request = Request::from_parts(head.clone(), body);
    let failed = |error: S::Error| UsageError::Service(error.into());
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed)?;
    let response = service.call(request).await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(UsageError::Status(response.status()));
    }
    let (parts, body) = response.into_parts();
    let usage = parse(&read(body).await?)?;
    let date = parts.headers.get(header::DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let reset = by_clock(quota.clock().wall(), date, usage.resets_at);
    let head = RequestHead::from(&head);
    quota
        .set_next_reset(DAILY, head, reset)
        .and_then(|()| quota.note_daily_usage(DAILY, head, usage.limit, usage.used))
        .map_err(UsageError::Reset)?;
    Ok(usage)
}

fn at_path(uri: Uri) -> Result<Uri, UsageError> {
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static(PATH));
    Uri::from_parts(parts).map_err(|error| UsageError::Service(error.into()))
}

async fn read<B>(body: B) -> Result<Vec<u8>, UsageError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let mut text = Vec::new();
    for _ in 0..MOST_FRAMES {
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else {
            return Ok(text);
        };
        let frame = frame.map_err(|error| UsageError::Service(error.into()))?;
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        if text.len().saturating_add(data.remaining()) > MOST {
            break;
        }
        while data.has_remaining() {
            let length = data.chunk().len();
            text.extend_from_slice(data.chunk());
            data.advance(length);
        }
    }
    Err(wrong("is too long"))
}

fn wrong(problem: impl Into<String>) -> UsageError {
    UsageError::Answer(problem.into())
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: Option<String>,
    usage_limit: Option<u64>,
    current_usage: Option<u64>,
    fetch_status: Option<String>,
    resets_at: Option<String>,
}

fn parse(body: &[u8]) -> Result<DailyUsage, UsageError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| wrong(format!("cannot be understood ({error})")))?;
    let mut entries = answer.results.into_iter();
    let entry = entries
        .find(|entry| entry.name.as_deref() == Some(POOL))
        .ok_or_else(|| wrong(format!("has no entry `{POOL}`")))?;
    match entry.fetch_status.as_deref() {
        None | Some("SUCCESS" | "CACHED") => {}
        Some(status) => return Err(wrong(format!("has the fetchStatus {status:?}"))),
    }
    let missing = |field: &str| wrong(format!("has no `{field}`"));
    let limit = entry.usage_limit.filter(|limit| *limit > 0);
    let resets_at = entry.resets_at.ok_or_else(|| missing("resetsAt"))?;
    let time: jiff::Timestamp = resets_at
        .parse()
        .map_err(|_| wrong(format!("has the resetsAt {resets_at:?}")))?;
    Ok(DailyUsage {
        limit: limit.ok_or_else(|| missing("usageLimit"))?,
        used: entry.current_usage.ok_or_else(|| missing("currentUsage"))?,
        resets_at: time.into(),
    })
}

/// When our clock will show what the server's clock shows at `reset`; `date` is what that shows now, and `here` what ours does.
fn by_clock(here: SystemTime, date: Option<SystemTime>, reset: SystemTime) -> SystemTime {
    let ahead = date.and_then(|date| date.duration_since(here).ok());
    let behind = date.and_then(|date| here.duration_since(date).ok());
    let shifted = match (ahead, behind) {
        (Some(ahead), _) if ahead >= LEAST_SKEW => reset.checked_sub(ahead),
        (_, Some(behind)) if behind >= LEAST_SKEW => reset.checked_add(behind),
        _ => None,
    };
    shifted.unwrap_or(reset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// As HubSpot's documentation shows it; midnight in New York.
    #[test]
    fn the_documented_answer_is_understood() {
        let answer = br#"{"results":[{"name":"other"},{"name":"private-apps-api-calls-daily","usageLimit":250000,
            "currentUsage":1296,"collectedAt":"2020-04-09T17:05:07Z","fetchStatus":"SUCCESS","resetsAt":"2020-04-10T04:00:00Z"}]}"#;
        let usage = parse(answer).unwrap();
        assert_eq!((usage.limit, usage.used), (250_000, 1_296));
        assert_eq!(usage.resets_at, at(1_586_491_200));
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_told() {
        let with = |fields: &str| {
            format!(r#"{{"results":[{{"name":"private-apps-api-calls-daily"{fields}}}]}}"#)
        };
        let whole = r#","usageLimit":1,"currentUsage":1"#;
        for (answer, told) in [
            (String::new(), "cannot be understood"),
            ("{}".to_owned(), "results"),
            (r#"{"results":[]}"#.to_owned(), "no entry"),
            (with(whole), "no `resetsAt`"),
            (
                with(&format!(r#"{whole},"resetsAt":"tomorrow""#)),
                "\"tomorrow\"",
            ),
            (
                with(r#","resetsAt":"2020-04-10T04:00:00Z""#),
                "no `usageLimit`",
            ),
            (
                with(r#","usageLimit":0,"resetsAt":"2020-04-10T04:00:00Z""#),
                "no `usageLimit`",
            ),
            (with(r#","usageLimit":-1"#), "cannot be understood"),
            (with(r#","fetchStatus":"TIMEOUT""#), "TIMEOUT"),
        ] {
            let error = parse(answer.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_reset_is_told_by_our_own_clock() {
        let reset = at(100_000);
        assert_eq!(by_clock(at(50_000), None, reset), reset);
        assert_eq!(by_clock(at(50_001), Some(at(50_000)), reset), reset);
        assert_eq!(by_clock(at(50_000), Some(at(50_600)), reset), at(99_400));
        assert_eq!(by_clock(at(50_600), Some(at(50_000)), reset), at(100_600));
    }
}
