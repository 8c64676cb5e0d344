//! A silo of the cluster: a child's job.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use gristmill::cluster::{ClusterOptions, RedisCluster};
use gristmill::prelude::*;
use gristmill::storage::RedisStorage;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// What the parent tells a child.
#[derive(Args, Clone, Debug)]
pub(crate) struct SiloArgs {
    /// Where it reaches Redis.
    #[arg(long)]
    pub(crate) redis: String,
    /// Where it listens.
    #[arg(long)]
    pub(crate) listen: String,
    /// Where others reach it.
    #[arg(long)]
    pub(crate) advertise: String,
    /// Its name in the membership.
    #[arg(long)]
    pub(crate) name: String,
    /// When the run began, in microseconds since 1970: its log tells the run's time.
    #[arg(long)]
    pub(crate) began: u64,
    /// Are the registers strict?
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Tells the run's time in the log.
struct RunTime(u64);

impl FormatTime for RunTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        write!(w, "{:>9.3}", now.saturating_sub(Duration::from_micros(self.0)).as_secs_f64())
    }
}

/// Hosts the grains of all workloads. Prints `ready`; leaves in order at SIGTERM.
pub(crate) async fn host(args: SiloArgs) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr);
    log.with_timer(RunTime(args.began)).init();
    tracing::info!(name = args.name, pid = std::process::id(), "a silo process begins");
    let mut told = signal(SignalKind::terminate())?;
    let options = ClusterOptions {
        listen: args.listen,
        advertise: Some(args.advertise),
        name: Some(args.name.clone()),
        ..ClusterOptions::default()
    };
    let described = Silo::builder()
        .storage("default", RedisStorage::connect(args.redis.clone()).await?)
        .cluster(RedisCluster::connect(&args.redis).await?, options);
    let workloads = gristmill_sim::workloads::all(0, args.strict);
    let silo = workloads.iter().fold(described, |silo, workload| workload.describe(silo)).start().await?;
    let mut out = std::io::stdout().lock();
    out.write_all(b"ready\n")?;
    out.flush()?;
    told.recv().await.ok_or("no signal can come any more")?;
    let stopped = silo.stop().await;
    tracing::info!(name = args.name, dropped = stopped.dropped, "a silo process has left");
    Ok(())
}
