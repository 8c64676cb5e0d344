//! One-way calls: they leave a turn when it is durable, in order, or never.

use gristmill::grains::{Cause, Fault};
use gristmill::storage::MemoryStorage;

use crate::support::{Do, Rig, ended, fault, halt, note, others_run, soon};

fn send(key: &str, script: impl Into<Vec<Do>>) -> Do {
    Do::Send(key.into(), script.into())
}

#[tokio::test(start_paused = true)]
async fn a_send_returns_before_its_body_runs() {
    let rig = Rig::start().await;
    rig.node("n").list().await.unwrap();
    rig.node("n").write(vec![note("body")]).send();
    assert!(!rig.probe.has("body"));
    rig.probe.saw("body").await;
    rig.node("a").write(vec![send("n", [note("from a turn")]), note("sent")]).await.unwrap();
    rig.probe.saw("from a turn").await;
    assert_eq!(rig.probe.lines(), ["n+", "body", "a+", "sent", "from a turn"]);
}

#[tokio::test(start_paused = true)]
async fn a_send_that_cannot_be_accepted_is_told_or_counted() {
    let rig = Rig::of(|options| options.mailbox = 1).await;
    let running = rig.write("n", halt("in"));
    rig.probe.saw("in").await;
    rig.node("n").write(vec![Do::Push(1)]).try_send().unwrap();
    let refused: Fault = rig.node("n").write(vec![Do::Push(2)]).try_send().unwrap_err();
    assert!(matches!(refused.cause(), Cause::Overloaded { .. }), "{refused}");
    rig.node("n").write(vec![Do::Push(3)]).send();
    assert_eq!(rig.silo.metrics().lost_sends, 1);
    rig.probe.open("in");
    ended(running).await.unwrap();
    assert_eq!(soon(rig.node("n").list()).await.unwrap(), [1]);
    let other = gristmill::Silo::builder().start().await.unwrap();
    other.grain::<crate::support::NodeRef>("x").list().send();
    assert_eq!(other.metrics().lost_sends, 1, "to a grain that nobody hosts");
}

#[tokio::test(start_paused = true)]
async fn sends_and_the_reply_leave_when_the_turn_is_durable_and_in_order() {
    let rig = Rig::start().await;
    for key in ["a", "b"] {
        rig.node(key).list().await.unwrap();
    }
    rig.hold();
    let call = rig.write("a", [send("b", [note("1")]), Do::Push(1), send("b", [note("2")]), note("end")]);
    rig.held(1).await;
    let next = rig.write("a", [send("b", [note("3")]), Do::Push(2), send("b", [note("4")])]);
    let clean = rig.read("a", [send("b", [note("5")])]);
    others_run().await;
    assert!(rig.probe.has("end") && !call.is_finished() && !next.is_finished() && !clean.is_finished());
    assert!(!rig.probe.has("1"), "{:?}", rig.probe.lines());
    rig.heal();
    ended(call).await.unwrap();
    ended(next).await.unwrap();
    ended(clean).await.unwrap();
    rig.probe.saw("5").await;
    assert_eq!(rig.probe.lines(), ["a+", "b+", "end", "1", "2", "3", "4", "5"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_point_lets_go_the_sends_before_it() {
    let rig = Rig::start().await;
    let script = [Do::Push(1), send("b", [note("before")]), Do::Commit, send("b", [note("after")]), Do::Abort];
    fault(rig.node("a").write(script.to_vec()).await);
    rig.probe.saw("before").await;
    others_run().await;
    assert!(!rig.probe.has("after"));
    assert_eq!(soon(rig.node("a").list()).await.unwrap(), [1]);
}

#[tokio::test(start_paused = true)]
async fn the_sends_of_a_turn_that_is_not_kept_never_leave() {
    for end in [Do::Panic, Do::Abort] {
        for script in [vec![], vec![Do::Yield]] {
            let rig = Rig::start().await;
            let script = [vec![Do::Push(1), send("b", [note("never")])], script, vec![end.clone()]].concat();
            fault(rig.node("a").write(script).await);
            others_run().await;
            soon(rig.node("a").list()).await.unwrap();
            soon(rig.node("b").list()).await.unwrap();
            assert!(!rig.probe.has("never"));
        }
    }
    let rig = Rig::start().await;
    let failed = rig.node("a").write(vec![Do::Push(1), send("b", [note("kept")]), Do::Fail("no".into())]).await;
    assert!(failed.is_err());
    rig.probe.saw("kept").await; // an error is an outcome like any other
}

#[tokio::test(start_paused = true)]
async fn the_sends_of_a_turn_whose_commit_is_refused_never_leave() {
    let storage = MemoryStorage::new();
    let rig = Rig::on(storage.clone(), |_| {}, |silo| silo).await;
    rig.node("a").list().await.unwrap();
    let other = Rig::on(storage, |_| {}, |silo| silo.seed(8)).await;
    other.node("a").list().await.unwrap(); // takes the fence
    let outcome = rig.node("a").write(vec![Do::Push(1), send("b", [note("never")])]).await;
    crate::support::assert_fault!(outcome, Cause::Fenced, true);
    others_run().await;
    assert!(!rig.probe.has("never") && !other.probe.has("never"));
}

#[tokio::test(start_paused = true)]
async fn sends_of_on_activate_and_on_deactivate_leave_with_what_they_changed() {
    let rig = Rig::start().await;
    rig.probe.hook("a+", [Do::Push(1), send("b", [note("hello")])]);
    rig.probe.hook("a-", [Do::Push(2), send("b", [note("goodbye")])]);
    rig.node("b").list().await.unwrap();
    rig.hold();
    let call = rig.write("a", []);
    others_run().await;
    assert!(!rig.probe.has("hello"));
    rig.heal();
    assert_eq!(ended(call).await.unwrap(), [1]);
    rig.probe.saw("hello").await;
    rig.node("a").write(vec![Do::Deactivate]).await.unwrap();
    rig.probe.saw("goodbye").await;
    assert_eq!(rig.stored("a").await, [1, 2]);
}
