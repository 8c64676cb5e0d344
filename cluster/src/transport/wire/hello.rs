//! The frames of the handshake, and why one is refused. Each: length (4), kind (1), CRC-32C (4), payload; at most 4 KiB in all.

use super::bytes::Malformed;
use crate::Incarnation;

/// What a connection begins with, and how the other side knows that it speaks with a Gristmill node.
pub const MAGIC: [u8; 8] = *b"GRSTMILL";
/// The largest frame of a handshake, header included.
pub const MAX_FRAME: usize = 4096;
/// The size of a handshake frame's header.
pub const HEADER: usize = 9;
/// The longest address, in bytes.
pub const MAX_ADDRESS: usize = 1024;

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A member of the cluster.
    Silo,
    /// It only calls.
    Client,
}

/// What either side says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: String,
    /// What it is.
    pub role: Role,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// The view version that inserted its row; [`NOT_JOINED`] before that, and for clients.
    pub join: u64,
    /// Where others reach it; empty for clients.
    pub address: String,
}

/// The `join` of a node that has no row: later than every view.
pub const NOT_JOINED: u64 = u64::MAX;

/// The first frame: the dialer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The lowest and the highest protocol version it speaks.
    pub versions: (u16, u16),
    /// Does it prove that it knows the secret?
    pub secret: bool,
    /// Who it is.
    pub from: Identity,
    /// Who it means to reach, if it knows.
    pub expected: Option<Incarnation>,
    /// Never used twice.
    pub nonce: [u8; 32],
}

/// The answer: the listener's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The version that both speak from here on.
    pub version: u16,
    /// Does it prove that it knows the secret?
    pub secret: bool,
    /// Who it is.
    pub from: Identity,
    /// Never used twice.
    pub nonce: [u8; 32],
    /// Its proof, or zeros.
    pub proof: [u8; 32],
}

/// Why a handshake is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It belongs to another cluster.
    #[error("it belongs to another cluster; compare the cluster ids")]
    WrongCluster,
    /// The dialer does not know the secret.
    #[error("the shared secret is another one")]
    WrongSecret,
    /// One side has a secret and the other has none.
    #[error("one side has a shared secret and the other has none")]
    SecretMismatch,
    /// The dialer's protocol versions are all older.
    #[error("the dialing side is too old: it needs a protocol version in {min}..={max}")]
    ProtocolTooOld {
        /// The lowest the listener speaks.
        min: u16,
        /// The highest.
        max: u16,
    },
    /// The dialer's protocol versions are all newer.
    #[error("the dialing side is too new: it needs a protocol version in {min}..={max}")]
    ProtocolTooNew {
        /// The lowest the listener speaks.
        min: u16,
        /// The highest.
        max: u16,
    },
    /// Another incarnation answers at this address.
    #[error("incarnation {actual} answers at this address")]
    NotExpected {
        /// Who is there.
        actual: Incarnation,
    },
    /// The address that the dialer advertises belongs to another live silo.
    #[error("the advertised address belongs to the live silo {by}")]
    AddressTaken {
        /// To whom.
        by: Incarnation,
    },
    /// The dialer's incarnation is dead.
    #[error("this incarnation was declared dead")]
    Dead,
    /// Too many connections.
    #[error("it has as many connections as it accepts")]
    Busy,
    /// The frame was no such frame.
    #[error("the handshake was malformed")]
    Malformed,
    /// The listener is stopping, or does not take clients yet.
    #[error("it is starting or stopping")]
    Stopping,
}

/// One frame of a handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// From the dialer, first.
    Hello(Hello),
    /// From the listener, second.
    Welcome(Welcome),
    /// From the dialer, third: its proof, or zeros.
    Proof([u8; 32]),
    /// From the listener, last: messages may follow.
    Ready,
    /// From either side, instead: the connection ends.
    Refused(Refusal),
}

/// Why bytes are no frame of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeFrameError {
    /// The length is over [`MAX_FRAME`].
    #[error("a handshake frame of {length} bytes")]
    Oversize {
        /// What it says.
        length: u32,
    },
    /// The checksum is not that of the bytes.
    #[error("the checksum of a handshake frame is wrong")]
    Checksum,
    /// The other side is no Gristmill node.
    #[error("the other side does not speak this protocol")]
    Magic,
    /// A field is no such value.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}
