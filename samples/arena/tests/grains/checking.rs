use arena::args::Args;
use arena::audit::Audit;
use arena::checks::{self, BOARD, Checks, FINISHED, ITEMS, KILLS, PLAYED, RATINGS, REWARDS, SCORES, STORED, TICKETS};
use arena::play::{self, Outcome};
use arena::rules::ItemKind;
use clap::Parser;

async fn played() -> Audit {
    let args = Args::parse_from(["arena", "--matches=2", "--players=4", "--seconds=40", "--storage=memory"]);
    match play::run(&args, std::future::pending()).await.unwrap() {
        Outcome::Done(run) => run.audit,
        Outcome::Interrupted => panic!("nobody interrupted it"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_check_sees_what_it_is_for() {
    let sound = played().await;
    assert!(checks::check(&sound).ok());
    type Harm = fn(&mut Audit);
    let harms: [(&str, Harm); 9] = [
        (REWARDS, |world| world.players.values_mut().for_each(|p| p.profile.coins += 1)),
        (RATINGS, |world| world.players.first_entry().unwrap().get_mut().profile.rating += 1),
        (KILLS, |world| world.players.first_entry().unwrap().get_mut().profile.kills += 1),
        (ITEMS, |world| {
            *world.players.first_entry().unwrap().get_mut().profile.inventory.entry(ItemKind::Plate).or_default() += 1;
        }),
        (ITEMS, |world| {
            let fight = world.matches.first_entry().unwrap().into_mut().fight.as_mut().unwrap();
            let lying = fight.floor[0];
            fight.floor.push(lying);
        }),
        (BOARD, |world| world.boards[0][0].standing.points += 1),
        (FINISHED, |world| world.matches.first_entry().unwrap().get_mut().journal.closed = false),
        (FINISHED, |world| world.lobby.finished -= 1),
        (TICKETS, |world| {
            let setup = world.matches.first_entry().unwrap().into_mut().journal.setup.as_mut().unwrap();
            setup.players.push(setup.players[0].clone());
        }),
    ];
    for (name, harm) in harms {
        let mut world = sound.clone();
        harm(&mut world);
        assert!(!checks::check(&world).0[name].is_empty(), "{name} does not see it");
    }
    assert!(checks::check(&sound).0.contains_key(SCORES));
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
