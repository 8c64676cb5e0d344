//! Grains that say where they are, and the silos of the cluster.

use std::io;

use gristmill::cluster::{ClusterOptions, RedisCluster};
use gristmill::prelude::*;
use gristmill::storage::RedisStorage;
use tokio::signal::unix::{SignalKind, signal};

use crate::child;

#[grain_interface]
pub(crate) trait Place {
    /// Keeps a number, durably.
    async fn keep(&mut self, number: u64);
    /// The process it is active in, and the number it keeps.
    async fn place(&self) -> (u32, u64);
    /// Ends its activation soon.
    async fn rest(&self);
}

#[derive(Grain)]
#[grain(implements(Place))]
struct PlaceGrain {
    ctx: GrainContext<Self>,
    #[state(codec = "bincode")]
    kept: Persistent<u64>,
}

impl Place for PlaceGrain {
    async fn keep(&mut self, number: u64) {
        *self.kept = number;
    }

    async fn place(&self) -> (u32, u64) {
        (std::process::id(), *self.kept)
    }

    async fn rest(&self) {
        self.ctx.deactivate_on_idle();
    }
}

/// A silo that hosts grains and leaves in order at SIGTERM: a child's job.
pub(crate) async fn host(url: &str) -> Result<(), BoxError> {
    let mut told = signal(SignalKind::terminate())?;
    let silo = Silo::builder()
        .storage("default", RedisStorage::connect(url).await?)
        .cluster(RedisCluster::connect(url).await?, ClusterOptions::default())
        .grain::<PlaceGrain>()
        .start()
        .await?;
    child::say("ready")?;
    told.recv().await.ok_or_else(|| io::Error::other("no signal can come any more"))?;
    let stopped = silo.stop().await;
    Ok(child::say(&format!("dropped {}", stopped.dropped))?)
}

/// The silo that only calls.
pub(super) async fn caller(url: &str) -> Result<Silo, BoxError> {
    let options = ClusterOptions { exit_when_dead: false, ..ClusterOptions::default() };
    Ok(Silo::builder().cluster(RedisCluster::connect(url).await?, options).start().await?)
}
