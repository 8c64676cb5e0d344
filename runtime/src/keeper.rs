//! Grains that are brought back: a registry of the `keep_running` grains, itself made of grains.
//!
//! A grain is recorded before its first `on_activate` ends, and forgotten when it retires. After a restart the silo asks
//! every registry grain and brings its grains back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gristmill_grains::state::Persistent;
use gristmill_grains::{Fault, GrainId, InterfaceRef};

use crate::core::Core;
use crate::grains;
use crate::host::AnyHost;
use crate::pace::Pace;

/// The storage that the registry is kept in: the silo gives this name to its first one.
pub(crate) const STORAGE: &str = "gristmill.keeper";

/// Registry grains per grain type: a write stores the keys of one of them.
const SHARDS: u64 = 16;

/// Until an unreadable part of the registry is read again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The kept grains of one type, in part. Keyed `type+shard`.
#[grains::grain_interface(grain = "gristmill.keeper", crate = crate::grains)]
pub(crate) trait Keeper {
    async fn add(&mut self, key: String);
    async fn remove(&mut self, key: String);
    async fn keys(&self) -> Vec<String>;
}

#[derive(grains::Grain)]
#[grain(implements(Keeper), crate = crate::grains)]
pub(crate) struct KeeperGrain {
    #[state(storage = "gristmill.keeper")]
    keys: Persistent<BTreeSet<String>>,
}

impl Keeper for KeeperGrain {
    async fn add(&mut self, key: String) {
        if !self.keys.contains(&key) {
            self.keys.insert(key);
        }
    }

    async fn remove(&mut self, key: String) {
        if self.keys.contains(&key) {
            self.keys.remove(&key);
        }
    }

    async fn keys(&self) -> Vec<String> {
        self.keys.iter().cloned().collect()
    }
}

/// The registry grain of this grain.
pub(crate) fn registry(core: &Core, grain: &GrainId) -> KeeperRef {
    shard(core, grain.grain_type().as_str(), fnv(grain.key()) % SHARDS)
}

fn shard(core: &Core, grain_type: &str, shard: u64) -> KeeperRef {
    KeeperRef::from_ref(core.reference(format!("{grain_type}+{shard}").into()))
}

/// FNV-1a, 64 bits: part of the stored keys, so it must never change.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Brings one back, here; in a cluster, where its broker says, if this silo is its broker.
async fn bring(core: &Arc<Core>, host: &Arc<dyn AnyHost>, key: &str) -> Result<(), Fault> {
    let Some(node) = &core.node else { return host.clone().reactivate(key) };
    let grain = GrainId::new(host.grain_type().clone(), key);
    match node.is_broker_of(&grain) {
        true => node.find(&grain, None).await.map(drop),
        false => Ok(()),
    }
}

/// In a cluster: brings back the kept grains now, and whenever a silo comes or goes.
pub(crate) async fn keep_bringing(core: Arc<Core>) {
    let Some(node) = core.node.clone() else { return bring_back(core).await };
    while !core.is_stopping() {
        let view = node.view();
        bring_back(core.clone()).await;
        node.views().later_than(&view).await;
    }
}

/// Brings back the kept grains of every hosted type. A part of the registry that cannot be read does not keep the others
/// back; it is tried again until it can.
pub(crate) async fn bring_back(core: Arc<Core>) {
    let kept = core.hosts().into_iter().filter(|host| host.options().keep_running);
    let mut parts: Vec<_> = kept.flat_map(|host| (0..SHARDS).map(move |number| (host.clone(), number))).collect();
    let mut pace = Pace::default();
    while !parts.is_empty() && !core.is_stopping() {
        let mut again = Vec::new();
        for (host, number) in parts {
            // Those who leave wait for their calls.
            if core.is_stopping() {
                return;
            }
            match shard(&core, host.grain_type().as_str(), number).keys().await {
                Ok(keys) => {
                    for key in keys.into_iter().take_while(|_| !core.is_stopping()) {
                        if let Err(fault) = bring(&core, &host, &key).await {
                            tracing::error!(%fault, "a kept grain cannot be brought back");
                        }
                        pace.step().await;
                    }
                }
                Err(error) => {
                    if !core.is_stopping() {
                        tracing::warn!(%error, "a part of the registry of kept grains cannot be read; trying again");
                    }
                    again.push((host, number));
                }
            }
        }
        parts = again;
        if !parts.is_empty() {
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}
