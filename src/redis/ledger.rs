use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::{Client, ConnectionInfo, IntoConnectionInfo, Value};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::connection::{Connection, Script, Source};
use super::error::RedisError;
use super::fingerprint::SharedSecret;
use super::members::{self, Beat};
use super::options::RedisOptions;
use super::script;
use crate::clock::Clock;
use crate::core::lease::Sharing;
use crate::error::ConfigError;

/// Slots that Redis or Valkey lends, for [`Quota::shared`](crate::Quota::shared).
///
/// See the [module docs](crate::redis) for an example.
pub struct RedisLedger {
    pub(super) store: Arc<Store>,
    secret: SharedSecret,
    wall: (SystemTime, Instant),
    pub(super) runtime: Handle,
}

/// The store, and how it is talked to.
pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) step: Script,
    pub(super) beat: Script,
    /// With what the names of keys begin.
    pub(super) prefix: String,
    pub(super) sharing: Sharing,
    /// How long a call may take.
    pub(super) bound: Duration,
    /// What this member is called.
    pub(super) member: String,
}

impl RedisLedger {
    /// Connects to the server at `redis://[user][:password@]host[:port][/database]`; `rediss://` is the same with TLS and needs
    /// the feature `redis-tls`, `unix:///path` is a socket of this machine. `valkey://` and `valkeys://` mean the same.
    ///
    /// Takes four times [`RedisOptions::timeout`] at most, but at least a second, and one such timeout more. From then on the
    /// connection is made anew when it is lost, for as long as the [`Quota`](crate::Quota) lives. Must be called in a tokio
    /// runtime with its time and I/O drivers enabled, which should outlive the quota: its calls to Redis run there, and when it
    /// ends, Redis counts as gone. The quota may be made and used in others.
    ///
    /// # Errors
    ///
    /// [`RedisError`] when an option or the URL makes no sense, nobody listens there or answers in time, the password is wrong,
    /// or the user may not do what is needed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection. Nothing stays behind but an entry that lives for three leases.
    pub async fn connect(url: impl AsRef<str>, options: RedisOptions) -> Result<Self, RedisError> {
        options.check()?;
        let node = node(url.as_ref())?;
        Self::at(&options, server(node, &options)?).await
    }

    /// The same with a Redis Cluster, of which some nodes are named.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect), and when the URLs differ in more than their hosts and ports.
    ///
    /// # Cancel safety
    ///
    /// As for [`connect`](Self::connect).
    #[cfg(feature = "redis-cluster")]
    pub async fn connect_cluster(
        urls: impl IntoIterator<Item = impl AsRef<str>>,
        options: RedisOptions,
    ) -> Result<Self, RedisError> {
        options.check()?;
        let nodes = urls.into_iter().map(|url| node(url.as_ref()));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        Self::at(&options, cluster(nodes, &options)?).await
    }

    async fn at(options: &RedisOptions, source: Source) -> Result<Self, RedisError> {
        let Some(secret) = SharedSecret::new(options.secret()) else {
            return Err(ConfigError::new("RedisOptions::key", "cannot be used").into());
        };
        let store = Store {
            connection: Connection::new(source, options.bound()),
            step: Script::new(script::source()),
            beat: Script::new(script::with_clock(members::BEAT)),
            prefix: options.names().to_owned(),
            sharing: options.sharing(),
            bound: options.bound(),
            member: member(),
        };
        store.connection.establish().await?;
        let began = Clock::instant_now();
        // Whoever leaves without having come only looks.
        let (value, _) = store.beat(0, true).await?;
        let beat = Beat::read(value)?;
        Ok(Self {
            store: Arc::new(store),
            secret,
            wall: (beat.time, middle(began, Clock::instant_now())),
            runtime: Handle::current(),
        })
    }

    pub(crate) fn secret(&self) -> &SharedSecret {
        &self.secret
    }

    /// What Redis' clock showed when.
    pub(crate) fn wall(&self) -> (SystemTime, Instant) {
        self.wall
    }

    pub(crate) fn sharing(&self) -> Sharing {
        self.store.sharing
    }
}

impl Store {
    /// A heartbeat, within the time that a call may take; true if it took one message more. `joined` is what the store said last
    /// time, or zero.
    pub(super) async fn beat(
        &self,
        joined: u64,
        leaves: bool,
    ) -> Result<(Value, bool), RedisError> {
        let record = members::record(&self.prefix);
        let args = members::arguments(&self.member, self.sharing.lease, joined, leaves);
        self.connection.run(&self.beat, &record, &args).await
    }
}

/// When a message was there, if it took as long to go as to come.
pub(super) fn middle(began: Instant, ended: Instant) -> Instant {
    began + ended.saturating_duration_since(began) / 2
}

/// A name of 64 random bits from the operating system.
fn member() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// What a URL says. The error does not repeat it, because there may be a password in it.
fn node(url: &str) -> Result<ConnectionInfo, RedisError> {
    #[cfg(not(feature = "redis-tls"))]
    if url.starts_with("rediss:") || url.starts_with("valkeys:") {
        let problem = "asks for TLS, which needs the feature `redis-tls` of tower-quota";
        return Err(ConfigError::new("the URL", problem).into());
    }
    url.into_connection_info().map_err(|_| {
        let form = "is not of the form redis://[user][:password@]host[:port][/database]";
        ConfigError::new("the URL", form).into()
    })
}

#[cfg(not(feature = "redis-tls"))]
fn server(node: ConnectionInfo, _: &RedisOptions) -> Result<Source, RedisError> {
    let client = Client::open(node).map_err(|error| RedisError::config(&error))?;
    Ok(Source::Server(Box::new(client)))
}

#[cfg(feature = "redis-tls")]
fn server(node: ConnectionInfo, options: &RedisOptions) -> Result<Source, RedisError> {
    let client = match node.addr() {
        redis::ConnectionAddr::TcpTls { .. } => {
            Client::build_with_tls(node, super::tls::certificates(options))
        }
        _ => Client::open(node),
    };
    let client = client.map_err(|error| RedisError::config(&error))?;
    Ok(Source::Server(Box::new(client)))
}

#[cfg(feature = "redis-cluster")]
fn cluster(nodes: Vec<ConnectionInfo>, options: &RedisOptions) -> Result<Source, RedisError> {
    let builder = redis::cluster::ClusterClient::builder(nodes)
        .retries(RETRIES)
        .connection_timeout(options.bound())
        .response_timeout(options.bound())
        .overall_response_timeout(None)
        .max_retry_wait(WAIT)
        .min_retry_wait(WAIT / 2);
    #[cfg(feature = "redis-tls")]
    let builder = builder.certs(super::tls::certificates(options));
    let client = builder
        .build()
        .map_err(|error| RedisError::config(&error))?;
    Ok(Source::Cluster(Box::new(client)))
}

/// Enough for a key that has moved; more would hold the calls to other nodes up while one is gone.
#[cfg(feature = "redis-cluster")]
const RETRIES: u32 = 2;

/// So many milliseconds pass between two attempts to reach a node of a cluster within one call.
#[cfg(feature = "redis-cluster")]
const WAIT: u64 = 50;

impl fmt::Debug for RedisLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLedger")
            .field("prefix", &self.store.prefix)
            .field("sharing", &self.store.sharing)
            .finish_non_exhaustive()
    }
}
