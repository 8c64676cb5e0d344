//! A storage that does not answer delays what must be durable, and nothing else.

use gristmill::prelude::*;
use gristmill::storage::memory::When;

use crate::support::{Do, Rig, assert_fault, ended, ms, note, others_run, soon};

#[tokio::test(start_paused = true)]
async fn an_activation_waits_out_a_short_outage() {
    let rig = Rig::start().await;
    rig.storage.faults().fail_all(When::Before);
    let call = rig.write("n", [Do::Push(1)]);
    tokio::time::sleep(ms(500)).await;
    assert!(!call.is_finished());
    rig.heal();
    assert_eq!(ended(call).await.unwrap(), [1]);
    // An open whose answer is lost has happened: the same activation opens again.
    rig.storage.faults().fail_next(2, When::After);
    assert_eq!(soon(rig.node("m").write(vec![Do::Push(1)])).await.unwrap(), [1]);
    assert_eq!((rig.probe.count("n+"), rig.probe.count("m+")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_activation_gives_up_on_a_long_one_and_says_which_storage() {
    let options = SiloOptions { activation_timeout: ms(2_000), ..SiloOptions::default() };
    let rig = Rig::with(|silo| silo.options(options)).await;
    rig.storage.faults().fail_all(When::Before);
    let fault = assert_fault!(rig.node("n").list().await, Cause::Storage { .. }, false);
    assert!(fault.to_string().contains("\"default\"") && fault.to_string().contains("injected"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn while_its_storage_is_down_a_grain_refuses_writes_and_serves_reads() {
    let rig = Rig::start().await;
    for key in ["n", "m"] {
        rig.node(key).write(vec![Do::Push(1)]).await.unwrap();
    }
    rig.storage.faults().fail_all(When::Before);
    let gated = rig.write("n", [Do::Push(2)]);
    tokio::time::sleep(ms(1_500)).await;
    assert!(!gated.is_finished(), "it waits, it does not fail");
    assert!(rig.silo.metrics().storages[0].down);
    let fault =
        assert_fault!(rig.node("m").write(vec![note("never"), Do::Push(2)]).await, Cause::Storage { .. }, false);
    assert!(fault.to_string().contains("default"), "{fault}");
    assert!(!rig.probe.has("never"), "refused before it ran");
    assert_eq!(rig.node("m").list().await.unwrap(), [1], "reads of what is durable go on");
    rig.heal();
    assert_eq!(ended(gated).await.unwrap(), [1, 2]);
    assert_eq!(soon(rig.node("m").write(vec![Do::Push(2)])).await.unwrap(), [1, 2]);
    assert_eq!(rig.probe.count("m+") + rig.probe.count("n+"), 2, "no activation was lost");
}

#[tokio::test(start_paused = true)]
async fn a_storage_found_down_by_activations_alone_is_up_again_for_all() {
    let rig = Rig::start().await;
    rig.node("n").write(vec![Do::Push(1)]).await.unwrap();
    rig.storage.faults().fail_all(When::Before);
    assert_fault!(soon(rig.node("cold").list().timeout(ms(3_000))).await, Cause::Timeout, false);
    assert!(rig.silo.metrics().storages[0].down);
    tokio::time::sleep(ms(60_000)).await; // nobody opens anything any more
    rig.heal();
    tokio::time::sleep(ms(2_000)).await;
    assert_eq!(rig.node("n").write(vec![Do::Push(2)]).await.unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_uncommitted_turns_are_enough() {
    let rig = Rig::of(|options| options.mailbox = 10_000).await;
    rig.node("n").list().await.unwrap();
    rig.hold();
    let calls: Vec<_> = (0..1_100).map(|n| rig.write("n", [Do::Push(n)])).collect();
    rig.held(1).await;
    others_run().await;
    rig.heal();
    let mut refused = 0;
    for call in calls {
        if let Err(error) = ended(call).await {
            assert_fault!(Err::<(), _>(error), Cause::Storage { .. }, false);
            refused += 1;
        }
    }
    assert_eq!(refused, 100);
    assert_eq!(soon(rig.node("n").write(vec![])).await.unwrap().len(), 1_000, "and then it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_never_answers_is_down_and_is_asked_again() {
    let rig = Rig::start().await;
    for key in ["n", "m"] {
        rig.node(key).write(vec![Do::Push(1)]).await.unwrap();
    }
    rig.hold();
    let gated = rig.write("n", [Do::Push(2)]);
    tokio::time::sleep(ms(1_500)).await;
    assert!(rig.silo.metrics().storages[0].down);
    assert_fault!(rig.node("m").write(vec![Do::Push(2)]).await, Cause::Storage { .. }, false);
    tokio::time::sleep(ms(15_000)).await;
    assert!(rig.silo.metrics().storages[0].retries > 0, "the first attempt is given up");
    rig.heal();
    assert_eq!(ended(gated).await.unwrap(), [1, 2]);
    assert_eq!(soon(rig.node("m").write(vec![Do::Push(2)])).await.unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_grain_is_not_ended_while_its_storage_is_away() {
    let rig = Rig::start().await;
    for key in ["n", "m"] {
        rig.node(key).write(vec![Do::Push(1)]).await.unwrap();
    }
    rig.storage.faults().fail_all(When::Before);
    let gated = rig.write("n", [Do::Push(2)]);
    tokio::time::sleep(ms(1_500)).await;
    rig.silo.collect_idle();
    others_run().await;
    assert_eq!(rig.node("m").list().timeout(ms(100)).await.unwrap(), [1]);
    assert_eq!(rig.probe.count("m-"), 0);
    rig.heal();
    ended(gated).await.unwrap();
    rig.silo.collect_idle();
    rig.probe.saw("m-").await;
}
