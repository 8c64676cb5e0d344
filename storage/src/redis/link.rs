//! How commands reach Redis: one server, or a cluster.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use gristmill_redis::{Connection, Source};
use redis::aio::{ConnectionLike, ConnectionManagerConfig};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{Cmd, Pipeline, RedisResult, Value};

use tokio::time;

use super::RedisOptions;
use super::key;

/// Sends commands, each on one key.
#[async_trait]
pub(super) trait Link: Send + Sync + 'static {
    /// Sends all at once; one answer for each, in their order, within `limit`.
    async fn send(&self, commands: Vec<Cmd>, limit: Duration) -> Vec<RedisResult<Value>>;

    /// Asks every process that takes writes.
    async fn ask_all(&self, command: Cmd) -> RedisResult<Vec<Value>>;

    /// Keys of one shard are served by one process.
    fn shard(&self, key: &str) -> u16;

    /// Does one process serve every key, so that a failure of it is everybody's?
    fn is_one_process(&self) -> bool;

    /// Must this command of a `send` ask which process serves it?
    fn probes(&self, index: usize) -> bool;
}

/// The client's own limits are per attempt; this one is for all attempts together.
async fn in_time<T>(limit: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let silence = |_| io::Error::new(ErrorKind::TimedOut, format!("no answer in {limit:?}"));
    time::timeout(limit, answer).await.map_err(silence)?
}

/// Sockets that give up on a peer that is gone without a word, instead of waiting for the system's quarter of an hour.
fn tcp(options: &RedisOptions) -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(options.response_timeout * 2);
    #[cfg(not(target_os = "linux"))]
    let _ = options;
    settings
}

/// One server, over a few connections that come back by themselves.
pub(super) struct Server {
    connections: Vec<Connection>,
    next: AtomicUsize,
}

impl Server {
    pub(super) async fn connect(source: RedisResult<Source>, options: &RedisOptions) -> RedisResult<Self> {
        let source = source?.tcp_settings(tcp(options));
        // A server that restarts is met within half a second.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(options.response_timeout))
            .set_response_timeout(Some(options.response_timeout))
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(500))
            .set_pipeline_buffer_size(1_024);
        let connect = || Connection::connect(source.clone(), config.clone());
        let connections = try_join_all((0..options.connections.max(1)).map(|_| connect())).await?;
        Ok(Self { connections, next: AtomicUsize::new(0) })
    }

    fn connection(&self) -> &Connection {
        &self.connections[self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len()]
    }
}

#[async_trait]
impl Link for Server {
    async fn send(&self, commands: Vec<Cmd>, limit: Duration) -> Vec<RedisResult<Value>> {
        let count = commands.len();
        let mut pipeline = Pipeline::with_capacity(count);
        for command in commands {
            pipeline.add_command(command);
        }
        // A failure of the connection is everybody's.
        let connection = self.connection();
        let (mut manager, made) = connection.get();
        match in_time(limit, pipeline.ignore_errors().query_async::<Vec<_>>(&mut manager)).await {
            Ok(answers) if answers.len() == count => {
                if let Some(Err(error)) = answers.first() {
                    connection.answered(made, error).await;
                }
                answers
            }
            Ok(_) => vec![Err(io::Error::from(ErrorKind::InvalidData).into()); count],
            Err(error) => {
                connection.failed(made, &error).await;
                vec![Err(error); count]
            }
        }
    }

    async fn ask_all(&self, command: Cmd) -> RedisResult<Vec<Value>> {
        let connection = self.connection();
        let (mut manager, made) = connection.get();
        match command.query_async(&mut manager).await {
            Ok(answer) => Ok(vec![answer]),
            Err(error) => {
                connection.failed(made, &error).await;
                Err(error)
            }
        }
    }

    fn shard(&self, _key: &str) -> u16 {
        0
    }

    fn is_one_process(&self) -> bool {
        true
    }

    /// One connection leads to one process, so the first answer speaks for all.
    fn probes(&self, index: usize) -> bool {
        index == 0
    }
}

/// A cluster; its client follows slots from node to node.
pub(super) struct Cluster(ClusterConnection);

impl Cluster {
    pub(super) async fn connect(urls: &[String], options: &RedisOptions) -> RedisResult<Self> {
        let client = ClusterClientBuilder::new(urls.iter().map(String::as_str))
            .connection_timeout(options.response_timeout)
            .response_timeout(options.response_timeout)
            .retries(3)
            .min_retry_wait(50)
            .max_retry_wait(500)
            .tcp_settings(tcp(options))
            .build()?;
        Ok(Self(client.get_async_connection().await?))
    }
}

#[async_trait]
impl Link for Cluster {
    /// Each has its own limit: a node that is away must not take the answers of the others with it.
    async fn send(&self, commands: Vec<Cmd>, limit: Duration) -> Vec<RedisResult<Value>> {
        let send = |command: Cmd| {
            let mut connection = self.0.clone();
            async move { in_time(limit, connection.req_packed_command(&command)).await.and_then(Value::extract_error) }
        };
        join_all(commands.into_iter().map(send)).await
    }

    async fn ask_all(&self, command: Cmd) -> RedisResult<Vec<Value>> {
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        match self.0.clone().route_command(command, all).await? {
            Value::Map(answers) => answers.into_iter().map(|(_, answer)| answer.extract_error()).collect(),
            answer => Ok(vec![answer]),
        }
    }

    fn shard(&self, key: &str) -> u16 {
        key::slot(key)
    }

    fn is_one_process(&self) -> bool {
        false
    }

    fn probes(&self, _index: usize) -> bool {
        true
    }
}
