//! Frames: a header of 18 bytes, then at most 64 KiB of payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The size of a frame's header.
pub const HEADER: usize = 18;
/// The largest payload of a frame.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Flag: the payload is a part of a message, after the message's number (4 bytes).
pub const PART: u8 = 1;
/// Flag: it is the last part.
pub const LAST: u8 = 2;

/// One frame, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The kind of message in it.
    pub kind: u8,
    /// [`PART`], [`LAST`].
    pub flags: u8,
    /// A message or a part of one.
    pub payload: Bytes,
}

/// Why bytes are not the next frame. The connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is over [`MAX_PAYLOAD`].
    #[error("a frame of {length} bytes, the limit is {MAX_PAYLOAD}")]
    Oversize {
        /// What it says.
        length: u32,
    },
    /// The checksum is not that of the bytes.
    #[error("the checksum of frame {sequence} is wrong")]
    Checksum {
        /// The frame that was due.
        sequence: u64,
    },
    /// A frame is missing, repeated or out of place.
    #[error("frame {found} came where {expected} was due")]
    Sequence {
        /// Which was due.
        expected: u64,
        /// Which came.
        found: u64,
    },
    /// A flag that this version does not know.
    #[error("unknown flags {flags:#04x} in a frame")]
    Flags {
        /// What it says.
        flags: u8,
    },
}

/// Writes frames, counting them.
#[derive(Debug, Default)]
pub struct FrameEncoder {
    sequence: u64,
}

impl FrameEncoder {
    /// Appends to `out` a frame whose payload are `pieces`, one after the other: at most [`MAX_PAYLOAD`] bytes.
    pub fn put(&mut self, out: &mut BytesMut, kind: u8, flags: u8, pieces: &[&[u8]]) {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        debug_assert!(length <= MAX_PAYLOAD);
        out.reserve(HEADER + length);
        let mut header = [0_u8; HEADER - 4];
        {
            let mut header = &mut header[..];
            header.put_u32_le(length as u32);
            header.put_u64_le(self.sequence);
            header.put_u8(kind);
            header.put_u8(flags);
        }
        let checksum = pieces.iter().fold(crc32c::crc32c(&header), |sum, piece| crc32c::crc32c_append(sum, piece));
        out.put_slice(&header);
        out.put_u32_le(checksum);
        for piece in pieces {
            out.put_slice(piece);
        }
        self.sequence += 1;
    }
}

/// Reads frames, counting them.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    sequence: u64,
}

impl FrameDecoder {
    /// The next frame, off the front of `input`; `None` when more bytes are needed. The payload is not copied.
    ///
    /// # Errors
    /// The bytes are not the frame that was due.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((header, _)) = input.split_first_chunk::<HEADER>() else { return Ok(None) };
        let header = *header;
        let mut fields = &header[..];
        let (length, found) = (fields.get_u32_le(), fields.get_u64_le());
        let (kind, flags, checksum) = (fields.get_u8(), fields.get_u8(), fields.get_u32_le());
        let size = usize::try_from(length).ok().filter(|size| *size <= MAX_PAYLOAD);
        let Some(size) = size else { return Err(FrameError::Oversize { length }) };
        if input.len() < HEADER + size {
            return Ok(None);
        }
        let sum = crc32c::crc32c_append(crc32c::crc32c(&header[..HEADER - 4]), &input[HEADER..HEADER + size]);
        if sum != checksum {
            return Err(FrameError::Checksum { sequence: self.sequence });
        }
        if found != self.sequence {
            return Err(FrameError::Sequence { expected: self.sequence, found });
        }
        if flags & !(PART | LAST) != 0 || flags == LAST {
            return Err(FrameError::Flags { flags });
        }
        self.sequence += 1;
        let mut frame = input.split_to(HEADER + size);
        frame.advance(HEADER);
        Ok(Some(Frame { kind, flags, payload: frame.freeze() }))
    }
}
