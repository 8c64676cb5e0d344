//! The promises of the rules, kept over many seeds, settings and bad networks.

use std::collections::BTreeMap;

use arena::rules::local::{Faults, Local, Outcome, simulate};
use arena::rules::map::MapName;
use arena::rules::rating::rating_changes;
use arena::rules::{MatchConfig, MatchState, Phase};
use proptest::prelude::*;

fn settings() -> impl Strategy<Value = (MatchConfig, u8)> {
    let map = prop_oneof![Just(MapName::Pit), Just(MapName::Pillars)];
    (map, 10u32..=60, 200u32..1_500, 1u32..60, 1u32..60, 1u32..200, 1u8..6, 2u8..9).prop_map(
        |(map, tick_hz, duration, kill_limit, respawn, pad_refill, bag_slots, bots)| {
            let settings = MatchConfig {
                map,
                tick_hz,
                duration,
                kill_limit,
                respawn,
                pad_refill,
                bag_slots,
                ..MatchConfig::default()
            };
            (settings, bots)
        },
    )
}

fn bad_network() -> impl Strategy<Value = Faults> {
    (0u32..300, 0u32..500, 0u32..800, 0u32..40, 0u32..30, 0u32..60).prop_map(
        |(lost, doubled, delayed, delay, crashes, checkpoint)| Faults {
            lost,
            doubled,
            delayed,
            delay,
            crashes,
            checkpoint,
        },
    )
}

fn assert_sound(outcome: &Outcome) {
    let told: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    assert_eq!(outcome.state.phase, Phase::Finished);
    assert_eq!(outcome.results.as_ref(), Some(&outcome.state.results()), "late messages changed the outcome");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_on_a_good_network((config, bots) in settings(), seed: u64) {
        assert_sound(&simulate(seed, config, bots, Faults::default()));
    }

    #[test]
    fn invariants_hold_when_messages_are_lost_doubled_or_late_and_matches_crash(
        (config, bots) in settings(), seed: u64, faults in bad_network(),
    ) {
        assert_sound(&simulate(seed, config, bots, faults));
    }

    #[test]
    fn the_same_seed_plays_the_same_match((config, bots) in settings(), seed: u64, faults in bad_network()) {
        let [a, b] = [(); 2].map(|()| simulate(seed, config.clone(), bots, faults));
        prop_assert_eq!(a.event_hash, b.event_hash);
        prop_assert_eq!(a.state, b.state);
        prop_assert_eq!(a.players, b.players);
    }
}

#[test]
fn a_match_is_the_same_on_every_machine() {
    // Changes with every change of the rules or the bots, and with nothing else.
    let outcome = simulate(7, MatchConfig { duration: 900, ..MatchConfig::default() }, 8, Faults::default());
    assert_sound(&outcome);
    assert_eq!(outcome.event_hash, 8_346_386_029_245_358_165);
}

#[test]
fn a_stored_match_plays_on_as_if_it_had_not_been_stored() {
    let mut local = Local::new(3, MatchConfig::default(), 8, Faults::default());
    for _ in 0..300 {
        local.tick();
    }
    let stored = serde_json::to_string(local.state()).unwrap();
    let mut restored: MatchState = serde_json::from_str(&stored).unwrap();
    assert_eq!(&restored, local.state());
    let mut original = local.state().clone();
    for _ in 0..300 {
        assert_eq!(original.step(&[]), restored.step(&[]));
    }
    assert!(stored.len() < 16_000, "{} bytes", stored.len());
}

#[test]
fn bots_fight_a_match_worth_watching() {
    let outcome = simulate(11, MatchConfig { duration: 1_800, ..MatchConfig::default() }, 8, Faults::default());
    let results = outcome.results.as_ref().unwrap();
    let kills: u32 = results.players.iter().map(|p| p.tally.kills).sum();
    assert!(kills >= 20, "{kills} kills in a minute");
    let used: u32 = arena::rules::ItemKind::ALL.iter().map(|k| outcome.state.ledger.used(*k)).sum();
    assert!(used >= 5, "{used} items used");
    let changes = rating_changes(results, &BTreeMap::new());
    assert_eq!(changes.values().sum::<i32>(), 0);
    assert!(changes[&results.players[0].player] > 0);
}

#[test]
fn a_bad_network_slows_a_match_but_does_not_stop_it() {
    let faults = Faults { lost: 200, doubled: 200, delayed: 500, delay: 15, crashes: 2, checkpoint: 30 };
    let outcome = simulate(5, MatchConfig { duration: 1_800, ..MatchConfig::default() }, 8, faults);
    assert_sound(&outcome);
    assert!(outcome.crashes > 0);
    let reborn = outcome.state.kills.iter().filter(|k| k.death_no > 1).count();
    assert!(reborn >= 5, "{reborn} deaths in a later life");
}
