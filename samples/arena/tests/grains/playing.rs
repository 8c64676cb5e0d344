use std::sync::Arc;
use std::time::Duration;

use arena::args::Args;
use arena::cast::{Actor, Ended};
use arena::checks::PLAYED;
use arena::grains::chat::{ChatError, ChatRef};
use arena::grains::leaderboard::{LeaderboardRef, SEASON};
use arena::grains::lobby::{LOBBY, LobbyRef};
use arena::grains::names::{QUEUES, Region};
use arena::grains::player::PlayerRef;
use arena::grains::profile::{Activity, Busy};
use arena::grains::settings::Settings;
use arena::host;
use arena::play::{self, Failure, Outcome};
use clap::Parser;
use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use tokio::task::JoinSet;

use crate::world::{World, assert_ok, names};

#[tokio::test(start_paused = true)]
async fn a_run_plays_its_matches_and_everything_holds() {
    let args = "arena --matches 3 --players 5 --seconds 60 --storage memory".split(' ');
    let Outcome::Done(run) = play::run(&Args::parse_from(args), std::future::pending()).await.unwrap() else {
        panic!("nobody interrupted it")
    };
    assert_ok(&run.checks);
    assert_eq!((run.matches, run.players, run.resumed), (3, 15, 0));
    let kills: u64 = run.audit.players.values().map(|state| state.profile.kills).sum();
    assert!(kills > 10, "{kills} kills in three minutes");
}

#[tokio::test(start_paused = true)]
async fn a_run_of_many_matches_plays_every_one() {
    let args = "arena --matches 100 --players 2 --seconds 1 --storage memory".split(' ');
    let Outcome::Done(run) = play::run(&Args::parse_from(args), std::future::pending()).await.unwrap() else {
        panic!("nobody interrupted it")
    };
    assert_ok(&run.checks);
    assert_eq!((run.matches, run.players), (100, 200));
    assert!(run.checks.0.contains_key(PLAYED));
}

#[tokio::test(start_paused = true)]
async fn a_bot_without_a_match_says_so() {
    let players = names(1);
    let mut world = World::new(Settings::default(), &players).await;
    let (silo, player, wish) = (world.silo.clone(), players[0].clone(), Some(QUEUES[0].clone()));
    let alone = Actor { calls: silo, player, seed: 1, wish, patience: Duration::from_secs(15) };
    assert_eq!(alone.play().await, Ended::GaveUp);
    assert_eq!(world.player(&players[0]).get_state().await.unwrap().profile.activity, Activity::Idle);
    assert_ok(&world.check().await);
}

#[tokio::test]
async fn an_interrupted_run_is_finished_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let storage = format!("embedded:{}", dir.path().join("world.redb").display());
    let args = Args::parse_from(["arena", "--matches=1", "--players=3", "--seconds=3", "--storage", &storage]);
    let soon = tokio::time::sleep(Duration::from_millis(1_500));
    assert!(matches!(play::run(&args, soon).await.unwrap(), Outcome::Interrupted));
    let Outcome::Done(run) = play::run(&args, std::future::pending()).await.unwrap() else { panic!() };
    assert_ok(&run.checks);
    assert_eq!((run.matches, run.players, run.resumed), (1, 3, 1));
    assert!(run.earlier.is_empty(), "the resumed match is this run's: {:?}", run.earlier);
}

#[tokio::test(start_paused = true)]
async fn players_left_in_queues_are_finished_with_by_the_next_run() {
    let storage = Arc::new(MemoryStorage::new());
    let players = names(6);
    let silo = host::start(storage.clone(), Arc::default()).await.unwrap();
    silo.grain::<LobbyRef>(LOBBY).welcome(players.clone()).await.unwrap();
    // Three wait in one queue, one alone in another, one in a third.
    for (player, queue) in players.iter().zip([0, 0, 0, 1, 2]) {
        silo.grain::<PlayerRef>(player.clone()).join(QUEUES[queue].clone()).await.unwrap();
    }
    assert_eq!(silo.stop().await.dropped, 0);
    let run = |text: &str| {
        let (args, storage) = (Args::parse_from(text.split(' ')), storage.clone());
        async move {
            match play::run_on(storage, &args, std::future::pending()).await.unwrap() {
                Outcome::Done(run) => run,
                Outcome::Interrupted => panic!("nobody interrupted it"),
            }
        }
    };
    let left = run("arena --matches 1 --players 2 --seconds 1").await;
    assert_ok(&left.checks);
    assert_eq!((left.matches, left.players, left.resumed), (1, 5, 0), "two of three play");
    assert!(left.audit.players.values().all(|state| state.profile.activity == Activity::Idle));
    let next = run("arena --matches 2 --players 2 --seconds 1").await;
    assert_ok(&next.checks);
    assert_eq!((next.matches, next.players), (2, 4), "new ones");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_storage_another_takes_says_so() {
    let storage = Arc::new(MemoryStorage::new());
    let args = Args::parse_from("arena --matches 1 --players 2 --seconds 20".split(' '));
    let other = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let other = host::start(storage.clone(), Arc::default()).await.unwrap();
        std::future::pending::<()>().await;
        drop(other);
    };
    let failure = tokio::select! {
        run = play::run_on(storage.clone(), &args, std::future::pending()) => run.unwrap_err(),
        () = other => unreachable!("it never ends"),
    };
    assert!(matches!(failure, Failure::Stopped(_)), "{failure:?}");
    assert!(failure.to_string().contains("let that run end"), "{failure}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_a_match_gets_nothing_and_is_free_when_it_ends() {
    let players = names(4);
    let mut world = World::new(Settings { seats: 4, seconds: 10, ..Settings::default() }, &players).await;
    let mut bots = JoinSet::new();
    for player in &players {
        let (silo, player, wish) = (world.silo.clone(), player.clone(), Some(QUEUES[0].clone()));
        bots.spawn(Actor { calls: silo, player, seed: 1, wish, patience: Duration::from_secs(15) }.play());
    }
    let deserter = world.player(&players[0]);
    while deserter.get_state().await.unwrap().profile.current_match().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(matches!(deserter.leave().await.unwrap(), Activity::Fighting { leaving: true, .. }));
    assert_eq!(deserter.join(QUEUES[1].clone()).await.app().unwrap(), Err(Busy::InMatch));
    world.quiet().await;
    let profile = deserter.get_state().await.unwrap().profile;
    assert_eq!((profile.activity, profile.left, profile.finished, profile.xp), (Activity::Idle, 1, 0, 0));
    assert!(profile.rating < 1_200, "leaving counts as losing");
    let board: LeaderboardRef = world.silo.grain((SEASON, Region::Eu));
    assert_eq!(board.top(10).await.unwrap().len(), 3);
    let around = board.around(players[1].clone(), 1).await.unwrap();
    assert!((2..=3).contains(&around.len()) && around.iter().any(|line| line.player == players[1]));
    assert_ok(&world.check().await);
}

#[tokio::test(start_paused = true)]
async fn a_chat_room_numbers_its_lines_and_forgets_the_oldest() {
    let world = World::new(Settings::default(), &[]).await;
    let room: ChatRef = world.silo.grain("room");
    assert_eq!(room.say(None, " ".to_owned()).await.app().unwrap(), Err(ChatError::Empty));
    assert_eq!(room.say(None, "x".repeat(201)).await.app().unwrap(), Err(ChatError::TooLong));
    for n in 1..=60 {
        assert_eq!(room.say(Some("alice".into()), format!("line {n}")).await.app().unwrap(), Ok(n));
    }
    let seen: Vec<u64> = room.since(0).await.unwrap().iter().map(|line| line.seq).collect();
    assert_eq!(seen, (11..=60).collect::<Vec<_>>());
    assert_eq!(room.since(58).await.unwrap().len(), 2);
}
