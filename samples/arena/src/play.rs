//! A run: players come, matches are played to their end, and everything is checked, twice.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gristmill::grains::StorageError;
use gristmill::prelude::*;
use gristmill::storage::GrainStorage;
use gristmill::{Metrics, StartError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::args::Args;
use crate::audit::Audit;
use crate::cast::Actor;
use crate::checks::{self, Checks};
use crate::grains::lobby::{LOBBY, LobbyRef, LobbyState};
use crate::grains::match_grain::MatchRef;
use crate::grains::match_record::seed_of;
use crate::grains::matchmaker::MatchmakerRef;
use crate::grains::names::{QUEUES, match_id};
use crate::grains::player::PlayerRef;
use crate::grains::profile::Activity;
use crate::progress::Progress;
use crate::rules::{MatchId, PlayerId};
use crate::{host, report};

/// How long a run may take beyond the length of its longest match.
const GRACE: Duration = Duration::from_secs(90);
/// How often it is looked whether the world is quiet.
const LOOK: Duration = Duration::from_millis(50);

/// Why a run came to no verdict.
#[derive(Debug)]
pub enum Failure {
    /// The storage cannot be used.
    Storage(StorageError),
    /// The silo did not start.
    Start(StartError),
    /// A grain did not answer.
    Call(CallError),
    /// The matches did not come to their end.
    Late(Box<LobbyState>),
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was played and checked.
    Done(Box<Run>),
    /// It was told to stop, and stopped in order: the next run on this storage goes on.
    Interrupted,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Matches that an earlier run had left unfinished.
    pub resumed: usize,
    /// Matches that ended in this run.
    pub matches: u64,
    /// The matches that were over before.
    pub earlier: BTreeSet<MatchId>,
    /// Players that took part.
    pub players: usize,
    /// From the silo's start until the last match was settled.
    pub elapsed: Duration,
    /// The silo's counters at that moment.
    pub metrics: Metrics,
    /// What was found.
    pub audit: Audit,
    /// What was checked.
    pub checks: Checks,
}

/// Plays and checks.
///
/// # Errors
/// When it could not be played to the end.
pub async fn run(args: &Args, stop: impl Future<Output = ()>) -> Result<Outcome, Failure> {
    let storage = host::open(&args.storage).await.map_err(Failure::Storage)?;
    let settings = Arc::new(args.settings());
    let silo = host::start(storage.clone(), settings.clone()).await.map_err(Failure::Start)?;
    let played = tokio::select! {
        biased;
        () = stop => None,
        fault = silo.must_stop() => {
            tracing::error!(%fault, "stopping");
            None
        }
        played = play(args, &silo) => Some(played),
    };
    let stopped = silo.stop().await;
    let Some(played) = played else { return Ok(Outcome::Interrupted) };
    let mut run = played?;
    run.checks.hold(checks::STORED, stopped.dropped == 0, || format!("{} grains did not stop", stopped.dropped));
    let stored = read_again(storage, settings).await?;
    checks::compare(&run.audit, &stored, &mut run.checks);
    Ok(Outcome::Done(Box::new(run)))
}

/// What a fresh silo finds in the storage.
async fn read_again(
    storage: Arc<dyn GrainStorage>,
    settings: Arc<crate::grains::settings::Settings>,
) -> Result<Audit, Failure> {
    let silo = host::start(storage, settings).await.map_err(Failure::Start)?;
    let stored = Audit::take(&silo).await.map_err(Failure::Call);
    let _ = silo.stop().await; // it has only been read from
    stored
}

/// Plays until no match is open.
async fn play(args: &Args, silo: &Silo) -> Result<Run, Failure> {
    let began = Instant::now();
    let lobby: LobbyRef = silo.grain(LOBBY);
    // In this order: what is made from here on is this run's.
    let mut earlier = made(silo).await.map_err(Failure::Call)?;
    let before = lobby.overview().await.map_err(Failure::Call)?;
    earlier.retain(|id| !before.open.contains_key(id));
    let resumed = before.open.len();
    let cast = if resumed > 0 { unfinished(args, silo, &before).await } else { fresh(args, silo, &lobby).await };
    let cast = cast.map_err(Failure::Call)?;
    report::opening(args, resumed, cast.len());

    let players = cast.len();
    let mut bots = JoinSet::new();
    cast.into_iter().for_each(|actor| drop(bots.spawn(actor.play())));
    let progress = Progress::start(silo.clone());
    let limit = began + longest(args, silo, &before).await.map_err(Failure::Call)? + GRACE;
    let over = async {
        while bots.join_next().await.is_some() {}
        quiet(silo, &lobby).await
    };
    let after = tokio::time::timeout_at(limit, over).await;
    drop(progress);
    let after = match after {
        Ok(after) => after.map_err(Failure::Call)?,
        Err(_) => return Err(Failure::Late(Box::new(lobby.overview().await.map_err(Failure::Call)?))),
    };
    let (elapsed, metrics) = (began.elapsed(), silo.metrics());
    let audit = Audit::take(silo).await.map_err(Failure::Call)?;
    let checks = checks::check(&audit);
    let matches = after.finished - before.finished;
    Ok(Run { resumed, matches, earlier, players, elapsed, metrics, audit, checks })
}

/// Every match that was made.
async fn made(silo: &Silo) -> Result<BTreeSet<MatchId>, CallError> {
    let mut matches = BTreeSet::new();
    for queue in &QUEUES {
        let made = silo.grain::<MatchmakerRef>(queue.clone()).get_queue().await?.made;
        matches.extend((1..=made).map(|number| match_id(queue, number)));
    }
    Ok(matches)
}

/// New matches: as many players as they seat, each in the queue of its match.
async fn fresh(args: &Args, silo: &Silo, lobby: &LobbyRef) -> Result<Vec<Actor>, CallError> {
    let seats = u32::from(args.players);
    let name = |n: u32| PlayerId::from(format!("player-{n:04}"));
    lobby.welcome((0..args.matches * seats).map(name).collect()).await?;
    let actors = (0..args.matches * seats).map(|n| {
        let queue = QUEUES[(n / seats) as usize % QUEUES.len()].clone();
        actor(args, silo, name(n), Some(queue))
    });
    Ok(actors.collect())
}

/// The players of the matches that are open, and those who still wait for one.
async fn unfinished(args: &Args, silo: &Silo, lobby: &LobbyState) -> Result<Vec<Actor>, CallError> {
    let mut busy: BTreeSet<PlayerId> = lobby.open.values().flat_map(|open| open.players.iter().cloned()).collect();
    for player in &lobby.players {
        if silo.grain::<PlayerRef>(player.clone()).get_state().await?.profile.activity != Activity::Idle {
            busy.insert(player.clone());
        }
    }
    Ok(busy.into_iter().map(|player| actor(args, silo, player, None)).collect())
}

/// How long the longest match lasts. One that is resumed was set up by another run, with settings of its own.
async fn longest(args: &Args, silo: &Silo, lobby: &LobbyState) -> Result<Duration, CallError> {
    let mut seconds = args.seconds;
    for id in lobby.open.keys() {
        if let Some(setup) = silo.grain::<MatchRef>(id.clone()).get_report().await?.journal.setup {
            seconds = seconds.max(setup.config.duration / setup.config.tick_hz.max(1));
        }
    }
    Ok(Duration::from_secs(seconds.into()))
}

fn actor(args: &Args, silo: &Silo, player: PlayerId, wish: Option<crate::grains::names::Queue>) -> Actor {
    Actor { silo: silo.clone(), seed: seed_of(args.seed, &player), player, wish }
}

/// Waits until every match that was made is settled, and nobody waits for one.
async fn quiet(silo: &Silo, lobby: &LobbyRef) -> Result<LobbyState, CallError> {
    loop {
        let now = lobby.overview().await?;
        let (mut made, mut waiting) = (0, false);
        for queue in &QUEUES {
            let queue = silo.grain::<MatchmakerRef>(queue.clone()).get_queue().await?;
            made += queue.made;
            waiting |= queue.forming.is_some() || !queue.line.is_empty();
        }
        if now.finished == made && !waiting {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}
