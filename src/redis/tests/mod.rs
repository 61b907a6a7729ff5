//! The script on a real server, with told time.

mod members;
mod promises;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::{Connection, RedisError, Script, Value};

use self::redis_server::RedisServer;
use super::script::{answer, arguments, record, source_with_told_time};
use crate::core::lease::{
    Answer, Call, Granted, Join, LimitAnswer, LimitCall, OnOutage, Outcome, Seen, Settled,
    SharedRule, Sharing, Slots,
};
use crate::core::{Fingerprint, Subject, Tick};
use crate::plan::{FirstWindow, Lane};

#[path = "../../../tests/common/redis_server.rs"]
mod redis_server;

const MS: u64 = 1_000;
const S: u64 = 1_000 * MS;
const NAMES: [&str; 3] = ["burst", "search", "daily"];

/// The told time at which every test begins, and what the store's clock shows then, in microseconds. A grid of 10 ms has a step at it.
const BEGIN: u64 = 1_000 * S;
const CLOCK: u64 = 1_700_000_000 * S;

/// One for all tests of this process; it ends with it.
fn server() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(RedisServer::start)
}

fn micros(time: u64) -> Duration {
    Duration::from_micros(time)
}

fn tick(time: u64) -> Tick {
    Tick::from(micros(time))
}

/// One record of the store, and its clock.
struct Store {
    connection: Connection,
    script: Script,
    names: Vec<String>,
    key: Fingerprint,
    sharing: Sharing,
    /// How far the store's clock has been set forward.
    skew: i64,
    /// Since when the server has been up.
    up_since: u64,
    /// When the record is gone.
    gone: Option<u64>,
}

impl Store {
    fn new() -> Self {
        static KEYS: AtomicU64 = AtomicU64::new(1);
        let client = redis::Client::open(server().url()).unwrap();
        Self {
            connection: client.get_connection().unwrap(),
            script: Script::new(&source_with_told_time()),
            names: NAMES.map(str::to_owned).to_vec(),
            key: Fingerprint::from_halves(7, KEYS.fetch_add(1, Ordering::Relaxed)),
            sharing: Sharing {
                lease: Duration::from_secs(5),
                request_timeout: Duration::from_secs(30),
                on_outage: OnOutage::LocalShare,
            },
            skew: 0,
            up_since: 0,
            gone: None,
        }
    }

    fn record(&self) -> String {
        record("test", self.key)
    }

    fn clock(&self, now: u64) -> u64 {
        (CLOCK + now - BEGIN).strict_add_signed(self.skew)
    }

    fn command(&mut self, name: &str, rest: &[&[u8]]) -> Result<Value, RedisError> {
        let mut command = redis::cmd(name);
        command.arg(self.record()).arg(rest);
        command.query(&mut self.connection)
    }

    /// The record is lost.
    fn lose(&mut self) {
        self.command("DEL", &[]).unwrap();
        self.gone = None;
    }

    fn has_record(&mut self, now: u64) -> bool {
        if self.gone.is_some_and(|gone| now >= gone) {
            self.lose();
        }
        self.gone.is_some()
    }

    fn call(&mut self, now: u64, member: &str, call: &Call) -> Answer {
        let arguments = self.arguments(now, member, call);
        let value = self.run(now, &arguments).unwrap();
        answer(value, call, &self.names).unwrap()
    }

    fn arguments(&self, now: u64, member: &str, call: &Call) -> Vec<Vec<u8>> {
        arguments(call, member, &self.sharing, &self.names, tick(now))
    }

    fn run(&mut self, now: u64, arguments: &[Vec<u8>]) -> Result<Value, RedisError> {
        self.has_record(now);
        let mut run = self.script.prepare_invoke();
        run.key(self.record()).arg(arguments);
        run.arg((now - self.up_since) / S).arg(self.clock(now));
        let value = run.invoke(&mut self.connection)?;
        // A thousand times too long, so that its milliseconds are our microseconds.
        self.gone = match self.command("PTTL", &[])? {
            Value::Int(left) if left > 0 => Some(now + left.unsigned_abs()),
            Value::Int(-2) => None,
            left => panic!("the record stays for ever: {left:?}"),
        };
        Ok(value)
    }
}

/// One process.
struct Member {
    name: String,
    seq: u64,
    last: u64,
    answered: Tick,
    born: u64,
    join: Join,
}

impl Member {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            seq: 0,
            last: 0,
            answered: Tick::ZERO,
            born: 0,
            join: Join::Again,
        }
    }

    fn next(&mut self, now: u64, limits: Vec<LimitCall>) -> Call {
        self.seq += 1;
        Call {
            key: Fingerprint::from_halves(0, 0),
            seq: self.seq,
            last: self.last,
            answered: self.answered,
            born: self.born,
            join: self.join,
            made: tick(now),
            limits,
            pauses: Vec::new(),
        }
    }

    fn hear(&mut self, call: &Call, answer: &Answer) {
        match answer.outcome {
            Outcome::Done => {
                (self.last, self.answered) = (call.seq, call.made);
                (self.born, self.join) = (answer.born, Join::Member);
            }
            Outcome::Rejoin => self.join = Join::Anew,
            Outcome::Stale => {}
        }
    }

    /// Makes the next call, and hears the answer.
    fn asks(&mut self, store: &mut Store, now: u64, limits: Vec<LimitCall>) -> Answer {
        let call = self.next(now, limits);
        let answer = store.call(now, &self.name, &call);
        self.hear(&call, &answer);
        answer
    }

    /// The same for one limit, which must be carried out.
    fn says(&mut self, store: &mut Store, now: u64, limit: LimitCall) -> LimitAnswer {
        let mut answer = self.asks(store, now, vec![limit]);
        assert_eq!(answer.outcome, Outcome::Done);
        answer.limits.remove(0)
    }
}

fn nothing_of(rule: SharedRule) -> LimitCall {
    LimitCall {
        limit: 0,
        rule,
        held: Slots::default(),
        own: 0,
        cap: None,
        want: Slots::default(),
        spare: 0,
        returned: Slots::default(),
        settled: Vec::new(),
        told: None,
        seen: None,
    }
}

fn rule(quota: u32, window: u64) -> SharedRule {
    SharedRule::Rolling {
        quota,
        unreserved: quota,
        window: micros(window),
        first: FirstWindow::Empty,
    }
}

/// Says nothing of a rolling limit.
fn rolling(quota: u32, window: u64) -> LimitCall {
    nothing_of(rule(quota, window))
}

fn bulk(slots: u32) -> Slots {
    Slots::of(Lane::Bulk, slots)
}

fn interactive(slots: u32) -> Slots {
    Slots::of(Lane::Interactive, slots)
}

fn settled(anchor: u64, slots: Slots) -> Settled {
    Settled {
        anchor: tick(anchor),
        slots,
    }
}

impl LimitCall {
    fn wants(self, want: Slots) -> Self {
        Self { want, ..self }
    }

    fn own(self, own: u32) -> Self {
        Self { own, ..self }
    }

    fn returns(self, returned: Slots) -> Self {
        Self { returned, ..self }
    }

    fn settles(mut self, anchor: u64, slots: Slots) -> Self {
        self.settled.push(settled(anchor, slots));
        self
    }

    fn holds(self, held: Slots) -> Self {
        Self { held, ..self }
    }
}

impl LimitAnswer {
    /// What may be used at once, and in how many microseconds what else.
    fn now(&self) -> u32 {
        let is_ready = |granted: &&Granted| granted.ready_in.is_zero();
        let ready = self.granted.iter().filter(is_ready);
        ready.map(|granted| granted.slots.all()).sum()
    }

    fn later(&self) -> Vec<(u64, u32)> {
        let is_later = |granted: &&Granted| !granted.ready_in.is_zero();
        let later = self.granted.iter().filter(is_later);
        let pair = |granted: &Granted| (us(granted.ready_in), granted.slots.all());
        later.map(pair).collect()
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}
