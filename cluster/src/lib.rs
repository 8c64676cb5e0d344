//! Ports and protocol of a Gristmill cluster, and the adapter for a silo on its own.
//!
//! # Layout
//! - [`Directory`]: which activation of a grain may open its storage, by epochs.
//! - [`LocalDirectory`]: the directory of a silo without a cluster.

mod directory;
mod local;

pub use directory::{Directory, DirectoryError};
pub use local::LocalDirectory;
