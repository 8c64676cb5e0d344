//! What a silo promises, on one silo, with storage in memory. One module per promise.

#![allow(clippy::unwrap_used)]

mod activation;
mod basics;
mod deadlock;
mod deadlines;
mod durability;
mod errors;
mod oneway;
mod panics;
mod places;
mod policies;
mod rollback;
mod stop;
mod support;
mod turns;
