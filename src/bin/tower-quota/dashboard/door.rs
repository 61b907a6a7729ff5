//! Who may come in. A page elsewhere that a browser has open beside this one can neither read nor post:
//!
//! * `Host` must name this machine. A foreign name that points here (DNS rebinding) is a foreign name still; an address is never one.
//! * `Origin`, where a browser sends it, must be the page's own.
//! * `Content-Type` of what is posted must be one that a form cannot send, so that a browser asks first and is refused.

use std::net::IpAddr;

use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, StatusCode};

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What lines may be sent as.
const TYPES: [&str; 4] = [
    "application/x-ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json",
];

/// Lets in, or not.
#[derive(Debug)]
pub(super) struct Door {
    /// Names besides `localhost` and addresses.
    names: Vec<String>,
}

/// Why somebody is not let in.
pub(super) type Closed = (StatusCode, &'static str);

impl Door {
    pub(super) fn new(names: Vec<String>) -> Self {
        Self { names }
    }

    /// Whether a request may be answered at all.
    pub(super) fn enter(&self, headers: &HeaderMap) -> Result<(), Closed> {
        let host = one(headers, &HOST).and_then(|host| host.parse::<Authority>().ok());
        let Some(host) = host.filter(|host| self.is_ours(host.host())) else {
            let why = "The Host of this request is not this dashboard's; see --host.\n";
            return Err((StatusCode::MISDIRECTED_REQUEST, why));
        };
        let closed = (StatusCode::FORBIDDEN, "Not for pages of other sites.\n");
        if headers.contains_key(ORIGIN) {
            let origin = one(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
            if !origin.is_some_and(|(_, from)| from.eq_ignore_ascii_case(host.as_str())) {
                return Err(closed);
            }
        }
        match headers.get(SITE).map(|site| site.as_bytes()) {
            // Following a link from elsewhere to the page is fine: it reads nothing.
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) if is_navigation(headers) => Ok(()),
            Some(_) => Err(closed),
        }
    }

    /// Whether lines may be posted like this.
    pub(super) fn post(headers: &HeaderMap) -> Result<(), Closed> {
        let kind = one(headers, &CONTENT_TYPE).and_then(|kind| kind.split(';').next());
        let kind = kind.map(str::trim).unwrap_or_default();
        if TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            return Ok(());
        }
        let why = "Lines are sent with `content-type: application/x-ndjson`.\n";
        Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
    }

    fn is_ours(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self
                .names
                .iter()
                .any(|name| host.eq_ignore_ascii_case(name))
    }
}

/// A header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn is_navigation(headers: &HeaderMap) -> bool {
    let mode = headers.get("sec-fetch-mode");
    let target = headers.get("sec-fetch-dest");
    mode.is_some_and(|mode| mode == "navigate") && target.is_some_and(|target| target == "document")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enters(headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        Door::new(vec!["ops.example".to_owned()])
            .enter(&map)
            .is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_let_in() {
        for host in [
            "127.0.0.1:8471",
            "[::1]:8471",
            "localhost",
            "LOCALHOST:1",
            "10.0.0.7:80",
            "ops.example:8471",
        ] {
            assert!(enters(&[("host", host)]), "{host}");
        }
        for host in [
            "evil.example:8471",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "a b",
            "::1",
        ] {
            assert!(!enters(&[("host", host)]), "{host}");
        }
        assert!(!enters(&[]));
        assert!(!enters(&[("host", "localhost"), ("host", "localhost")]));
    }

    #[test]
    fn pages_of_other_sites_are_not_let_in() {
        let here = ("host", "127.0.0.1:8471");
        assert!(enters(&[here, ("origin", "http://127.0.0.1:8471")]));
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:9000",
            "http://localhost:8471",
        ] {
            assert!(!enters(&[here, ("origin", origin)]), "{origin}");
        }
        assert!(enters(&[here, ("sec-fetch-site", "same-origin")]));
        assert!(!enters(&[here, ("sec-fetch-site", "cross-site")]));
        assert!(!enters(&[
            here,
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe")
        ]));
        let link = [
            here,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(enters(&link));
    }

    #[test]
    fn what_a_form_can_send_is_no_log() {
        let posts = |kind: &str| {
            let mut map = HeaderMap::new();
            map.append(CONTENT_TYPE, kind.parse().expect("a value"));
            Door::post(&map).is_ok()
        };
        assert!(posts("application/x-ndjson; charset=utf-8"));
        for kind in [
            "text/plain",
            "multipart/form-data",
            "application/x-www-form-urlencoded",
            "",
        ] {
            assert!(!posts(kind), "{kind}");
        }
        assert!(Door::post(&HeaderMap::new()).is_err());
    }
}
