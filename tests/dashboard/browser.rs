//! The page in a real browser, after a busy day. Where there is no Chromium (Debian: `chromium chromium-driver`) this is skipped.
//!
//! The pictures are in `target/tmp/dashboard/`: light and dark, narrow and wide.

use std::path::PathBuf;
use std::sync::LazyLock;

use serde_json::Value;

use crate::day;
use crate::program::{Dashboard, command, file, report_with, until};
use crate::webdriver::Browser;

/// Until two o'clock, when syncs have just begun and are refused.
static DAY: LazyLock<String> = LazyLock::new(|| day::log(841).join("\n") + "\n");

fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        println!(
            "skipped: there is no chromedriver; on Debian: apt-get install chromium chromium-driver"
        );
    }
    browser
}

fn picture(name: &str) -> PathBuf {
    file(&format!("{name}.png"))
}

/// What sticks out of the page at the right.
const STICKS_OUT: &str = "
    const wide = document.documentElement.clientWidth;
    return [...document.querySelectorAll('body *')]
        .filter((it) => !it.closest('.scroll, pre, svg, .hidden') && it.getBoundingClientRect().right > wide + 1)
        .map((it) => it.outerHTML.slice(0, 80));";

/// Text that is hard to read: the contrast of WCAG 2.1 below 4.5.
const FAINT: &str = "
    const parse = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
    const light = ([r, g, b]) => {
        const part = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const ground = (it) => {
        for (; it; it = it.parentElement) {
            const color = parse(getComputedStyle(it).backgroundColor);
            if (color.length === 3 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const it of document.querySelectorAll('body *:not(script):not(style):not(noscript)')) {
        const isText = [...it.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!isText || !it.getClientRects().length || it.closest('.hidden')) continue;
        const style = getComputedStyle(it);
        const color = parse(it.closest('svg') ? style.fill : style.color);
        const [a, b] = [light(color), light(ground(it.closest('svg')?.parentElement ?? it))].sort((x, y) => y - x);
        const contrast = (a + 0.05) / (b + 0.05);
        if (contrast < 4.5) faint.push(`${it.tagName}.${it.getAttribute('class')} ${contrast.toFixed(2)} ${it.textContent.slice(0, 30)}`);
    }
    return [...new Set(faint)];";

/// Text in charts that lies on other text.
const OVERLAPS: &str = "
    const found = [];
    for (const svg of document.querySelectorAll('.chart svg')) {
        const boxes = [...svg.querySelectorAll('text')].filter((it) => it.getClientRects().length)
            .map((it) => [it.getBoundingClientRect(), it.textContent]).filter(([, text]) => text !== '▲');
        boxes.forEach(([a, one], nth) => boxes.slice(nth + 1).forEach(([b, other]) => {
            if (a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom) found.push(`${one} / ${other}`);
        }));
    }
    return found;";

/// Charts that say nothing to those who do not see them.
const MUTE: &str = "
    return [...document.querySelectorAll('svg[role=img]')].filter((it) => !it.getAttribute('aria-label')).length;";

fn none(found: &Value) -> bool {
    found.as_array().is_some_and(Vec::is_empty)
}

#[test]
fn the_page_is_whole_and_readable_in_light_and_dark_narrow_and_wide() {
    let Some(browser) = browser() else { return };
    let dashboard = Dashboard::start(&[]);
    assert_eq!(dashboard.post("/log", &DAY).status, 200);
    let url = format!("http://{}/", dashboard.address);
    for (name, width, height) in [
        ("narrow", 360, 800),
        ("middle", 800, 1_000),
        ("wide", 1_280, 1_000),
    ] {
        for scheme in ["light", "dark"] {
            browser.look(width, height, scheme);
            browser.open(&url);
            let case = format!("{name}, {scheme}");
            let (outside, faint) = (browser.run(STICKS_OUT), browser.run(FAINT));
            assert!(none(&outside), "{case}: sticks out: {outside:#}");
            assert!(none(&faint), "{case}: faint: {faint:#}");
            let overlaps = browser.run(OVERLAPS);
            assert!(none(&overlaps), "{case}: one on the other: {overlaps:#}");
            assert_eq!(browser.run(MUTE), 0, "{case}");
            let complaints = browser.complaints();
            assert!(complaints.is_empty(), "{case}: {complaints:?}");
            browser.picture(&picture(&format!("{name}-{scheme}")), true);
        }
    }
    // As somebody sees it who does not tell red from green, and as it stands in `docs/dashboard.png`.
    browser.look(1_280, 1_180, "light");
    browser.open(&url);
    let blind = serde_json::json!({"type": "deuteranopia"});
    browser.devtools("Emulation.setEmulatedVisionDeficiency", blind);
    browser.picture(&picture("deuteranopia"), false);
    let none = serde_json::json!({"type": "none"});
    browser.devtools("Emulation.setEmulatedVisionDeficiency", none);
    browser.picture(&picture("front"), false);
}

#[test]
fn figures_change_without_a_reload_and_what_is_open_stays_open() {
    let Some(browser) = browser() else { return };
    let dashboard = Dashboard::start(&[]);
    dashboard.post("/log", &report_with(|_| ()));
    browser.open(&format!("http://{}/", dashboard.address));
    browser.run("document.getElementById('errors-table').open = true; window.here = true;");
    let more = report_with(|report| {
        report["today"]["requests"] = 77_777.into();
        report["history"][1]["requests"] = 55_555.into();
    });
    dashboard.post("/log", &more);
    until(|| {
        browser.run("return document.querySelector('.tiles').textContent.includes('77,777')")
            == true
    });
    until(|| {
        browser.run("return document.getElementById('errors').textContent.includes('55,555')")
            == true
    });
    assert_eq!(
        browser.run("return document.getElementById('errors-table').open && window.here"),
        true
    );
    assert_eq!(
        browser.run("return document.getElementById('lost').hidden"),
        true
    );
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[test]
fn a_dashboard_that_goes_away_is_missed_and_found_again() {
    let Some(browser) = browser() else { return };
    let dashboard = Dashboard::start(&[]);
    let address = dashboard.address.clone();
    dashboard.post("/log", &report_with(|_| ()));
    browser.open(&format!("http://{address}/"));
    drop(dashboard);
    until(|| browser.run("return !document.getElementById('lost').hidden") == true);
    let again = Dashboard::start_with(command(&["--listen", &address]));
    again.post(
        "/log",
        &report_with(|report| report["today"]["requests"] = 88_888.into()),
    );
    until(|| {
        browser.run("return document.getElementById('lost').hidden && document.body.textContent.includes('88,888')") == true
    });
}

#[test]
fn what_a_log_says_does_not_run() {
    let Some(browser) = browser() else { return };
    let dashboard = Dashboard::start(&[]);
    browser.open(&format!("http://{}/", dashboard.address));
    let evil = "<img src=x onerror='window.evil=1'><script>window.evil=1</script>";
    let report = report_with(|report| {
        report["api"] = evil.into();
        report["routes"][0]["route"] = evil.into();
    });
    dashboard.post("/log", &report);
    until(|| {
        browser.run("return document.getElementById('routes').textContent.includes('<script>')")
            == true
    });
    assert_eq!(
        browser.run("return window.evil === undefined && document.images.length === 0"),
        true
    );
    browser.open(&format!("http://{}/", dashboard.address));
    assert_eq!(
        browser.run("return window.evil === undefined && document.title.includes('<script>')"),
        true
    );
}
