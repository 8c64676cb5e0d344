//! The Redis under a cluster.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gristmill::cluster::{RedisCluster, RedisClusterOptions};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::NAME;
use super::process::{Process, ProcessError, free_address, told_to_end};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that is gone with the run.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("arena-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // or it stays
    }
}

/// Starts a server of the run's own, with an append-only file; gives its URL.
///
/// # Errors
/// It does not start: is `redis-server` installed?
pub fn start(folder: &Folder) -> Result<(Process, String), Box<dyn std::error::Error>> {
    let address = free_address()?;
    let port = address.rsplit(':').next().unwrap_or_default();
    let dir = folder.path().display().to_string();
    let settings = ["--port", port, "--bind", "127.0.0.1", "--dir", &dir, "--save", "", "--appendonly", "yes"];
    let mut args = ["guard", "--", "redis-server"].map(str::to_owned).to_vec();
    args.extend(settings.map(str::to_owned));
    Ok((Process::start("redis-server", &args)?, format!("redis://{address}")))
}

/// The cluster that is kept there, once the server answers.
///
/// # Errors
/// It does not.
pub async fn cluster(url: &str) -> Result<RedisCluster, Box<dyn std::error::Error>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let options = RedisClusterOptions { cluster: NAME.to_owned(), ..RedisClusterOptions::default() };
        match RedisCluster::connect_with(url, options).await {
            Ok(cluster) => return Ok(cluster),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Runs a program until it ends, or standard input does.
///
/// # Errors
/// It does not start.
pub async fn guard(program: &[String]) -> Result<bool, ProcessError> {
    let [name, args @ ..] = program else { return Ok(false) };
    let child = Command::new(name).args(args).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn();
    let mut child = child.map_err(|error| ProcessError::new(name, format!("{error}; is it installed?")))?;
    tokio::select! {
        biased;
        ended = child.wait() => Ok(ended.is_ok_and(|status| status.success())),
        () = told_to_end() => {
            let _ = child.kill().await; // or it has ended
            Ok(true)
        }
    }
}
