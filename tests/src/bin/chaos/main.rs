//! Real-process chaos: silo processes, a Redis with a replica, a TCP proxy in every connection, and faults; the workloads of
//! `gristmill-sim` play meanwhile, and their checkers judge what the calls came to. See `docs/chaos.md`.
//!
//! # Layout
//! - `silo`: a silo, a child's job; `process`, `silos`: the children; `redis`: the servers.
//! - `proxy`: what stands in the connections.
//! - `faults`, `links`: what goes wrong; `storm`: when.
//! - `watcher`: what the membership says; `round`: one round of play; `report`: what is printed.

mod faults;
mod links;
mod process;
mod proxy;
mod redis;
mod report;
mod round;
mod silo;
mod silos;
mod storm;
mod watcher;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use gristmill::Client;
use gristmill::cluster::RedisCluster;
use gristmill_sim::history::Clock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::faults::KINDS;
use crate::proxy::{End, Net};
use crate::report::Report;
use crate::round::Rounds;
use crate::silos::{Common, Slot};
use crate::storm::{Log, Storm};
use crate::watcher::Watcher;

/// Clients: each has its own connections; callers share them.
const CLIENTS: usize = 2;

/// Runs workloads on silo processes and a real Redis while things go wrong, and checks what the callers saw.
///
/// Exit status: 0 if everything holds, 1 if not.
#[derive(Parser, Clone)]
struct Args {
    #[command(subcommand)]
    child: Option<Child>,
    /// Faults for so long, in all.
    #[arg(long, default_value_t = 3.0, value_name = "N")]
    minutes: f64,
    /// Checks after so many seconds of faults, and goes on with new grains.
    #[arg(long, default_value_t = 60, value_name = "S")]
    round: u64,
    /// What the choices follow from. Default: drawn, and printed.
    #[arg(long, value_name = "X")]
    seed: Option<u64>,
    /// Silo processes.
    #[arg(long, default_value_t = 3, value_name = "N")]
    silos: usize,
    /// Only this workload.
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Only these kinds of faults; `none`: nothing goes wrong.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    faults: Vec<String>,
    /// Callers of each workload.
    #[arg(long, default_value_t = 4, value_name = "N")]
    callers: usize,
    /// The longest pause of a caller between two calls, in milliseconds.
    #[arg(long, default_value_t = 300, value_name = "MS")]
    pause: u64,
    /// The registers are strict: no read of one may be old.
    #[arg(long)]
    strict: bool,
    /// Redis keeps nothing on disk: so acknowledged writes are lost, and the checkers are to find it.
    #[arg(long)]
    redis_forgets: bool,
    /// Keeps the silos' logs though everything holds.
    #[arg(long)]
    keep_logs: bool,
}

#[derive(Subcommand, Clone)]
enum Child {
    /// A silo of a run.
    #[command(hide = true)]
    Silo(silo::SiloArgs),
}

/// The kinds that were asked for.
fn kinds(asked: &[String]) -> Result<Vec<&'static str>, String> {
    match asked {
        [] => Ok(KINDS.to_vec()),
        [none] if none == "none" => Ok(Vec::new()),
        asked => {
            let known = |kind: &String| KINDS.into_iter().find(|known| known == kind);
            asked.iter().map(|kind| known(kind).ok_or(format!("{kind} is none of {KINDS:?}"))).collect()
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    if let Some(Child::Silo(args)) = args.child {
        silo::host(args).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let logs = tempfile::Builder::new().prefix("gristmill-chaos-").tempdir()?;
    let seed = args.seed.unwrap_or_else(|| fastrand::Rng::new().u64(..));
    println!("seed {seed}; logs in {}", logs.path().display());
    let rounds = match begin(&args, seed, logs.path().to_owned()).await {
        Ok(rounds) => rounds,
        Err(error) => {
            println!("it did not begin ({error}); logs are kept in {}", logs.keep().display());
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut left = Duration::from_secs_f64(args.minutes * 60.0);
    let mut report = Report::default();
    for number in 0.. {
        let lasts = left.min(Duration::from_secs(args.round));
        left -= lasts;
        report.add(number, lasts, &rounds.play(number, lasts).await);
        if left.is_zero() || report.is_broken() {
            break;
        }
    }
    report.tell(&rounds.storm);
    if report.is_broken() || args.keep_logs {
        println!("logs are kept in {}", logs.keep().display());
    }
    Ok(if report.is_broken() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Starts everything.
async fn begin(args: &Args, seed: u64, logs: std::path::PathBuf) -> Result<Rounds, Box<dyn Error>> {
    let kinds = kinds(&args.faults)?;
    let (began, wall) = (Instant::now(), UNIX_EPOCH.elapsed()?);
    let clock: Clock = Arc::new(move || began.elapsed());
    let (net, redis) = (Net::new(seed), redis::Redis::start(!args.redis_forgets).await);
    let common = Arc::new(Common {
        spawner: process::Spawner::new(),
        clock: clock.clone(),
        net: net.clone(),
        logs,
        began: wall.as_micros() as u64,
        strict: args.strict,
    });
    let mut slots = Vec::new();
    for number in 0..args.silos {
        let listen = gristmill_test_servers::free_port();
        let address = net.stand_before(End::Silo(number), watch::Sender::new(listen).subscribe(), None).await?;
        let to_redis = net.stand_before(End::Redis, redis.port(), Some(End::Silo(number))).await?;
        let addresses = (address, format!("redis://{to_redis}"));
        slots.push(Slot::start(number, listen, addresses, common.clone()));
    }
    // The watcher's way, on which nothing is ever wrong.
    let to_redis = net.stand_before(End::Redis, redis.port(), Some(End::Client)).await?;
    let watcher = Watcher::start(RedisCluster::connect(&format!("redis://{to_redis}")).await?, clock.clone());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let gateways = slots.iter().map(|slot| slot.address());
        let client = Client::builder().gateways(gateways).connect_timeout(Duration::from_secs(60));
        clients.push(client.connect().await?);
    }
    let storm = Storm { clock: clock.clone(), net, redis, slots, kinds, log: Log::default() };
    Ok(Rounds {
        clock,
        clients,
        callers: args.callers,
        pause: Duration::from_millis(args.pause),
        storm,
        watcher,
        only: args.workload.clone(),
        strict: args.strict,
        seed,
    })
}
