//! A silo ends in order, in bounded time, and leaves nothing behind.

use std::sync::{Arc, Weak};

use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use tokio::time::Instant;

use crate::support::{Do, Probe, Rig, assert_fault, ended, fault, halt, ms, note, others_run, soon, spawn, within};

fn draining(millis: u64) -> SiloOptions {
    SiloOptions { drain_timeout: ms(millis), ..SiloOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn begun_calls_are_answered_and_new_ones_refused() {
    let rig = Rig::start().await;
    let begun =
        rig.write("n", [halt("begun").as_slice(), &[Do::Write("m".into(), vec![Do::Push(2)]), Do::Push(1)]].concat());
    rig.probe.saw("begun").await;
    let (silo, nodes) = (rig.silo.clone(), [rig.node("n"), rig.node("fresh")]);
    let stop = spawn(async move { silo.stop().await });
    others_run().await;
    for node in &nodes {
        let fault = assert_fault!(node.list().await, Cause::SiloUnavailable { .. }, false);
        assert!(fault.to_string().contains("stopping"), "{fault}");
    }
    assert!(!stop.is_finished(), "it waits for the turn");
    rig.probe.open("begun");
    assert_eq!(ended(begun).await.unwrap(), [1], "also what the turn asked of others");
    assert_eq!(ended(stop).await.dropped, 0);
    assert_fault!(nodes[0].list().await, Cause::SiloUnavailable { .. }, false);
    assert_eq!(rig.stored("n").await, [1]);
    assert_eq!(rig.stored("m").await, [2]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_when_it_stops_end_and_soon() {
    let rig = Rig::start().await;
    let begun = rig.write("n", halt("begun"));
    rig.probe.saw("begun").await;
    let queued: Vec<_> = (0..5).map(|n| rig.write("n", [Do::Push(n)])).collect();
    others_run().await;
    let silo = rig.silo.clone();
    let stop = spawn(async move { silo.stop().await });
    others_run().await;
    rig.probe.open("begun");
    let before = Instant::now();
    ended(begun).await.unwrap();
    assert_eq!(ended(stop).await.dropped, 0);
    let mut answered = Vec::new();
    for (n, call) in (0..).zip(queued) {
        match ended(call).await {
            Ok(_) => answered.push(n),
            Err(error) => drop(assert_fault!(Err::<(), _>(error), Cause::SiloUnavailable { .. }, false)),
        }
    }
    assert!(before.elapsed() < ms(1_000), "{:?}", before.elapsed());
    assert_eq!(rig.stored("n").await, answered, "what ran is stored, what was refused did not run");
}

#[tokio::test(start_paused = true)]
async fn on_deactivate_runs_and_what_it_writes_is_stored() {
    let rig = Rig::start().await;
    for key in ["a", "b", "c"] {
        rig.probe.hook(&format!("{key}-"), [Do::Push(2)]);
        rig.node(key).write(vec![Do::Push(1)]).await.unwrap();
    }
    assert_eq!(soon(rig.silo.stop()).await.dropped, 0);
    for key in ["a", "b", "c"] {
        assert_eq!(rig.probe.count(&format!("{key}-")), 1);
        assert_eq!(rig.stored(key).await, [1, 2]);
    }
    assert_eq!(soon(rig.silo.stop()).await.dropped, 0, "a second stop returns at once");
}

#[tokio::test(start_paused = true)]
async fn a_grain_that_failed_to_activate_does_not_hold_the_stop_up() {
    let rig = Rig::start().await;
    rig.probe.hook("bad+", [Do::Fail("no".into())]);
    assert_fault!(rig.node("bad").list().await, Cause::ActivationFailed { .. }, false);
    let stopped = within(ms(1_000), rig.silo.stop()).await;
    assert_eq!(stopped.dropped, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_turn_is_cut_off_when_the_drain_timeout_is_over_and_its_caller_learns_it() {
    let rig = Rig::with(|silo| silo.options(draining(2_000))).await;
    let stuck = rig.write("n", [note("in"), Do::Hang]);
    rig.probe.saw("in").await;
    let queued = rig.write("n", []);
    others_run().await;
    let before = Instant::now();
    assert_eq!(soon(rig.silo.stop()).await.dropped, 1);
    assert!(before.elapsed() >= ms(2_000) && before.elapsed() < ms(2_200), "{:?}", before.elapsed());
    let fault = fault(within(ms(1_000), async { ended(stuck).await }).await);
    assert!(fault.maybe_executed(), "{fault}");
    assert_fault!(within(ms(1_000), async { ended(queued).await }).await, Cause::SiloUnavailable { .. }, false);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_hangs_does_not_hold_the_stop_up_beyond_the_drain_timeout() {
    let rig = Rig::with(|silo| silo.options(draining(2_000))).await;
    rig.node("n").list().await.unwrap();
    rig.hold();
    let gated = rig.write("n", [Do::Push(1)]);
    rig.held(1).await;
    let before = Instant::now();
    assert_eq!(soon(rig.silo.stop()).await.dropped, 1);
    assert!(before.elapsed() < ms(2_200), "{:?}", before.elapsed());
    let fault = fault(within(ms(1_000), async { ended(gated).await }).await);
    assert!(fault.maybe_executed(), "it is not known whether the write came about: {fault}");
}

/// Waits until the silo's service is gone: nothing of the silo is left.
async fn gone(service: Weak<Probe>) {
    let released = async {
        while service.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    for _ in 0..100 {
        if tokio::time::timeout(ms(100), async { others_run().await }).await.is_ok() && service.strong_count() == 0 {
            break;
        }
        tokio::time::advance(ms(100)).await;
    }
    within(ms(100), released).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_a_silo_that_stopped_or_was_dropped() {
    for (stop, stuck) in [(true, false), (false, false), (true, true), (false, true)] {
        let rig = Rig::with(|silo| silo.options(draining(1_000))).await;
        rig.node("n").write(vec![Do::Push(1), Do::SpawnWrite("m".into(), vec![])]).await.unwrap();
        rig.probe.saw("ok").await;
        let call = stuck.then(|| rig.write("n", [note("in"), Do::Hang]));
        if stuck {
            rig.probe.saw("in").await;
        }
        let Rig { silo, probe, .. } = rig;
        if stop {
            let _ = soon(silo.stop()).await;
        }
        drop(silo);
        if let Some(call) = call {
            fault(within(ms(5_000), async { ended(call).await }).await);
        }
        let service = Arc::downgrade(&probe);
        drop(probe);
        gone(service).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_silo_on_the_same_storage_supersedes_the_first() {
    let storage = MemoryStorage::new();
    let mut first = Rig::on(storage.clone(), |_| {}, |silo| silo).await;
    first.node("n").write(vec![Do::Push(1)]).await.unwrap();
    first.node("m").write(vec![Do::Push(1)]).await.unwrap();
    let second = Rig::on(storage, |_| {}, |silo| silo.seed(8)).await;
    assert_eq!(second.node("n").write(vec![Do::Push(2)]).await.unwrap(), [1, 2]);
    assert_fault!(first.node("n").write(vec![Do::Push(9)]).await, Cause::Fenced, true);
    let why = soon(first.silo.must_stop()).await;
    assert!(matches!(why.cause(), Cause::SiloUnavailable { .. }), "{why}");
    let superseded =
        async { while !matches!(first.events.recv().await, Ok(gristmill::SiloEvent::Superseded { .. })) {} };
    soon(superseded).await;
    // What it must not do meanwhile: take grains back from its successor.
    assert!(first.node("n").list().await.is_err(), "the first one does not serve it any more");
    assert_eq!(second.node("n").write(vec![Do::Push(3)]).await.unwrap(), [1, 2, 3]);
    let _ = soon(first.silo.stop()).await;
    assert_eq!(second.node("m").write(vec![Do::Push(2)]).await.unwrap(), [1, 2]);
}
