//! What a silo promises, on one silo, with storage in memory.

#![allow(clippy::unwrap_used)]

mod basics;
