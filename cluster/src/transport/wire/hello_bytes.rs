//! The frames of the handshake to bytes and back.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::bytes::{Fields, Malformed, Over, put_id, put_long, put_short};
use super::hello::{
    HEADER, Handshake, HandshakeFrameError, Hello, Identity, MAGIC, MAX_ADDRESS, MAX_FRAME, Refusal, Role, Welcome,
};
use crate::Incarnation;

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
        let mut fields = Fields::new(payload);
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

fn take(kind: u8, fields: &mut Fields<'_>) -> Result<Handshake, HandshakeFrameError> {
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

fn magic(fields: &mut Fields<'_>) -> Result<(), HandshakeFrameError> {
    if fields.array("magic")? == MAGIC { Ok(()) } else { Err(HandshakeFrameError::Magic) }
}

fn incarnation(fields: &mut Fields<'_>) -> Result<Incarnation, Malformed> {
    fields.id("incarnation").map(Incarnation::from_u128)
}

fn identity(fields: &mut Fields<'_>) -> Result<Identity, Malformed> {
    let role = if fields.flag("role")? { Role::Client } else { Role::Silo };
    let (incarnation, join) = (incarnation(fields)?, fields.u64("join")?);
    let (cluster, address) = (fields.short("cluster id")?.to_owned(), fields.long(MAX_ADDRESS, "address")?.to_owned());
    Ok(Identity { cluster, role, incarnation, join, address })
}

fn refusal(fields: &mut Fields<'_>) -> Result<Refusal, Malformed> {
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
