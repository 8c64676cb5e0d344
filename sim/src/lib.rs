//! Workloads with checkers: programs that call grains, note what each call came to, and say whether the history can be.
//!
//! They run on simulated clusters, by the thousand, each from a seed that replays it ([`run`]); and on silo processes with a
//! real Redis (`tests/`).
//!
//! # Layout
//! - [`history`]: what the calls came to.
//! - [`workloads`]: the programs, and what must hold of their histories; [`linear`]: is a history linearizable?
//! - [`plan`]: what goes wrong in a run, and when.
//! - [`run`]: one run; [`shrink`]: the smallest plan that still fails; [`report`]: many runs.
//!
//! All but the first line is of the feature `sim`; so those who run the workloads on real silos need no simulator.

pub mod history;
pub mod linear;
#[cfg(feature = "sim")]
pub mod plan;
#[cfg(feature = "sim")]
pub mod report;
#[cfg(feature = "sim")]
pub mod run;
#[cfg(feature = "sim")]
pub mod shrink;
pub mod workloads;
