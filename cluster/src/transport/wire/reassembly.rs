//! Large messages out of their parts.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Frame, LAST, PART};
use super::message::limits;

/// How many messages of a connection may be incomplete at a time.
pub const MAX_PARTIAL: usize = 16;
/// How many bytes of incomplete messages a connection may hold.
pub const MAX_PARTIAL_BYTES: usize = 64 * 1024 * 1024;

/// Why a part does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReassemblyError {
    /// It does not even name its message.
    #[error("a part of a message without its number")]
    Unnumbered,
    /// It carries nothing. Endless such parts would cost the sender nothing.
    #[error("an empty part of message {id}")]
    Empty {
        /// The message's number.
        id: u32,
    },
    /// Its kind is not that of the parts before.
    #[error("a part of message {id} is of another kind")]
    Kind {
        /// The message's number.
        id: u32,
    },
    /// The message is over its limit.
    #[error("message {id} is larger than {}", limits::MESSAGE)]
    Oversize {
        /// The message's number.
        id: u32,
    },
    /// Too many messages are incomplete, or they hold too many bytes.
    #[error("too many incomplete messages")]
    TooMany,
}

struct Partial {
    kind: u8,
    bytes: BytesMut,
}

/// The incomplete messages of one connection.
#[derive(Default)]
pub struct Reassembly {
    partial: BTreeMap<u32, Partial>,
    held: usize,
}

impl Reassembly {
    /// Takes the next frame; gives the kind and the bytes of the message that it completes.
    ///
    /// # Errors
    /// The frame does not fit with those before; the connection cannot go on.
    pub fn push(&mut self, frame: Frame) -> Result<Option<(u8, Bytes)>, ReassemblyError> {
        let Frame { kind, flags, mut payload } = frame;
        if flags & PART == 0 {
            return Ok(Some((kind, payload)));
        }
        let id = payload.try_get_u32_le().map_err(|_| ReassemblyError::Unnumbered)?;
        if payload.is_empty() {
            return Err(ReassemblyError::Empty { id });
        }
        if !self.partial.contains_key(&id) && self.partial.len() == MAX_PARTIAL {
            return Err(ReassemblyError::TooMany);
        }
        let message = self.partial.entry(id).or_insert_with(|| Partial { kind, bytes: BytesMut::new() });
        if message.kind != kind {
            return Err(ReassemblyError::Kind { id });
        }
        if message.bytes.len() + payload.len() > limits::MESSAGE {
            return Err(ReassemblyError::Oversize { id });
        }
        self.held += payload.len();
        if self.held > MAX_PARTIAL_BYTES {
            return Err(ReassemblyError::TooMany);
        }
        message.bytes.extend_from_slice(&payload);
        if flags & LAST == 0 {
            return Ok(None);
        }
        Ok(self.partial.remove(&id).map(|message| {
            self.held -= message.bytes.len();
            (message.kind, message.bytes.freeze())
        }))
    }

    /// How many messages are incomplete.
    pub fn incomplete(&self) -> usize {
        self.partial.len()
    }
}

impl std::fmt::Debug for Reassembly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reassembly({} incomplete, {} bytes)", self.partial.len(), self.held)
    }
}
