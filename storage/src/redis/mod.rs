//! Storage on Redis: one server, or a cluster.
//!
//! # What is in Redis
//!
//! One hash for each grain, at `<prefix>:<type>/<key>`, and one counter, at `<prefix>:run`. Two storages on one server
//! need different prefixes. Of type and key, `%`, `{`, `}` (and `/` and `:`, in a type) are escaped as in a URL.
//!
//! | field | value |
//! |---|---|
//! | `f` | the fence: `<epoch>:<activation, 32 hex digits>` |
//! | `w` | the last write: `<activation>:<write id>` |
//! | `v:<record>` | the record's version |
//! | `d:<record>` | its body; missing = cleared |
//!
//! A grain without any body expires a day ([`FENCE_RETENTION`](gristmill_grains::storage::FENCE_RETENTION)) after it was
//! last opened or written.
//!
//! Each operation is one Lua script on one key. A batch of commits is one pipeline (in a cluster: one command each, side
//! by side). With the first answer of a pipeline (in a cluster: with each) come the run id and the
//! replication id of the process that gave it.
//!
//! # What Redis must be set to
//!
//! `maxmemory-policy noeviction`: anything else is refused, since it drops grains. Without an append-only file the
//! storage's durability is `memory`; with `appendfsync everysec` it is `os`, with `always` it is `fsync`. Scripts need
//! Redis 6 or later, or Valkey.
//!
//! Replication is asynchronous: a fail-over loses what the new master has not received. `min-replicas-to-write` (with
//! `min-replicas-max-lag`) bounds that; a server that has replicas without it is warned of at the start.
//!
//! # Layout
//!
//! - `engine`: the contract, over a link.
//! - `link`: one server, or a cluster.
//! - `script` and `scripts/`: the scripts, and calls of them.
//! - `reply`, `error`: what they answer.
//! - `address`: where Redis is, as errors tell it.
//! - `key`: keys and slots.
//! - `restarts`: notices another process.
//! - `setup`: what is asked of a server at the start.

mod address;
mod engine;
mod error;
mod key;
mod link;
mod reply;
mod restarts;
mod script;
mod setup;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_grains::GrainId;
use gristmill_grains::storage::{Commit, Durability, Fence, GrainStorage, Opened, StorageError};
use gristmill_redis::Source;
use redis::RedisResult;
use tokio::sync::watch;
use tokio::time;

use crate::size;
use address::Address;
use engine::Engine;
use link::{Cluster, Link, Server};

/// Options of [`RedisStorage`] and [`RedisClusterStorage`].
///
/// ```
/// use gristmill_storage::redis::RedisOptions;
/// let options = RedisOptions { prefix: "arena".into(), ..RedisOptions::default() };
/// ```
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Begins every key. Two storages on one Redis need different ones. Without `/`, and without `:` at its ends. Default
    /// `gm`.
    pub prefix: String,
    /// Connections to the server (a cluster has its own way). Default 2.
    pub connections: usize,
    /// How long an answer may take; then the outcome is unknown. Also the limit of each attempt to connect. Default 2 s.
    pub response_timeout: Duration,
    /// The most bytes of record bodies in one commit; above it, [`StorageError::TooLarge`]. Default 8 MiB.
    pub commit_limit: usize,
    /// What an acknowledged write survives, if you know better than the server tells, such as
    /// [`Durability::Replicated`]. It is your word: the storage does not wait for replicas.
    pub durability: Option<Durability>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: "gm".to_owned(),
            connections: 2,
            response_timeout: Duration::from_secs(2),
            commit_limit: size::DEFAULT_LIMIT,
            durability: None,
        }
    }
}

/// Grains in one Redis server. A cheap handle.
///
/// Connections come back by themselves. While the server is away, loading, read-only or out of memory, operations fail
/// with [`StorageError::Unavailable`]. Errors name the host and the port, never a user or a password. Each round trip is limited by the response timeout; an operation takes one, at
/// most three after the server forgot the scripts. A batch with more than 8 MiB of bodies takes one for each 8 MiB.
///
/// ```no_run
/// use gristmill_storage::{GrainStorage, RedisStorage};
/// # async fn example() -> Result<(), gristmill_grains::storage::StorageError> {
/// let storage = RedisStorage::connect("redis://127.0.0.1:6379").await?;
/// println!("an acknowledged write survives: {}", storage.durability());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStorage {
    engine: Arc<Engine<Server>>,
}

impl RedisStorage {
    /// Connects to the server at `url` with default options, and asks how it is set up. The URL is
    /// `redis://[user:password@]host[:port][/db]`, or for the master that Sentinels name
    /// `redis-sentinel://[user:password@]host[:port][,host[:port]..]/service[/db]`: then a fail-over is followed.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](StorageError::Misconfigured) if the server evicts, refuses the credentials or is a node of a
    /// cluster, or the prefix will not do; [`Unavailable`](StorageError::Unavailable) if it is not reached.
    pub async fn connect(url: impl Into<String>) -> Result<Self, StorageError> {
        Self::connect_with(url, RedisOptions::default()).await
    }

    /// As [`connect`](Self::connect), with these options.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: impl Into<String>, options: RedisOptions) -> Result<Self, StorageError> {
        let url = url.into();
        key::check_prefix(&options.prefix)?;
        Self::connect_source(Address::of_server(&url)?, Source::parse(&url), options).await
    }

    /// As [`connect_with`](Self::connect_with), to a server that is no process: a simulation's.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    #[cfg(feature = "model")]
    pub async fn connect_wired(
        wire: Arc<dyn gristmill_redis::model::Wire>,
        options: RedisOptions,
    ) -> Result<Self, StorageError> {
        key::check_prefix(&options.prefix)?;
        Self::connect_source(Address::of_server("redis://simulated")?, Source::wired(wire), options).await
    }

    async fn connect_source(
        address: Address,
        source: RedisResult<Source>,
        options: RedisOptions,
    ) -> Result<Self, StorageError> {
        let link = async {
            let link = connected(&options, Server::connect(source, &options)).await?;
            setup::check_standalone(&link).await?;
            Ok(link)
        };
        let link = link.await.map_err(|error| address.of_error(error))?;
        Ok(Self { engine: Arc::new(engine(link, address, options).await?) })
    }

    /// Is this a URL that [`connect`](Self::connect) takes? Connects to nothing.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](StorageError::Misconfigured) if it is not. The error does not repeat the URL, which may hold a
    /// password.
    ///
    /// ```
    /// use gristmill_storage::RedisStorage;
    /// assert!(RedisStorage::check_url("redis://127.0.0.1:6379").is_ok());
    /// assert!(RedisStorage::check_url("redis://").is_err());
    /// ```
    pub fn check_url(url: &str) -> Result<(), StorageError> {
        Address::of_server(url).map(drop)
    }
}

/// Grains in a Redis Cluster. A cheap handle.
///
/// As [`RedisStorage`]; each grain is in one slot. While the slot moves or its node is replaced, operations wait for it,
/// at most the response timeout; grains of other nodes are not affected, though a batch waits for its slowest commit.
///
/// ```no_run
/// use gristmill_storage::RedisClusterStorage;
/// # async fn example() -> Result<(), gristmill_grains::storage::StorageError> {
/// let storage = RedisClusterStorage::connect(["redis://10.0.0.1:6379", "redis://10.0.0.2:6379"]).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisClusterStorage {
    engine: Arc<Engine<Cluster>>,
}

impl RedisClusterStorage {
    /// Connects to a cluster through the nodes at `urls` (some of them suffice) with default options, and asks all its
    /// masters how they are set up.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](StorageError::Misconfigured) if a node evicts, refuses the credentials, there is no cluster, or
    /// the prefix will not do;
    /// [`Unavailable`](StorageError::Unavailable) if it is not reached.
    pub async fn connect<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> Result<Self, StorageError> {
        Self::connect_with(urls, RedisOptions::default()).await
    }

    /// As [`connect`](Self::connect), with these options.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn connect_with<U: Into<String>>(
        urls: impl IntoIterator<Item = U>,
        options: RedisOptions,
    ) -> Result<Self, StorageError> {
        let urls: Vec<String> = urls.into_iter().map(Into::into).collect();
        key::check_prefix(&options.prefix)?;
        let address = Address::of_cluster(&urls)?;
        let link = connected(&options, Cluster::connect(&urls, &options)).await;
        let link = link.map_err(|error| address.of_error(error))?;
        Ok(Self { engine: Arc::new(engine(link, address, options).await?) })
    }
}

/// Waits for a connection: as long as the client's few attempts may take.
async fn connected<L>(
    options: &RedisOptions,
    connect: impl Future<Output = RedisResult<L>>,
) -> Result<L, StorageError> {
    let limit = options.response_timeout * 4;
    match time::timeout(limit, connect).await {
        Ok(connected) => connected.map_err(|error| error::at_connect(&error)),
        Err(_) => Err(StorageError::unavailable(format_args!("no connection in {limit:?}"))),
    }
}

async fn engine<L: Link>(link: L, address: Address, options: RedisOptions) -> Result<Engine<L>, StorageError> {
    let set_up = async {
        setup::check_eviction(&link).await?;
        let durability = match options.durability {
            Some(declared) => declared,
            None => setup::durability(&link).await?,
        };
        setup::warn_of_fail_over(&link).await?;
        Ok((durability, setup::tells_process(&link).await?))
    };
    let (durability, probing) = set_up.await.map_err(|error| address.of_error(error))?;
    Ok(Engine::new(link, address, durability, probing, options))
}

macro_rules! delegate {
    ($storage:ident, in_parts: $in_parts:literal) => {
        #[async_trait]
        impl GrainStorage for $storage {
            fn durability(&self) -> Durability {
                self.engine.durability
            }

            async fn open(&self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
                self.engine.open(grain, fence).await
            }

            async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
                self.engine.commit(batch).await
            }

            async fn begin_run(&self, floor: u64) -> Result<u64, StorageError> {
                self.engine.begin_run(floor).await
            }

            async fn run(&self) -> Result<u64, StorageError> {
                self.engine.run().await
            }

            fn is_in_parts(&self) -> bool {
                $in_parts
            }

            fn restarts(&self) -> watch::Receiver<u64> {
                self.engine.restarts.subscribe()
            }
        }

        impl fmt::Debug for $storage {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($storage))
                    .field("address", &self.engine.address)
                    .field("durability", &self.engine.durability)
                    .finish_non_exhaustive()
            }
        }
    };
}

delegate!(RedisStorage, in_parts: false);
delegate!(RedisClusterStorage, in_parts: true);
