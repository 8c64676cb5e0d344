//! The state behind a reply is durable: what leaves a turn waits for its commit.

use gristmill::SiloEvent;
use gristmill::grains::storage::Fence;
use gristmill::grains::{ActivationId, StorageError};
use gristmill::prelude::*;
use gristmill::storage::memory::When;
use gristmill::storage::{GrainStorage, MemoryStorage};

use crate::support::{Do, Rig, assert_fault, ended, fault, note, others_run, soon};

fn try_write(key: &str, script: impl Into<Vec<Do>>) -> Do {
    Do::TryWrite(key.into(), script.into())
}

#[tokio::test(start_paused = true)]
async fn a_reply_waits_for_its_commit_and_reads_of_what_is_not_durable_wait_too() {
    let rig = Rig::start().await;
    rig.node("n").list().await.unwrap();
    rig.hold();
    let write = rig.write("n", [Do::Push(1)]);
    rig.held(1).await;
    let read = rig.read("n", []);
    let other = rig.node("other");
    others_run().await;
    assert!(!write.is_finished() && !read.is_finished());
    assert!(rig.stored("n").await.is_empty());
    rig.heal();
    assert_eq!(ended(write).await.unwrap(), [1]);
    assert_eq!(ended(read).await.unwrap(), [1]);
    assert_eq!(rig.stored("n").await, [1]);
    // Nothing waits where nothing changed.
    other.list().await.unwrap();
    rig.hold();
    soon(rig.node("n").read(vec![])).await.unwrap();
    soon(other.write(vec![])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_turns_share_few_commits_and_the_mailbox_does_not_wait() {
    let rig = Rig::start().await;
    rig.node("n").list().await.unwrap();
    let before = rig.storage.faults().counts().commits;
    rig.hold();
    let calls: Vec<_> = (0..500).map(|n| rig.write("n", [Do::Push(n)])).collect();
    rig.held(1).await;
    others_run().await;
    let waiting = rig.read("n", [note("ran on the new memory")]);
    rig.probe.saw("ran on the new memory").await;
    rig.heal();
    for call in calls {
        ended(call).await.unwrap();
    }
    assert_eq!(ended(waiting).await.unwrap().len(), 500);
    let commits = rig.storage.faults().counts().commits - before;
    assert_eq!(commits, 2, "the one in flight, and one for all turns behind it");
    assert_eq!(rig.stored("n").await.len(), 500);
}

#[tokio::test(start_paused = true)]
async fn commits_of_many_grains_share_batches() {
    let rig = Rig::start().await;
    let keys: Vec<_> = (0..200).map(|n| format!("n{n}")).collect();
    for key in &keys {
        rig.node(key).list().await.unwrap();
    }
    let before = rig.storage.faults().counts();
    let calls: Vec<_> = keys.iter().map(|key| rig.write(key, [Do::Push(1)])).collect();
    for call in calls {
        ended(call).await.unwrap();
    }
    let after = rig.storage.faults().counts();
    assert_eq!(after.commits - before.commits, 200);
    assert!(after.batches - before.batches <= 10, "{} batches", after.batches - before.batches);
}

#[tokio::test(start_paused = true)]
async fn a_hot_grain_is_never_refused_while_its_storage_keeps_up() {
    let rig = Rig::start().await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let node = rig.node("n");
        callers.spawn(async move {
            for n in 0..50 {
                node.write(vec![Do::Push(n)]).await.unwrap();
            }
        });
    }
    soon(callers.join_all()).await;
    assert_eq!(rig.stored("n").await.len(), 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_is_settled_by_sending_again_and_costs_nobody_the_reply() {
    // Not applied; and applied, its answer lost.
    for when in [When::Before, When::After] {
        let rig = Rig::start().await;
        rig.node("n").write(vec![Do::Push(1)]).await.unwrap();
        rig.storage.faults().fail_next(3, when);
        assert_eq!(soon(rig.node("n").write(vec![Do::Push(2)])).await.unwrap(), [1, 2]);
        assert_eq!(rig.silo.metrics().storages[0].retries, 3);
        assert_eq!(rig.node("n").write(vec![Do::Push(3)]).await.unwrap(), [1, 2, 3]);
        assert_eq!(rig.probe.count("n+"), 1, "the activation stays");
        assert_eq!(rig.stored("n").await, [1, 2, 3], "exactly once, or the version would not match");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_activation_is_lost_with_what_it_had_not_committed() {
    let mut rig = Rig::start().await;
    rig.node("n").write(vec![Do::Push(1)]).await.unwrap();
    let thief = Fence { epoch: 1 << 40, activation: ActivationId::from_u128(99) };
    rig.storage.open(&rig.node("n").id(), thief).await.unwrap();
    let first = rig.write("n", [Do::Push(2), Do::Send("m".into(), vec![note("never")])]);
    let second = rig.write("n", [Do::Push(3)]);
    for call in [first, second] {
        let fault = fault(ended(call).await);
        // Those that ran on what never was fail; those that had not begun go to the next activation.
        assert!(matches!(fault.cause(), Cause::Fenced | Cause::ActivationLost { .. }), "{fault}");
        assert!(fault.maybe_executed());
    }
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1], "what is stored");
    assert_eq!(rig.node("n").write(vec![Do::Push(4)]).await.unwrap(), [1, 4], "with an epoch above");
    assert!(!rig.probe.has("never"));
    assert_eq!(rig.silo.metrics().grain("node").unwrap().fenced, 1);
    let lost = async { while !matches!(rig.events.recv().await, Ok(SiloEvent::ActivationLost { .. })) {} };
    soon(lost).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_somebody_else_changed_costs_the_activation_and_not_the_record() {
    use gristmill::grains::storage::{Commit, RecordWrite, WriteId};
    let rig = Rig::start().await;
    rig.node("n").write(vec![Do::Push(1)]).await.unwrap();
    // An operator's tool, under the grain's own fence.
    let grain = rig.node("n").id();
    let refused = rig.storage.open(&grain, Fence { epoch: 0, activation: ActivationId::from_u128(9) }).await;
    let Err(StorageError::Fenced { seen: Some(fence) }) = refused else { panic!("{refused:?}") };
    let body = Some(bytes::Bytes::from_static(b"gristmill 1 json 0\n[7]"));
    let record = RecordWrite { name: "list".into(), expect: 1, version: 2, body };
    let commit = Commit { grain, fence, write: WriteId(77), records: vec![record] };
    rig.storage.commit(&[commit]).await.remove(0).unwrap();
    let fault = assert_fault!(rig.node("n").write(vec![Do::Push(2)]).await, Cause::Storage { .. }, true);
    assert!(fault.to_string().contains("version 2, expected 1"), "{fault}");
    assert_eq!(soon(rig.node("n").write(vec![Do::Push(8)])).await.unwrap(), [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_on_memory_that_was_lost_goes_on_mute() {
    let rig = Rig::start().await;
    rig.node("n").list().await.unwrap();
    rig.hold();
    let first = rig.write("n", [Do::Push(1)]);
    rig.held(1).await;
    let second = rig.write("n", [note("in"), crate::support::pass("go"), try_write("m", [note("never")]), note("out")]);
    rig.probe.saw("in").await;
    let unstarted = rig.write("n", [Do::Push(5)]);
    others_run().await;
    // The store is told of a later owner while the commit is on its way.
    let now = rig.storage.faults().snapshot();
    let copy = MemoryStorage::new();
    copy.faults().restore(&now);
    let thief = Fence { epoch: 1 << 40, activation: ActivationId::from_u128(99) };
    copy.open(&rig.node("n").id(), thief).await.unwrap();
    rig.storage.faults().restore(&copy.faults().snapshot());
    rig.heal();
    assert_fault!(ended(first).await, Cause::Fenced, true);
    assert_eq!(ended(unstarted).await.unwrap(), [5], "its successor does not wait for the turn");
    rig.probe.open("go");
    assert_fault!(ended(second).await, Cause::ActivationLost { .. }, true);
    assert!(rig.probe.has("out") && !rig.probe.has("never"));
    assert_eq!(rig.stored("n").await, [5]);
}

#[tokio::test(start_paused = true)]
async fn an_awaited_call_waits_for_the_commits_of_earlier_turns_only() {
    let rig = Rig::start().await;
    for key in ["n", "m"] {
        rig.node(key).list().await.unwrap();
    }
    rig.hold();
    let dirty = rig.write("n", [Do::Push(1), try_write("m", [note("of the dirty turn")]), note("end")]);
    rig.probe.saw("of the dirty turn").await;
    rig.held(1).await;
    let later = rig.write("n", [note("later"), try_write("m", [note("of a later turn")])]);
    rig.probe.saw("later").await;
    others_run().await;
    assert!(!rig.probe.has("of a later turn"), "it would show what is not durable");
    rig.heal();
    ended(dirty).await.unwrap();
    ended(later).await.unwrap();
    assert!(rig.probe.has("of a later turn"));
    assert_eq!(rig.silo.metrics().grain("node").unwrap().dirty_calls, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_in_mid_turn_stays_when_the_turn_does_not() {
    for end in [Do::Panic, Do::Abort] {
        let rig = Rig::start().await;
        let script = vec![Do::Push(1), Do::Commit, Do::Push(2), end];
        assert!(fault(rig.node("n").write(script).await).maybe_executed());
        assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1]);
        assert_eq!(rig.stored("n").await, [1]);
        assert_eq!(rig.probe.count("n+"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_awaited_call_of_a_dirty_turn_can_be_denied() {
    let rig = Rig::of(|options| options.dirty_calls = gristmill::grains::DirtyCalls::Deny).await;
    let script = vec![
        try_write("m", [note("clean")]),
        Do::Push(1),
        try_write("m", [note("dirty")]),
        Do::Send("m".into(), vec![note("sent")]),
        Do::Commit,
        try_write("m", [note("committed")]),
    ];
    soon(rig.node("n").write(script)).await.unwrap();
    assert!(rig.probe.has("clean") && !rig.probe.has("dirty") && rig.probe.has("committed"));
    let faults = rig.probe.faults();
    assert!(
        matches!(faults[..], [ref one] if *one.cause() == Cause::Uncommitted && !one.maybe_executed()),
        "{faults:?}"
    );
    rig.probe.saw("sent").await;
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_calls_somebody_who_waits_for_an_earlier_reply_of_its_grain_is_no_deadlock() {
    let rig = Rig::start().await;
    for key in ["a", "b"] {
        rig.node(key).list().await.unwrap();
    }
    rig.hold();
    let in_flight = rig.write("a", [Do::Push(0)]);
    rig.held(1).await;
    // The reply that `b` waits for is held behind a commit that waits for the one in flight.
    let b = rig.write("b", [Do::Write("a".into(), vec![Do::Push(1), note("replied")]), note("b ends")]);
    rig.probe.saw("replied").await;
    let a = rig.write("a", [Do::Push(2), note("a calls"), Do::Write("b".into(), vec![note("in b")])]);
    rig.probe.saw("a calls").await;
    others_run().await;
    rig.heal();
    for call in [in_flight, b, a] {
        ended(call).await.unwrap();
    }
    assert_eq!(rig.probe.lines()[2..], ["replied", "a calls", "b ends", "in b"]);
    assert_eq!(rig.stored("a").await, [0, 1, 2]);
}
