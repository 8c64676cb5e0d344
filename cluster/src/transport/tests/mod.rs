//! Links over memory and over TCP, with what can go wrong.

mod faults;
mod flow;
mod handshake;
mod support;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
