//! Frames on a connection, many in one write and one read.
//!
//! A frame: `u32` length of what follows, `u64` number, `u64` count, body.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Frames in one write, at most.
const BATCH: usize = 1_024;
/// Bytes that one read takes, at most.
const READ: usize = 64 * 1024;
const LENGTH: usize = 4;
const NUMBERS: usize = 16;

/// One call, or its answer.
pub(super) struct Frame {
    pub(super) number: u64,
    pub(super) count: u64,
    pub(super) body: Bytes,
}

/// Writes all that waits with one system call, again and again, until nobody can add to it any more.
pub(super) async fn write(mut queue: mpsc::UnboundedReceiver<Frame>, mut stream: OwnedWriteHalf) -> io::Result<()> {
    let (mut frames, mut buffer) = (Vec::with_capacity(BATCH), BytesMut::new());
    while queue.recv_many(&mut frames, BATCH).await > 0 {
        for Frame { number, count, body } in frames.drain(..) {
            buffer.put_u32_le((NUMBERS + body.len()) as u32);
            buffer.put_u64_le(number);
            buffer.put_u64_le(count);
            buffer.put_slice(&body);
        }
        stream.write_all(&buffer).await?;
        buffer.clear();
    }
    Ok(())
}

/// Reads until the other side ends.
pub(super) async fn read(mut stream: OwnedReadHalf, mut take: impl FnMut(Frame)) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        if buffer.capacity() - buffer.len() < READ / 4 {
            buffer.reserve(READ);
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(frame) = next(&mut buffer) {
            take(frame);
        }
    }
}

fn next(buffer: &mut BytesMut) -> Option<Frame> {
    let length = u32::from_le_bytes(*buffer.first_chunk::<LENGTH>()?) as usize;
    if length < NUMBERS || buffer.len() < LENGTH + length {
        return None;
    }
    buffer.advance(LENGTH);
    let (number, count) = (buffer.get_u64_le(), buffer.get_u64_le());
    Some(Frame { number, count, body: buffer.split_to(length - NUMBERS).freeze() })
}
