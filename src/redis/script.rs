//! The step of a record, as a script: what goes in and what comes out.

use std::time::{Duration, UNIX_EPOCH};

use redis::Value;

use crate::core::Tick;
use crate::core::lease::{
    Answer, Call, Granted, Join, LimitAnswer, Outcome, SharedRule, Sharing, Slots,
};
use crate::core::{Fingerprint, Subject};
use crate::plan::FirstWindow;

/// Redis' own clock, in microseconds since 1970, and how long it has been up, in seconds: not at all if nobody may know.
const CLOCK: &str = "\
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end
local function uptime()
    local info = redis.pcall('INFO', 'server')
    return type(info) == 'string' and tonumber(string.match(info, 'uptime_in_seconds:(%d+)')) or 0
end
";

/// The step itself.
pub(super) const STEP: &str = include_str!("ledger.lua");

/// Before Redis 7, time may only be read if it is the effects that are replicated.
const EFFECTS: &str = "if redis.replicate_commands then redis.replicate_commands() end\n";

/// The whole script, with the server's clock.
pub(super) fn source() -> String {
    with_clock(STEP)
}

/// A script that asks `clock()`.
pub(super) fn with_clock(script: &str) -> String {
    [EFFECTS, CLOCK, script].concat()
}

/// A script for a test that tells for how long the server has been up and the time, in the last two arguments. Records live a
/// thousand times longer, so that none is gone before the told time says so.
#[cfg(test)]
pub(super) fn with_told_time(script: &str) -> String {
    let told = "\
local function clock() return tonumber(ARGV[#ARGV]) end
local function uptime() return tonumber(ARGV[#ARGV - 1]) end
local server = redis
local redis = { error_reply = server.error_reply }
function redis.call(name, key, value, px, ttl)
    if name == 'SET' then return server.call(name, key, value, px, ttl * 1000) end
    return server.call(name, key)
end
";
    [EFFECTS, told, script].concat()
}

/// The answer is none that the script gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What the record calls a token's and an account's pauses. Limits have a prefix of their own.
const TOKEN: &str = "token";
const ACCOUNT: &str = "account";
const LIMIT: &str = "limit:";

/// The arguments of the script for this call, sent at `now` by `member`. `names` are those of the plan's limits.
pub(super) fn arguments(
    call: &Call,
    member: &str,
    sharing: &Sharing,
    names: &[String],
    now: Tick,
) -> Vec<Vec<u8>> {
    let mut args = Arguments(Vec::new());
    let age = |at: Tick| micros(now.since(at)) - micros_rounded_up(at.since(now));
    args.word(member);
    args.int(call.seq);
    args.int(call.last);
    args.int(call.born);
    args.int(match call.join {
        Join::Member => 0,
        Join::Again => 1,
        Join::Anew => 2,
    });
    args.int(micros(sharing.lease));
    args.int(micros(sharing.request_timeout));
    args.int(age(call.answered));
    args.int(call.cut_off.map_or(-1, |since| age(since).max(0)));
    args.int(call.pauses.len());
    for (subject, length) in &call.pauses {
        match subject {
            Subject::Token => args.word(TOKEN),
            Subject::Account => args.word(ACCOUNT),
            Subject::Limit(limit) => args.word(&[LIMIT, name(names, *limit)].concat()),
        }
        let until = |length: Duration| call.made.after(length).since(now);
        args.int(length.map_or(-1, |length| micros_rounded_up(until(length))));
    }
    args.int(call.limits.len());
    for limit in &call.limits {
        args.word(name(names, limit.limit));
        match limit.rule {
            SharedRule::Rolling {
                quota,
                unreserved,
                window,
                first,
            } => {
                args.word("r");
                args.int(quota);
                args.int(unreserved);
                args.int(micros_rounded_up(window));
                args.int(match first {
                    FirstWindow::Empty => 0,
                    FirstWindow::Probe => 1,
                    FirstWindow::Full => 2,
                });
            }
            SharedRule::Pool {
                quota,
                unreserved,
                resets,
            } => {
                args.word("p");
                args.int(quota);
                args.int(unreserved);
                for reset in resets {
                    args.int(micros(reset.duration_since(UNIX_EPOCH).unwrap_or_default()));
                }
            }
        }
        args.slots(limit.held);
        args.int(limit.own);
        args.int(limit.soon);
        args.int(limit.cap.map_or(-1, i64::from));
        args.slots(limit.want);
        args.int(limit.most);
        args.int(limit.spare);
        args.slots(limit.returned);
        args.int(limit.told.map_or(0, |(quota, _)| quota.max(1)));
        args.int(limit.told.map_or(0, |(_, sent)| age(sent)));
        args.int(limit.seen.map_or(-1, |seen| i64::from(seen.used)));
        args.int(limit.seen.map_or(0, |seen| seen.expired));
        args.int(limit.seen.map_or(0, |seen| age(seen.arrived)));
        args.int(limit.settled.len());
        for settled in &limit.settled {
            args.int(age(settled.anchor));
            args.slots(settled.slots);
        }
    }
    args.0
}

struct Arguments(Vec<Vec<u8>>);

impl Arguments {
    fn word(&mut self, word: &str) {
        self.0.push(word.as_bytes().to_vec());
    }

    fn int(&mut self, figure: impl ToString) {
        self.0.push(figure.to_string().into_bytes());
    }

    fn slots(&mut self, slots: Slots) {
        self.int(slots.bulk);
        self.int(slots.interactive);
    }
}

fn name(names: &[String], limit: usize) -> &str {
    names.get(limit).map_or("", String::as_str)
}

/// Longer than that is nothing; the script's numbers are exact up to there.
const LONGEST: u128 = 1 << 52;

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros().min(LONGEST)).unwrap_or(i64::MAX)
}

fn micros_rounded_up(time: Duration) -> i64 {
    let up = i64::from(time.subsec_nanos() % 1_000 != 0);
    micros(time) + up
}

/// Reads what the script has answered to `call`.
pub(super) fn answer(value: Value, call: &Call, names: &[String]) -> Result<Answer, Malformed> {
    let Value::Array(items) = value else {
        return Err(Malformed);
    };
    let mut items = Items(items.into_iter());
    let outcome = match items.int()? {
        0 => Outcome::Done,
        1 => Outcome::Rejoin,
        2 => Outcome::Stale,
        _ => return Err(Malformed),
    };
    let born = items.count()?;
    let time = UNIX_EPOCH.checked_add(Duration::from_micros(items.count()?));
    let mut pauses = Vec::new();
    for _ in 0..items.count()? {
        let subject = items.word()?;
        let length = Duration::from_micros(items.count()?);
        let subject = match subject.as_str() {
            TOKEN => Some(Subject::Token),
            ACCOUNT => Some(Subject::Account),
            // Of another plan, perhaps.
            subject => subject.strip_prefix(LIMIT).and_then(|limit| {
                let index = names.iter().position(|name| name == limit)?;
                Some(Subject::Limit(index))
            }),
        };
        pauses.extend(subject.map(|subject| (subject, length)));
    }
    let mut limits = Vec::new();
    for nth in 0..items.count()? {
        let asked = call.limits.get(usize::try_from(nth).unwrap_or(usize::MAX));
        let quota = asked.map_or(0, |asked| asked.rule.quota());
        limits.push(LimitAnswer {
            granted: items.granted(quota)?,
            next: u64::try_from(items.int()?).ok().map(Duration::from_micros),
            expired: items.count()?,
            used: items.slots()?,
            foreign: items.slots()?,
            contended: items.int()? == 1,
            recovering: items.int()? == 1,
        });
    }
    if outcome == Outcome::Done && limits.len() != call.limits.len() {
        return Err(Malformed);
    }
    Ok(Answer {
        born,
        outcome,
        time: time.ok_or(Malformed)?,
        limits,
        pauses,
    })
}

struct Items(std::vec::IntoIter<Value>);

impl Items {
    fn int(&mut self) -> Result<i64, Malformed> {
        match self.0.next() {
            Some(Value::Int(figure)) => Ok(figure),
            _ => Err(Malformed),
        }
    }

    fn count(&mut self) -> Result<u64, Malformed> {
        u64::try_from(self.int()?).map_err(|_| Malformed)
    }

    fn slots(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.int()?).map_err(|_| Malformed)
    }

    /// Never more than the quota, and none of nothing.
    fn granted(&mut self, quota: u32) -> Result<Vec<Granted>, Malformed> {
        let mut granted = Vec::new();
        let mut left = quota;
        for _ in 0..self.count()? {
            let ready_in = Duration::from_micros(self.count()?);
            let (bulk, interactive) = (self.slots()?, self.slots()?);
            let slots = Slots { bulk, interactive };
            left = left.checked_sub(slots.all()).ok_or(Malformed)?;
            if slots.is_empty() {
                return Err(Malformed);
            }
            granted.push(Granted { ready_in, slots });
        }
        Ok(granted)
    }

    fn word(&mut self) -> Result<String, Malformed> {
        match self.0.next() {
            Some(Value::BulkString(word)) => String::from_utf8(word).map_err(|_| Malformed),
            _ => Err(Malformed),
        }
    }
}

/// The key of a record. What is in braces decides of the hash slot in a cluster.
pub(super) fn record(prefix: &str, key: Fingerprint) -> String {
    format!("{prefix}:{{{}}}", key.to_hex())
}
