//! Connections to one Redis server, or to the one that Sentinels name as the master, which always come back. What the storage
//! and the cluster adapters share; programs do not use it.
//!
//! - [`Source`]: which server, out of a URL.
//! - [`Connection`]: a connection to it; commands go over its [`Manager`].
//! - `model`: a server in memory (feature `model`).

mod connection;
mod manager;
#[cfg(feature = "model")]
pub mod model;
mod source;

pub use connection::{Connection, Made};
pub use manager::Manager;
pub use source::Source;
