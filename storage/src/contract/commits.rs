//! Commits: versions, atomicity, lost answers, batches.

use gristmill_grains::storage::{Fence, MAX_BATCH, MAX_COUNTER, RecordWrite};

use super::rig::{Rig, assert_conflict, assert_fenced, assert_invalid, clear, put, stored, tombstone};

/// Every case of this module.
pub async fn all(rig: &Rig) {
    versions_are_compared(rig).await;
    versions_may_jump_and_are_exact(rig).await;
    records_change_together(rig).await;
    records_change_together_or_not_at_all(rig).await;
    commit_without_records_is_refused(rig).await;
    resent_commit_is_recognised(rig).await;
    resent_commit_is_recognised_in_a_raised_epoch(rig).await;
    resent_commit_is_fenced_after_a_takeover(rig).await;
    stale_commit_is_refused(rig).await;
    refused_commit_may_be_followed_by_its_write_id(rig).await;
    corrected_commit_keeps_its_write_id(rig).await;
    batch_answers_one_by_one(rig).await;
    batches_of_every_size(rig).await;
}

/// A commit expects the stored version, and is told it when it does not.
pub async fn versions_are_compared(rig: &Rig) {
    let mut owner = rig.owner().await;
    assert_conflict(rig.commit(&owner.write([put("state", 1, "x")])).await, "state", 1, 0, "a missing record");
    rig.must_commit(&owner.write([put("state", 0, "a")])).await;
    rig.must_commit(&owner.write([put("state", 1, "b")])).await;
    for expect in [0, 1, 3] {
        let commit = owner.write([put("state", expect, "x")]);
        assert_conflict(rig.commit(&commit).await, "state", expect, 2, "another version");
    }
    assert_eq!(rig.read(&owner).await, [stored("state", 2, "b")], "refused commits change nothing");
}

/// A restored record's version may be more than one above, up to the limit of counters.
pub async fn versions_may_jump_and_are_exact(rig: &Rig) {
    let mut owner = rig.owner().await;
    let [high, higher] = [MAX_COUNTER - 2, MAX_COUNTER - 1];
    let jump = RecordWrite { version: high, ..put("state", 0, "a") };
    rig.must_commit(&owner.write([jump])).await;
    assert_eq!(rig.read(&owner).await, [stored("state", high, "a")]);
    assert_conflict(rig.commit(&owner.write([put("state", higher, "x")])).await, "state", higher, high, "one above");
    rig.must_commit(&owner.write([put("state", high, "b")])).await;
    assert_eq!(rig.read(&owner).await, [stored("state", higher, "b")]);
}

/// All records of a commit are stored, and read in the order of their names.
pub async fn records_change_together(rig: &Rig) {
    let mut owner = rig.owner().await;
    rig.must_commit(&owner.write([put("b", 0, "1"), put("a", 0, "2"), clear("c", 0)])).await;
    assert_eq!(rig.read(&owner).await, [stored("a", 1, "2"), stored("b", 1, "1"), tombstone("c", 1)]);
    rig.must_commit(&owner.write([put("c", 1, "3"), clear("b", 1)])).await;
    assert_eq!(rig.read(&owner).await, [stored("a", 1, "2"), tombstone("b", 2), stored("c", 2, "3")]);
}

/// One record with another version refuses the whole commit, wherever it stands in it.
pub async fn records_change_together_or_not_at_all(rig: &Rig) {
    let mut owner = rig.owner().await;
    rig.must_commit(&owner.write([put("a", 0, "1"), put("b", 0, "1")])).await;
    let wrong_last = owner.write([put("a", 1, "2"), clear("c", 0), put("b", 7, "2")]);
    assert_conflict(rig.commit(&wrong_last).await, "b", 7, 1, "the last record");
    let wrong_first = owner.write([put("b", 7, "2"), put("a", 1, "2"), put("c", 0, "2")]);
    assert_conflict(rig.commit(&wrong_first).await, "b", 7, 1, "the first record");
    let opened = rig.must_open(&owner.grain, owner.fence).await;
    assert_eq!(opened.records, [stored("a", 1, "1"), stored("b", 1, "1")], "nothing of them is stored");
    assert_eq!(opened.last_write.map(|(_, write)| write.0), Some(1), "nor is their write id");
}

/// A commit without records is refused, before and after others: as a straggler it would set the last write back.
pub async fn commit_without_records_is_refused(rig: &Rig) {
    let mut owner = rig.owner().await;
    let empty = owner.write([]);
    assert_invalid(rig.commit(&empty).await);
    let commit = owner.write([put("state", 0, "a")]);
    rig.must_commit(&commit).await;
    assert_invalid(rig.commit(&empty).await);
    let opened = rig.must_open(&owner.grain, owner.fence).await;
    assert_eq!(opened.last_write, Some((owner.fence.activation, commit.write)));
    let mut other = rig.owner().await;
    let answers = rig.storage().commit(&[empty, other.write([put("state", 0, "a")])]).await;
    let [refused, ok] = <[_; 2]>::try_from(answers).expect("an answer for each");
    assert_invalid(refused);
    assert_eq!(ok, Ok(()), "beside an invalid commit");
}

/// The last commit, sent again because its answer was lost, answers ok and changes nothing, although the versions it
/// expects are gone: it moved them itself.
pub async fn resent_commit_is_recognised(rig: &Rig) {
    let mut owner = rig.owner().await;
    rig.must_commit(&owner.write([put("a", 0, "1"), put("b", 0, "1")])).await;
    let commit = owner.write([put("a", 1, "2"), clear("b", 1)]);
    for _ in 0..3 {
        rig.must_commit(&commit).await;
        assert_eq!(rig.read(&owner).await, [stored("a", 2, "2"), tombstone("b", 2)]);
    }
    rig.must_commit(&owner.write([put("a", 2, "3")])).await;
}

/// An activation that raised its own epoch still recognises its last write: write ids are the activation's.
pub async fn resent_commit_is_recognised_in_a_raised_epoch(rig: &Rig) {
    let mut owner = rig.owner().await;
    let mut commit = owner.write([put("state", 0, "a")]);
    rig.must_commit(&commit).await;
    let raised = Fence { epoch: 8, ..owner.fence };
    rig.must_open(&owner.grain, raised).await;
    assert_fenced(rig.commit(&commit).await, Some(raised), "the commit under its old epoch");
    commit.fence = raised;
    rig.must_commit(&commit).await;
    owner.fence = raised;
    assert_eq!(rig.read(&owner).await, [stored("state", 1, "a")]);
}

/// After another activation opened, the old write id is not recognised: the fence comes first. The same number of the
/// new activation is another write.
pub async fn resent_commit_is_fenced_after_a_takeover(rig: &Rig) {
    let mut first = rig.owner().await;
    let commit = first.write([put("state", 0, "a")]);
    rig.must_commit(&commit).await;
    let mut second = rig.owner_of(first.grain.clone(), 2).await;
    assert_fenced(rig.commit(&commit).await, Some(second.fence), "a resend after a takeover");
    let same_number = second.write([put("state", 1, "b")]);
    assert_eq!(same_number.write, commit.write);
    rig.must_commit(&same_number).await;
    assert_eq!(rig.read(&second).await, [stored("state", 2, "b")]);
}

/// A commit that arrives after its successor is refused by its versions, and changes nothing.
pub async fn stale_commit_is_refused(rig: &Rig) {
    let mut owner = rig.owner().await;
    let stale = owner.write([put("state", 0, "a")]);
    rig.must_commit(&stale).await;
    rig.must_commit(&owner.write([put("state", 1, "b")])).await;
    assert_conflict(rig.commit(&stale).await, "state", 0, 1 + 1, "a straggler");
    assert_eq!(rig.read(&owner).await, [stored("state", 2, "b")]);
}

/// A refused commit is not the last write: its id is not taken for applied when it is sent again.
pub async fn refused_commit_may_be_followed_by_its_write_id(rig: &Rig) {
    let mut owner = rig.owner().await;
    let wrong = owner.write([put("state", 4, "x")]);
    for _ in 0..2 {
        assert_conflict(rig.commit(&wrong).await, "state", 4, 0, "refused each time");
    }
}

/// A refused commit may be corrected, and is then another commit under the same id: how the runtime restores what a store
/// has lost.
pub async fn corrected_commit_keeps_its_write_id(rig: &Rig) {
    let mut owner = rig.owner().await;
    rig.must_commit(&owner.write([put("kept", 0, "a")])).await;
    let wrong = owner.write([put("state", 4, "b"), put("kept", 1, "b")]);
    assert_conflict(rig.commit(&wrong).await, "state", 4, 0, "what the store has lost");
    let mut corrected = wrong.clone();
    corrected.records[0].expect = 0;
    for _ in 0..2 {
        rig.must_commit(&corrected).await;
        let opened = rig.must_open(&owner.grain, owner.fence).await;
        assert_eq!(opened.records, [stored("kept", 2, "b"), stored("state", 5, "b")]);
        assert_eq!(opened.last_write, Some((owner.fence.activation, wrong.write)));
    }
    rig.must_commit(&owner.write([put("state", 5, "c")])).await;
}

/// Commits of one batch are accepted or refused each by itself, and answered in order.
pub async fn batch_answers_one_by_one(rig: &Rig) {
    let [mut good, mut conflicting, mut fenced, mut last] =
        [rig.owner().await, rig.owner().await, rig.owner().await, rig.owner().await];
    let successor = rig.owner_of(fenced.grain.clone(), 2).await;
    let batch = [
        conflicting.write([put("state", 3, "x")]),
        good.write([put("state", 0, "a")]),
        fenced.write([put("state", 0, "x")]),
        last.write([put("state", 0, "b")]),
    ];
    let answers = rig.storage().commit(&batch).await;
    let [conflict, ok, fence, ok_too] = <[_; 4]>::try_from(answers).expect("an answer for each");
    assert_conflict(conflict, "state", 3, 0, "the first of the batch");
    assert_fenced(fence, Some(successor.fence), "the third of the batch");
    assert_eq!((ok, ok_too), (Ok(()), Ok(())));
    assert_eq!(rig.read(&good).await, [stored("state", 1, "a")]);
    assert_eq!(rig.read(&last).await, [stored("state", 1, "b")]);
    assert_eq!(rig.read(&conflicting).await, []);
    assert_eq!(rig.read(&successor).await, []);
}

/// From none to [`MAX_BATCH`] commits.
pub async fn batches_of_every_size(rig: &Rig) {
    assert_eq!(rig.storage().commit(&[]).await, [], "no commits, no answers");
    let mut owners = Vec::with_capacity(MAX_BATCH);
    for _ in 0..MAX_BATCH {
        owners.push(rig.owner().await);
    }
    let batch: Vec<_> = owners.iter_mut().map(|owner| owner.write([put("state", 0, "a")])).collect();
    assert_eq!(rig.storage().commit(&batch).await, vec![Ok(()); MAX_BATCH]);
    for owner in owners.iter().step_by(37) {
        assert_eq!(rig.read(owner).await, [stored("state", 1, "a")]);
    }
}
