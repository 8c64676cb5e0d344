//! A run: players come, matches are played to their end, and everything is checked, twice.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gristmill::Metrics;
use gristmill::prelude::*;
use gristmill::storage::GrainStorage;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::args::Args;
use crate::audit::Audit;
use crate::calls::Calls;
use crate::cast::Ended;
use crate::checks::{self, Checks};
pub use crate::failure::Failure;
use crate::grains::lobby::{LOBBY, LobbyRef, LobbyState};
use crate::grains::matchmaker::MatchmakerRef;
use crate::grains::names::{QUEUES, match_id};
use crate::progress::Progress;
use crate::rules::MatchId;
use crate::{casting, host, report};

/// How often it is looked whether the world is quiet.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

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
    run_on(storage, args, stop).await
}

/// Plays and checks on a storage that is open.
///
/// # Errors
/// When it could not be played to the end.
pub async fn run_on(
    storage: Arc<dyn GrainStorage>,
    args: &Args,
    stop: impl Future<Output = ()>,
) -> Result<Outcome, Failure> {
    let settings = Arc::new(args.game.settings());
    let silo = host::start(storage.clone(), settings.clone()).await.map_err(Failure::Start)?;
    let played = tokio::select! {
        biased;
        () = stop => Ok(None),
        fault = silo.must_stop() => Err(Failure::Stopped(fault)),
        played = play(args, &silo) => played.map(Some),
    };
    let stopped = silo.stop().await;
    let Some(mut run) = played? else { return Ok(Outcome::Interrupted) };
    run.checks.hold(checks::STORED, stopped.dropped == 0, || format!("{} grains did not stop", stopped.dropped));
    let stored = read_again(storage, settings).await?;
    checks::compare(&run.audit, &stored, &mut run.checks);
    Ok(Outcome::Done(Box::new(run)))
}

/// What a fresh silo finds in the storage.
pub(crate) async fn read_again(
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
    let cast = casting::choose(&args.game, silo, &lobby, &before).await.map_err(Failure::Call)?;
    let players = cast.actors.len();
    report::opening(&args.game, cast.asked.is_none().then_some(resumed), players);

    let (mut bots, mut missed) = (JoinSet::new(), Vec::new());
    for actor in cast.actors {
        let player = actor.player.clone();
        bots.spawn(async move { (player, actor.play().await) });
    }
    let progress = Progress::start(silo.clone());
    let over = async {
        while let Some(ended) = bots.join_next().await {
            match ended {
                // Who is left over of an earlier run may find nobody to play with.
                Ok((_, Ended::GaveUp)) if cast.asked.is_none() => {}
                Ok((player, ended @ (Ended::GaveUp | Ended::Away))) => missed.push(format!("{player}: {ended:?}")),
                Ok((_, Ended::Done)) => {}
                Err(error) => missed.push(error.to_string()),
            }
        }
        quiet(silo, &lobby).await
    };
    let after = tokio::time::timeout_at(began + cast.limit, over).await;
    drop(progress);
    let after = match after {
        Ok(after) => after.map_err(Failure::Call)?,
        Err(_) => return Err(late(silo, &lobby).await.unwrap_or_else(Failure::Call)),
    };
    let (elapsed, metrics) = (began.elapsed(), silo.metrics());
    let audit = Audit::take(silo).await.map_err(Failure::Call)?;
    let mut checks = checks::check(&audit);
    let matches = after.finished - before.finished;
    checks::check_played(cast.asked, matches, &missed, &mut checks);
    Ok(Run { resumed, matches, earlier, players, elapsed, metrics, audit, checks })
}

/// Every match that was made.
pub(crate) async fn made(calls: &impl Calls) -> Result<BTreeSet<MatchId>, CallError> {
    let mut matches = BTreeSet::new();
    for queue in &QUEUES {
        let made = calls.grain::<MatchmakerRef>(queue.clone()).get_queue().await?.made;
        matches.extend((1..=made).map(|number| match_id(queue, number)));
    }
    Ok(matches)
}

/// Waits until every match that was made is settled, and nobody waits for one.
async fn quiet(calls: &impl Calls, lobby: &LobbyRef) -> Result<LobbyState, CallError> {
    loop {
        if let Some(now) = quiet_now(calls, lobby).await? {
            return Ok(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the lobby says, if every match that was made is settled, and nobody waits for one.
///
/// # Errors
/// When a grain does not answer.
pub async fn quiet_now(calls: &impl Calls, lobby: &LobbyRef) -> Result<Option<LobbyState>, CallError> {
    let now = lobby.overview().await?;
    let (mut made, mut still) = (0, true);
    for queue in &QUEUES {
        let queue = calls.grain::<MatchmakerRef>(queue.clone()).get_queue().await?;
        made += queue.made;
        still &= queue.is_still();
    }
    Ok(Some(now).filter(|now| now.finished == made && still))
}

/// What is not over.
pub(crate) async fn late(calls: &impl Calls, lobby: &LobbyRef) -> Result<Failure, CallError> {
    let open = lobby.overview().await?.open.into_keys().collect();
    let mut waiting = Vec::new();
    for queue in &QUEUES {
        let queue = calls.grain::<MatchmakerRef>(queue.clone()).get_queue().await?;
        waiting.extend(queue.tickets().cloned());
        waiting.extend(queue.unsure.iter().map(|unsure| unsure.ticket.clone()));
    }
    Ok(Failure::Late { open, waiting })
}
