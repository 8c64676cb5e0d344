use std::collections::BTreeMap;
use std::time::Duration;

use arena::audit::Audit;
use arena::grains::match_grain::MatchRef;
use arena::grains::match_record::MatchSetup;
use arena::grains::matchmaker::{MatchmakerRef, Ticket};
use arena::grains::names::{QUEUES, match_id};
use arena::grains::profile::Activity;
use arena::grains::settings::Settings;
use arena::rules::PlayerId;
use gristmill::grains::GrainType;
use gristmill::prelude::*;
use gristmill::storage::memory::When;
use tokio::task::JoinSet;

use crate::world::{World, assert_ok, names};

fn settings() -> Settings {
    Settings { seats: 4, seconds: 1, patience: Duration::from_millis(500), ..Settings::default() }
}

/// Players join and leave at random, and nobody waits for the answers.
async fn stir(world: &World, players: &[PlayerId], rng: &mut fastrand::Rng, steps: usize) {
    let mut calls = JoinSet::new();
    for _ in 0..steps {
        let player = world.player(&players[rng.usize(..players.len())]);
        let queue = QUEUES[rng.usize(..2)].clone();
        if rng.u8(..4) > 0 {
            calls.spawn(async move { drop(player.join(queue).await) });
        } else {
            calls.spawn(async move { drop(player.leave().await) });
        }
        if rng.u8(..3) == 0 {
            tokio::time::sleep(Duration::from_millis(rng.u64(..60))).await;
        }
    }
    calls.join_all().await;
}

async fn join(world: &World, players: &[PlayerId]) {
    for player in players {
        world.player(player).join(QUEUES[0].clone()).await.app().unwrap().unwrap();
    }
}

/// How many matches the first queue made, how many wait in it, and of how many it is not sure.
async fn queue(world: &World) -> (u64, usize, usize) {
    let queue = world.silo.grain::<MatchmakerRef>(QUEUES[0].clone()).get_queue().await.unwrap();
    (queue.made, queue.line.len(), queue.unsure.len())
}

/// Everybody who is in a match is in one that has them, by the ticket they hold.
fn assert_assignments(audit: &Audit) {
    let mut tickets = BTreeMap::new();
    for (id, report) in &audit.matches {
        for ticket in &report.journal.setup.as_ref().unwrap().players {
            let before = tickets.insert((ticket.player.clone(), ticket.number), id);
            assert_eq!(before, None, "{ticket:?} is in {id}, too");
        }
    }
    for (player, state) in &audit.players {
        if let Activity::Fighting { match_id, .. } = &state.profile.activity {
            assert_eq!(tickets.get(&(player.clone(), state.profile.ticket)), Some(&match_id), "{player}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_ticket_is_assigned_twice_however_players_come_and_go() {
    for seed in 0..20 {
        let (mut rng, players) = (fastrand::Rng::with_seed(seed), names(12));
        let mut world = World::new(settings(), &players).await;
        for _ in 0..3 {
            stir(&world, &players, &mut rng, 60).await;
            match rng.u8(..3) {
                0 => world.restart(true).await,
                1 => world.restart(false).await,
                _ => {}
            }
        }
        world.leave_queues(&players).await;
        world.quiet().await;
        let audit = Audit::take(&world.silo).await.unwrap();
        assert_assignments(&audit);
        assert!(audit.matches.len() >= 3, "{} matches", audit.matches.len());
        assert_ok(&world.check().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_ticket_that_comes_late_does_not_wait() {
    let players = names(2);
    let mut world = World::new(Settings { seats: 2, ..settings() }, &players).await;
    let queue: MatchmakerRef = world.silo.grain(QUEUES[0].clone());
    for player in &players {
        world.player(player).join(QUEUES[0].clone()).await.unwrap();
    }
    while queue.get_queue().await.unwrap().made == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ticket = |player: &PlayerId| Ticket { player: player.clone(), number: 1, rating: 1_200 };
    queue.enqueue(ticket(&players[0])).await.unwrap();
    assert_eq!(queue.get_queue().await.unwrap().line, []);
    // A later activation does not know it; the player does.
    world.quiet().await;
    world.restart(true).await;
    let queue: MatchmakerRef = world.silo.grain(QUEUES[0].clone());
    queue.enqueue(ticket(&players[0])).await.unwrap();
    assert_eq!(queue.get_queue().await.unwrap().line.len(), 1);
    assert_ok(&world.check().await);
}

#[tokio::test(start_paused = true)]
async fn a_match_made_by_a_matchmaker_that_died_before_it_knew_is_not_made_again() {
    let players = names(4);
    let mut world = World::new(settings(), &players).await;
    join(&world, &players[..2]).await;
    tokio::time::sleep(settings().patience / 2).await;
    // The next thing that is written is the choice of a small match.
    let faults = world.faults();
    faults.hold(When::After);
    faults.held(1).await;
    let chosen = faults.snapshot();
    faults.heal();
    world.quiet().await;
    assert_eq!(queue(&world).await, (1, 0, 0));
    assert_eq!(world.silo.stop().await.dropped, 0);
    faults.restore_grain(&chosen, &GrainId::new(GrainType::from_wire("matchmaker"), "pillars+eu"));
    world.restart(false).await;
    world.quiet().await;
    assert_eq!(queue(&world).await, (1, 0, 0), "it asked the match");
    join(&world, &players[2..]).await;
    world.quiet().await;
    assert_eq!(queue(&world).await, (2, 0, 0), "another match of another name");
    assert_assignments(&Audit::take(&world.silo).await.unwrap());
    assert_ok(&world.check().await);
}

#[tokio::test(start_paused = true)]
async fn a_player_who_cannot_be_reached_does_not_keep_others_from_playing() {
    let players = names(2);
    let world = World::new(Settings { seats: 2, ..settings() }, &players).await;
    let nobody = Ticket { player: " ".into(), number: 1, rating: 1_200 };
    world.silo.grain::<MatchmakerRef>(QUEUES[0].clone()).enqueue(nobody).await.unwrap();
    join(&world, &players).await;
    while queue(&world).await != (1, 0, 1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for player in &players {
        let profile = world.player(player).get_state().await.unwrap().profile;
        assert_eq!(profile.last_match, Some(match_id(&QUEUES[0], 1)), "{player}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_not_in_a_match_that_was_made_before_searches_on() {
    let players = names(4);
    let mut world = World::new(Settings { seats: 3, seconds: 5, ..settings() }, &players).await;
    // As if an earlier attempt had come through late, when the third had not answered.
    let ticket = |player: &PlayerId| Ticket { player: player.clone(), number: 1, rating: 1_200 };
    let (id, config) = (match_id(&QUEUES[0], 1), world.settings.config(QUEUES[0].0));
    let two = players[..2].iter().map(ticket).collect();
    let setup = MatchSetup { queue: QUEUES[0].clone(), number: 1, seed: 1, config, players: two };
    let held = world.silo.grain::<MatchRef>(id).create(setup.clone()).await.unwrap();
    assert_eq!(held, setup);
    join(&world, &players[..3]).await;
    while queue(&world).await != (1, 1, 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let third = world.player(&players[2]).get_state().await.unwrap().profile;
    assert!(third.holds(1), "{third:?}");
    join(&world, &players[3..]).await;
    world.quiet().await;
    assert_eq!(queue(&world).await, (2, 0, 0));
    assert_assignments(&Audit::take(&world.silo).await.unwrap());
    assert_ok(&world.check().await);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_given_back_for_the_match_it_was_used_for() {
    let players = names(2);
    let mut world = World::new(Settings { seats: 2, ..settings() }, &players).await;
    join(&world, &players[..1]).await;
    let held = world.silo.grain::<MatchmakerRef>(QUEUES[0].clone());
    held.withdraw(players[0].clone(), 1).await.unwrap();
    let late = world.player(&players[0]);
    late.assign(1, "pillars.eu.77".into(), 30).await.app().unwrap().unwrap();
    assert!(!late.unassign(1, "pillars.eu.78".into()).await.unwrap(), "not of that match");
    assert!(late.unassign(1, "pillars.eu.77".into()).await.unwrap());
    assert!(late.unassign(1, "pillars.eu.77".into()).await.unwrap(), "safe to repeat");
    join(&world, &players).await;
    world.quiet().await;
    assert_eq!(queue(&world).await, (1, 0, 0));
    assert_ok(&world.check().await);
}

#[tokio::test(start_paused = true)]
async fn a_queue_makes_many_matches_at_once() {
    let players = names(60);
    let mut world = World::new(Settings { seats: 2, ..settings() }, &players).await;
    for player in &players {
        world.player(player).join(QUEUES[0].clone()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let queue = world.silo.grain::<MatchmakerRef>(QUEUES[0].clone()).get_queue().await.unwrap();
    assert_eq!((queue.made, queue.line.len()), (30, 0), "in six beats");
    assert_ok(&world.check().await);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_cancelled_while_its_match_is_formed_leaves_the_others_theirs() {
    for seed in 0..20 {
        let (mut rng, players) = (fastrand::Rng::with_seed(seed), names(4));
        let mut world = World::new(settings(), &players).await;
        for player in &players {
            world.player(player).join(QUEUES[0].clone()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(30..70))).await;
        let quitters = JoinSet::from_iter(players.iter().take(3).map(|player| {
            let player = world.player(player);
            async move { player.leave().await.unwrap() }
        }));
        let cancelled = quitters.join_all().await.iter().filter(|a| **a == Activity::Idle).count();
        let alone = cancelled == 3;
        if alone {
            world.player(&players[3]).leave().await.unwrap();
        }
        world.quiet().await;
        let audit = Audit::take(&world.silo).await.unwrap();
        assert_assignments(&audit);
        let seated: usize = audit.matches.values().map(|m| m.journal.setup.as_ref().unwrap().players.len()).sum();
        assert_eq!(seated, if alone { 0 } else { 4 - cancelled }, "{cancelled} cancelled");
        assert_ok(&world.check().await);
    }
}
