//! Every call ends: with its answer, or at its deadline; and no turn keeps a grain for ever.

use gristmill::SiloEvent;
use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use tokio::time::Instant;

use crate::support::{Do, Rig, assert_fault, ended, fault, halt, ms, note, others_run, pass, soon};

fn write(key: &str, script: impl Into<Vec<Do>>) -> Do {
    Do::Write(key.into(), script.into())
}

fn try_write(key: &str, script: impl Into<Vec<Do>>) -> Do {
    Do::TryWrite(key.into(), script.into())
}

/// Within 100 ms after.
#[track_caller]
fn assert_about(elapsed: std::time::Duration, millis: u64) {
    assert!(elapsed >= ms(millis) && elapsed <= ms(millis + 101), "{elapsed:?} must be about {millis} ms");
}

#[tokio::test(start_paused = true)]
async fn the_default_deadline_is_kept_to_a_tenth_of_a_second() {
    let rig = Rig::with(|silo| silo.call_timeout(ms(1_000))).await;
    let before = Instant::now();
    let running = rig.write("n", halt("in"));
    rig.probe.saw("in").await;
    let queued = rig.write("n", [note("never")]);
    let fault = assert_fault!(ended(running).await, Cause::Timeout, true);
    assert!(fault.to_string().contains("node/n.write"), "{fault}");
    assert_fault!(ended(queued).await, Cause::Timeout, false);
    assert_about(before.elapsed(), 1_000);
    rig.probe.open("in");
    soon(rig.node("n").write(vec![note("later")])).await.unwrap();
    assert!(!rig.probe.has("never"), "an expired call never runs");
}

#[tokio::test(start_paused = true)]
async fn a_stated_deadline_is_kept_to_the_millisecond() {
    let rig = Rig::start().await;
    let before = Instant::now();
    let running = rig.node("n").write(halt("in").to_vec()).timeout(ms(250)).await;
    assert_fault!(running, Cause::Timeout, true);
    assert!(before.elapsed() >= ms(250) && before.elapsed() <= ms(251), "{:?}", before.elapsed());
    let before = Instant::now();
    let queued = rig.node("n").write(vec![note("never")]).timeout(ms(7)).await;
    let fault = assert_fault!(queued, Cause::Timeout, false);
    assert!(fault.to_string().contains("queued"), "{fault}");
    assert!(before.elapsed() >= ms(7) && before.elapsed() <= ms(8), "{:?}", before.elapsed());
    rig.probe.open("in");
    assert!(soon(rig.node("n").write(vec![]).timeout(ms(5_000))).await.is_ok());
    assert!(!rig.probe.has("never"));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_leaves_no_harm_behind() {
    let rig = Rig::start().await;
    for _ in 0..3 {
        let late = rig.node("n").write(vec![Do::Sleep(ms(20)), Do::Push(1)]).timeout(ms(10)).await;
        assert_fault!(late, Cause::Timeout, true);
        soon(rig.node("n").list()).await.unwrap();
    }
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1, 1, 1], "the turns ended all the same");
    assert_eq!(rig.silo.metrics().grain("node").unwrap().activated, 1);
}

#[tokio::test(start_paused = true)]
async fn nested_calls_inherit_a_stated_deadline() {
    let rig = Rig::start().await;
    let script = vec![try_write("b", [write("c", [note("c"), Do::Hang])]), note("after"), try_write("d", [note("d")])];
    let before = Instant::now();
    let outcome = rig.node("a").write(script).timeout(ms(300)).await;
    assert_fault!(outcome, Cause::Timeout, true);
    rig.probe.saw("after").await;
    assert_about(before.elapsed(), 300);
    others_run().await;
    let faults = rig.probe.faults();
    assert!(!rig.probe.has("d"), "{:?}", rig.probe.lines());
    assert!(faults.iter().all(|fault| matches!(fault.cause(), Cause::Timeout)), "{faults:?}");
    assert_eq!(faults.len(), 3, "of c, of b, and of d, whose deadline has passed: {faults:?}");
    assert!(!faults[2].maybe_executed(), "{}", faults[2]);
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_may_be_in_more_of_a_hurry_and_a_send_is_in_none() {
    let rig = Rig::start().await;
    let hurried = Do::WriteWithin(ms(20), "b".into(), halt("b").to_vec());
    let send = Do::Send("c".into(), vec![Do::Sleep(ms(900)), write("d", [note("sent")])]);
    let before = Instant::now();
    soon(rig.node("a").write(vec![send, hurried]).timeout(ms(500))).await.unwrap();
    assert!(before.elapsed() <= ms(21), "{:?}", before.elapsed());
    assert!(matches!(rig.probe.faults()[..], [ref fault] if matches!(fault.cause(), Cause::Timeout)));
    rig.probe.saw("sent").await;
}

/// Nodes whose turns may take 5 s, and are reported after 2 s.
async fn limited(call_timeout: u64) -> Rig {
    let options = SiloOptions { stuck_after: ms(2_000), call_timeout: ms(call_timeout), ..SiloOptions::default() };
    let limit = |options: &mut gristmill::grains::GrainOptions| options.turn_limit = ms(5_000);
    Rig::on(MemoryStorage::new(), limit, |silo| silo.options(options)).await
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_never_ends_costs_its_activation_and_no_waiting_call() {
    let rig = limited(30_000).await;
    rig.node("n").write(vec![Do::Push(1)]).await.unwrap();
    let before = Instant::now();
    let stuck = rig.write("n", [Do::Push(2), note("in"), Do::Hang]);
    rig.probe.saw("in").await;
    let waiting: Vec<_> = (3..6).map(|n| rig.write("n", [Do::Push(n)])).collect();
    for call in waiting {
        ended(call).await.unwrap();
    }
    assert_about(before.elapsed(), 5_000);
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1, 3, 4, 5]);
    assert_fault!(ended(stuck).await, Cause::Timeout, true);
    assert_about(before.elapsed(), 30_000);
}

#[tokio::test(start_paused = true)]
async fn a_mute_turn_can_do_nothing_any_more() {
    let rig = limited(30_000).await;
    let mute = [
        Do::Push(1),
        note("in"),
        pass("go"),
        try_write("other", [note("never")]),
        Do::Send("other".into(), vec![note("never")]),
        note("still here"),
        Do::Commit,
    ];
    let stuck = rig.write("n", mute);
    rig.probe.saw("in").await;
    let waiting = rig.write("n", []);
    ended(waiting).await.unwrap();
    rig.probe.open("go");
    assert_fault!(ended(stuck).await, Cause::ActivationLost { .. }, true);
    assert!(rig.probe.has("still here"), "it is not cut before its time");
    let faults = rig.probe.faults();
    assert_eq!(faults.len(), 2, "of the call and of the commit: {faults:?}");
    assert!(faults.iter().all(|fault| matches!(fault.cause(), Cause::ActivationLost { .. })), "{faults:?}");
    others_run().await;
    assert!(!rig.probe.has("never"));
    assert!(rig.stored("n").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_mute_turn_is_dropped_five_seconds_after_its_deadline() {
    let rig = limited(3_000).await;
    let before = Instant::now();
    let stuck = rig.write("n", [Do::Guard("dropped".into()), note("in"), Do::Hang]);
    assert_fault!(ended(stuck).await, Cause::Timeout, true);
    rig.probe.saw("dropped").await;
    assert_about(before.elapsed(), 8_000);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_turn_is_reported_with_those_who_wait_for_it() {
    let mut rig = limited(30_000).await;
    let before = Instant::now();
    let stuck = rig.write("a", [write("b", [write("c", [note("in"), pass("go")])])]);
    rig.probe.saw("in").await;
    let mut chains = Vec::new();
    while chains.len() < 3 {
        if let SiloEvent::StuckTurn { chain, running_for } = soon(rig.events.recv()).await.unwrap() {
            assert_about(running_for, 2_000);
            chains.push(chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(" < "));
        }
    }
    assert_about(before.elapsed(), 2_000);
    chains.sort();
    assert_eq!(chains, ["node/a.write", "node/b.write < node/a.write", "node/c.write < node/b.write < node/a.write"]);
    rig.probe.open("go");
    ended(stuck).await.unwrap();
    tokio::time::sleep(ms(4_000)).await;
    assert!(rig.events.try_recv().is_err(), "each once");
}

#[tokio::test(start_paused = true)]
async fn an_answer_held_back_by_the_storage_ends_at_its_deadline_too() {
    let rig = Rig::with(|silo| silo.call_timeout(ms(1_000))).await;
    rig.node("n").list().await.unwrap();
    rig.hold();
    let before = Instant::now();
    let default = rig.write("n", [Do::Push(1)]);
    rig.held(1).await;
    let stated = rig.node("n").write(vec![Do::Push(2)]).timeout(ms(200)).await;
    assert!(fault(stated).maybe_executed());
    assert!(before.elapsed() <= ms(201), "{:?}", before.elapsed());
    assert_fault!(ended(default).await, Cause::Timeout, true);
    assert_about(before.elapsed(), 1_000);
    rig.heal();
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1, 2]);
}

#[grain_interface]
trait Blocker {
    async fn block(&mut self, millis: u64);
    async fn get(&self) -> u64;
}

#[derive(Grain)]
#[grain(implements(Blocker))]
struct BlockerGrain {}

impl Blocker for BlockerGrain {
    async fn block(&mut self, millis: u64) {
        #[expect(clippy::disallowed_methods, reason = "a turn that blocks its thread")]
        std::thread::sleep(ms(millis));
    }

    async fn get(&self) -> u64 {
        7
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_turn_that_blocks_its_thread_is_reported_and_passed_by() {
    let options = SiloOptions { stuck_after: ms(200), ..SiloOptions::default() };
    let builder = Silo::builder().options(options);
    let silo = builder.grain_with::<BlockerGrain>(|setup| setup.options.turn_limit = ms(600)).start().await.unwrap();
    let mut events = silo.events();
    let blocker: BlockerRef = silo.grain("b");
    let blocking = blocker.clone();
    let blocking = crate::support::spawn(async move { blocking.block(3_000).await });
    while !blocking.is_finished() && !silo.is_active(&blocker) {
        tokio::time::sleep(ms(1)).await;
    }
    tokio::time::sleep(ms(50)).await;
    assert_eq!(soon(blocker.get()).await.unwrap(), 7, "by its successor");
    let stuck = loop {
        if let gristmill::SiloEvent::StuckTurn { chain, .. } = soon(events.recv()).await.unwrap() {
            break chain;
        }
    };
    assert_eq!(stuck[0].to_string(), "blocker/b.block");
    assert!(!blocking.is_finished(), "it was passed by while it blocked");
    assert!(soon(blocking).await.unwrap().is_err());
}
