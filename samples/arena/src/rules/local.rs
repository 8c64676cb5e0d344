//! A whole match without a silo: both halves of the rules, bots, and a network as bad as you like.
//!
//! Stands in for the grains in tests and benchmarks, and shows what they must do: send what a step asks for, report
//! deaths until they are known, and after a restart ask the players what was missed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bot::Bot;

use super::combatant::{Combatant, DamageOutcome, Vitals};
use super::config::MatchConfig;
use super::deaths::DeathOutcome;
use super::events::{DamageKind, Event, Grant, Hit, Respawn};
use super::input::Input;
use super::invariants::{self, Violation, Watch};
use super::match_state::{MatchState, Phase};
use super::names::{PlayerId, Tick};
use super::results::Results;
use super::rng::Pcg32;
use super::snapshot::Snapshot;
use super::stamp::{Refusal, Stamp};

/// How often a player repeats a death the match has not confirmed, in ticks.
const REPEAT_DEATH: Tick = 30;

/// What goes wrong, in thousandths of all messages (or, for crashes, ticks).
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Messages that never arrive.
    pub lost: u32,
    /// Messages that arrive twice.
    pub doubled: u32,
    /// Messages that arrive up to `delay` ticks late, and so out of order.
    pub delayed: u32,
    /// How late, in ticks.
    pub delay: Tick,
    /// Ticks after which the match loses its memory and resumes from its last checkpoint.
    pub crashes: u32,
    /// Ticks between two checkpoints; 0 for every tick.
    pub checkpoint: Tick,
}

/// A message under way.
#[derive(Clone, Debug)]
enum Mail {
    Input(PlayerId, Input),
    Hit(Hit),
    Grant(Grant),
    Respawn(Respawn),
    Death { player: PlayerId, no: u32, source: Option<PlayerId>, kind: DamageKind },
    Vitals(PlayerId, Vitals),
}

/// What a simulated match came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The final state.
    pub state: MatchState,
    /// The players at the end.
    pub players: BTreeMap<PlayerId, Combatant>,
    /// The results the match reported.
    pub results: Option<Results>,
    /// An FNV-1a hash of every event in order: two equal runs have equal hashes.
    pub event_hash: u64,
    /// Every broken invariant; empty if the rules are right.
    pub violations: Vec<Violation>,
    /// How often the match crashed.
    pub crashes: u64,
}

/// A match, its players, their bots and the network between them.
#[derive(Debug)]
pub struct Local {
    state: MatchState,
    players: BTreeMap<PlayerId, Combatant>,
    bots: Vec<Bot>,
    mail: BTreeMap<(Tick, u64), Mail>,
    applied: BTreeSet<(PlayerId, u64, u32)>,
    sent: u64,
    clock: Tick,
    rng: Pcg32,
    faults: Faults,
    checkpoint: MatchState,
    watch: Watch,
    results: Option<Results>,
    event_hash: u64,
    violations: Vec<Violation>,
    crashes: u64,
}

/// Plays a match of `bots` bots to its end. The same arguments give the same outcome.
pub fn simulate(seed: u64, config: MatchConfig, bots: u8, faults: Faults) -> Outcome {
    Local::new(seed, config, bots, faults).run()
}

impl Local {
    /// A match that is about to start, with as many bots as it seats.
    pub fn new(seed: u64, config: MatchConfig, bots: u8, faults: Faults) -> Self {
        let mut state = MatchState::new("local", seed, config);
        let (mut players, mut drivers) = (BTreeMap::new(), Vec::new());
        for n in 0..bots {
            let id: PlayerId = format!("bot-{n:02}").into();
            if state.join(id.clone()).is_ok() {
                let mut combatant = Combatant::default();
                combatant.enter(state.id.clone(), state.config.tick_hz);
                players.insert(id.clone(), combatant);
                drivers.push(Bot::new(seed ^ u64::from(n), id));
            }
        }
        let started = state.start().is_ok();
        debug_assert!(started, "a match needs at least two bots");
        Self {
            checkpoint: state.clone(),
            state,
            players,
            bots: drivers,
            mail: BTreeMap::new(),
            applied: BTreeSet::new(),
            sent: 0,
            clock: 0,
            rng: Pcg32::new(seed, 2),
            faults,
            watch: Watch::default(),
            results: None,
            event_hash: 0xcbf2_9ce4_8422_2325,
            violations: Vec::new(),
            crashes: 0,
        }
    }

    /// Plays to the end, and until the last message has arrived.
    pub fn run(mut self) -> Outcome {
        while self.state.phase == Phase::Running {
            self.tick();
        }
        // Late messages must not change the outcome.
        for _ in 0..=2 * self.faults.delay {
            self.clock += 1;
            self.deliver();
        }
        self.check();
        Outcome {
            state: self.state,
            players: self.players,
            results: self.results,
            event_hash: self.event_hash,
            violations: self.violations,
            crashes: self.crashes,
        }
    }

    /// The match as it is.
    pub fn state(&self) -> &MatchState {
        &self.state
    }

    /// Plays one tick.
    pub fn tick(&mut self) {
        self.clock += 1;
        self.crash_sometimes();
        self.drive_bots();
        let inputs = self.deliver();
        let step = self.state.step(&inputs);
        let watched = self.watch.observe(&self.state, &step.events);
        self.note(watched);
        self.announce(&step.events);
        step.respawns.into_iter().for_each(|r| self.post(Mail::Respawn(r)));
        step.hits.into_iter().for_each(|h| self.post(Mail::Hit(h)));
        step.grants.into_iter().for_each(|g| self.post(Mail::Grant(g)));
        self.players_pass_time();
        if let Some(results) = step.finished {
            self.results = Some(results);
        }
        if self.clock.is_multiple_of(self.faults.checkpoint.max(1)) && self.faults.crashes > 0 {
            self.checkpoint = self.state.clone();
        }
        self.check();
    }

    fn drive_bots(&mut self) {
        let world = Arc::new(self.state.world());
        let mut bots = std::mem::take(&mut self.bots);
        for bot in &mut bots {
            let view = Snapshot { world: world.clone(), own: self.state.own_view(bot.player()) };
            let input = bot.decide(&view);
            self.post(Mail::Input(bot.player().clone(), input));
        }
        self.bots = bots;
    }

    /// Timers of the players: pulses, and deaths to repeat.
    fn players_pass_time(&mut self) {
        let (now, repeat) = (self.state.tick, self.clock.is_multiple_of(REPEAT_DEATH));
        let mut due = Vec::new();
        for (id, combatant) in &mut self.players {
            let before = combatant.vitals();
            let died = combatant.pulse_due().filter(|due| *due <= now).and_then(|_| combatant.advance(now));
            let unconfirmed = combatant.unconfirmed_death().filter(|_| repeat).map(|d| d.no);
            due.push((id.clone(), before, died.or(unconfirmed)));
        }
        for (id, before, death) in due {
            self.tell_match(&id, before, death);
        }
    }

    /// Delivers what is due; answers the inputs for the next step.
    fn deliver(&mut self) -> Vec<(PlayerId, Input)> {
        let mut inputs = Vec::new();
        while let Some(entry) = self.mail.first_entry().filter(|e| e.key().0 <= self.clock) {
            match entry.remove() {
                Mail::Input(player, input) => inputs.push((player, input)),
                Mail::Hit(hit) => self.deliver_to(&hit.target, &hit.stamp, |c| c.take_hit(&hit)),
                Mail::Grant(grant) => self.deliver_to(&grant.target, &grant.stamp, |c| c.take_grant(&grant)),
                Mail::Respawn(new) => self.deliver_to(&new.target, &new.stamp, |c| c.respawn(&new)),
                Mail::Vitals(player, vitals) => self.state.on_vitals(&player, vitals),
                Mail::Death { player, no, source, kind } => self.on_death(&player, no, source, kind),
            }
        }
        inputs
    }

    fn deliver_to(&mut self, id: &PlayerId, stamp: &Stamp, act: impl FnOnce(&mut Combatant) -> DamageOutcome) {
        let Some(combatant) = self.players.get_mut(id) else { return };
        let (before, deaths) = (combatant.vitals(), combatant.deaths());
        let outcome = act(combatant);
        if outcome.refused.is_none() {
            let new = self.applied.insert((id.clone(), stamp.epoch, stamp.seq));
            let promises =
                [("no message counts twice", new), ("no message reaches past a life", stamp.life == deaths + 1)];
            for (rule, _) in promises.iter().filter(|(_, kept)| !kept) {
                self.violations.push(Violation { tick: self.state.tick, rule, found: format!("{id}: {stamp:?}") });
            }
        }
        // A match that speaks to an ended life may have missed its death.
        let missed = (outcome.refused == Some(Refusal::OldLife)).then_some(stamp.life);
        self.tell_match(id, before, outcome.died.or(missed));
    }

    fn tell_match(&mut self, id: &PlayerId, before: Vitals, death: Option<u32>) {
        let Some(combatant) = self.players.get(id) else { return };
        let vitals = combatant.vitals();
        let death = death.and_then(|no| combatant.deaths_after(no.saturating_sub(1)).first().cloned());
        if vitals != before {
            self.post(Mail::Vitals(id.clone(), vitals));
        }
        if let Some(d) = death {
            self.post(Mail::Death { player: id.clone(), no: d.no, source: d.source, kind: d.kind });
        }
    }

    fn on_death(&mut self, player: &PlayerId, no: u32, source: Option<PlayerId>, kind: DamageKind) {
        match self.state.on_player_death(player, no, source.as_deref(), kind) {
            DeathOutcome::Logged(events) => self.announce(&events),
            DeathOutcome::Known(Some(respawn)) => self.post(Mail::Respawn(respawn)),
            DeathOutcome::Missing(first) => self.report_from(player, first),
            DeathOutcome::Known(None) | DeathOutcome::Ignored => {}
        }
    }

    fn report_from(&mut self, player: &PlayerId, first: u32) {
        let Some(combatant) = self.players.get(player) else { return };
        for d in combatant.deaths_after(first - 1).to_vec() {
            self.post(Mail::Death { player: player.clone(), no: d.no, source: d.source, kind: d.kind });
        }
    }

    fn crash_sometimes(&mut self) {
        if self.rng.chance(self.faults.crashes) {
            self.crashes += 1;
            self.state = self.checkpoint.clone();
            self.watch = Watch::default();
            for (player, known) in self.state.resume(self.crashes) {
                self.report_from(&player, known + 1);
            }
        }
    }

    /// Sends a message through the bad network.
    fn post(&mut self, mail: Mail) {
        let copies = 1 + u32::from(self.rng.chance(self.faults.doubled));
        for _ in 0..copies {
            if self.rng.chance(self.faults.lost) {
                continue;
            }
            let late = if self.rng.chance(self.faults.delayed) { self.rng.below(self.faults.delay + 1) } else { 0 };
            self.sent += 1;
            self.mail.insert((self.clock + late, self.sent), mail.clone());
        }
    }

    fn announce(&mut self, events: &[Event]) {
        for byte in events.iter().flat_map(|e| format!("{e:?}").into_bytes()) {
            self.event_hash = (self.event_hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn check(&mut self) {
        let now = invariants::check(&self.state, &self.players);
        self.note(now);
        if let Some(results) = &self.results {
            self.note(invariants::check_results(&self.state, results));
        }
    }

    fn note(&mut self, checked: Result<(), Vec<Violation>>) {
        // The first few tell what is wrong; a broken rule breaks every tick.
        if let Err(found) = checked {
            self.violations.extend(found.into_iter().take(10));
            self.violations.truncate(50);
        }
    }
}
