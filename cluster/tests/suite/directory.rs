//! Who owns a grain.

use gristmill_cluster::{Claim, Location};

use crate::same::{activation, grain, on_each, silo};

fn claim(owner: u128, number: u128, expect: Option<Location>, floor: u64) -> Claim {
    Claim { owner: silo(owner), join: owner as u64, activation: activation(number), expect, floor }
}

#[tokio::test]
async fn a_claim_replaces_nothing_but_what_it_expects_exactly() {
    on_each(|_, directory| async move {
        let alice = grain("alice | and more");
        assert_eq!(directory.lookup(&alice).await.unwrap(), None);
        let first = directory.claim(&alice, claim(1, 10, None, 0)).await.unwrap().unwrap();
        assert_eq!((first.owner, first.join, first.activation), (silo(1), 1, activation(10)));
        assert_eq!(directory.lookup(&alice).await.unwrap(), Some(first));
        // Its own answer was lost: the same one again.
        assert_eq!(directory.claim(&alice, claim(1, 10, None, 0)).await.unwrap(), Ok(first));
        assert_eq!(directory.claim(&alice, claim(2, 20, None, 0)).await.unwrap(), Err(first));
        let stale = Location { epoch: first.epoch + 1, ..first };
        assert_eq!(directory.claim(&alice, claim(2, 20, Some(stale), 0)).await.unwrap(), Err(first));
        let second = directory.claim(&alice, claim(2, 20, Some(first), 0)).await.unwrap().unwrap();
        assert!(second.epoch > first.epoch);
        // A release of one that owns it no longer does nothing.
        directory.release(&alice, activation(10)).await.unwrap();
        assert_eq!(directory.lookup(&alice).await.unwrap(), Some(second));
        directory.release(&alice, activation(20)).await.unwrap();
        assert_eq!(directory.lookup(&alice).await.unwrap(), None);
        let third = directory.claim(&alice, claim(1, 30, None, 0)).await.unwrap().unwrap();
        assert!(third.epoch > second.epoch, "epochs grow, also over a release");
    })
    .await;
}

#[tokio::test]
async fn epochs_stay_above_every_floor() {
    on_each(|_, directory| async move {
        let bob = grain("bob");
        let large = 123_456_789_012_345;
        let claimed = directory.claim(&bob, claim(1, 1, None, large)).await.unwrap().unwrap();
        assert_eq!(claimed.epoch, large + 1);
        let raised = directory.raise(&bob, activation(1), large + 10).await.unwrap().unwrap();
        assert_eq!(raised, Location { epoch: large + 11, ..claimed });
        assert_eq!(directory.raise(&bob, activation(2), 0).await.unwrap(), Err(Some(raised)));
        assert_eq!(directory.raise(&grain("nobody"), activation(2), 0).await.unwrap(), Err(None));
        // What was lost is put back, and what was taken meanwhile is told.
        let lost = Location { epoch: large + 500, ..raised };
        let rows = [(bob.clone(), lost), (grain("carol"), lost)];
        assert_eq!(directory.reassert(&rows).await.unwrap(), [raised, lost]);
        assert_eq!(directory.lookup(&grain("carol")).await.unwrap(), Some(lost));
        directory.release(&grain("carol"), activation(1)).await.unwrap();
        let next = directory.claim(&grain("carol"), claim(1, 5, None, 0)).await.unwrap().unwrap();
        assert!(next.epoch > lost.epoch);
    })
    .await;
}
