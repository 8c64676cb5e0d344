//! Messages that wait, encoded: small ones one after the other in one piece of memory, so that sending allocates nothing.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::schedule::{BATCH, PART_SIZE};
use super::wire::{Encoded, Message, TooLarge};

/// Before each message in line: its kind and its size.
const MARK: usize = 5;
/// The kind that stands for one of the large ones.
const LARGE: u8 = 0;

/// Messages in the order of sends.
#[derive(Default)]
pub(crate) struct Line {
    small: BytesMut,
    /// How much of it was taken.
    taken: usize,
    /// Messages over [`PART_SIZE`]: their bodies are not copied.
    large: VecDeque<Encoded>,
}

/// A message out of the line.
pub(crate) enum Next<'a> {
    Small { kind: u8, payload: &'a [u8] },
    Large(Encoded),
}

impl Next<'_> {
    pub(crate) fn into_encoded(self) -> Encoded {
        match self {
            Self::Small { kind, payload } => {
                Encoded { kind, head: Bytes::copy_from_slice(payload), body: Bytes::new() }
            }
            Self::Large(encoded) => encoded,
        }
    }
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.taken == self.small.len()
    }

    /// Adds a message of at most `room` bytes. `None`: it is larger.
    pub(crate) fn push(&mut self, message: &Message, room: usize) -> Result<Option<usize>, TooLarge> {
        let start = self.small.len();
        self.small.extend_from_slice(&[0; MARK]);
        let body = match message.encode_head(&mut self.small) {
            Ok(body) => body,
            Err(error) => {
                self.small.truncate(start);
                return Err(error);
            }
        };
        let head = start + MARK;
        let size = self.small.len() - head + body.map_or(0, Bytes::len);
        if size > room {
            self.small.truncate(start);
            return Ok(None);
        }
        let kind = if size > PART_SIZE {
            let head = Bytes::copy_from_slice(&self.small[head..]);
            self.large.push_back(Encoded { kind: message.kind(), head, body: body.cloned().unwrap_or_default() });
            self.small.truncate(start + MARK);
            LARGE
        } else {
            self.small.extend_from_slice(body.map_or(&[], |body| body));
            message.kind()
        };
        self.small[start] = kind;
        self.small[start + 1..start + MARK].copy_from_slice(&(size as u32).to_le_bytes());
        Ok(Some(size))
    }

    /// Takes the first.
    pub(crate) fn next(&mut self) -> Option<Next<'_>> {
        if self.is_empty() {
            self.clear();
        }
        let ([kind, size @ ..], rest) = self.small[self.taken..].split_first_chunk::<MARK>()?;
        self.taken += MARK;
        if *kind == LARGE {
            return self.large.pop_front().map(Next::Large);
        }
        let size = u32::from_le_bytes(*size) as usize;
        self.taken += size;
        Some(Next::Small { kind: *kind, payload: &rest[..size] })
    }

    fn clear(&mut self) {
        if self.small.capacity() > 4 * BATCH {
            self.small = BytesMut::new();
        }
        self.small.clear();
        self.taken = 0;
    }
}
