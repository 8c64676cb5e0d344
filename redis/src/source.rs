//! Which server: one at an address, or the one that Sentinels name.

use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult};

const SENTINEL: &str = "redis-sentinel://";
/// Where a Sentinel listens, unless told.
const SENTINEL_PORT: u16 = 26_379;

/// The server that a URL means.
#[derive(Clone, Debug)]
pub struct Source {
    /// The server; of one that Sentinels name, everything but the address.
    server: ConnectionInfo,
    sentinels: Option<Sentinels>,
    #[cfg(feature = "model")]
    wire: Option<std::sync::Arc<dyn crate::model::Wire>>,
}

/// How the server is reached now.
pub(crate) enum Way {
    Client(Client),
    #[cfg(feature = "model")]
    Wire(std::sync::Arc<dyn crate::model::Wire>),
}

#[derive(Clone, Debug)]
struct Sentinels {
    nodes: Vec<ConnectionInfo>,
    service: String,
}

impl Source {
    /// Reads `redis://[user:password@]host[:port][/db]`, or
    /// `redis-sentinel://[user:password@]host[:port][,host[:port]..]/service[/db]`, where the hosts are Sentinels, the
    /// service is the name that they know the servers by, and the password is the servers'.
    ///
    /// # Errors
    /// It is neither. The error does not repeat the URL, which may hold a password.
    pub fn parse(url: &str) -> RedisResult<Self> {
        let Some(rest) = url.strip_prefix(SENTINEL) else {
            return Ok(Self::of(url.into_connection_info()?, None));
        };
        let wrong = |why| RedisError::from((ErrorKind::InvalidClientConfig, "Redis URL did not parse", why));
        let (credentials, rest) = rest.rsplit_once('@').map_or(("", rest), |(before, after)| (before, after));
        let Some((hosts, path)) = rest.split_once('/').filter(|(hosts, path)| !hosts.is_empty() && !path.is_empty())
        else {
            return Err(wrong("it names no service: redis-sentinel://host,host/service".to_owned()));
        };
        let (service, db) = path.split_once('/').unwrap_or((path, ""));
        let node = |host: &str| {
            let port = !host.contains(':') || host.ends_with(']');
            let port = if port { format!(":{SENTINEL_PORT}") } else { String::new() };
            format!("redis://{host}{port}").into_connection_info()
        };
        let nodes = hosts.split(',').map(node).collect::<RedisResult<Vec<_>>>()?;
        let at = if credentials.is_empty() { "" } else { "@" };
        let server = format!("redis://{credentials}{at}127.0.0.1/{db}").into_connection_info()?;
        Ok(Self::of(server, Some(Sentinels { nodes, service: service.to_owned() })))
    }

    fn of(server: ConnectionInfo, sentinels: Option<Sentinels>) -> Self {
        Self {
            server,
            sentinels,
            #[cfg(feature = "model")]
            wire: None,
        }
    }

    /// A server that a wire leads to.
    #[cfg(feature = "model")]
    pub fn wired(wire: std::sync::Arc<dyn crate::model::Wire>) -> RedisResult<Self> {
        Ok(Self { wire: Some(wire), ..Self::parse("redis://simulated")? })
    }

    /// Where it is, for people: without a user or a password.
    pub fn place(&self) -> String {
        match &self.sentinels {
            None => self.server.addr().to_string(),
            Some(Sentinels { nodes, service }) => {
                let nodes: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
                format!("{service} (Sentinels at {})", nodes.join(", "))
            }
        }
    }

    /// How its sockets behave.
    #[must_use]
    pub fn tcp_settings(self, settings: TcpSettings) -> Self {
        Self { server: self.server.set_tcp_settings(settings), ..self }
    }

    /// May it be another server next time?
    pub(crate) fn may_move(&self) -> bool {
        self.sentinels.is_some()
    }

    /// The way to the server that it is now.
    pub(crate) async fn way(&self) -> RedisResult<Way> {
        #[cfg(feature = "model")]
        if let Some(wire) = &self.wire {
            return Ok(Way::Wire(wire.clone()));
        }
        self.client().await.map(Way::Client)
    }

    async fn client(&self) -> RedisResult<Client> {
        let Some(Sentinels { nodes, service }) = &self.sentinels else { return Client::open(self.server.clone()) };
        let node = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(self.server.redis_settings().clone())
            .set_tcp_settings(self.server.tcp_settings().clone());
        let master = SentinelServerType::Master;
        SentinelClient::build(nodes.clone(), service.clone(), Some(node), master)?.async_get_client().await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_sentinels_names_them_and_the_service() {
        let source = Source::parse("redis-sentinel://me:hush@10.0.0.1,10.0.0.2:5000/main/3").unwrap();
        assert_eq!(source.place(), "main (Sentinels at 10.0.0.1:26379, 10.0.0.2:5000)");
        assert_eq!(source.server.redis_settings().db(), 3);
        assert_eq!(source.server.redis_settings().password(), Some("hush"));
        assert!(source.may_move());
        let plain = Source::parse("redis://:hush@10.0.0.1").unwrap();
        assert_eq!((plain.place().as_str(), plain.may_move()), ("10.0.0.1:6379", false));
    }

    #[test]
    fn a_wrong_url_is_told_without_its_password() {
        for url in
            ["redis-sentinel://me:hush@", "redis-sentinel://me:hush@h", "redis-sentinel://me:hush@h/", "redis://"]
        {
            let error = Source::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"), "{url}: {error:?}");
        }
    }
}
