//! Watches a storage for restarts, after which acknowledged writes may be gone.

use std::sync::Arc;
use std::time::Duration;

use gristmill_grains::chaos::{self, Bug};
use tokio::time::timeout;

use crate::core::Core;
use crate::events::SiloEvent;
use crate::keeper;
use crate::pace::Pace;

/// How often a storage is asked who it is, though nothing is written.
const LOOK: Duration = Duration::from_secs(1);

/// Has every live activation compare itself with the storage when its serving process changed.
pub(crate) async fn run(core: Arc<Core>, storage: usize) {
    let mut restarts = core.storages[storage].storage().restarts();
    loop {
        match timeout(LOOK, restarts.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return std::future::pending().await, // this storage never restarts
            Err(_) => {
                // A silo that writes nothing would not notice, and its memory is what can be restored.
                if core.storages[storage].name != keeper::STORAGE {
                    drop(core.storages[storage].storage().run().await); // the adapter looks who answers
                }
                continue;
            }
        }
        if chaos::planted(Bug::RestartMissed) {
            continue;
        }
        let name = core.storages[storage].name.clone();
        tracing::warn!(storage = name, "the storage was restarted: what it acknowledged last may be gone; comparing");
        core.event(SiloEvent::StorageRestarted { storage: name });
        let mut pace = Pace::default();
        for activation in core.hosts().iter().flat_map(|host| host.stored_in(storage)) {
            let Some(activation) = activation.upgrade() else { continue };
            activation.recheck(storage);
            pace.step().await;
        }
    }
}
