//! Storage adapters of Gristmill: where the state of grains lives.
//!
//! The port they implement, [`GrainStorage`], and its contract are in [`gristmill_grains::storage`].
//!
//! | adapter | durability | for |
//! |---|---|---|
//! | [`MemoryStorage`] | `memory` | tests, and state that may go with the process |
//! | [`EmbeddedStorage`] | `fsync` | one machine, no server (feature `redb`) |
//! | [`RedisStorage`] | as the server is set up | one Redis server (feature `redis`) |
//! | [`RedisClusterStorage`] | as the nodes are set up | a Redis Cluster (feature `redis`) |
//!
//! # Layout
//!
//! - `memory`: the map, and the faults that tests inject into it.
//! - `embedded`: the redb file, its format, and the thread that owns it.
//! - `redis`: the scripts, the two kinds of connection they run over, and what a server must be set to.
//! - `rules`: what a commit must meet, for the adapters that decide in Rust.
//! - `size`: how large it may be.
//! - `contract`: the suite that every adapter passes, yours included (feature `contract`).

#[cfg(feature = "contract")]
pub mod contract;
#[cfg(feature = "redb")]
pub mod embedded;
pub mod memory;
#[cfg(feature = "redis")]
pub mod redis;
mod rules;
#[cfg(any(feature = "redb", feature = "redis"))]
mod size;

#[cfg(feature = "redb")]
pub use embedded::EmbeddedStorage;
pub use gristmill_grains::storage::GrainStorage;
pub use memory::MemoryStorage;
#[cfg(feature = "redis")]
pub use redis::{RedisClusterStorage, RedisStorage};
