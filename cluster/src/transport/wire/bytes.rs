//! Fields: little-endian numbers, identifiers, short strings with their length before them.

use std::fmt;

use bytes::{BufMut, BytesMut};

/// Bytes that are no value of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed {field}")]
pub struct Malformed {
    /// What was being read.
    pub field: &'static str,
}

/// Takes fields off the front of `bytes`. Every length is checked before it is used.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({} bytes left)", self.bytes.len())
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next `len` bytes, not copied.
    pub(crate) fn take(&mut self, len: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Malformed { field })?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.bytes.split_first_chunk::<N>().ok_or(Malformed { field })?;
        self.bytes = rest;
        Ok(*first)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// An incarnation or an activation: sixteen bytes, the most significant first, as a UUID is written.
    pub(crate) fn id(&mut self, field: &'static str) -> Result<u128, Malformed> {
        self.array(field).map(u128::from_be_bytes)
    }

    /// One byte, 0 or 1.
    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, Malformed> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed { field }),
        }
    }

    /// Text of at most 255 bytes.
    pub(crate) fn short(&mut self, field: &'static str) -> Result<&'a str, Malformed> {
        let len = self.u8(field)?;
        self.text(len.into(), field)
    }

    /// Text of at most `max` bytes, its length in two bytes.
    pub(crate) fn long(&mut self, max: usize, field: &'static str) -> Result<&'a str, Malformed> {
        let len = usize::from(self.u16(field)?);
        if len > max {
            return Err(Malformed { field });
        }
        self.text(len, field)
    }

    fn text(&mut self, len: usize, field: &'static str) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.take(len, field)?).map_err(|_| Malformed { field })
    }

    /// What is left: a body.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Nothing may be left.
    pub(crate) fn end(self, field: &'static str) -> Result<(), Malformed> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Malformed { field }) }
    }
}

/// A field that is over its limit; the limits are in [`limits`](super::limits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Over(pub(crate) &'static str);

pub(crate) fn put_short(out: &mut BytesMut, text: &str, field: &'static str) -> Result<(), Over> {
    out.put_u8(u8::try_from(text.len()).map_err(|_| Over(field))?);
    out.put_slice(text.as_bytes());
    Ok(())
}

pub(crate) fn put_long(out: &mut BytesMut, text: &str, max: usize, field: &'static str) -> Result<(), Over> {
    let len = u16::try_from(text.len()).ok().filter(|len| usize::from(*len) <= max).ok_or(Over(field))?;
    out.put_u16_le(len);
    out.put_slice(text.as_bytes());
    Ok(())
}

pub(crate) fn put_id(out: &mut BytesMut, id: u128) {
    out.put_slice(&id.to_be_bytes());
}
