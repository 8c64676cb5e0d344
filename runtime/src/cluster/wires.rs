//! What the cluster needs of a transport.

use gristmill_cluster::{Correlation, Incarnation, Message};

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SendError {
    /// Too much waits for that silo.
    Overloaded {
        /// How many messages may.
        limit: usize,
    },
    /// The silo is not known, or dead.
    Gone,
}

/// Carries messages to other silos, in order for each.
pub(crate) trait Wires: Send + Sync + 'static {
    /// Takes a message, at once. Either it arrives, or the connection's end is reported.
    fn send(&self, to: Incarnation, message: Message) -> Result<(), SendError>;
}

/// Receives what a transport carries. Calls for one sender come in its order.
pub(crate) trait Receiver: Send + Sync + 'static {
    /// A message from a silo.
    fn receive(&self, from: Incarnation, message: Message);
    /// The connection to a silo is over; these requests never left.
    fn closed(&self, silo: Incarnation, unsent: &[Correlation], why: &str);
}
