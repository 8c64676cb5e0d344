//! Rows that the directory has lost are put back: an activation whose row is gone would otherwise serve beside its
//! successor until it next commits.

use std::sync::Arc;
use std::time::Duration;

use gristmill_cluster::Location;
use gristmill_grains::{GrainId, chaos};

use crate::core::Core;

/// Between two rounds over all activations of the silo.
const ROUND: Duration = Duration::from_secs(60);
/// Rows at a time.
const BATCH: usize = 256;
/// Between two batches: a round takes no more of the directory than some thousand rows a second.
const PAUSE: Duration = Duration::from_millis(50);

/// Checks every activation's row once a minute, and when the store of the membership is another process: the directory is
/// there, too, mostly.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(node) = core.node.clone() else { return std::future::pending().await };
    loop {
        drop(tokio::time::timeout(ROUND, node.store_changed.notified()).await);
        round(&core).await;
    }
}

/// Checks every activation's row. Those whose grain another one owns are lost.
pub(crate) async fn round(core: &Arc<Core>) {
    let Some(node) = &core.node else { return };
    for host in core.hosts() {
        let owned = host.owned();
        for batch in owned.chunks(BATCH) {
            if core.is_stopping() {
                return;
            }
            // What has ended since has given its row back.
            let owns = |(grain, row): &&(GrainId, Location)| host.location(grain.key()) == Some(*row);
            let rows: Vec<(GrainId, _)> = batch.iter().filter(owns).cloned().collect();
            match node.reassert(&rows).await {
                Ok(now) => {
                    for ((grain, row), now) in rows.iter().zip(now) {
                        if now.epoch != row.epoch || now.activation != row.activation {
                            chaos::reach("a row was not as its activation knew it");
                        }
                        if now.activation == row.activation && host.location(grain.key()) != Some(*row) {
                            // It ended while its row was being put back.
                            drop(node.release(grain, row.activation).await); // or the next who asks finds out
                        } else if now.activation != row.activation {
                            tracing::warn!(%grain, "another activation owns the grain; this one is lost");
                            host.lose(grain.key(), row.activation);
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "rows of the directory cannot be checked"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
