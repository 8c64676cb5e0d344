//! A virtual-actor runtime for game state: define grains, host a silo, call them from anywhere.
//!
//! # Layout
//! - [`Silo`], [`SiloBuilder`], [`SiloOptions`]: hosting.
//! - [`Config`]: options from a file and the environment.
//! - [`Client`]: calling the grains of a cluster from outside.
//! - [`grains`]: the programming model (keys, interfaces, references, state); [`prelude`] has what most programs name.
//! - [`storage`]: the stores that keep grains' state.
//! - [`Metrics`], [`SiloEvent`]: what a silo tells about itself.
//! - [`cluster`]: taking part in a cluster; [`testing`]: several silos in one process.
//! - Inside: `host` and `catalog` (grain types and their activations), `activation` (mailbox, turns, commits,
//!   lifecycle), `committer` (group commit), `graph` (deadlocks), `sweeper` (deadlines), `collector` (idleness, memory),
//!   `keeper` (`keep_running`), `services` (the supervision tree).

mod activation;
mod builder;
mod catalog;
mod client;
mod clustering;
mod collector;
mod committer;
mod config;
mod core;
mod events;
mod graph;
mod host;
mod keeper;
mod methods;
mod metrics;
mod monitor;
mod options;
mod pace;
mod routes;
mod services;
mod silo;
#[cfg(feature = "sim")]
pub mod sim;
mod sweeper;
pub mod testing;
mod workers;

pub use builder::{GrainSetup, SiloBuilder, StartError};
pub use client::{Client, ClientBuilder, ConnectError};
pub use config::{Config, ConfigError};
pub use events::SiloEvent;
pub use metrics::{GrainMetrics, Metrics, StorageMetrics, TickMetrics};
pub use options::SiloOptions;
pub use silo::{Silo, Stopped};

/// Taking part in a cluster.
pub mod cluster {
    pub use gristmill_cluster::transport::{Secret, WeakSecret};
    pub use gristmill_cluster::{
        Directory, Incarnation, Member, MemberInfo, Membership, MemoryDirectory, MemoryMembership, PlacementStrategy,
        RedisCluster, RedisClusterOptions, Status, View,
    };

    pub use crate::clustering::options::ClusterOptions;
}

pub use gristmill_grains as grains;
pub use gristmill_storage as storage;

/// What most programs name: `use gristmill::prelude::*;`.
pub mod prelude {
    pub use crate::grains::state::{Persistent, PersistentCell};
    pub use crate::grains::{
        BoxError, CallError, CallResultExt, Cause, Compound, DeactivationReason, Fault, Grain, GrainContext, GrainId,
        Lifecycle, Placement, StrKey, grain_interface,
    };
    pub use crate::{Silo, SiloOptions};
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide.md")]
struct Guide;
