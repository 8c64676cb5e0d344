//! A run on a cluster: silo processes, a process with the bots, and whatever is done to them meanwhile.
//!
//! - [`run`]: this process, which starts and ends the others and gives the verdict.
//! - [`process`]: one of the others; [`redis`]: the server under them.
//! - [`silo`] and [`bots`]: what the others do.
//! - [`chaos`]: kills, pauses, restarts; [`places`]: where the matches live.

pub mod bots;
pub mod chaos;
pub mod places;
pub mod process;
pub mod redis;
pub mod run;
pub mod silo;

/// What the cluster is called.
pub const NAME: &str = "arena";
