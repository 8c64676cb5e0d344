//! A silo of a cluster, to be killed, paused or stopped: `silo <redis url>`. Prints `ready <address>`. It leaves in order
//! when its standard input ends.

use std::error::Error;
use std::io::{Read, Write};

use gristmill::cluster::{ClusterOptions, RedisCluster};
use gristmill::prelude::*;
use gristmill::storage::RedisStorage;
use gristmill_tests::LedgerGrain;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(url) = std::env::args().nth(1) else { return Err("usage: silo <redis url>".into()) };
    let silo = Silo::builder()
        .storage("default", RedisStorage::connect(url.clone()).await?)
        .cluster(RedisCluster::connect(&url).await?, ClusterOptions::default())
        .grain::<LedgerGrain>()
        .start()
        .await?;
    let mut out = std::io::stdout().lock();
    out.write_all(b"ready\n")?;
    out.flush()?;
    let (over, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new()); // however it ends
        let _ = over.send(());
    });
    ended.await?;
    let stopped = silo.stop().await;
    out.write_all(format!("stopped {}\n", stopped.dropped).as_bytes())?;
    Ok(())
}
