//! Watches a storage for restarts, after which acknowledged writes may be gone.

use std::sync::Arc;
use std::time::Duration;

use gristmill_grains::chaos::{self, Bug};
use tokio::time::timeout;

use crate::core::Core;
use crate::events::SiloEvent;
use crate::pace::Pace;

/// How often a storage is asked who it is, though nothing is written.
const LOOK: Duration = Duration::from_secs(1);

/// The storages that are served as one, under several names.
pub(crate) fn groups(core: &Core) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let of = |number: usize| Arc::as_ptr(&core.storages[number].storage()).cast::<()>();
    for number in 0..core.storages.len() {
        match groups.iter_mut().find(|group| of(group[0]) == of(number)) {
            Some(group) => group.push(number),
            None => groups.push(vec![number]),
        }
    }
    groups
}

/// Has every live activation compare itself with the storage when its serving process changed. By all its names in one task:
/// the order is the same in every replay.
pub(crate) async fn run(core: Arc<Core>, storages: Vec<usize>) {
    let storage = core.storages[storages[0]].storage();
    let mut restarts = storage.restarts();
    loop {
        match timeout(LOOK, restarts.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return std::future::pending().await, // this storage never restarts
            Err(_) => {
                // A silo that writes nothing would not notice, and its memory is what can be restored.
                drop(storage.run().await); // the adapter looks who answers
                continue;
            }
        }
        if chaos::planted(Bug::RestartMissed) {
            continue;
        }
        for &number in &storages {
            let name = core.storages[number].name.clone();
            tracing::warn!(
                storage = name,
                "the storage was restarted: what it acknowledged last may be gone; comparing"
            );
            core.event(SiloEvent::StorageRestarted { storage: name });
            let mut pace = Pace::default();
            for activation in core.hosts().iter().flat_map(|host| host.stored_in(number)) {
                let Some(activation) = activation.upgrade() else { continue };
                activation.recheck(number);
                pace.step().await;
            }
        }
    }
}
