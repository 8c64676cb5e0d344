//! Everything the arena says of itself, read through grain calls.

use std::collections::BTreeMap;

use gristmill::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::calls::Calls;
use crate::grains::chat::{ChatRef, GLOBAL, Line};
use crate::grains::leaderboard::{LeaderboardRef, Ranked, SEASON};
use crate::grains::lobby::{LOBBY, LobbyRef, LobbyState};
use crate::grains::match_grain::MatchRef;
use crate::grains::match_record::MatchReport;
use crate::grains::matchmaker::{MatchmakerRef, Waiting};
use crate::grains::names::{QUEUES, Region, match_id};
use crate::grains::player::{PlayerRef, PlayerState};
use crate::rules::{MatchId, PlayerId};

/// How many grains are asked at once.
const AT_ONCE: usize = 64;

/// A picture of the whole world; only one of a quiet world is consistent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The lobby.
    pub lobby: LobbyState,
    /// The queues, in the order of [`QUEUES`].
    pub queues: Vec<Waiting>,
    /// Every match that was ever made.
    pub matches: BTreeMap<MatchId, MatchReport>,
    /// Everybody who ever came.
    pub players: BTreeMap<PlayerId, PlayerState>,
    /// The leaderboards, in the order of [`Region::ALL`].
    pub boards: Vec<Vec<Ranked>>,
    /// The last lines of the global room.
    pub chat: Vec<Line>,
}

impl Audit {
    /// Asks everybody.
    ///
    /// # Errors
    /// When somebody does not answer.
    pub async fn take(calls: &impl Calls) -> Result<Self, CallError> {
        let lobby = calls.grain::<LobbyRef>(LOBBY).overview().await?;
        let mut queues = Vec::new();
        let mut ids = Vec::new();
        for queue in &QUEUES {
            let waiting = calls.grain::<MatchmakerRef>(queue.clone()).get_queue().await?;
            ids.extend((1..=waiting.made).map(|number| match_id(queue, number)));
            queues.push(waiting);
        }
        let matches = ask(ids, |id| calls.grain::<MatchRef>(id.clone()).get_report().into_owned()).await?;
        let everybody = lobby.players.iter().cloned().collect();
        let players = ask(everybody, |id| calls.grain::<PlayerRef>(id.clone()).get_state().into_owned()).await?;
        let mut boards = Vec::new();
        for region in Region::ALL {
            boards.push(calls.grain::<LeaderboardRef>((SEASON, region)).top(u32::MAX).await?);
        }
        let chat = calls.grain::<ChatRef>(GLOBAL).since(0).await?;
        Ok(Self { lobby, queues, matches, players, boards, chat })
    }
}

/// Asks many grains, some at a time.
pub(crate) async fn ask<K, T, C>(keys: Vec<K>, call: impl Fn(&K) -> C) -> Result<BTreeMap<K, T>, CallError>
where
    K: Ord + Clone + Send + 'static,
    T: Send + 'static,
    C: IntoFuture<Output = Result<T, CallError>>,
    C::IntoFuture: Send + 'static,
{
    let (mut answers, mut asked) = (BTreeMap::new(), JoinSet::new());
    let mut keys = keys.into_iter();
    loop {
        while asked.len() < AT_ONCE {
            let Some(key) = keys.next() else { break };
            let call = call(&key).into_future();
            asked.spawn(async move { (key, call.await) });
        }
        match asked.join_next().await {
            Some(Ok((key, answer))) => drop(answers.insert(key, answer?)),
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => return Ok(answers),
        }
    }
}
