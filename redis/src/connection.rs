//! A connection that always comes back.
//!
//! The client's manager connects again after an I/O error, but not after a handshake that the server refused (a password
//! being changed, a server that is loading): it would answer with that refusal for ever. Nor does it know of Sentinels. So it
//! is replaced then.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{RedisError, RedisResult};
use tokio::time::{Instant, timeout};

use crate::Source;
use crate::manager::Manager;
use crate::source::Way;

/// How long a replaced manager is given before the next one: a refusing server is not asked more often.
const BACK_OFF: Duration = Duration::from_millis(250);
/// How long the Sentinels have to say which server it is.
const SENTINELS: Duration = Duration::from_secs(2);

/// A manager, and what it takes to make another.
pub struct Connection {
    source: Source,
    config: ConnectionManagerConfig,
    current: Mutex<Current>,
    /// Held by who makes another one.
    replacing: tokio::sync::Mutex<()>,
}

struct Current {
    manager: Manager,
    made: Made,
}

/// Names one of the managers that a connection had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Made {
    number: u64,
    at: Instant,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the client says, after its few attempts.
    pub async fn connect(source: Source, config: ConnectionManagerConfig) -> RedisResult<Self> {
        let manager = match source.way().await? {
            Way::Client(client) => Manager::Socket(ConnectionManager::new_with_config(client, config.clone()).await?),
            #[cfg(feature = "model")]
            Way::Wire(wire) => Manager::Wire(wire),
        };
        let current = Mutex::new(Current { manager, made: Made { number: 0, at: Instant::now() } });
        Ok(Self { source, config, current, replacing: tokio::sync::Mutex::default() })
    }

    /// The manager to use now.
    pub fn get(&self) -> (Manager, Made) {
        let current = self.current.lock();
        (current.manager.clone(), current.made)
    }

    /// The manager `made` failed as a whole, or its server takes no writes. Unless that heals by itself, another takes its
    /// place, once for all who met the failure. Dropped, it has done nothing.
    pub async fn failed(&self, made: Made, error: &RedisError) {
        // A connection that has gone dark answers nothing, and the system would wait for a quarter of an hour.
        let heals = error.is_io_error() && !error.is_timeout() && !self.source.may_move();
        if heals || made.at.elapsed() < BACK_OFF {
            return;
        }
        let Ok(_alone) = self.replacing.try_lock() else { return };
        if self.current.lock().made != made {
            return;
        }
        let client = match timeout(SENTINELS, self.source.way()).await {
            Ok(Ok(Way::Client(client))) => client,
            #[cfg(feature = "model")]
            Ok(Ok(Way::Wire(_))) => return, // it heals
            Ok(Err(error)) => return tracing::warn!(%error, "which server is the master is not known"),
            Err(_) => return tracing::warn!("the Sentinels do not answer"),
        };
        // Connects when it is first used; all its users share that attempt.
        match ConnectionManager::new_lazy_with_config(client, self.config.clone()) {
            Ok(manager) => {
                let made = Made { number: made.number + 1, at: Instant::now() };
                *self.current.lock() = Current { manager: Manager::Socket(manager), made };
            }
            Err(error) => tracing::error!(%error, "no other connection to Redis can be made"),
        }
    }

    /// A server that was the master answered this; if it says that it is a replica now, another one is looked for.
    pub async fn answered(&self, made: Made, error: &RedisError) {
        let demoted = matches!(error.code(), Some("READONLY" | "MASTERDOWN")) || error.to_string().contains("READONLY");
        if demoted && self.source.may_move() {
            self.failed(made, error).await;
        }
    }
}
