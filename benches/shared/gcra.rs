//! What others do: the generic cell rate algorithm as a script in Redis.
//!
//! The same steps as in the script of go-redis' `redis_rate`, which comes from the `redis-gcra` gem, and as in the module `redis-cell`:
//! one key holds the time at which the bucket will be empty again; the answer is whether a request may go, and if not, after how
//! long to ask again. Time is Redis' own. Who is told to wait does so, and asks again.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, Script};

use crate::limiters::Allowance;
use crate::redis_server::RedisServer;

const SCRIPT: &str = "
local burst, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local new_tat = tat + interval
local wait = new_tat - interval * burst - now
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.0f', new_tat), 'PX', math.ceil((new_tat - now) / 1000))
return 0
";

#[derive(Clone)]
pub(crate) struct Gcra {
    connection: MultiplexedConnection,
    script: Script,
    burst: u32,
    /// Between two requests, in microseconds.
    interval: u64,
}

impl Gcra {
    /// With a connection of its own, as each process has one.
    pub(crate) async fn new(redis: &RedisServer, allowance: Allowance, burst: u32) -> Self {
        let client = Client::open(redis.url()).expect("the address is sound");
        let connection = client.get_multiplexed_async_connection().await;
        Self {
            connection: connection.expect("the server is there"),
            script: Script::new(SCRIPT),
            burst,
            interval: allowance.spacing().as_micros() as u64,
        }
    }

    /// Waits until a request with this token may go.
    pub(crate) async fn pass(&self, token: &str) {
        let mut connection = self.connection.clone();
        let mut call = self.script.key(token);
        call.arg(self.burst).arg(self.interval);
        loop {
            let wait = call.invoke_async(&mut connection).await;
            match wait.expect("the server answers") {
                0 => return,
                micros => tokio::time::sleep(Duration::from_micros(micros)).await,
            }
        }
    }
}
