//! What must hold at every tick, whatever the network and the machines do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::combatant::{Combatant, MAX_ARMOUR, MAX_HEALTH};
use super::config::{MAX_SEATS, MatchConfig};
use super::events::Event;
use super::fighter::{Body, Fighter};
use super::items::ItemKind;
use super::match_state::MatchState;
use super::names::{PlayerId, Seat, Tick};
use super::results::Results;
use super::weapons::{SHOT_COOLDOWN_MS, STRIKE_COOLDOWN_MS};

/// A broken promise, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in match ticks.
    pub tick: Tick,
    /// Which promise.
    pub rule: &'static str,
    /// What was found instead.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tick {}: {}: {}", self.tick, self.rule, self.found)
    }
}

/// Collects violations of one tick.
struct Checks(Tick, Vec<Violation>);

impl Checks {
    fn hold(&mut self, rule: &'static str, holds: bool, found: impl FnOnce() -> String) {
        if !holds {
            self.1.push(Violation { tick: self.0, rule, found: found() });
        }
    }

    fn done(self) -> Result<(), Vec<Violation>> {
        if self.1.is_empty() { Ok(()) } else { Err(self.1) }
    }
}

/// Checks a match against its players.
///
/// Players without a combatant in `players` are checked as far as the match alone shows.
///
/// # Errors
/// Every violation found.
pub fn check(state: &MatchState, players: &BTreeMap<PlayerId, Combatant>) -> Result<(), Vec<Violation>> {
    let mut checks = Checks(state.tick, Vec::new());
    items_are_conserved(state, &mut checks);
    kill_log_is_sound(state, &mut checks);
    for fighter in &state.fighters {
        fighter_is_sound(state, fighter, &mut checks);
        if let Some(combatant) = players.get(&fighter.id) {
            match_and_player_agree(state, fighter, combatant, &mut checks);
        }
    }
    checks.done()
}

fn items_are_conserved(state: &MatchState, checks: &mut Checks) {
    let carried = state.fighters.iter().flat_map(|f| &f.bag);
    let all: Vec<_> = state.floor.iter().map(|f| &f.item).chain(carried).collect();
    let distinct: BTreeSet<u32> = all.iter().map(|i| i.id).collect();
    checks.hold("no item exists twice", distinct.len() == all.len(), || format!("{all:?}"));
    for kind in ItemKind::ALL {
        let found = all.iter().filter(|i| i.kind == kind).count() as u32;
        let (made, used) = (state.ledger.made(kind), state.ledger.used(kind));
        checks.hold("made = lying + carried + used up", made == found + used, || {
            format!("{kind:?}: {made} made, {found} lying or carried, {used} used up")
        });
    }
}

fn kill_log_is_sound(state: &MatchState, checks: &mut Checks) {
    let mut deaths = [0; MAX_SEATS];
    for kill in &state.kills {
        let seats = state.fighters.len();
        let seated = |s: Seat| s.index() < seats;
        checks.hold("the log names seats of the match", seated(kill.victim) && kill.killer.is_none_or(seated), || {
            format!("{kill:?}")
        });
        checks.hold("nobody is their own killer", kill.killer != Some(kill.victim), || format!("{kill:?}"));
        if let Some(count) = deaths.get_mut(kill.victim.index()) {
            *count += 1;
            checks.hold("deaths are logged once each, in order", kill.death_no == *count, || format!("{kill:?}"));
        }
    }
    for (fighter, logged) in state.fighters.iter().zip(deaths) {
        checks.hold("a fighter's deaths are those of the log", fighter.deaths == logged, || {
            format!("{}: counts {}, log has {logged}", fighter.id, fighter.deaths)
        });
    }
}

fn fighter_is_sound(state: &MatchState, fighter: &Fighter, checks: &mut Checks) {
    let id = &fighter.id;
    checks.hold("fighters stand inside, out of the walls", state.config.map.map().is_free(fighter.at), || {
        format!("{id} at {:?}", fighter.at)
    });
    checks.hold("a bag holds no more than its slots", fighter.bag.len() <= usize::from(state.config.bag_slots), || {
        format!("{id} carries {:?}", fighter.bag)
    });
    checks.hold("the dead carry nothing", fighter.is_alive() || fighter.bag.is_empty(), || {
        format!("{id} carries {:?}", fighter.bag)
    });
    if let Body::Dead { respawn_at } = fighter.body {
        let wait = state.config.respawn;
        checks.hold("the dead come back in time", (1..=wait).contains(&respawn_at.saturating_sub(state.tick)), || {
            format!("{id} at tick {respawn_at}")
        });
    }
    let inputs = &fighter.inputs;
    checks.hold("only inputs that came are acknowledged", inputs.acked() <= inputs.newest(), || {
        format!("{id}: {} of {}", inputs.acked(), inputs.newest())
    });
}

fn match_and_player_agree(state: &MatchState, fighter: &Fighter, combatant: &Combatant, checks: &mut Checks) {
    let (id, vitals, known) = (&fighter.id, combatant.vitals(), fighter.vitals);
    checks.hold("health and armour stay in bounds", vitals.health <= MAX_HEALTH && vitals.armour <= MAX_ARMOUR, || {
        format!("{id}: {vitals:?}")
    });
    checks.hold("the match knows no death that was not died", fighter.deaths <= combatant.deaths(), || {
        format!("{id}: match {}, player {}", fighter.deaths, combatant.deaths())
    });
    checks.hold("reported health = stored health", known.revision < vitals.revision || known == vitals, || {
        format!("{id}: match {known:?}, player {vitals:?}")
    });
    let seat = state.seat(id);
    let logged = state.kills.iter().filter(|k| Some(k.victim) == seat);
    for (kill, death) in logged.zip(combatant.deaths_after(0)) {
        let source = death.source.as_deref().filter(|s| *s != &**id).and_then(|s| state.seat(s));
        checks.hold("the log credits whom the player blames", (kill.killer, kill.kind) == (source, death.kind), || {
            format!("{id}: log {kill:?}, player {death:?}")
        });
    }
}

/// Checks reported results against the kill log of the match, counted anew.
///
/// # Errors
/// Every violation found.
pub fn check_results(state: &MatchState, results: &Results) -> Result<(), Vec<Violation>> {
    let mut checks = Checks(state.tick, Vec::new());
    let credited = state.kills.iter().filter(|k| k.killer.is_some()).count();
    let kills: u32 = results.players.iter().map(|p| p.tally.kills).sum();
    let (deaths, unforced) =
        results.players.iter().fold((0, 0), |(d, u), p| (d + p.tally.deaths, u + p.tally.unforced));
    checks.hold("kills = deaths by players", kills == deaths - unforced && kills as usize == credited, || {
        format!("{kills} kills, {deaths} deaths of which {unforced} unforced, {credited} credited in the log")
    });
    for player in &results.players {
        let seat = state.seat(&player.player);
        let killed = state.kills.iter().filter(|k| k.killer.is_some() && k.killer == seat).count() as i32;
        let slipped = state.kills.iter().filter(|k| k.killer.is_none() && Some(k.victim) == seat).count() as i32;
        checks.hold("score = what the kill log says", player.score() == killed - slipped, || {
            format!("{}: {} for {killed} kills and {slipped} slips", player.player, player.score())
        });
    }
    checks.done()
}

/// Checks the rules about acting, which one state alone cannot show, against the events of each step.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    last: BTreeMap<(Seat, bool), Tick>,
}

impl Watch {
    /// Checks one step's events against the state after it.
    ///
    /// # Errors
    /// Every violation found.
    pub fn observe(&mut self, state: &MatchState, events: &[Event]) -> Result<(), Vec<Violation>> {
        let mut checks = Checks(state.tick, Vec::new());
        for event in events {
            let (by, shot, cooldown) = match event {
                Event::Struck { by, .. } => (*by, Some(false), STRIKE_COOLDOWN_MS),
                Event::Shot { by, .. } => (*by, Some(true), SHOT_COOLDOWN_MS),
                Event::Took { by, .. } | Event::Used { by, .. } | Event::Dropped { by, .. } => (*by, None, 0),
                _ => continue,
            };
            let alive = state.fighter(by).is_some_and(Fighter::is_alive);
            checks.hold("the dead do not act", alive, || format!("{event:?}"));
            let Some(shot) = shot else { continue };
            let wait = MatchConfig::ticks(&state.config, cooldown);
            let last = self.last.insert((by, shot), state.tick);
            checks.hold("cooldowns are kept", last.is_none_or(|last| last + wait <= state.tick), || {
                format!("{event:?}, last at {last:?}")
            });
        }
        checks.done()
    }
}
