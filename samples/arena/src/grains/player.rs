//! The player: profile, ticket, and the player's half of the fight.

use std::time::Duration;

use gristmill::grains::TimerHandle;
use gristmill::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::rules::combatant::Death;
use crate::rules::{Combatant, DamageOutcome, Grant, Hit, MatchId, PlayerId, Refusal, Respawn, Stamp, Tick};

use super::match_grain::MatchRef;
use super::matchmaker::{MatchmakerRef, Ticket};
use super::names::Queue;
use super::profile::{Activity, Busy, Prize, Profile};

/// How often a player in a match lets poison and regeneration work, and repeats what the match may not know.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Everything a player is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayerState {
    /// What they keep from match to match.
    pub profile: Profile,
    /// Health, buffs and deaths in the match they are in, or were in last.
    pub combatant: Combatant,
}

/// A player. Its key is the player's name.
#[grain_interface]
pub trait Player {
    /// The whole player.
    async fn get_state(&self) -> PlayerState;

    /// Searches for a match in a queue; answers the ticket's number. Asking again is safe, and tells the queue again.
    async fn join(&mut self, queue: Queue) -> Result<u64, Busy>;

    /// Cancels the search, or asks to be let out of the match; answers what the player does then. Whoever leaves a match
    /// gets no reward from it, and is free when it ends.
    async fn leave(&mut self) -> Activity;

    /// For the matchmaker: does the player still wait for a match with this ticket?
    async fn holds(&self, ticket: u64) -> bool;

    /// For the matchmaker: uses the ticket for a match. Safe to repeat.
    async fn assign(&mut self, ticket: u64, match_id: MatchId, tick_hz: u32) -> Result<(), Busy>;

    /// For the matchmaker: the match will not be. Does the player search on, with this ticket? Safe to repeat.
    async fn unassign(&mut self, ticket: u64, match_id: MatchId) -> bool;

    /// For the match: a blow. Is the player still alive?
    async fn take_damage(&mut self, hit: Hit) -> bool;

    /// For the match: a buff or armour.
    async fn apply_buff(&mut self, grant: Grant) -> Result<(), Refusal>;

    /// For the match: a new life.
    async fn respawn(&mut self, respawn: Respawn);

    /// For the match: the deaths after the first `known`.
    async fn deaths_since(&self, match_id: MatchId, known: u32) -> Vec<Death>;

    /// For the match: report the deaths after the first `known`.
    async fn report_deaths(&self, match_id: MatchId, known: u32);

    /// For the match: the reward, which ends the player's part in it. Safe to repeat; whether it was new.
    async fn grant_reward(&mut self, prize: Prize) -> bool;
}

/// Both records are of the `turn` policy: whatever a player tells anybody is durable. So a match that crashed can ask its
/// players, and a reward whose acknowledgement was lost is known to be a repetition. A blow costs one small commit; the
/// blows that come while one is under way share the next.
#[derive(Grain)]
#[grain(implements(Player), lifecycle)]
pub struct PlayerGrain {
    ctx: GrainContext<Self>,
    #[state]
    profile: Persistent<Profile>,
    #[state]
    combatant: Persistent<Combatant>,
    /// The match's tick as last told, and when; not stored, as the match tells again.
    clock: Option<(Tick, Instant)>,
    /// Runs while the player is in a match.
    heartbeat: Option<TimerHandle>,
}

impl Lifecycle for PlayerGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        self.start_heartbeat()?;
        Ok(())
    }
}

impl Player for PlayerGrain {
    async fn get_state(&self) -> PlayerState {
        PlayerState { profile: self.profile.clone(), combatant: self.combatant.clone() }
    }

    async fn join(&mut self, queue: Queue) -> Result<u64, Busy> {
        let number = self.profile.search(queue.clone())?;
        let ticket = Ticket { player: self.id(), number, rating: self.profile.rating };
        // Leaves when the ticket is durable. Lost with the process, it is sent again when the player asks again.
        self.ctx.grain::<MatchmakerRef>(queue).enqueue(ticket).send();
        Ok(number)
    }

    async fn leave(&mut self) -> Activity {
        if let Activity::Searching { queue } = &self.profile.activity {
            self.ctx.grain::<MatchmakerRef>(queue.clone()).withdraw(self.id(), self.profile.ticket).send();
        }
        if self.profile.activity != Activity::Idle {
            self.profile.leave();
        }
        self.ask_to_be_let_out();
        self.profile.activity.clone()
    }

    async fn holds(&self, ticket: u64) -> bool {
        self.profile.holds(ticket)
    }

    async fn assign(&mut self, ticket: u64, match_id: MatchId, tick_hz: u32) -> Result<(), Busy> {
        if self.profile.assign(ticket, &match_id, tick_hz)? {
            self.combatant.enter(match_id, tick_hz);
            // An activation that is lost begins again in `on_activate`.
            let _ = self.start_heartbeat();
        }
        Ok(())
    }

    async fn unassign(&mut self, ticket: u64, match_id: MatchId) -> bool {
        if self.profile.current_match() == Some(&match_id) {
            self.profile.unassign(ticket, &match_id);
        }
        if self.profile.current_match().is_none() {
            self.stop_heartbeat();
        }
        self.profile.holds(ticket)
    }

    async fn take_damage(&mut self, hit: Hit) -> bool {
        self.on_message(&hit.stamp, |me| me.take_hit(&hit)).alive
    }

    async fn apply_buff(&mut self, grant: Grant) -> Result<(), Refusal> {
        self.on_message(&grant.stamp, |me| me.take_grant(&grant)).refused.map_or(Ok(()), Err)
    }

    async fn respawn(&mut self, respawn: Respawn) {
        self.on_message(&respawn.stamp, |me| me.respawn(&respawn));
    }

    async fn deaths_since(&self, match_id: MatchId, known: u32) -> Vec<Death> {
        let here = self.profile.current_match() == Some(&match_id);
        if here { self.combatant.deaths_after(known).to_vec() } else { Vec::new() }
    }

    async fn report_deaths(&self, match_id: MatchId, known: u32) {
        if self.profile.current_match() == Some(&match_id) {
            self.tell_deaths(known, usize::MAX);
        }
    }

    async fn grant_reward(&mut self, prize: Prize) -> bool {
        if self.profile.current_match() != Some(&prize.match_id) {
            return false; // without touching the state, which would be written
        }
        self.stop_heartbeat();
        self.profile.take_home(&prize)
    }
}

impl PlayerGrain {
    fn id(&self) -> PlayerId {
        self.ctx.key().into()
    }

    /// The match the player is in.
    fn game(&self) -> Option<MatchRef> {
        self.profile.current_match().map(|id| self.ctx.grain(id.clone()))
    }

    /// Takes a message of the match, unless the player is not in it.
    fn on_message(&mut self, stamp: &Stamp, act: impl FnOnce(&mut Combatant) -> DamageOutcome) -> DamageOutcome {
        if self.profile.current_match() != Some(&stamp.match_id) {
            return DamageOutcome { refused: Some(Refusal::NotHere), ..DamageOutcome::default() };
        }
        self.clock = Some((stamp.tick, Instant::now()));
        let before = self.combatant.vitals();
        let outcome = act(&mut self.combatant);
        // A match that speaks to an ended life may have missed its death.
        let missed = (outcome.refused == Some(Refusal::OldLife)).then_some(stamp.life);
        self.tell_match(before.revision, outcome.died.or(missed));
        outcome
    }

    /// Tells the match what has changed. One-way: it leaves when this turn is durable, and nobody waits.
    fn tell_match(&self, before: u32, death: Option<u32>) {
        let Some(game) = self.game() else { return };
        let vitals = self.combatant.vitals();
        if vitals.revision != before {
            game.on_vitals(self.id(), vitals).send();
        }
        if let Some(no) = death {
            self.tell_deaths(no.saturating_sub(1), 1);
        }
    }

    fn tell_deaths(&self, known: u32, most: usize) {
        let Some(game) = self.game() else { return };
        for death in self.combatant.deaths_after(known).iter().take(most) {
            game.on_player_death(self.id(), death.clone()).send();
        }
    }

    fn ask_to_be_let_out(&self) {
        if let (Activity::Fighting { leaving: true, .. }, Some(game)) = (&self.profile.activity, self.game()) {
            game.leave(self.id()).send();
        }
    }

    /// Starts the heartbeat of a player who is in a match.
    fn start_heartbeat(&mut self) -> Result<(), Fault> {
        if self.profile.current_match().is_some() && self.heartbeat.is_none() {
            self.heartbeat = Some(self.ctx.every(HEARTBEAT, Self::heartbeat)?);
        }
        Ok(())
    }

    fn stop_heartbeat(&mut self) {
        if let Some(heartbeat) = self.heartbeat.take() {
            heartbeat.stop();
        }
    }

    /// Lets time pass where no message of the match does, and repeats what the match may have missed.
    async fn heartbeat(&mut self) {
        let Activity::Fighting { tick_hz, .. } = self.profile.activity else { return };
        self.ask_to_be_let_out();
        let before = self.combatant.vitals().revision;
        let mut died = None;
        if let Some(due) = self.combatant.pulse_due() {
            // After a restart no tick is known until the match speaks: time goes on from the pulse that is due.
            let (tick, at) = *self.clock.get_or_insert_with(|| (due, Instant::now()));
            let passed = at.elapsed().as_millis() * u128::from(tick_hz) / 1000;
            let now = tick.saturating_add(Tick::try_from(passed).unwrap_or(Tick::MAX));
            if due <= now {
                died = self.combatant.advance(now);
            }
        }
        let unconfirmed = self.combatant.unconfirmed_death().map(|death| death.no);
        self.tell_match(before, died.or(unconfirmed));
    }
}
