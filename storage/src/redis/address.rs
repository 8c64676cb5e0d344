//! Where Redis is, as errors tell it: never with a user or a password.

use std::fmt;

use gristmill_grains::storage::StorageError;
use gristmill_redis::Source;
use redis::{IntoConnectionInfo, RedisError};

use super::error;

/// `Redis at 10.0.0.1:6379`.
#[derive(Clone)]
pub(super) struct Address(String);

impl Address {
    pub(super) fn of_server(url: &str) -> Result<Self, StorageError> {
        let source = Source::parse(url).map_err(|error| not_a_url(&error))?;
        Ok(Self(format!("Redis at {}", source.place())))
    }

    /// The nodes that the cluster is found through.
    pub(super) fn of_cluster(urls: &[String]) -> Result<Self, StorageError> {
        let nodes = urls.iter().map(|url| place(url)).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            let detail = "no URL of a Redis Cluster's node was given".to_owned();
            return Err(StorageError::Misconfigured { detail });
        }
        Ok(Self(format!("Redis Cluster at {}", nodes.join(", "))))
    }

    /// The same error, naming this Redis. Fences, conflicts and sizes are about the grain, and stay as they are.
    pub(super) fn of_error(&self, error: StorageError) -> StorageError {
        let named = |detail: String| format!("{self}: {detail}");
        match error {
            StorageError::Unreadable { detail } => StorageError::Unreadable { detail: named(detail) },
            StorageError::Misconfigured { detail } => StorageError::Misconfigured { detail: named(detail) },
            StorageError::Unavailable { detail } => StorageError::Unavailable { detail: named(detail) },
            other => other,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `host:port`, or a socket's path. The URL is not part of the error, since it may hold a password.
fn place(url: &str) -> Result<String, StorageError> {
    match url.into_connection_info() {
        Ok(info) => Ok(info.addr().to_string()),
        Err(error) => Err(not_a_url(&error)),
    }
}

fn not_a_url(error: &RedisError) -> StorageError {
    let why = error::text(error);
    let detail = format!("not a Redis URL: {why}; write redis://[user:password@]host[:port][/db]");
    StorageError::Misconfigured { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "hush";

    #[test]
    fn it_is_the_host_and_the_port_and_nothing_else() {
        let shown = |url: &str| Address::of_server(url).unwrap().to_string();
        assert_eq!(shown("redis://me:hush@db.example:7000/3"), "Redis at db.example:7000");
        assert_eq!(shown("redis://:hush@10.0.0.1"), "Redis at 10.0.0.1:6379");
        let urls = ["redis://:hush@10.0.0.1:7000", "redis://:hush@10.0.0.2:7000"].map(str::to_owned);
        let cluster = Address::of_cluster(&urls).unwrap();
        assert_eq!(format!("{cluster:?}"), "Redis Cluster at 10.0.0.1:7000, 10.0.0.2:7000");
        let named = cluster.of_error(StorageError::unavailable("no answer"));
        let expected = "unavailable: Redis Cluster at 10.0.0.1:7000, 10.0.0.2:7000: no answer";
        assert_eq!(named.to_string(), expected);
        assert_eq!(cluster.of_error(StorageError::Fenced { seen: None }), StorageError::Fenced { seen: None });
    }

    #[test]
    fn a_wrong_url_is_told_without_its_password() {
        for url in [
            "",
            "hush",
            "redis://",
            "redis://me:hush@",
            "redis://me:hush@h:99999",
            "redis://me:hush@h/db",
            "redis://me:hu/sh:hush@h",
            "rediss://me:hush@h",
            "http://me:hush@h",
        ] {
            for answer in [Address::of_server(url), Address::of_cluster(&[url.to_owned()])] {
                let error = answer.unwrap_err();
                assert!(matches!(error, StorageError::Misconfigured { .. }), "{url}: {error}");
                let told = format!("{error} {error:?}");
                assert!(told.contains("redis://[user:password@]host") && !told.contains(SECRET), "{url}: {told}");
            }
        }
        assert!(matches!(Address::of_cluster(&[]), Err(StorageError::Misconfigured { .. })));
    }
}
