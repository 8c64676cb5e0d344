//! The match: the fight at a fixed rate, from its beginning to the last reward.

use std::sync::Arc;
use std::time::Duration;

use gristmill::grains::TimerHandle;
use gristmill::prelude::*;

use crate::rules::combatant::Death;
use crate::rules::config::MAX_SEATS;
use crate::rules::input::QUEUE_LIMIT;
use crate::rules::{
    DeathOutcome, Event, Input, InputQueue, MatchState, Phase, PlayerId, Snapshot, StepOutput, Vitals, WorldView,
};

use super::chat::ChatRef;
use super::leaderboard::{LeaderboardRef, SEASON};
use super::lobby::{LOBBY, LobbyRef, OpenMatch};
use super::match_record::{Journal, MatchReport, MatchSetup};
use super::player::PlayerRef;

/// How often it looks after what is not the fight: its beginning, and what follows from its end.
const BEAT: Duration = Duration::from_millis(100);
/// How many beats a match without work stays, so that its report can be read.
const REST: u32 = 50;
/// How long anybody may take to answer; then they are asked again at the next beat.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most inputs that wait for a tick, of all players.
const MAX_ARRIVED: usize = MAX_SEATS * QUEUE_LIMIT;

/// A match. Its key is the match's name.
#[grain_interface]
pub trait Match {
    /// For the matchmaker: there shall be this match. Safe to repeat; answers what it is made of, which the first call says.
    async fn create(&mut self, setup: MatchSetup) -> MatchSetup;

    /// A player's input, for the next tick. An input is not durable: a player who lost one sends the next.
    async fn submit(&mut self, player: PlayerId, input: Input);

    /// What a player (or anybody else: a spectator) sees; none before the fight begins.
    async fn get_view(&self, player: PlayerId) -> Option<Snapshot>;

    /// Everything about the match.
    async fn get_report(&self) -> MatchReport;

    /// From a player: health and armour are now these.
    async fn on_vitals(&mut self, player: PlayerId, vitals: Vitals);

    /// From a player: they died. Safe to repeat.
    async fn on_player_death(&mut self, player: PlayerId, death: Death);

    /// From a player: let me out. Safe to repeat.
    async fn leave(&mut self, player: PlayerId);
}

/// Two records, as two things are at stake. The fight changes thirty times a second and would be worth a write each time
/// only if a crash must not take back a single step; it is written once a second, and at once where others rely on it: when
/// it begins, when an item was used up, and when it has ended. Everything else is in the journal, durable before anybody
/// hears of it.
///
/// `keep_running`, as nobody calls a match whose players have gone, yet they want their rewards.
#[derive(Grain)]
#[grain(implements(Match), lifecycle, keep_running)]
pub struct MatchGrain {
    ctx: GrainContext<Self>,
    #[state]
    journal: Persistent<Journal>,
    #[state(every = "1s", codec = "bincode")]
    fight: Persistent<Option<MatchState>>,
    /// Inputs for the next tick.
    arrived: Vec<(PlayerId, Input)>,
    /// What everybody sees: made once a tick, shared by all who look.
    view: Option<Arc<WorldView>>,
    ticker: Option<TimerHandle>,
    idle_beats: u32,
}

impl Lifecycle for MatchGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        if self.is_running() {
            self.come_back().await?;
            self.start_ticking()?;
        }
        self.view = self.fight.as_ref().map(|fight| Arc::new(fight.world()));
        self.ctx.every(BEAT, Self::beat)?;
        Ok(())
    }
}

impl Match for MatchGrain {
    async fn create(&mut self, setup: MatchSetup) -> MatchSetup {
        match &self.journal.setup {
            Some(held) => held.clone(),
            None => self.journal.setup.insert(setup).clone(),
        }
    }

    async fn submit(&mut self, player: PlayerId, input: Input) {
        if self.is_running() && self.arrived.len() < MAX_ARRIVED {
            self.arrived.push((player, input));
        }
    }

    async fn get_view(&self, player: PlayerId) -> Option<Snapshot> {
        let own = self.fight.as_ref()?.own_view(&player);
        Some(Snapshot { world: self.view.clone()?, own })
    }

    async fn get_report(&self) -> MatchReport {
        MatchReport { journal: self.journal.clone(), fight: self.fight.clone() }
    }

    async fn on_vitals(&mut self, player: PlayerId, vitals: Vitals) {
        if let Some(fight) = self.running() {
            fight.on_vitals(&player, vitals);
        }
    }

    async fn on_player_death(&mut self, player: PlayerId, death: Death) {
        let Some(fight) = self.running() else { return };
        match fight.on_player_death(&player, death.no, death.source.as_deref(), death.kind) {
            DeathOutcome::Logged(events) => self.announce(&events),
            DeathOutcome::Known(Some(respawn)) => self.player(&player).respawn(respawn).send(),
            DeathOutcome::Missing(first) => {
                self.player(&player).report_deaths(self.ctx.key().into(), first.saturating_sub(1)).send();
            }
            DeathOutcome::Known(None) | DeathOutcome::Ignored => {}
        }
    }

    async fn leave(&mut self, player: PlayerId) {
        if let Some(fight) = self.running() {
            let events = fight.leave(&player);
            self.announce(&events);
        }
    }
}

impl MatchGrain {
    fn player(&self, id: &PlayerId) -> PlayerRef {
        self.ctx.grain(id.clone())
    }

    fn lobby(&self) -> LobbyRef {
        self.ctx.grain(LOBBY)
    }

    fn is_running(&self) -> bool {
        self.fight.as_ref().is_some_and(|fight| fight.phase == Phase::Running)
    }

    /// The fight, to change it, if it runs. An ended fight never changes.
    fn running(&mut self) -> Option<&mut MatchState> {
        if self.is_running() { self.fight.as_mut() } else { None }
    }

    fn start_ticking(&mut self) -> Result<(), BoxError> {
        let Some(fight) = self.fight.as_ref() else { return Ok(()) };
        self.ticker = Some(self.ctx.tick_hz(f64::from(fight.config.tick_hz), Self::tick)?);
        Ok(())
    }

    /// Plays one tick.
    async fn tick(&mut self) {
        let inputs = std::mem::take(&mut self.arrived);
        let Some(fight) = self.running() else { return };
        let step = fight.step(&inputs);
        let world = fight.world();
        self.post(&step);
        if step.finished.is_some()
            && let Some(ticker) = self.ticker.take()
        {
            ticker.stop();
        }
        // An item's effect must not outlive a crash that brings the item back, and nobody may see an end that a crash
        // takes back. What was sent so far in this turn leaves with the commit.
        let used = step.events.iter().any(|event| matches!(event, Event::Used { .. }));
        if (used || step.finished.is_some())
            && let Err(error) = self.fight.commit().await
        {
            // The activation is lost. The next one plays the last second again.
            return tracing::warn!(game = self.ctx.key(), %error, "a fight was not written");
        }
        self.view = Some(Arc::new(world));
        self.announce(&step.events);
    }

    /// Sends a step's messages to the players: one-way, in order, as a tick waits for nobody.
    fn post(&self, step: &StepOutput) {
        step.respawns.iter().for_each(|m| self.player(&m.target).respawn(m.clone()).send());
        step.hits.iter().for_each(|m| self.player(&m.target).take_damage(m.clone()).send());
        step.grants.iter().for_each(|m| self.player(&m.target).apply_buff(m.clone()).send());
    }

    /// Says in the match's own room what is worth a word. A crash may make it say a thing twice, or not at all.
    fn announce(&self, events: &[Event]) {
        let Some(fight) = self.fight.as_ref() else { return };
        let name = |seat| fight.fighter(seat).map_or("somebody", |fighter| &*fighter.id);
        for event in events {
            let line = match event {
                Event::Died(kill) => match kill.killer {
                    Some(killer) => format!("{} killed {}", name(killer), name(kill.victim)),
                    None => format!("{} died", name(kill.victim)),
                },
                Event::Left(seat) => format!("{} left", name(*seat)),
                Event::Finished => "the match is over".to_owned(),
                _ => continue,
            };
            self.ctx.grain::<ChatRef>(self.ctx.key()).say(None, line).send();
        }
    }

    /// Goes on with a stored fight, in a new epoch. What the players know better is asked of them before the first tick.
    async fn come_back(&mut self) -> Result<(), BoxError> {
        self.journal.epoch += 1;
        self.journal.commit().await?; // no message of this epoch leaves before
        let epoch = self.journal.epoch;
        let Some(fight) = self.running() else { return Ok(()) };
        let known = fight.resume(epoch);
        for fighter in &mut fight.fighters {
            fighter.inputs = InputQueue::default(); // clients count anew, too
        }
        for (player, known) in known {
            let deaths = self.player(&player).deaths_since(self.ctx.key().into(), known).timeout(PATIENCE).await?;
            let Some(fight) = self.running() else { return Ok(()) };
            for death in deaths {
                fight.on_player_death(&player, death.no, death.source.as_deref(), death.kind);
            }
        }
        tracing::info!(game = self.ctx.key(), epoch, "a match goes on");
        Ok(())
    }

    /// Looks after what is not the fight.
    async fn beat(&mut self) {
        let done = match (&self.journal.setup, self.fight.as_ref()) {
            (Some(setup), None) => self.begin(setup.clone()).await,
            (Some(setup), Some(fight)) if fight.phase == Phase::Finished && !self.journal.closed => {
                self.settle(setup.clone(), fight.results()).await
            }
            _ if self.is_running() => Ok(()),
            _ => return self.rest(),
        };
        if let Err(error) = done {
            tracing::warn!(game = self.ctx.key(), %error, "a match could not go on; trying again");
        }
    }

    /// Opens the match to the public, and begins the fight.
    async fn begin(&mut self, setup: MatchSetup) -> Result<(), BoxError> {
        let players = setup.players.iter().map(|ticket| ticket.player.clone()).collect();
        let open = OpenMatch { match_id: setup.id(), queue: setup.queue.clone(), players };
        self.lobby().opened(open).timeout(PATIENCE).await?;
        *self.fight = Some(setup.fight());
        self.fight.commit().await?;
        self.start_ticking()
    }

    /// Pays the rewards, then tells the leaderboard and the lobby. Each of them takes it once however often it is told, so
    /// what fails, or is not known to have worked, is simply done again.
    async fn settle(&mut self, setup: MatchSetup, results: crate::rules::Results) -> Result<(), BoxError> {
        let unpaid = setup.players.iter().map(|ticket| &ticket.player).filter(|p| !self.journal.paid.contains(*p));
        let unpaid: Vec<PlayerId> = unpaid.cloned().collect();
        let mut failed = None;
        for player in unpaid {
            let prize = setup.prize(&results, &player);
            match self.player(&player).grant_reward(prize).timeout(PATIENCE).await {
                Ok(_) => drop(self.journal.paid.insert(player)),
                Err(error) => failed = Some(error), // the others need not wait
            }
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        if !self.journal.ranked {
            let board: LeaderboardRef = self.ctx.grain((SEASON, setup.queue.1));
            board.record(setup.queue.0, setup.number, results).timeout(PATIENCE).await?;
            self.journal.ranked = true;
        }
        self.lobby().finished(setup.id()).timeout(PATIENCE).await?;
        self.journal.closed = true;
        Ok(())
    }

    /// A match with nothing left to do is read for a while, and then no longer kept running.
    fn rest(&mut self) {
        self.idle_beats += 1;
        if self.idle_beats >= REST {
            self.ctx.retire();
        }
    }
}
