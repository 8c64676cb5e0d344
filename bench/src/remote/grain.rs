//! Grains that echo, and the two silos.

use bytes::Bytes;
use gristmill::cluster::{ClusterOptions, RedisCluster};
use gristmill::prelude::*;

use super::stage::Peer;
use crate::child;

#[grain_interface]
pub(crate) trait Echo {
    /// Gives the body back, and how many calls this grain has served.
    async fn echo(&mut self, body: Bytes) -> (u64, Bytes);
}

#[derive(Grain)]
#[grain(implements(Echo))]
struct EchoGrain {
    served: u64,
}

impl Echo for EchoGrain {
    async fn echo(&mut self, body: Bytes) -> (u64, Bytes) {
        self.served += 1;
        (self.served, body)
    }
}

impl Peer for EchoRef {
    const NAME: &'static str = "gristmill";

    async fn echo(&self, body: Bytes) -> (u64, Bytes) {
        Self::echo(self, body).await.expect("the grain answers")
    }
}

/// The silo that hosts the grains: a child's job.
pub(crate) async fn host(url: &str) -> Result<(), BoxError> {
    let cluster = RedisCluster::connect(url).await?;
    let silo = Silo::builder().cluster(cluster, ClusterOptions::default()).grain::<EchoGrain>().start().await?;
    child::say("ready")?;
    Err(silo.must_stop().await.into())
}

/// The silo that only calls.
pub(super) async fn caller(url: &str) -> Result<Silo, BoxError> {
    let cluster = RedisCluster::connect(url).await?;
    Ok(Silo::builder().cluster(cluster, ClusterOptions::default()).start().await?)
}
