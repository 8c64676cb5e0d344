//! What a server must be set to, and what its acknowledgement is worth.

use gristmill_grains::storage::{Durability, StorageError};
use redis::{FromRedisValue, RedisResult, Value};

use super::error;
use super::link::Link;

/// Refuses servers that may drop grains by themselves.
pub(super) async fn check_eviction(link: &impl Link) -> Result<(), StorageError> {
    // INFO, since CONFIG is closed on managed servers.
    for info in info(link, "memory").await? {
        match field(&info, "maxmemory_policy") {
            Some("noeviction") => {}
            Some(policy) => {
                let detail = format!("it evicts grains (maxmemory-policy {policy}): set maxmemory-policy noeviction");
                return Err(StorageError::Misconfigured { detail });
            }
            None => tracing::warn!("Redis does not tell its maxmemory-policy: make sure that it is noeviction"),
        }
    }
    Ok(())
}

/// Refuses a node of a cluster where one server is meant: it would answer for its own slots only.
pub(super) async fn check_standalone(link: &impl Link) -> Result<(), StorageError> {
    if info(link, "cluster").await?.iter().any(|info| field(info, "cluster_enabled") == Some("1")) {
        let detail = "it is a node of a cluster: use RedisClusterStorage".to_owned();
        return Err(StorageError::Misconfigured { detail });
    }
    Ok(())
}

/// Warns of a fail-over that would lose acknowledged writes, for each server that has replicas and waits for none.
pub(super) async fn warn_of_fail_over(link: &impl Link) -> Result<(), StorageError> {
    for info in info(link, "replication").await? {
        if let Some(replicas) = unneeded_replicas(&info) {
            tracing::warn!(
                replicas,
                "a Redis server with replicas takes writes that none of them has got: a fail-over may lose acknowledged \
                 writes; set min-replicas-to-write 1 (and min-replicas-max-lag) to lose fewer"
            );
        }
    }
    Ok(())
}

/// How many replicas a server has, none of which it needs to take writes.
fn unneeded_replicas(replication: &str) -> Option<u32> {
    let replicas = field(replication, "connected_slaves")?.parse().ok()?;
    // Told only where min-replicas-to-write is set; asked for here, since CONFIG is closed on managed servers.
    let needed = field(replication, "min_slaves_good_slaves").is_some();
    (replicas > 0 && !needed).then_some(replicas)
}

/// Do the servers tell which process they are? Without it, only a server that refused writes for a while is noticed.
pub(super) async fn tells_process(link: &impl Link) -> Result<bool, StorageError> {
    let told = info(link, "server").await?.iter().all(|info| field(info, "run_id").is_some_and(|id| !id.is_empty()));
    if !told {
        tracing::warn!("Redis does not tell its run_id: writes that it loses in a restart are not noticed");
    }
    Ok(told)
}

/// What an acknowledged write survives: the least of all nodes.
pub(super) async fn durability(link: &impl Link) -> Result<Durability, StorageError> {
    let persistence = info(link, "persistence").await?;
    if !persistence.iter().all(|info| field(info, "aof_enabled") == Some("1")) {
        return Ok(Durability::Memory);
    }
    let appendfsync = link.ask_all(redis::cmd("CONFIG").arg("GET").arg("appendfsync").to_owned()).await;
    // Where CONFIG is closed, not more is claimed than an append-only file gives in any case.
    let always =
        appendfsync.is_ok_and(|nodes| nodes.into_iter().all(|node| policy(node).is_ok_and(|it| it == "always")));
    Ok(if always { Durability::Fsync } else { Durability::Os })
}

fn policy(answer: Value) -> RedisResult<String> {
    let (_name, policy) = <(String, String)>::from_redis_value(answer)?;
    Ok(policy)
}

async fn info(link: &impl Link, section: &str) -> Result<Vec<String>, StorageError> {
    let answers = link.ask_all(redis::cmd("INFO").arg(section).to_owned()).await;
    let texts = answers.and_then(|answers| {
        let text = |answer| Ok(String::from_redis_value(answer)?);
        answers.into_iter().map(text).collect()
    });
    texts.map_err(|error| error::at_connect(&error))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    info.lines().find_map(value).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_are_not_waited_for_are_warned_of() {
        assert_eq!(unneeded_replicas("# Replication\r\nrole:master\r\nconnected_slaves:2\r\n"), Some(2));
        assert_eq!(unneeded_replicas("role:master\r\nconnected_slaves:0\r\n"), None);
        assert_eq!(unneeded_replicas("connected_slaves:2\r\nmin_slaves_good_slaves:2\r\n"), None);
        assert_eq!(unneeded_replicas(""), None);
    }
}
