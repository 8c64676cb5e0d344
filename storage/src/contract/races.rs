//! Many activations at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_grains::storage::StorageError;
use tokio::task::JoinSet;

use super::rig::{Rig, assert_fenced, put};

/// Activations that race.
const RACERS: u64 = 8;

/// Every case of this module.
pub async fn all(rig: &Rig) {
    the_largest_epoch_wins(rig).await;
    one_chain_of_writers(rig).await;
}

/// Opens at the same time: the largest epoch always opens, and ends as the fence.
pub async fn the_largest_epoch_wins(rig: &Rig) {
    let grain = rig.grain();
    let mut racers = JoinSet::new();
    for epoch in 1..=RACERS {
        let (rig, grain, fence) = (rig.clone(), grain.clone(), rig.fence(epoch));
        racers.spawn(async move { (fence, rig.open(&grain, fence).await) });
    }
    let mut answers = racers.join_all().await;
    answers.sort_by_key(|(fence, _)| fence.epoch);
    let Some((winner, Ok(_))) = answers.last() else { panic!("the largest epoch opens: {answers:?}") };
    let late = rig.fence(RACERS);
    assert_fenced(rig.open(&grain, late).await, Some(*winner), "the fence that is left");
}

/// Activations take one grain from each other, and count in its record: no count is lost, and every acknowledged
/// commit is one version.
pub async fn one_chain_of_writers(rig: &Rig) {
    const TAKEOVERS: usize = 6;
    const WRITES: u64 = 5;
    let (grain, epochs, acknowledged) = (rig.grain(), Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let (rig, grain) = (rig.clone(), grain.clone());
        let (epochs, acknowledged) = (epochs.clone(), acknowledged.clone());
        racers.spawn(async move {
            for _ in 0..TAKEOVERS {
                let fence = rig.fence(epochs.fetch_add(1, Ordering::Relaxed));
                let opened = match rig.open(&grain, fence).await {
                    Ok(opened) => opened,
                    Err(StorageError::Fenced { .. }) => continue,
                    Err(error) => panic!("open in a race: {error}"),
                };
                let record = opened.records.first();
                let found = record.map_or(0, |record| record.version);
                let counted = record.and_then(|record| record.body.as_ref()).map_or(0, |body| count_of(body));
                assert_eq!(counted, found, "the state and its version are of one commit");
                let mut owner = rig.owning(grain.clone(), fence);
                for version in found..found + WRITES {
                    let next = (version + 1).to_string();
                    match rig.commit(&owner.write([put("count", version, next)])).await {
                        Ok(()) => acknowledged.fetch_add(1, Ordering::Relaxed),
                        Err(StorageError::Fenced { seen: Some(seen) }) if seen.epoch > fence.epoch => break,
                        Err(error) => panic!("commit in a race, by {fence}: {error}"),
                    };
                }
            }
        });
    }
    racers.join_all().await;
    let last = rig.owner_of(grain, epochs.load(Ordering::Relaxed)).await;
    let records = rig.read(&last).await;
    let count = records[0].body.as_ref().map(|body| count_of(body));
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    assert_eq!((records[0].version, count), (acknowledged, Some(acknowledged)), "versions, counts, acknowledgements");
}

fn count_of(body: &[u8]) -> u64 {
    std::str::from_utf8(body).ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("a count, not {body:?}"))
}
