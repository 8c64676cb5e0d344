//! How the matchmaker forms a match.

use gristmill::prelude::*;
use tokio::time::Instant;

use crate::rules::MatchId;

use super::match_grain::MatchRef;
use super::match_record::{MatchSetup, seed_of};
use super::matchmaker::{Forming, MatchmakerGrain, PATIENCE, Ticket, Unsure};
use super::names::{Queue, match_id};
use super::player::PlayerRef;

/// How often a match is tried with a player who does not answer; then it goes on without them.
const ATTEMPTS: u32 = 4;

impl MatchmakerGrain {
    /// Forms a match, as far as it gets; whether there is one more.
    pub(super) async fn form(&mut self) -> Result<bool, BoxError> {
        let seats = usize::from(self.settings.seats);
        let again = self.waiting.forming.is_some();
        if !again {
            if !self.can_start(seats) {
                return Ok(false);
            }
            let chosen = self.waiting.choose(seats);
            self.waiting.forming = Some(Forming { chosen });
            self.attempts = 0;
        }
        // Before anybody hears of it.
        self.waiting.commit().await?;

        let queue = self.ctx.typed_key()?;
        let id = match_id(&queue, self.waiting.made + 1);
        let chosen = self.waiting.forming.as_ref().map(|forming| forming.chosen.clone()).unwrap_or_default();
        if again && let Some(setup) = self.setup_of(&id).await? {
            // It was made, and only that was not known: by now it may even be over. Of the others it is not known why they
            // are not in it.
            self.made(&setup, &chosen);
            let outside = chosen.iter().filter(|ticket| !setup.players.iter().any(|t| t.same(ticket)));
            outside.for_each(|ticket| self.doubt(ticket, &id));
            return Ok(true);
        }
        let seated = self.seat(&chosen, &id).await?;
        if seated.len() < 2 {
            self.give_back(seated, &id).await;
            self.waiting.forming = None;
            return Ok(false);
        }
        let setup = self.create(queue, id.clone(), seated.clone()).await?;
        self.made(&setup, &chosen);
        // Nobody, unless an earlier attempt came through late.
        let outside = seated.into_iter().filter(|ticket| !setup.players.iter().any(|t| t.same(ticket)));
        self.give_back(outside.collect(), &id).await;
        Ok(true)
    }

    /// Notes that there is the match.
    fn made(&mut self, setup: &MatchSetup, chosen: &[Ticket]) {
        self.waiting.made = setup.number;
        self.waiting.forming = None;
        chosen.iter().for_each(|ticket| self.used.note(ticket));
        setup.players.iter().for_each(|ticket| self.waiting.settle(ticket));
        // While it was formed nobody could come.
        self.last_arrival = Some(Instant::now());
    }

    /// What a match is made of, if there is one.
    async fn setup_of(&self, id: &MatchId) -> Result<Option<MatchSetup>, BoxError> {
        let game: MatchRef = self.ctx.grain(id.clone());
        Ok(game.get_report().timeout(PATIENCE).await?.journal.setup)
    }

    /// Assigns tickets; answers those whose players are in. Who does not answer may be in, too, or come in late: they are
    /// asked to give the ticket back when the match has gone on without them.
    async fn seat(&mut self, chosen: &[Ticket], id: &MatchId) -> Result<Vec<Ticket>, BoxError> {
        let (mut seated, mut silent) = (Vec::new(), Vec::new());
        for ticket in chosen {
            let player: PlayerRef = self.ctx.grain(ticket.player.clone());
            let assigned = player.assign(ticket.number, id.clone(), self.settings.tick_hz).timeout(PATIENCE).await;
            match assigned.app() {
                Ok(Ok(())) => seated.push(ticket.clone()),
                Ok(Err(_stale)) => {}
                Err(error) => silent.push((ticket, error)),
            }
        }
        if let Some((ticket, error)) = silent.first() {
            self.attempts += 1;
            tracing::warn!(queue = self.ctx.key(), player = %ticket.player, %error, "a player does not answer");
            if self.attempts < ATTEMPTS {
                return Err(error.to_string().into());
            }
        }
        seated.iter().for_each(|ticket| self.waiting.settle(ticket));
        silent.into_iter().for_each(|(ticket, _)| self.doubt(ticket, id));
        Ok(seated)
    }

    /// Takes tickets back from players whose match will not be: who still searches goes to the front of the line.
    async fn give_back(&mut self, tickets: Vec<Ticket>, id: &MatchId) {
        // The last one first, as each is put before the others.
        for ticket in tickets.into_iter().rev() {
            self.doubt(&ticket, id);
            self.ask_back(Unsure { ticket, match_id: id.clone() }).await;
        }
    }

    /// Notes that a ticket may be used for a match without its player.
    fn doubt(&mut self, ticket: &Ticket, id: &MatchId) {
        self.waiting.settle(ticket);
        self.waiting.unsure.push_back(Unsure { ticket: ticket.clone(), match_id: id.clone() });
    }

    /// Asks a player to give a ticket back. Who does not answer is asked again later, after the others.
    pub(super) async fn ask_back(&mut self, Unsure { ticket, match_id }: Unsure) {
        let player: PlayerRef = self.ctx.grain(ticket.player.clone());
        match player.unassign(ticket.number, match_id.clone()).timeout(PATIENCE).await {
            Ok(searching) => {
                self.waiting.settle(&ticket);
                if searching {
                    self.waiting.line.push_front(ticket);
                }
            }
            Err(error) => {
                tracing::warn!(queue = self.ctx.key(), player = %ticket.player, %error, "a ticket is not given back");
                self.doubt(&ticket, &match_id);
            }
        }
    }

    /// Makes the match; answers what it is made of.
    async fn create(&self, queue: Queue, id: MatchId, players: Vec<Ticket>) -> Result<MatchSetup, BoxError> {
        let (config, number) = (self.settings.config(queue.0), self.waiting.made + 1);
        let setup = MatchSetup { queue, number, seed: seed_of(self.settings.seed, &id), config, players };
        let game: MatchRef = self.ctx.grain(id);
        Ok(game.create(setup).timeout(PATIENCE).await?)
    }
}
