//! Programs that call grains, as simulated processes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gristmill_grains::sync::Mutex;

use super::silo::{PORT, machine};
use super::world::{HostId, World};
use crate::Client;

/// A program that runs on a client's host. [`Sim::result`](super::Sim::result) gives what it ends with.
#[derive(Debug)]
pub struct Task<T> {
    pub(super) outcome: Arc<Mutex<Option<T>>>,
}

impl<T> Task<T> {
    /// Has it ended?
    pub fn is_done(&self) -> bool {
        self.outcome.lock().is_some()
    }
}

/// Between two attempts to reach the cluster.
const AGAIN: Duration = Duration::from_millis(200);

/// The program of a client's process: it connects, for as long as it takes, and runs.
pub(super) async fn program<T, F>(
    world: Arc<World>,
    host: HostId,
    silos: Vec<String>,
    seed: u64,
    run: impl FnOnce(Client) -> F,
    outcome: Arc<Mutex<Option<T>>>,
) where
    F: Future<Output = T>,
{
    let client = loop {
        let mut builder = Client::builder().gateways(silos.iter().map(|name| format!("{name}:{PORT}")));
        builder.machine = machine(&world, host, seed);
        builder.seed = Some(seed);
        match builder.connect().await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    let done = run(client.clone()).await;
    *outcome.lock() = Some(done);
    client.stop().await;
}
