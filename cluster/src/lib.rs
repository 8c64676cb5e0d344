//! Ports and protocol of a Gristmill cluster, and the adapter for a silo on its own.
//!
//! # Layout
//! - [`Directory`]: which activation of a grain may open its storage, by epochs.
//! - [`View`], [`Member`], [`Incarnation`]: who is in the cluster.
//! - [`LocalDirectory`]: the directory of a silo without a cluster.
//! - [`transport`]: connections between silos, and what travels on them.

mod directory;
mod local;
mod member;
pub mod transport;

pub use directory::{Directory, DirectoryError};
pub use local::LocalDirectory;
pub use member::{Incarnation, Member, MemberInfo, Standing, Status, View};
