use arena::args::Args;
use arena::audit::Audit;
use arena::checks::{
    self, BOARD, Checks, FINISHED, ITEMS, KILLS, PLAYED, RATINGS, REWARDS, RULES, SCORES, STORED, TICKETS,
};
use arena::grains::player::PlayerState;
use arena::grains::profile::Profile;
use arena::play::{self, Outcome};
use arena::rules::{Body, DamageKind, ItemKind, MatchState, Respawn, Seat, Stamp};
use clap::Parser;

async fn played() -> Audit {
    let args = Args::parse_from(["arena", "--matches=2", "--players=4", "--seconds=40", "--storage=memory"]);
    match play::run(&args, std::future::pending()).await.unwrap() {
        Outcome::Done(run) => run.audit,
        Outcome::Interrupted => panic!("nobody interrupted it"),
    }
}

type Harm = fn(&mut Audit);

/// What may go wrong, and which check is to see it.
const HARMS: [(&str, Harm); 18] = [
    (REWARDS, |world| world.players.values_mut().for_each(|p| p.profile.coins += 1)),
    (RATINGS, |world| profile(world).rating += 1),
    (KILLS, |world| profile(world).kills += 1),
    (KILLS, |world| (0..2).for_each(|_| die(a_player(world)))),
    (KILLS, |world| {
        die(a_player(world));
        live_again(a_player(world));
    }),
    (KILLS, |world| fight(world).fighters.iter_mut().for_each(|fighter| fighter.deaths += 1)),
    (SCORES, |world| profile(world).last_prize.as_mut().unwrap().tally.kills += 1),
    (SCORES, |world| {
        // The log and everything that follows from it credit another; only the victims know better.
        let seats = fight(world).fighters.len();
        let kills = &mut fight(world).kills;
        let kill = kills.iter_mut().find(|kill| kill.killer.is_some()).unwrap();
        kill.killer = (0..seats).map(|n| Seat(n as u8)).find(|seat| Some(*seat) != kill.killer && *seat != kill.victim);
    }),
    (ITEMS, |world| *profile(world).inventory.entry(ItemKind::Plate).or_default() += 1),
    (ITEMS, |world| {
        let lying = fight(world).floor[0];
        fight(world).floor.push(lying);
    }),
    (RULES, |world| fight(world).fighters[0].body = Body::Dead { respawn_at: 0 }),
    (BOARD, |world| world.boards[0][0].standing.points += 1),
    (BOARD, |world| world.boards[0][0].standing.kills += 1),
    (BOARD, |world| {
        let (best, last) = (world.boards[0][0].standing.clone(), world.boards[0].len() - 1);
        world.boards[0][0].standing = std::mem::replace(&mut world.boards[0][last].standing, best);
    }),
    (BOARD, |world| drop(world.boards[0].pop())),
    (FINISHED, |world| world.matches.first_entry().unwrap().get_mut().journal.closed = false),
    (FINISHED, |world| world.lobby.finished -= 1),
    (TICKETS, |world| {
        let setup = world.matches.first_entry().unwrap().into_mut().journal.setup.as_mut().unwrap();
        setup.players.push(setup.players[0].clone());
    }),
];

fn profile(world: &mut Audit) -> &mut Profile {
    &mut world.players.first_entry().unwrap().into_mut().profile
}

fn fight(world: &mut Audit) -> &mut MatchState {
    world.matches.first_entry().unwrap().into_mut().fight.as_mut().unwrap()
}

fn a_player(world: &mut Audit) -> &mut PlayerState {
    world.players.first_entry().unwrap().into_mut()
}

/// A death that the match never hears of.
fn die(player: &mut PlayerState) {
    live_again(player);
    player.combatant.take_damage(1_000, DamageKind::Poison, None);
}

fn live_again(PlayerState { profile, combatant }: &mut PlayerState) {
    let (match_id, life) = (profile.last_match.clone().unwrap(), combatant.deaths() + 1);
    let stamp = Stamp { match_id, epoch: 1_000, seq: life, life, tick: 100_000 };
    combatant.respawn(&Respawn { stamp, target: "anybody".into() });
}

#[tokio::test(start_paused = true)]
async fn every_check_sees_what_it_is_for() {
    let sound = played().await;
    assert!(checks::check(&sound).ok());
    for (name, harm) in HARMS {
        let mut world = sound.clone();
        harm(&mut world);
        assert_ne!(world, sound, "{name}: no harm done");
        assert!(!checks::check(&world).0[name].is_empty(), "{name} does not see it");
    }
    let mut last_moment = sound.clone();
    last_moment.players.values_mut().filter(|player| player.combatant.is_alive()).for_each(die);
    assert!(checks::check(&last_moment).ok(), "anybody may die once more when the match is over");
    for (asked, played, missed) in
        [(Some(3), 2, vec![]), (Some(2), 2, vec!["p".to_owned()]), (None, 2, vec!["p".to_owned()])]
    {
        let mut checks = Checks::default();
        checks::check_played(asked, played, &missed, &mut checks);
        assert_eq!(checks.0[PLAYED].len(), 1, "{asked:?} {played} {missed:?}");
    }
    let (mut checks, mut stored) = (checks::check(&sound), sound.clone());
    stored.players.first_entry().unwrap().get_mut().profile.xp += 1;
    checks::compare(&sound, &stored, &mut checks);
    assert_eq!(checks.0[STORED].len(), 1);
}
