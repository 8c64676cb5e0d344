//! Ports and protocol of a Gristmill cluster, and the adapter for a silo on its own.
//!
//! # Layout
//! - [`Directory`]: which activation of a grain may open its storage, by epochs.
//! - [`View`], [`Member`], [`Incarnation`]: who is in the cluster.
//! - [`hash`]: where things belong; [`placement`]: where grains are activated.
//! - [`Membership`]: where its rows are kept.
//! - [`Talk`]: what silos say to each other of grains' places.
//! - [`MemoryDirectory`], [`MemoryMembership`]: those of silos in one process.
//! - [`RedisCluster`]: on a Redis server, or a Redis Cluster.
//! - [`LocalDirectory`]: the directory of a silo without a cluster.
//! - [`transport`]: connections between silos, and what travels on them.

mod control;
mod directory;
pub mod hash;
mod local;
mod member;
pub mod membership;
mod memory;
pub mod placement;
mod redis;
pub mod transport;

pub use control::{Answer, Ask, QueuedCall, Talk, TurnAt};
pub use directory::{Claim, Directory, DirectoryError, Location};
pub use local::LocalDirectory;
pub use member::{Incarnation, Member, MemberInfo, Standing, Status, View};
pub use membership::Membership;
pub use memory::{MemoryDirectory, MemoryMembership};
pub use placement::PlacementStrategy;
pub use redis::{RedisCluster, RedisClusterOptions};
