//! Who plays in a run: those who have something to finish or, when nobody has, new players for new matches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gristmill::prelude::*;

use crate::args::Game;
use crate::audit;
use crate::calls::Calls;
use crate::cast::Actor;
use crate::grains::lobby::{LobbyRef, LobbyState};
use crate::grains::match_grain::MatchRef;
use crate::grains::match_record::seed_of;
use crate::grains::names::{QUEUES, Queue};
use crate::grains::player::PlayerRef;
use crate::grains::profile::Activity;
use crate::rules::{MatchId, PlayerId};

/// How long a bot waits for a match.
const GIVE_UP: Duration = Duration::from_secs(15);
/// How long a run may take beyond the length of its longest match.
const GRACE: Duration = Duration::from_secs(90);
/// How much longer both are for every player, as all of them come at once.
const EACH: Duration = Duration::from_millis(25);

/// The players of a run.
#[derive(Debug)]
pub struct Cast<C> {
    /// Each with a bot.
    pub actors: Vec<Actor<C>>,
    /// How many matches are to be played; none to finish what an earlier run began.
    pub asked: Option<u64>,
    /// How long the run may take.
    pub limit: Duration,
}

/// Chooses the players, and welcomes new ones to the lobby.
///
/// # Errors
/// When a grain does not answer.
pub async fn choose<C: Calls>(
    game: &Game,
    calls: &C,
    lobby: &LobbyRef,
    before: &LobbyState,
) -> Result<Cast<C>, CallError> {
    let busy = busy(calls, before).await?;
    let fresh = before.open.is_empty() && busy.is_empty();
    let limit = longest(game, calls, &busy, before).await? + GRACE;
    let chosen: Vec<(PlayerId, Option<Queue>)> = if fresh {
        let chosen = newcomers(game);
        lobby.welcome(chosen.iter().map(|(player, _)| player.clone()).collect()).await?;
        chosen
    } else {
        let playing = before.open.values().flat_map(|open| open.players.iter().cloned());
        let all: BTreeSet<PlayerId> = busy.into_keys().chain(playing).collect();
        all.into_iter().map(|player| (player, None)).collect()
    };
    let crowd = EACH * u32::try_from(chosen.len()).unwrap_or(u32::MAX);
    let patience = GIVE_UP + crowd;
    let actors = chosen.into_iter().map(|(player, wish)| {
        let seed = seed_of(game.seed, &player);
        Actor { calls: calls.clone(), player, seed, wish, patience }
    });
    Ok(Cast { actors: actors.collect(), asked: fresh.then_some(game.matches.into()), limit: limit + crowd })
}

/// The players of new matches: as many as these seat, each in the queue of its match.
fn newcomers(game: &Game) -> Vec<(PlayerId, Option<Queue>)> {
    let seats = u32::from(game.players);
    let queue = |n: u32| QUEUES[(n / seats) as usize % QUEUES.len()].clone();
    (0..game.matches * seats).map(|n| (format!("player-{n:04}").into(), Some(queue(n)))).collect()
}

/// The players who wait for a match or are in one, whether or not the lobby knows it.
async fn busy(calls: &impl Calls, lobby: &LobbyState) -> Result<BTreeMap<PlayerId, Activity>, CallError> {
    let everybody = lobby.players.iter().cloned().collect();
    let states = audit::ask(everybody, |id| calls.grain::<PlayerRef>(id.clone()).get_state().into_owned()).await?;
    let activities = states.into_iter().map(|(player, state)| (player, state.profile.activity));
    Ok(activities.filter(|(_, activity)| *activity != Activity::Idle).collect())
}

/// How long the longest match lasts. One that is resumed was set up by another run, with settings of its own.
async fn longest(
    game: &Game,
    calls: &impl Calls,
    busy: &BTreeMap<PlayerId, Activity>,
    lobby: &LobbyState,
) -> Result<Duration, CallError> {
    let mut ids: BTreeSet<MatchId> = lobby.open.keys().cloned().collect();
    for activity in busy.values() {
        if let Activity::Fighting { match_id, .. } = activity {
            ids.insert(match_id.clone());
        }
    }
    let reports = audit::ask(Vec::from_iter(ids), |id| calls.grain::<MatchRef>(id.clone()).get_report().into_owned());
    let setups = reports.await?.into_values().filter_map(|report| report.journal.setup);
    let seconds = setups.map(|setup| setup.config.duration / setup.config.tick_hz.max(1));
    Ok(Duration::from_secs(seconds.fold(game.seconds, u32::max).into()))
}
