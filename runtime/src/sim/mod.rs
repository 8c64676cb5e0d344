//! A whole cluster in one thread, in virtual time, out of one seed: silos, their clients, their Redis, and what goes wrong.
//!
//! Everything is the code that runs in earnest: the transport with its frames and handshakes, the agent, the Redis adapters
//! with their scripts. Only the sockets, the clock and the Redis server are simulated. Each silo and each client is a process
//! of its own with its own clock; all run in steps of 5 ms of virtual time, and nothing gets from one to another sooner. The
//! same seed does the same, byte for byte.
//!
//! ```
//! # use std::time::Duration;
//! # use gristmill::prelude::*;
//! use gristmill::sim::Sim;
//! # #[grain_interface]
//! # pub trait Wallet { async fn earn(&mut self, gold: u64) -> u64; }
//! # #[derive(Grain)]
//! # #[grain(implements(Wallet))]
//! # struct WalletGrain { #[state] gold: Persistent<u64> }
//! # impl Wallet for WalletGrain {
//! #     async fn earn(&mut self, gold: u64) -> u64 { *self.gold += gold; *self.gold }
//! # }
//! # fn main() {
//! let mut sim = Sim::new(7).silos(3, |silo| silo.grain::<WalletGrain>());
//! let earning = sim.client(|client| async move {
//!     let wallet: WalletRef = client.grain("alice");
//!     let mut earned = 0;
//!     while earned < 20 {
//!         earned += u64::from(wallet.earn(1).await.is_ok());
//!     }
//!     wallet.earn(0).await
//! });
//! sim.run_for(Duration::from_millis(500));
//! sim.crash(1);
//! let gold = sim.result(earning).expect("the grain answers");
//! assert!(gold >= 20); // what was acknowledged is there; what failed may be
//! sim.check();
//! # }
//! ```
//!
//! # Layout
//! - [`Sim`]: the conductor; `faults`: what it makes go wrong.
//! - `world`: time and packets; `net`, `redis`: what they carry; `weather`: what is wrong with them.
//! - `host`, `silo`: processes; `entropy`: their nonces.
//! - `oracle`, `views`: what must hold at every moment; `trace`: what happened.

mod client;
mod conductor;
mod entropy;
mod faults;
mod host;
mod net;
mod oracle;
mod redis;
mod silo;
mod trace;
mod views;
mod weather;
mod world;

pub use client::Task;
pub use conductor::Sim;
pub use gristmill_grains::chaos::Bug;
pub use gristmill_redis::model::{Loses, Mood};
pub use weather::{Path, Weather};
