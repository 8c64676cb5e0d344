//! A silo of a cluster, to be killed, paused or stopped: `silo <redis url>`, or several URLs of a Redis Cluster's nodes. Prints
//! `ready`. It leaves in order when its standard input ends.

use std::error::Error;
use std::io::{Read, Write};

use gristmill::cluster::{ClusterOptions, RedisCluster, RedisClusterOptions};
use gristmill::prelude::*;
use gristmill::storage::{RedisClusterStorage, RedisStorage};
use gristmill_tests::LedgerGrain;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let urls: Vec<_> = std::env::args().skip(1).collect();
    let described = match &urls[..] {
        [] => return Err("usage: silo <redis url>..".into()),
        [url] => Silo::builder()
            .storage("default", RedisStorage::connect(url.clone()).await?)
            .cluster(RedisCluster::connect(url).await?, ClusterOptions::default()),
        urls => Silo::builder().storage("default", RedisClusterStorage::connect(urls.to_vec()).await?).cluster(
            RedisCluster::connect_cluster(urls, RedisClusterOptions::default()).await?,
            ClusterOptions::default(),
        ),
    };
    let silo = described.grain::<LedgerGrain>().start().await?;
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
