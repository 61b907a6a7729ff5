//! As much of WebDriver as is needed to drive a headless Chromium.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::http::ask;

/// A browser, and the program that drives it. Both end when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    address: String,
    session: String,
    profile: PathBuf,
}

impl Browser {
    /// `None` where there is none.
    pub(crate) fn start() -> Option<Self> {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = driver.ok()?;
        let out = BufReader::new(driver.stdout.take().expect("its output"));
        let port = out.lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let address = format!("127.0.0.1:{}", port.expect("the driver tells its port"));
        let profile =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{}", driver.id()));
        let mut browser = Self {
            driver,
            address,
            session: String::new(),
            profile,
        };
        // It needs nothing from anywhere, and root has no sandbox.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ];
        let profile = format!("--user-data-dir={}", browser.profile.display());
        let arguments: Vec<&str> = arguments.into_iter().chain([&*profile]).collect();
        let session = browser.tell(
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    fn tell(&self, path: &str, body: &Value) -> Value {
        let kind = "content-type: application/json";
        let answer = ask(
            &self.address,
            "POST",
            path,
            &[kind],
            body.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let mut answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        answer["value"].take()
    }

    fn in_session(&self, path: &str, body: Value) -> Value {
        self.tell(&format!("/session/{}{path}", self.session), &body)
    }

    /// A command of the DevTools protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.in_session("/goog/cdp/execute", body)
    }

    pub(crate) fn open(&self, url: &str) {
        self.in_session("/url", json!({"url": url}));
    }

    /// What a script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.in_session("/execute/sync", json!({"script": script, "args": []}))
    }

    /// What the console has said since it was asked last.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.in_session("/se/log", json!({"type": "browser"}));
        let entries = log.as_array().into_iter().flatten();
        entries.map(|entry| entry["message"].to_string()).collect()
    }

    /// How wide the window is, and which colours its user likes.
    pub(crate) fn look(&self, width: u32, height: u32, scheme: &str) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", scheme);
    }

    /// The page as a PNG: all of it, or the upper part.
    pub(crate) fn picture(&self, path: &Path, is_whole: bool) {
        let shot = json!({"format": "png", "captureBeyondViewport": is_whole});
        let shot = self.devtools("Page.captureScreenshot", shot);
        std::fs::write(path, decoded(shot["data"].as_str().expect("a picture"))).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser only when it is asked to.
        if !self.session.is_empty() {
            let path = format!("/session/{}", self.session);
            ask(&self.address, "DELETE", &path, &[], b"");
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Base64.
fn decoded(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values = text
        .bytes()
        .filter_map(|it| digits.iter().position(|digit| *digit == it));
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0usize, 0);
    for value in values {
        held = held << 6 | value;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    bytes
}
