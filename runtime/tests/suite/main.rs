//! What a silo promises, on one silo, with storage in memory. One module per promise.

#![allow(clippy::unwrap_used)]

mod activation;
mod basics;
mod collection;
mod context;
mod deadlines;
mod deadlock;
mod durability;
mod errors;
mod kept;
mod node;
mod oneway;
mod outages;
mod panics;
mod places;
mod policies;
mod refs;
mod rollback;
mod stop;
mod support;
mod timers;
mod turns;
mod workers;
