//! How silos and clients reach each other: connections, what travels on them, and what becomes of it when they end.
//!
//! # Layout
//! - [`Net`], [`TcpNet`], [`MemoryNet`]: byte streams, real and in memory.
//! - [`wire`]: what travels, to the byte.
//! - [`Network`], [`Options`], [`Receiver`]: the service that listens and dials, and whom it tells.
//! - [`Link`], [`SendError`], [`LinkError`]: one connection, with a bounded queue before it.
//! - [`Secret`], `Tls`: who may connect.

mod accepting;
mod auth;
mod connection;
mod dialing;
mod error;
mod handshake;
mod keepalive;
mod line;
mod link;
mod memory;
mod memory_stream;
mod net;
mod network;
mod options;
mod outbound;
mod registry;
mod schedule;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
pub mod wire;

pub use auth::{Entropy, OsEntropy, Secret, WeakSecret};
pub use error::{Evidence, HandshakeError, LinkError, NetworkError, SendError, SendErrorKind, StartError};
pub use link::{Direction, Link};
pub use memory::{MemoryHost, MemoryNet};
pub use net::{Listener, Net, Stream, TcpNet};
pub use network::{Network, PeerAddress};
pub use options::{Limits, Options, PROTOCOL, Receiver};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
