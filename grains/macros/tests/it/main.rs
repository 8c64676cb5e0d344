//! What the macros expand to, compiled and run. The lints are those that a strict user might set.
#![deny(warnings, missing_docs, unreachable_pub, clippy::pedantic)]

mod compile_fail;
mod detached;
pub mod grains;
pub mod methods;
mod places;
pub mod references;
mod support;
