//! Real Redis servers and clusters as children of a test: on free loopback ports, in private folders, and always ended
//! with the test, also when it panics or is killed.
//!
//! A missing `redis-server` fails the test: a suite that skips silently proves nothing.
//!
//! Everything here blocks, for milliseconds (a cluster: about two seconds), so that it works in any test.
//!
//! ```no_run
//! use gristmill_test_servers::{RedisOptions, RedisServer};
//!
//! let mut server = RedisServer::start(RedisOptions::fsync());
//! println!("{}", server.url());
//! server.kill9();
//! server.restart(); // same port, same folder
//! ```
//!
//! # Layout
//!
//! - `server`: one server, and what can happen to it.
//! - `cluster`: some servers that share the slots.
//! - `sentinel`: some servers of which one is the master, and who replaces it.
//! - `child`: a child process that cannot outlive the test.
//! - `ports`: ports that nobody else is given.

mod child;
mod cluster;
mod ports;
mod sentinel;
mod server;

pub use cluster::RedisCluster;
pub use ports::candidate as free_port;
pub use sentinel::RedisSentinel;
pub use server::{RedisOptions, RedisServer};
