//! What the keepers of a cluster promise: in memory, on a Redis server, on the model of one, on a Redis Cluster.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod directory;
mod membership;
mod same;
