//! What was seen of the processes, and whether that is as it should be.

use std::time::Duration;

use serde_json::{Value, json};

use crate::pace::{LEGEND, Pace};
use crate::processes::{Run, Trouble};
use crate::support;
use crate::tables::Table;

/// Of what one process alone comes to.
const LEAST_GOODPUT: f64 = 0.95;
/// How much more or less than its part a process may have, as a share of that part.
const MOST_UNFAIR: f64 = 0.10;
/// Round trips to Redis for each request.
const MOST_CALLS: f64 = 0.2;
/// Of the throughput before.
const LEAST_IN_OUTAGE: f64 = 0.70;

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) run: Run,
    pub(crate) pace: Pace,
    pub(crate) refused: u64,
    /// Requests without an answer, with another error, or not made at all.
    pub(crate) failed: u64,
    /// Requests and calls to Redis, as the processes count them.
    pub(crate) requests: u64,
    pub(crate) calls: u64,
    /// Those of them that only say that a process is there.
    pub(crate) heartbeats: u64,
    /// Scripts that Redis has run.
    pub(crate) scripts: Option<u64>,
    /// Each process's part of the answers, in the whole run and after the first window.
    pub(crate) shares: Vec<f64>,
    pub(crate) later_shares: Vec<f64>,
    pub(crate) outage: Option<Outage>,
}

#[derive(Clone, Debug)]
pub(crate) struct Outage {
    /// Requests per second.
    pub(crate) before: f64,
    pub(crate) during: f64,
    pub(crate) returned: Duration,
    /// The most in any window after the return.
    pub(crate) most_after: usize,
}

impl Outage {
    fn share(&self) -> f64 {
        self.during / self.before
    }
}

impl Seen {
    /// Of what the same quota gave to one process alone that does not share it.
    fn of_one(&self, all: &[Seen]) -> Option<f64> {
        let one = all
            .iter()
            .find(|one| !one.run.shares && one.run.quota == self.run.quota)?;
        self.run.shares.then(|| self.pace.used() / one.pace.used())
    }

    /// What the server of Redis counts, or else the processes.
    fn calls_per_request(&self) -> f64 {
        self.scripts.unwrap_or(self.calls) as f64 / self.requests.max(1) as f64
    }

    /// The least and the most that a process has, as shares of its part.
    fn spread(&self, shares: &[f64]) -> (f64, f64) {
        let parts = shares.iter().map(|share| share * shares.len() as f64);
        parts.fold((f64::INFINITY, 0.0), |(least, most), part| {
            (least.min(part), most.max(part))
        })
    }

    fn failures(&self, all: &[Seen]) -> Vec<String> {
        let Run { name, quota, .. } = self.run;
        let mut failures = Vec::new();
        let mut check = |is_right: bool, problem: String| {
            if !is_right {
                failures.push(format!("processes: {name}, {quota} per 10 s: {problem}"));
            }
        };
        check(self.refused == 0, format!("{} refused", self.refused));
        if let Some(outage) = &self.outage {
            let share = outage.share();
            check(
                share >= LEAST_IN_OUTAGE,
                format!("{share:.3} of the throughput while Redis was gone"),
            );
            check(
                outage.most_after <= quota as usize,
                format!("{} in one window after the return", outage.most_after),
            );
        }
        if !matches!(self.run.trouble, Trouble::None | Trouble::Skew) {
            return failures;
        }
        let calls = self.calls_per_request();
        check(
            calls <= MOST_CALLS,
            format!("{calls:.3} round trips per request"),
        );
        if let Some(share) = self.of_one(all) {
            check(
                share >= LEAST_GOODPUT,
                format!("{share:.3} of what one process comes to"),
            );
        }
        for (when, shares) in [
            ("in the whole run", &self.shares),
            ("after the first window", &self.later_shares),
        ] {
            let (least, most) = self.spread(shares);
            check(
                1.0 - least <= MOST_UNFAIR && most - 1.0 <= MOST_UNFAIR,
                format!("a process has {least:.3} to {most:.3} of its part {when}"),
            );
        }
        failures
    }

    fn row(&self, all: &[Seen]) -> Vec<String> {
        let or_none = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
        let spread = |shares: &[f64]| {
            let (least, most) = self.spread(shares);
            match self.run.trouble {
                Trouble::Kill => "-".to_owned(),
                _ => format!("{least:.2} to {most:.2}"),
            }
        };
        vec![
            self.run.name.to_owned(),
            self.run.quota.to_string(),
            self.refused.to_string(),
            self.failed.to_string(),
            format!("{:.1} s", self.pace.first.as_secs_f64()),
            format!("{:.1} %", 100.0 * self.pace.used()),
            or_none(self.of_one(all).map(|share| format!("{share:.3}"))),
            spread(&self.shares),
            spread(&self.later_shares),
            format!("{:.3}", self.calls_per_request()),
            format!(
                "{:.3}",
                self.heartbeats as f64 / self.requests.max(1) as f64
            ),
        ]
    }

    fn to_json(&self, all: &[Seen]) -> Value {
        let outage = self.outage.as_ref().map(|outage| {
            json!({
                "before_per_s": outage.before,
                "during_per_s": outage.during,
                "share": outage.share(),
                "most_in_a_window_after": outage.most_after,
            })
        });
        json!({
            "run": self.run.name,
            "quota": self.run.quota,
            "seconds": self.run.lasts().as_secs_f64(),
            "refused": self.refused,
            "failed": self.failed,
            "first_after_s": self.pace.first.as_secs_f64(),
            "took_s": self.pace.took.as_secs_f64(),
            "used": self.pace.used(),
            "of_one_process": self.of_one(all),
            "shares": self.shares,
            "shares_after_the_first_window": self.later_shares,
            "requests": self.requests,
            "redis_calls": self.calls,
            "redis_heartbeats": self.heartbeats,
            "redis_scripts": self.scripts,
            "redis_calls_per_request": self.calls_per_request(),
            "outage": outage,
        })
    }
}

pub(crate) fn report(all: &[Seen]) -> Table {
    let header = [
        "processes",
        "per 10 s",
        "429",
        "failed",
        "first after",
        "used",
        "of one",
        "each of its part",
        "after 10 s",
        "round trips",
        "heartbeats",
    ];
    let rows: Vec<_> = all.iter().map(|seen| seen.row(all)).collect();
    let mut text = format!(
        "processes: full demand with one token over loopback sockets, in real time\n\n{}\n",
        support::table(&header, &rows)
    );
    for outage in all.iter().filter_map(|seen| seen.outage.as_ref()) {
        text += &format!(
            "while Redis was gone: {:.1} requests per second, {:.3} of the {:.1} before; at most {} in any 10 s after its return\n",
            outage.during,
            outage.share(),
            outage.before,
            outage.most_after,
        );
    }
    text += LEGEND;
    text += "\
of one:      of what one process without Redis comes to
             What a killed process held is out of use for a lease (5 s), a time-out (5 s) and a window
each of its part: the least and the most that a process has of its even part
round trips: to Redis, for each request; where Redis ran all the time it counts, else the processes do
heartbeats:  those of them that only say that a process is there
";
    Table {
        text,
        json: json!({ "rows": all.iter().map(|seen| seen.to_json(all)).collect::<Vec<_>>() }),
        failures: all.iter().flat_map(|seen| seen.failures(all)).collect(),
    }
}
