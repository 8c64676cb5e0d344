//! The process with the bots: a client of the cluster.

use std::collections::BTreeSet;
use std::error::Error;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gristmill::Client;
use gristmill::grains::codec;
use gristmill::grains::filter::{CallFilter, FilteredCall};
use gristmill::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::NAME;
use super::process::told_to_end;
use crate::args::BotsArgs;
use crate::audit::Audit;
use crate::cast::Ended;
use crate::grains::lobby::{LOBBY, LobbyRef};
use crate::play::{LOOK, late, made, quiet_now};
use crate::rules::MatchId;
use crate::{casting, report};

/// How much longer a run may take whose silos are killed.
const MORE: Duration = Duration::from_secs(120);
/// How many failed calls are told.
const SHOWN: usize = 10;

/// What the bots saw, and what was there in the end.
#[derive(Debug, Serialize, Deserialize)]
pub struct Found {
    /// Everything, when all was quiet.
    pub audit: Audit,
    /// The matches that were over before.
    pub earlier: BTreeSet<MatchId>,
    /// How many matches were asked for; none if the run finished what an earlier one began.
    pub asked: Option<u64>,
    /// How many ended.
    pub matches: u64,
    /// Players that took part.
    pub players: usize,
    /// Bots that had no match, or did not see its end.
    pub missed: Vec<String>,
    /// Calls that were made.
    pub calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<String>,
    /// How long it took.
    pub seconds: f64,
}

/// Counts the calls of the bots.
#[derive(Clone, Default)]
struct Counted(Arc<Counts>);

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
}

#[async_trait]
impl CallFilter for Counted {
    async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let outcome = call.proceed().await;
        if let Some(fault) = outcome.as_ref().err().or(call.fault()) {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
            let mut failures = self.0.failures.lock().unwrap_or_else(PoisonError::into_inner);
            if failures.len() < SHOWN {
                failures.push(fault.to_string());
            }
        }
        outcome
    }
}

/// Plays, and writes down what was found.
///
/// # Errors
/// It was not played to the end.
pub async fn run(args: &BotsArgs, stop: impl Future<Output = ()>) -> Result<bool, Box<dyn Error>> {
    let counted = Counted::default();
    let client = Client::builder().cluster(NAME).gateways(args.gateway.clone()).outgoing(counted.clone());
    let client = client.call_timeout(Duration::from_secs(10)).connect().await?;
    let found = tokio::select! {
        biased;
        () = stop => return Err("interrupted".into()),
        () = told_to_end() => return Err("told to end".into()),
        found = play(args, &client, &counted) => found?,
    };
    client.stop().await;
    std::fs::write(&args.audit, codec::encode_wire(&found)?)?;
    Ok(true)
}

async fn play(args: &BotsArgs, client: &Client, counted: &Counted) -> Result<Found, Box<dyn Error>> {
    let began = Instant::now();
    let lobby: LobbyRef = client.grain(LOBBY);
    // In this order: what is made from here on is this run's.
    let mut earlier = again(async || made(client).await).await;
    let before = again(async || lobby.overview().await).await;
    earlier.retain(|id| !before.open.contains_key(id));
    let cast = again(async || casting::choose(&args.game, client, &lobby, &before).await).await;
    let players = cast.actors.len();
    report::opening(&args.game, cast.asked.is_none().then_some(before.open.len()), players);

    let (mut bots, mut missed) = (JoinSet::new(), Vec::new());
    for actor in cast.actors {
        let player = actor.player.clone();
        bots.spawn(async move { (player, actor.play().await) });
    }
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
        loop {
            if let Some(now) = again(async || quiet_now(client, &lobby).await).await {
                return now;
            }
            sleep(LOOK).await;
        }
    };
    let Ok(after) = timeout_at(began + cast.limit + MORE, over).await else {
        return Err(late(client, &lobby).await?.into());
    };
    let audit = again(async || Audit::take(client).await).await;
    let Counts { calls, failed, failures } = &*counted.0;
    Ok(Found {
        earlier,
        asked: cast.asked,
        matches: after.finished - before.finished,
        players,
        missed,
        calls: calls.load(Ordering::Relaxed),
        failed: failed.load(Ordering::Relaxed),
        failures: failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        seconds: began.elapsed().as_secs_f64(),
        audit,
    })
}

/// Asks again until there is an answer: what is asked changes nothing, or the same by each asking.
async fn again<T>(mut ask: impl AsyncFnMut() -> Result<T, CallError>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => tracing::debug!(%error, "asking again"),
        }
        sleep(LOOK).await;
    }
}
