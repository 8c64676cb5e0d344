//! A call that would wait for itself fails at once, unexecuted, and shows the chain; nothing else does.

use std::sync::Arc;

use gristmill::prelude::*;

use crate::support::{Do, PATIENCE, Rig, ended, ms, note, others_run, pass, soon};

fn write(key: &str, script: impl Into<Vec<Do>>) -> Do {
    Do::Write(key.into(), script.into())
}

fn try_write(key: &str, script: impl Into<Vec<Do>>) -> Do {
    Do::TryWrite(key.into(), script.into())
}

/// The chain of the only deadlock there was.
#[track_caller]
fn the_chain(rig: &Rig) -> Vec<String> {
    let faults = rig.probe.faults();
    let chains: Vec<_> = faults
        .iter()
        .filter_map(|fault| match fault.cause() {
            Cause::Deadlock { chain } => Some((fault, chain)),
            _ => None,
        })
        .collect();
    let [(fault, chain)] = chains[..] else { panic!("must be one deadlock: {faults:?}") };
    assert!(!fault.maybe_executed(), "{fault}");
    chain.iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_to_itself_fails_at_once_and_the_turn_goes_on() {
    let rig = Rig::start().await;
    let before = tokio::time::Instant::now();
    let outcome = rig.node("a").write(vec![try_write("a", [note("never")]), Do::Push(1)]).await;
    assert_eq!(outcome.unwrap(), [1]);
    assert_eq!(before.elapsed(), ms(0));
    assert_eq!(the_chain(&rig), ["node/a.write", "node/a.write"]);
    others_run().await;
    assert!(!rig.probe.has("never"));
    assert_eq!(rig.silo.metrics().grain("node").unwrap().deadlocks, 1);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_comes_back_fails_and_names_every_step() {
    for turns in [vec![], vec![Do::Yield]] {
        let rig = Rig::start().await;
        let step = |inner: Do| [turns.clone(), vec![inner]].concat();
        let script = step(write("b", step(write("c", step(write("d", step(try_write("a", [note("never")]))))))));
        soon(rig.node("a").write(script)).await.unwrap();
        let expected = ["node/a.write", "node/b.write", "node/c.write", "node/d.write", "node/a.write"];
        assert_eq!(the_chain(&rig), expected);
        assert!(!rig.probe.has("never"));
        assert_eq!(soon(rig.node("a").write(vec![Do::Push(1)])).await.unwrap(), [1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_comes_back_to_a_write_and_the_reverse_are_cycles() {
    let rig = Rig::start().await;
    soon(rig.node("a").write(vec![write("b", [Do::TryRead("a".into(), vec![note("never")])])])).await.unwrap();
    assert_eq!(the_chain(&rig), ["node/a.write", "node/b.write", "node/a.read"]);
    let rig = Rig::start().await;
    soon(rig.node("a").read(vec![write("b", [try_write("a", [note("never")])])])).await.unwrap();
    assert_eq!(the_chain(&rig), ["node/a.read", "node/b.write", "node/a.write"]);
    let rig = Rig::start().await;
    let reads = Do::Read("b".into(), vec![Do::Read("a".into(), vec![note("back")])]);
    soon(rig.node("a").read(vec![reads])).await.unwrap();
    assert!(rig.probe.has("back"), "reads beside reads are none");
}

#[tokio::test(start_paused = true)]
async fn a_cycle_of_two_independent_chains_is_found_by_the_call_that_closes_it() {
    let rig = Rig::start().await;
    let a = rig.write("a", [note("a"), pass("go"), try_write("b", [Do::Push(1)])]);
    let b = rig.write("b", [note("b"), pass("go2"), try_write("a", [Do::Push(2)])]);
    rig.probe.saw("a").await;
    rig.probe.saw("b").await;
    rig.probe.open("go");
    others_run().await;
    rig.probe.open("go2");
    ended(a).await.unwrap();
    ended(b).await.unwrap();
    assert_eq!(the_chain(&rig), ["node/a.write", "node/b.write", "node/a.write"]);
    assert_eq!(soon(rig.node("b").list()).await.unwrap(), [1], "the older call was served");
    assert!(soon(rig.node("a").list()).await.unwrap().is_empty(), "the newest was refused");
}

#[tokio::test(start_paused = true)]
async fn a_cycle_of_three_independent_chains_is_found_and_a_bystander_works_on() {
    let rig = Rig::start().await;
    let next = |own: &str, other: &str| [note(own), pass(own), try_write(other, [])];
    let calls = [rig.write("a", next("a", "b")), rig.write("b", next("b", "c")), rig.write("c", next("c", "a"))];
    for own in ["a", "b", "c"] {
        rig.probe.saw(own).await;
    }
    for own in ["a", "b"] {
        rig.probe.open(own);
        others_run().await;
        assert!(rig.probe.faults().is_empty());
        assert!(soon(rig.node("bystander").write(vec![])).await.unwrap().is_empty());
    }
    rig.probe.open("c");
    for call in calls {
        ended(call).await.unwrap();
    }
    assert_eq!(the_chain(&rig).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_behind_others_in_the_queue_closes_a_cycle_too() {
    let rig = Rig::start().await;
    // a waits for b's queue, in which a call waits whose turn will come to a.
    let b = rig.write("b", [note("b"), pass("b")]);
    rig.probe.saw("b").await;
    let first = rig.write("b", [note("first"), try_write("a", [])]);
    others_run().await;
    let a = rig.write("a", [note("a"), try_write("b", [])]);
    rig.probe.saw("a").await;
    rig.probe.open("b");
    for call in [b, first, a] {
        ended(call).await.unwrap();
    }
    assert_eq!(the_chain(&rig), ["node/a.write", "node/b.write", "node/a.write"]);
}

#[tokio::test(start_paused = true)]
async fn sends_and_spawned_work_wait_for_nobody() {
    let rig = Rig::start().await;
    let back = vec![note("sent back")];
    let sends = vec![Do::Send("b".into(), vec![write("a", back)]), Do::Send("a".into(), vec![note("sent home")])];
    soon(rig.node("a").write(sends)).await.unwrap();
    rig.probe.saw("sent back").await;
    rig.probe.saw("sent home").await;
    let call = rig.write("a", [Do::SpawnWrite("a".into(), vec![note("spawned")]), note("in"), pass("in")]);
    rig.probe.saw("in").await;
    others_run().await;
    rig.probe.open("in");
    ended(call).await.unwrap();
    rig.probe.saw("spawned").await;
    rig.probe.saw("ok").await;
    assert!(rig.probe.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_ancestor_that_gave_the_call_up_does_not_wait() {
    for dropped in [true, false] {
        let rig = Rig::with(|silo| silo.call_timeout(ms(1_000))).await;
        let on = vec![note("b"), pass("b"), write("a", [note("back")])];
        let call = if dropped { Do::DropAfter(ms(50), "b".into(), on) } else { try_write("b", on) };
        let a = rig.write("a", [call, note("a"), pass("a")]);
        rig.probe.saw("a").await;
        rig.probe.open("b");
        others_run().await;
        let timeouts = usize::from(!dropped);
        assert_eq!(rig.probe.faults().len(), timeouts, "a does not wait for b: {:?}", rig.probe.lines());
        rig.probe.open("a");
        rig.probe.saw("back").await;
        assert_eq!(ended(a).await.is_ok(), dropped, "or it timed out itself");
        assert_eq!(rig.silo.metrics().grain("node").unwrap().deadlocks, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn activation_and_deactivation_hooks_are_turns_of_the_chain() {
    let rig = Rig::start().await;
    rig.probe.hook("b+", [try_write("a", [])]);
    soon(rig.node("a").write(vec![try_write("b", [])])).await.unwrap();
    assert_eq!(rig.probe.faults().len(), 1, "whoever was newest was refused: {:?}", rig.probe.lines());
    assert!(matches!(rig.probe.faults()[0].cause(), Cause::Deadlock { .. }));
    let rig = Rig::start().await;
    rig.probe.hook("c-", [try_write("c", [])]);
    soon(rig.node("c").write(vec![Do::Deactivate])).await.unwrap();
    rig.probe.saw("c-").await;
    soon(rig.node("c").write(vec![])).await.unwrap();
    assert_eq!(the_chain(&rig), ["node/c.on_deactivate", "node/c.write"]);
}

/// Random scripts: any node calls any other, both ways of access, several levels deep.
fn random(rng: &mut fastrand::Rng, depth: u32) -> Vec<Do> {
    let mut script = Vec::new();
    for _ in 0..rng.usize(0..3) {
        if rng.bool() {
            script.push(Do::Yield);
        }
        let key = format!("n{}", rng.u8(0..12));
        if depth > 0 {
            let inner = random(rng, depth - 1);
            script.push(if rng.bool() { Do::TryRead(key, inner) } else { Do::TryWrite(key, inner) });
        }
    }
    script
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_calls_whatever_every_call_ends() {
    let rig = Arc::new(Rig::start().await);
    let mut callers = tokio::task::JoinSet::new();
    for seed in 0..24 {
        let rig = rig.clone();
        callers.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..60 {
                let (key, script) = (format!("n{}", rng.u8(0..12)), random(&mut rng, 3));
                let write = rng.bool();
                let node = rig.node(&key);
                let outcome = if write { node.write(script).await } else { node.read(script).await };
                outcome.unwrap();
            }
        });
    }
    tokio::time::timeout(PATIENCE, callers.join_all()).await.expect("every call ends");
    let faults = rig.probe.faults();
    let other = faults.iter().find(|fault| !matches!(fault.cause(), Cause::Deadlock { .. }));
    assert!(other.is_none(), "a cycle is found, not waited out: {other:?}");
    assert!(!faults.is_empty(), "this stress makes cycles");
    for n in 0..12 {
        soon(rig.node(&format!("n{n}")).write(vec![])).await.unwrap();
    }
}
