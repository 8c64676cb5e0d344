//! The run counter.

use super::rig::Rig;

/// Every case of this module.
pub async fn all(rig: &Rig) {
    every_begin_is_a_new_run(rig).await;
    begin_respects_the_floor(rig).await;
}

/// Each begin answers a larger number, and `run` tells the last.
pub async fn every_begin_is_a_new_run(rig: &Rig) {
    let storage = rig.storage();
    let first = storage.begin_run(0).await.expect("begin_run");
    assert!(first >= 1, "0 means never begun");
    assert_eq!(storage.run().await, Ok(first));
    assert_eq!(storage.run().await, Ok(first), "asking changes nothing");
    let second = storage.begin_run(0).await.expect("begin_run");
    assert!(second > first, "{second} follows {first}");
    assert_eq!(storage.run().await, Ok(second));
}

/// A run is above the floor; a low floor does not lower the counter.
pub async fn begin_respects_the_floor(rig: &Rig) {
    let storage = rig.storage();
    let floor = storage.run().await.expect("run") + 1000;
    let above = storage.begin_run(floor).await.expect("begin_run");
    assert!(above > floor, "{above} is above the floor {floor}");
    let next = storage.begin_run(3).await.expect("begin_run");
    assert!(next > above, "{next} follows {above}");
    assert_eq!(storage.run().await, Ok(next));
}
