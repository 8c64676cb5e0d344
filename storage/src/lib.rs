//! Storage adapters of Gristmill: memory, redb, Redis; and the suite that every adapter passes.
