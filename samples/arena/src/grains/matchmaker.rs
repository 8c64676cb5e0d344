//! The matchmaker: one grain for each mode and region, so that no queue waits for another.

use std::sync::Arc;
use std::time::Duration;

use gristmill::prelude::*;
use tokio::time::Instant;

use crate::rules::{MatchId, PlayerId};

use super::match_grain::MatchRef;
use super::match_record::{MatchSetup, seed_of};
use super::names::{Mode, Queue, Region, match_id};
use super::player::PlayerRef;
use super::settings::Settings;
use super::used::Used;
pub use super::waiting::{Forming, Ticket, Waiting};

/// How often it looks whether matches can be made.
const BEAT: Duration = Duration::from_millis(50);
/// The most matches of one beat: between two beats others are heard.
const AT_ONCE: usize = 16;
/// How long a player or a match may take to answer; then it is asked again at the next beat.
const PATIENCE: Duration = Duration::from_secs(2);

/// A queue of players. Its key is the mode and the region.
#[grain_interface(key = Compound<Mode, Region>)]
pub trait Matchmaker {
    /// Takes a player's ticket. Safe to repeat.
    async fn enqueue(&mut self, ticket: Ticket);

    /// Takes a ticket out of the line. No more than a courtesy: a cancelled ticket refuses to be assigned.
    async fn withdraw(&mut self, player: PlayerId, number: u64);

    /// Who waits, and how many matches were made.
    async fn get_queue(&self) -> Waiting;
}

/// How a ticket is assigned once, whatever fails: the choice is durable before a player is asked; the player, who owns
/// the ticket, uses it in one turn and for one match; and every step is safe to repeat, under the same match's name, until
/// the match exists. `keep_running`, so that it goes on after a crash though nobody calls.
#[derive(Grain)]
#[grain(implements(Matchmaker), key = Compound<Mode, Region>, lifecycle, keep_running)]
pub struct MatchmakerGrain {
    ctx: GrainContext<Self>,
    #[service]
    settings: Arc<Settings>,
    #[state]
    waiting: Persistent<Waiting>,
    /// When somebody came, or a match was made, last; not stored: after a restart the wait begins anew.
    last_arrival: Option<Instant>,
    /// When it last asked whether somebody waits.
    last_question: Option<Instant>,
    /// Not stored: those who repeat a ticket do not outlive the process either.
    used: Used,
}

impl Lifecycle for MatchmakerGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        self.last_arrival = Some(Instant::now());
        self.ctx.every(BEAT, Self::beat)?;
        Ok(())
    }
}

impl Matchmaker for MatchmakerGrain {
    async fn enqueue(&mut self, ticket: Ticket) {
        if !self.waiting.contains(&ticket) && !self.used.contains(&ticket) {
            self.last_arrival = Some(Instant::now());
            self.waiting.enqueue(ticket);
        }
    }

    async fn withdraw(&mut self, player: PlayerId, number: u64) {
        if self.waiting.line.iter().any(|t| t.player == player && t.number == number) {
            self.waiting.line.retain(|t| t.player != player);
        }
    }

    async fn get_queue(&self) -> Waiting {
        self.waiting.clone()
    }
}

impl MatchmakerGrain {
    async fn beat(&mut self) {
        for _ in 0..AT_ONCE {
            match self.form().await {
                Ok(true) => {}
                Ok(false) => return self.drop_stale().await,
                Err(error) => {
                    return tracing::warn!(queue = self.ctx.key(), %error, "a match was not formed; trying again");
                }
            }
        }
    }

    /// Forms a match, as far as it gets; whether there is one more.
    async fn form(&mut self) -> Result<bool, BoxError> {
        let seats = usize::from(self.settings.seats);
        if self.waiting.forming.is_none() {
            if !self.can_start(seats) {
                return Ok(false);
            }
            let chosen = self.waiting.choose(seats);
            self.waiting.forming = Some(Forming { chosen });
        }
        // Before anybody hears of it.
        self.waiting.commit().await?;

        let queue = self.ctx.typed_key()?;
        let number = self.waiting.made + 1;
        let id = match_id(&queue, number);
        let chosen = self.waiting.forming.as_ref().map(|forming| forming.chosen.clone()).unwrap_or_default();
        let mut seated = Vec::new();
        for ticket in &chosen {
            if self.seat(ticket, &id).await? {
                seated.push(ticket.clone());
            }
        }
        if seated.len() < 2 {
            self.disband(seated, &id).await?;
            return Ok(false);
        }
        self.create(queue, number, id, seated).await?;
        self.waiting.made = number;
        self.waiting.forming = None;
        chosen.iter().for_each(|ticket| self.used.note(ticket));
        // While a match was formed nobody could come.
        self.last_arrival = Some(Instant::now());
        Ok(true)
    }

    /// Asks a player who waits alone whether they do. A ticket that was cancelled or used may have come back into the line,
    /// where nobody else would ever find out.
    async fn drop_stale(&mut self) {
        let Some(ticket) = self.waiting.line.front().filter(|_| self.waiting.line.len() == 1).cloned() else { return };
        let long_ago = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= self.settings.patience);
        if !long_ago(self.last_arrival) || !long_ago(self.last_question) {
            return;
        }
        self.last_question = Some(Instant::now());
        let player: PlayerRef = self.ctx.grain(ticket.player.clone());
        if let Ok(false) = player.holds(ticket.number).timeout(PATIENCE).await {
            self.waiting.line.clear();
        }
    }

    /// Whether enough wait: for a full match or, when nobody came for a while, for a small one.
    fn can_start(&self, seats: usize) -> bool {
        let quiet = self.last_arrival.is_none_or(|at| at.elapsed() >= self.settings.patience);
        self.waiting.line.len() >= if quiet { 2 } else { seats }
    }

    /// Assigns a ticket; whether its player is in.
    async fn seat(&self, ticket: &Ticket, id: &MatchId) -> Result<bool, BoxError> {
        let player: PlayerRef = self.ctx.grain(ticket.player.clone());
        let assigned = player.assign(ticket.number, id.clone(), self.settings.tick_hz).timeout(PATIENCE).await;
        Ok(assigned.app()?.is_ok())
    }

    /// Too many have cancelled: who has not goes back to the front of the line. The match's number is not used up.
    async fn disband(&mut self, seated: Vec<Ticket>, id: &MatchId) -> Result<(), BoxError> {
        let mut searching = Vec::new();
        for ticket in seated {
            let player: PlayerRef = self.ctx.grain(ticket.player.clone());
            if player.unassign(ticket.number, id.clone()).timeout(PATIENCE).await? {
                searching.push(ticket);
            }
        }
        self.waiting.forming = None;
        searching.into_iter().rev().for_each(|ticket| self.waiting.line.push_front(ticket));
        Ok(())
    }

    async fn create(&self, queue: Queue, number: u64, id: MatchId, players: Vec<Ticket>) -> Result<(), BoxError> {
        let config = self.settings.config(queue.0);
        let setup = MatchSetup { queue, number, seed: seed_of(self.settings.seed, &id), config, players };
        let game: MatchRef = self.ctx.grain(id);
        game.create(setup).timeout(PATIENCE).await?;
        Ok(())
    }
}
