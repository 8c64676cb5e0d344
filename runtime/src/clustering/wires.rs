//! What the cluster needs of a transport.

use gristmill_cluster::Incarnation;
use gristmill_cluster::transport::wire::Message;
use gristmill_grains::Cause;

/// Names a request to the one who sent it, until it is answered.
pub(crate) type Correlation = u64;

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SendError {
    /// Too much waits for that silo.
    Overloaded {
        /// How many messages may.
        limit: usize,
    },
    /// No connection takes a message of this size.
    TooLarge,
    /// The silo is not known, or dead.
    Gone,
}

impl SendError {
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::Overloaded { limit } => Cause::Overloaded { limit },
            Self::TooLarge => Cause::Codec { detail: "the message is larger than a connection takes".to_owned() },
            Self::Gone => Cause::SiloUnavailable { reason: "there is no connection to it".to_owned() },
        }
    }
}

/// Carries messages to other silos, in order for each.
pub(crate) trait Wires: Send + Sync + 'static {
    /// Takes a message, at once. Either it arrives, or the connection's end is reported.
    fn send(&self, to: Incarnation, message: Message) -> Result<(), SendError>;
    /// Is this silo's lease valid? Else nothing leaves it.
    fn may_speak(&self) -> bool;
}

/// Receives what a transport carries. Calls for one sender come in its order.
pub(crate) trait Receiver: Send + Sync + 'static {
    /// A message from a silo.
    fn receive(&self, from: Incarnation, message: Message);
    /// The connection to a silo is over; these requests never left.
    fn closed(&self, silo: Incarnation, unsent: &[Correlation], why: &str);
}
