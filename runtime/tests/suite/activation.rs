//! A grain is activated on demand, once, and ends in order.

use std::sync::Arc;

use gristmill::prelude::*;

use crate::support::{
    Do, PATIENCE, Probe, Rig, assert_fault, ended, fault, halt, ms, note, others_run, soon, spawn, within,
};

#[grain_interface(grain = "person")]
trait Named {
    async fn name(&self) -> String;
    async fn set(&mut self, n: u64);
}

#[grain_interface(grain = "person")]
trait Aged {
    async fn age(&self) -> u64;
}

/// Two interfaces; its value has no state.
#[derive(Grain)]
#[grain(implements(Named, Aged))]
struct PersonGrain {
    ctx: GrainContext<Self>,
    age: u64,
}

impl Named for PersonGrain {
    async fn name(&self) -> String {
        self.ctx.key().to_owned()
    }

    async fn set(&mut self, n: u64) {
        self.age = n;
    }
}

impl Aged for PersonGrain {
    async fn age(&self) -> u64 {
        self.age
    }
}

#[tokio::test(start_paused = true)]
async fn keys_have_activations_of_their_own_and_interfaces_share_one() {
    let silo = Silo::builder().grain::<PersonGrain>().start().await.unwrap();
    let (ann, bob): (NamedRef, NamedRef) = (silo.grain("ann"), silo.grain("bob"));
    ann.set(7).await.unwrap();
    bob.set(8).await.unwrap();
    assert_eq!(ann.name().await.unwrap(), "ann");
    assert_eq!(silo.grain::<AgedRef>("ann").age().await.unwrap(), 7);
    assert_eq!(silo.grain::<AgedRef>("bob").age().await.unwrap(), 8);
    assert_eq!(silo.metrics().grain("person").unwrap().activated, 2);
}

#[tokio::test(start_paused = true)]
async fn keys_that_name_nothing_are_refused() {
    let rig = Rig::start().await;
    for bad in ["", "  ", &"x".repeat(1025)] {
        assert_fault!(rig.node(bad).list().await, Cause::InvalidKey { .. }, false);
        assert!(matches!(rig.node(bad).list().try_send().unwrap_err().cause(), Cause::InvalidKey { .. }));
    }
    assert!(rig.node(&"x".repeat(1024)).list().await.unwrap().is_empty());
    assert_eq!(rig.silo.metrics().grain("node").unwrap().live, 1);
}

#[tokio::test(start_paused = true)]
async fn hooks_run_once_each_and_in_order() {
    let rig = Rig::start().await;
    for round in 1..=3 {
        rig.node("n").write(vec![note("call"), Do::Deactivate]).await.unwrap();
        rig.probe.saw_times("n-", round).await;
    }
    assert_eq!(rig.probe.lines(), ["n+", "call", "n-"].repeat(3));
}

#[tokio::test(start_paused = true)]
async fn asking_whether_it_is_active_does_not_activate() {
    let rig = Rig::start().await;
    let node = rig.node("n");
    for _ in 0..3 {
        assert!(!rig.silo.is_active(&node));
        others_run().await;
    }
    assert!(rig.probe.lines().is_empty());
    node.list().await.unwrap();
    assert!(rig.silo.is_active(&node));
    node.write(vec![Do::Deactivate]).await.unwrap();
    rig.probe.saw("n-").await;
    others_run().await;
    assert!(!rig.silo.is_active(&node));
    rig.probe.hook("bad+", [Do::Fail("no".into())]);
    assert_fault!(rig.node("bad").list().await, Cause::ActivationFailed { .. }, false);
    assert!(!rig.silo.is_active(&rig.node("bad")), "a failed activation is none");
}

#[tokio::test(start_paused = true)]
async fn an_activation_error_reaches_direct_and_indirect_callers() {
    let rig = Rig::start().await;
    rig.probe.hook("bad+", [Do::Fail("no such save".into())]);
    let fault = assert_fault!(rig.node("bad").list().await, Cause::ActivationFailed { .. }, false);
    assert!(fault.to_string().contains("node/bad.list") && fault.to_string().contains("no such save"), "{fault}");
    let source = std::error::Error::source(&fault).expect("the original error");
    assert_eq!(source.to_string(), "no such save");
    rig.node("via").read(vec![Do::TryRead("bad".into(), vec![])]).await.unwrap();
    let seen = &rig.probe.faults()[0];
    assert!(matches!(seen.cause(), Cause::ActivationFailed { reason } if reason == "no such save"), "{seen}");
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_learn_why_an_activation_failed() {
    let rig = Rig::of(|options| options.mailbox = 20_000).await;
    rig.probe.hook("bad+", [halt("bad").as_slice(), &[Do::Fail("no such save".into())]].concat());
    let calls: Vec<_> = (0..10_000).map(|_| rig.write("bad", [])).collect();
    rig.probe.saw("bad").await;
    others_run().await;
    rig.probe.open("bad");
    for call in calls {
        let fault = assert_fault!(ended(call).await, Cause::ActivationFailed { .. }, false);
        assert!(fault.to_string().contains("no such save"));
    }
    assert_eq!(rig.probe.count("bad+"), 1, "one activation failed them all");
}

#[tokio::test(start_paused = true)]
async fn a_failed_activation_backs_off_and_recovers() {
    let rig = Rig::start().await;
    rig.probe.hook("bad+", [Do::Panic]);
    let mut waits = Vec::new();
    for failures in 1..=9 {
        let failed = rig.probe.count("bad+");
        let before = tokio::time::Instant::now();
        while rig.probe.count("bad+") == failed {
            // Refused at once, with the cause, until the back-off is over.
            let fault = assert_fault!(rig.node("bad").list().await, Cause::ActivationFailed { .. }, false);
            assert!(fault.to_string().contains("as told"), "{fault}");
            tokio::time::sleep(ms(10)).await;
        }
        waits.push(before.elapsed());
        assert_eq!(rig.probe.count("bad+"), failures);
    }
    assert!(waits[1] >= ms(90) && waits[1] <= ms(130), "{waits:?}");
    assert!(waits.windows(2).all(|pair| pair[1] >= pair[0]), "it grows: {waits:?}");
    assert!(waits[8] <= ms(5_050), "and is bounded: {waits:?}");
    rig.probe.hook("bad+", []);
    tokio::time::sleep(ms(5_000)).await;
    assert!(rig.node("bad").list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_activation_fails_its_callers_in_time_and_the_grain_is_usable_afterwards() {
    let options = SiloOptions { activation_timeout: ms(2_000), ..SiloOptions::default() };
    let rig = Rig::with(|silo| silo.options(options)).await;
    rig.probe.hook("n+", [Do::Hang]);
    let before = tokio::time::Instant::now();
    let calls = [rig.write("n", []), rig.write("n", [])];
    for call in calls {
        assert_fault!(ended(call).await, Cause::ActivationFailed { .. }, false);
    }
    assert!(before.elapsed() >= ms(2_000) && before.elapsed() < ms(2_100), "{:?}", before.elapsed());
    rig.probe.hook("n+", []);
    tokio::time::sleep(ms(100)).await;
    rig.node("n").write(vec![Do::Push(1)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_a_slow_activation_and_keep_their_order() {
    let rig = Rig::start().await;
    rig.probe.hook("n+", halt("slow"));
    let calls: Vec<_> = (0..50).map(|n| rig.write("n", [Do::Push(n)])).collect();
    rig.probe.saw("slow").await;
    others_run().await;
    rig.probe.open("slow");
    for call in calls {
        ended(call).await.unwrap();
    }
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn deactivation_carries_queued_calls_to_the_next_activation_in_order() {
    let rig = Rig::start().await;
    rig.probe.hook("n-", halt("leaving"));
    let mut calls = vec![rig.write("n", [halt("first").as_slice(), &[Do::Deactivate, Do::Push(0)]].concat())];
    rig.probe.saw("first").await;
    calls.extend((1..20).map(|n| rig.write("n", [Do::Push(n)])));
    others_run().await;
    rig.probe.open("first");
    rig.probe.saw("leaving").await;
    calls.extend((20..40).map(|n| rig.write("n", [Do::Push(n)])));
    others_run().await;
    rig.probe.open("leaving");
    for call in calls {
        ended(call).await.unwrap();
    }
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), (0..40).collect::<Vec<_>>());
    assert_eq!(rig.probe.lines(), ["n+", "first", "n-", "leaving", "n+"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_or_panic_of_on_deactivate_loses_no_call_and_no_committed_state() {
    for last in [Do::Fail("no".into()), Do::Panic] {
        let rig = Rig::start().await;
        rig.probe.hook("n-", [last]);
        rig.node("n").write(vec![Do::Push(1), Do::Deactivate]).await.unwrap();
        rig.probe.saw("n-").await;
        assert_eq!(soon(rig.node("n").write(vec![Do::Push(2)])).await.unwrap(), [1, 2]);
        assert_eq!(rig.probe.count("n+"), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deactivations_raced_with_calls_lose_none_and_fail_none() {
    let rig = Arc::new(Rig::start().await);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..100_u64 {
        let rig = rig.clone();
        callers.spawn(async move {
            for n in 0..20 {
                let mut script = vec![Do::Push(caller * 100 + n)];
                if (caller + n) % 7 == 0 {
                    script.push(Do::Deactivate);
                }
                if n % 3 == 0 {
                    script.push(Do::Yield);
                }
                rig.node("n").write(script).await.unwrap();
            }
        });
    }
    tokio::time::timeout(PATIENCE, callers.join_all()).await.expect("no call is lost");
    let list = soon(rig.node("n").list()).await.unwrap();
    assert_eq!(list.len(), 2_000, "each ran once");
    for caller in 0..100 {
        let mine: Vec<_> = list.iter().filter(|value| *value / 100 == caller).copied().collect();
        assert_eq!(mine, (0..20).map(|n| caller * 100 + n).collect::<Vec<_>>(), "in order");
    }
    assert!(rig.probe.count("n-") > 5, "{} deactivations", rig.probe.count("n-"));
}

#[grain_interface]
trait Bomb {
    async fn arm(&mut self, abort: bool);
    async fn leave(&mut self);
}

/// Its value panics when it is dropped.
#[derive(Grain)]
#[grain(implements(Bomb))]
struct BombGrain {
    ctx: GrainContext<Self>,
    armed: bool,
}

impl Bomb for BombGrain {
    async fn arm(&mut self, abort: bool) {
        self.armed = true;
        if abort {
            self.ctx.abort();
        }
    }

    async fn leave(&mut self) {
        self.ctx.deactivate_on_idle();
    }
}

impl Drop for BombGrain {
    fn drop(&mut self) {
        if self.armed {
            panic!("boom");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_the_grain_is_dropped_is_contained() {
    let silo = Silo::builder().grain::<BombGrain>().start().await.unwrap();
    let bomb: BombRef = silo.grain("b");
    bomb.arm(false).await.unwrap();
    bomb.leave().await.unwrap();
    within(ms(5_000), bomb.leave()).await.unwrap();
    let bomb: BombRef = silo.grain("c");
    let aborted = soon(spawn(async move { bomb.arm(true).await })).await.expect("the caller's task lives");
    assert!(matches!(fault(aborted).cause(), Cause::Aborted));
    within(ms(5_000), silo.grain::<BombRef>("c").leave()).await.unwrap();
    silo.grain::<BombRef>("d").arm(false).await.unwrap();
    let stopped = within(ms(5_000), silo.stop()).await;
    assert_eq!(stopped.dropped, 0);
}

#[grain_interface]
trait Served {
    async fn noted(&self);
}

#[derive(Grain)]
#[grain(implements(Served))]
struct ServedGrain {
    #[service]
    probe: Arc<Probe>,
}

impl Served for ServedGrain {
    async fn noted(&self) {
        self.probe.note("served");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_service_fails_the_activation_and_names_the_type() {
    let silo = Silo::builder().grain::<ServedGrain>().start().await.unwrap();
    let fault = assert_fault!(silo.grain::<ServedRef>("n").noted().await, Cause::ActivationFailed { .. }, false);
    assert!(fault.to_string().contains("Probe"), "{fault}");
    let rig = Rig::with(|silo| silo.grain::<ServedGrain>()).await;
    rig.silo.grain::<ServedRef>("n").noted().await.unwrap();
    assert!(rig.probe.has("served"), "the service is the very one the silo was given");
}
