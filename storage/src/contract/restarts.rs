//! Restarts of the serving process. Not part of [`all`](super::all): the test of an adapter has to provoke one.

use std::time::Duration;

use tokio::time;

use super::rig::{Rig, put};

/// How long the storage may take to answer definitely after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A restart is told no later than the first answer that it may have changed, and once. `provoke` restarts the serving
/// process, with its data or without.
pub async fn restart_is_told_before_an_answer(rig: &Rig, provoke: impl Future<Output = ()>) {
    let mut owner = rig.owner().await;
    rig.must_commit(&owner.write([put("state", 0, "a")])).await;
    let mut restarts = rig.storage().restarts();
    let before = *restarts.borrow_and_update();
    rig.must_open(&owner.grain, owner.fence).await;
    assert!(!restarts.has_changed().unwrap_or(false), "nothing has restarted yet");
    provoke.await;
    let commit = owner.write([put("state", 1, "b")]);
    let definite = async {
        while rig.commit(&commit).await.is_err_and(|error| !error.is_definite()) {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    time::timeout(PATIENCE, definite).await.expect("a definite answer after the restart");
    assert_eq!(*restarts.borrow_and_update(), before + 1, "told no later than the answer");
    rig.must_open(&owner.grain, owner.fence).await;
    assert_eq!(*restarts.borrow_and_update(), before + 1, "and once");
}
