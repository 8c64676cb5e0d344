//! Ports and protocol of a Gristmill cluster, and the adapter for a silo on its own.
//!
//! # Layout
//! - [`Directory`]: which activation of a grain may open its storage, by epochs.
//! - [`View`], [`Member`], [`Incarnation`]: who is in the cluster.
//! - [`hash`]: where things belong.
//! - [`Message`]: what silos say to each other.
//! - [`MemoryDirectory`]: the directory of silos in one process.
//! - [`LocalDirectory`]: the directory of a silo without a cluster.

mod directory;
pub mod hash;
mod local;
mod member;
mod memory;
mod message;

pub use directory::{Claim, Directory, DirectoryError, Location};
pub use local::LocalDirectory;
pub use member::{Incarnation, Member, MemberInfo, Standing, Status, View};
pub use memory::MemoryDirectory;
pub use message::{Answer, Ask, ChainEntry, Correlation, Message, Request};
