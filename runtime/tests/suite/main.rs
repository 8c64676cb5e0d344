//! What a silo promises, on one silo, with storage in memory. One module per promise.

// Tests unwrap, and spawn on the runtime they run in.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod activation;
mod basics;
mod client;
mod cluster;
mod collection;
mod context;
mod deadlines;
mod deadlock;
mod durability;
mod errors;
mod faults;
mod kept;
mod membership;
mod node;
mod oneway;
mod order;
mod outages;
mod panics;
mod parts;
mod placement;
mod places;
mod policies;
mod refs;
mod regressions;
mod rollback;
mod silos;
mod spans;
mod stop;
mod support;
mod timers;
mod turns;
mod workers;
