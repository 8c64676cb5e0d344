//! Who may open a grain, and who may write it.

use super::rig::{Rig, assert_fenced, put, stored};
use gristmill_grains::storage::{Fence, MAX_COUNTER};

/// Every case of this module.
pub async fn all(rig: &Rig) {
    open_keeps_a_fence_without_a_record(rig).await;
    equal_fence_reopens(rig).await;
    larger_epoch_opens(rig).await;
    older_epoch_is_refused(rig).await;
    same_epoch_of_another_activation_is_refused(rig).await;
    refused_open_changes_nothing(rig).await;
    commit_without_a_fence_is_refused(rig).await;
    commit_of_a_larger_fence_is_refused(rig).await;
    commit_needs_both_parts_of_the_fence(rig).await;
    epochs_are_exact_up_to_the_limit(rig).await;
}

/// An open stores its fence even when there is no record, so that an earlier activation cannot write afterwards.
pub async fn open_keeps_a_fence_without_a_record(rig: &Rig) {
    let mut zombie = rig.owner().await;
    let delayed = zombie.write([put("state", 0, "zombie")]);
    let owner = rig.owner_of(zombie.grain.clone(), 2).await;
    assert_fenced(rig.commit(&delayed).await, Some(owner.fence), "a write from before the open");
    assert_eq!(rig.read(&owner).await, [], "and nothing is stored");
}

/// The activation that holds the fence may open again, and finds what it wrote.
pub async fn equal_fence_reopens(rig: &Rig) {
    let mut owner = rig.owner().await;
    let commit = owner.write([put("state", 0, "a")]);
    rig.must_commit(&commit).await;
    let opened = rig.must_open(&owner.grain, owner.fence).await;
    assert_eq!(opened.records, [stored("state", 1, "a")]);
    assert_eq!(opened.last_write, Some((owner.fence.activation, commit.write)), "the last write is told");
    rig.must_commit(&owner.write([put("state", 1, "b")])).await;
}

/// A larger epoch takes the grain over, with its records and the name of its last write.
pub async fn larger_epoch_opens(rig: &Rig) {
    let mut first = rig.owner().await;
    let commit = first.write([put("state", 0, "a")]);
    rig.must_commit(&commit).await;
    let second = rig.fence(7);
    let opened = rig.must_open(&first.grain, second).await;
    assert_eq!(opened.records, [stored("state", 1, "a")]);
    assert_eq!(opened.last_write, Some((first.fence.activation, commit.write)), "the last write outlives its writer");
    assert_fenced(rig.commit(&commit).await, Some(second), "an old write id under a new fence");
}

/// An older epoch may not open, and is told the fence.
pub async fn older_epoch_is_refused(rig: &Rig) {
    let owner = rig.owner_of(rig.grain(), 5).await;
    for epoch in [0, 1, 4] {
        let answer = rig.open(&owner.grain, rig.fence(epoch)).await;
        assert_fenced(answer, Some(owner.fence), "an open with an older epoch");
        let own_past = Fence { epoch, ..owner.fence };
        assert_fenced(rig.open(&owner.grain, own_past).await, Some(owner.fence), "also of the owner itself");
    }
}

/// Two activations may be given the same epoch by a directory that lost data: the second is refused.
pub async fn same_epoch_of_another_activation_is_refused(rig: &Rig) {
    let owner = rig.owner_of(rig.grain(), 5).await;
    assert_fenced(rig.open(&owner.grain, rig.fence(5)).await, Some(owner.fence), "an open with the same epoch");
}

/// After a refused open the owner goes on as before.
pub async fn refused_open_changes_nothing(rig: &Rig) {
    let mut owner = rig.owner_of(rig.grain(), 5).await;
    rig.must_commit(&owner.write([put("state", 0, "a")])).await;
    assert_fenced(rig.open(&owner.grain, rig.fence(5)).await, Some(owner.fence), "the intruder");
    rig.must_commit(&owner.write([put("state", 1, "b")])).await;
    assert_eq!(rig.read(&owner).await, [stored("state", 2, "b")]);
}

/// A grain that was never opened has no fence, and takes no commit.
pub async fn commit_without_a_fence_is_refused(rig: &Rig) {
    let mut stranger = rig.owner().await;
    stranger.grain = rig.grain();
    let commit = stranger.write([put("state", 0, "a")]);
    assert_fenced(rig.commit(&commit).await, None, "a commit without an open");
    let opened = rig.must_open(&stranger.grain, rig.fence(0)).await;
    assert_eq!((opened.records, opened.last_write), (vec![], None), "and leaves nothing, not even a fence");
}

/// Only an open raises the fence: a commit with a larger one is refused, and does not raise it.
pub async fn commit_of_a_larger_fence_is_refused(rig: &Rig) {
    let mut owner = rig.owner().await;
    let mut early = owner.clone();
    early.fence = rig.fence(9);
    let commit = early.write([put("state", 0, "early")]);
    assert_fenced(rig.commit(&commit).await, Some(owner.fence), "a commit with a larger fence");
    rig.must_commit(&owner.write([put("state", 0, "a")])).await;
}

/// A commit's fence must be the stored one in both parts.
pub async fn commit_needs_both_parts_of_the_fence(rig: &Rig) {
    let mut owner = rig.owner_of(rig.grain(), 5).await;
    let other_activation = rig.fence(5);
    let [newer, older] = [6, 4].map(|epoch| Fence { epoch, ..owner.fence });
    for fence in [other_activation, newer, older] {
        let mut wrong = owner.clone();
        wrong.fence = fence;
        let commit = wrong.write([put("state", 0, "wrong")]);
        assert_fenced(rig.commit(&commit).await, Some(owner.fence), "a commit whose fence is not equal");
    }
    rig.must_commit(&owner.write([put("state", 0, "a")])).await;
}

/// Neighbouring epochs just below the limit are told apart: a store that counts in floats must not round them.
pub async fn epochs_are_exact_up_to_the_limit(rig: &Rig) {
    let owner = rig.owner_of(rig.grain(), MAX_COUNTER - 2).await;
    assert_fenced(rig.open(&owner.grain, rig.fence(MAX_COUNTER - 3)).await, Some(owner.fence), "one below");
    let last = rig.fence(MAX_COUNTER - 1);
    rig.must_open(&owner.grain, last).await;
    assert_fenced(rig.open(&owner.grain, owner.fence).await, Some(last), "one above has opened");
}
