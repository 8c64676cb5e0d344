//! The rows of silos.

use gristmill_cluster::membership::{Beat, Evidence, MembershipError, Vote, Voted};
use gristmill_cluster::{Membership, Status, View};

use crate::same::{info, on_each, silo};

const SHARDS: u64 = 64;

async fn join(rows: &dyn Membership, number: u128) -> u64 {
    rows.join(silo(number), &info(&format!("10.0.0.{number}:7000")), None, SHARDS, 0).await.unwrap()
}

fn vote(voter: u128, target: u128, evidence: Evidence, needed: u64) -> Vote {
    Vote { voter: silo(voter), target: silo(target), evidence, needed }
}

async fn status(rows: &dyn Membership, number: u128) -> Option<Status> {
    rows.read().await.unwrap().view.members.get(&silo(number)).map(|member| member.status)
}

#[tokio::test]
async fn silos_join_beat_and_move_forward_only() {
    on_each(|rows, _| async move {
        let one = join(&*rows, 1).await;
        let two = join(&*rows, 2).await;
        assert!(two > one);
        assert_eq!(join(&*rows, 1).await, one, "an answer that was lost is given again");
        let other = rows.join(silo(3), &info("c"), None, SHARDS + 1, 0).await;
        assert_eq!(other, Err(MembershipError::ShardsDiffer { theirs: SHARDS, ours: SHARDS + 1 }));
        let version = rows.read().await.unwrap().view.version;
        assert_eq!(rows.beat(silo(1), false).await.unwrap(), Beat::Taken { beat: 1, version });
        assert_eq!(rows.beat(silo(1), false).await.unwrap(), Beat::Taken { beat: 2, version });
        assert_eq!(rows.beat(silo(9), true).await.unwrap(), Beat::Missing);
        rows.advance(silo(1), Status::Active, 0).await.unwrap();
        rows.advance(silo(1), Status::Joining, 0).await.unwrap();
        let snapshot = rows.read().await.unwrap();
        let member = &snapshot.view.members[&silo(1)];
        assert_eq!((member.status, member.beat, member.join), (Status::Active, 2, one));
        assert_eq!(member.info, info("10.0.0.1:7000"));
        assert!(snapshot.view.version > version && !snapshot.run.is_empty());
        rows.advance(silo(1), Status::Dead, 1_000).await.unwrap();
        rows.advance(silo(1), Status::Active, 0).await.unwrap();
        assert_eq!(rows.beat(silo(1), false).await.unwrap(), Beat::Dead);
        assert_eq!(rows.read().await.unwrap().view.version, 1_001, "above what the caller had seen");
        rows.prune(silo(2), 0).await.unwrap();
        rows.prune(silo(1), 0).await.unwrap();
        assert_eq!((status(&*rows, 1).await, status(&*rows, 2).await), (None, Some(Status::Joining)));
    })
    .await;
}

#[tokio::test]
async fn a_silo_is_busy_while_its_beats_say_so() {
    on_each(|rows, _| async move {
        join(&*rows, 1).await;
        join(&*rows, 2).await;
        for busy in [false, true, true, false, true] {
            rows.beat(silo(1), busy).await.unwrap();
            let view = rows.read().await.unwrap().view;
            assert_eq!((view.members[&silo(1)].busy, view.members[&silo(2)].busy), (busy, false));
        }
        rows.advance(silo(1), Status::Dead, 0).await.unwrap();
        rows.prune(silo(1), 0).await.unwrap();
        assert_eq!(rows.read().await.unwrap().view.members.len(), 1, "nothing of it is left");
    })
    .await;
}

#[tokio::test]
async fn a_restarted_silo_supersedes_the_one_at_its_address() {
    on_each(|rows, _| async move {
        join(&*rows, 1).await;
        rows.join(silo(2), &info("10.0.0.1:7000"), Some(silo(1)), SHARDS, 0).await.unwrap();
        assert_eq!((status(&*rows, 1).await, status(&*rows, 2).await), (Some(Status::Dead), Some(Status::Joining)));
    })
    .await;
}

#[tokio::test]
async fn refused_silos_are_out_with_enough_votes_and_votes_lapse() {
    on_each(|rows, _| async move {
        for number in 1..=4 {
            join(&*rows, number).await;
        }
        let refused = |voter, target| vote(voter, target, Evidence::Refused, 2);
        assert_eq!(rows.suspect(refused(1, 4), 0).await.unwrap(), Voted::Counted(1));
        assert_eq!(rows.suspect(refused(1, 4), 0).await.unwrap(), Voted::Counted(1), "one vote each");
        for _ in 0..11 {
            rows.beat(silo(1), false).await.unwrap();
        }
        assert_eq!(rows.suspect(refused(2, 4), 0).await.unwrap(), Voted::Counted(1), "the first one lapsed");
        assert_eq!(rows.suspect(refused(1, 4), 0).await.unwrap(), Voted::Killed);
        assert_eq!(rows.suspect(refused(2, 4), 0).await.unwrap(), Voted::AlreadyDead);
        assert_eq!(rows.suspect(refused(4, 1), 0).await.unwrap(), Voted::VoterDead);
        assert_eq!(rows.suspect(refused(9, 1), 0).await.unwrap(), Voted::UnknownVoter);
        assert_eq!(rows.suspect(refused(1, 9), 0).await.unwrap(), Voted::UnknownTarget);
        assert_eq!(rows.suspect(vote(1, 2, Evidence::Refused, 1), 0).await.unwrap(), Voted::Killed);
    })
    .await;
}

#[tokio::test]
async fn silent_silos_are_out_only_while_their_beat_stands_still() {
    on_each(|rows, _| async move {
        for number in 1..=3 {
            join(&*rows, number).await;
        }
        let silent = |voter| vote(voter, 3, Evidence::Silent, 2);
        for round in 0..2 {
            for voter in [1, 2] {
                assert_eq!(rows.suspect(silent(voter), 0).await.unwrap(), Voted::Counted(0), "round {round}");
                rows.beat(silo(voter), false).await.unwrap();
            }
        }
        rows.beat(silo(3), false).await.unwrap(); // it lives: all begins anew
        for _ in 0..2 {
            for voter in [1, 2] {
                assert_eq!(rows.suspect(silent(voter), 0).await.unwrap(), Voted::Counted(0));
                rows.beat(silo(voter), false).await.unwrap();
            }
        }
        assert_eq!(rows.suspect(silent(1), 0).await.unwrap(), Voted::Counted(1));
        assert_eq!(rows.suspect(silent(2), 0).await.unwrap(), Voted::Killed);
    })
    .await;
}

#[tokio::test]
async fn evidence_of_a_partition_counts_for_a_partition_only() {
    on_each(|rows, _| async move {
        for number in 1..=4 {
            join(&*rows, number).await;
        }
        assert_eq!(rows.suspect(vote(1, 4, Evidence::Partition, 3), 0).await.unwrap(), Voted::Counted(1));
        assert_eq!(rows.suspect(vote(2, 4, Evidence::Refused, 2), 0).await.unwrap(), Voted::Counted(1));
        assert_eq!(rows.suspect(vote(3, 4, Evidence::Partition, 3), 0).await.unwrap(), Voted::Killed);
    })
    .await;
}

#[tokio::test]
async fn a_store_that_went_back_is_given_what_it_lost() {
    on_each(|rows, _| async move {
        join(&*rows, 1).await;
        rows.advance(silo(1), Status::Active, 0).await.unwrap();
        let before = rows.read().await.unwrap().view;
        let mut known = View { version: 500, members: before.members.clone() };
        let mut gone = known.members[&silo(1)].clone();
        gone.incarnation = silo(2);
        gone.status = Status::Dead;
        known.members.insert(silo(2), gone);
        known.members.get_mut(&silo(1)).unwrap().status = Status::Leaving;
        rows.restore(&known).await.unwrap();
        let after = rows.read().await.unwrap().view;
        assert_eq!(after.version, 501);
        assert_eq!(after.members[&silo(1)].status, Status::Leaving);
        assert_eq!(after.members[&silo(2)].status, Status::Dead, "death is not forgotten");
        rows.restore(&before).await.unwrap();
        assert_eq!(rows.read().await.unwrap().view, after, "what is older changes nothing");
    })
    .await;
}
