//! The adapters, against the contract and against what only each of them can suffer.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod cluster;
mod contract;
mod embedded;
mod memory;
mod model;
mod redis;
mod support;
