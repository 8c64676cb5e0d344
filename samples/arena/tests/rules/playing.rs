use std::collections::BTreeMap;

use arena::rules::{
    Action, Event, Heading, Input, JoinError, MatchConfig, MatchState, Phase, PlayerId, Point, Vitals, invariants,
};

fn running(config: MatchConfig) -> MatchState {
    let mut state = MatchState::new("m", 1, config);
    for player in ["alice", "bob"] {
        state.join(player.into()).unwrap();
    }
    state.start().unwrap();
    state
}

fn alice(seq: u32, action: Action) -> (PlayerId, Input) {
    ("alice".into(), Input { seq, action, aim: Heading { x: 1, y: 0 }, ..Input::default() })
}

/// Puts both fighters in the open, Bob to the right of Alice.
fn face_to_face(state: &mut MatchState, apart: i32) {
    state.fighters[0].at = Point::new(4_000, 4_000);
    state.fighters[1].at = Point::new(4_000 + apart, 4_000);
}

#[test]
fn one_input_is_played_per_tick_however_many_arrive() {
    let mut state = running(MatchConfig::default());
    let start = state.fighters[0].at;
    let walk = Heading::towards(start, Point::new(16_000, 16_000));
    let flood: Vec<_> = (1..=10).map(|seq| ("alice".into(), Input { seq, walk, ..Input::default() })).collect();
    state.step(&flood);
    assert_eq!(state.fighters[0].inputs.acked(), 1);
    assert!(start.within(state.fighters[0].at, 5_000 / 30));
    assert_ne!(start, state.fighters[0].at);
}

#[test]
fn a_strike_hits_who_stands_ahead_and_in_reach_and_then_cools_down() {
    let mut state = running(MatchConfig::default());
    face_to_face(&mut state, 1_500);
    let step = state.step(&[alice(1, Action::Strike)]);
    assert_eq!(step.hits.len(), 1);
    assert_eq!((&*step.hits[0].target, step.hits[0].attacker.as_deref()), ("bob", Some("alice")));
    assert!(state.step(&[alice(2, Action::Strike)]).events.is_empty(), "cooling down");
    face_to_face(&mut state, 1_700);
    while state.tick < state.fighters[0].strike_ready {
        state.step(&[]);
    }
    assert!(state.step(&[alice(3, Action::Strike)]).hits.is_empty(), "out of reach");
}

#[test]
fn a_shot_stops_at_a_wall() {
    let mut state = running(MatchConfig::default());
    face_to_face(&mut state, 8_000);
    assert_eq!(state.step(&[alice(1, Action::Shoot)]).hits.len(), 1);
    let mut state = running(MatchConfig::default());
    (state.fighters[0].at, state.fighters[1].at) = (Point::new(6_000, 9_500), Point::new(13_000, 9_500));
    assert!(state.step(&[alice(1, Action::Shoot)]).hits.is_empty());
}

#[test]
fn items_are_taken_by_touch_used_up_and_left_behind_by_leaving() {
    let mut state = running(MatchConfig::default());
    state.fighters[0].at = Point::new(6_000, 16_000);
    let took = state.step(&[]).events.iter().any(|e| matches!(e, Event::Took { .. }));
    assert!(took && state.fighters[0].bag.len() == 1);
    assert_eq!(state.step(&[alice(1, Action::Use(0))]).grants.len(), 1, "the potion's regeneration");
    state.fighters[0].at = Point::new(22_500, 13_000);
    state.step(&[]);
    let events = state.leave("alice");
    assert!(matches!(events[..], [Event::Dropped { .. }, Event::Left(_)]), "{events:?}");
    invariants::check(&state, &BTreeMap::new()).unwrap();
    assert_eq!(state.join("alice".into()), Err(JoinError::Left));
    let results = state.step(&[]).finished.unwrap();
    assert_eq!(state.phase, Phase::Finished, "nobody is left to fight");
    assert_eq!((results.of("bob").unwrap().place, results.of("alice").unwrap().place), (1, 2));
}

#[test]
fn what_one_puts_down_another_can_take_at_once() {
    let mut state = running(MatchConfig::default());
    state.fighters[0].at = Point::new(6_000, 16_000);
    state.step(&[]);
    state.step(&[alice(1, Action::Drop(0))]);
    state.step(&[]);
    assert!(state.fighters[0].bag.is_empty(), "not the one who put it down");
    state.fighters[1].at = state.fighters[0].at;
    state.step(&[]);
    assert_eq!(state.fighters[1].bag.len(), 1);
}

#[test]
fn old_news_of_health_does_not_replace_newer() {
    let mut state = running(MatchConfig::default());
    state.on_vitals("bob", Vitals { revision: 2, health: 40, armour: 0 });
    state.on_vitals("bob", Vitals { revision: 1, health: 70, armour: 0 });
    assert_eq!(state.fighters[1].vitals.health, 40);
}
