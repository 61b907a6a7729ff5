//! The script on a real server, with told time.

mod agrees;
mod figures;
mod fleet;
mod members;
mod pools;
mod promises;
mod records;
mod safe;

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::{Connection, RedisError, Script, Value};

use self::redis_server::RedisServer;
use super::script::{STEP, answer, arguments, record, with_told_time};
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
const BEGIN: u64 = 1_000_000 * S;
const CLOCK: u64 = 1_700_000_000 * S;

/// The key of most tests.
const KEY: Fingerprint = Fingerprint::from_halves(7, 7);

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

/// A store of one's own on that server, and its clock.
struct Store {
    connection: Connection,
    script: Script,
    prefix: String,
    /// The record that is looked at.
    key: Fingerprint,
    names: Vec<String>,
    sharing: Sharing,
    /// How far the store's clock has been set forward.
    skew: i64,
    /// Since when the server has been up.
    up_since: u64,
    /// When each record is gone.
    gone: HashMap<String, u64>,
}

impl Store {
    fn new() -> Self {
        static STORES: AtomicU64 = AtomicU64::new(1);
        let client = redis::Client::open(server().url()).unwrap();
        Self {
            connection: client.get_connection().unwrap(),
            script: Script::new(&with_told_time(STEP)),
            prefix: format!("test-{}", STORES.fetch_add(1, Ordering::Relaxed)),
            key: KEY,
            names: NAMES.map(str::to_owned).to_vec(),
            sharing: Sharing {
                lease: Duration::from_secs(5),
                request_timeout: Duration::from_secs(30),
                on_outage: OnOutage::LocalShare,
            },
            skew: 0,
            up_since: 0,
            gone: HashMap::new(),
        }
    }

    fn record(&self) -> String {
        record(&self.prefix, self.key)
    }

    fn clock(&self, now: u64) -> u64 {
        (CLOCK + now - BEGIN).strict_add_signed(self.skew)
    }

    /// A command about the record.
    fn command(&mut self, name: &str, rest: &[&[u8]]) -> Result<Value, RedisError> {
        let mut command = redis::cmd(name);
        command.arg(self.record()).arg(rest);
        command.query(&mut self.connection)
    }

    fn contents(&mut self) -> Vec<u8> {
        match self.command("GET", &[]).unwrap() {
            Value::BulkString(contents) => contents,
            other => panic!("there is no record: {other:?}"),
        }
    }

    /// The record becomes what it was.
    fn put_back(&mut self, contents: &[u8]) {
        self.command("SET", &[contents, b"PX", b"10000000000"])
            .unwrap();
    }

    /// The record is lost.
    fn lose(&mut self) {
        self.forget(&self.record());
    }

    /// The same for a record of this name.
    fn forget(&mut self, record: &str) {
        let mut delete = redis::cmd("DEL");
        let _: () = delete.arg(record).query(&mut self.connection).unwrap();
        self.gone.remove(record);
    }

    /// When the record is gone if nobody calls.
    fn gone(&self) -> Option<u64> {
        self.gone.get(&self.record()).copied()
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
        let script = self.script.clone();
        self.run_script(now, &script, &self.record(), arguments)
    }

    fn run_script(
        &mut self,
        now: u64,
        script: &Script,
        record: &str,
        arguments: &[Vec<u8>],
    ) -> Result<Value, RedisError> {
        if self.gone.get(record).is_some_and(|gone| now >= *gone) {
            self.forget(record);
        }
        let mut run = script.prepare_invoke();
        run.key(record).arg(arguments);
        run.arg((now - self.up_since) / S).arg(self.clock(now));
        let value = run.invoke(&mut self.connection)?;
        // A thousand times too long, so that its milliseconds are our microseconds.
        match redis::cmd("PTTL").arg(record).query(&mut self.connection)? {
            Value::Int(left) if left > 0 => self
                .gone
                .insert(record.to_owned(), now + left.unsigned_abs()),
            Value::Int(-2) => self.gone.remove(record),
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
    cut_off: Option<u64>,
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
            cut_off: None,
        }
    }

    fn next(&mut self, now: u64, limits: Vec<LimitCall>) -> Call {
        self.seq += 1;
        Call {
            key: KEY,
            seq: self.seq,
            last: self.last,
            answered: self.answered,
            born: self.born,
            join: self.join,
            cut_off: self.cut_off.map(tick),
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
        soon: 0,
        cap: None,
        want: Slots::default(),
        most: u32::MAX,
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

    /// It has so many, and will have as many when those are free that are lent in advance.
    fn own(self, own: u32) -> Self {
        let soon = own;
        Self { own, soon, ..self }
    }

    fn soon(self, soon: u32) -> Self {
        Self { soon, ..self }
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
