//! What a silo promises, on one silo, with storage in memory.

mod basics;
