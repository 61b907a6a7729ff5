//! One connection that is made anew when it is lost, to a server or to a cluster.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};
use tokio::time::timeout;

use super::error::RedisError;

/// A script and what it is called.
#[derive(Debug)]
pub(super) struct Script {
    source: String,
    inner: redis::Script,
}

impl Script {
    pub(super) fn new(source: String) -> Self {
        let inner = redis::Script::new(&source);
        Self { source, inner }
    }
}

/// Where connections come from.
pub(super) enum Source {
    Server(Box<Client>),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
}

/// A connection that many calls use at a time.
#[derive(Clone)]
enum Open {
    Server(MultiplexedConnection),
    #[cfg(feature = "redis-cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Source {
    /// Nothing bounds the time here: whoever waits gives up himself.
    async fn open(&self) -> RedisResult<Open> {
        match self {
            Self::Server(client) => {
                let unbounded = AsyncConnectionConfig::new()
                    .set_connection_timeout(None)
                    .set_response_timeout(None);
                let connection = client.get_multiplexed_async_connection_with_config(&unbounded);
                Ok(Open::Server(connection.await?))
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(client) => Ok(Open::Cluster(client.get_async_connection().await?)),
        }
    }

    /// Whether a failure of one call is one of the whole connection.
    fn is_lost(&self, error: &redis::RedisError) -> bool {
        match self {
            // A line may be dead without a word, and a server that was demoted keeps its connections.
            Self::Server(_) => {
                let is_demoted = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
                error.is_unrecoverable_error() || error.is_timeout() || is_demoted
            }
            // It looks after its connections by itself.
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => false,
        }
    }
}

impl Open {
    async fn query(&mut self, cmd: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(connection) => cmd.query_async(connection).await,
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => cmd.query_async(connection).await,
        }
    }
}

pub(super) struct Connection {
    source: Source,
    /// With its number.
    open: Mutex<Option<(u64, Open)>>,
    /// Held by whoever makes a connection, with the number of the next one.
    opening: tokio::sync::Mutex<u64>,
    /// How long a call may take.
    bound: Duration,
}

impl Connection {
    pub(super) fn new(source: Source, bound: Duration) -> Self {
        Self {
            source,
            open: Mutex::new(None),
            opening: tokio::sync::Mutex::new(0),
            bound,
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<(u64, Open)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present connection. One of those who find none makes it, and the others wait for that.
    async fn opened(&self) -> RedisResult<(u64, Open)> {
        if let Some(open) = self.open().clone() {
            return Ok(open);
        }
        let mut number = self.opening.lock().await;
        if let Some(open) = self.open().clone() {
            return Ok(open);
        }
        let open = (*number, self.source.open().await?);
        *number += 1;
        *self.open() = Some(open.clone());
        Ok(open)
    }

    /// Makes a connection if there is none. It may take longer than a call.
    pub(super) async fn establish(&self) -> Result<(), RedisError> {
        let opened = timeout(self.longest_opening(), self.opened());
        match opened.await {
            Ok(opened) => opened.map(|_| ()).map_err(RedisError::from),
            Err(_) => Err(RedisError::timed_out()),
        }
    }

    /// Several messages go to and fro before the first call, more with TLS.
    fn longest_opening(&self) -> Duration {
        Duration::max(self.bound * 4, Duration::from_secs(1))
    }

    /// The next call makes a connection of its own; those under way keep the one they have.
    pub(super) fn forget(&self) {
        *self.open() = None;
    }

    /// Runs a script on one key within the time that a call may take; true if the server had to be told the script first, which
    /// is one message more.
    pub(super) async fn run(
        &self,
        script: &Script,
        key: &str,
        args: &[Vec<u8>],
    ) -> Result<(Value, bool), RedisError> {
        let mut used = None;
        let answered = self.run_unbounded(script, key, args, &mut used);
        let error = match timeout(self.bound, answered).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => redis::RedisError::from(io::Error::from(io::ErrorKind::TimedOut)),
        };
        if self.source.is_lost(&error) {
            self.open().take_if(|(present, _)| used == Some(*present));
        }
        Err(error.into())
    }

    /// Tells the number of the connection.
    async fn run_unbounded(
        &self,
        script: &Script,
        key: &str,
        args: &[Vec<u8>],
        used: &mut Option<u64>,
    ) -> RedisResult<(Value, bool)> {
        let (number, mut open) = self.opened().await?;
        *used = Some(number);
        let command = |name: &str, text: &str| {
            let mut cmd = redis::cmd(name);
            cmd.arg(text).arg(1).arg(key).arg(args);
            cmd
        };
        match open
            .query(&command("EVALSHA", script.inner.get_hash()))
            .await
        {
            // Told to the very server that lacks it: `SCRIPT LOAD` goes to all of a cluster, and fails if one is gone.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let value = open.query(&command("EVAL", &script.source)).await?;
                Ok((value, true))
            }
            value => Ok((value?, false)),
        }
    }
}
