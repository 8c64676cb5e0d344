//! Watches a storage for restarts, after which acknowledged writes may be gone.

use std::sync::Arc;

use crate::core::Core;
use crate::events::SiloEvent;
use crate::pace::Pace;

/// Has every live activation compare itself with the storage when its serving process changed.
pub(crate) async fn run(core: Arc<Core>, storage: usize) {
    let mut restarts = core.storages[storage].storage().restarts();
    loop {
        if restarts.changed().await.is_err() {
            return std::future::pending().await; // this storage never restarts
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
