//! Membership and directory on Redis: one server, or a Redis Cluster.
//!
//! Every step is one script on keys of one slot. All of a cluster's membership is in one slot; the directory is sharded by
//! the grain's hash.

mod directory;
mod membership;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use gristmill_redis::{Connection, Source};
use redis::aio::ConnectionManagerConfig;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{IntoConnectionInfo, RedisError, Script, ScriptInvocation, Value};

use crate::membership::MembershipError;

/// How a cluster is kept in Redis.
#[derive(Clone, Debug)]
pub struct RedisClusterOptions {
    /// Names the cluster: silos of other names do not see it. Letters, digits, `-`, `_` and `.`; default `gristmill`.
    pub cluster: String,
    /// Shards of the directory. The first silo's number is the cluster's for ever. Default 1,024.
    pub shards: u64,
    /// How long an answer may take; what took longer may have been done. Default 2 s.
    pub response_timeout: Duration,
}

impl Default for RedisClusterOptions {
    fn default() -> Self {
        Self { cluster: "gristmill".to_owned(), shards: 1_024, response_timeout: Duration::from_secs(2) }
    }
}

/// A cluster's membership and directory on Redis. Clones share its connection, which comes back by itself.
#[derive(Clone)]
pub struct RedisCluster {
    link: Link,
    /// Where, for errors; without a password.
    place: Arc<str>,
    options: Arc<RedisClusterOptions>,
    urls: Arc<Urls>,
}

/// What it was connected with; may hold a password.
enum Urls {
    Server(String),
    Cluster(Vec<String>),
    #[cfg(feature = "model")]
    Wire(Arc<dyn gristmill_redis::model::Wire>),
}

#[derive(Clone)]
enum Link {
    Server(Arc<Connection>),
    Cluster(ClusterConnection),
}

impl RedisCluster {
    /// Connects to one server: `redis://[user:password@]host[:port][/db]`; or to the master that Sentinels name, and follows
    /// it: `redis-sentinel://[user:password@]host[:port][,host[:port]..]/service[/db]`.
    ///
    /// # Errors
    /// The URL is none, or no server answers there.
    pub async fn connect(url: &str) -> Result<Self, MembershipError> {
        Self::connect_with(url, RedisClusterOptions::default()).await
    }

    /// [`connect`](Self::connect), with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and an option that cannot be.
    pub async fn connect_with(url: &str, options: RedisClusterOptions) -> Result<Self, MembershipError> {
        check(&options)?;
        let source = Source::parse(url).map_err(|error| wrong_url(&error))?.tcp_settings(tcp(&options));
        Self::connect_source(source, options, Urls::Server(url.to_owned())).await
    }

    /// Connects to a server that is no process: a simulation's.
    ///
    /// # Errors
    /// As [`connect_with`](Self::connect_with).
    #[cfg(feature = "model")]
    pub async fn connect_wired(
        wire: Arc<dyn gristmill_redis::model::Wire>,
        options: RedisClusterOptions,
    ) -> Result<Self, MembershipError> {
        check(&options)?;
        let source = Source::wired(wire.clone()).map_err(|error| wrong_url(&error))?;
        Self::connect_source(source, options, Urls::Wire(wire)).await
    }

    async fn connect_source(source: Source, options: RedisClusterOptions, urls: Urls) -> Result<Self, MembershipError> {
        let place = format!("Redis at {}", source.place());
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(options.response_timeout))
            .set_connection_timeout(Some(options.response_timeout))
            .set_number_of_retries(1);
        let unavailable = |error: RedisError| MembershipError::Unavailable(format!("{place}: {error}"));
        let server = Connection::connect(source, config).await.map_err(unavailable)?;
        Ok(Self {
            link: Link::Server(Arc::new(server)),
            place: place.into(),
            options: Arc::new(options),
            urls: Arc::new(urls),
        })
    }

    /// Connects to a Redis Cluster, found through some of its nodes.
    ///
    /// # Errors
    /// As [`connect_with`](Self::connect_with).
    pub async fn connect_cluster(urls: &[String], options: RedisClusterOptions) -> Result<Self, MembershipError> {
        check(&options)?;
        let nodes: Result<Vec<_>, _> = urls.iter().map(|url| url.as_str().into_connection_info()).collect();
        let nodes = nodes.map_err(|error| wrong_url(&error))?;
        let addresses: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
        let place = format!("Redis Cluster at {}", addresses.join(", "));
        let unavailable = |error: RedisError| MembershipError::Unavailable(format!("{place}: {error}"));
        let builder = ClusterClientBuilder::new(nodes)
            .response_timeout(options.response_timeout)
            .connection_timeout(options.response_timeout)
            .tcp_settings(tcp(&options));
        let client = builder.build().map_err(unavailable)?;
        let connection = client.get_async_connection().await.map_err(unavailable)?;
        Ok(Self {
            link: Link::Cluster(connection),
            place: place.into(),
            options: Arc::new(options),
            urls: Arc::new(Urls::Cluster(urls.to_vec())),
        })
    }

    /// Runs a script. Known to the server by its hash; it is sent again, whole, only where it was refused as unknown.
    async fn invoke(&self, invocation: &ScriptInvocation<'_>) -> Result<Value, String> {
        let limit = self.options.response_timeout * 2;
        let answer = async {
            match &self.link {
                Link::Server(server) => {
                    let (mut manager, made) = server.get();
                    let answer = invocation.invoke_async(&mut manager).await;
                    if let Err(error) = &answer {
                        server.failed(made, error).await;
                    }
                    answer
                }
                Link::Cluster(cluster) => invocation.invoke_async(&mut cluster.clone()).await,
            }
        };
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(format!("{}: {error}", self.place)),
            Err(_) => Err(format!("{}: no answer within {limit:?}", self.place)),
        }
    }
}

/// Sockets that give up on a peer that is gone without a word, instead of waiting for the system's quarter of an hour.
fn tcp(options: &RedisClusterOptions) -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(options.response_timeout * 2);
    #[cfg(not(target_os = "linux"))]
    let _ = options;
    settings
}

fn wrong_url(error: &RedisError) -> MembershipError {
    let why = error.detail().unwrap_or("it cannot be read");
    MembershipError::Unavailable(format!("not a Redis URL ({why}); write redis://[user:password@]host[:port][/db]"))
}

fn check(options: &RedisClusterOptions) -> Result<(), MembershipError> {
    let named = !options.cluster.is_empty()
        && options.cluster.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    match (named, options.shards) {
        (false, _) => Err(MembershipError::Unavailable(format!(
            "{:?} cannot name a cluster: use letters, digits, '-', '_' and '.'",
            options.cluster
        ))),
        (_, 0) => Err(MembershipError::Unavailable("a directory needs at least one shard".to_owned())),
        _ => Ok(()),
    }
}

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(include_str!("scripts/head.lua"), include_str!(concat!("scripts/", $file))))
        })
    };
}

static READ: LazyLock<Script> = script!("read.lua");
static JOIN: LazyLock<Script> = script!("join.lua");
static BEAT: LazyLock<Script> = script!("beat.lua");
static ADVANCE: LazyLock<Script> = script!("advance.lua");
/// With a planted bug: backwards, too.
static ADVANCE_ANY: LazyLock<Script> = LazyLock::new(|| {
    let text = concat!(include_str!("scripts/head.lua"), include_str!("scripts/advance.lua"));
    Script::new(&text.replace("known.status < status", "known.status ~= status"))
});
static SUSPECT: LazyLock<Script> = script!("suspect.lua");
static RESTORE: LazyLock<Script> = script!("restore.lua");
static PRUNE: LazyLock<Script> = script!("prune.lua");
static DIRECTORY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/directory.lua")));

/// The texts in a script's answer.
fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
