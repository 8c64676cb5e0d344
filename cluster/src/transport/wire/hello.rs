//! The frames of the handshake. Each: length (4), kind (1), CRC-32C (4), payload; at most 4 KiB in all.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::bytes::{Fields, Malformed, Over, put_id, put_long, put_short};
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
    /// The listener is stopping.
    #[error("it is stopping")]
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

impl Handshake {
    /// The frame as bytes.
    ///
    /// # Errors
    /// A text is over its limit: the cluster id 255 bytes, the address [`MAX_ADDRESS`].
    pub fn encode(&self) -> Result<Bytes, Malformed> {
        let mut payload = BytesMut::new();
        let kind = put(self, &mut payload).map_err(|Over(field)| Malformed { field })?;
        let length = u32::try_from(payload.len()).map_err(|_| Malformed { field: "handshake" })?;
        let mut frame = BytesMut::with_capacity(HEADER + payload.len());
        frame.put_u32_le(length);
        frame.put_u8(kind);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&frame), &payload);
        frame.put_u32_le(checksum);
        frame.put_slice(&payload);
        Ok(frame.freeze())
    }

    /// The frame at the front of `input` and how many bytes it takes; `None` when more are needed.
    ///
    /// # Errors
    /// The bytes are no frame of a handshake.
    pub fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, HandshakeFrameError> {
        let Some((header, rest)) = input.split_first_chunk::<HEADER>() else { return Ok(None) };
        let mut fields = &header[..];
        let (length, kind, checksum) = (fields.get_u32_le(), fields.get_u8(), fields.get_u32_le());
        let size = usize::try_from(length).ok().filter(|size| *size <= MAX_FRAME - HEADER);
        let Some(size) = size else { return Err(HandshakeFrameError::Oversize { length }) };
        let Some(payload) = rest.get(..size) else { return Ok(None) };
        if crc32c::crc32c_append(crc32c::crc32c(&header[..5]), payload) != checksum {
            return Err(HandshakeFrameError::Checksum);
        }
        let mut fields = Fields::new(Bytes::copy_from_slice(payload));
        let frame = take(kind, &mut fields)?;
        fields.end("end of handshake frame")?;
        Ok(Some((frame, HEADER + size)))
    }
}

fn put(frame: &Handshake, out: &mut BytesMut) -> Result<u8, Over> {
    Ok(match frame {
        Handshake::Hello(hello) => {
            out.put_slice(&MAGIC);
            out.put_u16_le(hello.versions.0);
            out.put_u16_le(hello.versions.1);
            out.put_u8(hello.secret.into());
            put_identity(&hello.from, out)?;
            out.put_u8(hello.expected.is_some().into());
            if let Some(expected) = hello.expected {
                put_id(out, expected.as_u128());
            }
            out.put_slice(&hello.nonce);
            1
        }
        Handshake::Welcome(welcome) => {
            out.put_slice(&MAGIC);
            out.put_u16_le(welcome.version);
            out.put_u8(welcome.secret.into());
            put_identity(&welcome.from, out)?;
            out.put_slice(&welcome.nonce);
            out.put_slice(&welcome.proof);
            2
        }
        Handshake::Proof(proof) => {
            out.put_slice(proof);
            3
        }
        Handshake::Ready => 4,
        Handshake::Refused(refusal) => {
            put_refusal(*refusal, out);
            5
        }
    })
}

fn put_identity(identity: &Identity, out: &mut BytesMut) -> Result<(), Over> {
    out.put_u8(match identity.role {
        Role::Silo => 0,
        Role::Client => 1,
    });
    put_id(out, identity.incarnation.as_u128());
    out.put_u64_le(identity.join);
    put_short(out, &identity.cluster, "cluster id")?;
    put_long(out, &identity.address, MAX_ADDRESS, "address")
}

fn put_refusal(refusal: Refusal, out: &mut BytesMut) {
    let (code, range, id) = match refusal {
        Refusal::WrongCluster => (1, None, None),
        Refusal::WrongSecret => (2, None, None),
        Refusal::SecretMismatch => (3, None, None),
        Refusal::ProtocolTooOld { min, max } => (4, Some((min, max)), None),
        Refusal::ProtocolTooNew { min, max } => (5, Some((min, max)), None),
        Refusal::NotExpected { actual } => (6, None, Some(actual)),
        Refusal::AddressTaken { by } => (7, None, Some(by)),
        Refusal::Dead => (8, None, None),
        Refusal::Busy => (9, None, None),
        Refusal::Malformed => (10, None, None),
        Refusal::Stopping => (11, None, None),
    };
    out.put_u8(code);
    if let Some((min, max)) = range {
        out.put_u16_le(min);
        out.put_u16_le(max);
    }
    if let Some(id) = id {
        put_id(out, id.as_u128());
    }
}

fn take(kind: u8, fields: &mut Fields) -> Result<Handshake, HandshakeFrameError> {
    Ok(match kind {
        1 => {
            magic(fields)?;
            let versions = (fields.u16("protocol version")?, fields.u16("protocol version")?);
            let secret = fields.flag("secret")?;
            let from = identity(fields)?;
            let expected = if fields.flag("expected")? { Some(incarnation(fields)?) } else { None };
            Handshake::Hello(Hello { versions, secret, from, expected, nonce: fields.array("nonce")? })
        }
        2 => {
            magic(fields)?;
            let (version, secret) = (fields.u16("protocol version")?, fields.flag("secret")?);
            let from = identity(fields)?;
            let (nonce, proof) = (fields.array("nonce")?, fields.array("proof")?);
            Handshake::Welcome(Welcome { version, secret, from, nonce, proof })
        }
        3 => Handshake::Proof(fields.array("proof")?),
        4 => Handshake::Ready,
        5 => Handshake::Refused(refusal(fields)?),
        _ => return Err(Malformed { field: "kind of handshake frame" }.into()),
    })
}

fn magic(fields: &mut Fields) -> Result<(), HandshakeFrameError> {
    if fields.array("magic")? == MAGIC { Ok(()) } else { Err(HandshakeFrameError::Magic) }
}

fn incarnation(fields: &mut Fields) -> Result<Incarnation, Malformed> {
    fields.id("incarnation").map(Incarnation::from_u128)
}

fn identity(fields: &mut Fields) -> Result<Identity, Malformed> {
    let role = if fields.flag("role")? { Role::Client } else { Role::Silo };
    let (incarnation, join) = (incarnation(fields)?, fields.u64("join")?);
    let (cluster, address) = (fields.short("cluster id")?, fields.long(MAX_ADDRESS, "address")?);
    Ok(Identity { cluster, role, incarnation, join, address })
}

fn refusal(fields: &mut Fields) -> Result<Refusal, Malformed> {
    let code = fields.u8("refusal")?;
    Ok(match code {
        1 => Refusal::WrongCluster,
        2 => Refusal::WrongSecret,
        3 => Refusal::SecretMismatch,
        4 | 5 => {
            let (min, max) = (fields.u16("protocol version")?, fields.u16("protocol version")?);
            if code == 4 { Refusal::ProtocolTooOld { min, max } } else { Refusal::ProtocolTooNew { min, max } }
        }
        6 => Refusal::NotExpected { actual: incarnation(fields)? },
        7 => Refusal::AddressTaken { by: incarnation(fields)? },
        8 => Refusal::Dead,
        9 => Refusal::Busy,
        10 => Refusal::Malformed,
        11 => Refusal::Stopping,
        _ => return Err(Malformed { field: "refusal" }),
    })
}
