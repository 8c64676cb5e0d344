//! The lobby: which matches are open.

use std::collections::{BTreeMap, BTreeSet};

use gristmill::prelude::*;
use serde::{Deserialize, Serialize};

use crate::rules::{MatchId, PlayerId};

use super::names::Queue;

/// The key of the lobby.
pub const LOBBY: &str = "main";

/// A match that was begun and is not over, rewards included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenMatch {
    /// Its name.
    pub match_id: MatchId,
    /// The queue it came from.
    pub queue: Queue,
    /// Who plays.
    pub players: Vec<PlayerId>,
}

/// What the lobby knows. Bounded by the players, and by the matches that are open at once; those that are over can be
/// enumerated, as a queue numbers its matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LobbyState {
    /// Everybody who ever came.
    pub players: BTreeSet<PlayerId>,
    /// The open matches.
    pub open: BTreeMap<MatchId, OpenMatch>,
    /// How many matches are over.
    pub finished: u64,
}

/// The lobby.
#[grain_interface]
pub trait Lobby {
    /// What it knows.
    async fn overview(&self) -> LobbyState;

    /// Players come in.
    async fn welcome(&mut self, players: Vec<PlayerId>);

    /// For a match: it begins. Safe to repeat until it is finished.
    async fn opened(&mut self, open: OpenMatch);

    /// For a match: it is over. Safe to repeat.
    async fn finished(&mut self, match_id: MatchId);
}

/// See [`Lobby`].
#[derive(Grain)]
#[grain(implements(Lobby))]
pub struct LobbyGrain {
    #[state]
    state: Persistent<LobbyState>,
}

impl Lobby for LobbyGrain {
    async fn overview(&self) -> LobbyState {
        self.state.clone()
    }

    async fn welcome(&mut self, players: Vec<PlayerId>) {
        self.state.players.extend(players);
    }

    async fn opened(&mut self, open: OpenMatch) {
        self.state.open.insert(open.match_id.clone(), open);
    }

    async fn finished(&mut self, match_id: MatchId) {
        if self.state.open.contains_key(&match_id) {
            self.state.open.remove(&match_id);
            self.state.finished += 1;
        }
    }
}
