//! A connection that always comes back.
//!
//! The client's manager connects again after an I/O error, but not after a handshake that the server refused (a password
//! being changed, a server that is loading): it would answer with that refusal for ever. So it is replaced then.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, RedisResult};
use tokio::time::Instant;

/// How long a replaced manager is given before the next one: a refusing server is not asked more often.
const BACK_OFF: Duration = Duration::from_millis(250);

/// A manager, and what it takes to make another.
pub(super) struct Connection {
    client: Client,
    config: ConnectionManagerConfig,
    current: Mutex<Current>,
}

struct Current {
    manager: ConnectionManager,
    made: Made,
}

/// Names one of the managers that a connection had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Made {
    number: u64,
    at: Instant,
}

impl Connection {
    pub(super) async fn connect(client: Client, config: ConnectionManagerConfig) -> RedisResult<Self> {
        let manager = ConnectionManager::new_with_config(client.clone(), config.clone()).await?;
        let made = Made { number: 0, at: Instant::now() };
        Ok(Self { client, config, current: Mutex::new(Current { manager, made }) })
    }

    /// The manager to use now.
    pub(super) fn get(&self) -> (ConnectionManager, Made) {
        let current = self.current.lock();
        (current.manager.clone(), current.made)
    }

    /// The manager `made` failed as a whole. Unless it heals by itself, another takes its place, once for all who met the
    /// failure.
    pub(super) fn failed(&self, made: Made, error: &RedisError) {
        if error.is_io_error() || made.at.elapsed() < BACK_OFF {
            return;
        }
        let mut current = self.current.lock();
        if current.made != made {
            return;
        }
        // Connects when it is first used; all its users share that attempt.
        match ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone()) {
            Ok(manager) => {
                let made = Made { number: made.number + 1, at: Instant::now() };
                *current = Current { manager, made };
            }
            Err(error) => tracing::error!(%error, "no other connection to Redis can be made"),
        }
    }
}
