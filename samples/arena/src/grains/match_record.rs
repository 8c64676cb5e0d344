//! What a match stores besides the fight, and what it tells of itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::rules::rating::rating_changes;
use crate::rules::results::Reward;
use crate::rules::{MatchConfig, MatchId, MatchState, Phase, PlayerId, Results};

use super::matchmaker::Ticket;
use super::names::{Queue, match_id};
use super::profile::Prize;

/// What a match is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchSetup {
    /// The queue it came from.
    pub queue: Queue,
    /// Its number there, from 1.
    pub number: u64,
    /// What chance begins with.
    pub seed: u64,
    /// Its rules.
    pub config: MatchConfig,
    /// Who plays, with the tickets they were assigned by.
    pub players: Vec<Ticket>,
}

impl MatchSetup {
    /// The match's name.
    pub fn id(&self) -> MatchId {
        match_id(&self.queue, self.number)
    }

    /// The fight as it begins: the same for the same setup, so it need not be stored with it.
    pub fn fight(&self) -> MatchState {
        let mut fight = MatchState::new(self.id(), self.seed, self.config.clone());
        for ticket in &self.players {
            if let Err(error) = fight.join(ticket.player.clone()) {
                tracing::error!(player = %ticket.player, %error, "a match was set up with a player it cannot take");
            }
        }
        if let Err(error) = fight.start() {
            tracing::error!(game = %fight.id, %error, "a match was set up that cannot start");
            fight.phase = Phase::Finished;
        }
        fight
    }

    /// What a player takes home. A pure function, as are the results: the same however often it is asked.
    pub fn prize(&self, results: &Results, player: &PlayerId) -> Prize {
        let ratings: BTreeMap<_, _> = self.players.iter().map(|t| (t.player.clone(), t.rating)).collect();
        let rating_change = rating_changes(results, &ratings).get(player).copied().unwrap_or(0);
        let (match_id, result) = (self.id(), results.of(player));
        match result {
            Some(r) => Prize {
                match_id,
                place: Some(r.place).filter(|_| !r.left),
                tally: r.tally,
                reward: r.reward.clone(),
                rating_change,
            },
            None => {
                Prize { match_id, place: None, tally: Default::default(), reward: Reward::default(), rating_change }
            }
        }
    }
}

/// What a match has decided and never takes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// What it was made of; none until it is created.
    pub setup: Option<MatchSetup>,
    /// How often it began or came back: see [`Stamp::epoch`](crate::rules::Stamp::epoch).
    pub epoch: u64,
    /// Who has confirmed the reward.
    pub paid: BTreeSet<PlayerId>,
    /// Whether the leaderboard has confirmed the results.
    pub ranked: bool,
    /// Whether everything is done.
    pub closed: bool,
}

/// Everything about a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchReport {
    /// What was decided.
    pub journal: Journal,
    /// The fight; none until it begins.
    pub fight: Option<MatchState>,
}

/// A match's own seed, from the run's and its name: FNV-1a, as it must be the same on every machine.
pub fn seed_of(seed: u64, id: &MatchId) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    id.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
