//! The programs whose figures are shown, and who is told when they change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tower_quota::clock::Clock;
use tower_quota::record::Reader;

use super::board::Board;
use super::page::{self, Frame, Section, View};

/// So many programs are told apart.
const PROGRAMS: usize = 16;
/// The longest name of one.
const LONGEST_NAME: usize = 64;
/// Changes are told no more often.
const BREATH: Duration = Duration::from_millis(400);
/// So often is looked whether a source has fallen silent.
const LOOK: Duration = Duration::from_secs(5);

/// The parts of a page as they stand; those that have not changed are shared with the page before.
pub(super) type Parts = Arc<[Arc<Section>]>;

/// All programs, by their names. The one without a name is always there.
#[derive(Debug)]
pub(super) struct Programs {
    view: View,
    clock: Clock,
    programs: Mutex<BTreeMap<String, Program>>,
    changed: Notify,
}

#[derive(Debug)]
struct Program {
    board: Board,
    parts: watch::Sender<Parts>,
}

/// Why a line was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A name is letters, digits, `.`, `_` and `-`, 64 at most.
    Name,
    /// There are too many programs already.
    Many,
}

/// Lines that a program has written.
pub(super) struct Lines<'a> {
    pub(super) reader: &'a mut Reader,
    /// They have come now, and were not there before anybody looked.
    pub(super) is_new: bool,
    /// The reader knows their numbers, because it reads all of the log.
    pub(super) is_whole: bool,
}

/// What became of lines.
#[derive(Debug, Default, Serialize)]
pub(super) struct Taken {
    lines: u64,
    /// Those among them that made no sense.
    skipped: u64,
    /// What was wrong with the first of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Taken {
    pub(super) fn add(&mut self, more: Self) {
        self.lines += more.lines;
        self.skipped += more.skipped;
        self.problem = self.problem.take().or(more.problem);
    }
}

impl Programs {
    pub(super) fn new(view: View) -> Self {
        let programs = BTreeMap::from([(String::new(), Program::new())]);
        Self {
            view,
            clock: Clock::system(),
            programs: Mutex::new(programs),
            changed: Notify::new(),
        }
    }

    /// A panic while it was held leaves figures that are old at worst.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Program>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a program of this name.
    pub(super) fn admit(&self, name: &str) -> Result<(), Refused> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.len() > LONGEST_NAME || !name.bytes().all(is_fine) {
            return Err(Refused::Name);
        }
        let mut programs = self.lock();
        if !programs.contains_key(name) {
            if programs.len() > PROGRAMS {
                return Err(Refused::Many);
            }
            programs.insert(name.to_owned(), Program::new());
        }
        Ok(())
    }

    /// Takes what a program has written and is not read yet.
    pub(super) fn read(&self, name: &str, lines: &mut Lines<'_>) -> Taken {
        let Lines {
            reader,
            is_new,
            is_whole,
        } = lines;
        let mut taken = Taken::default();
        let skipped = reader.unknown() + reader.torn();
        for line in &mut **reader {
            taken.lines += 1;
            match line {
                Ok(line) => {
                    let now = is_new.then(|| self.clock.wall());
                    self.change(name, |board| board.take(line.entry, now));
                }
                Err(error) => {
                    let problem = match is_whole {
                        true => error.to_string(),
                        false => error.problem().to_owned(),
                    };
                    taken.skipped += 1;
                    taken.problem.get_or_insert_with(|| problem.clone());
                    self.change(name, |board| board.problem = Some(problem));
                }
            }
        }
        // The reader does not give these.
        let silently = reader.unknown() + reader.torn() - skipped;
        taken.lines += silently;
        taken.skipped += silently;
        if taken.skipped > 0 {
            self.change(name, |board| board.skipped += taken.skipped);
        }
        taken
    }

    /// A program will write no more.
    pub(super) fn ended(&self, name: &str) {
        self.change(name, |board| board.has_ended = true);
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Board)) {
        if let Some(program) = self.lock().get_mut(name) {
            change(&mut program.board);
            self.changed.notify_one();
        }
    }

    /// What is told about a program from now on; `None` if there is none of this name.
    pub(super) fn watch(&self, name: &str) -> Option<watch::Receiver<Parts>> {
        let mut programs = self.lock();
        let program = programs.get_mut(name)?;
        let parts = program.parts.subscribe();
        program.render(&self.view, self.clock.wall());
        Some(parts)
    }

    /// The whole page of a program; `None` if there is none of this name.
    pub(super) fn page(&self, name: &str, nonce: &str, live: Option<&str>) -> Option<String> {
        let mut programs = self.lock();
        let names = programs.iter().filter(|(_, program)| program.is_used());
        let names: Vec<(String, bool)> = names
            .map(|(known, _)| (known.clone(), known == name))
            .collect();
        let program = programs.get_mut(name)?;
        program.render(&self.view, self.clock.wall());
        let frame = Frame {
            nonce,
            live,
            programs: &names,
        };
        let parts = program.parts.borrow();
        Some(page::page(&parts, program.board.report.as_ref(), &frame))
    }

    /// The last report of the program without a name, as far as `look` wants to know it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Board) -> T) -> Option<T> {
        self.lock().get("").map(|program| look(&program.board))
    }

    /// Tells those who watch, until it is dropped.
    pub(super) async fn tell(&self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.changed.notified() => tokio::time::sleep(BREATH).await,
                _ = look.tick() => {}
            }
            let now = self.clock.wall();
            let mut programs = self.lock();
            let watched = programs.values_mut();
            for program in watched.filter(|program| program.parts.receiver_count() > 0) {
                program.render(&self.view, now);
            }
        }
    }
}

impl Program {
    fn new() -> Self {
        Self {
            board: Board::default(),
            parts: watch::Sender::new(Arc::from([])),
        }
    }

    /// Whether anything is known of it.
    fn is_used(&self) -> bool {
        self.board.news.is_some()
    }

    fn render(&mut self, view: &View, now: SystemTime) {
        let sections = page::sections(&self.board, view, now);
        self.parts.send_if_modified(|parts| {
            let known = |section: &Section| parts.iter().find(|part| ***part == *section);
            let mut is_new = sections.len() != parts.len();
            let next: Vec<Arc<Section>> = sections
                .into_iter()
                .map(|section| match known(&section) {
                    Some(part) => part.clone(),
                    None => {
                        is_new = true;
                        Arc::new(section)
                    }
                })
                .collect();
            *parts = next.into();
            is_new
        });
    }
}
