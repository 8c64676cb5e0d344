//! What travels between silos, to the byte. Pure: bytes in, values out, no I/O. `docs/wire.md` is the specification.
//!
//! # Layout
//! - [`Message`] and its parts: what silos say to each other.
//! - [`frame`]: frames, which carry messages or parts of them, in sequence and checked.
//! - [`Reassembly`]: large messages out of their parts, bounded.
//! - [`hello`]: the frames of the handshake, and why one is refused.
//! - [`fuzz`]: one function per decoder, for the fuzzer and for the tests.

mod bytes;
mod decode;
mod encode;
pub mod frame;
pub mod fuzz;
#[cfg(test)]
mod golden;
pub mod hello;
mod hello_bytes;
mod message;
#[cfg(test)]
mod mutations;
mod reassembly;

pub use self::bytes::Malformed;
pub use encode::{Encoded, TooLarge};
pub use message::{ChainEntry, Control, Location, Message, NotHere, Request, Response, limits};
pub use reassembly::{MAX_PARTIAL, MAX_PARTIAL_BYTES, Reassembly, ReassemblyError};
