//! How connections fail, and what that says about the peer.

use std::io;

use tokio::time::Instant;

use super::wire::frame::FrameError;
use super::wire::hello::{HandshakeFrameError, Refusal};
use super::wire::{Malformed, Message, ReassemblyError, TooLarge};

/// What the end of a link says about the peer; the failure detector's input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Its host answers that this process is not there: a reset, or another incarnation at its address.
    Refused,
    /// Nothing was heard of it.
    Silent,
    /// Nothing.
    None,
}

/// Why a handshake failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other side refused, and said why.
    #[error("the other side refused the connection: {0}")]
    Refused(Refusal),
    /// This side refused, and told the other.
    #[error("refused the other side: {0}")]
    Declined(Refusal),
    /// It took too long.
    #[error("no handshake in time")]
    Timeout,
    /// The stream ended in between.
    #[error("the connection was closed during the handshake")]
    Closed,
    /// The stream failed.
    #[error("the connection failed during the handshake: {detail}")]
    Io {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// What the system said.
        detail: String,
    },
    /// Bytes that are no frame of a handshake.
    #[error(transparent)]
    Frame(#[from] HandshakeFrameError),
    /// A frame of a handshake that was not due.
    #[error("a frame of the handshake came out of order")]
    OutOfOrder,
    /// This side cannot say who it is: its cluster id or address is too long.
    #[error("{0}; the cluster id has at most 255 bytes, the address 1024")]
    OwnIdentity(Malformed),
    /// TLS refused.
    #[error("TLS: {detail}")]
    Tls {
        /// What it said.
        detail: String,
    },
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            kind => Self::Io { kind, detail: error.to_string() },
        }
    }
}

/// Why a link ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The host answers that nobody listens at the address.
    #[error("nobody listens at the address")]
    ConnectRefused,
    /// The host cannot be reached.
    #[error("unreachable: {detail}")]
    Unreachable {
        /// What the system said.
        detail: String,
    },
    /// The host did not answer in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The connection was reset.
    #[error("the connection was reset: {detail}")]
    Reset {
        /// What the system said.
        detail: String,
    },
    /// The peer closed the connection without a goodbye.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer said goodbye.
    #[error("the peer said goodbye")]
    Goodbye,
    /// The peer took no byte, or sent no more of a frame it had begun, for the stall timeout.
    #[error("the connection made no progress")]
    Stalled,
    /// Nothing came from the peer, though it was asked.
    #[error("the peer said nothing for too long")]
    Silent,
    /// Bytes that are not the frame that was due.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A part of a message that does not fit.
    #[error(transparent)]
    Reassembly(#[from] ReassemblyError),
    /// A frame that holds no message.
    #[error("a frame that holds no message: {0}")]
    Message(#[from] Malformed),
    /// The peer's incarnation is known to be dead.
    #[error("the peer is dead")]
    PeerDead,
    /// This side closed the link, or ended it with a goodbye.
    #[error("closed by this side")]
    Local,
    /// The network of this side stopped.
    #[error("this side's network stopped")]
    Stopped,
    /// The receiver panicked on a message.
    #[error("the receiver of messages panicked")]
    Receiver,
}

impl LinkError {
    /// What it says about the peer.
    pub fn evidence(&self) -> Evidence {
        match self {
            Self::ConnectRefused | Self::Reset { .. } => Evidence::Refused,
            // Only what this side saw for itself, after the proof: anybody can send a refusal.
            Self::Handshake(HandshakeError::Declined(Refusal::NotExpected { .. })) => Evidence::Refused,
            Self::Handshake(HandshakeError::Io { kind, .. }) if is_reset(*kind) => Evidence::Refused,
            Self::Unreachable { .. } | Self::ConnectTimeout | Self::Stalled | Self::Silent => Evidence::Silent,
            Self::Handshake(HandshakeError::Timeout) => Evidence::Silent,
            _ => Evidence::None,
        }
    }

    /// Why a stream that was open failed.
    pub(crate) fn of_open(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            kind if is_reset(kind) => Self::Reset { detail: error.to_string() },
            _ => Self::Unreachable { detail: error.to_string() },
        }
    }

    /// Why a stream could not be opened.
    pub(crate) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::ConnectRefused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Unreachable { detail: error.to_string() },
        }
    }
}

fn is_reset(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted)
}

/// A message that was not taken; it comes back.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct SendError {
    /// Why.
    pub kind: SendErrorKind,
    /// The message.
    pub message: Box<Message>,
}

/// Why a message was not taken. It did not leave, and never will.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendErrorKind {
    /// The queue to the peer is full.
    #[error("the queue to the peer is full")]
    Overloaded,
    /// The link has ended, or is ending.
    #[error("the link has ended")]
    Closed,
    /// The message is over a limit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// Why there is no link.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The last attempts failed; none is made before `until`.
    #[error("the last attempt to connect failed, the next is made later")]
    BackingOff {
        /// When to ask again.
        until: Instant,
        /// Why the last attempt failed.
        last: Box<LinkError>,
    },
    /// The peer's incarnation is known to be dead.
    #[error("the peer is dead")]
    PeerDead,
    /// The network has stopped.
    #[error("the network has stopped")]
    Stopped,
}

/// Why a network does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It cannot listen.
    #[error("cannot listen at {address}: {source}")]
    Bind {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Anybody who reaches the address could call every grain.
    #[error(
        "{address} can be reached from other hosts, and neither a secret nor TLS is set; set one, or allow it with \
         `allow_insecure`"
    )]
    Insecure {
        /// Where it would listen.
        address: String,
    },
}
