//! A report is a table that fits a terminal, whatever is in it.

use tower_quota::Quota;
use tower_quota::report::Report;

use serde_json::{Value, json};

fn base() -> Value {
    let none = json!({"requests": 0, "errors": 0, "rate_limited": 0, "lost": 0, "denied": 0, "would_wait": 0});
    json!({
        // 2024-10-04, 12:00 UTC.
        "at": 1_728_043_200.0,
        "api": "acme",
        "enforced": true,
        "waiting": 0,
        "day_began": 1_728_000_000.0,
        "today": none,
        "yesterday": none,
        "errors": {"level": "fine", "share": 0.0, "warn": 0.03, "breach": 0.05, "least_requests": 100},
        "limits": [],
        "daily": [],
        "tokens": [],
        "refused_tokens": [],
        "routes": [],
        "concurrency": [],
        "history": [],
    })
}

fn shown(report: &Value) -> String {
    let report: Report = serde_json::from_value(report.clone()).unwrap();
    report.to_string()
}

fn full() -> Value {
    let mut report = base();
    let key = "0123456789abcdef0123456789abcdef";
    report["waiting"] = json!(3);
    report["today"] = json!({"requests": 29_376, "errors": 1_381, "rate_limited": 12, "lost": 7, "denied": 1, "would_wait": 0});
    report["yesterday"] = json!({"requests": 31_002, "errors": 20, "rate_limited": 0, "lost": 0, "denied": 0, "would_wait": 0});
    report["errors"]["level"] = json!("warn");
    report["errors"]["share"] = json!(0.047);
    report["limits"] = json!([
        {"limit": "burst", "scope": "token", "quota": 190, "window": 10.0, "keys": [
            {"key": key, "quota": 190, "used": 180, "foreign": 4, "waiting": 3, "headroom": 6, "paused": 2.0},
            {"key": "fedcba9876543210fedcba9876543210", "quota": 190, "used": 1, "foreign": 0, "waiting": 0, "headroom": 189},
        ]},
        {"limit": "search", "scope": "account", "quota": 5, "window": 1.0, "keys": []},
        {"limit": "daily", "scope": "account", "quota": 650_000, "keys": [
            {"key": key, "quota": 650_000, "used": 402_000, "foreign": 10_000, "waiting": 0, "headroom": 238_000},
        ]},
    ]);
    report["daily"] = json!([
        {"limit": "daily", "key": key, "quota": 650_000, "used": 402_000, "foreign": 10_000, "left": 238_000,
         "resets": 1_728_086_400.0, "per_hour": 51_000.4, "runs_out": 1_728_060_000.0},
        {"limit": "daily", "key": null, "quota": 650_000, "used": 650_000, "foreign": 0, "left": 0,
         "resets": 1_728_086_400.0, "per_hour": 0.0, "runs_out": 1_728_043_200.0},
        {"limit": "daily", "key": null, "quota": 650_000, "used": 10, "foreign": 0, "left": 649_990,
         "resets": 1_728_086_400.0, "per_hour": 1.0},
    ]);
    report["tokens"] = json!([
        {"token": key, "requests": 29_000, "uncertain": 0, "errors": 1_380, "rate_limited": 12},
        {"token": "fedcba9876543210fedcba9876543210", "requests": 376, "uncertain": 20, "errors": 1, "rate_limited": 0},
    ]);
    report["refused_tokens"] = json!([{"token": key, "requests": 29_000, "uncertain": 0, "errors": 1_380, "rate_limited": 12}]);
    report["routes"] = json!([
        {"route": "GET /crm/v3/objects/contacts/{}", "requests": 29_000, "errors": 1_369, "rate_limited": 0},
        {"route": "POST /crm/v4/associations/{}/{}/batch/associate/default/and/much/more/of/it", "requests": 376, "errors": 12, "rate_limited": 12},
    ]);
    report["concurrency"] = json!([
        {"token": key, "limit": 16, "in_flight": 12, "waiting": 3, "last_change": "headroom"},
    ]);
    report
}

#[test]
fn all_that_is_known_is_in_it() {
    let expected = "\
acme at 12:00 UTC, 3 waiting
errors 4.7 % of today: warn (warn from 3.0 %, breach from 5.0 %)

           requests  errors  share  rate limited  lost  denied  would wait
today        29,376   1,381  4.7 %            12     7       1           0
yesterday    31,002      20  0.1 %             0     0       0           0

limit     quota   per       key     used  others  headroom  waiting  paused
burst       190  10 s  01234567      180       4         6        3     2 s
                       fedcba98        1       0       189        0
search        5   1 s
daily   650,000   day  01234567  402,000  10,000   238,000        0

daily pool       key     left     used  per hour            runs out  resets
daily       01234567  238,000  402,000    51,000  16:40 (4 h 40 min)   00:00
daily            all        0  650,000         0         has run out   00:00
daily            all  649,990       10         1                  no   00:00

token     requests  errors  rate limited
01234567    29,000   1,380            12
fedcba98    <= 376       1             0

refused most  requests  errors  rate limited
01234567        29,000   1,380            12

route                                             requests  errors  rate limited
GET /crm/v3/objects/contacts/{}                     29,000   1,369             0
POST /crm/v4/associations/{}/{}/batch/associate…       376      12            12

concurrency  in flight  limit  waiting   changed
01234567            12     16        3  headroom
";
    let text = shown(&full());
    assert_eq!(text, expected);
}

#[test]
fn what_is_empty_is_left_out() {
    let expected = "\
acme at 12:00 UTC
errors 0.0 % of today: fine (warn from 3.0 %, breach from 5.0 %)
";
    assert_eq!(shown(&base()), expected);
    let mut shadow = base();
    shadow["enforced"] = json!(false);
    assert!(shown(&shadow).starts_with("acme at 12:00 UTC, not enforced\n"));
}

/// In columns of a terminal.
fn width(line: &str) -> usize {
    let wide = |char: char| if char >= '\u{3000}' { 2 } else { 1 };
    line.chars().map(wide).sum()
}

/// Puts `name` wherever there is a name, and `number` wherever there is a number of requests.
fn with(value: &mut Value, name: &str, number: u64) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(|it| with(it, name, number)),
        Value::Object(fields) => {
            for (field, value) in fields {
                match (field.as_str(), &*value) {
                    ("api" | "limit" | "route" | "last_change", Value::String(_)) => {
                        *value = json!(name);
                    }
                    ("per_hour", _) => *value = json!(number as f64),
                    (_, Value::Number(it)) if it.is_u64() => {
                        let is_short = matches!(
                            field.as_str(),
                            "quota"
                                | "used"
                                | "foreign"
                                | "headroom"
                                | "left"
                                | "in_flight"
                                | "limit"
                                | "waiting"
                        );
                        let most = if is_short { u32::MAX.into() } else { u64::MAX };
                        *value = json!(number.min(most));
                    }
                    _ => with(value, name, number),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn no_line_is_longer_than_80_columns_whatever_the_names_and_numbers() {
    let long = "n\u{e4}me".repeat(60);
    let wide = "\u{9650}\u{5ea6}".repeat(60);
    let lines = "a\nb\u{1b}[31m\tc\r".repeat(20);
    for name in ["", "x", &long, &wide, &lines] {
        for number in [0, 999, 9_999_999, 10_000_000, 999_950_000, u64::MAX] {
            let mut report = full();
            with(&mut report, name, number);
            let text = shown(&report);
            for line in text.lines() {
                assert!(width(line) <= 80, "{}: {line}", width(line));
                assert!(
                    !line.ends_with(' ') && !line.contains(char::is_control),
                    "{line:?}"
                );
            }
            if number > 0 {
                assert_eq!(text.lines().count(), shown(&full()).lines().count());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_quota_has_one() {
    let plan = tower_quota::plan::Plan::builder("acme").limit(tower_quota::plan::Limit::rolling(
        "burst",
        600,
        std::time::Duration::from_secs(60),
    ));
    let text = Quota::new(plan.build().unwrap()).report().to_string();
    assert!(text.contains("burst    600  60 s"), "{text}");
}
