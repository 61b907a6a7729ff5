//! A log of everything that happens to quota, as JSON lines, and its reader.
//!
//! # What and when
//!
//! A [`Recorder`] writes each event of a [`Quota`](crate::Quota) to a file, one JSON object per line, with a line for every single
//! request among them. What such a log is for: to see afterwards what led to a refusal, to plan quota from what really happened, and to
//! replay a day under other limits. The program `tower-quota` (feature `cli`) does all three; every other tool that understands
//! JSON lines can read it, too. A [`Reader`] reads it back as typed values.
//!
//! Recording never holds a request up: a thread of its own reads the bounded stream of
//! [`events_with_requests`](crate::Quota::events_with_requests), and writes. What it misses when the disk is slower than the
//! events, it says in the log. The log holds no token, no address and no id of a record, see [`event`](crate::event).
//!
//! ```
//! use std::time::Duration;
//! use tower_quota::plan::{Limit, Plan};
//! use tower_quota::record::{Entry, Reader, Recorder};
//! use tower_quota::Quota;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = std::env::temp_dir().join(format!("tower-quota-record-{}.jsonl", std::process::id()));
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::new(plan);
//! let recording = Recorder::to(&path).start(&quota)?;
//!
//! // The program runs, and at its end:
//! let recorded = recording.finish();
//! assert_eq!(recorded.missed, 0);
//!
//! for line in Reader::open(&path)? {
//!     match line?.entry {
//!         Entry::Started(started) => println!("a log of {}", started.api),
//!         Entry::Event(event) => println!("{}", event.kind.as_str()),
//!         _ => {}
//!     }
//! }
//! # std::fs::remove_file(&path)?;
//! # Ok(())
//! # }
//! ```
//!
//! # The lines
//!
//! | `event` | what | when |
//! |---|---|---|
//! | `started` | [`Started`]: the API and its limits | first in each file, and whenever a program begins to write |
//! | a [name of a kind](crate::event::EventKind::as_str) | a [`QuotaEvent`](crate::event::QuotaEvent) | when it happens; `request` once for each attempt |
//! | `report` | all fields of a [`Report`](crate::report::Report), of its `history` what is new since the line before | every minute, and at the end |
//!
//! Moments (`at`) are seconds since 1970, durations are seconds, tokens and accounts are fingerprints of 32 hexadecimal digits.
//! Fingerprints are keyed anew in every process, unless processes share a ledger: those before and after a `started` line cannot be
//! compared, unless it is marked as `continued`.
//! Later versions may add fields and events; readers skip what they do not know.

mod file;
mod line;
mod reader;
mod recorder;
mod trail;
mod writer;

pub use self::line::{Entry, Line, PlannedLimit, ReadError, Started};
pub use self::reader::Reader;
pub use self::recorder::{Recorded, Recorder, Recording};
