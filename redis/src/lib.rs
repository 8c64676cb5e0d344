//! Connections to one Redis server, or to the one that Sentinels name as the master, which always come back. What the storage
//! and the cluster adapters share; programs do not use it.
//!
//! - [`Source`]: which server, out of a URL.
//! - [`Connection`]: a connection to it.

mod connection;
mod source;

pub use connection::{Connection, Made};
pub use source::Source;
