//! A panic is contained in its turn.

use gristmill::prelude::*;

use crate::support::{Do, Rig, assert_fault, ended, fault, ms, note, others_run, pass, soon};

#[tokio::test(start_paused = true)]
async fn a_panic_fails_its_call_and_the_next_one_activates_anew() {
    let rig = Rig::start().await;
    rig.node("n").write(vec![Do::Push(1)]).await.unwrap();
    // On the caller's task, and on a task of its own.
    for script in [vec![Do::Push(2), Do::Panic], vec![Do::Push(2), Do::Yield, Do::Panic]] {
        let fault = assert_fault!(rig.node("n").write(script).await, Cause::Panicked { .. }, true);
        assert!(fault.to_string().contains("as told"), "{fault}");
        assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1], "nothing of the turn is kept");
    }
    assert_fault!(rig.node("n").read(vec![Do::Panic]).await, Cause::Panicked { .. }, true);
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1]);
    assert_eq!(rig.probe.count("n+"), 4);
    assert_eq!(rig.silo.metrics().grain("node").unwrap().panics, 3);
    assert_eq!(rig.stored("n").await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_leaves_other_grains_and_its_own_queue_alone() {
    let rig = Rig::start().await;
    let other = rig.write("other", [Do::Push(7), note("other"), pass("end"), Do::Push(8)]);
    rig.probe.saw("other").await;
    let panicking = rig.write("n", [note("in"), pass("in"), Do::Panic]);
    rig.probe.saw("in").await;
    let queued: Vec<_> = (0..5).map(|n| rig.write("n", [Do::Push(n)])).collect();
    others_run().await;
    rig.probe.open("in");
    assert!(matches!(fault(ended(panicking).await).cause(), Cause::Panicked { .. }));
    for call in queued {
        ended(call).await.unwrap();
    }
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), [0, 1, 2, 3, 4]);
    rig.probe.open("end");
    assert_eq!(ended(other).await.unwrap(), [7, 8]);
    assert_eq!(rig.probe.count("other+"), 1);
}

#[tokio::test(start_paused = true)]
async fn replies_of_earlier_turns_still_come_when_their_commit_does() {
    let rig = Rig::start().await;
    rig.node("n").list().await.unwrap();
    rig.hold();
    let earlier = rig.write("n", [Do::Push(1)]);
    rig.held(1).await;
    let panicking = rig.write("n", [Do::Push(2), Do::Panic]);
    others_run().await;
    let later = rig.write("n", [Do::Push(3)]);
    others_run().await;
    assert!(!earlier.is_finished() && !later.is_finished(), "both wait for the store");
    rig.heal();
    assert_eq!(ended(earlier).await.unwrap(), [1]);
    assert_fault!(ended(panicking).await, Cause::Panicked { .. }, true);
    assert_eq!(ended(later).await.unwrap(), [1, 3], "the next activation has what was durable, and no more");
}

#[tokio::test(start_paused = true)]
async fn the_panic_of_one_read_lets_the_others_end_without_their_answers() {
    let rig = Rig::start().await;
    let beside = rig.read("n", [note("beside"), pass("beside"), note("beside ends")]);
    rig.probe.saw("beside").await;
    assert_fault!(rig.node("n").read(vec![Do::Panic]).await, Cause::Panicked { .. }, true);
    assert_eq!(soon(rig.node("n").write(vec![Do::Push(1)])).await.unwrap(), [1], "the successor does not wait");
    rig.probe.open("beside");
    assert_fault!(ended(beside).await, Cause::ActivationLost { .. }, true);
    assert!(rig.probe.has("beside ends"));
}

#[grain_interface]
trait Brittle {
    async fn make(&mut self) -> Shards;
    async fn well(&mut self) -> u64;
}

/// Panics when nobody takes it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Shards(bool);

impl Drop for Shards {
    fn drop(&mut self) {
        if self.0 {
            panic!("dropped");
        }
    }
}

#[derive(Grain)]
#[grain(implements(Brittle))]
struct BrittleGrain {}

impl Brittle for BrittleGrain {
    async fn make(&mut self) -> Shards {
        tokio::time::sleep(ms(500)).await;
        Shards(true)
    }

    async fn well(&mut self) -> u64 {
        1
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_panics_when_it_is_dropped_does_not_stop_the_mailbox() {
    let silo = Silo::builder().grain::<BrittleGrain>().start().await.unwrap();
    let brittle: BrittleRef = silo.grain("b");
    assert!(brittle.make().timeout(ms(100)).await.is_err());
    assert_eq!(soon(brittle.well().timeout(ms(2_000))).await.unwrap(), 1);
}
