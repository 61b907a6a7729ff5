//! The server of the notes.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;

use crate::common::{Answer, Seen, Server, after, at_once, lock};

type Hook = dyn FnMut(usize, &Seen) -> Option<Answer> + Send;

/// Keeps notes, and every request that it gets. It is as quick as its client at first.
#[derive(Clone)]
pub(crate) struct Notes {
    server: Server,
    desk: Arc<Mutex<Desk>>,
}

struct Desk {
    notes: BTreeMap<String, String>,
    added: usize,
    rng: Rng,
    takes: Duration,
    /// A batch may have so many lines.
    most: usize,
    /// Whether it says how many a batch may have.
    tells_most: bool,
    /// Whether it says which line of a batch is bad.
    names_bad: bool,
    /// Whether it has batch calls.
    has_batches: bool,
    hook: Box<Hook>,
}

impl Notes {
    /// With the notes `{name}0`, `{name}1` and so on, of the text `text`.
    pub(crate) fn of(name: &str, count: usize) -> Self {
        let notes = (0..count).map(|nth| (format!("{name}{nth}"), "text".to_owned()));
        let desk = Arc::new(Mutex::new(Desk {
            notes: notes.collect(),
            added: 0,
            rng: Rng::with_seed(1),
            takes: Duration::ZERO,
            most: 100,
            tells_most: true,
            names_bad: true,
            has_batches: true,
            hook: Box::new(|_, _| None),
        }));
        let shared = desk.clone();
        let server = Server::reading(move |nth, seen| lock(&shared).answer(nth, seen));
        Self { server, desk }
    }

    /// What a client calls.
    pub(crate) fn service(&self) -> Server {
        self.server.clone()
    }

    /// Every answer comes so long after its request.
    pub(crate) fn takes(self, time: Duration) -> Self {
        lock(&self.desk).takes = time;
        self
    }

    pub(crate) fn set_most(&self, most: usize, tells: bool) {
        let mut desk = lock(&self.desk);
        (desk.most, desk.tells_most) = (most, tells);
    }

    pub(crate) fn keep_silent_about_the_bad(&self) {
        lock(&self.desk).names_bad = false;
    }

    pub(crate) fn have_no_batches(&self) {
        lock(&self.desk).has_batches = false;
    }

    /// Asked before anything is done, with the number of the request, from 0. What it gives is the answer, and nothing is done.
    pub(crate) fn set_hook(
        &self,
        hook: impl FnMut(usize, &Seen) -> Option<Answer> + Send + 'static,
    ) {
        lock(&self.desk).hook = Box::new(hook);
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        lock(&self.desk).notes.get(key).cloned()
    }

    /// How many notes were added.
    pub(crate) fn added(&self) -> usize {
        lock(&self.desk).added
    }

    pub(crate) fn log(&self) -> Vec<Seen> {
        self.server.log()
    }

    pub(crate) fn count(&self) -> usize {
        self.server.count()
    }

    /// When the requests came, in milliseconds.
    pub(crate) fn times(&self) -> Vec<u128> {
        self.server.times()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.server.elapsed()
    }

    /// How many notes each of the requests was about.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.log().iter().map(size).collect()
    }
}

pub(crate) fn is_batch(seen: &Seen) -> bool {
    seen.path.contains(':')
}

/// The lines of a batch.
pub(crate) fn lines(seen: &Seen) -> Vec<String> {
    text(seen).lines().map(str::to_owned).collect()
}

/// How many notes a request is about.
pub(crate) fn size(seen: &Seen) -> usize {
    match is_batch(seen) {
        true => text(seen).lines().count(),
        false => 1,
    }
}

fn text(seen: &Seen) -> &str {
    let body = seen.body.as_deref().unwrap_or_default();
    std::str::from_utf8(body).expect("a text")
}

pub(crate) fn missing(key: &str) -> (u16, String) {
    (404, format!("there is no note {key}"))
}

pub(crate) fn bad(text: &str) -> (u16, String) {
    (422, format!("not a good text: {text}"))
}

fn is_bad(text: &str) -> bool {
    text.starts_with("bad")
}

impl Desk {
    fn answer(&mut self, nth: usize, seen: &Seen) -> Answer {
        if let Some(answer) = (self.hook)(nth, seen) {
            return answer;
        }
        let (status, body) = match is_batch(seen) {
            true => self.batch(seen),
            false => self.single(seen),
        };
        let number = nth.to_string();
        let headers = [("content-type", "text/plain"), ("x-request", &number)];
        let headers = if body.is_empty() {
            &headers[1..]
        } else {
            &headers
        };
        after(self.takes, at_once(status, headers, &body))
    }

    fn single(&mut self, seen: &Seen) -> (u16, String) {
        let key = seen.path.strip_prefix("/notes/").unwrap_or_default();
        let text = text(seen);
        match seen.method.as_str() {
            "GET" => match self.notes.get(key) {
                Some(text) => (200, format!("{key}={text}")),
                None => missing(key),
            },
            "PUT" | "POST" if is_bad(text) => bad(text),
            "PUT" if !self.notes.contains_key(key) => missing(key),
            "PUT" => (200, self.put(key, text)),
            "POST" if seen.path == "/notes" => (201, self.add(text)),
            "DELETE" => {
                self.notes.remove(key);
                (204, String::new())
            }
            _ => (404, "no such place".to_owned()),
        }
    }

    fn put(&mut self, key: &str, text: &str) -> String {
        self.notes.insert(key.to_owned(), text.to_owned());
        format!("{key}={text}")
    }

    fn add(&mut self, text: &str) -> String {
        self.added += 1;
        self.put(&format!("added{}", self.added), text)
    }

    fn batch(&mut self, seen: &Seen) -> (u16, String) {
        let lines = lines(seen);
        if !self.has_batches {
            return (405, String::new());
        }
        if lines.len() > self.most {
            let told = match self.tells_most {
                true => format!("at most {}", self.most),
                false => "too many".to_owned(),
            };
            return (413, told);
        }
        let pairs: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| line.split_once('=').unwrap_or((line, "")))
            .collect();
        let names: HashSet<_> = pairs.iter().map(|(name, _)| name).collect();
        if names.len() < pairs.len() {
            return (422, "refused".to_owned());
        }
        let bad = pairs.iter().filter(|(_, text)| is_bad(text));
        let bad: Vec<&str> = bad.map(|(name, _)| *name).collect();
        if !bad.is_empty() {
            let named = bad.iter().filter(|_| self.names_bad);
            let named: String = named.map(|name| format!("\n{name}")).collect();
            return (422, format!("refused{named}"));
        }
        let mut done: Vec<String> = Vec::new();
        for (name, text) in pairs {
            let is_there = self.notes.contains_key(name);
            match seen.path.as_str() {
                "/notes:fetch" if is_there => done.push(format!("{name}={}", self.notes[name])),
                "/notes:fetch" if self.rng.bool() => {}
                "/notes:store" if is_there => done.push(self.put(name, text)),
                "/notes:fetch" | "/notes:store" => done.push(format!("{name}!")),
                "/notes:add" => done.push(format!("{name}={}", self.add(text))),
                "/notes:remove" => {
                    self.notes.remove(name);
                }
                _ => return (405, String::new()),
            }
        }
        self.rng.shuffle(&mut done);
        let status = match seen.path.as_str() {
            "/notes:add" => 201,
            "/notes:remove" => 204,
            _ => 200,
        };
        (status, done.join("\n"))
    }
}
