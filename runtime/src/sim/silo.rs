//! A silo as a simulated process.

use std::sync::Arc;

use gristmill_cluster::{RedisCluster, RedisClusterOptions};
use gristmill_grains::sync::Mutex;
use gristmill_storage::RedisStorage;
use gristmill_storage::redis::RedisOptions;
use tokio::sync::watch;

use super::entropy::SeededEntropy;
use super::net::SimNet;
use super::redis::{PATIENCE, SimWire};
use super::world::{HostId, World};
use crate::Silo;
use crate::builder::SiloBuilder;
use crate::clustering::machine::Machine;
use crate::clustering::options::ClusterOptions;

/// How a silo is described; the same for all.
pub(super) type Describe = Arc<dyn Fn(SiloBuilder) -> SiloBuilder + Send + Sync>;

/// What is known of a silo's process.
#[derive(Default)]
pub(super) enum Life {
    #[default]
    Starting,
    Running(Silo),
    /// It has ended by itself: why.
    Ended(String),
}

/// How the conductor and the process of a silo know of each other.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) life: Arc<Mutex<Life>>,
    pub(super) stop: watch::Sender<bool>,
}

impl Control {
    pub(super) fn new() -> Self {
        Self { life: Arc::default(), stop: watch::channel(false).0 }
    }

    pub(super) fn silo(&self) -> Option<Silo> {
        match &*self.life.lock() {
            Life::Running(silo) => Some(silo.clone()),
            _ => None,
        }
    }

    /// The process is gone: so is what was known of it.
    pub(super) fn forget(&self) {
        if let Some(silo) = self.silo() {
            silo.core().take_apart();
        }
        self.set(Life::Starting);
    }

    fn set(&self, life: Life) {
        let before = std::mem::replace(&mut *self.life.lock(), life);
        drop(before);
    }
}

/// The port that silos listen at.
pub(super) const PORT: u16 = 7_000;

/// What a host has of its machine.
pub(super) fn machine(world: &Arc<World>, host: HostId, seed: u64) -> Machine {
    Machine {
        net: Arc::new(SimNet { world: world.clone(), host }),
        entropy: Arc::new(SeededEntropy::new(seed)),
        control_thread: false,
    }
}

/// The program of a silo's process.
pub(super) async fn program(
    world: Arc<World>,
    host: HostId,
    name: String,
    seed: u64,
    describe: Describe,
    control: Control,
) {
    let ended = match start(&world, host, &name, seed, &describe).await {
        Err(error) => error,
        Ok(silo) => {
            control.set(Life::Running(silo.clone()));
            let mut stop = control.stop.subscribe();
            tokio::select! {
                biased;
                () = asked(&mut stop) => {
                    let dropped = silo.stop().await.dropped;
                    format!("it has left; {dropped} activations were dropped")
                }
                why = silo.must_stop() => {
                    // As a process that exits.
                    why.to_string()
                }
            }
        }
    };
    control.set(Life::Ended(ended));
}

/// Waits until the silo is told to leave.
async fn asked(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await); // or whoever could tell is gone
}

async fn start(world: &Arc<World>, host: HostId, name: &str, seed: u64, describe: &Describe) -> Result<Silo, String> {
    let wire = |control| Arc::new(SimWire { world: world.clone(), host, control });
    let options = RedisOptions { response_timeout: PATIENCE, ..RedisOptions::default() };
    let storage = RedisStorage::connect_wired(wire(false), options).await.map_err(|error| error.to_string())?;
    let options = RedisClusterOptions { shards: 16, response_timeout: PATIENCE, ..RedisClusterOptions::default() };
    let cluster = RedisCluster::connect_wired(wire(true), options).await.map_err(|error| error.to_string())?;
    let options = ClusterOptions {
        listen: format!("{name}:{PORT}"),
        name: Some(name.to_owned()),
        exit_when_dead: false,
        ..ClusterOptions::default()
    };
    let mut builder = describe(Silo::builder()).seed(seed).storage("default", storage).cluster(cluster, options);
    builder.machine = machine(world, host, seed);
    builder.start().await.map_err(|error| error.to_string())
}
