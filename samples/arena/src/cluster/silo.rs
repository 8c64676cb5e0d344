//! A silo process.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use gristmill::cluster::ClusterOptions;

use super::process::{READY, told_to_end};
use super::{NAME, redis};
use crate::args::{SiloArgs, StorageChoice};
use crate::host;
use crate::out::println;

/// Hosts the arena until it is told to end, by `stop` or at the end of standard input.
///
/// # Errors
/// It does not start, or others have taken its place.
pub async fn run(args: &SiloArgs, stop: impl Future<Output = ()>) -> Result<bool, Box<dyn Error>> {
    let storage = host::open(&StorageChoice::Redis(args.redis.clone())).await?;
    let cluster = redis::cluster(&args.redis).await?;
    let options = ClusterOptions {
        cluster: NAME.to_owned(),
        listen: args.listen.clone(),
        name: Some(args.name.clone()),
        ..ClusterOptions::default()
    };
    let silo = host::describe(storage, Arc::new(args.game.settings())).cluster(cluster, options).start().await?;
    println!("{READY}");
    tokio::select! {
        biased;
        () = stop => {}
        () = told_to_end() => {}
    }
    Ok(silo.stop().await.dropped == 0)
}
