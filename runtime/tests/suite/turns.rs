//! `&self` turns run beside each other, `&mut self` turns alone, first come first served.

use std::future::Future;
use std::task::Poll;

use gristmill::prelude::*;

use crate::support::{Do, NodeRef, PATIENCE, Rig, assert_fault, ended, halt, note, others_run, pass, soon};

#[tokio::test(start_paused = true)]
async fn reads_of_one_grain_run_side_by_side() {
    let rig = Rig::start().await;
    let (a, b) = (rig.read("n", halt("a")), rig.read("n", halt("b")));
    rig.probe.saw("a").await;
    rig.probe.saw("b").await; // both are inside
    rig.probe.open("a");
    rig.probe.open("b");
    ended(a).await.unwrap();
    ended(b).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_runs_alone() {
    let rig = Rig::start().await;
    let first = rig.write("n", halt("first"));
    rig.probe.saw("first").await;
    let others = [rig.read("n", [note("read")]), rig.write("n", [note("write")])];
    others_run().await;
    assert!(!rig.probe.has("read") && !rig.probe.has("write"), "{:?}", rig.probe.lines());
    rig.probe.open("first");
    ended(first).await.unwrap();
    for other in others {
        ended(other).await.unwrap();
    }
    assert_eq!(rig.probe.lines(), ["n+", "first", "read", "write"]);
}

#[tokio::test(start_paused = true)]
async fn calls_run_in_the_order_they_came() {
    let rig = Rig::start().await;
    let mut calls = vec![rig.write("n", halt("first"))];
    rig.probe.saw("first").await;
    for n in 0..100 {
        calls.push(rig.write("n", [Do::Yield, Do::Push(n)]));
    }
    others_run().await;
    rig.probe.open("first");
    for call in calls {
        ended(call).await.unwrap();
    }
    assert_eq!(rig.node("n").list().await.unwrap(), (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_write_holds_back_later_reads() {
    let rig = Rig::start().await;
    let mut calls = vec![rig.read("n", halt("first"))];
    rig.probe.saw("first").await;
    calls.push(rig.write("n", [note("write")]));
    others_run().await;
    calls.push(rig.read("n", [note("late")]));
    others_run().await;
    assert_eq!(rig.probe.lines(), ["n+", "first"]);
    rig.probe.open("first");
    for call in calls {
        ended(call).await.unwrap();
    }
    assert_eq!(rig.probe.lines(), ["n+", "first", "write", "late"]);
}

#[tokio::test(start_paused = true)]
async fn reads_that_waited_together_run_together() {
    let rig = Rig::start().await;
    let mut calls = vec![rig.write("n", halt("first"))];
    rig.probe.saw("first").await;
    calls.extend([rig.read("n", halt("a")), rig.read("n", halt("b")), rig.write("n", [note("write")])]);
    others_run().await;
    rig.probe.open("first");
    rig.probe.saw("a").await;
    rig.probe.saw("b").await;
    assert!(!rig.probe.has("write"));
    rig.probe.open("a");
    rig.probe.open("b");
    for call in calls {
        ended(call).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_a_running_read_waits_for_passes_a_waiting_write() {
    let rig = Rig::start().await;
    let back = Do::Read("a".into(), vec![note("back")]);
    let around = Do::Read("b".into(), vec![Do::Yield, back]);
    let first = rig.read("a", [note("first"), pass("first"), around]);
    rig.probe.saw("first").await;
    let write = rig.write("a", [note("write")]);
    others_run().await;
    rig.probe.open("first");
    ended(first).await.unwrap();
    ended(write).await.unwrap();
    assert_eq!(rig.probe.lines(), ["a+", "first", "b+", "back", "write"]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_a_running_read_waits_for_passes_a_deactivation() {
    let rig = Rig::start().await;
    let back = Do::Read("a".into(), vec![note("back")]);
    let script = vec![Do::Deactivate, Do::Read("b".into(), vec![Do::Yield, back])];
    soon(rig.node("a").read(script)).await.unwrap();
    rig.probe.saw("a-").await;
    assert_eq!(rig.probe.lines(), ["a+", "b+", "back", "a-"]);
}

#[tokio::test(start_paused = true)]
async fn a_begun_turn_ends_though_its_caller_is_gone() {
    let rig = Rig::start().await;
    // Once begun on the caller's own task, once out of the queue.
    for (n, begun) in [(1, "one"), (2, "two")] {
        let before = (n == 2).then(|| rig.write("n", halt("before")));
        if n == 2 {
            rig.probe.saw("before").await;
        }
        let call = rig.write("n", [note(begun), pass(begun), Do::Push(n), note("done")]);
        others_run().await;
        rig.probe.open("before");
        rig.probe.saw(begun).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        rig.probe.open(begun);
        rig.probe.saw_times("done", n as usize).await;
        if let Some(before) = before {
            ended(before).await.unwrap();
        }
    }
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn reads_that_call_each_other_never_wait() {
    let rig = Rig::start().await;
    let read = |key: &str, other: &str| {
        let around = Do::Read(other.into(), vec![Do::Yield, Do::Read(key.into(), vec![note("around")])]);
        rig.read(key, [note(key), pass("go"), around])
    };
    let calls = [read("a", "b"), read("b", "a")];
    for key in ["a", "b"] {
        rig.probe.saw(key).await; // both are inside before either calls
    }
    rig.probe.open("go");
    for call in calls {
        ended(call).await.unwrap();
    }
    assert_eq!(rig.probe.count("around"), 2);
    soon(rig.node("a").read(vec![Do::Read("a".into(), vec![note("itself")])])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_awaited_never_runs() {
    let rig = Rig::start().await;
    drop(rig.node("n").write(vec![note("never")]));
    others_run().await;
    assert!(rig.probe.lines().is_empty() && !rig.silo.is_active(&rig.node("n")));
}

#[tokio::test(start_paused = true)]
async fn a_queued_call_whose_caller_is_gone_never_runs() {
    let rig = Rig::start().await;
    let first = rig.write("n", halt("first"));
    rig.probe.saw("first").await;
    let dropped = rig.write("n", [Do::Push(1)]);
    let kept = rig.write("n", [Do::Push(2)]);
    others_run().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    rig.probe.open("first");
    ended(first).await.unwrap();
    assert_eq!(ended(kept).await.unwrap(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_refuses_at_once_and_a_call_given_up_makes_room() {
    let rig = Rig::of(|options| options.mailbox = 3).await;
    let first = rig.write("n", halt("first"));
    rig.probe.saw("first").await;
    let mut queued: Vec<_> = (0..3).map(|n| rig.write("n", [Do::Push(n)])).collect();
    others_run().await;
    let before = tokio::time::Instant::now();
    let outcome = rig.node("n").write(vec![]).await;
    assert_fault!(outcome, Cause::Overloaded { limit: 3 }, false);
    assert_fault!(rig.node("n").read(vec![]).await, Cause::Overloaded { limit: 3 }, false);
    assert_eq!(before.elapsed(), std::time::Duration::ZERO);
    let given_up = queued.remove(0);
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    queued.push(rig.write("n", [Do::Push(3)]));
    others_run().await;
    rig.probe.open("first");
    ended(first).await.unwrap();
    for call in queued {
        ended(call).await.unwrap();
    }
    assert_eq!(rig.node("n").list().await.unwrap(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn calls_nest_as_deep_as_they_like() {
    let rig = Rig::start().await;
    for write in [false, true] {
        let mut script = vec![note("bottom")];
        for depth in 0..200 {
            let key = format!("{write}{depth}");
            script = vec![if write { Do::Write(key, script) } else { Do::Read(key, script) }];
        }
        soon(rig.node("top").read(script)).await.unwrap();
    }
    assert_eq!(rig.probe.count("bottom"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_interleaving_of_many_callers_breaks_a_turn() {
    // Every write turn appends twice around an await: pairs stay together.
    let rig = Rig::start().await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..40_u64 {
        let node = rig.node("n");
        callers.spawn(async move {
            for n in 0..25 {
                let value = caller * 100 + n;
                node.write(vec![Do::Push(value), Do::Yield, Do::Push(value)]).await.unwrap();
                let list = node.read(vec![Do::Yield]).await.unwrap();
                assert!(list.chunks(2).all(|pair| pair[0] == pair[1]), "torn: {list:?}");
            }
        });
    }
    tokio::time::timeout(PATIENCE, callers.join_all()).await.expect("the callers end");
    let list = rig.node("n").list().await.unwrap();
    for caller in 0..40 {
        let mine: Vec<_> = list.chunks(2).map(|pair| pair[0]).filter(|value| value / 100 == caller).collect();
        assert_eq!(mine, (0..25).map(|n| caller * 100 + n).collect::<Vec<_>>(), "in order, once each");
    }
}

#[grain_interface]
trait Fan {
    /// Writes to so many nodes at once; gives the sum of what they hold.
    async fn out(&mut self, nodes: u64) -> u64;
}

#[derive(Grain)]
#[grain(implements(Fan))]
struct FanGrain {
    ctx: GrainContext<Self>,
}

impl Fan for FanGrain {
    async fn out(&mut self, nodes: u64) -> u64 {
        let refs: Vec<NodeRef> = (0..nodes).map(|n| self.ctx.grain(format!("n{n}"))).collect();
        let mut calls = Vec::new();
        for (n, node) in (0..).zip(&refs) {
            calls.push(Box::pin(node.write(vec![Do::Yield, Do::Push(n)]).into_future()));
        }
        let mut sum = 0;
        std::future::poll_fn(|cx| {
            calls.retain_mut(|call| match call.as_mut().poll(cx) {
                Poll::Ready(list) => {
                    sum += list.unwrap().iter().sum::<u64>();
                    false
                }
                Poll::Pending => true,
            });
            if calls.is_empty() { Poll::Ready(sum) } else { Poll::Pending }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_turn_may_wait_for_many_calls_at_once() {
    let rig = Rig::with(|silo| silo.grain::<FanGrain>()).await;
    let mut fans = tokio::task::JoinSet::new();
    for fan in 0..10 {
        let fan: FanRef = rig.silo.grain(format!("f{fan}"));
        fans.spawn(async move { fan.out(300).await });
    }
    let sums = soon(fans.join_all()).await;
    let all: u64 = (0..300).sum();
    // Each node is written ten times, and tells each time what it holds by then.
    assert_eq!(sums.into_iter().map(Result::unwrap).sum::<u64>(), all * 55);
}
