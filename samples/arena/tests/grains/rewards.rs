use std::time::Duration;

use arena::grains::lobby::{LOBBY, LobbyRef};
use arena::grains::match_grain::MatchRef;
use arena::grains::match_record::MatchReport;
use arena::grains::names::{QUEUES, match_id};
use arena::grains::settings::Settings;
use arena::rules::Phase;
use gristmill::prelude::*;
use gristmill::storage::memory::When;

use crate::world::{World, assert_ok, names};

const PLAYERS: usize = 6;

/// A world whose first match has just ended, its rewards not yet paid.
async fn at_the_end_of_a_match() -> World {
    let players = names(PLAYERS);
    let mut world = World::new(Settings { seats: 6, seconds: 1, ..Settings::default() }, &players).await;
    for player in &players {
        world.player(player).join(QUEUES[0].clone()).await.unwrap();
    }
    wait_for(&mut world, |report| report.fight.is_some_and(|fight| fight.phase == Phase::Finished)).await;
    world
}

async fn report(world: &World) -> Result<MatchReport, CallError> {
    let game: MatchRef = world.silo.grain(match_id(&QUEUES[0], 1));
    game.get_report().timeout(Duration::from_secs(1)).await
}

async fn wait_for(world: &mut World, reached: impl Fn(MatchReport) -> bool) {
    loop {
        if report(world).await.is_ok_and(&reached) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn assert_paid_once(world: &mut World) {
    assert_ok(&world.check().await);
    for player in names(PLAYERS) {
        let profile = world.player(&player).get_state().await.unwrap().profile;
        assert_eq!((profile.finished, profile.current_match()), (1, None), "{player}");
    }
    assert_eq!(world.silo.grain::<LobbyRef>(LOBBY).overview().await.unwrap().finished, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reward_offered_again_is_not_taken_again() {
    let mut world = at_the_end_of_a_match().await;
    wait_for(&mut world, |report| report.journal.closed).await;
    let MatchReport { journal, fight } = report(&world).await.unwrap();
    let (setup, results) = (journal.setup.unwrap(), fight.unwrap().results());
    for player in names(PLAYERS) {
        let prize = setup.prize(&results, &player);
        assert!(!world.player(&player).grant_reward(prize).await.unwrap(), "it had been taken");
    }
    assert_paid_once(&mut world).await;
}

#[tokio::test(start_paused = true)]
async fn rewards_survive_a_storage_that_loses_requests_and_answers() {
    for (fails, when) in [(1, When::Before), (3, When::After), (8, When::Before), (13, When::After)] {
        let mut world = at_the_end_of_a_match().await;
        world.faults().fail_next(fails, when);
        assert_paid_once(&mut world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rewards_survive_grants_that_fail_for_a_while() {
    let mut world = at_the_end_of_a_match().await;
    world.faults().fail_all(When::After);
    // Longer than the match's patience with a player: grants time out, and are repeated, though they may have been made.
    tokio::time::sleep(Duration::from_secs(7)).await;
    world.faults().heal();
    assert_paid_once(&mut world).await;
}

#[tokio::test(start_paused = true)]
async fn rewards_survive_restarts_in_the_middle_of_the_payout() {
    for cut_after in 0..12 {
        let mut world = at_the_end_of_a_match().await;
        // The payout stands still wherever that many commits have brought it.
        let faults = world.faults();
        let start = faults.counts().commits;
        let reached = async {
            while faults.counts().commits < start + cut_after {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // The last ones cut after the payout.
        let _ = tokio::time::timeout(Duration::from_secs(1), reached).await;
        faults.hold(if cut_after % 2 == 0 { When::Before } else { When::After });
        tokio::time::sleep(Duration::from_millis(200)).await;
        faults.heal();
        world.restart(cut_after % 3 == 0).await;
        assert_paid_once(&mut world).await;
    }
}
