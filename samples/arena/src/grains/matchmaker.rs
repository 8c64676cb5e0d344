//! The matchmaker: one grain for each mode and region, so that no queue waits for another.

use std::sync::Arc;
use std::time::Duration;

use gristmill::prelude::*;
use tokio::time::Instant;

use crate::rules::PlayerId;

use super::names::{Mode, Region};
use super::player::PlayerRef;
use super::settings::Settings;
use super::used::Used;
pub use super::waiting::{Forming, Ticket, Unsure, Waiting};

/// How often it looks whether matches can be made.
const BEAT: Duration = Duration::from_millis(50);
/// The most matches of one beat: between two beats others are heard.
const AT_ONCE: usize = 16;
/// How long a player or a match may take to answer; then it is asked again at the next beat.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

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
    pub(super) ctx: GrainContext<Self>,
    #[service]
    pub(super) settings: Arc<Settings>,
    #[state]
    pub(super) waiting: Persistent<Waiting>,
    /// When somebody came, or a match was made, last; not stored: after a restart the wait begins anew.
    pub(super) last_arrival: Option<Instant>,
    /// When it last asked whether somebody waits.
    last_question: Option<Instant>,
    /// Not stored: those who repeat a ticket do not outlive the process either.
    pub(super) used: Used,
    /// How often somebody did not answer who is to be in the match that is being formed.
    pub(super) attempts: u32,
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
                Ok(false) => return self.look_after().await,
                Err(error) => {
                    return tracing::warn!(queue = self.ctx.key(), %error, "a match was not formed; trying again");
                }
            }
        }
    }

    /// Asks those of whom it is not known whether they wait: one at a time, and not often.
    async fn look_after(&mut self) {
        let long_ago = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= self.settings.patience);
        if !long_ago(self.last_question) {
            return;
        }
        if let Some(owed) = self.waiting.owed() {
            self.last_question = Some(Instant::now());
            self.ask_back(owed).await;
        } else if self.waiting.line.len() == 1 && long_ago(self.last_arrival) {
            self.last_question = Some(Instant::now());
            self.drop_stale().await;
        }
    }

    /// Asks a player who waits alone whether they do. A ticket that was cancelled or used may have come back into the line,
    /// where nobody else would ever find out.
    async fn drop_stale(&mut self) {
        let Some(ticket) = self.waiting.line.front().cloned() else { return };
        let player: PlayerRef = self.ctx.grain(ticket.player.clone());
        if let Ok(false) = player.holds(ticket.number).timeout(PATIENCE).await {
            self.waiting.line.clear();
        }
    }

    /// Whether enough wait: for a full match or, when nobody came for a while, for a small one.
    pub(super) fn can_start(&self, seats: usize) -> bool {
        let quiet = self.last_arrival.is_none_or(|at| at.elapsed() >= self.settings.patience);
        self.waiting.line.len() >= if quiet { 2 } else { seats }
    }
}
