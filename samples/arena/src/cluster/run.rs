//! A run on a cluster, from the first process to the verdict.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gristmill::Client;
use gristmill::grains::codec;
use serde_json::{Value, json};

use super::bots::Found;
use super::chaos::{Done, Silos};
use super::process::Process;
use super::redis::Folder;
use super::{NAME, places, redis};
use crate::args::{ClusterArgs, Restart, StorageChoice};
use crate::checks::{self, Checks};
use crate::out::println;
use crate::{host, play, report};

/// No silo ended but those that were told to, and those that were paused.
pub const STEADY: &str = "no_silo_ended_by_itself";
/// No call of the bots failed while silos were restarted in order.
pub const UNFAILING: &str = "no_call_failed";

/// A run, and what was found.
pub struct ClusterRun {
    /// What the bots found.
    pub found: Found,
    /// What was done to the silos.
    pub done: Done,
    /// What was checked.
    pub checks: Checks,
}

/// Plays on a cluster, and checks. `None`: it was told to stop, and stopped in order.
///
/// # Errors
/// It could not be played to the end.
pub async fn run(args: &ClusterArgs, stop: impl Future<Output = ()>) -> Result<Option<ClusterRun>, Box<dyn Error>> {
    let folder = Folder::new()?;
    let (mut server, url) = match &args.redis {
        Some(url) => (None, url.clone()),
        None => {
            let (server, url) = redis::start(&folder)?;
            (Some(server), url)
        }
    };
    let cluster = redis::cluster(&url).await?;
    let mut silos = Silos::start(&url, &args.game, args.silos).await?;
    println!("{} silos, on {url}", args.silos);
    let client = Client::builder().cluster(NAME).gateways(silos.addresses());
    let client = client.call_timeout(Duration::from_secs(5)).connect().await?;
    let audit = folder.path().join("audit");
    let mut bots = start_bots(args, &silos, &audit)?;
    let played = tokio::select! {
        biased;
        () = stop => None,
        played = followed(&mut bots) => Some(played),
        trouble = silos.trouble(args) => match trouble {
            Err(error) => return Err(error.into()),
            Ok(never) => match never {},
        },
        never = places::tell(&client, &cluster) => match never {},
    };
    client.stop().await;
    if played.is_none() {
        bots.kill().await;
    }
    let left = silos.leave().await;
    let Some(played) = played else { return Ok(None) };
    played?;
    left?;
    let found: Found = codec::decode_wire(&std::fs::read(&audit)?)?;
    let mut checks = checks::check(&found.audit);
    checks::check_played(found.asked, found.matches, &found.missed, &mut checks);
    let done = silos.done.clone();
    checks.hold(STEADY, done.unexpected.is_empty(), || done.unexpected.join("; "));
    if args.restart == Some(Restart::Rolling) && args.kill_every.is_none() && args.pause_every.is_none() {
        checks.hold(UNFAILING, found.failed == 0, || format!("{} calls: {:?}", found.failed, found.failures));
    }
    let storage = host::open(&StorageChoice::Redis(url)).await?;
    let stored = play::read_again(storage, Arc::new(args.game.settings())).await?;
    checks::compare(&found.audit, &stored, &mut checks);
    if let Some(server) = &mut server {
        server.leave().await?;
    }
    Ok(Some(ClusterRun { found, done, checks }))
}

fn start_bots(args: &ClusterArgs, silos: &Silos, audit: &std::path::Path) -> Result<Process, Box<dyn Error>> {
    let game = &args.game;
    let mut options = vec!["cluster-bots".to_owned(), "--audit".to_owned(), audit.display().to_string()];
    for (option, value) in [
        ("--matches", u64::from(game.matches)),
        ("--players", game.players.into()),
        ("--seconds", game.seconds.into()),
        ("--tick-hz", game.tick_hz.into()),
        ("--seed", game.seed),
    ] {
        options.extend([option.to_owned(), value.to_string()]);
    }
    options.extend(silos.addresses().into_iter().flat_map(|address| ["--gateway".to_owned(), address]));
    Ok(Process::start("bots", &options)?)
}

/// Prints what the bots print, until they have played.
async fn followed(bots: &mut Process) -> Result<(), Box<dyn Error>> {
    while let Some(line) = bots.line().await {
        println!("{line}");
    }
    let status = bots.end_in_time().await?;
    if status.success() { Ok(()) } else { Err(format!("the bots ended with {status}").into()) }
}

/// Prints how a run went.
pub fn closing(run: &ClusterRun) {
    let ClusterRun { found, done, checks } = run;
    report::world(&found.audit, &found.earlier);
    println!("\n{} matches, {} players, {:.1} s", found.matches, found.players, found.seconds);
    println!("{} calls of the bots, {} failed", found.calls, found.failed);
    found.failures.iter().for_each(|failure| println!("        {failure}"));
    println!("silos: {} killed, {} paused, {} restarted", done.killed, done.paused, done.restarted);
    report::verdict(&found.audit, checks);
}

/// The last line under `--json`.
pub fn to_json(args: &ClusterArgs, run: &ClusterRun) -> Value {
    let ClusterRun { found, done, checks } = run;
    json!({
        "ok": checks.ok(),
        "checks": report::checks_json(checks),
        "problems": report::problems(checks),
        "silos": args.silos,
        "matches": found.matches,
        "matches_checked": found.audit.matches.len(),
        "players": found.players,
        "seconds": (found.seconds * 10.0).round() / 10.0,
        "calls": found.calls,
        "calls_failed": found.failed,
        "killed": done.killed,
        "paused": done.paused,
        "restarted": done.restarted,
        "seed": args.game.seed,
    })
}
