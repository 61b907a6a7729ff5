//! One quota for many processes: a ledger whose slots are lent by Redis or Valkey.
//!
//! # What and when
//!
//! A [`Quota`](crate::Quota) limits the requests of one process. When several processes call an API with the same credentials,
//! give each of them a [`RedisLedger`]: all layers work as before, and all processes together stay inside the quota. One process
//! alone needs none of this.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use tower_quota::plan::{Limit, Plan};
//! use tower_quota::redis::{OnOutage, RedisLedger, RedisOptions};
//! use tower_quota::{Quota, TokenLimitLayer};
//!
//! # async fn run(secret: Vec<u8>) -> Result<(), tower_quota::BoxError> {
//! let options = RedisOptions::new()
//!     .key(secret) // the same in all processes
//!     .prefix("acme") // one for each API
//!     .on_outage(OnOutage::LocalShare);
//! let ledger = RedisLedger::connect("redis://user:password@127.0.0.1:6379/0", options).await?;
//!
//! let plan = Plan::builder("acme").limit(Limit::rolling("burst", 600, Duration::from_secs(60))).build()?;
//! let quota = Quota::shared(plan, ledger);
//! let layer = TokenLimitLayer::new(&quota);
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! Redis keeps one record for each token and each account: which slots are cooling, and how many each process holds. A process is
//! lent slots before it sends, several at a time when it is busy, and tells afterwards when its requests were over. Requests wait
//! in the queue of their own process, in order; a task that [`Quota::shared`](crate::Quota::shared) spawns on the runtime of
//! [`RedisLedger::connect`] carries the calls to Redis, one script call for all that is to be said of a key. What a request needs
//! under several limits it takes in its own process at once, so that no script ever needs two keys.
//!
//! [`Quota::shared_calls`](crate::Quota::shared_calls) counts the calls: about one for a request that comes alone, far less than
//! one when many wait.
//!
//! # What is promised
//!
//! * In every record, what is lent and what is cooling never exceed the quota: a rolling limit refuses nobody, as long as only
//!   these processes use it. What others use is found out as ever, and told to all.
//! * Time is Redis' own (`TIME`). The clocks of the machines may show what they like.
//! * A call that is lost on the way back is made again and carried out once. A script that the server has forgotten is told
//!   again.
//! * A process that dies gives up what it held when its lease has ended ([`RedisOptions::lease`]); what it may have had in flight
//!   is free [`RedisOptions::request_timeout`] and one window later. A process that ends well gives unused slots back when the
//!   last handle of its quota is dropped, if its runtime lasts for some milliseconds more.
//! * A record that is lost (restart without a copy on disk, failover, eviction, `FLUSHALL`) is noticed. Each process tells what
//!   it holds and what of its requests still counts; until all have had time for that, nobody gets more than it is sure of, and
//!   [`ColdStart`](crate::plan::ColdStart) says what is made of the rest. Meanwhile [`Bulk`](crate::plan::Lane::Bulk) may get what
//!   is [reserved](crate::plan::Reserve), because what a process had it may have again for either lane. The same goes for a server
//!   that has just been started: the first requests wait until it has been up for one lease.
//! * A pause that one process begins, because it was refused, is one for all.
//!
//! Not shared are daily pools whose [zone is unknown](crate::plan::Zone::UNKNOWN), which are counted by what the server says, and what
//! is no limit of the plan: [how many](crate::concurrency) requests are under way at a time, retries, batches, and what was learned
//! of searches that are too heavy.
//!
//! # When Redis is gone
//!
//! A call takes [`RedisOptions::timeout`] at most, and no request waits for a call: it waits for a slot, as ever. When a call has
//! failed and the heartbeat after it, too, Redis counts as gone, while nothing goes on at the latest after one lease and two
//! timeouts. An event says so (target `tower_quota::store_gone`, level WARN, fields `policy` and `error`), and [`OnOutage`] says
//! what becomes of requests. Then a heartbeat is tried after 0.1 s, and after pauses up to 1 s, each shortened at random, until
//! one is answered (target `tower_quota::store_back`, level INFO, field `after` in seconds). What waits comes back bit by bit, 64
//! calls at a time.
//!
//! Where the runtime of [`RedisLedger::connect`] ends before the quota, Redis is gone for good.
//!
//! The parts of [`OnOutage::LocalShare`] add up to the quota if Redis is gone for all processes. If only one of them is cut off,
//! it uses its part while the others use all, and together they may be refused. A process that is not alone has no part before all
//! others must know of it: for two leases after its start, for three where the server has just been started. If Redis goes before
//! that, it has none until Redis is back.
//!
//! Calls for some keys may fail while heartbeats are answered: the master of a part of a cluster is gone, or somebody has put
//! something else under a key. Then these keys alone are in that state, and each is tried about once a second. An event says so
//! (target `tower_quota::store_failed`, level WARN, fields `failures` and `error`), and again after a minute if it goes on. A single
//! call that was lost with its connection is told in the same way, and costs nothing.
//!
//! # What it needs of Redis
//!
//! * Redis 5 or newer, or Valkey, with scripts (`EVAL`, `EVALSHA`) and `cmsgpack` in them, which both have unless built
//!   otherwise. A cluster needs the feature `redis-cluster` and [`RedisLedger::connect_cluster`]; all keys of one call have one
//!   hash tag.
//! * A user that may do this and nothing else: `~tower-quota:* +eval +evalsha +get +set +time +info` (with your
//!   [prefix](RedisOptions::prefix)); with a cluster also `+cluster|slots`, with another database than 0 in the URL `+select`.
//!   Without `info`, every new record counts as one of a server that has just been started.
//! * `maxmemory-policy noeviction`, or memory enough: a record that is evicted is like one that was lost. Every key has an end:
//!   no later than the last of its slots, pauses and days.
//! * A copy on disk is of use, but not needed. Replication is asynchronous: what a failover loses is noticed like a lost record,
//!   but only as each process calls the next time.
//! * The same plan in all processes. Limits are known by their names: while processes with an old and a new plan run beside each
//!   other, each keeps to the quota that it knows, so that all together stay within the larger one; but a window that some believe
//!   to be shorter is the shorter one for all.
//! * A clock that does not jump. One that is set back only lets slots cool longer; one that is set forward by more than a window
//!   frees them too early.
//!
//! # What is not secret there, and what is
//!
//! Tokens and accounts stand in Redis as HMACs with [`RedisOptions::key`]; the names of limits, figures and times stand there as
//! they are. Whoever can write to Redis can stop the requests of all processes, or let them send too many. `rediss://` needs the
//! feature `redis-tls`. Passwords in URLs are shown in no error, event or `Debug`.

mod connection;
mod count;
mod driver;
mod error;
mod fingerprint;
mod health;
mod ledger;
mod members;
mod options;
mod script;
#[cfg(test)]
mod tests;
#[cfg(feature = "redis-tls")]
mod tls;

pub(crate) use self::count::Count;
pub use self::count::SharedCalls;
pub use self::error::{RedisError, RedisErrorKind};
pub(crate) use self::fingerprint::SharedSecret;
pub use self::ledger::RedisLedger;
pub use self::options::RedisOptions;
pub use crate::core::lease::OnOutage;
