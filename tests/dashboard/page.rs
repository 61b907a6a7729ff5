//! What the page says, and what it never contains.

use serde_json::json;

use crate::program::{Dashboard, report, report_with};

/// The page as text, without markup and with single spaces.
fn text(page: &str) -> String {
    let body = page.split_once("</style>").expect("a body").1;
    let body = body.split_once("<script").map_or(body, |(body, _)| body);
    let mut text = String::new();
    for piece in body.split('<').skip(1) {
        text.push_str(piece.split_once('>').map_or("", |(_, text)| text));
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn all_figures_are_there_without_scripts() {
    let dashboard = Dashboard::start(&[]);
    let empty = text(&dashboard.get("/").body);
    assert!(
        empty.contains("No report yet") && empty.contains("curl"),
        "{empty}"
    );
    dashboard.post("/log", &report_with(|_| ()));
    let page = text(&dashboard.get("/").body);
    for expected in [
        "acme",
        "errors above 3 %",
        "17 waiting",
        "22 Nov 2026, 12:00:00 (UTC)",
        "Requests today 12,345 yesterday 23,456",
        "Error responses today 432 3.5 % warning at 3 %, breach at 5 %",
        "429s today 99 0.8 % yesterday 22, 0.1 %",
        "Daily quota left 30,000 60.0 % runs out at 18:00",
        "Runs out at 18:00 , in 6 h: 6 h before it is filled again.",
        "burst 100 per 10 s for each token",
        "ffeeddcc ❚❚ paused for 4.2 s 10 left of 100 · used 60 · others 30 · 5 waiting",
        "daily 50,000 per day for each account Not used yet.",
        "daily of 00112233 12,000 8,000 30,000 (60.0 %) 5,000 18:00",
        "No response 3 3",
        "Denied, not sent 4 4",
        "ffeeddcc 12,345 432 99 0.8 %",
        "GET /things/{} 12,000 400 90 0.8 %",
        "ffeeddcc 6 of 8 2 overload",
        "5 % breach",
        "3 % warning",
        "11:50 to 11:55 200 4 2 2.0 %",
        "11:55 to 12:00 100 9 1 9.0 %",
        "Nothing has happened",
    ] {
        assert!(page.contains(expected), "{expected:?} is not in: {page}");
    }
    assert!(!page.contains("shadow mode"));
}

#[test]
fn shadow_mode_is_marked() {
    let dashboard = Dashboard::start(&[]);
    let shadow = report_with(|report| {
        report["enforced"] = false.into();
        report["today"]["would_wait"] = 321.into();
    });
    dashboard.post("/log", &shadow);
    let page = text(&dashboard.get("/").body);
    assert!(page.contains("shadow mode: nothing is held up"), "{page}");
    assert!(page.contains("Would have waited 321 0"), "{page}");
}

#[test]
fn events_are_told_and_those_of_single_requests_are_not() {
    let dashboard = Dashboard::start(&[]);
    let token = "ffeeddccbbaa99887766554433221100";
    let refused = |at: f64| {
        json!({"at": at, "token": token, "event": "rate_limited", "limit": "burst", "class": "general",
            "route": "GET /things", "status": 429, "attempt": 1, "retry_after": 2.5})
    };
    let request = json!({"at": 3.0, "event": "request", "class": "general", "route": "GET /secret", "lane": "bulk",
        "attempt": 1, "waited": 0.0, "took": 0.1, "ending": "answered", "status": 200});
    let changed = json!({"at": 4.0, "event": "concurrency_changed", "from": 8, "to": 4, "reason": "overload"});
    let used_up = json!({"at": 5.0, "event": "daily_exhausted", "limit": "daily", "lasts": 3600.0});
    let lines =
        [refused(1.0), request, refused(2.0), changed, used_up].map(|line| line.to_string());
    let answer = dashboard.post("/log", &lines.join("\n"));
    assert_eq!(answer.body, "{\"lines\":5,\"skipped\":0}\n");
    let page = text(&dashboard.get("/").body);
    for expected in [
        "00:00:05 ■ Daily exhausted daily: nothing is sent for 1 h",
        "00:00:04 Concurrency changed from 8 to 4 (overload)",
        "00:00:02 ■ Rate limited 2 times ffeeddcc GET /things: 429 by burst, to be tried again after 2.5 s",
    ] {
        assert!(page.contains(expected), "{expected:?} is not in: {page}");
    }
    assert!(!page.contains("secret"));
}

/// Wherever a log has text, it is text on the page.
#[test]
fn what_a_log_says_is_never_markup() {
    const EVIL: &str = "</title></style><script>alert(1)</script><img src=x onerror=\"alert(2)\">' onload='alert(3)";
    let dashboard = Dashboard::start(&[]);
    let evil = report_with(|report| {
        report["api"] = EVIL.into();
        report["limits"][0]["limit"] = EVIL.into();
        report["daily"][0]["limit"] = EVIL.into();
        report["routes"][0]["route"] = EVIL.into();
        report["concurrency"][0]["last_change"] = EVIL.into();
    });
    let hint = json!({"at": 1.0, "event": "heavy_hint", "route": EVIL, "hint": EVIL});
    let failed = json!({"at": 1.0, "event": "store_gone", "policy": EVIL, "error": EVIL});
    let refused = json!({"at": 1.0, "event": "rate_limited", "limit": EVIL, "class": EVIL, "route": EVIL, "status": 429, "attempt": 1});
    let wrong = json!({"at": EVIL, "event": "report"});
    let lines = format!("{evil}{hint}\n{failed}\n{refused}\n{wrong}\n{{\"event\":\"{EVIL}\"}}\n");
    assert_eq!(dashboard.post("/log", &lines).status, 200);
    let page = dashboard.get("/").body;
    assert!(
        page.matches("&lt;script&gt;alert(1)").count() >= 8,
        "it is shown"
    );
    assert_eq!(page.matches("<script").count(), 1, "its own");
    assert_eq!(page.matches("</style").count(), 1);
    assert!(!page.contains("</title></style>"));
    assert!(!page.contains("<img") && !page.contains("onerror=\"") && !page.contains("onload='"));
    let other = dashboard.get("/?from=%3Cscript%3E");
    assert_eq!((other.status, other.body.contains("script")), (404, false));
}

#[test]
fn the_page_has_nothing_from_elsewhere_and_nothing_that_its_policy_would_stop() {
    let dashboard = Dashboard::start(&[]);
    dashboard.post("/log", &report_with(|_| ()));
    let (first, second) = (dashboard.get("/"), dashboard.get("/"));
    let policy = first.header("content-security-policy");
    let nonce = policy
        .split("script-src 'nonce-")
        .nth(1)
        .and_then(|rest| rest.split('\'').next());
    let nonce = nonce.expect("a nonce");
    assert_eq!(nonce.len(), 32);
    assert!(!second.head.contains(nonce), "it is another each time");
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(
        !policy.contains("unsafe") && !policy.contains('*'),
        "{policy}"
    );
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    assert_eq!(first.header("access-control-allow-origin"), "");
    let page = &first.body;
    assert_eq!(
        page.matches(&format!("nonce=\"{nonce}\"")).count(),
        2,
        "style and script"
    );
    for never in [
        " style=",
        " onclick=",
        " onload=",
        " src=",
        "@import",
        "javascript:",
        "https://",
        "//cdn",
    ] {
        assert!(!page.contains(never), "{never}");
    }
    assert!(
        !page.contains("http://"),
        "no address but its own, and that only before there is a report"
    );
}

#[test]
fn numbers_that_make_no_sense_are_shown_all_the_same() {
    let dashboard = Dashboard::start(&[]);
    let odd = report_with(|report| {
        report["errors"]["share"] = 1e300.into();
        report["errors"]["breach"] = (-1.0).into();
        report["errors"]["warn"] = 0.0.into();
        report["daily"][0]["per_hour"] = (-1e300).into();
        report["daily"][0]["resets"] = 0.0.into();
        report["daily"][0]["runs_out"] = 1e10.into();
        report["daily"][0]["quota"] = 0.into();
        report["limits"][0]["keys"][0]["quota"] = 0.into();
        report["limits"][0]["keys"][0]["used"] = u32::MAX.into();
        report["limits"][0]["keys"][0]["foreign"] = u32::MAX.into();
        report["concurrency"][0]["limit"] = 0.into();
        report["today"]["requests"] = 0.into();
        report["today"]["errors"] = u64::MAX.into();
        report["history"] = json!([
            {"began": 0.0, "requests": u32::MAX, "errors": u32::MAX, "rate_limited": u32::MAX, "daily": u32::MAX},
            {"began": 1.8e10, "requests": 0, "errors": 5, "rate_limited": 9, "daily": 0},
            {"began": report["at"], "requests": 0, "errors": 5, "rate_limited": 9, "daily": u32::MAX},
        ]);
    });
    for change in [0.0, 1.0, 1e9, 9e9] {
        let mut report: serde_json::Value = serde_json::from_str(&odd).expect("JSON");
        report["at"] = change.into();
        assert_eq!(
            dashboard.post("/log", &format!("{odd}{report}\n")).status,
            200
        );
        let page = dashboard.get("/").body;
        assert!(page.contains("acme") && page.ends_with("</html>\n"));
        assert!(!page.contains("NaN") && !page.contains(">inf"), "{page}");
    }
    assert_eq!(dashboard.post("/log", &report().to_string()).status, 200);
    assert!(dashboard.get("/").body.contains("12,345"));
}
