//! A store that lost what it had acknowledged gets it back from memory.

use gristmill::SiloEvent;

use crate::support::{Do, Rig, ended, ms, note, others_run, soon};

/// The grains that were restored, until there are so many.
async fn restored(rig: &mut Rig, many: usize) -> Vec<String> {
    let mut grains = Vec::new();
    while grains.len() < many {
        if let SiloEvent::Restored { grain, storage, records } = soon(rig.events.recv()).await.expect("an event") {
            assert_eq!((storage.as_str(), records), ("default", vec!["list".to_owned()]));
            grains.push(grain.key().to_string());
        }
    }
    grains.sort();
    grains
}

#[tokio::test(start_paused = true)]
async fn live_grains_write_again_what_a_restarted_store_has_lost() {
    let mut rig = Rig::start().await;
    for key in ["a", "b", "same"] {
        rig.node(key).write(vec![Do::Push(1)]).await.unwrap();
    }
    let past = rig.storage.faults().snapshot();
    for key in ["a", "b"] {
        rig.node(key).write(vec![Do::Push(2)]).await.unwrap();
    }
    rig.node("new").write(vec![Do::Push(7)]).await.unwrap();
    rig.storage.faults().restore(&past);
    assert_eq!(restored(&mut rig, 3).await, ["a", "b", "new"]);
    for (key, list) in [("a", vec![1, 2]), ("b", vec![1, 2]), ("new", vec![7]), ("same", vec![1])] {
        assert_eq!(soon(rig.node(key).write(vec![])).await.unwrap(), list);
        assert_eq!(rig.stored(key).await, list, "of {key}");
        assert_eq!(rig.probe.count(&format!("{key}+")), 1, "its activation stays");
        let next = [list, vec![9]].concat();
        assert_eq!(soon(rig.node(key).write(vec![Do::Push(9)])).await.unwrap(), next);
        assert_eq!(rig.stored(key).await, next);
    }
    assert_eq!(rig.silo.metrics().grain("node").unwrap().restored, 3);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_meets_a_store_behind_it_restores_it() {
    let mut rig = Rig::start().await;
    let empty = rig.storage.faults().snapshot();
    rig.node("n").write(vec![Do::Push(1)]).await.unwrap();
    let past = rig.storage.faults().snapshot();
    rig.node("n").write(vec![Do::Push(2)]).await.unwrap();
    // In flight while the store goes back: to an older version; then to before the grain was there.
    for (then, n) in [(past, 3), (empty, 4)] {
        rig.hold();
        let write = rig.write("n", [Do::Push(n), Do::Send("m".into(), vec![note("sent")])]);
        rig.held(1).await;
        let id = rig.node("n").id();
        rig.storage.faults().restore_grain(&then, &id);
        others_run().await;
        assert!(!write.is_finished());
        rig.heal();
        let list: Vec<u64> = (1..=n).collect();
        assert_eq!(ended(write).await.unwrap(), list);
        assert_eq!(restored(&mut rig, 1).await, ["n"]);
        assert_eq!(rig.stored("n").await, list);
        rig.probe.saw_times("sent", n as usize - 2).await;
    }
    assert_eq!(rig.probe.count("n+"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_store_is_not_asked_for_every_grain_at_once() {
    let rig = Rig::start().await;
    for n in 0..1_000 {
        rig.node(&format!("n{n}")).write(vec![Do::Push(1)]).await.unwrap();
    }
    let before = rig.storage.faults().counts().opens;
    rig.storage.faults().restore(&rig.storage.faults().snapshot());
    others_run().await;
    let at_once = rig.storage.faults().counts().opens - before;
    assert!((1..=200).contains(&at_once), "{at_once}");
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(rig.storage.faults().counts().opens - before, 1_000);
}
