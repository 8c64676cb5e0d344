//! The model, held against a real server: script by script, error by error, copy by copy.
//!
//! - `scripts`: every script that the adapters run.
//! - `steps`: generated steps, from few keys and few arguments, so that they meet.
//! - `both`: the server and the model, which do the same and have to answer the same.
//! - `sequences`, `moods`, `copies`: the tests.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod both;
mod copies;
mod moods;
mod scripts;
mod sequences;
mod steps;
